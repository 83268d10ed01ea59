"""The committed results: derived from the committed records, and quoted correctly."""

import re
from dataclasses import asdict

import pandas as pd
import pytest

from conure_lib import paths
from conure_lib.analysis import claims, tables
from conure_lib.errors import DataError
from conure_lib.methods import COMPARED, METHODS
from conure_lib.methods.method import SEARCH as DIALS
from conure_lib.study.experiments import dial_runs, dials
from conure_lib.study.profiles import PROFILES, study_config
from conure_lib.study.study import Study
from conure_lib.study.tuning import RETRAIN_RATES, TUNED

REPOSITORY = paths.NOTEBOOKS.parent
REPORTED = tuple(
    sorted(path.parent.name for path in REPOSITORY.glob("results/standard/*/overall.csv"))
)
CHOSEN = sorted(REPOSITORY.glob("conure_lib/settings/*.json"))


def committed(name: str) -> pd.DataFrame:
    return pd.read_csv(REPOSITORY / "results" / name)


@pytest.fixture(params=REPORTED)
def reported(request, monkeypatch, tmp_path):
    """A dataset's study as somebody has it who just cloned the repository: committed results, no artifacts.

    Data that may not be shipped (MovieLens) is there only where it was fetched before.
    """
    monkeypatch.setattr(paths, "ROOT", REPOSITORY)
    config = study_config(request.param, "standard")
    try:
        study = Study(config)
    except DataError as error:
        pytest.skip(f"{request.param} is not at hand: {error}")
    monkeypatch.setattr(paths, "artifacts", lambda: tmp_path)
    return study


def test_the_committed_tables_and_verdicts_follow_from_the_committed_records(reported):
    name = reported.stream.name
    derived = tables.overall(reported, reported.runs(COMPARED))
    table = committed(f"standard/{name}/overall.csv").fillna({"variant": ""})
    pd.testing.assert_frame_equal(derived, table, rtol=1e-5, check_dtype=False)
    found = claims.ledger(reported)
    ledger = committed("claims.csv")
    ledger = ledger[(ledger["dataset"] == name) & (ledger["profile"] == "standard")].fillna(
        {"run_ids": ""}
    )
    pd.testing.assert_frame_equal(
        found, ledger.reset_index(drop=True), rtol=1e-5, check_dtype=False
    )


def test_the_committed_dials_follow_from_the_committed_records(reported):
    if reported.stream.name != "synthetic":
        pytest.skip("only the synthetic stream has dials")
    for point_name, point in dials(reported).items():
        derived = point.results(dial_runs({point_name: point}))
        table = committed("standard/synthetic/dials.csv")
        table = table[
            table["stage_id"].isin(derived["stage_id"]) & table["run_id"].isin(derived["run_id"])
        ]
        assert sorted(table["value"]) == pytest.approx(sorted(derived["value"]), rel=1e-5), (
            point_name
        )


def test_every_reported_dataset_has_all_verdicts_by_the_rules_as_they_are():
    ledger = committed("claims.csv")
    assert sorted(set(ledger["dataset"])) == list(REPORTED)
    for dataset in REPORTED:
        rows = ledger[(ledger["dataset"] == dataset) & (ledger["profile"] == "standard")]
        assert sorted(rows["claim"]) == sorted(claims.CLAIMS), dataset
        assert dict(zip(rows["claim"], rows["rule"], strict=True)) == {
            n: c.rule for n, c in claims.CLAIMS.items()
        }


def test_every_committed_result_was_computed_by_committed_code():
    """No record from a changed checkout; commits are named."""
    environments = [
        path.read_text(encoding="utf-8")
        for path in REPOSITORY.glob("results/runs/*/*/environment.json")
    ]
    assert len(environments) > 1000
    assert all('"dirty": false' in text for text in environments)
    assert all(re.search(r'"commit": "[0-9a-f]{40}"', text) for text in environments)


@pytest.mark.parametrize("path", CHOSEN, ids=lambda path: path.stem)
def test_the_settings_are_what_the_search_chose(path):
    """Beside every choice lies what was tried: alike for all methods, and nothing that was better."""
    table = pd.read_csv(REPOSITORY / "results" / "tuning" / f"{path.stem}.csv")
    study = study_config(path.stem, "standard")
    for (task, action), rows in table.groupby(["task", "action"]):
        (chosen,) = rows[rows["chosen"]].to_dict("records")
        assert chosen["validation"] == rows["validation"].max(), (task, action)
        settings = asdict(study.training(task, action))
        assert {name: chosen[name] for name in settings} == pytest.approx(settings), (task, action)
        assert (chosen["width"], chosen["blocks"]) == (
            study.model.width,
            len(study.model.dilations),
        )
    assert study.retrain_rate in RETRAIN_RATES
    tries = table[table["task"] != "T1"].groupby("task")["action"].value_counts().unstack()
    assert set(tries.columns) == {
        METHODS[method].recipe(("T1", "T2"))["T2"].action for method in TUNED
    }
    assert (tries.nunique(axis=1) == 1).all()
    kinds = {1 + sum(len(values) - 1 for values in dials.values()) for dials in DIALS.values()}
    assert set(tries.stack()) == kinds


def test_tuning_and_reporting_use_different_seeds():
    for profile, datasets in PROFILES.items():
        assert all(0 not in study_config(name, profile).seeds for name in datasets)
