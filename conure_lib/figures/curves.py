"""Curves over epochs, as means over seeds (Figs. 2, 3, 6 and 7)."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from conure_lib.figures.style import finish, panels
from conure_lib.methods import METHODS


def draw_curves(
    curves: pd.DataFrame, label: str, levels: pd.DataFrame | None = None, kept: str = "last"
) -> Figure:
    """Draw a line per method (or per column line) over epochs, one panel per task.

    curves: panel, method, seed, epoch, value, and line where a method has several (one shade each).
    levels: panel, method, line (its name), value of horizontal lines. kept: what a seed goes on
    with that stopped before the others, its "last" value or its "best" (whose weights are kept).
    """
    curves = curves if "line" in curves else curves.assign(line=curves["method"])
    titles = curves["panel"].unique()
    figure, axes = panels(titles, 1.9, columns=len(titles))
    for panel, axis in axes.items():
        for name, rows in curves[curves["panel"] == panel].groupby("method", sort=False):
            method, lines = METHODS[name], rows["line"].unique()
            shades = sns.light_palette(method.color, len(lines) + 2)[2:]
            markers = [method.marker] if len(lines) == 1 else "osD^vPX" * len(lines)
            dashes = (0, method.dashes) if method.dashes else "-"
            for n, (line, color, marker) in enumerate(zip(lines, shades, markers, strict=False)):
                wide = rows[rows["line"] == line].set_index(["epoch", "seed"])["value"].unstack()
                wide = wide.ffill() if kept == "last" else wide.fillna(wide.loc[1:].max())
                one = wide.melt(ignore_index=False, value_name="value").reset_index()
                one["epoch"] += 0.08 * n  # bars side by side
                look = {"color": color, "marker": marker, "linestyle": dashes, "label": line}
                look |= {"err_style": "band" if len(lines) == 1 else "bars", "legend": False}
                look |= {"markersize": 4, "markeredgewidth": 0, "linewidth": 1.2}
                sns.lineplot(one, x="epoch", y="value", errorbar="sd", ax=axis, **look)
        for r in levels[levels["panel"] == panel].itertuples() if levels is not None else ():
            method = METHODS[r.method]
            axis.axhline(r.value, label=r.line, color=method.color, dashes=method.dashes or (9, 1))
        axis.set_ylabel(label if panel == titles[0] else "")
        axis.set_ylim(bottom=max(axis.get_ylim()[0], 0))
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(5))
    note = f"mean over seeds ± SD; stopped seeds keep their {kept} value"
    return finish(figure, note, legend=True, breaks="y")
