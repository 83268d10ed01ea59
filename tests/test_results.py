"""The committed results: derived from the committed records, and quoted correctly."""

import pandas as pd
import pytest

from conure_lib import paths, report
from conure_lib.config import PROFILES, study_config
from conure_lib.experiment import Study
from conure_lib.methods import METHODS
from conure_lib.tuning import GRIDS, RETRAIN_RATES

REPOSITORY = paths.NOTEBOOKS.parent
REPORTED = sorted(REPOSITORY.glob("results/quick/*/overall.csv"))


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
    derived = report.overall(study, METHODS)
    pd.testing.assert_frame_equal(derived, committed, rtol=1e-5)
    memory = pd.concat(report.no_forgetting(study.run("Conure", seed)) for seed in study.config.seeds)
    assert (memory.groupby("task")["logits_sha256"].nunique() == len(study.config.seeds)).all()


@pytest.mark.parametrize("path", REPORTED, ids=lambda path: path.parent.name)
def test_the_readme_quotes_the_committed_tables(path):
    expected = report.markdown(pd.read_csv(path))
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert expected in readme, f"the README's table of {path.parent.name} must read:\n{expected}"


@pytest.mark.parametrize("dataset", ["complete-journey", "ml-100k"])
def test_the_settings_are_what_the_search_chose(dataset):
    table = pd.read_csv(REPOSITORY / f"results/tuning/{dataset}.csv")
    chosen = table[table["chosen"] & (table["action"] != "retrain")].drop_duplicates("task").set_index("task")
    study = study_config(dataset, "quick")
    kinds = {"T1": "sequence", "T2": "ranking", "T3": "ranking"}
    for task in chosen.index:
        for name in GRIDS[kinds.get(task, "classification")][0]:
            assert getattr(study.training(task), name) == pytest.approx(chosen.loc[task, name]), (task, name)
    retrain = table[table["chosen"] & (table["action"] == "retrain")].iloc[0]
    assert study.training("T1", retrain=True).learning_rate == pytest.approx(retrain["learning_rate"])
    assert study.retrain_rate in RETRAIN_RATES
    means = table[table["action"] != "retrain"].groupby(["task", "learning_rate", "l2"])["validation"].mean()
    for task, row in chosen.iterrows():
        assert means[task].max() == pytest.approx(means[task][row["learning_rate"], row["l2"]])


def test_tuning_and_reporting_use_different_seeds():
    for datasets in PROFILES.values():
        assert all(0 not in fields["seeds"] for fields in datasets.values())
