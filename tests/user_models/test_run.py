"""A run: what it leaves, what is found again, what a later task changes, what is refused first."""

import json
import re
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from helpers import bytes_of, files_below, logits, refused
from small_service import FOURTH, SONGS, TASKS, USERS, plan_of, sequences_of, write_plan

from conure_lib.cli import main
from conure_lib.data.stream import TEST
from conure_lib.errors import ConfigError, DataError, StorageError, VerificationError
from conure_lib.files import write_json
from conure_lib.models.ownership import ContinualModel
from conure_lib.pipeline import provenance
from conure_lib.pipeline.stage import Stage
from conure_lib.pipeline.store import LocalStore
from conure_lib.study.study import Study
from conure_lib.training.evaluation import evaluate, metric_of
from conure_lib.user_models.export import embed, export, open_saved
from conure_lib.user_models.plan import read_plan
from conure_lib.user_models.train import _lost, run, warnings

ELSEWHERE = {"vendor": "Other", "family": 1, "model": 2, "capability": "AVX9", "limits": {}}


@pytest.fixture
def later(service):
    """A plan with a fourth task, whose stages are gone again after the test."""
    before = trained_at(service)
    yield read_plan(write_plan(service / "mine" / "later.yaml", plan_of([*TASKS, FOURTH])))
    for name in trained_at(service).keys() - before.keys():
        shutil.rmtree(service / "artifacts" / "stages" / name)


def trained_at(root):
    """Which stages there are, and when each was finished."""
    folders = (root / "artifacts" / "stages").glob("[!.]*")
    return {folder.name: folder.stat().st_mtime_ns for folder in folders}


def test_a_run_leaves_model_description_names_and_metrics(service, model):
    stream = read_plan(service / "mine" / "plan.yaml").stream()
    about = json.loads((model / "stream.json").read_text())
    assert about["digests"]["T3"] == stream.digest()
    assert about["tasks"] == stream.describe()
    assert about["info"]["classes"] == {"T3": ["old", "young"]}
    names = pd.read_parquet(model / "names.items.parquet")
    assert names["id"].tolist() == sorted(SONGS)
    learner, metrics = ContinualModel.load(model), json.loads((model / "metrics.json").read_text())
    assert learner.tasks == metrics["unchanged"] == ["T1", "T2", "T3"]
    free = 1.0
    for row, task, kept in zip(metrics["tasks"], stream.tasks, (0.3, 0.2, 0.2), strict=True):
        found = evaluate(learner.for_task(task.name), stream, task, TEST)[task.name]
        assert (row["value"], row["n"]) == (metric_of(task.kind, found), len(found))
        free *= 1 - kept
        assert row["free_share"] == pytest.approx(free, abs=0.01)
        number = 1 + learner.tasks.index(task.name)
        assert row["owned"] == sum(int((o == number).sum()) for o in learner.owners.values())
        assert row["epochs"].keys() == {"train", "retrain"}
    texts = [file.read_text(errors="replace") for file in model.iterdir()]
    assert not any("u0" in text for text in texts), "users' ids are not kept"


