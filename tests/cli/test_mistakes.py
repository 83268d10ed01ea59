"""What users get wrong: one line on stderr that names the place and the mend, exit code 2, nothing written."""

import json
import shutil

import pandas as pd
import pytest
from helpers import rng, small_model
from own_world import TASKS, plan_of, tables, write_plan

from conure_lib.cli import main
from conure_lib.ownership import ContinualModel


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """The tables, a model that no run wrote, and one whose files look like a run's."""
    folder = tmp_path_factory.mktemp("template")
    mine = tables(folder / "mine")
    learner = ContinualModel(small_model(n_items=12))
    for task in ("T1", "T2"):
        learner.start(task, 12, "sequence" if task == "T1" else "ranking", rng())
        learner.prune(0.5)
        learner.finish()
    learner.save(folder / "bare")
    learner.save(folder / "run")
    info = {"length": 5, "min_events": 2}
    (folder / "run" / "stream.json").write_text(json.dumps({"info": info}))
    names = pd.DataFrame({"id": [f"s{number:02}" for number in range(12)]})
    names.to_parquet(folder / "run" / "names.items.parquet", index=False)
    shutil.copytree(folder / "run", folder / "damaged")
    (folder / "damaged" / "model.safetensors").write_bytes(b"nonsense")
    shutil.copytree(folder / "run", folder / "odd")
    (folder / "odd" / "stream.json").write_text("{")
    (folder / "a file").write_text("mine")
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").write_text("mine")
    (mine / "bad.csv").write_text("user,item\nu1\n")
    (mine / "numbers.csv").write_text("user,item,time\nu1,,1\nu1,s01,2\n")
    (mine / "words.csv").write_text("user,item,time\nu1,s01,noon\n")
    (mine / "strangers.csv").write_text("user,item\nu1,x\n")
    (mine / "nameless.csv").write_text("person,song\nu1,s1\n")
    (mine / "text.txt").write_text("user,item\n")
    (mine / "holes.csv").write_text("user,label\nu01,s1\nu02,\n")
    (mine / "nobody.csv").write_text("user,label\n")
    (mine / "unknown.csv").write_text("user,label\nsomebody,s1\n")
    (mine / "twice.csv").write_text("user,label\nu01,old\nu01,young\n")
    return folder


def one(**entry):
    """The plan with another second task."""
    return plan_of([{**TASKS[0], **entry}])


