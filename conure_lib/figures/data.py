"""The data: lengths, popularity, shared users (notebook 00)."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from conure_lib.data.stream import PAD, TaskStream
from conure_lib.figures.style import CELLS, TASK_COLORS, finish, panels


def draw_data(stream: TaskStream) -> tuple[Figure, pd.DataFrame]:
    """Draw sequence lengths, popularity and shared users; return a tidy table (what, x, y) too."""
    figure, axes = panels(("Sequence lengths", "Popularity", "Shared users, %"), 1.7)
    lengths, popularity, shared = axes.values()
    counts = np.bincount((stream.sequences != PAD).sum(1))
    lengths.bar(range(len(counts)), counts, color=TASK_COLORS[0], width=0.9)
    lengths.set(xlabel="items in a T1 sequence", ylabel="sequences", yscale="log")
    frames = [pd.DataFrame({"what": "sequence length", "x": range(len(counts)), "y": counts})]
    ranked = {"T1 items": stream.item_counts()}
    ranked |= {f"{t.name} labels": t.label_counts() for t in stream.tasks if t.kind == "ranking"}
    for color, (name, occurrences) in zip(TASK_COLORS, ranked.items(), strict=False):
        y = np.sort(occurrences[occurrences > 0])[::-1]
        frames.append(pd.DataFrame({"what": name, "x": np.arange(1, len(y) + 1), "y": y}))
        popularity.loglog(frames[-1]["x"], y, color=color, label=f"{name} ({len(y):,})")
    popularity.set(xlabel="rank", ylabel="training occurrences")
    popularity.set_ylim(top=30 * popularity.get_ylim()[1])
    popularity.legend(loc="upper right")
    for axis in (lengths.yaxis, popularity.xaxis, popularity.yaxis):
        axis.set_major_locator(LogLocator(numticks=6))
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.set_minor_formatter(NullFormatter())
    users = {task.name: np.unique(task.users) for task in stream.tasks}
    common = {b: {a: 100 * np.isin(users[a], users[b]).mean() for a in users} for b in users}
    common = pd.DataFrame(common)
    look = CELLS | {"annot": True, "fmt": ".0f", "linewidths": 0, "cmap": "Blues", "square": True}
    sns.heatmap(common, vmin=0, vmax=100, ax=shared, **look)
    shared.set(xlabel="... also in", ylabel="users of ...")
    shared.tick_params(length=0, rotation=0)
    pairs = common.stack().rename_axis(["a", "b"]).reset_index(name="y")
    frames.append(pairs.assign(what="users of " + pairs["a"] + " also in " + pairs["b"]))
    note = f"{len(stream.sequences):,} sequences of {len(users['T1']):,} users"
    return finish(figure, note), pd.concat(frames)[["what", "x", "y"]]
