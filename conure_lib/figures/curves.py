"""Curves over epochs, or over the tasks learned, as means over seeds (Figs. 2, 3, 6 and 7)."""

from typing import Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from conure_lib.figures.style import finish, panels
from conure_lib.methods import METHODS


def draw_curves(
    curves: pd.DataFrame,
    label: str,
    levels: pd.DataFrame | None = None,
    kept: Literal["last", "best", ""] = "last",
    x: str = "epoch",
    low: float | None = None,
) -> Figure:
    """Draw a line per method (or per column line) over epochs, one panel per task.

    curves: panel, method, seed, epoch, value, and line where a method has several (one shade each).
    levels: panel, method, line (its name), value of horizontal lines. kept: what a seed goes on
    with that stopped before the others, its "last" value, its "best" (whose weights are kept), or
    nothing. x: the column of whole numbers in place of epoch. low: where vertical axes begin.
    """
    curves = curves if "line" in curves else curves.assign(line=curves["method"])
    titles = curves["panel"].unique()
    figure, axes = panels(titles, 1.4 if len(titles) > 2 else 1.8, sharex=x != "epoch")
    for panel, axis in axes.items():
        here, drawn = curves[curves["panel"] == panel], 0
        spread = {
            "err_style": "band" if here.groupby("method")["line"].nunique().sum() < 3 else "bars"
        }
        for name, rows in here.groupby("method", sort=False):
            method, lines = METHODS[name], rows["line"].unique()
            shades = sns.light_palette(method.color, len(lines) + 2)[2:]
            markers = [method.marker] if len(lines) == 1 else "osD^vPX" * len(lines)
            dashes = (0, method.dashes) if method.dashes else "-"
            for line, color, marker in zip(lines, shades, markers, strict=False):
                wide = rows[rows["line"] == line].set_index([x, "seed"])["value"].unstack()
                if kept:
                    wide = wide.ffill() if kept == "last" else wide.fillna(wide.loc[1:].max())
                one = wide.melt(ignore_index=False, value_name="value").reset_index()
                one[x] += 0.08 * drawn  # bars side by side
                look = {"color": color, "marker": marker, "linestyle": dashes, "label": line}
                look |= {"markersize": 4, "markeredgewidth": 0, "linewidth": 1.2, "legend": False}
                sns.lineplot(one, x=x, y="value", errorbar="sd", ax=axis, **look, **spread)
                drawn += 1
        for r in levels[levels["panel"] == panel].itertuples() if levels is not None else ():
            method = METHODS[r.method]
            axis.axhline(r.value, label=r.line, color=method.color, dashes=method.dashes or (9, 1))
        axis.set_ylabel(label if axis.get_subplotspec().is_first_col() else "")
        seen = max(axis.get_ylim()[0], 0 if curves["value"].min() >= 0 else -np.inf)
        axis.set_ylim(bottom=seen if low is None else low)
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(5))
    note = f"; stopped seeds keep their {kept} value" if kept else ""
    return finish(figure, f"mean over seeds ± SD{note}", legend=True, breaks="y")
