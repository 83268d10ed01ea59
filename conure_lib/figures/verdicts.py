"""The verdicts at a glance, and effects beside the paper's (notebook 08)."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from conure_lib.analysis.stats import VERDICTS
from conure_lib.figures.style import BOTH, CELLS, COLUMN, GREY, PAGE, TASK_COLORS, finish, set_style

SIGNS = ("✓", "◐", "✗", "?", "–")  # of the verdicts, in their order
MARKERS = "osD^v<>p"  # of the datasets, in their order
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
    rows, datasets = list(dict.fromkeys(table["claim"])), sorted(table["dataset"].unique())
    titles = table.drop_duplicates("claim").set_index("claim")
    height = 0.1 + 0.11 * len(datasets)
    figure, axis = plt.subplots(figsize=(PAGE, height * len(rows) + 1.0))
    axis.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    sizes = {}
    for number, (name, own) in enumerate(table.groupby("dataset")):
        color, marker = TASK_COLORS[number], MARKERS[number]
        y = own["claim"].map(rows.index) + (number + 1) / (len(datasets) + 1) - 0.5
        axis.hlines(y, 100 * own["ci_low"], 100 * own["ci_high"], color=color, linewidth=1.4)
        axis.plot(100 * own["effect"], y, marker, color=color, markersize=2.5, label=name)
        sizes |= dict(zip(y, own["n"].map("{:,}".format), strict=True))
    paper, places = 100 * titles.loc[rows, "paper"], np.arange(len(rows))
    axis.vlines(paper, places - 0.42, places + 0.42, color="black", label="the paper")
    names = [f"{name} {titles.loc[name, 'title']}" for name in rows]
    axis.set(yticks=range(len(rows)), yticklabels=names, ylim=(len(rows) - 0.5, -0.5))
    axis.set_xlabel("relative difference, %")
    axis.xaxis.set_major_locator(MultipleLocator(10))
    for line in range(len(rows) - 1):
        axis.axhline(line + 0.5, color="#EEEEEE", linewidth=0.6)
    right = axis.secondary_yaxis("right")
    right.set_yticks([*sizes], [*sizes.values()])
    right.spines["right"].set_visible(False)
    axis.annotate("n", (1, 1), (3, 3), "axes fraction", "offset points")
    for one in (axis, right):
        one.tick_params(axis="y", length=0)
    return finish(figure, f"{BOTH}\nn: test instances", legend=True)
