"""The search: alike for every method, never worse, the same every time, and what it chose is what is written."""

import hashlib
import json
from dataclasses import asdict, replace

import pandas as pd
import pytest
from helpers import small_stream, small_study

from conure_lib import paths
from conure_lib.cli import main
from conure_lib.config import ModelConfig, TrainConfig
from conure_lib.methods import ACTIONS, METHODS
from conure_lib.methods.method import SEARCH as DIALS
from conure_lib.pipeline.stage import Stage
from conure_lib.study import tuning
from conure_lib.study.profiles import PROFILES, study_config, with_chosen
from conure_lib.study.study import Study
from conure_lib.study.tuning import (
    MODELS,
    RETRAIN_RATES,
    T1_DIALS,
    TUNED,
    TUNING_SEED,
    Search,
)

WHOLE = small_stream()
SHORT = replace(WHOLE, tasks=tuple(WHOLE[name] for name in ("T1", "T4")))
LATER = ("scratch", "output-only", "joint", "finetune", "patched-serial", "train")
BASE = small_study(
    model=MODELS[0], train={"T1": TrainConfig(epochs=2), "*": TrainConfig(epochs=2, l2=0.01)}
)
TRIES = 7  # of every method on every later task


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, root):
    """All that a search writes or a study reads lies in the test's own folder, the settings too."""
    monkeypatch.setattr(paths, "settings", lambda dataset: root / "settings" / f"{dataset}.json")


@pytest.fixture
def imagined(monkeypatch):
    """Stages without training: what a stage's validation would be is a function of the stage that tests set."""
    quality = {"of": lambda stage: 0.5}

    def record(stage):
        epochs = [{"epoch": 0, "validation": 9.0}, {"epoch": 1, "validation": quality["of"](stage)}]
        return {
            "curve": [*epochs, {"epoch": 2, "validation": -1.0}]
        }  # neither the start nor the last counts

    monkeypatch.setattr(Stage, "record", record)
    monkeypatch.setattr(tuning, "compute", lambda *_, **__: None)
    return lambda function: quality.update(of=function)


def searched(monkeypatch, config=BASE, stream=WHOLE):
    monkeypatch.setattr(tuning, "Study", lambda config: Study(config, stream))
    monkeypatch.setattr(tuning, "study_config", lambda *_, **__: config)
    return tuning.search("synthetic", "smoke")


def by_chance(stage):
    """A quality without any order, with ties."""
    return int(hashlib.sha256(stage.id.encode()).hexdigest()[:2], 16) % 20 / 20


def settings_of(row):
    return {name: row[name] for name in (*asdict(TrainConfig()), "width", "blocks")}


def differing(one, other):
    return {name for name, value in settings_of(one).items() if value != settings_of(other)[name]}


def check_turns(table):
    """One dial after the other; a value is taken if it is strictly better: worked out from the table alone."""
    for (task, action), rows in table.groupby(["task", "action"], sort=False):
        best, *others = rows.to_dict("records")
        while others:
            dial, turn, now = others[0]["dial"], [], best
            while others and others[0]["dial"] == dial:
                turn.append(others.pop(0))
            for row in turn:
                moved = (
                    {"width", "blocks"}
                    if dial == "model"
                    else {dial.replace("retrain_rate", "learning_rate")}
                )
                assert differing(row, now) <= moved, (task, action, dial)
                assert differing(row, now)
                best = row if row["validation"] > best["validation"] else best
        (chosen,) = rows[rows["chosen"]].to_dict("records")
        assert chosen["stage_id"] == best["stage_id"], (task, action)
        assert chosen["validation"] == rows["validation"].max()


def check_choice(found):
    """The rows marked are what the study goes on with."""
    config, chosen = found.study.config, found.table().query("chosen")
    for row in chosen.to_dict("records"):
        assert settings_of(row) == {
            **asdict(config.training(row["task"], row["action"])),
            "width": config.model.width,
            "blocks": len(config.model.dilations),
        }
        assert row["stage_id"] in {
            stage.id for run in runs_of(found) for stage in run.stages.values()
        }
    assert len(chosen) == 2 + len(LATER) * (len(found.study.order) - 1)


def runs_of(found):
    return [found.study.run(method, TUNING_SEED) for method in METHODS]


