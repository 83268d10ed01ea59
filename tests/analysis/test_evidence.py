"""The committed tables and verdicts follow from the committed evidence."""

import re

import numpy as np
import pandas as pd
import pytest

from conure_lib import paths
from conure_lib.analysis.claims import CLAIMS
from conure_lib.analysis.render import render
from conure_lib.data import registry
from conure_lib.data.stream import TEST
from conure_lib.errors import ConureError
from conure_lib.pipeline.store import MODEL, evidence_ranks
from conure_lib.study.experiments import all_runs
from conure_lib.study.profiles import PROFILES
from conure_lib.study.study import load_study
from conure_lib.training.evaluation import evaluate

ROOT = paths.NOTEBOOKS.parent
PUBLISHED = [
    (profile, dataset)
    for profile, datasets in PROFILES.items()
    for dataset in datasets
    if any(ROOT.glob(f"results/{profile}/{dataset}/*.parquet"))
]
REPORTED = [dataset for profile, dataset in PUBLISHED if profile == "standard"]


def committed_ledger(profile, dataset):
    table = pd.read_csv(ROOT / "results" / "claims.csv").set_index(["profile", "dataset"])
    return table.loc[[(profile, dataset)]].reset_index()


@pytest.fixture(params=PUBLISHED, ids="-".join)
def evidence(request, monkeypatch):
    """Give a dataset's study as somebody has it who just cloned the repository.

    Data that may not be shipped (MovieLens) is there only where it was fetched before.
    """
    monkeypatch.setattr(paths, "ROOT", paths.CHECKOUT)
    profile, dataset = request.param
    try:
        return load_study(dataset, profile)
    except ConureError as error:
        pytest.skip(f"{dataset} is not at hand: {error}")


def test_tables_and_verdicts_follow_from_the_evidence(evidence, monkeypatch, tmp_path):
    profile, dataset = evidence.config.profile, evidence.stream.name
    committed = paths.results(profile, dataset, local=False)
    monkeypatch.setattr(paths, "results", lambda *_: tmp_path / dataset)
    monkeypatch.setattr(paths, "claims", lambda local: tmp_path / "claims.csv")
    *written, ledger = render(evidence)
    assert {path.name for path in written} == {path.name for path in committed.glob("*.csv")}
    pairs = [(path, pd.read_csv(committed / path.name)) for path in written]
    for path, expected in [*pairs, (ledger, committed_ledger(profile, dataset))]:
        found = pd.read_csv(path)[expected.columns]
        pd.testing.assert_frame_equal(found, expected, rtol=1e-5, check_dtype=False)


def test_the_evidence_was_computed_by_committed_code(evidence):
    for study, runs in all_runs(evidence):
        study.require(runs)  # and on one kind of processor
        for run in runs:
            for stage in run.stages.values():
                about = stage.environment()
                assert about["dirty"] is False
                assert re.fullmatch("[0-9a-f]{40}", about["commit"])


def test_a_committed_model_answers_as_the_evidence_says(evidence):
    """For all tasks, though T6's training ended last; the last bits are another processor's."""
    if not registry.DATASETS[evidence.stream.name].model_is_published:
        pytest.skip("no model of it is published")
    stages, fold = evidence.run("Conure", 1).stages, evidence.stream.fold(1)
    *_, last = stages.values()
    assert sum(file.stat().st_size for file in (evidence.store.folder / MODEL).iterdir()) < 1.2e6
    learner = last.model()
    assert tuple(learner.tasks) == evidence.order
    for task, stage in stages.items():
        found = evaluate(learner.for_task(task), fold, fold[task], TEST)[task]
        assert np.mean(evidence_ranks(task, found) == stage.ranks(task)) > 0.99


@pytest.mark.parametrize(("profile", "dataset"), PUBLISHED)
def test_every_dataset_has_all_verdicts_by_the_rules_as_they_are(profile, dataset):
    rows = committed_ledger(profile, dataset)
    found = dict(zip(rows["claim"], rows["rule"], strict=True))
    assert found == {name: claim.rule for name, claim in CLAIMS.items()}


@pytest.mark.parametrize("dataset", REPORTED)
def test_every_datasets_figure_of_verdicts_has_those_of_all(dataset):
    drawn = pd.read_csv(ROOT / "figures" / "standard" / dataset / "verdicts.csv")
    columns = ["claim", "dataset", "verdict"]
    published = pd.read_csv(ROOT / "results" / "claims.csv")
    published = published.loc[published["profile"] == "standard", columns]
    published = published.sort_values(columns, ignore_index=True)
    assert drawn[columns].sort_values(columns, ignore_index=True).equals(published)
