"""Fig. 2: what becomes of T1 while an unprotected network learns T2 (notebook 01)."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from conure_lib.figures.style import COLUMN, METHOD_COLORS, style


def draw_forgetting(notes: dict) -> tuple[Figure, pd.DataFrame]:
    """Fig. 2: a slice of the last kernel (6 x 6) and a hidden vector before and after T2; changes framed."""
    style()
    figure, axes = plt.subplots(2, 2, figsize=(COLUMN, 3.3))
    frames = []
    for row, name in zip(axes, ("kernel", "hidden"), strict=True):
        before, after = (np.array(notes[f"{name}_{when}"]) for when in ("before", "after"))
        height = int(np.sqrt(len(before)))
        while len(before) % height:
            height -= 1
        bound = np.abs(np.concatenate([before, after])).max()
        changed = np.abs(after - before) > 0.2 * np.maximum(np.abs(before), 1e-12)
        for axis, values, when in zip(row, (before, after), ("before T2", "after T2"), strict=True):
            image = axis.imshow(values.reshape(height, -1), cmap="RdBu_r", vmin=-bound, vmax=bound)
            axis.set(xticks=[], yticks=[], title=when if name == "kernel" else "")
            sns.despine(ax=axis, left=True, bottom=True)
        row[0].set_ylabel(
            "last kernel, 3 x 12" if name == "kernel" else f"hidden vector, {len(before)}"
        )
        for cell in np.flatnonzero(changed):
            y, x = divmod(int(cell), len(before) // height)
            row[1].add_patch(
                plt.Rectangle(
                    (x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=0.7
                )
            )
        figure.colorbar(image, ax=list(row), shrink=0.8)
        frames.append(
            pd.DataFrame({"what": name, "before": before, "after": after, "changed": changed})
        )
    return figure, pd.concat(frames)


def draw_forgetting_curve(curve: pd.DataFrame, kept: pd.DataFrame, floor: float) -> Figure:
    """T1's test MRR@5 while T2 trains unprotected (columns seed, epoch, value) and with Conure (seed, value)."""
    style()
    figure, axis = plt.subplots(figsize=(COLUMN, 2.2))
    sns.lineplot(
        curve,
        x="epoch",
        y="value",
        ax=axis,
        color=METHOD_COLORS["STL"],
        marker="o",
        markersize=3,
        errorbar="sd",
        label="nothing protected",
    )
    axis.axhline(
        kept["value"].mean(), color=METHOD_COLORS["Conure"], linestyle="--", label="Conure"
    )
    axis.axhline(floor, color=METHOD_COLORS["Popularity"], linestyle=":", label="Popularity")
    axis.set(xlabel="epoch of training T2", ylabel="T1: test MRR@5", ylim=(0, None))
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.get_legend().remove()
    figure.legend(fontsize="x-small", loc="outside upper center", ncols=3, columnspacing=1)
    return figure
