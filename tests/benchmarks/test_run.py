"""What is measured is the work that the rows name; the benchmark writes what it says."""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from conure_lib import paths
from conure_lib.bench import facts, parts, run
from conure_lib.bench.breakdown import shares
from conure_lib.bench.drawing import draw_ratios
from conure_lib.bench.flops import backbone_flop, gemm_gflops, output_flop, tap_products
from conure_lib.bench.measure import interleaved
from conure_lib.bench.tricks import tricks
from conure_lib.bench.worlds import TOY, Size, random_stream
from conure_lib.data.stream import PAD, TEST, TRAIN

NAMES = [part.name for part in parts.parts(TOY)]


def test_random_streams_have_what_was_asked_for():
    stream = random_stream(400, 10, 50, 7, per_user=3, half_full=True, part=TEST)
    task = stream["T2"]
    assert (stream.sequences.min(), stream.sequences.max(), stream.n_users) == (PAD, 50, 400)
    pads = stream.sequences == PAD
    assert (np.diff(pads.astype(int), axis=1) <= 0).all()
    assert (pads[:, -2:].any(), pads.mean()) == (False, pytest.approx(0.4, abs=0.03))
    assert [len(set(labels)) for labels in task.labels.reshape(400, 3)] == [3] * 400
    assert len(task.rows(TEST)) == len(task.users) == 1200
    assert len(stream["T1"].rows(TRAIN)) == 0
    assert (
        stream.digest()
        == random_stream(400, 10, 50, 7, per_user=3, half_full=True, part=TEST).digest()
    )


def test_every_row_has_its_own_name_and_shows_its_size():
    assert len(set(NAMES)) == len(NAMES)
    assert all(name.startswith(("(a) ", "(b) ")) for name in NAMES)


@pytest.mark.parametrize("part", parts.parts(TOY), ids=NAMES)
def test_every_part_runs(part):
    work = part.build()
    work.ours()
    assert set(work.references) == set(run.REFERENCES)
    for reference in work.references.values():
        assert reference() is None if callable(reference) else reference == parts.SAME
    assert 0 < work.flop < math.inf


@pytest.mark.parametrize("trick", tricks(TOY), ids=lambda trick: trick.name)
def test_every_trick_runs_with_and_without(trick):
    for call in trick.build():
        call()


def test_users_that_come_twice_stand_in_one_batch(monkeypatch):
    seen = []
    kept = parts.UserModel.user_vectors
    monkeypatch.setattr(
        parts.UserModel, "user_vectors", lambda *given: seen.append(len(given[1])) or kept(*given)
    )
    parts.t2(TOY.a, 8, per_user=2).ours()
    assert seen == [4] * TOY.a.steps


def test_time_is_told_by_what_it_was_spent_on():
    a = torch.ones(600, 600)
    spent = shares(lambda: [a @ a for _ in range(20)])
    assert next(iter(spent)) == "products"
    assert spent["products"] > 0.5
    assert next(iter(shares(torch.rand(20, 600, 600).sort))) == "best scores"