# --- without training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", PROFILES["standard"])
def test_every_method_gets_the_same_number_of_tries(dataset, imagined, monkeypatch):
    """From the committed settings, whatever turns out to be best."""
    for quality in (lambda stage: 0.5, by_chance):
        imagined(quality)
        table = searched(monkeypatch, study_config(dataset, "standard", tuned=False)).table()
        sizes = table.groupby(["task", "action"]).size().to_dict()
        t1 = len(MODELS) + sum(len(values) - 1 for values in T1_DIALS.values())
        assert sizes.pop(("T1", "train")) == t1
        assert sizes.pop(("T1", "retrain")) == len(RETRAIN_RATES)
        later = [task.name for task in WHOLE.tasks[1:]]
        assert sizes == {(task, action): TRIES for task in later for action in LATER}
        assert table["stage_id"].is_unique
        assert set(table["stage_id"].str.extract(r"\.s(\d+)\.")[0]) == {str(TUNING_SEED)}


def test_the_methods_searched_are_all_that_train_but_for_those_that_follow():
    actions = {method: METHODS[method].recipe(("T1", "T2"))["T2"].action for method in TUNED}
    assert sorted(actions.values()) == sorted(LATER)
    assert set(METHODS) - set(TUNED) == {
        "Popularity",
        "PeterRec-parallel",
        "Conure, not retrained",
        "Conure",
    }


def test_mtl_turns_its_weight_where_others_turn_what_it_has_not():
    JOINT_DIALS = METHODS["MTL"].search["ranking"]
    assert JOINT_DIALS["learning_rate"] == DIALS["ranking"]["learning_rate"]
    for dials in (JOINT_DIALS, *DIALS.values()):
        assert 1 + sum(len(values) - 1 for values in dials.values()) == TRIES


def test_a_value_is_taken_only_if_it_is_better(imagined, monkeypatch):
    for salt in ("a", "b", "c"):
        imagined(
            lambda stage, salt=salt: by_chance(
                replace(stage, stream_digest=stage.stream_digest + salt)
            )
        )
        found = searched(monkeypatch)
        check_turns(found.table())
        check_choice(found)


def test_among_equals_what_was_stays(imagined, monkeypatch):
    """The base settings of the network and of retraining too, wherever they stand among what is tried."""
    for model in MODELS:
        for rate in RETRAIN_RATES:
            base = replace(BASE, model=model, retrain_rate=rate, seeds=(TUNING_SEED,))
            config = searched(monkeypatch, base).study.config
            assert (config.model, config.retrain_rate) == (model, rate)
            for task in WHOLE.tasks:
                for action in ACTIONS:
                    assert config.training(task.name, action) == base.training(task.name, action)


BEST = {
    "scratch": {"learning_rate": 0.0003, "l2": 0.1, "rho": 1.0},
    "finetune": {"learning_rate": 0.01, "l2": 0.001, "rho": 0.3},
    "joint": {"learning_rate": 0.003, "joint_weight": 0.5},
}


def test_every_method_finds_the_best_of_its_own(imagined, monkeypatch):
    def quality(stage):
        if stage.step.task == "T1":
            return {0.3: 1.0}.get(stage.config.retrain_rate, 0.5) * (stage.config.model == MODELS[2])
        settings = stage.config.training(stage.step.task, stage.step.action)
        return -sum(
            abs(getattr(settings, n) - v) for n, v in BEST.get(stage.step.action, {}).items()
        )

    imagined(quality)
    found = searched(monkeypatch)
    check_turns(found.table())
    config = found.study.config
    assert (config.model, config.retrain_rate) == (MODELS[2], 0.3)
    for action, best in BEST.items():
        for task in ("T2", "T3"):
            assert {name: getattr(config.training(task, action), name) for name in best} == best
    assert config.training("T4", "finetune").l2 == 0.001
    assert (
        config.training("T4", "finetune").rho == BASE.training("T4").rho
    )  # no dial of a classification
    assert config.training("T2", "output-only") == BASE.training("T2")
    assert (
        config.training("T2", "retrain").learning_rate == config.training("T2").learning_rate * 0.3
    )