def test_what_was_computed_is_found_again_and_the_folder_replaced(service, model, tmp_path, capsys):
    before, files = trained_at(service), files_below(model)
    plan = service / "mine" / "plan.yaml"
    assert main(["run", "--tasks", str(plan), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(model)
    assert main(["run", "--tasks", str(plan), "--out", str(tmp_path / "new" / "one")]) == 0
    shown = capsys.readouterr().out
    assert "after the last task, T1, T2, T3 answer as when learned, bit by bit" in shown
    assert "dropped: 4 oldest events that fill no window" in shown
    assert shown.endswith(f"wrote {tmp_path / 'new' / 'one'}\n")
    assert trained_at(service) == before
    assert files_below(model) == files_below(tmp_path / "new" / "one") == files


def test_a_model_is_replaced_by_one_that_answers_otherwise_only_if_told_so(
    service, model, tmp_path, capsys, monkeypatch
):
    """Before anything is learned: other settings, and a plan that has lost a task."""
    folder, plan = tmp_path / "mine", plan_of(retrain_rate=0.2)
    shutil.copytree(model, folder)
    before, files = trained_at(service), files_below(folder)
    fewer = plan_of(tasks=plan_of()["tasks"][:-1])
    for changed, lost in ((plan, "T1, T2, T3"), (fewer, "T3")):
        file = write_plan(service / "mine" / "other.yaml", changed)
        with refused(ConfigError, f"{folder}: found a model whose {lost} would change", "--anew"):
            run(read_plan(file), folder)
    with monkeypatch.context() as patch:  # nothing to go on with, on another processor
        patch.setattr("conure_lib.paths.ROOT", tmp_path / "empty")
        patch.setattr(provenance, "processor", lambda device="cpu": ELSEWHERE)
        with refused(ConfigError, f"{folder}: found a model whose T1, T2, T3 would change"):
            run(read_plan(service / "mine" / "plan.yaml"), folder)
    assert (trained_at(service), files_below(folder)) == (before, files)
    file = write_plan(service / "mine" / "other.yaml", plan)
    assert main(["run", "--tasks", str(file), "--out", str(folder), "--anew"]) == 0
    assert "answer as when learned" in capsys.readouterr().out
    assert files_below(folder) != files
    for name in trained_at(service).keys() - before.keys():
        shutil.rmtree(service / "artifacts" / "stages" / name)


def test_only_an_appended_task_is_trained_also_elsewhere(
    service, model, later, tmp_path, monkeypatch
):
    before = trained_at(service)
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "processor", lambda device="cpu": ELSEWHERE)
        results = run(later, tmp_path / "later")
    after = trained_at(service)
    assert {name: after[name] for name in before} == before
    assert {name.split(".")[1] for name in after.keys() - before.keys()} == {"T4"}
    assert results["unchanged"] == ["T1", "T2", "T3", "T4"]
    (note,) = (note for note in results["notes"] if "several kinds of processors" in note)
    assert ": T1, T2, T3 on " in note
    assert "; T4 on Other 1/2 AVX9 torch " in note
    same = "after the last task, T1, T2, T3, T4 answer as when learned, bit by bit"
    assert same in results["notes"]
    old, new = ContinualModel.load(model), ContinualModel.load(tmp_path / "later")
    sequences = sequences_of(later.stream())
    for task in old.tasks:
        ours, theirs = (logits(one.for_task(task), task, sequences) for one in (old, new))
        assert bytes_of(ours) == bytes_of(theirs)
    # the same model comes from learning all tasks at once
    monkeypatch.setattr("conure_lib.paths.ROOT", tmp_path / "elsewhere")
    run(later, tmp_path / "at once")
    one, other = (tmp_path / name / "model.safetensors" for name in ("later", "at once"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("weights and logits", lambda now: now.model.embedding.data.add_(1e-6)),
        ("owners and .*", lambda now: [o.masked_fill_(o == 1, 2) for o in now.owners.values()]),
    ],
)
def test_a_changed_bit_of_an_earlier_task_is_found(service, tmp_path, monkeypatch, what, change):
    load = Stage.model

    def changed(stage):
        model = load(stage)
        if len(model.tasks) == 3:
            with torch.no_grad():
                change(model)
        return model

    monkeypatch.setattr(Stage, "model", changed)
    with pytest.raises(VerificationError, match=rf"found other {what} of T1 than when it"):
        run(read_plan(service / "mine" / "plan.yaml"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_stage_depends_on_the_tasks_and_data_up_to_its_own(service):
    found = {}
    later = [TASKS[0], TASKS[1] | {"file": "other.csv"}]
    ages = pd.read_parquet(service / "mine" / "ages.parquet")
    ages.iloc[1:].to_csv(service / "mine" / "other.csv", index=False)
    plans = {"two": TASKS[:1], "three": TASKS, "swapped": TASKS[::-1], "other": later}
    for name, tasks in plans.items():
        plan = read_plan(write_plan(service / "mine" / f"{name}.yaml", plan_of(tasks)))
        study = Study(plan.study_config(), stream=plan.stream(), growing=True)
        found[name] = {task: stage.id for task, stage in study.run("Conure", 1).stages.items()}
    assert found["two"] == {task: found["three"][task] for task in ("T1", "T2")}
    assert found["swapped"]["T1"] == found["two"]["T1"]
    assert found["swapped"]["T2"] != found["two"]["T2"]
    same = [found["other"][task] == stage for task, stage in found["three"].items()]
    assert same == [True, True, False]


def test_a_model_that_another_run_wrote_meanwhile_is_kept(service, model, tmp_path, monkeypatch):
    compute, folder = Study.compute, tmp_path / "mine"

    def meanwhile(study, *arguments):
        compute(study, *arguments)
        shutil.copytree(model, folder)

    monkeypatch.setattr(Study, "compute", meanwhile)
    file, before = plan_of(retrain_rate=0.2), trained_at(service)
    file = write_plan(service / "mine" / "other.yaml", file)
    with refused(ConfigError, f"{folder}: found a model whose T1, T2, T3 would change"):
        run(read_plan(file), folder)
    assert files_below(folder) == files_below(model)
    for name in trained_at(service).keys() - before.keys():
        shutil.rmtree(service / "artifacts" / "stages" / name)


def test_what_a_method_has_forgotten_is_told(service):
    before = trained_at(service)
    results = run(read_plan(service / "mine" / "plan.yaml"), method="Sequential")
    (note,) = (note for note in results["notes"] if "when learned" in note)
    assert re.match(
        r"after the last task: T1-all [\d.]+ \([\d.]+ when learned\), T2 [\d.]+ \(", note
    )
    for name in trained_at(service).keys() - before.keys():
        shutil.rmtree(service / "artifacts" / "stages" / name)


def test_another_method_is_measured_and_leaves_no_model(service, model):
    plan = read_plan(service / "mine" / "plan.yaml")
    results = run(plan, method="Popularity")
    folder = service / "artifacts" / "models" / "plan-Popularity"
    assert results["folder"] == str(folder)
    assert {file.name for file in folder.glob("*.json")} == {"metrics.json", "stream.json"}
    assert all(row["value"] == row["popularity"] for row in results["tasks"])
    assert results["unchanged"] == []
    files = files_below(model)
    with refused(ConfigError, "something else, expected ", "conure run with Popularity"):
        run(plan, model, method="Popularity")
    assert files_below(model) == files
    (folder / "mine.safetensors").write_text("somebody's own")
    with refused(ConfigError, f"{folder}: found 'mine.safetensors', expected"):
        run(plan, method="Popularity")
    shutil.rmtree(folder)


@pytest.mark.parametrize("backbone", ["nextitnet", "gru", "sasrec"])
def test_a_grown_model_of_any_backbone_is_exported_and_embeds(service, tmp_path, backbone):
    """Half of the kernels is free after T1, a quarter after T2: T3 adds a block."""
    model = {"width": 8, "backbone": backbone, "layers": 2}
    changes = {"model": model, "prune": {"*": 0.5}, "grow_below": 0.3}
    plan = read_plan(write_plan(service / "mine" / "grown.yaml", plan_of(**changes)))
    results = run(plan, tmp_path / "model")
    assert [row["blocks"] for row in results["tasks"]] == [2, 2, 3]
    assert results["unchanged"] == ["T1", "T2", "T3"]
    for task in results["unchanged"]:
        saved = open_saved(tmp_path / "model", task)
        assert export(saved, tmp_path / task)["largest_difference"]["model.safetensors"] == 0
        done = embed(saved, service / "mine" / "plays.csv", tmp_path / "vectors.parquet")
        assert done["users"] == len(USERS)


def test_what_is_doubtful_about_a_result_is_one_line_each():
    rows = [
        {"task": "T1", "value": 0.25, "popularity": 0.5, "linear": None, "epochs": {}},
        {"task": "T2", "value": 0.5, "popularity": 0.5, "linear": 0.125, "epochs": {}},
        {"task": "T3", "value": 0.5, "popularity": 0.25, "linear": 0.75, "free_share": 0.04},
    ]
    rows[2]["epochs"] = {"train": {"capped": [2]}, "retrain": {"capped": []}}
    below = "warning: below a floor: T1 (0.25; popularity 0.5), T3 (0.5; linear 0.75)"
    capped = "warning: still rising when the epochs were over: train of T3"
    free = "warning: 4.0% of the weights are free for later tasks: "
    assert warnings(rows, 0.05) == [below, capped, f"{free}the next one adds a block"]
    assert warnings(rows, 0.0)[2].startswith(f"{free}prune more, or")
    rows[2]["free_share"] = 0.05
    assert warnings(rows[2:], 0.0)[1:] == [capped]
    assert warnings(rows[1:2], 0.5) == []


def test_what_can_be_checked_is_checked_before_the_first_stage(service, tmp_path, monkeypatch):
    monkeypatch.setattr("conure_lib.paths.ROOT", tmp_path / "empty")
    mine = shutil.copytree(service / "mine", tmp_path / "mine")
    plan, out = read_plan(mine / "plan.yaml"), tmp_path / "new"

    def check(error, *words, **given):
        files = files_below(tmp_path)
        with refused(error, *words):
            run(**{"plan": plan, "folder": out} | given)
        assert files_below(tmp_path) == files

    check(ConfigError, "--method: found 'Conjure', expected Popularity or", method="Conjure")
    check(ConfigError, "--method: found 'Group popularity'", method="Group popularity")
    folds = plan_of(options={"length": 5, "min_events": 2, "split": "folds"})
    folds = read_plan(write_plan(mine / "folds.yaml", folds))
    check(ConfigError, "--seed: found 7, expected that of a fold", plan=folds, seed=7)
    check(ConfigError, "seeds", "found -1", seed=-1)
    if not torch.cuda.is_available():
        check(ConfigError, "device: found 'cuda'", device="cuda")
    check(ConfigError, "expected a new name", folder=mine)
    check(ConfigError, "expected a new name", folder=mine / "plays.csv")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
        said = "found 0 MiB free, expected ", " MiB for 9 stages and the model; make room"
        check(StorageError, *said)
        (other := tmp_path / "other disk").mkdir()  # where the model alone goes
        free = lambda path: SimpleNamespace(free=0 if path == other else 10**12)  # noqa: E731
        patch.setattr(shutil, "disk_usage", free)
        check(StorageError, f"{other}: found 0 MiB free", folder=other / "model")
    (mine / "likes.csv").write_text("user,likes\nu01,s1\n")
    check(DataError, "likes.csv: found columns ['user', 'likes'], expected 'label' once")


@pytest.mark.parametrize("way", ["plain", "relative", "link", "dots"])
def test_no_output_replaces_an_input_whatever_its_path_looks_like(
    service, model, tmp_path, monkeypatch, capsys, way
):
    def path_to(target):
        link = tmp_path / f"{len(list(tmp_path.iterdir()))}{target.suffix}"
        link.symlink_to(target)
        dots = target.parent / ".." / target.parent.name / target.name
        ways = {"plain": target, "link": link, "dots": dots}
        return (ways | {"relative": target.relative_to(service)})[way]

    monkeypatch.chdir(service)
    plan, events = service / "mine" / "plan.yaml", service / "mine" / "plays.csv"
    parquet = service / "mine" / "plays.parquet"
    pd.read_csv(events).to_parquet(parquet)
    files = files_below(service)
    opened = ["--model", model, "--task", "T2"]
    for *command, out in (
        ["export", *opened, model],
        ["export", *opened, plan.parent],
        ["embed", *opened, "--data", parquet, parquet],
        ["embed", *opened, "--data", parquet, model / "names.items.parquet"],
        ["run", "--tasks", plan, "--method", "STL", model],
        ["run", "--tasks", plan, plan.parent],
    ):
        capsys.readouterr()
        assert main([*map(str, command), "--out", str(path_to(out))]) == 2, command
        assert capsys.readouterr().err.count("\n") == 1
    assert files_below(service) == files


def test_what_was_learned_elsewhere_is_kept_only_with_its_stage(root, tmp_path):
    kinds = {"T1": "another", "T2": provenance.kind_here()}
    rows = [{"task": task, "stage": f"stage of {task}"} for task in kinds]
    about = {"tasks": rows, "kinds": kinds, "environment": provenance.environment()}
    write_json(tmp_path / "metrics.json", about)
    stages = {t: SimpleNamespace(id=f"stage of {t}", store=LocalStore()) for t in kinds}
    chosen = SimpleNamespace(stages=stages)
    assert _lost(tmp_path, chosen, kinds["T2"]) == ["T1"]
    assert _lost(tmp_path, chosen, "another") == ["T2"]
    LocalStore().folder("stage of T1").mkdir(parents=True)
    assert _lost(tmp_path, chosen, kinds["T2"]) == []
