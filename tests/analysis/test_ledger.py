"""The ledger: one row per claim, as a file and as Markdown; and how a claim is added."""

import pandas as pd
import pytest
import yaml
from helpers import small_study

from conure_lib.analysis import claims
from conure_lib.analysis.claims import registry
from conure_lib.analysis.claims.registry import Finding, decided
from conure_lib.analysis.stats import Estimate
from conure_lib.study.study import Study

TEXT = """
C01: {title: Fast, notebook: 01_x, statement: Faster., rule: rule of C01, unit: epochs}
C02: {title: Good, notebook: 02_y, statement: Better., rule: rule of C02, unit: relative}
"""


@pytest.fixture
def two_claims(monkeypatch):
    """Two claims in place of the paper's: an entry of the YAML file and a function each."""
    monkeypatch.setattr(registry, "CLAIMS", {})
    monkeypatch.setattr(registry, "TEXTS", yaml.safe_load(TEXT))

    @claims.claim("C01")
    def faster(study):
        return Finding("REPRODUCED", 0.25, 0.125, 0.375, 0.01, 0.02, 9, "a b")

    @claims.claim("C02")
    def better(study):
        return Finding("NOT TESTED")

    return registry.CLAIMS


def test_a_claim_is_its_text_and_its_function(two_claims):
    one = two_claims["C01"]
    assert (one.id, one.notebook, one.statement) == ("C01", "01_x", "Faster.")
    assert (one.rule, one.unit) == ("rule of C01", "epochs")
    assert one.decide(None).verdict == "REPRODUCED"
    assert claims.for_notebook("02_y") == ["C02"]


def test_a_row_has_all_that_was_found(two_claims):
    table = claims.ledger(Study(small_study()))
    assert table.iloc[0].to_dict() == {
        **{"claim": "C01", "dataset": "synthetic", "profile": "smoke", "verdict": "REPRODUCED"},
        **{"effect": 0.25, "ci_low": 0.125, "ci_high": 0.375, "unit": "epochs"},
        **{"p": 0.01, "p_corrected": 0.02, "n": 9, "rule": "rule of C01", "run_ids": "a b"},
    }
    assert table.iloc[1]["verdict"] == "NOT TESTED"
    assert pd.isna(table.iloc[1]["effect"])
    assert claims.ledger(Study(small_study()), ["C02"])["claim"].tolist() == ["C02"]


def test_a_dataset_replaces_its_own_rows_and_leaves_the_others(two_claims, tmp_path):
    table, path = claims.ledger(Study(small_study())), tmp_path / "results" / "claims.csv"
    claims.save(table.assign(dataset="ml-100k"), path)
    claims.save(table.assign(profile="quick"), path)
    claims.save(table, path)
    claims.save(table.assign(verdict="PARTLY"), path)
    written = pd.read_csv(path)
    assert list(written["dataset"]) == ["synthetic"] * 2 + ["ml-100k"] * 2 + ["synthetic"] * 2
    assert list(written["profile"]) == ["quick"] * 2 + ["smoke"] * 4
    assert list(written["verdict"]) == ["REPRODUCED", "NOT TESTED"] * 2 + ["PARTLY"] * 2
    before = path.read_bytes()
    claims.save(table.assign(verdict="PARTLY"), path)
    assert path.read_bytes() == before


def test_a_finding_is_the_first_condition_that_holds_and_its_effect():
    row = {"effect": 0.5, "low": 0.25, "high": 0.75, "p": 0.01, "p_holm": 0.03, "n": 7}
    found = decided(False, True, pd.Series(row | {"run_ids": "a b a"}))
    assert found == Finding("PARTLY", 0.5, 0.25, 0.75, 0.01, 0.03, 7, "a b")
    runs = Study(small_study()).runs(["STL"])
    once = Estimate(0.5, 0.25, 0.75, 9, 9, p=0.01)
    expected = Finding("REPRODUCED", 0.5, 0.25, 0.75, 0.01, 0.01, 9, runs[0].id)
    assert decided(True, True, once, [*runs, *runs]) == expected
