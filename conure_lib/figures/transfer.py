"""Transfer and order: Tables 3 and 4 as figures, and worlds whose truth is known (notebooks 04, 05, 09)."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from conure_lib.figures.style import COLUMN, METHOD_COLORS, PAGE, style

GREY = "#777777"
SIMILAR = 5  # percent either way


def draw_transfer(table: pd.DataFrame, seeds: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Table 3: what T2 adds to T3, in percent of T3 without T2.

    table: data, method, relative, low, high (shares); seeds: data, method, seed, relative; paper: data, where,
    relative. Bars are 95% intervals over users, small dots single seeds, diamonds the paper's values.
    """
    style()
    figure, axis = plt.subplots(figsize=(COLUMN, 2.5))
    heights = {name: -y for y, name in enumerate(table["data"].unique())}
    _zero(axis)
    _effects(axis, table, seeds, heights, "data")
    looks = (("white", 0.34), ("#BBBBBB", 0.43))
    for (where, rows), (face, below) in zip(
        paper.groupby("where", sort=False), looks, strict=False
    ):
        axis.plot(
            100 * rows["relative"],
            rows["data"].map(heights) - below,
            "D",
            color=GREY,
            markersize=4,
            markerfacecolor=face,
            label=f"paper, {where}",
        )
    axis.set(
        yticks=list(heights.values()), yticklabels=list(heights), ylim=(-len(heights) + 0.45, 0.45)
    )
    axis.set(xlabel="T3's gain from having learned T2, %", ylabel="training data of T3")
    figure.legend(loc="outside upper center", ncols=2, fontsize="x-small")
    return figure


