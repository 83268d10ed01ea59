"""From tables to a model to vectors: a run, a task that comes later, exports, embeddings; all as in-process."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from helpers import bytes_of, files_below, logits, rng, small_model, small_study
from small_service import FOURTH, SONGS, TASKS, USERS, plan_of, tables, write_plan

from conure_lib import paths
from conure_lib.cli import main
from conure_lib.data.registry import load
from conure_lib.data.sources import tables
from conure_lib.data.sources.plan import read_plan
from conure_lib.data.stream import TEST
from conure_lib.models.checkpoint import load_model
from conure_lib.models.ownership import ContinualModel
from conure_lib.study.study import Study
from conure_lib.training.evaluation import evaluate, metric_of, user_vectors
from conure_lib.user_models import export as handover
from conure_lib.user_models import train as own_data


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The tables, and below artifacts/runs/plan the model that ``conure run`` made of them."""
    root = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", root)
        folder = tables(root / "mine")
        assert main(["run", "--tasks", str(folder / "plan.yaml")]) == 0
        yield root


def trained_at(root):
    """Which stages there are, and when each was finished."""
    return {
        folder.name: folder.stat().st_mtime_ns
        for folder in (root / "artifacts" / "stages").iterdir()
    }


def json_of(capsys, *arguments):
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def sequences_of(stream):
    return torch.from_numpy(stream.sequences[stream.input_rows]).long()


def test_a_run_leaves_model_description_names_and_metrics(world):
    run, stream = (
        world / "artifacts" / "runs" / "plan",
        tables.build(path=world / "mine" / "plan.yaml"),
    )
    about = json.loads((run / "stream.json").read_text())
    assert about["digests"]["T3"] == stream.digest()
    assert about["tasks"] == stream.describe()
    assert about["info"]["classes"] == {"T3": ["old", "young"]}
    assert own_data.read_names(run, "items").tolist() == sorted(SONGS)
    assert own_data.read_names(run, "T3").tolist() == ["old", "young"]
    assert own_data.read_names(run, "T9") is None
    learner, metrics = ContinualModel.load(run), json.loads((run / "metrics.json").read_text())
    assert learner.tasks == metrics["unchanged"] == ["T1", "T2", "T3"]
    free = 1.0
    for row, task, kept in zip(metrics["tasks"], stream.tasks, (0.3, 0.2, 0.2), strict=True):
        found = evaluate(learner.for_task(task.name), stream, task, TEST)
        assert row["value"] == metric_of(task.kind, found)
        assert row["n"] == len(found)
        free *= 1 - kept
        assert row["free_share"] == pytest.approx(free, abs=0.01)
        assert row["owned"] == sum(
            int((o == 1 + learner.tasks.index(task.name)).sum()) for o in learner.owners.values()
        )
        assert {name: epochs["of"] <= 2 for name, epochs in row["epochs"].items()} == dict(
            train=True, retrain=True
        )
    assert not any("u0" in file.read_text(errors="replace") for file in run.iterdir()), (
        "users' ids are not kept"
    )


def test_what_was_computed_is_found_again_and_the_folder_replaced(world, tmp_path, capsys):
    before, run = trained_at(world), world / "artifacts" / "runs" / "plan"
    files = files_below(run)
    results = json_of(capsys, "run", "--tasks", world / "mine" / "plan.yaml")
    assert results["folder"] == str(run)
    assert trained_at(world) == before
    assert files_below(run) == files
    assert (
        main(
            [
                "run",
                "--tasks",
                str(world / "mine" / "plan.yaml"),
                "--out",
                str(tmp_path / "new" / "one"),
            ]
        )
        == 0
    )
    assert files_below(tmp_path / "new" / "one") == files
    shown = capsys.readouterr().out
    assert "best epoch" in shown
    assert "after the last task all of T1, T2, T3 answer as when learned, to the bit" in shown


def test_an_appended_task_is_learned_without_training_the_earlier_ones_again(
    world, tmp_path, capsys
):
    before, run = trained_at(world), world / "artifacts" / "runs" / "plan"
    write_plan(world / "mine" / "later.yaml", plan_of([*TASKS, FOURTH], prune={"T4": 0.5}))
    results = json_of(
        capsys, "run", "--tasks", world / "mine" / "later.yaml", "--out", tmp_path / "later"
    )
    after = trained_at(world)
    assert {name: after[name] for name in before} == before
    assert {name.split(".")[1] for name in after.keys() - before.keys()} == {"T4"}
    assert results["unchanged"] == ["T1", "T2", "T3", "T4"]
    old, new = ContinualModel.load(run), ContinualModel.load(tmp_path / "later")
    sequences = sequences_of(tables.build(path=world / "mine" / "later.yaml"))
    for task in old.tasks:
        ours, theirs = (logits(model.for_task(task), task, sequences) for model in (old, new))
        assert bytes_of(ours) == bytes_of(theirs)
    # the same as all four tasks learned from nothing
    shutil.move(world / "artifacts" / "stages", tmp_path / "stages")
    again = [*("run", "--tasks", world / "mine" / "later.yaml"), "--out", tmp_path / "again"]
    assert main([*map(str, again)]) == 0
    assert (
        files_below(tmp_path / "again")["model.safetensors"]
        == files_below(tmp_path / "later")["model.safetensors"]
    )
    shutil.rmtree(world / "artifacts" / "stages")
    shutil.move(tmp_path / "stages", world / "artifacts" / "stages")


