"""Fig. 5: the compared methods as diagrams: what T1 and a later task share, and what is trained (notebook 03)."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from conure_lib.figures.style import PAGE, style

FIRST, COPIED, NEW = "T1's, unchanged", "starts from T1's, trained", "new, trained"
JOINT, FREE = "new, trained for both", "free"
LOOKS = {
    FIRST: ("#A6CBE3", ""),
    COPIED: ("#FBDCC2", "///"),
    NEW: ("#F0A064", ""),
    JOINT: ("#E3B4CE", "..."),
    FREE: ("#FFFFFF", ""),
}
"""Fill and hatching of what becomes of a part when a later task is learned."""

PARTS = ("embedding", "block 1", "block 2", "block 3", "output")
SHOWN = ("SinMo", "FineSmax", "STL", "PeterRec", "MTL", "Conure")
BACKBONES = {
    "SinMo": (FIRST, NEW),
    "FineSmax": (FIRST,),
    "STL": (FIRST, COPIED),
    "PeterRec": (FIRST,),
    "MTL": (JOINT,),
    "Conure": (FIRST,),
}
"""Of T1 and of a later task; one state if they share it."""
STORED = {
    "SinMo": "a network per task",
    "FineSmax": "one backbone,\nan output layer per task",
    "STL": "a network per task",
    "PeterRec": "one backbone,\npatches and an output layer per task",
    "MTL": "here: a network per later task",
    "Conure": "one backbone, an output layer per task,\nan owner per weight",
}
CELLS, OWNED = (
    20,
    {FIRST: 6, NEW: 3},
)  # a block's weights after TTL's first ratios: 30% T1's, 14% the next task's


def parts_of(method: str) -> pd.DataFrame:
    """One row per part that is drawn: method, part, serves ("T1", "later" or "both"), state."""
    backbone, outputs = BACKBONES[method], (JOINT, JOINT) if method == "MTL" else (FIRST, NEW)
    rows = []
    for part in PARTS:
        states = outputs if part == "output" else backbone
        for serves, state in zip(
            ("T1", "later") if len(states) == 2 else ("both",), states, strict=True
        ):
            rows.append({"method": method, "part": part, "serves": serves, "state": state})
        if part.startswith("block") and method == "PeterRec":
            rows.append(
                {"method": method, "part": f"patches of {part}", "serves": "later", "state": NEW}
            )
        if part.startswith("block") and method == "Conure":
            rows[-1:] = [
                {"method": method, "part": part, "serves": serves, "state": state}
                for serves, state in (("both", FIRST), ("later", NEW), ("none yet", FREE))
            ]
    return pd.DataFrame(rows)


def draw_methods() -> tuple[Figure, pd.DataFrame]:
    """A panel a method: input at the bottom, T1's output on the left, a later task's on the right."""
    style()
    figure, axes = plt.subplots(2, 3, figsize=(PAGE, 4.6))
    tables = [parts_of(method) for method in SHOWN]
    for axis, table in zip(axes.flat, tables, strict=True):
        method = table["method"].iloc[0]
        for row in table.itertuples():
            _draw_part(axis, row.part, row.serves, row.state, method)
        if method == "Conure":
            _draw_weights(axis)
        if method == "STL":
            arrow = {
                "arrowstyle": "->",
                "color": "black",
                "linewidth": 0.8,
                "shrinkA": 1,
                "shrinkB": 1,
            }
            for y in range(len(PARTS) - 1):
                axis.annotate("", (1.1, y + 0.41), (0.9, y + 0.41), arrowprops=arrow)
        for x, name in ((0.45, "T1"), (1.55, "later task")):
            axis.text(x, len(PARTS) + 0.08, name, ha="center", fontsize=7)
        axis.set_title(method, fontsize=9, weight="bold", pad=7)
        stored = axis.text(
            1, -0.18, STORED[method], ha="center", va="top", fontsize=6.5, style="italic"
        )
        stored.set_in_layout(False)  # panels of one width, whatever is written below them
        axis.set(xlim=(-0.25, 2.25), ylim=(-0.95, len(PARTS) + 0.35))
        axis.set_axis_off()
    handles = [
        Patch(facecolor=fill, hatch=hatch, edgecolor="black", linewidth=0.5)
        for fill, hatch in LOOKS.values()
    ]
    figure.legend(handles, list(LOOKS), loc="outside lower center", ncols=len(LOOKS), fontsize=7)
    return figure, pd.concat(tables)


def _draw_part(axis: Axes, part: str, serves: str, state: str, method: str) -> None:
    patch = part.startswith("patches")
    y = PARTS.index(part.removeprefix("patches of "))
    if method == "Conure" and part.startswith("block"):
        return  # drawn weight by weight
    left, right = {"T1": (0.0, 0.9), "later": (1.1, 2.0), "both": (0.0, 2.0)}[serves]
    left = 1.62 if patch else left
    low, height = (y + 0.16, 0.5) if patch else (y, 0.82)
    fill, hatch = LOOKS[state]
    axis.add_patch(
        Rectangle(
            (left, low),
            right - left - (0.06 if patch else 0),
            height,
            facecolor=fill,
            hatch=hatch,
            edgecolor="black",
            linewidth=0.6,
        )
    )
    middle = 0.8 if method == "PeterRec" and part.startswith("block") else (left + right) / 2
    about = {"ha": "center", "va": "center", "fontsize": 6.5}
    if not patch:
        behind = (
            {"boxstyle": "square,pad=0.15", "facecolor": fill, "edgecolor": "none"}
            if hatch
            else None
        )
        axis.text(middle, y + 0.4, part, bbox=behind, **about)
    elif part.endswith("1"):
        axis.text(1.78, y + 0.41, "patch", fontsize=5.5, ha="center", va="center")


def _draw_weights(axis: Axes) -> None:
    """Conure's blocks: every weight has one owner."""
    rng = np.random.default_rng(5)
    for y, part in enumerate(PARTS):
        if not part.startswith("block"):
            continue
        states = np.repeat(
            [FIRST, NEW, FREE], [OWNED[FIRST], OWNED[NEW], CELLS - sum(OWNED.values())]
        )
        for cell, state in enumerate(rng.permutation(states)):
            row, column = divmod(cell, CELLS // 2)
            axis.add_patch(
                Rectangle(
                    (0.2 * column, y + 0.41 * row),
                    0.2,
                    0.41,
                    facecolor=LOOKS[state][0],
                    edgecolor="black",
                    linewidth=0.5,
                )
            )