PLANS = [
    (plan_of(evnts="plays.csv"), "plan.yaml, line 26, evnts: found ['evnts'], wanted an object with events"),
    ({"events": "plays.csv"}, "found ['events'], wanted an object with events, tasks"),
    ("events: [plays.csv\ntasks: []\n", "plan.yaml, line 2: found"),
    ("events: plays.csv\n  tasks: []\n", "plan.yaml, line 2: found mapping values are not allowed here"),
    ("events: plays.csv\ntasks: []\nevents: likes.csv\n", "line 3, events: found it a second time (first in"),
    ("events: !!python/object:os.system plays.csv\ntasks: []\n", "line 1: found could not determine a const"),
    ("", "plan.yaml: found None, wanted an object"),
    ("- events\n", "found ['events'], wanted an object"),
    ("\x00", "wanted YAML text in UTF-8"),
    ("events: plays.csv\ntasks:\n- {name: T2}\n", "line 3, tasks[0]: found ['name'], wanted an object"),
    ("events: 5\ntasks: []\n", "plan.yaml, line 1, events: found 5, wanted a str; correct it"),
    ("events: plays.csv\ntasks: {}\n", "plan.yaml, line 2, tasks: found {}, wanted a list"),
    (one(name="T.2"), "tasks[0].name: found 'T.2', wanted a letter, then letters, digits or _"),
    (one(name="train"), "tasks[0].name: 'train' is a word of PyTorch's own; rename the task"),
    (one(name="T1"), "task names repeat"),
    (one(kind="regression"), "tasks[0].kind: task T2: found kind 'regression', wanted ranking or classification"),
    (one(kind="classification", file="twice.csv"), "found user 'u01' in several rows, wanted one label per user"),
    (one(file="none.csv"), "none.csv: found no such file, wanted a table; put it there"),
    (one(file="text.txt"), "text.txt: found suffix '.txt', wanted .parquet or .csv; convert the file"),
    (one(file="bad.csv"), "bad.csv: found CSV parse error"),
    (one(file="../run/names.items.parquet"), "tasks[0].file: found '../run/names.items.parquet', wanted a file"),
    (one(file="holes.csv"), "plan.yaml: custom: task T2, column 'label', row 1: found no"),
    (one(file="nobody.csv"), "task T2 (liked) is empty"),
    (one(file="unknown.csv"), "label of user 'somebody', who has no T1 sequence"),
    (one(file="nameless.csv"), "task T2: found columns ['person', 'song'], wanted ['user', 'label']; rename"),
    (plan_of(events="numbers.csv"), "column 'item', row 0: found no value"),
    (plan_of(options={"min_events": 50}), "T1 is empty: no user has 50 events"),
    (plan_of(options={"lenght": 5}), "options.lenght: found an unknown option, wanted one of length"),
    (plan_of(options={"length": "5"}), "options.length: found '5', wanted int"),
    (plan_of(options={"split": "50/50"}), "split '50/50' is unknown; use one of 80/5/15"),
    (plan_of(model={"width": 0}), "model.width: ModelConfig.width = 0; wanted: an integer of at least 1"),
    (plan_of(model={"depth": 2}), "model.depth: found an unknown setting; wanted: some of width, dilations"),
    (plan_of(model={"width": True}), "model.width: found True; wanted: a value like 32"),
    (plan_of(train={"T9": {"epochs": 1}}), "train.T9: no task 'T9'; wanted: one of T1, T2, T3, or '*'"),
    (plan_of(train={"T2": 5}), "train.T2: found 5; wanted: some of epochs"),
    (plan_of(train={"T2": {"epochs": "many"}}), "train.T2.epochs: TrainConfig.epochs = 'many'; wanted"),
    (plan_of(retrain={"epoch": 1}), "retrain.epoch: found an unknown setting"),
    (plan_of(retrain_rate=0), "retrain_rate: StudyConfig.retrain_rate = 0; wanted: a number above 0"),
    (plan_of(prune={"T2": 1.5}), "prune: StudyConfig.prune"),
    (plan_of(prune={"T7": 0.5}), "prune.T7: no task 'T7'"),
    (plan_of(name="../away"), "name: '../away' cannot name a folder"),
]  # fmt: skip

RUN, EMBED = (
    ("run", "--tasks", "mine/plan.yaml"),
    ("embed", "--model", "run", "--task", "T2", "--out", "v.parquet"),
)
EXPORT = ("export", "--model", "run", "--out", "t2")
COMMANDS = [
    ((), "the following arguments are required: COMMAND; see conure --help"),
    (("datta",), "invalid choice: 'datta'"),
    (("data", "complete-journey"), "invalid choice: 'complete-journey' (choose from"),
    (("data", "describe", "movielens"), "invalid choice: 'movielens'"),
    (("data", "describe", "synthetic", "--option", "n_users"), "wanted: NAME=VALUE"),
    (("data", "describe", "synthetic", "--option", "n_users=many"), "n_users='many'; wanted: a value of type int"),
    (("data", "describe", "synthetic", "--option", "users=5"), "synthetic has no option 'users'"),
    (("data", "fetch", "custom"), "custom needs the option 'path'; pass it (--option path=...)"),
    (("data", "describe", "custom", "--option", "path=5"), "option path=5; wanted: a value of type str"),
    (("data", "fetch", "ttl", "--option", "path=nowhere"), "nowhere: found no such folder"),
    (("run",), "required: --tasks"),
    (("run", "--tasks", "none.yaml"), "none.yaml: found no such file, wanted the plan of the tasks; write it"),
    (("run", "--tasks", "mine/plays.csv"), "found neither a folder nor one of .yaml, .yml, .json"),
    (("run", "--tasks", "mine"), "tasks.json: found no such file"),
    ((*RUN, "--seed", "-1"), "argument --seed: invalid"),
    ((*RUN, "--workers", "0"), "argument --workers: invalid"),
    ((*RUN, "--method", "Magic"), "invalid choice: 'Magic'"),
    ((*RUN, "--out", "a file"), "a file is a file; wanted: a folder to write to (--out)"),
    ((*RUN, "--out", "a file/below"), "a file is a file"),
    ((*RUN, "--out", "full"), "full holds 'thesis.txt'; wanted: a new folder, or an earlier run's (--out)"),
    ((*EXPORT, "--task", "T9"), "run has not learned task 'T9'; wanted: one that it has learned: T1, T2"),
    ((*EXPORT, "--task", "T2", "--format", "onnx"), "invalid choice: 'onnx'"),
    ((*EXPORT, "--task", "T2", "--length", "0"), "argument --length: invalid"),
    (("export", "--model", "none", "--task", "T2", "--out", "t2"), "none: cannot be read as a saved model"),
    (("export", "--model", "damaged", "--task", "T2", "--out", "t2"), "damaged: cannot be read as a saved model"),
    (("export", "--model", "odd", "--task", "T2", "--out", "t2"), "stream.json: found Expecting property name"),
    (("export", "--model", "run", "--task", "T2", "--out", "full"), "full holds 'thesis.txt'"),
    (("export", "--model", "bare", "--task", "T2", "--out", "t2", "--format", "torch-export"), "pass --length N"),
    ((*EMBED, "--data", "none.csv"), "none.csv: found no such file, wanted a table of events"),
    ((*EMBED, "--data", "mine/text.txt"), "text.txt: found suffix '.txt', wanted .parquet or .csv"),
    ((*EMBED, "--data", "mine/strangers.csv"), "found no event of an item that the model knows"),
    ((*EMBED, "--data", "mine/words.csv"), "column 'time': found str (['noon']), wanted numbers or dates"),
    ((*EMBED, "--data", "mine/nameless.csv"), "found columns ['person', 'song'], wanted ['user', 'item']"),
    ((*EMBED, "--data", "mine/bad.csv"), "bad.csv: found CSV parse error"),
    ((*EMBED, "--data", "mine/plays.csv", "--option", "a=1"), "--option goes with the name of a dataset"),
    ((*EMBED[:5], "--out", "v.csv", "--data", "mine/plays.csv"), "the name of a file that ends in .parquet"),
    (("embed", "--model", "bare", *EMBED[3:], "--data", "mine/plays.csv"), "a folder that conure run wrote"),
    (("clean", "--what", "results"), "invalid choice: 'results'"),
    (("completion", "fish"), "invalid choice: 'fish'"),
]  # fmt: skip