def test_only_streams_that_grow_have_stages_that_do_not_depend_on_later_tasks(world):
    plans = {
        name: write_plan(world / "mine" / f"{name}.yaml", plan_of(tasks))
        for name, tasks in (("two", TASKS[:1]), ("three", TASKS), ("swapped", TASKS[::-1]))
    }
    found = {}
    for name, file in plans.items():
        study = own_data.study_of(read_plan(file), 1)
        found[name] = {task: stage.id for task, stage in study.run("Conure", 1).stages.items()}
    assert found["two"] == {task: found["three"][task] for task in ("T1", "T2")}
    assert found["swapped"]["T1"] == found["two"]["T1"]
    assert found["swapped"]["T2"] != found["two"]["T2"]
    study = Study(small_study())
    assert {stage.stream_digest for stage in study.run("Conure", 1).stages.values()} == {
        study.stream.digest()
    }


def test_earlier_tasks_with_other_data_are_trained_anew(world, tmp_path):
    other = shutil.copytree(world / "mine", tmp_path / "other")
    likes = pd.read_csv(other / "likes.csv")
    likes.iloc[:-1].to_csv(other / "likes.csv", index=False)
    ids = [
        {
            task: stage.id
            for task, stage in own_data.study_of(read_plan(f / "plan.yaml"), 1)
            .run("Conure", 1)
            .stages.items()
        }
        for f in (world / "mine", other)
    ]
    assert ids[0]["T1"] == ids[1]["T1"]
    assert ids[0]["T2"] != ids[1]["T2"]
    assert ids[0]["T3"] != ids[1]["T3"]


def test_another_method_is_measured_and_leaves_no_model(world, capsys):
    results = json_of(
        capsys, "run", "--tasks", world / "mine" / "plan.yaml", "--method", "Popularity"
    )
    folder = world / "artifacts" / "runs" / "plan-Popularity"
    assert sorted(p.name for p in folder.iterdir() if not p.name.startswith("names")) == [
        "metrics.json",
        "stream.json",
    ]
    assert all(row["value"] == row["popularity"] for row in results["tasks"])
    assert results["unchanged"] == []


def test_a_changed_logit_is_a_failed_check(world, monkeypatch, capsys):
    def broken(chosen):
        raise own_data.VerificationError("the logits of T1 are not what they were")

    monkeypatch.setattr(own_data, "unchanged", broken)
    assert main(["run", "--tasks", str(world / "mine" / "plan.yaml")]) == 1
    assert (
        capsys.readouterr().err.splitlines()[-1]
        == "conure: the logits of T1 are not what they were"
    )


@pytest.mark.parametrize("task", ["T1", "T2", "T3"])
def test_an_exported_task_gives_the_models_outputs(world, tmp_path, task, capsys):
    run = world / "artifacts" / "runs" / "plan"
    made = json_of(capsys, "export", "--model", run, "--task", task, "--out", tmp_path / "task")
    assert made["largest_difference"] == {"model.safetensors": 0.0}
    sequences = sequences_of(tables.build(path=world / "mine" / "plan.yaml"))
    exported, rest, about = load_model(tmp_path / "task")
    assert rest == {}
    assert list(exported.outputs) == [task]
    assert about["exported"]["length"] == 5
    whole = ContinualModel.load(run).for_task(task)
    assert bytes_of(logits(exported, task, sequences)) == bytes_of(logits(whole, task, sequences))
    labels = {"T1": [], "T2": ["names.T2.parquet"], "T3": ["names.T3.parquet"]}[task]
    assert made["files"] == ["model.json", "model.safetensors", *labels, "names.items.parquet"]


@pytest.mark.slow
def test_an_exported_program_gives_the_models_outputs_for_any_number_of_sequences(
    world, tmp_path, capsys
):
    run = world / "artifacts" / "runs" / "plan"
    command = [
        "export",
        "--model",
        run,
        "--task",
        "T3",
        "--out",
        tmp_path / "t3",
        "--format",
        "torch-export",
    ]
    made = json_of(capsys, *command)
    assert made["largest_difference"]["program.pt2"] <= handover.BOUND
    program = torch.export.load(tmp_path / "t3" / "program.pt2").module()
    stream = tables.build(path=world / "mine" / "plan.yaml")
    for rows in (1, 5, 30):
        sequences = sequences_of(stream)[:rows]
        vectors, scores = program(sequences)
        model = ContinualModel.load(run).for_task("T3")
        torch.testing.assert_close(
            vectors, model.user_vectors(sequences), rtol=0, atol=handover.BOUND
        )
        torch.testing.assert_close(
            scores, logits(model, "T3", sequences), rtol=0, atol=handover.BOUND
        )
    model.hidden(sequences)  # tracing left nothing behind in what the library remembers


