"""The verdicts at a glance (notebook 08)."""

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from conure_lib.analysis.stats import VERDICTS
from conure_lib.figures.style import CELLS, finish, set_style


def draw_verdicts(table: pd.DataFrame) -> Figure:
    """Draw a row per claim and a column per dataset; table: claim, title, dataset, verdict."""
    set_style()
    table = table.assign(row=table["claim"] + "  " + table["title"])
    wide = table.pivot(index="row", columns="dataset", values="verdict").fillna(VERDICTS[-1])
    figure, axis = plt.subplots(figsize=(2.3 + 1.1 * wide.shape[1], 0.17 * len(wide) + 0.5))
    colors = ListedColormap(["#A6CBE3", "#FBE9B7", "#F2B48F", "#DDDDDD", "#F6F6F6"])  # by verdict
    look = CELLS | {"cmap": colors, "vmin": 0, "vmax": len(VERDICTS)}
    sns.heatmap(wide.map(VERDICTS.index), annot=wide.map(str.lower), ax=axis, **look)
    axis.set(xlabel="", ylabel="")
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    return finish(figure)