def refused(arguments, said, root, monkeypatch, capsys):
    """Runs the command in ``root`` and checks what every mistake has in common."""
    monkeypatch.chdir(root)
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    try:
        code = main(list(arguments))
    except SystemExit as stopped:
        code = stopped.code
    shown = capsys.readouterr()
    assert code == 2
    assert said in shown.err
    assert shown.err.startswith("conure")
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before


@pytest.mark.parametrize(("content", "said"), PLANS)
def test_a_bad_plan(content, said, root, template, monkeypatch, capsys):
    (root / "mine").symlink_to(template / "mine")
    place = shutil.copytree(template / "mine", root / "copy")
    write_plan(place / "plan.yaml", content)
    refused(("run", "--tasks", str(place / "plan.yaml")), said, root, monkeypatch, capsys)


@pytest.mark.parametrize(("arguments", "said"), COMMANDS)
def test_a_bad_command(arguments, said, root, template, monkeypatch, capsys):
    for entry in template.iterdir():
        (root / entry.name).symlink_to(entry)
    refused(arguments, said, root, monkeypatch, capsys)


def test_a_line_is_given_for_each_bad_field_of_yaml_and_the_field_alone_for_json(
    root, template, monkeypatch, capsys
):
    place = shutil.copytree(template / "mine", root / "copy")
    text = "events: plays.csv\ntasks:\n- name: T2\n  kind: ranking\n  file: likes.csv\nmodel:\n  width: none\n"
    write_plan(place / "plan.yaml", text)
    refused(
        ("run", "--tasks", "copy/plan.yaml"), "copy/plan.yaml, line 7, model.width:", root, monkeypatch, capsys
    )
    write_plan(place / "plan.json", json.dumps(plan_of(model={"width": "none"})))
    refused(("run", "--tasks", "copy/plan.json"), "copy/plan.json, model.width:", root, monkeypatch, capsys)


def test_a_plan_whose_aliases_multiply_is_read_in_a_moment(root, template, monkeypatch, capsys):
    place = shutil.copytree(template / "mine", root / "copy")
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))]
    write_plan(place / "plan.yaml", "\n".join(["events: plays.csv", "tasks: []", *lines]) + "\n")
    refused(("run", "--tasks", "copy/plan.yaml"), "line 3, a0: found ['a0', 'a1'", root, monkeypatch, capsys)
