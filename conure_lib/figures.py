"""Figures: functions of tidy tables, one style for all, the data beside each figure."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from . import paths
from .data.stream import PAD, TaskStream
from .experiment import Study

COLUMN, PAGE = 3.4, 7.0  # inches: one column of a paper, both columns
METHOD_COLORS = dict(
    zip(
        ("Popularity", "SinMo", "FineSmax", "STL", "PeterRec", "MTL", "Conure-", "Conure"),
        ("#777777", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2"),
        strict=True,
    )
)
"""One colour a method in every figure; Okabe and Ito's set, told apart by the colour-blind too."""


def style() -> None:
    """The study's look, for print at one column; called by every function that draws."""
    sns.set_theme(context="paper", style="ticks", font_scale=0.9)
    matplotlib.rcParams |= {
        "figure.dpi": 150, "savefig.dpi": 300, "axes.spines.top": False, "axes.spines.right": False,
        "figure.constrained_layout.use": True, "pdf.fonttype": 42, "axes.titlesize": "medium",
        "legend.frameon": False, "svg.hashsalt": "conure", "axes.formatter.useoffset": False,
    }  # fmt: skip


def save_figure(figure: Figure, study: Study, name: str, data: pd.DataFrame) -> Path:
    """PNG, PDF and the data as CSV under figures/<profile>/<dataset>/. Returns the PNG's path."""
    folder = paths.figures(study.config.profile, study.stream.name)
    folder.mkdir(parents=True, exist_ok=True)
    data.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    return write_figure(figure, folder / name)


def write_figure(figure: Figure, stem: Path) -> Path:
    """PNG and PDF beside each other, the same bytes for the same figure. Returns the PNG's path."""
    figure.savefig(stem.with_name(f"{stem.name}.png"), metadata={"Software": None})
    figure.savefig(stem.with_name(f"{stem.name}.pdf"), metadata={"CreationDate": None, "Producer": None})
    return stem.with_name(f"{stem.name}.png")


def draw_data(stream: TaskStream) -> tuple[Figure, pd.DataFrame]:
    """Sequence lengths, popularity of items and labels, and the users that tasks share."""
    style()
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(PAGE, 2.1))
    lengths = (stream.sequences != PAD).sum(1)
    counts = np.bincount(lengths, minlength=stream.sequences.shape[1] + 1)
    left.bar(np.arange(len(counts)), counts, color="#0072B2", width=0.9)
    left.set(xlabel="items in a T1 sequence", ylabel="sequences", title="Sequence lengths", yscale="log")
    frames = [pd.DataFrame({"what": "sequence length", "x": np.arange(len(counts)), "y": counts})]
    ranked = {"T1 items": stream.item_counts()}
    ranked |= {f"{t.name} labels": t.label_counts() for t in stream.tasks if t.kind == "ranking"}
    for (name, values), color in zip(ranked.items(), ("#0072B2", "#D55E00", "#009E73"), strict=False):
        y = np.sort(values[values > 0])[::-1]
        middle.plot(np.arange(1, len(y) + 1), y, color=color, label=name, linewidth=1.2)
        frames.append(pd.DataFrame({"what": name, "x": np.arange(1, len(y) + 1), "y": y}))
    middle.set(xscale="log", yscale="log", xlabel="rank", ylabel="training occurrences", title="Popularity")
    middle.legend(fontsize="x-small")
    names = [t.name for t in stream.tasks]
    users = [np.unique(t.users) for t in stream.tasks]
    shared = np.array([[len(np.intersect1d(a, b)) / len(a) for b in users] for a in users])
    sns.heatmap(shared, annot=shared > 0, fmt="", ax=right, cbar=False, cmap="Blues", vmin=0, vmax=1, square=True,
                xticklabels=names, yticklabels=names)  # fmt: skip
    for text, value in zip(right.texts, shared.flat, strict=True):
        text.set(text=f"{value:.0%}".rstrip("%"), fontsize="x-small")
    right.set(xlabel="... also in", ylabel="users of ...", title="Shared users, %")
    rows = [{"what": f"users of {a} also in {b}", "x": 0, "y": shared[i, j]} for i, a in enumerate(names)
            for j, b in enumerate(names)]  # fmt: skip
    return figure, pd.concat([*frames, pd.DataFrame(rows)])


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
        row[0].set_ylabel("last kernel, 3 x 12" if name == "kernel" else f"hidden vector, {len(before)}")
        for cell in np.flatnonzero(changed):
            y, x = divmod(int(cell), len(before) // height)
            row[1].add_patch(plt.Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=0.7))
        figure.colorbar(image, ax=list(row), shrink=0.8)
        frames.append(pd.DataFrame({"what": name, "before": before, "after": after, "changed": changed}))
    return figure, pd.concat(frames)


