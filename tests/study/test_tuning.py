"""The search: alike for every method, never worse, repeatable; what it chose is what is written."""

import hashlib
import json
from dataclasses import asdict, replace

import pandas as pd
import pytest
from helpers import small_stream, small_study

from conure_lib import paths
from conure_lib.config import ModelConfig, TrainConfig
from conure_lib.methods import METHODS
from conure_lib.pipeline.stage import Stage
from conure_lib.study import tuning
from conure_lib.study.profiles import PROFILES, study_config
from conure_lib.study.study import Study
from conure_lib.study.tuning import MODELS, RETRAIN_RATES, T1_SEARCH, TUNED, TUNING_SEED

STREAM = small_stream()
SHORT = replace(STREAM, tasks=tuple(STREAM[name] for name in ("T1", "T4")))
ACTIONS = ("scratch", "output-only", "joint", "finetune", "patched-serial", "train")
BASE = small_study(
    model=MODELS[0], train={"T1": TrainConfig(epochs=2), "*": TrainConfig(epochs=2, l2=0.01)}
)
TRIES = 7  # of every method on every later task


@pytest.fixture(autouse=True)
def everything_below_root(root):
    """Stages and what the search writes stay in the test's folder."""


@pytest.fixture
def imagined(monkeypatch):
    """Replace training: a stage's validation value is what a function of the test says."""
    quality = {"of": lambda stage: 0.5}

    def record(stage):
        values = [9.0, quality["of"](stage), -1.0]  # neither the start nor the last epoch counts
        return {"curve": [{"epoch": n, "validation": v} for n, v in enumerate(values)]}

    monkeypatch.setattr(Stage, "record", record)
    monkeypatch.setattr(tuning, "compute", lambda *_, **__: None)
    return lambda function: quality.update(of=function)


def searched(monkeypatch, config=BASE, stream=STREAM):
    monkeypatch.setattr(tuning, "Study", lambda config: Study(config, stream))
    monkeypatch.setattr(tuning, "study_config", lambda *_, **__: config)
    return tuning.search("synthetic", "smoke")


def by_chance(stage):
    """Return a quality without any order, with ties."""
    return int(hashlib.sha256(stage.id.encode()).hexdigest()[:2], 16) % 20 / 20


def settings_of(row):
    return {name: row[name] for name in (*asdict(TrainConfig()), "width", "blocks")}


def check_steps(table):
    """Check from the table alone: one setting is varied at a time, a better value is taken."""
    for key, rows in table.groupby(["task", "action"], sort=False):
        best, *others = rows.to_dict("records")
        for varied, group in pd.DataFrame(others).groupby("varied", sort=False):
            now, moved = best, {"model": {"width", "blocks"}, "retrain_rate": {"learning_rate"}}
            for row in group.to_dict("records"):
                ours, theirs = settings_of(row), settings_of(now)
                different = {name for name in ours if ours[name] != theirs[name]}
                assert different, key
                assert different <= moved.get(varied, {varied}), key
                best = row if row["validation"] > best["validation"] else best
        (chosen,) = rows[rows["chosen"]].to_dict("records")
        assert chosen["stage_id"] == best["stage_id"], key
        assert chosen["validation"] == rows["validation"].max()


def check_choice(found):
    """Check that the rows marked are what the study goes on with."""
    config, chosen = found.study.config, found.table().query("chosen")
    runs = [found.study.run(method, TUNING_SEED) for method in METHODS]
    ids = {stage.id for run in runs for stage in run.stages.values()}
    for row in chosen.to_dict("records"):
        size = {"width": config.model.width, "blocks": len(config.model.dilations)}
        assert settings_of(row) == asdict(config.training(row["task"], row["action"])) | size
        assert row["stage_id"] in ids
    assert len(chosen) == 2 + len(ACTIONS) * (len(found.study.order) - 1)


@pytest.mark.parametrize("dataset", PROFILES["standard"])
def test_every_method_gets_the_same_number_of_tries(dataset, imagined, monkeypatch):
    """From the committed settings, whatever turns out to be best."""
    for quality in (lambda stage: 0.5, by_chance):
        imagined(quality)
        table = searched(monkeypatch, study_config(dataset, "standard", tuned=False)).table()
        sizes = table.groupby(["task", "action"]).size().to_dict()
        t1 = len(MODELS) + sum(len(values) - 1 for values in T1_SEARCH.values())
        assert sizes.pop(("T1", "train")) == t1
        assert sizes.pop(("T1", "retrain")) == len(RETRAIN_RATES)
        later = [task.name for task in STREAM.tasks[1:]]
        assert sizes == {(task, action): TRIES for task in later for action in ACTIONS}
        assert table["stage_id"].is_unique


def test_all_methods_that_train_are_searched_or_follow_another():
    actions = {METHODS[method].recipe(("T1", "T2"))["T2"].action for method in TUNED}
    assert actions == set(ACTIONS)
    follow = {METHODS[name].settings_of for name in set(METHODS) - {*TUNED, "Popularity"}}
    assert follow == {"PeterRec", "Conure-"}


def test_a_value_is_taken_only_if_it_is_better(imagined, monkeypatch):
    for salt in "abc":
        imagined(lambda s, salt=salt: by_chance(replace(s, stream_digest=s.stream_digest + salt)))
        found = searched(monkeypatch)
        check_steps(found.table())
        check_choice(found)


