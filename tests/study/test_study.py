"""Runs of methods and their results: what is shared, what is missing, what is read."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers import refused, small_stream, small_study

from conure_lib.config import TrainConfig
from conure_lib.data.stream import TEST
from conure_lib.errors import ConfigError, MissingResultError
from conure_lib.methods import METHODS
from conure_lib.study.study import Study, load_study
from conure_lib.training.evaluation import metric_of

STREAM = small_stream()
SHORT = ("T1", "T2", "T4")


def test_what_cannot_be_studied_is_named():
    study = Study(small_study(), small_stream(length=7))
    for order in (("T2", "T1"), ("T1", "T2", "T2"), ("T1", "T9")):
        with refused(ConfigError, f"order: found {order}, expected T1 first, then others of"):
            study.run("Conure", 1, order)
    with refused(ConfigError, "method: found 'Magic', expected Popularity or "):
        study.run("Magic", 1)
    train = {**small_study().train, "T2.finetun": TrainConfig()}
    with refused(ConfigError, "action of train: found 'finetun', expected", "or finetune"):
        Study(small_study(train=train), STREAM)
    with refused(ConfigError, "dilations: found (1,), which read 7 of 8 items"):
        Study(small_study(), small_stream(length=8))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_seed_is_tested_on_its_own_fold_and_one_of_a_search_on_nothing(root):
    study = Study(small_study(seeds=(0, 2)), STREAM)
    runs = study.runs(["Popularity", "STL", "EWC", "Conure"], SHORT)
    study.compute(runs)
    for run in runs:
        for task, stage in run.stages.items():
            rows = STREAM.fold(run.seed)[task].rows(TEST)
            found = {m["measure"]: m["n"] for m in stage.record()["metrics"]}
            assert found.get(task, 0) == len(rows)
            assert bool(found) == bool(run.seed)
            assert not run.seed or len(stage.ranks(task)) == len(rows)


def test_a_changed_study_shares_what_the_change_does_not_touch():
    study = Study(small_study(), STREAM)
    prune = {**study.config.prune, "T2": 0.5}
    other = study.changed("pr50", prune=prune, seeds=(3, 1))
    assert (study.config, study.variant) == (small_study(), "")
    assert (other.config, other.variant) == (small_study(prune=prune, seeds=(3, 1)), "pr50")
    assert other.stream is study.stream
    assert study.run("STL", 1).id == other.run("STL", 1).id  # the same run under another name
    runs = other.runs(("STL", "Conure"), ("T1", "T3"))
    found = [(run.method, run.variant, run.seed, *run.stages) for run in runs]
    expected = [(name, "pr50", seed, "T1", "T3") for name in ("STL", "Conure") for seed in (3, 1)]
    assert found == expected


def test_records_ranks_and_results_say_the_same(root):
    study = Study(small_study(), STREAM)
    runs = [study.run(method, 1, SHORT) for method in METHODS]
    named = study.changed("another name").run("Popularity", 1, ("T1",))
    study.ready([*runs, named])  # a small profile is computed on demand
    rows = study.results([*runs, named])
    columns = "dataset profile method variant task seed measure metric value n run_id stage_id"
    assert set(rows.columns) == {*columns.split(), "commit"}
    assert set(rows["method"]) == set(METHODS) - {"Group popularity"}  # there are no groups
    assert rows["variant"].eq("another name").tolist() == (rows["run_id"] == named.id).tolist()
    for run in runs:
        for task, stage in run.stages.items():
            record, ranks = stage.record(), stage.ranks(task)
            assert record["spec"] == json.loads(json.dumps(stage.spec))
            assert (ranks.dtype, len(ranks)) == (np.uint8, len(STREAM[task].rows(TEST)))
            own = rows.query(f"stage_id == '{stage.id}' and measure == '{task}'")
            assert set(own["value"]) == {metric_of(STREAM[task].kind, ranks)}
            assert set(own["n"]) == {len(ranks)}
    pd.testing.assert_frame_equal(study.results(runs[:1]), rows.iloc[:5])


def test_a_missing_result_says_what_to_do(root):
    study = Study(small_study(profile="standard", seeds=(4,)), STREAM)
    runs = study.runs(["STL"])
    stage, command = runs[0].stages["T2"], "make study DATASET=synthetic PROFILE=standard SEEDS=4"
    asks = [stage.record, stage.model, stage.environment, lambda: stage.ranks("T2")]
    asks += [lambda f=f: f(runs) for f in (study.require, study.ready, study.results)]
    for ask in asks:
        with refused(MissingResultError, "of synthetic.T", command):
            ask()


def test_loading_a_study(root):
    local = load_study("synthetic", "smoke", results="local")
    assert (local.local, local.config.seeds) == (True, (1,))
    assert load_study("synthetic", "smoke", [5, 6], "local").config.seeds == (5, 6)
    said = f"no committed results in {root}", 'results="local" (RESULTS', "set CONURE_ROOT"
    with refused(MissingResultError, *said):
        load_study("synthetic", "smoke")
    with refused(ConfigError, "results: found 'mine', expected committed or local"):
        load_study("synthetic", "smoke", results="mine")