def test_a_reference_that_keeps_too_many_logits_says_so():
    assert parts.kept(print, parts.MOST_LOGIT_BYTES // 4) is print
    assert parts.kept(print, 32 * 99 * 646_000) == "its logits alone would take 7.6 GiB"


def test_products_of_the_backbone_by_hand():
    assert tap_products((1,), 6, 6, last_only=True) == [3, 8]  # 5 3 1; 5 4 3, 3 2 1, 1 0
    assert tap_products((1,), 6, 3, last_only=True) == [2, 4]  # 5 3; 5 4 3, 3
    assert tap_products((1,), 6, 6, last_only=False) == [6 + 4 + 2, 6 + 5 + 4]
    size = Size("s", 10, (1,), 6, 1, 1, 1, 1)
    known = np.array([6, 3, 6])
    assert backbone_flop(size, 6, known, last_only=True, train=False) == 200 * (11 + 6 + 11)
    assert backbone_flop(size, 6, known, last_only=True) == 600 * (11 + 6 + 11)
    assert backbone_flop(size, 6, known, last_only=True, frozen_below=True) == 600 * 28 - 200 * (
        8 + 4 + 8
    )
    assert output_flop(size, 7, 5) == 3 * output_flop(size, 7, 5, train=False) == 3 * 2 * 10 * 7 * 5


def test_rounds_are_by_turns_and_their_number_follows_the_budget():
    log = []
    calls = {name: partial(log.append, name) for name in ("ours", "port")}
    found = interleaved(calls, least=3, most=4, budget=0.0)
    assert log == ["ours", "port"] * (1 + 3)
    assert [set(each) for each in found] == [set(calls)] * 3
    assert len(interleaved(calls, least=3, most=4, budget=60.0)) == 4


def test_products_are_counted_in_both_ways():
    found = gemm_gflops(((8, 16, 4), (4, 4, 4)))
    assert sorted(found) == ["1x1 4x4x4", "1x1 8x16x4", "mm 4x4x4", "mm 8x16x4"]
    assert all(value >= 0 for value in found.values())


def test_a_checkpoint_of_six_tasks():
    size = Size("s", 64, (1, 4), 6, 100, 30, 1, 1)
    found = facts.checkpoint(size)
    weights = 4 * 3 * 64**2
    assert found["float_mask_bytes"] == 6 * 4 * weights
    assert 2.3 < found["entropy"] < found["bits_per_weight"] < 3.3
    assert found["owner_bytes"] == pytest.approx(found["bits_per_weight"] * weights / 8, rel=1e-3)
    assert found["bytes"] > found["owner_bytes"] + 4 * weights


def test_the_benchmark_writes_json_and_a_figure(root, monkeypatch, capsys):
    monkeypatch.setattr(run, "MOST_ROUNDS", 2)
    monkeypatch.setattr(facts, "child", lambda module, request: {"seconds": 6.0, "peak_gib": 2.0})
    result = run.run_bench(rounds=2, threads=1, quick=True)
    folder = paths.bench(quick=True)
    assert json.loads((folder / "bench.json").read_text()) == result
    assert folder.is_relative_to(root / "artifacts")
    assert all((folder / f"bench.{suffix}").stat().st_size > 0 for suffix in ("png", "pdf"))
    assert json.loads((folder / "inference.json").read_text())["rounds"] >= 15
    assert [row["name"] for row in result["parts"]] == NAMES
    for row in result["parts"]:
        cells = [
            row["ours_ms"],
            row["gflops"],
            row["share_of_peak"],
            row["port"]["ms"],
            row["port"]["ratio"],
        ]
        cells += [row["lean"]["ratio"]] if row["lean"]["reason"] is None else []
        assert all(0 <= cell < math.inf for cell in cells), row
        assert row["rounds"] == 2
        assert sum(row["spent"].values()) == pytest.approx(1, abs=0.01)
    assert result["large catalogue"]["step_s"] == 2.0
    assert result["threads"] == 1
    assert capsys.readouterr().out.count("GFLOP/s") == len(NAMES)


def test_bars_have_a_tick_where_a_target_is_set():
    cell = {"ms": 1.0, "ratio": 2.5, "reason": None}
    nothing = {"ms": None, "ratio": None, "reason": "too large"}
    rows = [
        {"name": "x", "target": 3.0, "port": cell, "lean": cell},
        {"name": "y", "target": None, "port": nothing, "lean": nothing},
    ]
    figure = draw_ratios(rows)
    axis = figure.axes[0]
    assert [bar.get_width() for bar in axis.patches] == [1.5, 1.5]
    assert [line.get_xdata()[0] for line in axis.lines if line.get_linewidth() == 1.5] == [3.0]
    plt.close(figure)
