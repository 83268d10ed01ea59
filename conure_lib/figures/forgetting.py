"""What becomes of earlier tasks: unprotected (Fig. 2, 01) and with Conure (03)."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from conure_lib.figures.style import CELLS, finish, panels


def draw_weights(notes: dict) -> tuple[Figure, pd.DataFrame]:
    """Draw a piece of the last kernel and a hidden vector before and after T2 (Fig. 2).

    notes: what a finetune stage recorded under "forgetting". Returns the figure and a tidy table.
    """
    states, frames = ("before T2", "after T2", "change"), []
    titles = [f"{what}, {state}" for what in ("weights", "hidden vector") for state in states]
    figure, axes = panels(titles, 1.4)
    for name, row in zip(("kernel", "hidden"), np.reshape([*axes.values()], (2, 3)), strict=True):
        before, after = (np.array(notes[f"{name}_{when}"]) for when in ("before", "after"))
        height = next(h for h in range(int(len(before) ** 0.5), 0, -1) if len(before) % h == 0)
        for axis, values in zip(row, (before, after, after - before), strict=True):
            bound = np.abs(values).max()
            axis.imshow(values.reshape(height, -1), cmap="RdBu_r", vmin=-bound, vmax=bound)
            axis.set(xticks=[], yticks=[], xlabel=f"±{bound:.2g}")
        changed = np.abs(after - before) > 0.2 * np.abs(before)
        for y, x in np.argwhere(changed.reshape(height, -1)):
            axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="black"))
        cells = {"what": name, "before": before, "after": after, "changed": changed}
        frames.append(pd.DataFrame(cells))
    note = "framed: changed by over 20%; below each panel: its scale"
    return finish(figure, note), pd.concat(frames)


def draw_no_forgetting(memory: pd.DataFrame, unprotected: pd.DataFrame) -> Figure:
    """Draw in how many seeds each task is unchanged, to the last bit, after each later task.

    memory: `tables.no_forgetting` of Conure's runs, with their seed. unprotected: before, after;
    T1's test metric around T2 where nothing is protected, one row per seed.
    """
    memory = memory.assign(after=memory["after"].str.split().str[0])  # "T2 train" -> "T2"
    tasks, seeds = list(memory["after"].unique()), memory["seed"].nunique()
    changed = memory.groupby(["task", "after", "seed"])["changed"].any().astype(float)
    changed = changed.groupby(["task", "after"]).sum().unstack().loc[tasks, tasks]
    text = changed.map(lambda n: "" if pd.isna(n) else f"{seeds - n:.0f}/{seeds}")
    learned = memory[memory["task"] == memory["after"]].groupby("task")["metric"].mean()
    for task in tasks:
        text.loc[task, task] = f"{learned[task]:.4f}"
    row, columns = "T1, nothing protected", tasks[:2]
    text.loc[row, columns] = [f"{v:.4f}" for v in unprotected[["before", "after"]].mean()]
    changed.loc[row, columns] = [0, 1]
    figure, axes = panels([""], 0.24 * len(changed))
    colors = ListedColormap(["#CFE3F1", "#F2C1A0"])
    look = CELLS | {"cmap": colors, "vmin": 0, "vmax": 1, "ax": axes[""]}
    sns.heatmap(changed > 0, mask=changed.isna(), annot=text, **look)
    axes[""].set(xlabel="after learning", ylabel="")
    axes[""].tick_params(length=0)
    return finish(figure, "test metric when learned; then seeds in which no bit changed")