def test_among_equals_what_was_stays(imagined, monkeypatch):
    for model in MODELS:
        for rate in RETRAIN_RATES:
            base = replace(BASE, model=model, retrain_rate=rate, seeds=(TUNING_SEED,))
            config = searched(monkeypatch, base).study.config
            assert (config.model, config.retrain_rate) == (model, rate)
            for task in STREAM.tasks:
                for action in (*ACTIONS, "patched-parallel", "retrain"):
                    assert config.training(task.name, action) == base.training(task.name, action)


BEST = {
    "scratch": {"learning_rate": 0.0003, "l2": 0.1, "rho": 1.0},
    "finetune": {"learning_rate": 0.01, "l2": 0.001, "rho": 0.3},
    "joint": {"learning_rate": 0.003, "joint_weight": 0.5},
}


def test_every_method_finds_its_own_best(imagined, monkeypatch):
    def quality(stage):
        action = stage.step.action
        if stage.step.task == "T1":
            return (stage.config.retrain_rate == 0.3) + 2 * (stage.config.model == MODELS[2])
        settings = stage.config.training(stage.step.task, action)
        return -sum(abs(getattr(settings, n) - v) for n, v in BEST.get(action, {}).items())

    imagined(quality)
    found = searched(monkeypatch)
    check_steps(found.table())
    config = found.study.config
    assert (config.model, config.retrain_rate) == (MODELS[2], 0.3)
    for action, best in BEST.items():
        for task in ("T2", "T3"):
            assert {name: getattr(config.training(task, action), name) for name in best} == best
    assert config.training("T4", "finetune").l2 == 0.001
    assert config.training("T4", "finetune").rho == BASE.training("T4").rho  # not for classes
    assert config.training("T2", "output-only") == BASE.training("T2")
    rate = config.training("T2").learning_rate
    assert config.training("T2", "retrain").learning_rate == rate * 0.3


def test_later_tasks_start_from_what_was_chosen_and_parallel_patches_follow(imagined, monkeypatch):
    imagined(by_chance)
    found = searched(monkeypatch)
    ids = set(found.table().query("chosen")["stage_id"])
    lineage = found.study.run("Conure-", TUNING_SEED).stages["T6"].lineage()
    trained = [stage for stage in lineage if stage.step.action == "train"]
    assert [stage.step.task for stage in trained] == [task.name for task in STREAM.tasks]
    assert {stage.id for stage in trained} <= ids
    config, later = found.study.config, [task.name for task in STREAM.tasks[1:]]
    serial = [config.training(task, "patched-serial") for task in later]
    assert serial == [config.training(task, "patched-parallel") for task in later]
    assert any(settings != BASE.training("T2") for settings in serial)


def test_what_is_written_becomes_the_librarys_settings_by_copying(imagined, monkeypatch):
    imagined(by_chance)
    monkeypatch.setattr(tuning, "Study", lambda config: Study(config, STREAM))
    found = tuning.search("synthetic", "standard")
    tried, settings = tuning.write(found)
    folder = paths.results("x", "y", local=True).parent.parent / "tuning"
    assert (tried, settings) == (folder / "synthetic.csv", folder / "synthetic.json")
    table = pd.read_csv(tried)
    assert table["chosen"].dtype == bool
    assert table["stage_id"].tolist() == found.table()["stage_id"].tolist()
    content = json.loads(settings.read_text())
    later = [task.name for task in STREAM.tasks[1:]]
    keys = {f"{task}.{action}" for task in later for action in (*ACTIONS, "patched-parallel")}
    assert set(content["chosen"]["train"]) == {"T1"} | keys
    monkeypatch.setattr(paths, "settings", lambda dataset, _: folder / f"{dataset}.json")
    assert study_config("synthetic", "standard", [TUNING_SEED]) == found.study.config
    again = tuning.search("synthetic", "standard")  # does not start from what was chosen before
    pd.testing.assert_frame_equal(again.table(), found.table())


@pytest.mark.parametrize("dataset", PROFILES["standard"])
def test_the_committed_settings_are_those_that_the_committed_search_chose(dataset, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", paths.CHECKOUT)
    if not (tried := paths.tuning() / f"{dataset}.csv").is_file():
        pytest.skip(f"{dataset}: the search of this protocol has not run yet")
    table, config = pd.read_csv(tried), study_config(dataset, "standard")
    check_steps(table)
    for row in table.query("chosen").to_dict("records"):
        size = {"width": config.model.width, "blocks": len(config.model.dilations)}
        expected = asdict(config.training(row["task"], row["action"])) | size
        assert settings_of(row) == pytest.approx(expected)
    tries = table[table["task"] != "T1"].groupby(["task", "action"]).size()
    assert set(tries) == {TRIES}


def test_a_search_that_trains_is_the_same_every_time(monkeypatch, tmp_path):
    models = (ModelConfig(4, (1,)), ModelConfig(8, (1,)))
    monkeypatch.setattr(tuning, "MODELS", models)
    config, tables = replace(BASE, model=models[1]), []
    for name in ("once", "twice"):
        monkeypatch.setattr(paths, "ROOT", tmp_path / name)
        found = searched(monkeypatch, config, SHORT)
        tables.append(found.table())
        check_choice(found)
    pd.testing.assert_frame_equal(*tables)
    check_steps(tables[0])
    assert set(tables[0]["stage_id"]) <= {path.name for path in paths.artifacts("stages").iterdir()}
