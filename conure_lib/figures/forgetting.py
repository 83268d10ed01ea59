"""What training T2 on T1's unprotected network changes (Fig. 2, notebook 01)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from conure_lib.figures.style import finish, panels


def draw_weights(notes: dict) -> tuple[Figure, pd.DataFrame]:
    """Draw a piece of a kernel and a hidden vector before and after T2 (Fig. 2).

    notes: what a finetune stage recorded under "forgetting". Returns the figure and a tidy table.
    """
    states, names, frames = ("before T2", "after T2", "change"), ("kernel", "hidden"), []
    titles = [f"{what}\n{state}" for what in ("weights", "vector") for state in states]
    figure, axes = panels(titles, 1.5, columns=3)
    for name, row in zip(names, np.reshape([*axes.values()], (2, 3)), strict=True):
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
    sizes = "{} weights, a vector of {}".format(*(len(notes[f"{n}_after"]) for n in names))
    note = f"{sizes}, in one seed\nframed: changed by over 20%; below each panel: its scale"
    return finish(figure, note), pd.concat(frames)
