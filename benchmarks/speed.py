"""How fast the library is against plain references, and what large catalogues and owners take."""

import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from benchmarks.cases import FULL, PRODUCTS, TOY, Case, Size, cases, six_tasks
from benchmarks.common import arguments, interleaved, write
from benchmarks.scaling import Point, in_own_process
from conure_lib.models.checkpoint import save_model
from conure_lib.pipeline.provenance import environment
from conure_lib.training.determinism import limited_threads

MAX_ROUNDS, SECONDS = 25, 10.0  # of a row, unless fewer than the least number of rounds fit


def measure_case(case: Case, rounds: int) -> dict:
    """Return a row: medians over the rounds of times per step, and of the references' ratios."""
    work = case.build()
    calls = {"ours": work.ours} | work.references
    found = interleaved(calls, rounds, MAX_ROUNDS, SECONDS, case.name)
    ms = {n: 1000 * statistics.median(r[n] for r in found) / work.steps for n in calls}
    with FlopCounterMode(display=False, custom_mapping=PRODUCTS) as counter:
        work.ours()
    gflops = counter.get_total_flops() / work.steps / 1e6 / ms["ours"]
    row = {"name": case.name, "rounds": len(found), "gflops": round(gflops, 1)}
    row |= {f"{n}_ms": round(value, 3) for n, value in ms.items()}
    for name in work.references:
        row[f"{name}_ratio"] = round(statistics.median(r[name] / r["ours"] for r in found), 2)
    tqdm.write(json.dumps(row))
    return row


def measure(threads: int, rounds: int, quick: bool = False) -> dict:
    """Measure every row, a step over the paper's catalogue, and what owner maps take."""
    torch.manual_seed(0)
    sizes = TOY if quick else FULL
    with limited_threads(threads):
        rows = [measure_case(case, rounds) for case in cases(sizes)]
    b, batch, steps = sizes.b, 32, 3
    users, blocks = batch * steps, len(b.dilations)
    point = Point("T1 epoch", users, sizes.catalogue, b.width, blocks, b.length, 0, batch, steps)
    large = in_own_process(point, threads)
    return {
        "environment": environment(),
        "threads": threads,
        "min_rounds": rounds,
        "rows": rows,
        "catalogue": {
            "items": sizes.catalogue,
            "step_s": round(large["seconds"] / steps, 3),
            "peak_gib": round(large["peak_gib"], 2),
            "logits_gib": round(4 * batch * (b.length - 1) * sizes.catalogue / 2**30, 1),
        },
        "owner_maps": owner_maps(b),
    }


def owner_maps(size: Size) -> dict[str, float]:
    """Measure what the owner maps of six tasks take on disk, against masks of floats."""
    learner = six_tasks(size)
    with tempfile.TemporaryDirectory() as folder:
        learner.save(Path(folder, "with_owners"))
        save_model(learner.model, Path(folder, "weights"))
        saved = {
            kind.name: sum(file.stat().st_size for file in kind.iterdir())
            for kind in Path(folder).iterdir()
        }
    owners = np.concatenate([owner.numpy().ravel() for owner in learner.owners.values()])
    shares = np.unique(owners, return_counts=True)[1] / len(owners)
    size_on_disk = saved["with_owners"] - saved["weights"]
    return {
        "bytes": size_on_disk,
        "bits_per_weight": round(8 * size_on_disk / len(owners), 3),
        "entropy": round(float(-(shares * np.log2(shares)).sum()), 3),
        "float_mask_bytes": 4 * len(learner.tasks) * len(owners),
    }


def draw(rows: list[dict]) -> Figure:
    """Draw how many times as fast as each reference the library is."""
    table = pd.DataFrame(
        [
            {"name": row["name"], "reference": who, "ratio": row[f"{who}_ratio"]}
            for row in rows
            for who in ("port", "lean")
            if f"{who}_ratio" in row
        ]
    )
    with sns.axes_style("whitegrid"), sns.plotting_context("paper"):
        figure, axis = plt.subplots(figsize=(7, 0.5 + 0.34 * len(rows)), layout="constrained")
        colors = {"port": "#0072B2", "lean": "#D55E00"}
        sns.barplot(table, x="ratio", y="name", hue="reference", palette=colors, ax=axis)
        for bars in axis.containers:
            axis.bar_label(bars, fmt="%.1f", fontsize=7, padding=2)
        axis.set(xscale="log", xlabel="times as fast as the reference (1 = equal)", ylabel="")
        axis.set_xticks([1, 2, 5, 10, 20, 50], labels=["1", "2", "5", "10", "20", "50"])
        axis.set_xlim(0.9, 1.3 * table["ratio"].max())
        axis.axvline(1, color="black", linewidth=0.8)
    return figure


if __name__ == "__main__":
    options = arguments(__doc__)
    result = measure(options.threads, options.rounds, options.quick)
    write("speed", result, options, draw(result["rows"]))
