"""The data: lengths, popularity, shared users (notebook 00)."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from conure_lib.data.stream import PAD, TaskStream
from conure_lib.figures.style import PAGE, style


def draw_data(stream: TaskStream) -> tuple[Figure, pd.DataFrame]:
    """Sequence lengths, popularity of items and labels, and the users that tasks share."""
    style()
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(PAGE, 2.1))
    lengths = (stream.sequences != PAD).sum(1)
    counts = np.bincount(lengths, minlength=stream.sequences.shape[1] + 1)
    left.bar(np.arange(len(counts)), counts, color="#0072B2", width=0.9)
    left.set(
        xlabel="items in a T1 sequence", ylabel="sequences", title="Sequence lengths", yscale="log"
    )
    left.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    frames = [pd.DataFrame({"what": "sequence length", "x": np.arange(len(counts)), "y": counts})]
    ranked = {"T1 items": stream.item_counts()}
    ranked |= {f"{t.name} labels": t.label_counts() for t in stream.tasks if t.kind == "ranking"}
    for (name, values), color in zip(
        ranked.items(), ("#0072B2", "#D55E00", "#009E73"), strict=False
    ):
        y = np.sort(values[values > 0])[::-1]
        middle.plot(np.arange(1, len(y) + 1), y, color=color, label=name, linewidth=1.2)
        frames.append(pd.DataFrame({"what": name, "x": np.arange(1, len(y) + 1), "y": y}))
    middle.set(
        xscale="log", yscale="log", xlabel="rank", ylabel="training occurrences", title="Popularity"
    )
    middle.legend(fontsize="x-small")
    for axis in (left.yaxis, middle.yaxis, middle.xaxis):
        _plain_numbers(axis)
    names = [t.name for t in stream.tasks]
    users = [np.unique(t.users) for t in stream.tasks]
    shared = np.array([[len(np.intersect1d(a, b)) / len(a) for b in users] for a in users])
    sns.heatmap(
        shared,
        annot=shared > 0,
        fmt="",
        ax=right,
        cbar=False,
        cmap="Blues",
        vmin=0,
        vmax=1,
        square=True,
        xticklabels=names,
        yticklabels=names,
    )
    right.tick_params(axis="both", length=0, rotation=0)
    for text, value in zip(right.texts, shared.flat, strict=True):
        text.set(text=f"{value:.0%}".rstrip("%"), fontsize="x-small")
    right.set(xlabel="... also in", ylabel="users of ...", title="Shared users, %")
    rows = [
        {"what": f"users of {a} also in {b}", "x": 0, "y": shared[i, j]}
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]
    return figure, pd.concat([*frames, pd.DataFrame(rows)])


def _plain_numbers(axis: Axis) -> None:
    """Ticks of a logarithmic axis at few round numbers, written out."""
    low, high = axis.get_view_interval()
    subs = (1,) if high > 100 * low else (1, 3)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_minor_formatter(NullFormatter())
