"""The committed results: derived from the committed records, and quoted correctly."""

from dataclasses import asdict

import pandas as pd
import pytest

from conure_lib import paths, report
from conure_lib.experiment import Study
from conure_lib.methods import COMPARED, METHODS
from conure_lib.profiles import PROFILES, study_config
from conure_lib.tuning import DIALS, RETRAIN_RATES, TUNED

REPOSITORY = paths.NOTEBOOKS.parent
REPORTED = sorted(REPOSITORY.glob("results/quick/*/overall.csv"))
CHOSEN = sorted(REPOSITORY.glob("conure_lib/settings/*.json"))


@pytest.fixture
def clone(monkeypatch, tmp_path):
    """The repository as somebody who just cloned it has it: committed results, no artifacts."""
    monkeypatch.setattr(paths, "ROOT", REPOSITORY)
    monkeypatch.setattr(paths, "artifacts", lambda: tmp_path)


def test_results_of_both_real_datasets_are_committed():
    assert {"complete-journey", "ml-100k"} <= {path.parent.name for path in REPORTED}


def test_tables_follow_from_the_committed_records(clone):
    study = Study(study_config("complete-journey", "quick"))
    committed = pd.read_csv(REPOSITORY / "results/quick/complete-journey/overall.csv")
    derived = report.overall(study, study.runs(COMPARED))
    pd.testing.assert_frame_equal(derived, committed, rtol=1e-5)
    memory = pd.concat(report.no_forgetting(study.run("Conure", seed)) for seed in study.config.seeds)
    assert (memory.groupby("task")["logits_sha256"].nunique() == len(study.config.seeds)).all()


@pytest.mark.parametrize("path", REPORTED, ids=lambda path: path.parent.name)
def test_the_readme_quotes_the_committed_tables(path):
    expected = report.markdown(pd.read_csv(path))
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert expected in readme, f"the README's table of {path.parent.name} must read:\n{expected}"


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
        assert (chosen["width"], chosen["blocks"]) == (study.model.width, len(study.model.dilations))
    assert study.retrain_rate in RETRAIN_RATES
    tries = table[table["task"] != "T1"].groupby("task")["action"].value_counts().unstack()
    assert set(tries.columns) == {METHODS[method](("T1", "T2"))["T2"].action for method in TUNED}
    assert (tries.nunique(axis=1) == 1).all()
    kinds = {1 + sum(len(values) - 1 for values in dials.values()) for dials in DIALS.values()}
    assert set(tries.stack()) == kinds


def test_tuning_and_reporting_use_different_seeds():
    for datasets in PROFILES.values():
        assert all(0 not in fields["seeds"] for fields in datasets.values())
