"""What users get wrong on the command line: plans, commands, flags."""

# ruff: noqa: E501 (the tables hold a case a line)

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from small_service import TASKS, plan_of, tables, write_plan

from conure_lib.config import DataConfig
from conure_lib.data.registry import load
from conure_lib.study.profiles import study_config

from .bad_files import GIGABYTE, sparse
from .bad_models import learner, write_run
from .cases import Attempt, Case


def write_world(root: Path) -> None:
    """Tables and plans, good and bad; saved models, whole and damaged; files and folders that are in the way."""
    mine = tables(root / "mine")
    learner().save(root / "bare")
    for name in ("run", "damaged", "odd"):
        write_run(root / name)
    (root / "damaged" / "model.safetensors").write_bytes(b"nonsense")
    (root / "odd" / "stream.json").write_text("{")
    (root / "a file").write_text("mine")
    (root / "full").mkdir()
    (root / "full" / "thesis.txt").write_text("mine")
    (root / "loop").symlink_to("loop")
    for name, text in TABLES.items():
        (mine / name).write_text(text)


TABLES = {
    "bad.csv": "user,item\nu1\n",
    "numbers.csv": "user,item,time\nu1,,1\nu1,s01,2\n",
    "words.csv": "user,item,time\nu1,s01,noon\n",
    "strangers.csv": "user,item\nu1,x\n",
    "nameless.csv": "person,song\nu1,s1\n",
    "text.txt": "user,item\n",
    "holes.csv": "user,label\nu01,s1\nu02,\n",
    "nobody.csv": "user,label\n",
    "unknown.csv": "user,label\nsomebody,s1\n",
    "twice.csv": "user,label\nu01,old\nu01,young\n",
    "doubled.csv": "user,item,item\nu1,s01,s02\n",
    "empty.csv": "",
}


def one(**entry):
    """The plan with another second task."""
    return plan_of([{**TASKS[0], **entry}])


