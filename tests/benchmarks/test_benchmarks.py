"""What is measured is the work that the rows name, and it is written where it belongs."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import common, inference, scaling, speed
from benchmarks.cases import TOY, cases, later_step, random_stream, six_tasks
from conure_lib import paths
from conure_lib.data.stream import PAD, TEST, TRAIN
from conure_lib.models.backbone import UserModel

CASES = cases(TOY)


def test_random_streams_have_what_was_asked_for():
    asked = {"per_user": 3, "half_full": True, "part": TEST}
    stream = random_stream(400, 10, 50, 7, **asked)
    task, pads = stream["T2"], stream.sequences == PAD
    assert (stream.sequences.min(), stream.sequences.max(), stream.n_users) == (PAD, 50, 400)
    assert (np.diff(pads.astype(int), axis=1) <= 0).all()
    assert (pads[:, -2:].any(), pads.mean()) == (False, pytest.approx(0.4, abs=0.03))
    assert [len(set(labels)) for labels in task.labels.reshape(400, 3)] == [3] * 400
    assert len(task.rows(TEST)) == len(task.users) == 1200
    assert len(stream["T1"].rows(TRAIN)) == 0
    assert stream.digest() == random_stream(400, 10, 50, 7, **asked).digest()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_row_runs_against_its_references(case):
    row = speed.measure_case(case, 1)
    has_lean = "T1" not in case.name and "backbone" not in case.name
    assert ("port_ratio" in row, "lean_ratio" in row) == (True, has_lean)
    assert row["name"].startswith(("(a) ", "(b) "))
    assert min(value for key, value in row.items() if key not in ("name", "gflops")) > 0


def test_a_user_with_two_labels_in_a_batch_is_computed_once(monkeypatch):
    seen, original = [], UserModel.user_vectors

    def counted(*arguments):
        seen.append(len(arguments[1]))
        return original(*arguments)

    monkeypatch.setattr(UserModel, "user_vectors", counted)
    later_step(TOY.a, 8, per_user=2).ours()
    assert seen == [4] * TOY.a.steps


def test_calls_are_timed_by_turns_and_rounds_follow_the_budget():
    log = []
    calls = {name: lambda name=name: log.append(name) for name in ("ours", "port")}
    found = common.interleaved(calls, 3, 4, 0.0, "")
    assert log == ["ours", "port"] * (1 + 3)
    assert [set(each) for each in found] == [set(calls)] * 3
    assert len(common.interleaved(calls, 3, 4, 60.0, "")) == 4


def test_owner_maps_take_few_bits():
    found, owners = speed.owner_maps(TOY.b), six_tasks(TOY.b).owners.values()
    assert found["float_mask_bytes"] // 4 // 6 == sum(owner.numel() for owner in owners)
    assert 0 < found["entropy"] <= found["bits_per_weight"]


def test_masking_once_and_masking_before_every_request_give_the_same_bits():
    with torch.no_grad():
        calls, equal = inference.requests(TOY.a)
        shapes = {n: [tuple(scores.shape) for scores in call()] for n, call in calls.items()}
    expected = [(TOY.a.users, TOY.a.labels)] * inference.REQUESTS
    assert (equal, shapes) == (True, dict.fromkeys(("plain", "materialised", "masked"), expected))


def test_ratios_within_a_round_decide(monkeypatch):
    """Rounds in which everything is slow by the same factor change nothing."""
    slow = np.linspace(1, 3, 16)
    rounds = [{"plain": s, "materialised": 1.02 * s, "masked": 1.02 * 1.2 * s} for s in slow]
    monkeypatch.setattr(inference, "interleaved", lambda *_: rounds)
    result = inference.measure(threads=1, quick=True)
    assert (result["rounds"], result["equal_bits"]) == (16, True)
    assert result["materialised"] == {"median": 1.02, "low": 1.02, "high": 1.02}
    assert result["masked"] == {"median": 1.2, "low": 1.2, "high": 1.2}
    found = inference.median_ratio([1.0, 1.2, 0.9, 1.1, 5.0])
    assert 0.9 <= found["low"] <= found["median"] == 1.1 <= found["high"] <= 5.0


def test_power_laws_are_recovered():
    def law(axis, work, values, seconds, memory):
        columns = {"axis": axis, "work": work, "value": values, "seconds": seconds}
        return pd.DataFrame(columns | {"peak_gib": 0.3 + memory, "imports_gib": 0.3})

    n, depth = np.array([1e3, 1e4, 1e5, 1e6]), np.array([4, 2])
    flat = np.where(n < 2e4, 7.0, 1e-3 * n**0.5)  # constant costs dominate the lower half
    laws = [
        law("users", "T1 epoch", n, 3e-4 * n, 1e-6 * n**0.8),
        law("users", "evaluation", n, flat, 0 * n + 0.2),
        law("depth", "T1 epoch", depth, np.array([8.0, 2.0]), np.array([0.4, 0.2])),
    ]
    found = scaling.exponents(pd.concat(laws))
    assert [*found["axis"]] == ["users", "users", "depth"]
    assert [*found["work"]] == ["T1 epoch", "evaluation", "T1 epoch"]
    np.testing.assert_allclose(found["seconds"], [1, 0.5, 2], atol=1e-9)
    np.testing.assert_allclose(found["memory"], [0.8, 0, 1], atol=1e-9)


def test_points_leave_the_start_along_one_axis():
    todo = scaling.points(scaling.START, scaling.AXES)
    for axis, point in todo:
        base = replace(scaling.START, work=point.work, max_steps=point.max_steps)
        assert replace(point, **{axis: getattr(base, axis)}) == base
    assert len(set(todo)) == len(todo) == sum(map(len, scaling.AXES.values())) * 3 - 6
    assert {p.work for axis, p in todo if axis == "tasks"} == {"T2+ epoch", "evaluation"}


@pytest.mark.parametrize("work", scaling.WORKS)
def test_a_point_is_scaled_up_from_the_steps_that_it_measured(work, monkeypatch):
    ticks = iter(np.arange(1e6))
    monkeypatch.setattr(scaling, "ENOUGH", 0.0)
    monkeypatch.setattr(scaling.time, "perf_counter", lambda: next(ticks))  # one second per call
    start = replace(scaling.QUICK_START, work=work)
    for users, max_steps, steps, factor in ((60, 9, 4, 1.0), (60, 2, 2, 60 / 32)):
        found = scaling.measure_point(replace(start, users=users, max_steps=max_steps), 1)
        assert found["measured_steps"] == steps
        assert found["seconds"] % factor == pytest.approx(0, abs=1e-9)
        assert 0 < found["imports_gib"] <= found["peak_gib"]


def test_of_a_short_point_the_fastest_sweep_counts(monkeypatch):
    visits: dict = {}

    def one_visit(point, _threads):
        visits[point] = visits.get(point, 0) + 1
        seconds = 2.0 if point.work == "T1 epoch" else 0.8 / visits[point]
        return {"seconds": seconds, "peak_gib": 1.0, "imports_gib": 0.5, "measured_steps": 1}

    monkeypatch.setattr(scaling, "in_own_process", one_visit)
    table = scaling.measure(scaling.QUICK_START, {"users": (16, 32)}, 1)
    assert sorted(visits.values()) == [1, 1] + [scaling.SWEEPS] * 4
    assert sorted(table["seconds"]) == [0.2] * 4 + [2.0] * 2
    assert len(scaling.exponents(table)) == 3


@pytest.mark.slow
def test_a_point_has_a_process_of_its_own():
    ballast = np.ones(1 << 27)  # 1 GiB here is not in the point's peak
    found = scaling.in_own_process(replace(scaling.QUICK_START, work="evaluation"), 1)
    assert 0 < found["peak_gib"] < ballast.nbytes / 2**30 < scaling.peak_gib()


@pytest.mark.parametrize(
    ("options", "local"), [({}, True), ({"publish": True}, False), ({"quick": True}, True)]
)
def test_only_publishing_replaces_what_is_committed(root, options, local):
    given = SimpleNamespace(**{"quick": False, "publish": False} | options)
    figure = speed.draw([{"name": f"(a) T{n}", "port_ratio": n} for n in (1, 2)])
    folder = common.write("speed", {"a": 1}, given, figure)
    assert folder == root / ("results/local/benchmarks" if local else "results/benchmarks")
    assert json.loads((folder / "speed.json").read_text()) == {"a": 1}
    assert (folder / "speed.png").stat().st_size > 0
    assert paths.benchmarks(local=local) == folder
