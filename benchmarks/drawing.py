"""The benchmark's figures."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from conure_lib.figures import COLUMN, PAGE, style

COLORS = {"port": "#0072B2", "lean": "#E69F00"}
WORK_COLORS = {"T1 epoch": "#0072B2", "T2+ epoch": "#D55E00", "evaluation": "#009E73"}
MARKERS = {"T1 epoch": "o", "T2+ epoch": "s", "evaluation": "^"}


def draw_ratios(rows: list[dict]) -> Figure:
    """How many times as fast as each reference, a bar each; a black tick where a target is set.

    rows: ``run.measured`` of the parts. A part that both references share has one bar.
    """
    style()
    figure, axis = plt.subplots(figsize=(COLUMN, 0.6 + 0.36 * len(rows)))
    largest = max(max(row[n]["ratio"] or 1, row["target"] or 1) for row in rows for n in COLORS)
    for y, row in enumerate(rows):
        axis.text(1.02, y - 0.36, row["name"], fontsize=6, va="center")
        bars = [name for name in COLORS if row[name]["ratio"] is not None]
        for place, name in enumerate(bars):
            ratio, height = row[name]["ratio"], 0.46 / len(bars)
            middle = y - 0.12 + (place + 0.5) * height
            axis.barh(middle, ratio - 1, left=1, height=height, color=COLORS[name])
            target, end = row["target"] or 0, max(ratio, 1)
            place_of_text = (
                target if end < target < 1.3 * end else end
            )  # the tick does not cross the number
            axis.text(place_of_text * 1.03, middle, f"{ratio:.1f}", fontsize=5, va="center")
        if row["target"] is not None:
            axis.plot([row["target"]] * 2, [y - 0.17, y + 0.39], color="black", linewidth=1.5)
    ticks = [x for x in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if x <= max(2, 1.2 * largest)]
    axis.set(xscale="log", xlim=(None, 1.25 * largest), ylim=(len(rows) - 0.4, -0.7), yticks=[])
    axis.xaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_xlabel("times as fast as the reference")
    axis.spines["left"].set_visible(False)
    axis.axvline(1, color="black", linewidth=0.8)
    handles = [plt.Rectangle((0, 0), 1, 1, color=color) for color in COLORS.values()]
    labels = list(COLORS)
    if any(row["target"] is not None for row in rows):
        handles.append(plt.Line2D([], [], color="black", linewidth=1.5))
        labels.append("target")
    figure.legend(handles, labels, fontsize="x-small", loc="outside upper right", ncols=3)
    return figure


def draw_growth(table: pd.DataFrame, exponents: pd.DataFrame) -> Figure:
    """Time (upper half) and peak memory (lower half) over each axis of a sweep, with the fitted exponents.

    table: columns axis, value, work, seconds, peak_gib; exponents: axis, work, seconds, memory.
    """
    style()
    axes = list(dict.fromkeys(table["axis"]))
    columns = 3
    rows = -(-len(axes) // columns)
    figure, panels = plt.subplots(2 * rows, columns, figsize=(PAGE, 3.4 * rows), squeeze=False)
    for half, (measure, unit, fitted) in enumerate(
        (("seconds", "seconds", "seconds"), ("peak_gib", "peak memory, GiB", "memory"))
    ):
        for number, name in enumerate(axes):
            panel = panels[half * rows + number // columns, number % columns]
            for work, points in table[table["axis"] == name].groupby("work", sort=False):
                fit = exponents[(exponents["axis"] == name) & (exponents["work"] == work)]
                label = f"{work}: {fit[fitted].iloc[0]:.2f}"
                panel.plot(
                    points["value"],
                    points[measure],
                    color=WORK_COLORS[work],
                    marker=MARKERS[work],
                    markersize=3,
                    linewidth=1,
                    label=label,
                )
            panel.set(xscale="log", yscale="log", xlabel=name)
            _few_ticks(panel, table.loc[table["axis"] == name, "value"].unique())
            if number % columns == 0:
                panel.set_ylabel(unit)
            panel.legend(
                fontsize=5.5, title="growth with exponent", title_fontsize=5.5, loc="upper left"
            )
            low, high = table[measure].min() / 1.3, table[measure].max()
            panel.set_ylim(
                low, high * (high / low) ** 0.6
            )  # one scale for all axes, and room for the legend
            subs = (1,) if high > 100 * low else (1, 3)
            panel.yaxis.set(
                major_locator=LogLocator(subs=subs, numticks=9), minor_locator=NullLocator()
            )
            panel.yaxis.set_major_formatter(FuncFormatter(_short))
    for panel in panels.flat:
        if not panel.has_data():
            panel.set_axis_off()
    return figure


def _few_ticks(panel: plt.Axes, values: np.ndarray) -> None:
    values = np.sort(values)
    if len(values) > 4:
        values = values[[0, len(values) // 3, 2 * len(values) // 3, -1]]
    panel.xaxis.set(major_locator=FixedLocator(values), minor_locator=NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(_short))


def _short(value: float, _: object = None) -> str:
    for size, letter in ((1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
