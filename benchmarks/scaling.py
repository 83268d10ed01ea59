"""How time and memory grow with users, items, width, depth, length and tasks."""

import re
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator
from tqdm.auto import tqdm

from benchmarks.cases import DENSE, SAMPLED, Call, own_untrained, random_stream, trainer
from benchmarks.common import arguments, write
from conure_lib.config import ModelConfig
from conure_lib.data.stream import TEST, TRAIN
from conure_lib.models.nextitnet import NextItNet
from conure_lib.models.ownership import ContinualModel
from conure_lib.pipeline.provenance import environment
from conure_lib.training.evaluation import evaluate

WorkName = Literal["T1 epoch", "T2+ epoch", "evaluation"]
WORKS: tuple[WorkName, ...] = ("T1 epoch", "T2+ epoch", "evaluation")
SWEEPS = 4  # over points shorter than SHORT: other programs may slow a machine down for minutes
SHORT = 1.0  # seconds
ENOUGH, MAX_CALLS = 1.0, 20  # seconds of timed calls, after a first one that warms up


@dataclass(frozen=True)
class Point:
    """One measurement: work and sizes; ``depth`` counts blocks, ``tasks`` those learned before.

    At most ``max_steps`` batches are measured, and the time of an epoch is scaled up from them.
    """

    work: WorkName
    users: int
    items: int
    width: int
    depth: int
    length: int
    tasks: int
    batch: int
    max_steps: int


START = Point("T1 epoch", 8_000, 2_000, 32, 2, 20, 1, 256, 32)
AXES = {
    "users": (1_000, 3_200, 10_000, 32_000, 100_000, 320_000, 1_000_000),
    "items": (1_000, 3_200, 10_000, 32_000, 100_000, 320_000, 646_000),
    "width": (32, 64, 128, 256),
    "depth": (2, 4, 8, 16),
    "length": (10, 20, 40, 70, 100),
    "tasks": (1, 2, 3, 4, 5, 6),
}
MAX_STEPS = {"users": 512, "items": 8}
QUICK_START = Point("T1 epoch", 64, 128, 8, 1, 6, 1, 16, 8)
QUICK_AXES = {"users": (64, 256), "items": (128, 512), "tasks": (1, 2)}


def points(start: Point, axes: dict[str, tuple[int, ...]]) -> list[tuple[str, Point]]:
    """List (axis, point): one axis at a time leaves the start. T1 has no tasks before it."""
    return [
        (axis, replace(start, work=work, max_steps=MAX_STEPS.get(axis, 32), **{axis: value}))
        for axis, values in axes.items()
        for value in values
        for work in WORKS
        if (axis, work) != ("tasks", "T1 epoch")
    ]