def draw_forgetting_curve(curve: pd.DataFrame, kept: pd.DataFrame, floor: float) -> Figure:
    """T1's test MRR@5 while T2 trains unprotected (columns seed, epoch, value) and with Conure (seed, value)."""
    style()
    figure, axis = plt.subplots(figsize=(COLUMN, 2.2))
    sns.lineplot(curve, x="epoch", y="value", ax=axis, color=METHOD_COLORS["STL"], marker="o", markersize=3,
                 errorbar="sd", label="one network, nothing protected")  # fmt: skip
    axis.axhline(kept["value"].mean(), color=METHOD_COLORS["Conure"], linestyle="--", label="Conure")
    axis.axhline(floor, color=METHOD_COLORS["Popularity"], linestyle=":", label="Popularity")
    axis.set(xlabel="epoch of training T2", ylabel="T1: test MRR@5", ylim=(0, None))
    axis.legend(fontsize="x-small", loc="center right")
    return figure


def draw_overall(table: pd.DataFrame) -> Figure:
    """One panel a task, one dot a method, 95% intervals over users."""
    style()
    tasks = list(table["task"].unique())
    figure, axes = plt.subplots(2, (len(tasks) + 1) // 2, figsize=(PAGE, 3.4), squeeze=False)
    for axis, task in zip(axes.flat, tasks, strict=False):
        rows = table[table["task"] == task].iloc[::-1]
        for y, r in enumerate(rows.itertuples()):
            axis.plot([r.low, r.high], [y, y], color=METHOD_COLORS[r.method], linewidth=1.5)
            axis.plot(r.value, y, "o", color=METHOD_COLORS[r.method], markersize=4)
        axis.set(title=f"{task}: {rows['metric'].iloc[0]}", yticks=range(len(rows)), yticklabels=rows["method"])
        axis.locator_params(axis="x", nbins=4)
    for axis in list(axes.flat)[len(tasks) :]:
        axis.set_axis_off()
    return figure


def draw_no_forgetting(table: pd.DataFrame) -> Figure:
    """Each task's test metric after every later task was learned; colour: relative to when it was learned.

    table: ``report.no_forgetting`` of one run. A row of one colour is a task that kept all it knew.
    """
    style()
    rows = table[table["after"].str.endswith("retrain")].assign(after=lambda t: t["after"].str.split().str[0])
    order = list(dict.fromkeys(rows["after"]))
    values = rows.pivot(index="task", columns="after", values="metric").loc[order, order]
    first = np.array([values.loc[task, task] for task in order])
    figure, axis = plt.subplots(figsize=(COLUMN, 2.5))
    relative = values.div(np.where(first == 0, 1, first), axis=0)
    sns.heatmap(relative, annot=values, fmt=".4f", cmap="BrBG", vmin=0, vmax=2, linewidths=1, ax=axis,
                annot_kws={"fontsize": 6}, cbar_kws={"label": "relative to when learned"})  # fmt: skip
    axis.set(xlabel="after learning", ylabel="test metric of")
    axis.tick_params(length=0)
    return figure
