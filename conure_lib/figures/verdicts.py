"""The verdicts at a glance (notebook 08)."""

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from conure_lib.analysis.stats import VERDICTS
from conure_lib.figures.style import CELLS, COLUMN, GREY, finish, set_style

SIGNS = ("✓", "◐", "✗", "?", "–")  # of the verdicts, in their order
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