def measure_point(point: Point, threads: int) -> dict[str, float]:
    """Return seconds of an epoch (or an evaluation of all users) and the peak memory."""
    imports = peak_gib()
    torch.set_num_threads(threads)
    steps = min(-(-point.users // point.batch), point.max_steps)
    instances = min(point.users, steps * point.batch)
    call = _work(point, instances)
    call()
    spent: list[float] = []
    while not spent or (sum(spent) < ENOUGH and len(spent) < MAX_CALLS):
        started = time.perf_counter()
        call()
        spent.append(time.perf_counter() - started)
    seconds = statistics.median(spent) * point.users / instances
    return {
        "seconds": seconds,
        "peak_gib": peak_gib(),
        "imports_gib": imports,
        "measured_steps": steps,
    }


def _work(point: Point, instances: int) -> Call:
    """Build the call; users beyond ``instances`` are in memory, in another part of the split."""
    generator = torch.Generator().manual_seed(0)
    dilations = ((1, 4) * point.depth)[: point.depth]
    learner = ContinualModel(NextItNet(ModelConfig(point.width, dilations), point.items, generator))
    first = point.work == "T1 epoch"
    before = [] if first else [f"T{n}" for n in range(1, point.tasks + 1)]
    own_untrained(learner, dict.fromkeys(before, (point.items, 0.7)))
    stream = random_stream(point.users, point.length, point.items, point.items)
    part, other = (TEST, TRAIN) if point.work == "evaluation" else (TRAIN, TEST)
    task = stream["T1" if first else "T2"]
    blocks = np.zeros(len(task.users), np.uint8)
    blocks[np.random.default_rng(1).permutation(len(blocks))[:instances]] = 1
    parts = np.array([other, part], np.uint8)
    task = replace(task, name=f"T{len(before) + 1}", blocks=blocks, parts=parts)
    stream = replace(stream, tasks=(task,) if first else (stream["T1"], task))
    learner.start(task.name, np.ones(task.n_labels), generator)
    if part == TEST:
        return lambda: evaluate(learner.for_task(task.name), stream, task, part)
    config = replace(SAMPLED if first else DENSE, batch_size=point.batch)
    return trainer(learner.model, stream, task, config, learner.trainable())


def peak_gib() -> float:
    """Return the most memory that this process has held, in GiB."""
    status = Path("/proc/self/status")  # ru_maxrss of Linux counts the parent's memory as well
    if status.is_file():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


def in_own_process(point: Point, threads: int) -> dict[str, float]:
    """Measure a point in a fresh process, so that the peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure_point, point, threads).result()


def measure(start: Point, axes: dict[str, tuple[int, ...]], threads: int) -> pd.DataFrame:
    """Measure every point, short ones in several sweeps of which the fastest counts; tidy table."""
    todo = points(start, axes)
    found: dict[tuple[str, Point], dict] = {}
    for sweep in range(SWEEPS):
        again = [one for one in todo if not sweep or found[one]["seconds"] < SHORT]
        for one in tqdm(again, desc=f"sweep {sweep + 1} of {SWEEPS}", disable=None):
            latest = in_own_process(one[1], threads)
            found[one] = min(found.get(one, latest), latest, key=lambda each: each["seconds"])
    rows = (
        {"axis": axis, "value": getattr(point, axis), "work": point.work} | found[axis, point]
        for axis, point in todo
    )
    return pd.DataFrame(rows)


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Fit e of value^e by least squares on logarithms: columns axis, work, seconds, memory.

    Fitted on the upper half of the logarithmic range (at least its two largest values): constant
    costs dominate below it. Memory is what the point took beyond its imports.
    """
    rows = []
    for (axis, work), group in table.groupby(["axis", "work"], sort=False):
        values = group.sort_values("value")
        middle = np.sqrt(values["value"].iloc[0] * values["value"].iloc[-1])
        upper = values.iloc[-max(2, int((values["value"] >= middle).sum())) :]
        memory = (upper["peak_gib"] - upper["imports_gib"]).clip(lower=2**-20)
        seconds, memory = (
            np.polyfit(np.log(upper["value"]), np.log(y), 1)[0] for y in (upper["seconds"], memory)
        )
        rows.append({"axis": axis, "work": work, "seconds": seconds, "memory": memory})
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> Figure:
    """Draw seconds (upper row) and peak memory (lower row) along each axis."""
    long = table.rename(columns={"peak_gib": "peak memory, GiB"}).melt(
        ["axis", "value", "work"], ["seconds", "peak memory, GiB"], "measure", "y"
    )
    with sns.axes_style("whitegrid"), sns.plotting_context("paper"):
        grid = sns.relplot(
            long,
            x="value",
            y="y",
            hue="work",
            style="work",
            row="measure",
            col="axis",
            kind="line",
            markers=True,
            dashes=False,
            palette="colorblind",
            height=2,
            aspect=0.8,
            facet_kws={"sharex": "col", "sharey": "row"},
        )
    grid.set(xscale="log", yscale="log", ylabel="")
    for (measure_name, axis), panel in grid.axes_dict.items():
        values = np.sort(table.loc[table["axis"] == axis, "value"].unique())
        panel.set_xticks(values[[0, len(values) // 2, -1]])
        panel.xaxis.set(major_formatter=EngFormatter(sep=""), minor_locator=NullLocator())
        panel.yaxis.set(major_locator=LogLocator(subs=(1, 3)), minor_locator=NullLocator())
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set(title="", xlabel=axis)
        if axis == grid.col_names[0]:
            panel.set_ylabel(measure_name)
    sns.move_legend(grid, "upper center", bbox_to_anchor=(0.45, 1.06), ncols=3, title=None)
    return grid.figure


if __name__ == "__main__":
    options = arguments(__doc__)
    start, axes = (QUICK_START, QUICK_AXES) if options.quick else (START, AXES)
    table = measure(start, axes, options.threads)
    about = {"environment": environment(), "threads": options.threads, "start": asdict(start)}
    about["exponents"] = exponents(table).to_dict("records")
    folder = write("scaling", about, options, draw(table))
    table.to_csv(folder / "scaling.csv", index=False, float_format="%.6g")