def test_parallel_patches_take_the_settings_of_serial_ones(imagined, monkeypatch):
    imagined(by_chance)
    config = searched(monkeypatch).study.config
    serial, parallel = (
        [config.training(task.name, f"patched-{kind}") for task in WHOLE.tasks[1:]]
        for kind in ("serial", "parallel")
    )
    assert serial == parallel
    assert any(settings != BASE.training("T2") for settings in serial)


def test_a_later_task_stands_on_what_was_chosen_before(imagined, monkeypatch):
    imagined(by_chance)
    found = searched(monkeypatch)
    ids = set(found.table().query("chosen")["stage_id"])
    lineage = found.study.run("Conure-", TUNING_SEED).stages["T6"].lineage()
    trained = [stage for stage in lineage if stage.step.action == "train"]
    assert [stage.step.task for stage in trained] == [task.name for task in WHOLE.tasks]
    assert {stage.id for stage in trained} <= ids


def test_a_search_does_not_start_from_what_another_chose(imagined, monkeypatch):
    imagined(by_chance)
    monkeypatch.setattr(tuning, "Study", lambda config: Study(config, WHOLE))
    first = tuning.search("synthetic", "standard")
    tuning.write(first, "synthetic")
    assert study_config("synthetic", "standard", (TUNING_SEED,)) == first.study.config
    again = tuning.search("synthetic", "standard")
    pd.testing.assert_frame_equal(again.table(), first.table())
    assert again.study.config == first.study.config


@pytest.mark.parametrize("quality", [lambda stage: 0.5, by_chance])
def test_what_is_written_are_the_searched_studys_settings(quality, imagined, monkeypatch):
    imagined(quality)
    found = searched(monkeypatch)
    tried, settings = tuning.write(found, "synthetic")
    assert (tried, settings) == (paths.tuning() / "synthetic.csv", paths.settings("synthetic"))
    assert with_chosen(replace(BASE, seeds=(TUNING_SEED,))) == found.study.config
    content = json.loads(settings.read_text())
    assert set(content) == {"model", "retrain_rate", "train"}
    actions = (*LATER, "patched-parallel")
    assert set(content["train"]) == {"T1"} | {
        f"{t.name}.{a}" for t in WHOLE.tasks[1:] for a in actions
    }
    table = pd.read_csv(tried)
    assert table.shape == found.table().shape
    assert table["chosen"].dtype == bool
    assert table["stage_id"].tolist() == found.table()["stage_id"].tolist()


def test_the_command_writes_what_it_chose(root, imagined, capsys):
    imagined(by_chance)
    assert main(["tune", "--dataset", "synthetic", "--profile", "smoke"]) == 0
    said = capsys.readouterr().out
    assert "wrote results/tuning/synthetic.csv" in said
    assert "wrote settings/synthetic.json" in said
    chosen = pd.read_csv(paths.tuning() / "synthetic.csv").query("chosen")
    assert len(chosen) == 2 + 5 * len(LATER)
    assert all(text in said for text in chosen["action"])


# --- with training ---------------------------------------------------------------------------------------


def test_a_search_is_the_same_every_time(monkeypatch, tmp_path):
    models = (ModelConfig(4, (1,)), ModelConfig(8, (1,)))
    monkeypatch.setattr(tuning, "MODELS", models)
    config, tables = replace(BASE, model=models[1]), []
    for name in ("once", "twice"):
        monkeypatch.setattr(paths, "ROOT", tmp_path / name)
        found = searched(monkeypatch, config, SHORT)
        tables.append(found.table())
        check_choice(found)
    pd.testing.assert_frame_equal(*tables)
    check_turns(tables[0])
    for row in tables[0].query("chosen").to_dict("records"):
        (stage,) = {
            s.id: s for r in runs_of(found) for s in r.stages.values() if s.id == row["stage_id"]
        }.values()
        epochs = stage.record()["curve"]
        assert row["validation"] == max(e["validation"] for e in epochs if e["epoch"])
        assert row["epochs_run"] == epochs[-1]["epoch"]
    known = {path.name for path in paths.stages().iterdir()}
    assert set(tables[0]["stage_id"]) <= known
    again = Search(config)  # what is computed already is not computed again
    monkeypatch.setattr(
        tuning, "compute", lambda stages, *_, **__: [stage.record() for stage in stages]
    )
    again.first_task()
    again.later_task("T4")
    assert {row["stage_id"] for row in again.rows} <= known
