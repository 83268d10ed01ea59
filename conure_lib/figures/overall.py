"""Table 2 as a figure, and that nothing is forgotten (notebook 03)."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from conure_lib.figures.style import COLUMN, METHOD_COLORS, PAGE, style


def draw_overall(table: pd.DataFrame) -> Figure:
    """One panel a task, one dot a method, 95% intervals over users; methods in the same place in all panels."""
    style()
    tasks, methods = list(table["task"].unique()), list(table["method"].unique())[::-1]
    rows_of_panels = 1 if len(tasks) <= 3 else 2
    columns = -(-len(tasks) // rows_of_panels)
    size = (PAGE, 0.3 + rows_of_panels * (0.5 + 0.16 * len(methods)))
    figure, axes = plt.subplots(rows_of_panels, columns, figsize=size, squeeze=False, sharey=True)
    for axis, task in zip(axes.flat, tasks, strict=False):
        rows = table[table["task"] == task]
        for r in rows.itertuples():
            y = methods.index(r.method)
            axis.plot([r.low, r.high], [y, y], color=METHOD_COLORS[r.method], linewidth=1.5)
            axis.plot(r.value, y, "o", color=METHOD_COLORS[r.method], markersize=4)
        axis.set(
            title=f"{task}: {rows['metric'].iloc[0]}",
            yticks=range(len(methods)),
            yticklabels=methods,
        )
        axis.set_ylim(-0.6, len(methods) - 0.4)
        axis.locator_params(axis="x", nbins=4)
        axis.grid(axis="y", color="#EEEEEE", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(axis="y", left=False)
    for axis in list(axes.flat)[len(tasks) :]:
        axis.set_axis_off()
    return figure


def draw_no_forgetting(table: pd.DataFrame) -> Figure:
    """Each task's test metric after every later task was learned; colour: relative to when it was learned.

    table: ``report.no_forgetting`` of one run. A row of one colour is a task that kept all it knew.
    """
    style()
    rows = table[table["after"].str.endswith("retrain")].assign(
        after=lambda t: t["after"].str.split().str[0]
    )
    order = list(dict.fromkeys(rows["after"]))
    values = rows.pivot(index="task", columns="after", values="metric").loc[order, order]
    first = np.array([values.loc[task, task] for task in order])
    figure, axis = plt.subplots(figsize=(COLUMN, 2.5))
    relative = values.div(np.where(first == 0, 1, first), axis=0)
    sns.heatmap(
        relative,
        annot=values,
        fmt=".4f",
        cmap="BrBG",
        vmin=0,
        vmax=2,
        linewidths=1,
        ax=axis,
        annot_kws={"fontsize": 6},
        cbar_kws={"label": "relative to when learned"},
    )
    axis.set(xlabel="after learning", ylabel="test metric of")
    axis.tick_params(length=0)
    axis.tick_params(axis="y", rotation=0)
    return figure
