"""The verdicts at a glance (notebook 08)."""

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from conure_lib.analysis.stats import VERDICTS
from conure_lib.figures.style import COLUMN, style

LOOKS = dict(
    zip(
        VERDICTS,
        (("#009E73", "R"), ("#F0E442", "P"), ("#D55E00", "N"), ("#DDDDDD", "")),
        strict=True,
    )
)
"""Colour and letter of each verdict: told apart without the colours, too."""


def draw_ledger(table: pd.DataFrame) -> Figure:
    """A row per claim, a column per dataset. table: columns claim, dataset, verdict."""
    style()
    wide = table.pivot(index="claim", columns="dataset", values="verdict")
    figure, axis = plt.subplots(figsize=(COLUMN, 0.17 * len(wide) + 0.9))
    for y, (_, row) in enumerate(wide.iterrows()):
        for x, verdict in enumerate(row):
            color, letter = LOOKS.get(verdict, LOOKS["NOT TESTED"])
            axis.add_patch(plt.Rectangle((x, y), 0.94, 0.9, facecolor=color, edgecolor="none"))
            dark = letter in ("R", "N")
            axis.text(
                x + 0.47,
                y + 0.47,
                letter,
                ha="center",
                va="center",
                color="white" if dark else "black",
            )
    axis.set(xlim=(0, len(wide.columns)), ylim=(len(wide), 0))
    axis.set_xticks([x + 0.47 for x in range(len(wide.columns))], wide.columns)
    axis.set_yticks([y + 0.45 for y in range(len(wide))], wide.index)
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)
    shown = [v for v in VERDICTS if v in set(table["verdict"])]
    handles = [plt.Rectangle((0, 0), 1, 1, facecolor=LOOKS[v][0]) for v in shown]
    labels = [f"{v.capitalize()} ({LOOKS[v][1]})" if LOOKS[v][1] else v.capitalize() for v in shown]
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small")
    return figure
