"""The estimate is what was measured, times what is counted; the page shows what the command prints."""

import json
from pathlib import Path

import pytest

from conure_lib.bench.estimate import Assumptions, estimate, markdown, rates_of
from conure_lib.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]
MEASURED = json.loads((REPOSITORY / "results/bench/bench.json").read_text())


def number(cell: str) -> float:
    return float(cell.replace(",", "").lstrip("$"))


def test_the_page_shows_the_table():
    expected = markdown(estimate(MEASURED))
    page = (REPOSITORY / "docs/clusters.md").read_text(encoding="utf-8")
    assert expected in page, f"docs/clusters.md must read (conure bench estimate):\n{expected}"


def test_an_epoch_of_t1_is_so_many_measured_steps():
    table = estimate(MEASURED)
    steps = 0.8 * 1_470_000 / 32
    training = steps * MEASURED["large catalogue"]["step_s"] / 3600
    row = number(table.loc["one epoch of T1, hours", "TTL"])
    assert (
        training < row < 1.3 * training
    )  # and the validation part, at the speed of evaluation of that run


def test_time_follows_the_measured_rates_and_users():
    slow = json.loads(json.dumps(MEASURED))
    slow["large catalogue"]["step_s"] *= 2
    for part in slow["parts"]:
        part["gflops"] /= 2
    assert rates_of(slow).first == pytest.approx(rates_of(MEASURED).first / 2)
    before, after = estimate(MEASURED), estimate(slow)
    for name in ("core hours", "one epoch of T1, hours"):
        assert number(after.loc[name, "TTL"]) == pytest.approx(
            2 * number(before.loc[name, "TTL"]), rel=0.02
        )
        ratio = number(before.loc[name, "100M users"]) / number(before.loc[name, "TTL"])
        assert ratio == pytest.approx(100 / 1.47, rel=0.02)
    assert before.filter(like="not measured", axis=0).equals(
        after.filter(like="not measured", axis=0)
    )


def test_what_is_assumed_is_on_the_command_line(root, capsys):
    folder = root / "results" / "bench"
    folder.mkdir(parents=True)
    (folder / "bench.json").write_text(json.dumps(MEASURED))
    assert (
        main(["bench", "estimate", "--epochs", "9", "--core-price", "1", "--gpu-share", "0.5"]) == 0
    )
    shown = capsys.readouterr().out
    assert shown.strip() == markdown(
        estimate(MEASURED, Assumptions(epochs=9, core_price=1.0, gpu_share=0.5))
    )
    assert "50% of 60 TFLOP/s" in shown


def test_without_measurements_the_command_that_makes_them_is_named(root, capsys):
    assert main(["bench", "estimate"]) == 2
    assert "run: make bench" in capsys.readouterr().err
