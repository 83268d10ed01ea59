"""Recomputing a committed seed: identical here, judged by the spread of seeds elsewhere."""

import shutil

import numpy as np
import pandas as pd
import pytest

from conure_lib import paths
from conure_lib.analysis import reproduce as module
from conure_lib.analysis import tables
from conure_lib.analysis.reproduce import DIFFERENT, IDENTICAL, OUTSIDE, reproduce, verdicts
from conure_lib.pipeline import provenance
from conure_lib.pipeline.store import Stored, publish, write_evidence
from conure_lib.study.study import load_study

CLEAN = {**provenance.environment(), "commit": "c" * 40, "dirty": False}
ELSEWHERE = {**CLEAN, "processor": {**CLEAN["processor"], "vendor": "Somebody"}}


@pytest.fixture
def published(root, monkeypatch):
    """The smoke profile's STL as evidence, and no results of one's own."""
    monkeypatch.setattr(provenance, "environment", lambda device="cpu": CLEAN)
    monkeypatch.setattr(module, "all_runs", lambda study: [(study, study.runs(["STL"]))])
    study = load_study("synthetic", "smoke", results="local")
    runs = study.runs(["STL"])
    study.compute(runs)
    stages = [stage for run in runs for stage in run.stages.values()]
    publish(stages)
    shutil.rmtree(paths.artifacts("stages"))
    return {stage.id: stage for stage in stages}


def changed(published, environment, worse):
    """Evidence as if it had been computed elsewhere, with other ranks if ``worse``."""
    store, stages = load_study("synthetic", "smoke").store, {}
    for name in published:
        record, _, ranks = store.read(name)
        if worse:
            ranks = {measure: np.zeros_like(r) for measure, r in ranks.items()}
            metrics = [{**row, "value": 0.0} for row in record["metrics"]]
            record = record | {"metrics": metrics}
        stages[name] = Stored(record, environment, ranks)
    write_evidence("smoke", "synthetic", 1, stages)


def test_a_committed_study_has_the_seeds_that_are_published(published):
    folder = paths.results("smoke", "synthetic", local=False)
    shutil.copy(folder / "seed-1.parquet", folder / "seed-3.parquet")
    assert load_study("synthetic", "smoke").config.seeds == (1, 3)
    assert load_study("synthetic", "smoke", [3]).config.seeds == (3,)


def test_the_same_kind_of_processor_gives_the_same_bits(published):
    table = reproduce("synthetic", "smoke", 1)
    assert set(table["outcome"]) == {IDENTICAL}
    assert (table["committed"] == table["recomputed"]).all()
    assert set(table["task"]) == {"T1", "T2", "T3", "T4", "T5", "T6"}


def test_other_bits_on_the_same_kind_of_processor_are_named(published):
    changed(published, CLEAN, worse=True)
    assert DIFFERENT in set(reproduce("synthetic", "smoke", 1)["outcome"])


def test_another_kind_of_processor_is_judged_by_the_spread_of_seeds(published, monkeypatch):
    changed(published, ELSEWHERE, worse=True)
    monkeypatch.setattr(module, "_interval_of_one_more", lambda values: (0.0, 0.0))
    found = set(reproduce("synthetic", "smoke", 1)["outcome"])
    assert OUTSIDE in found
    assert DIFFERENT not in found


def test_the_interval_of_one_more_seed_by_hand():
    low, high = module._interval_of_one_more(np.array([0.0, 1.0]))
    assert (low, high) == pytest.approx((0.5 - 11.0041, 0.5 + 11.0041), abs=1e-3)
    assert module._interval_of_one_more(np.array([0.3])) == (-np.inf, np.inf)


def test_verdicts_are_compared_claim_by_claim(published, monkeypatch):
    def decided(study):
        (run,) = study.runs(["STL"])
        value = str(tables.metric(run, "T1"))
        return pd.DataFrame({"claim": ["C01", "C02"], "verdict": ["PARTLY", value]})

    reproduce("synthetic", "smoke", 1)  # the seed of one's own
    changed(published, ELSEWHERE, worse=True)
    monkeypatch.setattr(module, "ledger", decided)
    table = verdicts("synthetic", "smoke", 1)
    assert table["published"].tolist() == ["PARTLY", "0.0"]
    assert table["recomputed"].iloc[1] > "0.0"
    assert table["stays"].tolist() == [True, False]
