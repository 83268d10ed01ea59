"""The verdicts at a glance, and effects beside the paper's (notebook 08)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from conure_lib.analysis.stats import VERDICTS
from conure_lib.figures.style import BOTH, CELLS, COLUMN, GREY, PAGE, TASK_COLORS, finish, set_style

SIGNS = ("✓", "◐", "✗", "?", "–")  # of the verdicts, in their order
MARKERS = "osD^v<>p"  # of the datasets, in their order
OWNERS = ("#A6CBE3", "#F0A065", "#B58CC4")  # of weights, by task; not those of datasets
GRID = 10  # cells a side, of the picture of weights
COLORS = ("#A6CBE3", "#FBE9B7", "#F2B48F", "#DDDDDD", "#FFFFFF")


def draw_verdicts(table: pd.DataFrame) -> Figure:
    """Draw a row per claim, in the order of the paper's sections, and a column per dataset.

    table: section, claim, title, dataset, verdict.
    """
    set_style()
    names = [f"{r.section}  {r.claim}  {r.title}" for r in table.itertuples()]
    wide = table.assign(row=names).pivot(index="row", columns="dataset", values="verdict")
    wide = wide.fillna(VERDICTS[-1]).map(VERDICTS.index)
    figure, axis = plt.subplots(figsize=(COLUMN, 0.17 * len(wide) + 0.9))
    look = CELLS | {"cmap": ListedColormap(COLORS), "vmin": 0, "vmax": len(VERDICTS)}
    sns.heatmap(wide, annot=wide.map(SIGNS.__getitem__), ax=axis, **look)
    axis.set(xlabel="", ylabel="")
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    axis.set_xticklabels(wide.columns, rotation=35, ha="left", rotation_mode="anchor")
    for verdict, sign, color in zip(VERDICTS, SIGNS, COLORS, strict=True):
        name = f"{sign} {verdict.lower()}"
        axis.scatter([], [], marker="s", facecolor=color, edgecolor=GREY, label=name)
    return finish(figure, legend=True)


def draw_claims(table: pd.DataFrame) -> Figure:
    """Draw each claim's effect by dataset, with its interval, beside the paper's: a forest plot.

    table: claim, title, dataset, effect, ci_low, ci_high, paper (shares), n; one row per claim and
    dataset. Each n stands at the right of its interval.
    """
    set_style()
    rows, datasets = table["claim"].nunique(), table["dataset"].nunique()
    height = 0.1 + 0.11 * datasets
    figure, axis = plt.subplots(figsize=(PAGE, height * rows + 1.0))
    sizes = _effects(axis, table.assign(title=table["claim"] + " " + table["title"]))
    axis.xaxis.set_major_locator(MultipleLocator(10))
    right = axis.secondary_yaxis("right")
    right.set_yticks([*sizes], [*sizes.values()])
    right.spines["right"].set_visible(False)
    right.tick_params(axis="y", length=0)
    axis.annotate("n", (1, 1), (3, 3), "axes fraction", "offset points")
    note = "n: test instances; a dataset without a row has not learned the claim's tasks"
    return finish(figure, f"{BOTH}\n{note}", legend=True)


def draw_overview(shares: pd.Series, table: pd.DataFrame) -> Figure:
    """Draw who owns the weights as tasks are learned, and headline effects beside the paper's.

    shares: of the kernel weights, by owner in the order of learning, the rest free.
    table: as of ``draw_claims``, and seeds; title: what is compared. C01, whose effects are of
    another size, has an axis of its own.
    """
    set_style()
    figure = plt.figure(figsize=(PAGE, 3.1))
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
    first, *_ = order = list(shares.index)
    ends = np.round(GRID * GRID * shares.cumsum()).astype(int)
    cells = np.random.default_rng(0).permutation(GRID * GRID).reshape(GRID, GRID)
    owner = np.searchsorted(ends, cells, side="right")
    states = {f"{first}: train all weights": np.zeros_like(owner)}
    for number, (task, share) in enumerate(shares.items()):
        does = "prune, retrain, freeze" if task == first else f"{task} in the free ones"
        states[f"{does}: {share:.0%}"] = np.where(owner > number, len(order), owner)
    colors = [*OWNERS[: len(order)], "white"]
    look = {"edgecolors": "#BBBBBB", "linewidth": 0.4, "vmin": 0, "vmax": len(order)}
    for axis, (title, state) in zip(left.subplots(2, 2).flat, states.items(), strict=True):
        axis.pcolormesh(state, cmap=ListedColormap(colors), **look)
        axis.set_title(title, fontsize=7)
        axis.set(xticks=[], yticks=[], aspect="equal")
        sns.despine(ax=axis, left=True, bottom=True)
    for name, color in zip([*(f"{task}'s weights" for task in order), "free"], colors, strict=True):
        axis.scatter([], [], marker="s", facecolor=color, edgecolor=GREY, label=name)
    apart = table["claim"] == "C01"
    some = [one for one in (table[apart], table[~apart]) if len(one)]
    heights = [one["claim"].nunique() + 0.5 for one in some]
    places = right.subplots(len(some), 1, height_ratios=heights, squeeze=False).flat if some else ()
    for axis, one in zip(places, some, strict=True):
        _effects(axis, one, names=sorted(table["dataset"].unique()))
    seeds = (f"{name} {n:.0f}" for name, n in table.groupby("dataset")["seeds"].max().items())
    return finish(figure, f"{BOTH}; seeds: {', '.join(seeds)}", legend=True)


def _effects(axis: Axes, table: pd.DataFrame, names: Sequence[str] = ()) -> dict[float, str]:
    """Draw effects with their intervals, and the paper's; return each n by its height.

    names: of all datasets of the figure, unless this axis has them all.
    """
    rows, names = list(dict.fromkeys(table["claim"])), names or sorted(table["dataset"].unique())
    titles, sizes = table.drop_duplicates("claim").set_index("claim"), {}
    axis.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    for name, own in table.groupby("dataset"):
        number = names.index(name)
        color, marker = TASK_COLORS[number], MARKERS[number]
        y = own["claim"].map(rows.index) + (number + 1) / (len(names) + 1) - 0.5
        axis.hlines(y, 100 * own["ci_low"], 100 * own["ci_high"], color=color, linewidth=1.4)
        axis.plot(100 * own["effect"], y, marker, color=color, markersize=2.5, label=name)
        sizes |= dict(zip(y, own["n"].map("{:,}".format), strict=True))
    paper, places = 100 * titles.loc[rows, "paper"], np.arange(len(rows))
    axis.vlines(paper, places - 0.42, places + 0.42, color="black", label="the paper")
    axis.set(
        yticks=range(len(rows)), yticklabels=titles.loc[rows, "title"], ylim=(len(rows) - 0.5, -0.5)
    )
    axis.set_xlabel("relative difference, %")
    for line in range(len(rows) - 1):
        axis.axhline(line + 0.5, color="#EEEEEE", linewidth=0.6)
    axis.tick_params(axis="y", length=0)
    return sizes
