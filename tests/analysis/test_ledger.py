"""The ledger as a file and as a figure."""

import pandas as pd
import pytest
from helpers import small_study
from matplotlib import pyplot as plt

from conure_lib import figures, paths
from conure_lib.analysis import claims
from conure_lib.analysis.claims import registry
from conure_lib.analysis.claims.registry import COLUMNS, Claim, Finding, from_row
from conure_lib.analysis.stats import VERDICTS
from conure_lib.cli import main
from conure_lib.figures.ledger import LOOKS
from conure_lib.study.study import Study


@pytest.fixture
def two_claims(monkeypatch):
    """Two claims with known findings in place of the paper's."""
    found = {
        "C01": Finding("REPRODUCED", 0.25, 0.125, 0.375, 0.01, 0.02, 9, ("a", "b")),
        "C02": Finding("NOT TESTED"),
    }
    known = {
        name: Claim(
            name,
            "01_x",
            "says",
            f"rule of {name}",
            "relative" if name == "C02" else "epochs",
            lambda study, f=f: f,
        )
        for name, f in found.items()
    }
    monkeypatch.setattr(registry, "CLAIMS", known)


def test_a_row_says_all_that_the_finding_says(two_claims):
    table = claims.ledger(Study(small_study()))
    assert tuple(table.columns) == COLUMNS
    first = table.iloc[0].to_dict()
    assert first == {
        "claim": "C01",
        "dataset": "synthetic",
        "profile": "smoke",
        "verdict": "REPRODUCED",
        "effect": 0.25,
        "ci_low": 0.125,
        "ci_high": 0.375,
        "p": 0.01,
        "p_corrected": 0.02,
        "n": 9,
        "rule": "rule of C01",
        "run_ids": "a b",
    }
    assert table.iloc[1]["verdict"] == "NOT TESTED"
    assert pd.isna(table.iloc[1]["effect"])


def test_a_dataset_replaces_its_own_rows_and_leaves_the_others(two_claims, root):
    table = claims.ledger(Study(small_study())).assign(profile="standard")
    claims.write(table.assign(dataset="ml-100k"), local=True)
    claims.write(table, local=True)
    path = claims.write(table.assign(verdict="PARTLY"), local=True)
    assert path == paths.claims(local=True)
    written = pd.read_csv(path)
    assert list(written["dataset"]) == ["ml-100k", "ml-100k", "synthetic", "synthetic"]
    assert list(written["verdict"]) == ["REPRODUCED", "NOT TESTED", "PARTLY", "PARTLY"]
    before = path.read_bytes()
    claims.write(table.assign(verdict="PARTLY"), local=True)
    assert path.read_bytes() == before


def test_a_findings_effect_can_be_a_row_of_a_comparison():
    row = pd.Series(
        {
            "effect": 0.5,
            "low": 0.25,
            "high": 0.75,
            "p": 0.01,
            "p_holm": 0.03,
            "n": 7,
            "run_ids": "a b a",
        }
    )
    assert from_row("PARTLY", row) == Finding("PARTLY", 0.5, 0.25, 0.75, 0.01, 0.03, 7, ("a", "b"))


def test_the_smoke_profiles_verdicts_stay_out_of_the_results(root):
    assert paths.artifacts() in paths.claims("smoke").parents
    assert paths.artifacts() not in paths.claims("quick").parents


def test_the_figure_shows_every_verdict_by_colour_and_letter():
    table = pd.DataFrame(
        {
            "claim": ["C01", "C02", "C01", "C02"],
            "dataset": ["a", "a", "b", "b"],
            "verdict": list(VERDICTS),
        }
    )
    figure = figures.draw_ledger(table)
    (axis,) = figure.axes
    assert [t.get_text() for t in axis.get_xticklabels()] == ["a", "b"]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["C01", "C02"]
    assert sorted(t.get_text() for t in axis.texts) == sorted(
        letter for _, letter in LOOKS.values()
    )
    assert (
        len({color for color, _ in LOOKS.values()})
        == len({letter for _, letter in LOOKS.values()})
        == 4
    )
    plt.close(figure)


def test_the_ledger_as_text(two_claims):
    table = claims.ledger(Study(small_study()))
    both = pd.concat(
        [table, table.assign(dataset="ml-100k", verdict="NOT REPRODUCED", ci_low=float("nan"))]
    )
    table.loc[1, ["effect", "ci_low", "ci_high"]] = -0.0335, -0.0811, 0.0142
    relative = claims.markdown(table).splitlines()[-1]
    assert relative == "| C02: says | **not tested** -3.4% [-8.1, 1.4] |"
    assert claims.markdown(both).splitlines() == [
        "| claim | synthetic | ml-100k |",
        "|---|---|---|",
        "| C01: says | **reproduced** 0.25 [0.125, 0.375] epochs | **not reproduced** 0.25 epochs |",
        "| C02: says | **not tested** | **not reproduced** |",
    ]


def test_verdicts_are_decided_for_the_datasets_that_have_results(
    two_claims, root, capsys, monkeypatch
):
    assert main(["verdicts"]) == 2
    assert "no results yet; run: make study PROFILE=standard" in capsys.readouterr().err
    asked = []
    monkeypatch.setattr(
        "conure_lib.cli.studies.study_config",
        lambda name, profile: asked.append(name) or small_study(),
    )
    paths.results("standard", "synthetic", local=False).mkdir(parents=True)
    assert main(["verdicts"]) == 0
    assert asked == ["synthetic"]
    assert paths.claims("smoke").is_file()  # small_study is of the smoke profile