PLANS = [
    (
        plan_of(evnts="plays.csv"),
        "plan.yaml, line 26, evnts: found ['evnts'], wanted an object with events",
    ),
    ({"events": "plays.csv"}, "found ['events'], wanted an object with events, tasks"),
    ("events: [plays.csv\ntasks: []\n", "plan.yaml, line 2: found"),
    (
        "events: plays.csv\n  tasks: []\n",
        "plan.yaml, line 2: found mapping values are not allowed here",
    ),
    (
        "events: plays.csv\ntasks: []\nevents: likes.csv\n",
        "line 3, events: found it a second time (first in",
    ),
    (
        "events: !!python/object:os.system plays.csv\ntasks: []\n",
        "line 1: found could not determine a const",
    ),
    ("", "plan.yaml: found None, wanted an object"),
    ("- events\n", "found ['events'], wanted an object"),
    ("\x00", "wanted YAML text in UTF-8"),
    (
        "events: plays.csv\ntasks:\n- {name: T2}\n",
        "line 3, tasks[0]: found ['name'], wanted an object",
    ),
    ("events: 5\ntasks: []\n", "plan.yaml, line 1, events: found 5, wanted a str; correct it"),
    ("events: plays.csv\ntasks: {}\n", "plan.yaml, line 2, tasks: found {}, wanted a list"),
    (one(name="T.2"), "tasks[0].name: found 'T.2', wanted a letter, then letters, digits or _"),
    (one(name="train"), "tasks[0].name: 'train' is a word of PyTorch's own; rename the task"),
    (one(name="T1"), "task names repeat"),
    (
        one(kind="regression"),
        "tasks[0].kind: task T2: found kind 'regression', wanted ranking or classification",
    ),
    (
        one(kind="classification", file="twice.csv"),
        "found user 'u01' in several rows, wanted one label per user",
    ),
    (one(file="none.csv"), "none.csv: found no such file, wanted a table; put it there"),
    (
        one(file="text.txt"),
        "text.txt: found suffix '.txt', wanted .parquet or .csv; convert the file",
    ),
    (one(file="bad.csv"), "bad.csv: found CSV parse error"),
    (
        one(file="../run/names.items.parquet"),
        "tasks[0].file: found '../run/names.items.parquet', wanted a file",
    ),
    (one(file="holes.csv"), "plan.yaml: custom: task T2, column 'label', row 1: found no"),
    (one(file="nobody.csv"), "task T2 (liked) is empty"),
    (one(file="unknown.csv"), "label of user 'somebody', who has no T1 sequence"),
    (
        one(file="nameless.csv"),
        "task T2: found columns ['person', 'song'], wanted ['user', 'label']; rename",
    ),
    (plan_of(events="numbers.csv"), "column 'item', row 0: found no value"),
    (plan_of(options={"min_events": 50}), "T1 is empty: no user has 50 events"),
    (
        plan_of(options={"lenght": 5}),
        "options.lenght: found an unknown option, wanted one of length",
    ),
    (plan_of(options={"length": "5"}), "options.length: found '5', wanted int"),
    (plan_of(options={"split": "50/50"}), "split '50/50' is unknown; use one of 80/5/15"),
    (
        plan_of(model={"width": 0}),
        "model.width: ModelConfig.width = 0; wanted: an integer from 1 to 65536",
    ),
    (
        plan_of(model={"depth": 2}),
        "model.depth: found an unknown setting; wanted: some of width, dilations",
    ),
    (plan_of(model={"width": True}), "model.width: found True; wanted: a value like 32"),
    (
        plan_of(train={"T9": {"epochs": 1}}),
        "train.T9: no task 'T9'; wanted: one of T1, T2, T3, or '*'",
    ),
    (plan_of(train={"T2": 5}), "train.T2: found 5; wanted: some of epochs"),
    (
        plan_of(train={"T2": {"epochs": "many"}}),
        "train.T2.epochs: TrainConfig.epochs = 'many'; wanted",
    ),
    (plan_of(retrain={"epoch": 1}), "retrain.epoch: found an unknown setting"),
    (
        plan_of(retrain_rate=0),
        "retrain_rate: StudyConfig.retrain_rate = 0; wanted: a number between 0 and",
    ),
    (plan_of(prune={"T2": 1.5}), "prune: StudyConfig.prune"),
    (plan_of(prune={"T7": 0.5}), "prune.T7: no task 'T7'"),
    (plan_of(name="../away"), "name: '../away' cannot name a folder"),
    (plan_of(name=""), "name: '' cannot name a folder"),
    (plan_of(name="a/b"), "name: 'a/b' cannot name a folder"),
    (plan_of(name=5), "name: found 5, wanted a str"),
    (plan_of(title=["plays"]), "title: found ['plays'], wanted a str"),
    (plan_of(events=""), "found suffix '', wanted .parquet or .csv"),
    (
        plan_of(events="a\0b.csv"),
        "events: found 'a\\x00b.csv' (embedded null byte), wanted the name of a file",
    ),
    (plan_of(events="x" * 5000 + ".csv"), "(File name too long), wanted the name of a file"),
    (plan_of(events="plays.csv/below.csv"), "(Not a directory), wanted the name of a file"),
    (plan_of(events="/etc/passwd"), "events: found '/etc/passwd', wanted a file inside the folder"),
    (plan_of(events="doubled.csv"), "found column 'item' twice, wanted it once"),
    (plan_of(events="empty.csv"), "empty.csv: found Empty CSV file, wanted a readable table"),
    (plan_of(events="twice.csv"), "found columns ['user', 'label'], wanted ['user', 'item']"),
    (plan_of(options=5), "options: found 5, wanted an object"),
    (plan_of(options={"length": 10**30}), "wanted: a whole number from 2 to 65536"),
    (plan_of(options={"length": 2.0}), "options.length: found 2.0, wanted int"),
    (plan_of(options={"length": True}), "options.length: found True, wanted int"),
    (plan_of(options={"length": 1}), "length=1; wanted: a whole number from 2"),
    (plan_of(options={"split_seed": -1}), "split_seed=-1; wanted: a whole number from 0"),
    (plan_of(options={"min_label_count": -1}), "min_label_count=-1; wanted: a whole number from 1"),
    (plan_of(options={1: 2}), "options.1: found an unknown option"),
    (plan_of(model=[]), "model: found [], wanted an object"),
    (
        plan_of(model={"width": 10**30}),
        "model.width: ModelConfig.width = 1000000000000000000000000000000; wanted",
    ),
    (plan_of(model={"width": float("nan")}), "model.width: ModelConfig.width = nan; wanted"),
    (plan_of(model={"dilations": []}), "model.dilations: ModelConfig.dilations = (); wanted"),
    (
        plan_of(model={"dilations": [[1]]}),
        "model.dilations: ModelConfig.dilations = ([1],); wanted",
    ),
    (plan_of(model={"separator": "yes"}), "model.separator: ModelConfig.separator = 'yes'; wanted"),
    (plan_of(train=[]), "train: found [], wanted an object"),
    (
        plan_of(train={"T1": {"learning_rate": float("inf")}}),
        "train.T1.learning_rate: TrainConfig.learning_rate = inf",
    ),
    (
        plan_of(train={"T1": {"learning_rate": {}}}),
        "train.T1.learning_rate: TrainConfig.learning_rate = {}; wanted",
    ),
    (
        plan_of(train={"*": {"optimizer": ["adam"]}}),
        "train.*.optimizer: TrainConfig.optimizer = ('adam',); wanted",
    ),
    (
        plan_of(train={"*": {"batch_size": 0}}),
        "train.*.batch_size: TrainConfig.batch_size = 0; wanted",
    ),
    (plan_of(train={"T1": None}), "train.T1: found None; wanted: some of epochs"),
    (plan_of(train={1: {}}), "train.1: no task 1; wanted"),
    (plan_of(retrain={"epochs": 1.5}), "retrain.epochs: TrainConfig.epochs = 1.5; wanted"),
    (plan_of(retrain_rate="fast"), "retrain_rate: found 'fast', wanted a number"),
    (plan_of(retrain_rate=float("nan")), "retrain_rate: StudyConfig.retrain_rate = nan; wanted"),
    (plan_of(retrain_rate=True), "retrain_rate: found True, wanted a number"),
    (plan_of(prune={"*": None}), "prune: StudyConfig.prune"),
    (plan_of(prune={"*": float("nan")}), "prune: StudyConfig.prune"),
    (plan_of(prune={"*": True}), "prune: StudyConfig.prune"),
    (
        plan_of([{**TASKS[0], "name": f"T{n}"} for n in range(2, 302)]),
        "found 300 tasks; wanted at most 254 beside T1",
    ),
    (plan_of([5]), "tasks[0]: found 5, wanted an object with name, kind, file"),
    (plan_of([None]), "tasks[0]: found None, wanted an object"),
    (plan_of([[]]), "tasks[0]: found [], wanted an object"),
    (
        one(colour="red"),
        "tasks[0].colour: found ['colour'], wanted an object with name, kind, file",
    ),
    (one(name=""), "tasks[0].name: found '', wanted a letter"),
    (one(name="T2\n"), "tasks[0].name: found 'T2\\n', wanted a letter"),
    (one(name="Tä"), "tasks[0].name: found 'Tä', wanted a letter"),
    (one(name=None), "tasks[0].name: found None, wanted a str"),
    (one(kind=["ranking"]), "tasks[0].kind: found ['ranking'], wanted a str"),
    (
        one(kind="sequence"),
        "tasks[0].kind: task T2: found kind 'sequence', wanted ranking or classification",
    ),
    (one(file=5), "tasks[0].file: found 5, wanted a str"),
    (one(file="."), "found suffix '', wanted .parquet or .csv"),
    (
        "events: plays.csv\ntasks: []\nmodel: {width: .inf}\n",
        "line 3, model.width: ModelConfig.width = inf",
    ),
    (
        "events: 2024-01-01\ntasks: []\n",
        "line 1, events: found datetime.date(2024, 1, 1), wanted a str",
    ),
    ("events: !!binary cGxheXM=\ntasks: []\n", "line 1, events: found b'plays', wanted a str"),
    ("events: plays.csv\ntasks: !!set {a}\n", "line 2, tasks: found {'a'}, wanted a list"),
    ("events: &a [*a]\ntasks: []\n", "line 1, events: found"),
    ("events: *nobody\ntasks: []\n", "line 1: found found undefined alias"),
    ("events: plays.csv\n\ttasks: []\n", "plan.yaml, line 2: found"),
    ("? [a, b]\n: c\n", "line 1: found found unhashable key, wanted YAML"),
    ("--- a\n--- b\n", "line 2: found but found another document, wanted YAML"),
    ("%YAML 9.9\n---\na: 1\n", "line 1: found found incompatible YAML document"),
    ("[" * 5000, "wanted YAML text in UTF-8"),
    ("events: " + "9" * 5000 + "\ntasks: []\n", "wanted YAML text in UTF-8"),
    (
        "events: plays.csv\ntasks: []\nmodel:\n  width: none\n",
        "line 4, model.width: ModelConfig.width = 'none'",
    ),
    (
        "\n".join(
            [
                "events: plays.csv",
                "tasks: []",
                "a0: &a0 [x, x]",
                *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)),
            ]
        )
        + "\n",
        "line 3, a0: found ['a0', 'a1'",
    ),
]
"""What stands in plan.yaml (a mapping is written as YAML), and words of the answer."""

