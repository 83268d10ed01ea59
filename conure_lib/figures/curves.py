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
    kept: Literal["last", "best"] = "last",
    x: str = "epoch",
    bottom: float | None = None,
) -> Figure:
    """Draw a line per method (or per column line) over epochs, one panel per task.

    curves: panel, method, epoch, value, seed (or low and high, intervals over users), and line
    where a method has several. levels: panel, method, line (its name), value of horizontal lines.
    kept: "best" draws of each epoch the best value so far (that of epoch 0 apart, which no training
    has reached). A seed that stopped before the others goes on with its last value.
    x: a column of whole numbers in place of epoch. bottom: where vertical axes begin.
    """
    curves = curves if "line" in curves else curves.assign(line=curves["method"])
    titles = curves["panel"].unique()
    figure, axes = panels(titles, 1.4 if len(titles) > 2 else 1.8, sharex=x != "epoch")
    for number, (panel, axis) in enumerate(axes.items(), start=1):
        here, drawn = curves[curves["panel"] == panel], 0
        n_lines = here.groupby("method")["line"].nunique().sum()
        for name, rows in here.groupby("method", sort=False):
            method, lines = METHODS[name], rows["line"].unique()
            shades = sns.light_palette(method.color, len(lines) + 2)[2:]
            markers = [method.marker] if len(lines) == 1 else "osD^vPX" * len(lines)
            dashes = (0, method.dashes) if method.dashes else "-"
            for line, color, marker in zip(lines, shades, markers, strict=False):
                one = _with_spread(rows[rows["line"] == line], x, kept)
                at = one[x] + min(0.08, 0.3 / n_lines) * drawn  # bars side by side
                look = {"color": color, "marker": marker, "linestyle": dashes, "label": line}
                edge = float(marker in "1234x+")  # these have nothing else
                axis.plot(at, one["value"], ms=4, markeredgewidth=edge, linewidth=1.2, **look)
                if n_lines < 3 and len(one) > 1:
                    axis.fill_between(at, one["low"], one["high"], color=color, alpha=0.2, lw=0)
                else:  # at the end alone: more of them would hide each other's lines
                    end = one.iloc[-1:]
                    axis.vlines(at.iloc[-1:], end["low"], end["high"], color=color, lw=0.8)
                drawn += 1
        for r in levels[levels["panel"] == panel].itertuples() if levels is not None else ():
            method = METHODS[r.method]
            axis.axhline(r.value, label=r.line, color=method.color, dashes=method.dashes or (9, 1))
        lowest = x == "epoch" or number + axis.get_gridspec().ncols > len(axes)
        axis.set_ylabel(label if axis.get_subplotspec().is_first_col() else "")
        axis.set_xlabel(x if lowest else "")
        axis.tick_params(labelbottom=lowest)
        seen = max(axis.get_ylim()[0], 0 if curves["value"].min() >= 0 else -np.inf)
        axis.set_ylim(bottom=seen if bottom is None else bottom)
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(5))
    drawn_is = "best value so far (epoch 0 apart)" if kept == "best" else "value"
    stops = "\nseeds that have stopped keep theirs" if x == "epoch" else ""
    over_seeds = f"{drawn_is}: mean over seeds ± SD{stops}"
    note = "bands or bars: 95% intervals over users" if "low" in curves else over_seeds
    return finish(figure, note, legend=True, breaks="y")


def _with_spread(rows: pd.DataFrame, x: str, kept: str) -> pd.DataFrame:
    """Return a line with the ends of what is drawn around it: means over seeds ± SD by default."""
    if "low" in rows:
        return rows
    wide = rows.set_index([x, "seed"])["value"].unstack()
    wide = wide.ffill()
    if kept == "best":
        wide.loc[1:] = wide.loc[1:].cummax()
    mean, spread = wide.mean(axis=1), wide.std(axis=1).fillna(0)
    ends = {"value": mean, "low": mean - spread, "high": mean + spread}
    return pd.DataFrame(ends).reset_index()
