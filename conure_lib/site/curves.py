"""Learning curves for the browser to draw: means over seeds with one standard deviation, out of a figure's CSV."""

from pathlib import Path

import pandas as pd

from ..figures import METHOD_COLORS
from ..figures.pruning import held

DASHES = ("", "6 3", "2 2", "8 3 2 3")
SHADES = ("#56B4E9", "#0072B2", "#002137", "#009E73", "#CC79A7")


def panels(name: str, data: Path | None) -> list[dict]:
    """The panels of a figure that shows curves, [] for any other figure or data without the columns.

    A panel: title, x and y (what the axes show), lines (name, color, dash, points [epoch, mean, sd, seeds]) and
    level, a reference (name, value, color) or None.
    """
    draw = _DRAWN.get(name)
    if draw is None or data is None:
        return []
    try:
        return draw(pd.read_csv(data))
    except KeyError:  # a column that this figure had not yet, or has no longer: the image says it all the same
        return []


def _forgetting(table: pd.DataFrame) -> list[dict]:
    line = _line("nothing protected", METHOD_COLORS["STL"], 0, table, "value")
    return [_panel("T1 while an unprotected network learns T2", "T1: test MRR@5", [line])]


def _overparameterization(table: pd.DataFrame) -> list[dict]:
    names = {"Conure-": "training, nothing pruned", "Conure": "retraining, pruned at epoch 0"}
    found = []
    for network, rows in table[table["part"] == "validation"].groupby("network"):
        lines = [
            _line(label, METHOD_COLORS[method], place, held(rows[rows["method"] == method]))
            for place, (method, label) in enumerate(names.items())
        ]
        found.append(_panel(f"T1, {network} network", "validation MRR@5", lines))
    return found


def _convergence(table: pd.DataFrame) -> list[dict]:
    places = {method: place for place, method in enumerate(table["method"].unique())}
    found = []
    for task, rows in table.groupby("task"):
        lines = [
            _line(method, METHOD_COLORS.get(method, "#777777"), places[method], one)
            for method, one in rows.groupby("method", sort=False)
        ]
        found.append(_panel(str(task), f"validation {rows['metric'].iloc[0]}", lines))
    return found


def _retraining(table: pd.DataFrame) -> list[dict]:
    found = []
    for task, rows in table.groupby("task"):
        lines = [
            _line(f"{variant.removeprefix('pr')}% pruned", SHADES[place % len(SHADES)], place, held(one))
            for place, (variant, one) in enumerate(rows[rows["method"] == "Conure"].groupby("variant", sort=False))
        ]
        color = METHOD_COLORS["Conure-"]
        trained = rows[(rows["method"] == "Conure-") & (rows["epoch"] > 0)]
        best = trained.groupby("seed")["validation"].max().mean()
        level = None if pd.isna(best) else {"name": "best of Conure-", "value": _rounded(best), "color": color}
        found.append(
            _panel(str(task), f"validation {rows['metric'].iloc[0]}", lines, "epoch of retraining", level)
        )
    return found


_DRAWN = {
    "fig2_curve": _forgetting,
    "fig3_overparameterization": _overparameterization,
    "fig6_convergence": _convergence,
    "fig7_retraining": _retraining,
}


def _panel(title: str, y: str, lines: list[dict], x: str = "epoch", level: dict | None = None) -> dict:
    return {"title": title, "x": x, "y": y, "lines": lines, "level": level}


def _line(name: str, color: str, place: int, rows: pd.DataFrame, column: str = "validation") -> dict:
    by = rows.groupby("epoch")[column].agg(["mean", "std", "count"]).fillna({"std": 0.0})
    points = [[int(r.Index), _rounded(r.mean), _rounded(r.std), int(r.count)] for r in by.itertuples(name="Point")]
    return {"name": name, "color": color, "dash": DASHES[place % len(DASHES)], "points": points}


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
