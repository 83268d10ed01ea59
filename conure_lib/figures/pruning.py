"""Pruning and retraining: Figs. 3, 4 and 7, a sweep over ratios, Table 5 (notebooks 02, 06, 07)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from conure_lib.analysis.claims.pruning import PRUNED
from conure_lib.figures.style import COLUMN, METHOD_COLORS, PAGE, style

MARKERS = "osD^vPX"


def draw_overparameterization(curves: pd.DataFrame, tested: pd.DataFrame) -> Figure:
    """Fig. 3, a column a network: validation curves of T1 above, what the test says below.

    curves: network, method (Conure- trains, Conure retrains after the largest ratio), seed, epoch, validation.
    tested: network, state, method, value, low, high; a row a dot, in the order of the table.
    """
    style()
    networks = list(tested["network"].unique())
    figure, axes = plt.subplots(
        *(2, len(networks)),
        figsize=(PAGE, 3.9),
        sharex="row",
        sharey="row",
        squeeze=False,
        height_ratios=(3, 2),
    )
    names = {
        "Conure-": "training, nothing pruned",
        "Conure": f"retraining, {_most(tested)} at epoch 0",
    }
    for number, (network, above, below) in enumerate(zip(networks, *axes, strict=True)):
        for method, style_of_line in (("Conure-", "-"), ("Conure", "--")):
            rows = curves[(curves["network"] == network) & (curves["method"] == method)]
            _curve(
                above,
                rows,
                METHOD_COLORS[method],
                names[method],
                style_of_line,
                marker="o",
                markersize=3,
            )
        above.set(
            title=f"({'abcdefgh'[number]}) {network} network",
            xlabel="epoch of (re)training",
            ylim=(0, None),
        )
        above.set_ylabel("T1: validation MRR@5")
        above.xaxis.set_major_locator(MaxNLocator(integer=True))
        rows = tested[tested["network"] == network]
        _dots(below, rows, rows["state"])
        below.set_xlabel("T1: test MRR@5, all positions")
    axes[0, 0].legend(fontsize="x-small", loc="lower right")
    for axis in axes[:, 1:].flat:
        axis.set_ylabel("")
    return figure


def draw_retraining(curves: pd.DataFrame) -> Figure:
    """Fig. 7, a panel a task: validation while retraining, epoch 0 is pruned and not retrained.

    curves: task, metric, method, variant (pr50 ...), seed, epoch, validation. The dashed line is
    the best validation value of Conure-, as a mean over seeds.
    """
    style()
    figure, axes = _panels(curves["task"].unique(), 2.5)
    variants = list(curves.loc[curves["method"] == "Conure", "variant"].unique())
    shades = sns.blend_palette(["#56B4E9", METHOD_COLORS["Conure"], "#002137"], len(variants))
    bars = {"err_style": "bars", "err_kws": {"elinewidth": 1}}  # bands would hide each other
    for task, axis in axes.items():
        rows = curves[curves["task"] == task]
        for place, (variant, shade) in enumerate(zip(variants, shades, strict=True)):
            one = rows[(rows["method"] == "Conure") & (rows["variant"] == variant)]
            look = {"marker": MARKERS[place % len(MARKERS)], "markersize": 4.5, **bars}
            aside = 0.08 * (place - (len(variants) - 1) / 2)
            _curve(axis, one, shade, f"{variant.removeprefix('pr')}% pruned", "-", aside, **look)
        trained = rows[(rows["method"] == "Conure-") & (rows["epoch"] > 0)]
        best = trained.groupby("seed")["validation"].max().mean()
        axis.axhline(
            best,
            color=METHOD_COLORS["Conure-"],
            linestyle="--",
            linewidth=1.2,
            label="best of Conure-",
        )
        axis.set(
            title=task, xlabel="epoch of retraining", ylabel=f"validation {rows['metric'].iloc[0]}"
        )
        axis.xaxis.get_major_locator().set_params(integer=True)
    _legend_below(figure, axes.values())
    return figure


def draw_sweep(table: pd.DataFrame) -> Figure:
    """Test metric against the share pruned, a panel a task, with 95% intervals; Conure- as a line with its own.

    table: task, metric, method (Conure-, Conure, Conure not retrained), ratio (nan for Conure-), value, low, high.
    """
    style()
    figure, axes = _panels(table["task"].unique(), 2.5)
    drawn = (("Conure", "pruned and retrained", "o", 0.6), (PRUNED, "pruned only", "s", -0.6))
    for task, axis in axes.items():
        rows = table[table["task"] == task]
        line = rows[rows["method"] == "Conure-"].iloc[0]
        color = METHOD_COLORS["Conure-"]
        axis.axhspan(line["low"], line["high"], color=color, alpha=0.15, linewidth=0)
        axis.axhline(
            line["value"],
            color=color,
            linestyle="--",
            linewidth=1.2,
            label="Conure-, nothing pruned",
        )
        for method, label, marker, aside in drawn:
            one = rows[rows["method"] == method].sort_values("ratio")
            lengths = [one["value"] - one["low"], one["high"] - one["value"]]
            axis.errorbar(
                100 * one["ratio"] + aside,
                one["value"],
                lengths,
                color=METHOD_COLORS[method],
                marker=marker,
                markersize=3.5,
                linewidth=1,
                elinewidth=1,
                label=label,
            )
        axis.set(
            title=task,
            xlabel="pruned, %",
            ylabel=f"test {line['metric']}",
            xticks=[10, 30, 50, 70, 90],
        )
    _legend_below(figure, axes.values())
    return figure


def draw_owners(samples: dict[str, dict]) -> tuple[Figure, pd.DataFrame]:
    """Fig. 4: who owns a slice of the last kernel after each task was pruned; free weights are white.

    samples: by task, in the order of learning, the note ``owners_sample`` of its prune stage.
    """
    style()
    tasks, columns = list(samples), min(3, len(samples))
    lines = -(-len(tasks) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(COLUMN, 0.5 + 0.95 * lines), squeeze=False)
    colors = sns.color_palette("colorblind", max(len(tasks), 1))
    frames = []
    for axis, (task, sample) in zip(axes.flat, samples.items(), strict=False):
        taps, inputs, outputs = sample["shape"]
        owners = np.array(sample["owners"]).reshape(taps * inputs, outputs)
        axis.pcolormesh(
            owners.T,
            cmap=ListedColormap(["white", *colors]),
            vmin=0,
            vmax=len(tasks),
            edgecolors="0.85",
            linewidth=0.2,
        )
        for tap in range(1, taps):
            axis.axvline(inputs * tap, color="0.3", linewidth=0.6)
        axis.set(xticks=[], yticks=[], aspect="equal", xlim=(0, taps * inputs), ylim=(0, outputs))
        axis.set_title(f"after {task}", fontsize="small")
        axis.set_xlabel(f"{(owners == 0).mean():.0%} free", fontsize="small")
        tap, entry, exit_ = np.unravel_index(np.arange(owners.size), sample["shape"])
        names = np.array(["free", *tasks])[owners.ravel()]
        frames.append(
            pd.DataFrame(
                {"after": task, "tap": tap, "input": entry, "output": exit_, "owner": names}
            )
        )
    for axis in list(axes.flat)[len(tasks) :]:
        axis.set_axis_off()
    for axis in axes.flat:
        sns.despine(ax=axis, top=False, right=False)
        plt.setp(axis.spines.values(), linewidth=0.6)
    names = [Patch(facecolor=color, label=task) for task, color in zip(tasks, colors, strict=True)]
    free = Patch(facecolor="white", edgecolor="0.6", label="free")
    figure.legend(
        handles=[*names, free],
        loc="outside lower center",
        ncols=7,
        fontsize="x-small",
        handlelength=1,
        columnspacing=1,
    )
    return figure, pd.concat(frames)


def draw_embedding_pruning(table: pd.DataFrame) -> Figure:
    """Table 5, a panel a task: both methods with the kernels pruned alone and with the embedding as well.

    table: task, metric, method, variant, value, low, high.
    """
    style()
    figure, axes = _panels(table["task"].unique(), 1.6, sharey=True)
    for task, axis in axes.items():
        one = table[table["task"] == task]
        rows = pd.concat(
            group for _, group in one.groupby("method", sort=False)
        )  # what is compared side by side
        _dots(axis, rows, rows["method"] + ", " + rows["variant"])
        axis.set(title=task, xlabel=f"test {rows['metric'].iloc[0]}")
    return figure


def draw_capacity(table: pd.DataFrame) -> Figure:
    """Which task owns how much: a bar a row of part, cut by owner. table: part, owner (or "free"), share."""
    style()
    parts, owners = list(table["part"].unique()), list(table["owner"].unique())
    figure, axis = plt.subplots(figsize=(COLUMN, 0.75 + 0.3 * len(parts)))
    wide = table.pivot(index="part", columns="owner", values="share").loc[parts, owners].fillna(0.0)
    colors = iter(sns.color_palette("colorblind", len(owners)))
    left = np.zeros(len(parts))
    for owner in sorted(owners, key="free".__eq__):  # what is free stands last
        color = "white" if owner == "free" else next(colors)
        axis.barh(
            parts,
            100 * wide[owner],
            left=left,
            height=0.6,
            color=color,
            edgecolor="0.5",
            linewidth=0.5,
            label=owner,
        )
        left += 100 * wide[owner].to_numpy()
    axis.set(xlabel="weights, %", xlim=(0, 100))
    axis.invert_yaxis()
    axis.tick_params(axis="y", length=0)
    _legend_below(figure, [axis])
    return figure


def held(curves: pd.DataFrame) -> pd.DataFrame:
    """Curves of several seeds, all as long as the longest: where a seed has stopped it holds its best value,
    since that epoch's parameters are what its stage keeps. Columns seed, epoch, validation."""
    last = int(curves["epoch"].max())
    frames = []
    for seed, one in curves.groupby("seed"):
        best = one.loc[one["epoch"] > 0, "validation"].max()
        full = one.set_index("epoch")["validation"].reindex(range(last + 1)).fillna(best)
        frames.append(full.reset_index().assign(seed=seed))
    return pd.concat(frames, ignore_index=True)