RAW_PLANS: list[tuple[str, bytes | Callable[[Path], object], str]] = [
    ("plan.yaml", "events: plays.csv".encode("utf-16"), "wanted YAML text in UTF-8"),
    ("plan.yaml", b"events: caf\xe9.csv\ntasks: []\n", "wanted YAML text in UTF-8"),
    ("plan.yaml", sparse(GIGABYTE), "1073741824 bytes, more than 16777216, wanted YAML text"),
    ("plan.yaml", b"events: " + b"x" * (17 << 20), "more than 16777216, wanted YAML text"),
    ("plan.yml", b"\xff\xfe\xfd", "plan.yml: found 'utf-8' codec can't decode byte 0xff"),
    ("plan.yaml", os.mkfifo, "found a folder, a pipe or a device, wanted YAML text"),
    (
        "plan.yaml",
        lambda file: file.symlink_to("/proc/self/mem"),
        "found [Errno 5] Input/output error",
    ),
    ("plan.yaml", lambda file: file.symlink_to("/dev/zero"), "found a folder, a pipe or a device"),
    (
        "plan.json",
        b"",
        "plan.json: found Expecting value: line 1 column 1 (char 0), wanted JSON text in UTF-8",
    ),
    (
        "plan.json",
        b'{"events": "plays.csv", "events": "likes.csv", "tasks": []}',
        "found the key 'events' twice",
    ),
    ("plan.json", b"[" * 100_000, "found lists or objects nested too deeply, wanted JSON text"),
    ("plan.json", b'{"events": NaN, "tasks": []}', "events: found nan, wanted a str"),
    (
        "plan.json",
        b'{"events": "plays.csv", "tasks": [], "retrain_rate": Infinity}',
        "retrain_rate = inf; wanted",
    ),
    (
        "plan.json",
        b'{"events": "plays.csv", "tasks": [], "retrain_rate": 1e999}',
        "retrain_rate = inf; wanted",
    ),
    (
        "plan.json",
        b'{"events": "plays.csv", "tasks": [], "retrain_rate": ' + b"9" * 5000 + b"}",
        "wanted JSON text",
    ),
    (
        "plan.json",
        b'{"events": "a\\u0000.csv", "tasks": []}',
        "(embedded null byte), wanted the name of a file",
    ),
    ("plan.json", b'{"events": "\\ud800.csv", "tasks": []}', "wanted"),
    (
        "plan.json",
        b"{'events': 'plays.csv'}",
        "found Expecting property name enclosed in double quotes",
    ),
    ("plan.json", b'{"events": "plays.csv", "tasks": []} x', "found Extra data: line 1 column 38"),
    ("plan.json", '{"events": "plays.csv"}'.encode("utf-16"), "wanted JSON text in UTF-8"),
    ("plan.json", sparse(GIGABYTE), "1073741824 bytes, more than 16777216, wanted JSON text"),
    (
        "plan.json",
        b'{"events": "plays.csv", "tasks": [], "model": {"width": "none"}}',
        "plan.json, model.width: Mod",
    ),
    ("plan.txt", b"events: plays.csv\n", "found neither a folder nor one of .yaml, .yml, .json"),
]
"""A plan's file, its bytes or what makes it, and words of the answer."""

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
    (
        ("data", "describe", "synthetic", "--option", "n_users=many"),
        "n_users='many'; wanted: a value of type int",
    ),
    (("data", "describe", "synthetic", "--option", "users=5"), "synthetic has no option 'users'"),
    (("data", "fetch", "custom"), "custom needs the option 'path'; pass it (--option path=...)"),
    (
        ("data", "describe", "custom", "--option", "path=5"),
        "option path=5; wanted: a value of type str",
    ),
    (("data", "fetch", "ttl", "--option", "path=nowhere"), "nowhere: found no such folder"),
    (("run",), "required: --tasks"),
    (
        ("run", "--tasks", "none.yaml"),
        "none.yaml: found no such file, wanted the plan of the tasks; write it",
    ),
    (("run", "--tasks", "mine/plays.csv"), "found neither a folder nor one of .yaml, .yml, .json"),
    (("run", "--tasks", "mine"), "tasks.json: found no such file"),
    (
        (*RUN, "--seed", "-1"),
        "argument --seed: found '-1', wanted a whole number from 0 to 2147483647",
    ),
    ((*RUN, "--device", "abacus"), "argument --device: invalid choice: 'abacus' (choose from"),
    (
        (*RUN, "--workers", "0"),
        "argument --workers: found '0', wanted a whole number from 1 to 1024",
    ),
    ((*RUN, "--method", "Magic"), "invalid choice: 'Magic'"),
    ((*RUN, "--out", "a file"), "a file is a file; wanted: a folder to write to (--out)"),
    (
        (*RUN, "--out", "a file/below"),
        "'a file/below': found Not a directory; wanted: a folder to write to",
    ),
    (
        (*RUN, "--out", "full"),
        "full holds 'thesis.txt'; wanted: a new folder, or an earlier run's (--out)",
    ),
    (
        (*EXPORT, "--task", "T9"),
        "run has not learned task 'T9'; wanted: one that it has learned: T1, T2",
    ),
    ((*EXPORT, "--task", "T2", "--format", "onnx"), "invalid choice: 'onnx'"),
    (
        (*EXPORT, "--task", "T2", "--length", "0"),
        "argument --length: found '0', wanted a whole number from 1 to 65536",
    ),
    (
        ("export", "--model", "none", "--task", "T2", "--out", "t2"),
        "none: cannot be read as a saved model",
    ),
    (
        ("export", "--model", "damaged", "--task", "T2", "--out", "t2"),
        "damaged: cannot be read as a saved model",
    ),
    (
        ("export", "--model", "odd", "--task", "T2", "--out", "t2"),
        "stream.json: found Expecting property name",
    ),
    (("export", "--model", "run", "--task", "T2", "--out", "full"), "full holds 'thesis.txt'"),
    (
        ("export", "--model", "bare", "--task", "T2", "--out", "t2", "--format", "torch-export"),
        "pass --length N",
    ),
    ((*EMBED, "--data", "none.csv"), "none.csv: found no such file, wanted a table of events"),
    ((*EMBED, "--data", "mine/text.txt"), "text.txt: found suffix '.txt', wanted .parquet or .csv"),
    ((*EMBED, "--data", "mine/strangers.csv"), "found no event of an item that the model knows"),
    (
        (*EMBED, "--data", "mine/words.csv"),
        "column 'time': found str (['noon']), wanted numbers or dates",
    ),
    (
        (*EMBED, "--data", "mine/nameless.csv"),
        "found columns ['person', 'song'], wanted ['user', 'item']",
    ),
    ((*EMBED, "--data", "mine/bad.csv"), "bad.csv: found CSV parse error"),
    (
        (*EMBED, "--data", "mine/plays.csv", "--option", "a=1"),
        "--option goes with the name of a dataset",
    ),
    (
        (*EMBED[:5], "--out", "v.csv", "--data", "mine/plays.csv"),
        "the name of a file that ends in .parquet",
    ),
    (
        ("embed", "--model", "bare", *EMBED[3:], "--data", "mine/plays.csv"),
        "a folder that conure run wrote",
    ),
    (("clean", "--what", "results"), "invalid choice: 'results'"),
    (("completion", "fish"), "invalid choice: 'fish'"),
    (("completion",), "required: shell"),
    (("clean", "--what"), "argument --what: expected at least one argument"),
    (("clean", "stages"), "unrecognized arguments: stages; see conure"),
    (("notebooks", "00"), "unrecognized arguments: 00; see conure"),
    (("data",), "required: COMMAND; see conure data --help"),
    (("data", "list", "synthetic"), "unrecognized arguments: synthetic"),
    (("data", "fetch"), "required: NAME"),
    (("data", "fetch", "ml-25m", "--option"), "argument --option: expected one argument"),
    (("data", "fetch", "ml-25m", "--option", "path=none.zip"), "none.zip: found no such file"),
    (("data", "fetch", "ml-25m", "--option", "path=loop"), "option path='loop': found"),
    (
        ("data", "fetch", "ml-25m", "--option", "path="),
        "option path='': found no name, wanted a file or folder",
    ),
    (
        ("data", "fetch", "ml-1m", "--option", "path=mine/plays.csv"),
        "found a file, wanted the official zip",
    ),
    (
        ("data", "fetch", "ml-100k", "--option", "path=full"),
        "u.user: found no such file (beside it: ['thesis.txt'])",
    ),
    (
        ("data", "describe", "ml-32m", "--option", "path=mine/plays.csv"),
        "line 1, header: found 'user,item,time'",
    ),
    (("data", "describe", "ttl"), "ttl needs the option 'path'; pass it (--option path=...)"),
    (
        ("data", "describe", "ttl", "--option", "path=full", "--option", "files=5"),
        "option files=5; wanted: a value of",
    ),
    (
        (
            "data",
            "describe",
            "ttl",
            "--option",
            "path=full",
            "--option",
            'files={"T1": 5, "T2": 6}',
        ),
        "name T1 and at",
    ),
    (
        ("data", "describe", "custom", "--option", "path=mine/none.yaml"),
        "none.yaml: found no such file",
    ),
    (("data", "describe", "synthetic", "--option", "=5"), "synthetic has no option ''"),
    (
        ("data", "describe", "synthetic", "--option", "n_users=NaN"),
        "option n_users=nan; wanted: a value of type int",
    ),
    (
        ("data", "describe", "synthetic", "--option", "n_users=5e3"),
        "option n_users=5000.0; wanted: a value of type",
    ),
    (
        ("data", "describe", "synthetic", "--option", "n_users=-5"),
        "n_users=-5; wanted: a whole number from 50",
    ),
    (
        ("data", "describe", "synthetic", "--option", f"n_users={10**30}"),
        "wanted: a whole number from 50 to",
    ),
    (
        ("data", "describe", "synthetic", "--option", "n_users=" + "9" * 5000),
        "wanted: a value of type int",
    ),
    (
        ("data", "describe", "synthetic", "--option", "n_users=" + "[" * 100_000),
        "wanted: a value of type int",
    ),
    (
        ("data", "describe", "synthetic", "--option", "taste=NaN"),
        "taste=nan; wanted: a share from 0 to 1",
    ),
    (
        ("data", "describe", "synthetic", "--option", "clicks=Infinity"),
        "clicks=inf; wanted: labels a user",
    ),
    (
        ("data", "describe", "synthetic", "--option", "clicks=1e999"),
        "clicks=inf; wanted: labels a user",
    ),
    (
        ("data", "describe", "synthetic", "--option", "seed=-1"),
        "seed=-1; wanted: a whole number from 0",
    ),
    (
        ("data", "describe", "synthetic", "--option", "contradiction=yes"),
        "wanted: a value of type bool",
    ),
    (
        ("data", "describe", "complete-journey", "--option", "length=1"),
        "length=1; wanted: a whole number from 2",
    ),
    (("data", "describe", "synthetic", "--jsn"), "unrecognized arguments: --jsn"),
    ((*RUN, "--seed", "one"), "argument --seed: found 'one', wanted a whole number from 0"),
    ((*RUN, "--seed", "1.5"), "argument --seed: found '1.5', wanted a whole number"),
    ((*RUN, "--seed", "9" * 30), "argument --seed: found '9999"),
    ((*RUN, "--seed", "9" * 5000), "argument --seed: found '9999"),
    ((*RUN, "--seed", "nan"), "argument --seed: found 'nan', wanted a whole number"),
    ((*RUN, "--seed", ""), "argument --seed: found '', wanted a whole number"),
    ((*RUN, "--seed", " 1"), "argument --seed: found ' 1', wanted a whole number"),
    ((*RUN, "--seed", "1_0"), "argument --seed: found '1_0', wanted a whole number"),
    (
        (*RUN, "--workers", "many"),
        "argument --workers: found 'many', wanted a whole number from 1 to 1024",
    ),
    (
        (*RUN, "--workers", "1000000"),
        "argument --workers: found '1000000', wanted a whole number from 1 to 1024",
    ),
    ((*RUN, "--method", "conure"), "invalid choice: 'conure' (choose from"),
    ((*RUN, "--out", "loop"), "loop"),
    ((*RUN, "--out", "x" * 5000), "File name too long"),
    ((*RUN, "--out"), "argument --out: expected one argument"),
    ((*RUN, "--force"), "unrecognized arguments: --force"),
    (("run", "--tasks", "loop"), "'loop': found"),
    (
        ("run", "--tasks", "x" * 5000 + ".yaml"),
        "found File name too long, wanted the plan of the tasks",
    ),
    (("run", "--tasks", "a file/plan.yaml"), "found Not a directory, wanted the plan of the tasks"),
    (("run", "--tasks", "full"), "full/tasks.json: found no such file, wanted the plan"),
    (("run", "--tasks", ""), "tasks.json: found no such file"),
    (("run", "--tasks", "run"), "run/tasks.json: found no such file, wanted the plan"),
    ((*EXPORT,), "required: --task"),
    (
        (*EXPORT, "--task", ""),
        "run has not learned task ''; wanted: one that it has learned: T1, T2",
    ),
    ((*EXPORT, "--task", "../T2"), "run has not learned task '../T2'; wanted"),
    (
        (*EXPORT, "--task", "T2", "--length", "-3"),
        "argument --length: found '-3', wanted a whole number from 1",
    ),
    (
        (*EXPORT, "--task", "T2", "--length", "1000000000"),
        "argument --length: found '1000000000', wanted a whole",
    ),
    (
        (*EXPORT, "--task", "T2", "--length", "long"),
        "argument --length: found 'long', wanted a whole number",
    ),
    (
        ("export", "--model", "run", "--task", "T2", "--out", "a file"),
        "a file is a file; wanted: a folder",
    ),
    (("export", "--model", "run", "--task", "T2", "--out", "loop"), "loop"),
    (
        ("export", "--model", "a file", "--task", "T2", "--out", "t2"),
        "a file: cannot be read as a saved model: found",
    ),
    (
        ("export", "--model", "loop", "--task", "T2", "--out", "t2"),
        "loop: cannot be read as a saved model: found",
    ),
    (
        ("export", "--model", "mine", "--task", "T2", "--out", "t2"),
        "mine: cannot be read as a saved model: found",
    ),
    (
        ("export", "--model", "x" * 5000, "--task", "T2", "--out", "t2"),
        "wanted model.json and model.safetensors",
    ),
    ((*EMBED, "--data", "mine"), "mine/tasks.json: found no such file, wanted the plan"),
    (
        (*EMBED, "--data", "mine/plays.csv", "--threads", "0"),
        "argument --threads: found '0', wanted a whole number",
    ),
    (
        (*EMBED, "--data", "mine/plays.csv", "--threads", "99999"),
        "argument --threads: found '99999', wanted",
    ),
    (
        (*EMBED, "--data", "mine/empty.csv"),
        "empty.csv: found Empty CSV file, wanted a readable table",
    ),
    ((*EMBED, "--data", "mine/doubled.csv"), "found column 'item' twice, wanted it once"),
    ((*EMBED, "--data", "mine/numbers.csv"), "column 'item', row 0: found no value"),
    (
        (*EMBED, "--data", "synthetic", "--option", "n_users=5"),
        "n_users=5; wanted: a whole number from 50",
    ),
    ((*EMBED, "--data", "loop"), "loop"),
    ((*EMBED, "--data", ""), "tasks.json: found no such file"),
    ((*EMBED, "--data", "x" * 5000 + ".csv"), "File name too long"),
    ((*EMBED[:5], "--out", ".parquet", "--data", "mine/plays.csv"), "ends in .parquet"),
    ((*EMBED[:5], "--out", "a file/v.parquet", "--data", "mine/plays.csv"), "a file"),
    (
        (*EMBED[:5], "--out", "full", "--data", "mine/plays.csv"),
        "the name of a file that ends in .parquet",
    ),
    (("study", "--dataset", "mars"), "argument --dataset: invalid choice: 'mars' (choose from"),
    (("study", "--profile", "huge"), "argument --profile: invalid choice: 'huge' (choose from"),
    (
        ("study", "--dataset", "ttl"),
        "profile 'quick' has no settings for 'ttl'; it has complete-journey, ml-100k",
    ),
    (
        ("study", "--dataset", "synthetic", "--profile", "quick"),
        "profile 'quick' has no settings for 'synthetic'",
    ),
    (("study", "--seeds"), "argument --seeds: expected at least one argument"),
    (
        ("study", "--seeds", "1", "one"),
        "argument --seeds: found 'one', wanted a whole number from 0",
    ),
    (
        ("study", "--seeds", "1", "1"),
        "StudyConfig.seeds = (1, 1); wanted: a tuple of distinct integers",
    ),
    (("study", "--seeds=-1"), "argument --seeds: found '-1', wanted a whole number from 0"),
    (("study", "--seeds", "9" * 30), "argument --seeds: found '9999"),
    (
        ("study", "--cluster", "nowhere.json"),
        "argument --cluster: found 'nowhere.json', neither a file nor an address",
    ),
    (
        ("tune", "--cluster", "8786"),
        "argument --cluster: found '8786', neither a file nor an address",
    ),
    (
        ("study", "--workers", "0"),
        "argument --workers: found '0', wanted a whole number from 1 to 1024",
    ),
    (
        ("study", "--workers", "-2"),
        "argument --workers: found '-2', wanted a whole number from 1 to 1024",
    ),
    (("study", "--workers", "two"), "argument --workers: found 'two', wanted a whole number"),
    (("study", "--reuse", "yes"), "unrecognized arguments: yes"),
    (("figures", "--dataset", "mars"), "argument --dataset: invalid choice: 'mars' (choose from"),
    (("figures", "--profile", "paper"), "argument --profile: invalid choice: 'paper' (choose from"),
    (("figures", "--dataset", "custom"), "profile 'quick' has no settings for 'custom'"),
    (("figures", "--seeds", "0.5"), "argument --seeds: found '0.5', wanted a whole number"),
    (("figures", "--workers", "2"), "unrecognized arguments: --workers 2"),
    (("tune", "--profile", ""), "argument --profile: invalid choice: '' (choose from"),
    (("tune", "--dataset", "ml-1m"), "profile 'quick' has no settings for 'ml-1m'; it has"),
    (("tune", "--workers", "none"), "argument --workers: found 'none', wanted a whole number"),
    (("tune", "--seeds", "1"), "unrecognized arguments: --seeds 1"),
    (
        ("verdicts", "--profile", "paper"),
        "argument --profile: invalid choice: 'paper' (choose from",
    ),
    (
        ("verdicts", "--profile", "quick"),
        "profile 'quick' has no results yet; run: make study PROFILE=quick",
    ),
    (
        ("verdicts", "--datasets", "mars"),
        "argument --datasets: invalid choice: 'mars' (choose from",
    ),
    (("verdicts", "--datasets", "ttl"), "profile 'standard' has no settings for 'ttl'; it has"),
    (
        ("bench", "estimate", "--core-price", "0"),
        "argument --core-price: found '0', wanted a number above 0",
    ),
    (
        ("bench", "estimate", "--gpu-price", "nan"),
        "argument --gpu-price: found 'nan', wanted a number above 0",
    ),
    (
        ("bench", "estimate", "--gpu-tflops", "fast"),
        "argument --gpu-tflops: found 'fast', wanted a number above 0",
    ),
    (
        ("bench", "estimate", "--gpu-share", "30%"),
        "argument --gpu-share: found '30%', wanted a number above 0",
    ),
    (
        ("bench", "estimate", "--epochs", "0"),
        "argument --epochs: found '0', wanted a whole number from 1",
    ),
    (
        ("bench", "estimate", "--retrain-epochs", "2.5"),
        "argument --retrain-epochs: found '2.5', wanted a whole",
    ),
    (("readme", "now"), "unrecognized arguments: now"),
    (("bench", "speed"), "invalid choice: 'speed' (choose from"),
    (("bench", "compare"), "conure bench compare needs the commit to compare with"),
    (("bench", "run", "HEAD"), "conure bench compare needs the commit to compare with"),
    (("bench", "compare", "nowhere", "--quick"), "'nowhere' is no commit of the repository"),
    (
        ("bench", "compare", "--quick", "--", "--help"),
        "unrecognized arguments: -- --help; see conure --help",
    ),
    (
        ("bench", "--rounds", "0"),
        "argument --rounds: found '0', wanted a whole number from 1 to 1024",
    ),
    (
        ("bench", "--threads", "all"),
        "argument --threads: found 'all', wanted a whole number from 1 to 1024",
    ),
    (
        ("bench", "--threads", "1e3"),
        "argument --threads: found '1e3', wanted a whole number from 1 to 1024",
    ),
    (
        ("site", "--out", "full"),
        "full is not an older site; choose a new or an empty folder with --out",
    ),
    (
        ("site", "--out", "a file"),
        "a file is not an older site; choose a new or an empty folder with --out",
    ),
    (("site", "--out"), "argument --out: expected one argument"),
    (("site", "--out", "x" * 5000), "File name too long"),
    (("--version",), "the following arguments are required: COMMAND; see conure --help"),
]
"""Arguments of ``conure`` in the world that ``write_world`` makes, and words of the answer."""


