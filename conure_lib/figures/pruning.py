"""What pruning leaves: the sweep over ratios and who owns which weights (Figs. 4 and 7)."""

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from conure_lib.figures.style import GREY, TASK_COLORS, finish, panels
from conure_lib.methods import METHODS


def draw_sweep(table: pd.DataFrame) -> Figure:
    """Draw the test metric against the share that was pruned, one panel per task.

    table: task, metric, method, ratio (nan for Conure-: a line with a band), value, low, high, n.
    """
    groups = {f"{task}, n = {rows['n'].iloc[0]:,}": rows for task, rows in table.groupby("task")}
    figure, axes = panels(groups, 1.9)
    drawn = {"Conure": "pruned and retrained", "Conure, not retrained": "pruned only"}
    for title, axis in axes.items():
        rows = groups[title].sort_values("ratio")
        base, color = rows[rows["method"] == "Conure-"].iloc[0], METHODS["Conure-"].color
        axis.axhspan(base["low"], base["high"], color=color, alpha=0.15, linewidth=0)
        axis.axhline(base["value"], color=color, linestyle="--", label="trained only (Conure-)")
        for aside, (name, label) in zip((0.6, -0.6), drawn.items(), strict=True):
            one = rows[rows["method"] == name]
            bars = [one["value"] - one["low"], one["high"] - one["value"]]
            look = {"color": METHODS[name].color, "marker": METHODS[name].marker, "label": label}
            axis.errorbar(100 * one["ratio"] + aside, one["value"], bars, markersize=3.5, **look)
        axis.set(xlabel="pruned, %", xticks=range(0, 101, 20))
        axis.set_ylabel(f"test {base['metric']}")
    return finish(figure, "bars and band: 95% intervals over users", legend=True, breaks="y")


def draw_owners(samples: dict[str, dict], free: dict[str, float]) -> tuple[Figure, pd.DataFrame]:
    """Draw who owns a corner of the last kernel after each task was pruned (Fig. 4).

    samples: task -> what its prune stage recorded as "owners_sample". free: task -> share of all
    kernel weights that is free after it. Returns the figure and its cells as a tidy table.
    """
    tasks, frames = list(samples), []
    titles = [f"after {task}\n{free[task]:.1%} free" for task in tasks]
    figure, axes = panels(titles, 1.1, columns=3)
    colors = ListedColormap(["white", *TASK_COLORS[: len(tasks)]])
    look = {"cmap": colors, "vmin": 0, "vmax": len(tasks), "edgecolors": "0.85", "linewidth": 0.2}
    for axis, (task, sample) in zip(axes.values(), samples.items(), strict=True):
        taps, inputs, outputs = sample["shape"]
        owners = np.array(sample["owners"])
        axis.pcolormesh(owners.reshape(taps * inputs, outputs).T, **look)
        for tap in range(1, taps):
            axis.axvline(inputs * tap, color="black", linewidth=0.8)
        axis.set(xticks=[], yticks=[], aspect="equal")
        axis.spines[:].set_visible(True)
        index = np.unravel_index(np.arange(owners.size), sample["shape"])
        cells = {"after": task, **dict(zip(("tap", "input", "output"), index, strict=True))}
        frames.append(pd.DataFrame({**cells, "owner": np.array(["free", *tasks])[owners]}))
    for label, color in {**dict(zip(tasks, TASK_COLORS, strict=False)), "free": "white"}.items():
        axis.scatter([], [], marker="s", facecolor=color, edgecolor=GREY, label=label)
    note = "a corner of the last kernel in one seed, and what is free in all kernels"
    return finish(figure, note, legend=True), pd.concat(frames)


def draw_capacity(table: pd.DataFrame) -> Figure:
    """Draw which task owns how much of the network, in one seed.

    table: part, owner (or "free"), weights and their share.
    """
    sizes = table.groupby("part")["weights"].transform("sum").map("\nn = {:,}".format)
    table = table.assign(part=table["part"] + sizes)
    figure, axes = panels([""], 0.3 * table["part"].nunique() + 0.4)
    wide = 100 * table.pivot(index="part", columns="owner", values="share")
    wide = wide.loc[table["part"].unique()[::-1], sorted(wide.columns, key="free".__eq__)]
    look = {"color": [*TASK_COLORS[: wide.shape[1] - 1], "white"], "edgecolor": GREY}
    wide.plot.barh(stacked=True, ax=axes[""], legend=False, linewidth=0.5, **look)
    axes[""].set(xlabel="weights, %", ylabel="", xlim=(0, 100))
    return finish(figure, "the same in all seeds; n: weights", legend=True)
