"""One look for all figures, and how they are kept: PNG and PDF, the data beside them."""

from pathlib import Path

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from conure_lib import paths
from conure_lib.files import atomic_file
from conure_lib.study.study import Study

COLUMN, PAGE = 3.4, 7.0  # inches: one column of a paper, both columns
METHOD_COLORS = dict(
    zip(
        (
            *(
                "Popularity",
                "SinMo",
                "FineSmax",
                "STL",
                "PeterRec",
                "PeterRec-parallel",
                "MTL",
                "Conure-",
                "Conure",
            ),
            "Conure, not retrained",
        ),
        (
            *(
                "#777777",
                "#E69F00",
                "#56B4E9",
                "#009E73",
                "#A89400",
                "#F0E442",
                "#CC79A7",
                "#D55E00",
                "#0072B2",
            ),
            "#000000",
        ),
        strict=True,
    )
)
"""One colour a method in every figure; Okabe and Ito's set (their yellow darker where lines are thin), told
apart by the colour-blind too."""


def style() -> None:
    """The study's look, for print at one column; called by every function that draws."""
    sns.set_theme(context="paper", style="ticks", font_scale=0.9)
    matplotlib.rcParams |= {
        "figure.dpi": 150,
        "savefig.dpi": 300,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.constrained_layout.use": True,
        "pdf.fonttype": 42,
        "axes.titlesize": "medium",
        "legend.frameon": False,
        "svg.hashsalt": "conure",
        "axes.formatter.useoffset": False,
    }


def save_figure(figure: Figure, study: Study, name: str, data: pd.DataFrame) -> Path:
    """PNG, PDF and the data as CSV under figures/<profile>/<dataset>/. Returns the PNG's path."""
    folder = paths.figures(study.config.profile, study.stream.name, local=True)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / f"{name}.csv") as part:
        data.to_csv(part, index=False, float_format="%.6g")
    return write_figure(figure, folder / name)


def write_figure(figure: Figure, stem: Path) -> Path:
    """PNG and PDF beside each other, the same bytes for the same figure. Returns the PNG's path."""
    about = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}
    for kind, metadata in about.items():
        with atomic_file(stem.with_name(f"{stem.name}.{kind}")) as part:
            figure.savefig(part, metadata=metadata)
    return stem.with_name(f"{stem.name}.png")
