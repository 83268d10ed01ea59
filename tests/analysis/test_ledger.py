"""The ledger: one row per claim, as a file; and how a claim is added."""

import pandas as pd
import pytest
import yaml
from helpers import small_study

from conure_lib.analysis import claims
from conure_lib.analysis.claims import registry
from conure_lib.study.study import Study

TEXT = """
C01: {section: "1", title: Fast, notebook: 01_x, statement: Faster., rule: rule of C01,
  unit: epochs, paper: 0.2}
C02: {section: "1", title: Good, notebook: 02_y, statement: Better., rule: rule of C02,
  unit: relative, by_construction: true}
C03: {section: "1", title: New, notebook: 02_y, statement: Newer., rule: rule of C03,
  unit: relative}
"""


@pytest.fixture
def three_claims(monkeypatch):
    """Claims in place of the paper's: an entry of the YAML file and a function each."""
    monkeypatch.setattr(registry, "CLAIMS", {})
    monkeypatch.setattr(registry, "TEXTS", yaml.safe_load(TEXT))
    numbers = {"effect": 0.25, "ci_low": 0.125, "ci_high": 0.375, "p": 0.02, "n": 9, "seeds": 6}
    findings = [
        claims.Finding("REPRODUCED", "clear", **numbers, run_ids="a b"),
        claims.Finding("NOT TESTED", "no data"),
        claims.Finding("PARTLY", "so so", p=0.03),
    ]
    for name, found in zip(("C01", "C02", "C03"), findings, strict=True):
        claims.claim(name)(lambda study, found=found: found)
    return registry.CLAIMS


def test_a_row_has_all_that_was_found(three_claims):
    assert claims.for_notebook("02_y") == ["C02", "C03"]
    assert claims.rules("01_x") == "- **C01 · Fast.** rule of C01"
    table = claims.ledger(Study(small_study()))
    columns = "claim dataset profile verdict reason paper effect ci_low ci_high unit smallest "
    columns += "detectable p p_corrected p_ledger p_seeds n seeds run_ids by_construction rule"
    assert list(table.columns) == columns.split()
    row = table.iloc[0].dropna().to_dict()
    assert row == {
        **{"claim": "C01", "dataset": "synthetic", "profile": "smoke", "verdict": "REPRODUCED"},
        **{"reason": "clear", "effect": 0.25, "ci_low": 0.125, "ci_high": 0.375, "unit": "epochs"},
        **{"p": 0.02, "p_ledger": 0.03, "n": 9, "seeds": 6, "run_ids": "a b"},
        **{"by_construction": False, "rule": "rule of C01"},
    }
    assert table["p_ledger"].tolist()[::2] == [0.03, 0.03]
    assert table["p_ledger"].isna().tolist() == [False, True, False]
    assert table["by_construction"].tolist() == [False, True, False]
    assert claims.ledger(Study(small_study()), ["C02"])["claim"].tolist() == ["C02"]


def test_a_dataset_replaces_its_own_rows_and_leaves_the_others(three_claims, tmp_path):
    table = claims.ledger(Study(small_study()), ["C01", "C02"])
    path = tmp_path / "results" / "claims.csv"
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
