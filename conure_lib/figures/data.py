"""The data: lengths, popularity, instances per user, shared users (notebook 00)."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from conure_lib.data.stream import PAD, TaskStream
from conure_lib.figures.style import CELLS, TASK_COLORS, finish, panels


def draw_data(stream: TaskStream) -> tuple[Figure, pd.DataFrame]:
    """Draw what the title of this module names; return a tidy table (what, x, y) too."""
    titles = ("Sequence lengths", "Popularity", "Instances per user", "Shared users, %")
    figure, axes = panels(titles, 1.5)
    lengths, popularity, active, shared = axes.values()
    counts = np.bincount((stream.sequences != PAD).sum(1))
    lengths.bar(range(len(counts)), counts, color=TASK_COLORS[0], width=1, linewidth=0)
    lengths.set(xlabel="items in a T1 sequence", ylabel="sequences", yscale="log", ylim=(0.8, None))
    frames = [pd.DataFrame({"what": "sequence length", "x": range(len(counts)), "y": counts})]
    long = [task for task in stream.tasks if task.kind != "classification"]
    for color, line, task in zip(TASK_COLORS, ("-", "--", ":"), long, strict=False):
        occurrences, own = stream.label_counts(task), np.bincount(task.users)
        seen, users = (np.sort(n[n > 0])[::-1] for n in (occurrences, own))
        ranks, share = np.arange(1, len(seen) + 1), 100 * np.arange(1, len(users) + 1) / len(users)
        name = f"{task.name} ({len(seen):,} {'labels' if len(frames) > 1 else 'items'} seen)"
        popularity.loglog(ranks, seen, line, color=color, label=name)
        active.step(users, share, line, color=color, where="post")
        frames.append(pd.DataFrame({"what": f"popularity, {task.name}", "x": ranks, "y": seen}))
        what = f"instances per user, {task.name}"
        frames.append(pd.DataFrame({"what": what, "x": users, "y": share}))
    popularity.set(xlabel="rank", ylabel="training occurrences", ylim=(0.8, None))
    active.set(xlabel="instances (at least)", ylabel="users, %", xscale="log")
    for axis in (lengths.yaxis, popularity.xaxis, popularity.yaxis, active.xaxis):
        axis.set_major_locator(LogLocator(numticks=6))
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.set_minor_formatter(NullFormatter())
    users = {task.name: np.unique(task.users) for task in stream.tasks}
    common = {b: {a: 100 * np.isin(users[a], users[b]).mean() for a in users} for b in users}
    common = pd.DataFrame(common)
    text = common.map(lambda x: "all" if x == 100 else f"{min(x, 99):.0f}")
    sns.heatmap(common, vmin=0, vmax=100, ax=shared, annot=text, cmap="Blues", **CELLS)
    shared.set(xlabel="... also in", ylabel="users of ...")
    shared.tick_params(length=0, rotation=0)
    pairs = common.stack().rename_axis(["a", "b"]).reset_index(name="y")
    frames.append(pairs.assign(what="users of " + pairs["a"] + " also in " + pairs["b"]))
    note = f"{len(stream.sequences):,} sequences of {len(users['T1']):,} users"
    note += "\npopularity: in the training part of one fold"
    return finish(figure, note, legend=True), pd.concat(frames)[["what", "x", "y"]]
