"""Recomputing a committed seed: identical here, judged by the spread of seeds elsewhere."""

import shutil

import numpy as np
import pandas as pd
import pytest

from conure_lib import paths
from conure_lib.analysis import reproduce as again
from conure_lib.analysis import tables
from conure_lib.errors import ConfigError
from conure_lib.pipeline import provenance
from conure_lib.pipeline.store import CommittedStore, Stored, publish, write_evidence
from conure_lib.study.study import load_study

CLEAN = {**provenance.environment(), "commit": "c" * 40, "dirty": False}
ELSEWHERE = {**CLEAN, "processor": {**CLEAN["processor"], "vendor": "Somebody"}}


@pytest.fixture
def published(root, monkeypatch):
    """The smoke profile's STL as evidence, and no results of one's own."""
    monkeypatch.setattr(provenance, "environment", lambda device="cpu": CLEAN)
    monkeypatch.setattr(provenance, "is_known", lambda commit: True)
    monkeypatch.setattr(again, "all_runs", lambda study: [(study, study.runs(["STL"]))])
    study = load_study("synthetic", "smoke", results="local")
    runs = study.runs(["STL"])
    study.compute(runs)
    stages = {stage.id: stage for run in runs for stage in run.stages.values()}
    publish(stages.values())
    shutil.rmtree(paths.artifacts("stages"))
    return stages


def worsen(published, environment):
    """Make the evidence as if it had been computed elsewhere, with other ranks."""
    store, stages = load_study("synthetic", "smoke").store, {}
    for name in published:
        record, _, ranks = store.read(name)
        ranks = {measure: np.zeros_like(r) for measure, r in ranks.items()}
        metrics = [{**row, "value": 0.0} for row in record["metrics"]]
        stages[name] = Stored(record | {"metrics": metrics}, environment, ranks)
    write_evidence("smoke", "synthetic", 1, stages)


def test_a_committed_study_has_the_seeds_that_are_published(published):
    folder = paths.results("smoke", "synthetic", local=False)
    shutil.copy(folder / "seed-1.parquet", folder / "seed-3.parquet")
    assert load_study("synthetic", "smoke").config.seeds == (1, 3)
    assert load_study("synthetic", "smoke", [3]).config.seeds == (3,)


def test_the_same_kind_of_processor_gives_the_same_bits(published):
    table = again.reproduce("synthetic", "smoke", 1)
    assert set(table["outcome"]) == {again.IDENTICAL}
    assert (table["committed"] == table["recomputed"]).all()
    assert set(table["task"]) == {"T1", "T2", "T3", "T4", "T5", "T6"}


def test_networks_of_another_device_are_refused_before_anything_is_computed(published, monkeypatch):
    monkeypatch.setattr(CommittedStore, "device", "cuda")
    said = r"device: found 'cpu', expected 'cuda'.*\(CONURE_DEVICE=cuda\)"
    with pytest.raises(ConfigError, match=said):
        again.reproduce("synthetic", "smoke", 1)
    assert not paths.artifacts("stages").exists()


def test_a_seed_that_is_not_published_is_refused(published):
    with pytest.raises(ConfigError, match="--seed: found 2, expected a committed one of synth"):
        again.reproduce("synthetic", "smoke", 2)


def test_experiments_on_other_seeds_alone_are_not_recomputed(published, monkeypatch):
    def all_runs(study):
        several = [(study.changed("", seeds=(9,)), [])] if not study.local else []
        return [(study, study.runs(["STL"])), *several]

    monkeypatch.setattr(again, "all_runs", all_runs)
    assert set(again.reproduce("synthetic", "smoke", 1)["outcome"]) == {again.IDENTICAL}


@pytest.mark.parametrize(
    ("environment", "high", "outcome"),
    [
        (CLEAN, 1.0, again.DIFFERENT),
        (ELSEWHERE, 1.0, again.WITHIN),
        (ELSEWHERE, 0.0, again.OUTSIDE),
    ],
)
def test_other_bits_are_judged_by_where_they_come_from(
    published, monkeypatch, environment, high, outcome
):
    worsen(published, environment)
    index = pd.MultiIndex.from_product([["STL"], [""], ["T2"], ["T2"]], names=again.KEYS)
    spread = pd.DataFrame({"low": 0.0, "high": high}, index)
    monkeypatch.setattr(again, "one_more_seed", lambda results: spread)
    found = again.reproduce("synthetic", "smoke", 1).set_index("measure")
    assert found.loc["T2", "outcome"] == outcome
    assert found.loc["T2", "committed"] == 0 < found.loc["T2", "recomputed"]


def test_the_interval_of_one_more_seed_by_hand():
    results = pd.DataFrame(
        {"method": "STL", "variant": "", "task": "T2", "measure": "T2"}, range(3)
    )
    results = results.assign(measure=["T2", "T2", "T2-literal"], value=[0.0, 1.0, 0.3])
    ends = again.one_more_seed(results).to_numpy()
    assert ends.tolist()[1] == [-np.inf, np.inf]
    assert ends[0] == pytest.approx((0.5 - 11.0041, 0.5 + 11.0041), abs=1e-3)


def test_verdicts_are_compared_claim_by_claim(published, monkeypatch):
    def decided(study):
        value = str(tables.scores(study, study.runs(["STL"]), "T1").mean())
        return pd.DataFrame({"claim": ["C01", "C02"], "verdict": ["PARTLY", value]})

    again.reproduce("synthetic", "smoke", 1)  # the seed of one's own
    worsen(published, ELSEWHERE)
    monkeypatch.setattr(again, "ledger", decided)
    table = again.verdicts("synthetic", "smoke", 1)
    assert table["published"].tolist() == ["PARTLY", "0.0"]
    assert table["recomputed"].iloc[1] > "0.0"
    assert table["stays"].tolist() == [True, False]