def draw_orders(table: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """Table 4: each task in orders 2 and 3 against order 1, in percent; the band is 5% either way.

    table: row (a task and an order), method, relative, low, high (shares); seeds: row, method, seed, relative.
    """
    style()
    figure, axis = plt.subplots(figsize=(COLUMN, 3.2))
    heights = {name: -y for y, name in enumerate(table["row"].unique())}
    axis.axvspan(-SIMILAR, SIMILAR, color="#EEEEEE", linewidth=0, zorder=0)
    _zero(axis)
    _effects(axis, table, seeds, heights, "row")
    axis.set(
        yticks=list(heights.values()), yticklabels=list(heights), ylim=(-len(heights) + 0.4, 0.6)
    )
    axis.set(xlabel="test metric against order 1, %")
    figure.legend(loc="outside upper center", ncols=2, fontsize="x-small")
    return figure


def draw_dials(table: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """T3 with and without T2 against how related they are, and the gain; contradiction stands by itself.

    table: relatedness (nan: contradiction), without, with, popularity (T3's MRR@5), relative, low, high (shares);
    seeds: relatedness, seed, relative. Bars are 95% intervals over users, small dots single seeds.
    """
    style()
    figure, (above, below) = plt.subplots(2, 1, figsize=(COLUMN, 3.8), sharex=True)
    color, apart = METHOD_COLORS["Conure-"], 1.25
    x, single = (rows["relatedness"].fillna(apart) for rows in (table, seeds))
    curve = table["relatedness"].notna()
    looks = {
        "with": {"label": "with T2", "color": color},
        "without": {
            "label": "without T2",
            "color": color,
            "markerfacecolor": "white",
            "linestyle": "--",
        },
        "popularity": {
            "label": "popularity",
            "color": METHOD_COLORS["Popularity"],
            "linestyle": ":",
        },
    }
    for name, look in looks.items():
        line = above.plot(
            x[curve], table.loc[curve, name], marker="o", markersize=4, linewidth=1.2, **look
        )[0]
        above.plot(
            x[~curve],
            table.loc[~curve, name],
            "s",
            markersize=4,
            color=look["color"],
            markerfacecolor=line.get_markerfacecolor(),
        )
    above.set(ylabel="T3: test MRR@5", ylim=(0, None))
    figure.legend(loc="outside upper center", ncols=3, fontsize="x-small")
    below.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    relative, low, high = (100 * table[name] for name in ("relative", "low", "high"))
    below.vlines(x, low, high, color=color, linewidth=1.5)
    below.plot(x[curve], relative[curve], "o-", color=color, markersize=4.5, linewidth=1.2)
    below.plot(x[~curve], relative[~curve], "s", color=color, markersize=4.5)
    below.plot(
        single + 0.03, 100 * seeds["relative"], "o", color="black", markersize=1.8, alpha=0.6
    )
    ticks = sorted(table["relatedness"].dropna().unique())
    below.set(xticks=[*ticks, apart], xticklabels=[*(f"{t:g}" for t in ticks), "contra-\ndiction"])
    below.set(xlabel="share of likes that follow the clicks' trait", ylabel="gain from T2, %")
    return figure


def draw_truth(table: pd.DataFrame) -> Figure:
    """One panel a task: methods in a world with structure (filled) and in pure noise (hollow), 95% intervals.

    table: task, metric, world ("structure", "noise"), method, value, low, high, chance, best. Dotted: the
    level of pure guessing; dashed: the best that anybody could reach in the world with structure.
    """
    style()
    tasks, methods = list(table["task"].unique()), list(table["method"].unique())[::-1]
    figure, axes = plt.subplots(
        2, (len(tasks) + 1) // 2, figsize=(PAGE, 3.0), squeeze=False, sharey=True
    )
    for axis, task in zip(axes.flat, tasks, strict=False):
        rows = table[table["task"] == task]
        axis.axvline(rows["chance"].iloc[0], color=GREY, linewidth=0.9, linestyle=":")
        axis.axvline(rows["best"].iloc[0], color=GREY, linewidth=0.9, linestyle="--")
        for r in rows.itertuples():
            solid = r.world == "structure"
            y, color = methods.index(r.method) + (0.15 if solid else -0.15), METHOD_COLORS[r.method]
            axis.plot([r.low, r.high], [y, y], color=color, linewidth=1.5)
            axis.plot(
                r.value,
                y,
                "o",
                color=color,
                markersize=4,
                markerfacecolor=color if solid else "white",
            )
        axis.set(
            title=f"{task}: {rows['metric'].iloc[0]}",
            yticks=range(len(methods)),
            yticklabels=methods,
        )
        axis.set(ylim=(-0.5, len(methods) - 0.5))
        axis.locator_params(axis="x", nbins=4)
    for axis in list(axes.flat)[len(tasks) :]:
        axis.set_axis_off()
    dot = {"marker": "o", "color": "black", "markersize": 4}
    keys = [
        Line2D([], [], label="structure", **dot),
        Line2D([], [], label="pure noise", markerfacecolor="white", **dot),
        Line2D([], [], color=GREY, linestyle=":", label="guessing"),
        Line2D([], [], color=GREY, linestyle="--", label="best possible, structure"),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=4, fontsize="small")
    return figure


def _zero(axis: Axes) -> None:
    axis.axvline(0, color=GREY, linewidth=0.8, linestyle=":")


def _effects(
    axis: Axes, table: pd.DataFrame, seeds: pd.DataFrame, heights: dict[str, int], by: str
) -> None:
    """Relative differences as dots with their intervals, one row per value of ``by``, methods side by side."""
    methods = list(table["method"].unique())
    places = dict(zip(methods, np.linspace(0.18, -0.12, len(methods)), strict=True))
    for method, rows in table.groupby("method", sort=False):
        y = rows[by].map(heights) + places[method]
        axis.hlines(
            y, 100 * rows["low"], 100 * rows["high"], color=METHOD_COLORS[method], linewidth=1.5
        )
        axis.plot(
            100 * rows["relative"],
            y,
            "o",
            color=METHOD_COLORS[method],
            markersize=4.5,
            label=method,
        )
    for method, rows in seeds.groupby("method", sort=False):
        y = rows[by].map(heights) + places[method] - 0.14
        axis.plot(100 * rows["relative"], y, "o", color="black", markersize=1.8, alpha=0.6)