def test_an_export_that_differs_is_refused_and_leaves_nothing(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(handover, "difference_of", lambda *_: 1e-3)
    command = [
        "export",
        "--model",
        world / "artifacts" / "runs" / "plan",
        "--task",
        "T2",
        "--out",
        tmp_path / "t2",
    ]
    assert main([*map(str, command)]) == 1
    assert "do not give the model's outputs" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_how_far_outputs_differ_is_seen():
    saved = [handover.TaskModel(model, "T2", False) for model in two_models()]
    assert handover.difference_of(saved[0], saved[0], 5) == 0
    assert 0 < handover.difference_of(*saved, 5) < 1


def two_models():
    for shift in (0.0, 1e-3):
        model = small_model()
        model.add_output("T2", 6, "ranking", rng())
        with torch.no_grad():
            model.outputs["T2"].weight += shift
        yield model.requires_grad_(False)


@pytest.mark.parametrize(
    ("task", "data"), [("T2", "plan.yaml"), ("T1", "plays.csv"), ("T3", "plays.parquet")]
)
def test_embedded_users_are_those_of_the_stream_in_its_order(world, tmp_path, task, data, capsys):
    pd.read_csv(world / "mine" / "plays.csv").to_parquet(
        world / "mine" / "plays.parquet", row_group_size=7
    )
    run, out = world / "artifacts" / "runs" / "plan", tmp_path / "vectors.parquet"
    done = json_of(
        capsys,
        "embed",
        "--model",
        run,
        "--task",
        task,
        "--data",
        world / "mine" / data,
        "--out",
        out,
    )
    assert done == {"users": 30, "left_out": 0, "unknown_events": 0, "file": str(out)}
    stream = tables.build(path=world / "mine" / "plan.yaml")
    table = pq.read_table(out)
    assert table["user"].to_pylist() == stream.names.users.tolist() == USERS
    model = ContinualModel.load(run).for_task(task)
    wanted = user_vectors(model, stream.sequences[stream.input_rows])
    assert np.array_equal(np.stack(table.to_pandas()["vector"]), wanted.numpy())


def test_embedding_does_not_depend_on_the_size_of_blocks_and_leaves_out_the_unknown(
    world, tmp_path, monkeypatch
):
    run = world / "artifacts" / "runs" / "plan"
    plays = pd.read_csv(world / "mine" / "plays.csv")
    new = pd.DataFrame(
        {
            "user": ["v1", "v1", "v1", "v2", "v2"],
            "item": ["s1", "s2", "new", "s3", "new"],
            "time": 9,
        }
    )
    pd.concat([new, plays]).to_parquet(tmp_path / "more.parquet", index=False)
    tablets = []
    for rows, batch in ((1 << 20, 4096), (3, 4)):
        monkeypatch.setattr("conure_lib.data.latest.ROWS", rows)
        saved = handover.open_saved(run, "T2")
        done = handover.embed_table(saved, tmp_path / "more.parquet", tmp_path / "v.parquet", batch)
        assert done == {"users": 31, "left_out": 1, "unknown_events": 2}
        tablets.append(pd.read_parquet(tmp_path / "v.parquet"))
    assert tablets[0]["user"].tolist() == [*USERS, "v1"]
    pd.testing.assert_frame_equal(*tablets)


def test_a_prepared_dataset_is_embedded_by_rows_of_its_users(world, tmp_path, capsys):
    study = Study(small_study())
    run = study.run("Conure", 1, ("T1",))
    study.compute([run])
    options = [f"--option={name}={value}" for name, value in study.config.data.options.items()]
    command = ["embed", "--model", run.stages["T1"].folder, "--task", "T1", "--data", "synthetic"]
    done = json_of(capsys, *command, "--out", tmp_path / "v.parquet", *options)
    assert done["users"] == study.stream.n_users
    table = pd.read_parquet(tmp_path / "v.parquet")
    assert table["user"].tolist() == list(range(study.stream.n_users))
    stream = load(study.config.data)
    wanted = user_vectors(
        run.stages["T1"].model().for_task("T1"), stream.sequences[stream.input_rows]
    )
    assert np.array_equal(np.stack(table["vector"]), wanted.numpy())
    assert (
        main(
            [*map(str, command), "--out", str(tmp_path / "w.parquet"), *options, "--option=seed=3"]
        )
        == 2
    )
    assert "a model of another stream" in capsys.readouterr().err
    assert not (tmp_path / "w.parquet").exists()


def test_a_plan_in_json_gives_the_same_run(world, tmp_path):
    copied = shutil.copytree(world / "mine", tmp_path / "copied")
    (copied / "tasks.json").write_text(json.dumps(plan_of()))
    write_plan(copied / "plan.yml", plan_of())
    ids = {
        own_data.study_of(read_plan(p), 1).run("Conure", 1).id
        for p in (copied, copied / "plan.yml", world / "mine/plan.yaml")
    }
    assert len(ids) == 1
    assert own_data.name_of(read_plan(copied)) == "copied"
    assert own_data.name_of(read_plan(copied / "plan.yml")) == "plan"