def _curve(
    axis: Axes,
    rows: pd.DataFrame,
    color: object,
    label: str,
    line: str,
    aside: float = 0.0,
    **look: object,
) -> None:
    """A mean over seeds with one standard deviation (none for one seed). aside: a shift to the right."""
    full = held(rows).assign(epoch=lambda t: t["epoch"] + aside)
    sns.lineplot(
        full,
        x="epoch",
        y="validation",
        ax=axis,
        color=color,
        linestyle=line,
        label=label,
        errorbar="sd",
        legend=False,
        **look,
    )


def _dots(axis: Axes, rows: pd.DataFrame, labels: Iterable[str]) -> None:
    """A dot and a 95% interval a row, the first on top, in the colour of its method."""
    for y, r in enumerate(rows.itertuples()):
        axis.plot([r.low, r.high], [y, y], color=METHOD_COLORS[r.method], linewidth=1.5)
        axis.plot(r.value, y, "o", color=METHOD_COLORS[r.method], markersize=4)
    axis.set(yticks=range(len(rows)), yticklabels=list(labels), ylim=(len(rows) - 0.5, -0.5))
    axis.locator_params(axis="x", nbins=4)


def _most(tested: pd.DataFrame) -> str:
    """The name of the largest ratio: the last state that was pruned and not retrained."""
    return tested.loc[tested["method"] == PRUNED, "state"].iloc[-1]


def _panels(tasks: Iterable[str], height: float, **shared: bool) -> tuple[Figure, dict[str, Axes]]:
    """One panel a task, side by side over a page; one alone takes a column."""
    tasks = list(tasks)
    width = COLUMN if len(tasks) == 1 else PAGE
    figure, axes = plt.subplots(1, len(tasks), figsize=(width, height), squeeze=False, **shared)
    return figure, dict(zip(tasks, axes[0], strict=True))


def _legend_below(figure: Figure, axes: Iterable[Axes]) -> None:
    """One legend for all panels, under them."""
    lines, labels = next(iter(axes)).get_legend_handles_labels()
    figure.legend(
        lines,
        labels,
        loc="outside lower center",
        ncols=len(labels),
        fontsize="x-small",
        columnspacing=1,
        handlelength=1.8,
    )
