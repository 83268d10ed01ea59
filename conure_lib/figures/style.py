"""One style for all figures, the pieces that they share, and how they are saved."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from conure_lib import paths
from conure_lib.files import atomic_file, write_csv
from conure_lib.study.study import Study

COLUMN, PAGE = 3.4, 7.0  # inches, one column and two columns of a paper: the widths of figures
TASK_COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
LINE = 0.14  # inches, of a line of a title
TITLE = 16  # characters that fit above one of two panels; longer ones have n on a line of its own
GREY = "#6E6E6E"
BOTH = "bars: cover the 95% intervals over users and over seeds"  # as verdicts do
CELLS = {"cbar": False, "linewidths": 1, "annot_kws": {"size": 7}, "fmt": ""}  # of a heatmap


def set_style() -> None:
    """Set the look of the study, readable in print at one column (no text below 7 pt)."""
    sns.set_theme(context="paper", style="ticks")
    small = ("xtick.labelsize", "ytick.labelsize", "legend.fontsize", "font.size")
    matplotlib.rcParams |= dict.fromkeys(small, 7)
    plt.rc("figure", dpi=200, titlesize=7)
    plt.rc("figure.constrained_layout", use=True)
    plt.rc("savefig", dpi=300)
    plt.rc("axes", titlesize=8, labelsize=8)
    plt.rc("axes.spines", top=False, right=False)
    plt.rc("axes.formatter", useoffset=False)
    plt.rc("legend", frameon=False)
    plt.rc("pdf", fonttype=42)


def panels(
    titles: Iterable[str], height: float, columns: int = 2, **shared: bool
) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure and its axes by title.

    height: of one row of panels, in inches, with a title of one line.
    """
    set_style()
    titles = list(titles)
    columns, rows = min(columns, len(titles)), -(-len(titles) // columns)
    long = columns > 1 and max(map(len, titles)) > TITLE
    shown = [title.replace(", n = ", "\nn = ") if long else title for title in titles]
    height += LINE * max(title.count("\n") for title in shown)
    size = (COLUMN, height * rows + 0.4)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, **shared)
    for axis in axes.flat[len(titles) :]:
        axis.remove()
    for axis, title in zip(axes.flat, shown, strict=False):
        axis.set_title(title)
    return figure, dict(zip(titles, axes.flat, strict=False))


def finish(figure: Figure, note: str = "", legend: bool = False, breaks: str = "") -> Figure:
    """Add a note above, one legend below, and strokes where an axis ("x", "y") leaves zero out."""
    figure.suptitle(note, color=GREY, x=0.01, ha="left")
    unique = {}
    for axis in figure.axes if legend else ():
        unique |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    if unique:
        widths = {  # in characters, by the number of columns
            n: sum(9 + max(map(len, part)) for part in np.array_split([*unique], n))
            for n in range(1, len(unique) + 1)
        }
        room = 64 * figure.get_figwidth() / COLUMN
        columns = max(n for n, width in widths.items() if n == 1 or width <= room)
        figure.legend(unique.values(), unique, loc="outside lower center", ncols=columns)
        figure.set_figheight(figure.get_figheight() + 0.15 * -(-len(unique) // columns))
    for axis in figure.axes if breaks else ():
        low, high = axis.get_xlim() if breaks == "x" else axis.get_ylim()
        if low > 0 or high < 0:  # at the end that is nearer to zero
            x, y, turn = (0.04, 0, 0) if breaks == "x" else (0, 0.06, 90)
            x, y = (x, y) if low > 0 else (x and 1 - x, y and 1 - y)
            axis.text(x, y, "//", transform=axis.transAxes, rotation=turn, ha="center", va="center")
    return figure


def save_figure(figure: Figure, study: Study, name: str, data: pd.DataFrame) -> Path:
    """Save a figure, named by its study, and its data below figures/local; return the PNG's path.

    The same figure gives the same bytes. Of one's own runs there is a PDF as well.
    """
    seeds, note = len(study.config.seeds), figure.get_suptitle()
    differ = "seeds" in data and data["seeds"].nunique() > 1  # which the figure says of each row
    head = study.stream.name if differ else f"{study.stream.name}, {seeds} seed{'s' * (seeds > 1)}"
    several = "dataset" in data and data["dataset"].nunique() > 1  # which the figure names itself
    if not (several or note.startswith(head)):
        finish(figure, "\n".join(filter(None, (head, note))))
    folder = paths.drawn("figures", study.config.profile, study.stream.name, study.local)
    write_csv(folder / f"{name}.csv", data)
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}
    for kind in metadata if study.local else ("png",):
        with atomic_file(folder / f"{name}.{kind}") as part:
            figure.savefig(part, metadata=metadata[kind])
    return folder / f"{name}.png"


def data_link(study: Study, name: str) -> str:
    """Return a Markdown link from the folder of the notebooks to the data of a saved figure."""
    folder = paths.figures(study.config.profile, study.stream.name, study.local)
    return f"[{name}.csv](../{folder.relative_to(paths.ROOT).as_posix()}/{name}.csv)"
