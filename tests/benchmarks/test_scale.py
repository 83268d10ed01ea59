"""Sweeps: exponents that are known are found, points are what they say, the sweep writes its files."""

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from conure_lib import paths
from conure_lib.bench import measure, point, scale


def law(axis: str, work: str, values, seconds, memory) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "axis": axis,
            "work": work,
            "value": values,
            "seconds": seconds,
            "peak_gib": 0.3 + memory,
            "imports_gib": 0.3,
        }
    )


def test_power_laws_are_recovered():
    n = np.array([1e3, 1e4, 1e5, 1e6])
    flat = np.where(n < 2e4, 7.0, 1e-3 * n**0.5)  # constant costs rule the lower half
    table = pd.concat(
        [
            law("users", "T1 epoch", n, 3e-4 * n, 1e-6 * n**0.8),
            law("users", "evaluation", n, flat, 0 * n + 0.2),
            law("depth", "T1 epoch", np.array([4, 2]), np.array([8.0, 2.0]), np.array([0.4, 0.2])),
        ]
    )
    found = scale.exponents(table)
    assert found[["axis", "work"]].to_numpy().tolist() == [
        ["users", "T1 epoch"],
        ["users", "evaluation"],
        ["depth", "T1 epoch"],
    ]
    np.testing.assert_allclose(found["seconds"], [1, 0.5, 2], atol=1e-9)
    np.testing.assert_allclose(found["memory"], [0.8, 0, 1], atol=1e-9)


def test_points_leave_the_start_along_one_axis():
    todo = scale.points(scale.FULL, threads=1)
    start = asdict(scale.FULL.start)
    for axis, chosen in todo:
        changed = {name for name, value in asdict(chosen).items() if value != start[name]}
        assert changed <= {axis, "work", "threads", "most_steps"}
        assert chosen.threads == 1
    assert len(set(todo)) == len(todo) == sum(map(len, scale.FULL.axes.values())) * 3 - 6
    assert {p.work for axis, p in todo if axis == "tasks"} == {"T2+ epoch", "evaluation"}


@pytest.mark.parametrize("work", scale.WORKS)
def test_a_point_is_scaled_up_from_the_steps_that_it_measured(work, monkeypatch):
    monkeypatch.setattr(point, "ENOUGH", 0.0)
    monkeypatch.setattr(point, "seconds", lambda call: call() is None or 1.5)
    start = replace(scale.QUICK.start, work=work, threads=1)
    for users, most_steps, steps, factor in ((60, 9, 4, 1.0), (60, 2, 2, 60 / 32)):
        found = point.measure(replace(start, users=users, most_steps=most_steps))
        assert (found["measured_steps"], found["seconds"]) == (steps, pytest.approx(1.5 * factor))
        assert 0 < found["imports_gib"] <= found["peak_gib"]


def test_the_quick_sweep(root, monkeypatch, capsys):
    monkeypatch.setattr(point, "ENOUGH", 0.0)
    monkeypatch.setattr(
        scale, "child", lambda module, request: point.measure(point.Point(**request))
    )
    table = scale.run_scale(threads=1, quick=True)
    folder = paths.bench(quick=True)
    written = pd.read_csv(folder / "scale.csv")
    assert written.shape == table.shape == (len(scale.points(scale.QUICK, 1)), 7)
    assert (written["seconds"] > 0).all()
    about = json.loads((folder / "scale.json").read_text())
    assert len(about["exponents"]) == 6 * 3 - 1
    assert all(np.isfinite(row["seconds"]) for row in about["exponents"])
    assert all((folder / f"scale.{suffix}").stat().st_size > 0 for suffix in ("png", "pdf"))
    assert "exponents" not in capsys.readouterr().err


def test_of_a_short_point_the_fastest_sweep_counts(root, monkeypatch):
    monkeypatch.setattr(scale, "QUICK", replace(scale.QUICK, axes={"users": (16, 32, 64, 128)}))
    requests = [asdict(point) for _, point in scale.points(scale.QUICK, 1)]
    visits = dict.fromkeys(range(len(requests)), 0)

    def child(module, request):
        number = requests.index(request)
        long, fastest = number % 2 == 1, visits[number] == number % scale.SWEEPS
        visits[number] += 1
        seconds = scale.SHORT * (1.5 if long else 0.25 if fastest else 0.5)
        return {
            "seconds": seconds,
            "peak_gib": float(visits[number]),
            "imports_gib": 0.5,
            "measured_steps": 1,
        }

    monkeypatch.setattr(scale, "child", child)
    table = scale.run_scale(threads=1, quick=True)
    for number, row in enumerate(table.itertuples()):
        long = number % 2 == 1
        assert visits[number] == (1 if long else scale.SWEEPS)
        assert row.seconds == scale.SHORT * (1.5 if long else 0.25)
        assert row.peak_gib == (1 if long else 1 + number % scale.SWEEPS)  # of the same sweep


@pytest.mark.slow
def test_a_point_has_a_process_of_its_own(root):
    ballast = np.ones(1 << 27)  # 1 GiB here is not in the point's peak
    found = measure.child(
        "point", request=asdict(replace(scale.QUICK.start, work="evaluation", threads=1))
    )
    assert 0 < found["peak_gib"] < ballast.nbytes / 2**30 < measure.peak_gib()
    with pytest.raises(
        measure.BenchError, match=r"conure_lib.bench.point in .* failed: .*unexpected keyword"
    ):
        measure.child("point", request={"nothing": 1})
