"""Dots with 95% intervals: test metrics and relative differences (Tables 2 to 5, notebook 09)."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from conure_lib.figures.style import BOTH, GREY, finish, panels
from conure_lib.methods import METHODS

NOTE = "bars: 95% intervals over users"
POINTS = {  # kind of a single point -> marker, size, fill, distance below the row
    "single seed": ("o", 1.8, "black", 0.13),
    "paper, TTL": ("D", 3, "white", 0.38),
    "paper, ML": ("s", 3, "#BBBBBB", 0.38),
    "the paper's": ("D", 3, "white", 0.38),
}


def draw_estimates(table: pd.DataFrame, label: str = "", hollow: str = "") -> Figure:
    """Draw test metrics, one panel per task and one row per method and variant.

    table: method, value, low, high; and either task, metric, n, variant, as `tables.overall` gives
    them, or the names of its panel and row. Optional columns: filled (false: drawn hollow, which
    means ``hollow``), chance and best (levels of a panel: vertical lines). label: of the horizontal
    axes, the metric unless given.
    """
    if "panel" not in table:
        table = table.assign(panel=[f"{r.task}, n = {r.n:,}" for r in table.itertuples()])
    if "row" not in table:
        table = table.assign(row=(table["method"] + ", " + table["variant"]).str.strip(", "))
    aside = 0.15 - 0.3 * table["filled"] if "filled" in table else 0.0
    figure, axes = _draw(table.assign(aside=aside), 0.24 if "filled" in table else 0.14)
    levels = {"chance": ":", "best": "--"} if "chance" in table else {}
    for panel, axis in axes.items():
        axis.set_xlabel(label or table.loc[table["panel"] == panel, "metric"].iloc[0])
        for name, line in levels.items():
            value = table.loc[table["panel"] == panel, name].iloc[0]
            axis.axvline(value, color=GREY, linewidth=0.9, linestyle=line, label=name)
    note = f"{NOTE}; hollow: {hollow}" if hollow else NOTE
    return finish(figure, note, legend=bool(levels), breaks="x")


def draw_effects(
    table: pd.DataFrame,
    label: str,
    points: pd.DataFrame | None = None,
    margin: float | Mapping[str, float] = 0.0,
) -> Figure:
    """Draw relative differences as a forest plot, in percent.

    table: row, method, relative, its ends (relative_low, relative_high; without them low, high),
    all shares, and panel where there are several. points:
    row, kind (a key of `POINTS`), relative, panel, and method where a point belongs to one; those
    far outside the intervals stand at the edge, with their value.
    margin: differences up to this share are shaded, in all panels or by panel.
    """
    points = pd.DataFrame(columns=["row", "kind", "relative"]) if points is None else points
    if "relative_low" in table:  # low and high are of an effect in the metric's unit
        table = table.assign(low=table["relative_low"], high=table["relative_high"])
    table, points = (t if "panel" in t else t.assign(panel="") for t in (table, points))
    methods, rows = list(table["method"].unique()), list(table["row"].unique())
    row = table.groupby(["panel", "row"])
    aside = 0.3 * (row.cumcount() - (row["method"].transform("size") - 1) / 2)
    shown = table.assign(value=table["relative"], aside=aside)
    shown[["value", "low", "high"]] *= 100
    if "method" in points:
        points = points.merge(shown[["panel", "row", "method", "aside"]], "left")
    figure, axes = _draw(shown, 0.14 + 0.12 * row.size().max())
    margins = margin if isinstance(margin, Mapping) else dict.fromkeys(axes, margin)
    for panel, axis in axes.items():
        shaded = 100 * margins.get(panel, 0.0)
        axis.axvspan(-shaded, shaded, color="#EEEEEE", linewidth=0, zorder=0)
        axis.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
        for name in methods if len(methods) > 1 else ():
            marker, color = METHODS[name].marker, METHODS[name].color
            axis.plot([], [], marker, color=color, markersize=4, label=name)
        ends = shown.loc[shown["panel"] == panel, ["low", "high"]]
        low, high = min(ends.min(axis=None), 0), max(ends.max(axis=None), 0)
        room, outside = 0.6 * (high - low), {}  # the latter: values by height and side
        for kind, one in points[points["panel"] == panel].groupby("kind", sort=False):
            marker, size, face, below = POINTS[kind]
            y = one["row"].map(rows.index) + below
            y += one["aside"].fillna(0) if "aside" in one else 0
            look = {"color": "black", "markerfacecolor": face, "markersize": size}
            x = 100 * one["relative"]
            axis.plot(x.clip(low - room, high + room), y, marker, label=kind, **look)
            for at, value in zip(y, x, strict=True):
                if not low - room <= value <= high + room:
                    outside.setdefault((at, value > high), []).append(f"{value:+.0f}")
        for (at, above), said in outside.items():
            edge, side = (high + room, "right") if above else (low - room, "left")
            axis.text(edge, at, f"  {', '.join(said)}  ", ha=side, va="center")
    note = BOTH + "".join(f"\nshaded: up to ±{m:.0%}" for m in {*margins.values()} - {0.0})
    if len(axes) == 1:
        axis.set_xlabel(label)
        return finish(figure, note, legend=True)
    return finish(figure, f"{label}\n{note}", legend=True)


def _draw(table: pd.DataFrame, height: float) -> tuple[Figure, dict[str, Axes]]:
    """Draw a dot and an interval per row of the table; `height` is that of a row, in inches."""
    rows = list(table["row"].unique())
    figure, axes = panels(sorted(table["panel"].unique()), 0.45 + height * len(rows), sharey=True)
    for panel, axis in axes.items():
        for r in table[table["panel"] == panel].itertuples():
            method, y = METHODS[r.method], rows.index(r.row) + r.aside
            face = method.color if getattr(r, "filled", True) else "white"
            axis.plot([r.low, r.high], [y, y], color=method.color, linewidth=1.4)
            axis.plot(r.value, y, method.marker, color=method.color, markersize=4, mfc=face)
        axis.grid(axis="y", color="#EEEEEE", linewidth=0.6)
        axis.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
        axis.tick_params(axis="y", length=0)
        axis.xaxis.set_major_locator(MaxNLocator(3))  # four labels of five digits would touch
    return figure, axes
