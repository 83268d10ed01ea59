"""What T2 changes in T1's network (Fig. 2), and what becomes of old tasks (notebook 10)."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from conure_lib.figures.style import GREY, PAGE, finish, panels, set_style
from conure_lib.methods import METHODS


def draw_weights(notes: dict) -> tuple[Figure, pd.DataFrame]:
    """Draw a piece of a kernel and a hidden vector before and after T2 (Fig. 2).

    notes: what a finetune stage recorded under "forgetting". Returns the figure and a tidy table.
    """
    columns, names, frames = ("before T2", "after T2", "change"), ("kernel", "hidden"), []
    titles = [f"{what}\n{column}" for what in ("weights", "vector") for column in columns]
    figure, axes = panels(titles, 1.5, columns=3)
    for name, row in zip(names, np.reshape([*axes.values()], (2, 3)), strict=True):
        before, after = (np.array(notes[f"{name}_{when}"]) for when in ("before", "after"))
        height = next(h for h in range(int(len(before) ** 0.5), 0, -1) if len(before) % h == 0)
        scale, moved = np.abs([before, after]).max(), np.abs(after - before).max()
        states = ((before, scale), (after, scale), (after - before, moved))
        for axis, (values, bound) in zip(row, states, strict=True):
            axis.imshow(values.reshape(height, -1), cmap="RdBu_r", vmin=-bound, vmax=bound)
            axis.set(xticks=[], yticks=[], xlabel=f"±{bound:.2g}")
        changed = np.abs(after - before) > 0.2 * np.abs(before)
        for y, x in np.argwhere(changed.reshape(height, -1)):
            axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="black"))
        cells = {"what": name, "before": before, "after": after, "changed": changed}
        frames.append(pd.DataFrame(cells))
    sizes = "{} weights, a vector of {}".format(*(len(notes[f"{n}_after"]) for n in names))
    note = f"{sizes}, in one seed\nframed: changed by over 20%; below each panel: its scale"
    return finish(figure, note), pd.concat(frames)


def draw_learners(matrix: pd.DataFrame, levels: pd.DataFrame) -> Figure:
    """Draw what becomes of each task as others are learned: a row per task, a column per learner.

    matrix: method, row (a task's name, size and metric), tasks learned, value, low, high. levels:
    row, line (its name), value of popularity.
    """
    set_style()
    rows, methods = matrix["row"].unique(), matrix["method"].unique()
    grid = {"sharex": True, "sharey": "row", "squeeze": False}
    size = (PAGE, 0.8 * len(rows) + 0.8)
    figure, axes = plt.subplots(len(rows), len(methods), figsize=size, **grid)
    for row, of_row in zip(rows, axes, strict=True):
        here = matrix[matrix["row"] == row]
        bottom, top = max(here["low"].min(), 0), here["high"].max()
        popularity, line = levels.loc[levels["row"] == row, ["value", "line"]].iloc[0]
        bottom, top = min(bottom, popularity), max(top, popularity)
        pad = 0.05 * (top - bottom)
        of_row[0].set_ylim(bottom - pad * (bottom > 0), top + pad)
        of_row[0].yaxis.set_major_locator(MaxNLocator(3))
        of_row[0].set_ylabel(row, rotation=0, ha="right", va="center")
        for axis, name in zip(of_row, methods, strict=True):
            method, one = METHODS[name], here[here["method"] == name]
            for _, other in here[here["method"] != name].groupby("method"):
                at, value = other["tasks learned"], other["value"]
                axis.plot(at, value, color="#CCCCCC", linewidth=0.6, label="the other learners")
            look = {"color": GREY, "linewidth": 0.8}
            axis.axhline(popularity, linestyle=":", label=line, **look)
            at, value = one["tasks learned"], one["value"]
            axis.hlines(
                value.iloc[0], at.min(), at.max(), linestyle="--", label="as learned", **look
            )
            axis.fill_between(at, one["low"], one["high"], color=method.color, alpha=0.25, lw=0)
            axis.plot(at, value, method.marker, color=method.color, linestyle="-", markersize=3)
            axis.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    for axis, name in zip(axes[0], methods, strict=True):
        axis.set_title(name)
    axes[-1, len(methods) // 2].set_xlabel("tasks learned")
    return finish(figure, "bands: 95% intervals over users", legend=True, breaks="y")