AT_HAND = [
    ((*EMBED, "--data", "synthetic"), "run: found a model of another stream than synthetic"),
    (
        ("figures", "--dataset", "synthetic", "--profile", "smoke"),
        "is not computed yet; run: make study",
    ),
]
"""The same once the dataset is prepared, which is no mistake and is kept."""


def plans() -> Iterator[Case]:
    for number, (written, said) in enumerate(PLANS):

        def prepare(root: Path, written=written) -> Attempt:
            write_world(root)
            write_plan(root / "mine" / "plan.yaml", written)
            return ["run", "--tasks", "mine/plan.yaml"]

        yield Case("conure run: plan", f"row {number}", prepare, (said,))
    for number, (file, raw, said) in enumerate(RAW_PLANS):

        def prepare(root: Path, file=file, raw=raw) -> Attempt:
            write_world(root)
            (root / "mine" / "plan.yaml").unlink()
            make = raw if callable(raw) else lambda target: target.write_bytes(raw)
            make(root / "mine" / file)
            return ["run", "--tasks", f"mine/{file}"]

        yield Case("conure run: file of the plan", f"row {number}", prepare, (said,))


def commands() -> Iterator[Case]:
    for arguments, said in AT_HAND:

        def at_hand(root: Path, arguments=arguments) -> Attempt:
            write_world(root)
            for config in (DataConfig("synthetic"), study_config("synthetic", "smoke").data):
                load(config)
            return list(arguments)

        yield Case(f"conure {arguments[0]}", " ".join(arguments), at_hand, (said,))
    for arguments, said in COMMANDS:

        def prepare(root: Path, arguments=arguments) -> Attempt:
            write_world(root)
            return list(arguments)

        words = [
            *arguments[:1],
            *(a for a in arguments[1:2] if arguments[0] == "data" and not a.startswith("-")),
        ]
        yield Case(" ".join(["conure", *words]), " ".join(arguments)[:200], prepare, (said,))


def cases() -> Iterator[Case]:
    yield from plans()
    yield from commands()


def accepted() -> Iterator[tuple[str, Callable[[Path], Attempt], Callable[[Path], Attempt]]]:
    """Plans that look odd and are right: name, the odd input, the plain one; both give the same stream."""
    odd = {
        "a byte order mark": lambda raw: b"\xef\xbb\xbf" + raw,
        "line ends of Windows": lambda raw: raw.replace(b"\n", b"\r\n"),
        "both": lambda raw: b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n"),
        "comments": lambda raw: raw + b"# the end\n",
    }

    def prepare(root: Path, edit: Callable[[bytes], bytes]) -> Attempt:
        file = tables(root / "mine") / "plan.yaml"
        file.write_bytes(edit(file.read_bytes()))
        return lambda: load(DataConfig("custom", {"path": str(file)}))

    for name, edit in odd.items():
        yield f"plan: {name}", partial(prepare, edit=edit), partial(prepare, edit=lambda raw: raw)
