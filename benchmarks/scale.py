"""``conure bench scale``: how time and memory grow along each axis, every point in a process of its own."""

import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from tqdm.auto import tqdm

from benchmarks.drawing import draw_growth
from benchmarks.measure import child
from benchmarks.point import Point
from conure_lib import paths
from conure_lib.figures import write_figure
from conure_lib.pipeline.provenance import environment

WORKS = ("T1 epoch", "T2+ epoch", "evaluation")
SWEEPS = 4  # over the short points; whatever else slows a machine down may do so for minutes
SHORT = 1.0  # seconds


@dataclass(frozen=True)
class Sweep:
    """The point where the axes meet, the values along each, and on which axes how many batches are measured."""

    start: Point
    axes: dict[str, tuple[int, ...]]
    most_steps: dict[str, int]


FULL = Sweep(
    Point(
        "T1 epoch",
        users=8_000,
        items=2_000,
        width=32,
        depth=2,
        length=20,
        tasks=1,
        batch=256,
        most_steps=32,
        threads=2,
    ),
    {
        "users": (1_000, 3_200, 10_000, 32_000, 100_000, 320_000, 1_000_000),
        "items": (1_000, 3_200, 10_000, 32_000, 100_000, 320_000, 646_000),
        "width": (32, 64, 128, 256),
        "depth": (2, 4, 8, 16),
        "length": (10, 20, 40, 70, 100),
        "tasks": (1, 2, 3, 4, 5, 6),
    },
    {"users": 512, "items": 8},
)
QUICK = Sweep(
    replace(FULL.start, users=64, items=128, width=8, depth=1, length=6, batch=16, most_steps=8),
    {
        "users": (64, 256),
        "items": (128, 512),
        "width": (8, 16),
        "depth": (1, 2),
        "length": (6, 12),
        "tasks": (1, 2),
    },
    {},
)


def run_scale(threads: int, quick: bool = False) -> pd.DataFrame:
    """Measures every point and writes scale.csv, scale.json (exponents) and scale.png (.pdf).

    Short points are measured in several sweeps, of which the fastest counts.
    Columns: axis, value, work, seconds (of an epoch, or of an evaluation of all users; scaled up where
    measured_steps batches are not all), peak_gib, imports_gib (of it, before any work), measured_steps.
    """
    todo = points(QUICK if quick else FULL, threads)
    found: dict[tuple[str, Point], dict] = {}
    for sweep in range(SWEEPS):
        again = [one for one in todo if not sweep or found[one]["seconds"] < SHORT]
        for one in tqdm(again, desc=f"sweep {sweep + 1} of {SWEEPS}", disable=None):
            latest = child("point", request=asdict(one[1]))
            found[one] = min(
                found.get(one, latest), latest, key=lambda measured: measured["seconds"]
            )
    table = pd.DataFrame(
        [
            {"axis": axis, "value": getattr(point, axis), "work": point.work} | found[axis, point]
            for axis, point in todo
        ]
    )
    fitted = exponents(table)
    print(fitted.to_string(index=False, float_format="%.2f"))
    folder = paths.bench(quick)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "scale.csv", index=False, float_format="%.6g")
    about = {
        "environment": environment(),
        "start": asdict(todo[0][1]),
        "exponents": fitted.to_dict("records"),
    }
    (folder / "scale.json").write_text(json.dumps(about, indent=1) + "\n")
    figure = draw_growth(table, fitted)
    write_figure(figure, folder / "scale")
    plt.close(figure)
    return table


def points(sweep: Sweep, threads: int) -> list[tuple[str, Point]]:
    """(axis, point) pairs: one axis at a time leaves the start. T1 has no tasks before it."""
    todo = []
    for axis, values in sweep.axes.items():
        steps = sweep.most_steps.get(axis, sweep.start.most_steps)
        start = replace(sweep.start, threads=threads, most_steps=steps)
        works = [work for work in WORKS if (axis, work) != ("tasks", "T1 epoch")]
        todo += [
            (axis, replace(start, work=work, **{axis: value})) for value in values for work in works
        ]
    return todo


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Columns axis, work, seconds, memory: e of value^e by least squares on logarithms.

    Fitted on the upper half of the (logarithmic) range, at least on its two largest values: below it constant
    costs rule. Memory is what the point took beyond its imports.
    """
    rows = []
    for (axis, work), points in table.groupby(["axis", "work"], sort=False):
        points = points.sort_values("value")
        middle = np.sqrt(points["value"].iloc[0] * points["value"].iloc[-1])
        upper = points.iloc[-max(2, int((points["value"] >= middle).sum())) :]
        memory = (upper["peak_gib"] - upper["imports_gib"]).clip(lower=2**-20)
        fits = [
            np.polyfit(np.log(upper["value"]), np.log(y), 1)[0] for y in (upper["seconds"], memory)
        ]
        rows.append({"axis": axis, "work": work, "seconds": fits[0], "memory": fits[1]})
    return pd.DataFrame(rows)
