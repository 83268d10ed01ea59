"""Tables and figures: functions of tidy tables, one style, the data beside each figure."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from . import paths
from .data.stream import PAD, TEST, TaskStream
from .evaluate import scores_of
from .experiment import Run, Study
from .stages import metric_name
from .stats import Effect, Estimate, estimate, holm, paired_effect

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
    figure.savefig(folder / f"{name}.png", metadata={"Software": None})
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None, "Producer": None})
    data.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    return folder / f"{name}.png"


# --- tables ----------------------------------------------------------------------------------------------


def paper_table(number: int) -> pd.DataFrame:
    """A table of the paper, as text and numbers; ``?`` marks a digit that the scan lost."""
    found = sorted((paths.NOTEBOOKS.parent / "results" / "paper").glob(f"table{number}_*.csv"))
    if not found:
        raise FileNotFoundError(f"results/paper holds no table{number}_*.csv")
    return pd.read_csv(found[0])


def method_scores(study: Study, method: str, task: str) -> np.ndarray:
    """Per test instance the metric, averaged over the study's seeds: float64 [n], in order of the test rows."""
    kind = study.stream[task].kind
    runs = [study.run(method, seed) for seed in study.config.seeds]
    return np.mean([scores_of(kind, run.stages[task].ranks(task)) for run in runs], axis=0)


def test_users(stream: TaskStream, task: str) -> np.ndarray:
    """The user of each test instance, in the order of ``method_scores``: what intervals are clustered by."""
    return stream[task].users[stream[task].rows(TEST)]


def overall(study: Study, methods: Iterable[str], tasks: Iterable[str] | None = None) -> pd.DataFrame:
    """Table 2's cells: one row per method and task with mean, 95% interval over users, n and run ids."""
    rows = []
    for method in methods:
        runs = [study.run(method, seed) for seed in study.config.seeds]
        for task in tasks or study.order:
            e = estimate(method_scores(study, method, task), test_users(study.stream, task))
            rows.append({
                "dataset": study.stream.name, "method": method, "task": task,
                "metric": metric_name(study.stream[task].kind), "value": e.mean, "low": e.low, "high": e.high,
                "n": e.n, "users": e.users, "seeds": len(runs), "run_ids": " ".join(run.id for run in runs),
            })  # fmt: skip
    return pd.DataFrame(rows)


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """``overall`` with a row per method and a column per task, "value [low, high]"."""
    text = table.assign(cell=[str(Estimate(r.value, r.low, r.high, r.n, r.users)) for r in table.itertuples()])
    wide = text.pivot(index="method", columns="task", values="cell")
    return wide.loc[table["method"].unique(), table["task"].unique()]


def metric(run: Run, task: str) -> float:
    """The run's test metric on a task."""
    return next(row["value"] for row in run.stages[task].record()["metrics"] if row["measure"] == task)


def compare(study: Study, ours: str, theirs: str, tasks: Iterable[str] | None = None) -> pd.DataFrame:
    """Paired differences ours - theirs per task, over the same test instances, clustered by user."""
    rows = []
    for task in tasks or study.order:
        scores = (method_scores(study, method, task) for method in (ours, theirs))
        effect: Effect = paired_effect(*scores, test_users(study.stream, task))
        rows.append({"task": task, "ours": ours, "theirs": theirs, "effect": effect.mean, "low": effect.low,
                     "high": effect.high, "p": effect.p, "p_plain": effect.p_plain, "n": effect.n})  # fmt: skip
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(table["p"].to_numpy()))
    return table


def no_forgetting(run: Run) -> pd.DataFrame:
    """One row per stage after which, and per task learned before: its test metric and the digest of its logits.

    run: a Conure run. Equal digests mean that the task's logits are equal to the last bit.
    """
    rows = []
    for later, stage in run.stages.items():
        for one in stage.lineage()[-3:]:
            for task, memory in one.record()["notes"]["memory"].items():
                rows.append({"after": f"{later} {one.step.action}", "task": task, **memory, "stage_id": one.id})
    return pd.DataFrame(rows)


def capacity(run: Run) -> pd.DataFrame:
    """Share of all prunable weights that each task owns after the last one; "free" is what is left."""
    last = list(run.stages.values())[-1]
    owned = pd.DataFrame(last.record()["notes"]["owned"]).groupby("owner", sort=False)["weights"].sum()
    return (owned / owned.sum()).rename("share").reset_index()


def write_tables(study: Study, runs: Iterable[Run]) -> list[Path]:
    """The tidy results under results/<profile>/<dataset>/: every run's metrics, and the overall table."""
    runs = list(runs)
    folder = paths.tables(study.config.profile, study.stream.name)
    folder.mkdir(parents=True, exist_ok=True)
    methods = list(dict.fromkeys(run.method for run in runs))
    written = {"metrics": study.results(runs), "overall": overall(study, methods)}
    conure = [no_forgetting(run).assign(seed=run.seed) for run in runs if run.method == "Conure"]
    if conure:
        written["no_forgetting"] = pd.concat(conure)
    for name, table in written.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    return [folder / f"{name}.csv" for name in written]


# --- figures ---------------------------------------------------------------------------------------------


def draw_data(stream: TaskStream) -> tuple[Figure, pd.DataFrame]:
    """Sequence lengths, popularity of items and labels, and the users that tasks share."""
    style()
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(PAGE, 2.1))
    lengths = (stream.sequences != PAD).sum(1)
    counts = np.bincount(lengths, minlength=stream.sequences.shape[1] + 1)
    left.bar(np.arange(len(counts)), counts, color="#0072B2", width=0.9)
    left.set(xlabel="items in a T1 sequence", ylabel="sequences", title="Sequence lengths")
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
            title = "last kernel" if name == "kernel" else "hidden vector"
            axis.set(xticks=[], yticks=[], title=f"{title}, {when}")
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
    """Each task's test metric after every later stage: with Conure the lines are level, to the last bit."""
    style()
    figure, axis = plt.subplots(figsize=(COLUMN, 2.4))
    order = list(dict.fromkeys(table["after"]))
    for number, (task, rows) in enumerate(table.groupby("task", sort=False)):
        relative = rows["metric"] / rows["metric"].iloc[0]
        color = sns.color_palette("colorblind")[number % 10]
        axis.plot(
            [order.index(a) for a in rows["after"]], relative + 0.0, "o-", color=color, markersize=3, label=task
        )
    axis.set(ylabel="test metric / when learned", xticks=range(len(order)), ylim=(0, 1.5))
    axis.set_xticklabels(order, rotation=90, fontsize="x-small")
    axis.legend(ncols=3, fontsize="x-small", loc="upper center")
    return figure
