"""One style for all figures, the pieces that they share, and how they are saved."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from conure_lib import paths
from conure_lib.files import atomic_file
from conure_lib.study.study import Study

COLUMN, PAGE = 3.4, 7.0  # inches: one column of a paper, both columns
TASK_COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
GREY = "#6E6E6E"


def set_style() -> None:
    """Set the look of the study, readable in print at one column (no text below 7 pt)."""
    sns.set_theme(context="paper", style="ticks")
    small = ("xtick.labelsize", "ytick.labelsize", "legend.fontsize", "font.size")
    matplotlib.rcParams |= dict.fromkeys(small, 7) | {
        "figure.dpi": 150,
        "savefig.dpi": 300,
        "figure.constrained_layout.use": True,
        "figure.titlesize": 7,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.formatter.useoffset": False,
        "legend.frameon": False,
        "pdf.fonttype": 42,
    }


def panels(
    titles: Iterable[str], height: float, columns: int = 3, **shared: bool
) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure and its axes by title; `height` is that of one row of panels, in inches."""
    set_style()
    titles = list(titles)
    columns, rows = min(columns, len(titles)), -(-len(titles) // columns)
    size = (COLUMN if columns == 1 else PAGE, height * rows + 0.4)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, **shared)
    for axis in axes.flat[len(titles) :]:
        axis.set_axis_off()
    for axis, title in zip(axes.flat, titles, strict=False):
        axis.set_title(title)
    return figure, dict(zip(titles, axes.flat, strict=False))


def finish(figure: Figure, note: str = "", legend: bool = False, breaks: str = "") -> Figure:
    """Add a note above, one legend below, and strokes where an axis ("x", "y") leaves zero out."""
    figure.suptitle(note, color=GREY, x=0.01, ha="left")
    if legend:
        unique = {}
        for axis in figure.axes:
            unique |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        columns = min(len(unique), 3 if figure.get_figwidth() < PAGE else 7)
        figure.legend(unique.values(), unique, loc="outside lower center", ncols=columns)
    for axis in figure.axes if breaks else ():
        low, _ = axis.get_xlim() if breaks == "x" else axis.get_ylim()
        if axis.axison and low > 0:
            x, y, turn = (0.04, 0, 0) if breaks == "x" else (0, 0.06, 90)
            axis.text(x, y, "//", transform=axis.transAxes, rotation=turn, ha="center", va="center")
    return figure


def save_figure(figure: Figure, study: Study, name: str, data: pd.DataFrame) -> Path:
    """Save a figure and the data behind it below figures/local.

    The study's dataset and seeds are added to the figure's note. Returns the path of the PNG; of
    one's own runs there is a PDF as well.
    """
    seeds, note = len(study.config.seeds), figure.get_suptitle()
    head = f"{study.stream.name}, {seeds} seed{'s' * (seeds > 1)}"
    wide = figure.get_figwidth() > COLUMN
    if not note.startswith(head):
        finish(figure, (", " if wide else "\n").join(filter(None, (head, note))))
    folder = paths.figures(study.config.profile, study.stream.name, local=True)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / f"{name}.csv") as part:
        data.to_csv(part, index=False, float_format="%.6g")
    return write_figure(figure, folder / name, ("png", "pdf") if study.local else ("png",))


def write_figure(figure: Figure, stem: Path, kinds: Iterable[str] = ("png",)) -> Path:
    """Write a figure, the same bytes for the same figure, and return the path of its PNG."""
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}
    for kind in kinds:
        with atomic_file(stem.with_name(f"{stem.name}.{kind}")) as part:
            figure.savefig(part, metadata=metadata[kind])
    return stem.with_name(f"{stem.name}.png")
