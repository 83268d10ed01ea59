"""Figures of transfer and order show what their tables say, the same bytes each time."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from conure_lib import figures

NAN = float("nan")


def effects(by, rows):
    """A table of effects with one seed each, for every name in ``rows`` and both methods."""
    table = pd.DataFrame(
        [(name, m) for name in rows for m in ("Conure-", "Conure")], columns=[by, "method"]
    )
    table["relative"] = np.linspace(-0.1, 0.2, len(table))
    table["low"], table["high"] = table["relative"] - 0.05, table["relative"] + 0.05
    return table, table[[by, "method", "relative"]].assign(seed=1)


def dials_table():
    table = pd.DataFrame({"relatedness": [0.0, 0.5, 1.0, NAN], "relative": [0.0, 0.1, 0.3, 0.25]})
    table["low"], table["high"] = table["relative"] - 0.05, table["relative"] + 0.05
    table["without"], table["popularity"] = 0.02, 0.01
    table["with"] = table["without"] * (1 + table["relative"])
    return table, pd.concat(table[["relatedness", "relative"]].assign(seed=seed) for seed in (1, 2))


def truth_table():
    rows = [
        (task, "accuracy" if task == "T4" else "MRR@5", world, method, 0.3, 0.2, 0.4, 0.1, 0.5)
        for task in ("T1", "T2", "T4")
        for world in ("structure", "noise")
        for method in ("Popularity", "Conure")
    ]
    return pd.DataFrame(
        rows,
        columns=["task", "metric", "world", "method", "value", "low", "high", "chance", "best"],
    )


def paper_table():
    return pd.DataFrame(
        {"data": ["all", "all"], "where": ["TTL", "ML"], "relative": [0.032, 0.039]}
    )


DRAWN = {
    "transfer": lambda: figures.draw_transfer(*effects("data", ("all", "20%")), paper_table()),
    "orders": lambda: figures.draw_orders(
        *effects("row", ("T2, order 2", "T2, order 3", "T6, order 3"))
    ),
    "dials": lambda: figures.draw_dials(*dials_table()),
    "truth": lambda: figures.draw_truth(truth_table()),
}


def texts(labels):
    return [label.get_text() for label in labels]


def dots(axis):
    """The x values of everything drawn with a marker."""
    marked = [line for line in axis.lines if line.get_marker() not in ("None", "", None)]
    return sorted(float(x) for line in marked for x in np.asarray(line.get_xdata(), float))


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_table_gives_the_same_bytes(name, tmp_path):
    twice = []
    for _ in range(2):
        figure = DRAWN[name]()
        assert figure.get_figwidth() in (figures.COLUMN, figures.PAGE)
        png = figures.write_figure(figure, tmp_path / name)
        twice.append([png.with_suffix(suffix).read_bytes() for suffix in (".png", ".pdf")])
        plt.close(figure)
    assert twice[0] == twice[1]


@pytest.mark.parametrize(("name", "by"), [("transfer", "data"), ("orders", "row")])
def test_effects_are_drawn_in_percent_with_methods_and_seeds(name, by):
    figure = DRAWN[name]()
    (axis,) = figure.axes
    rows = ("all", "20%") if by == "data" else ("T2, order 2", "T2, order 3", "T6, order 3")
    table, seeds = effects(by, rows)
    assert texts(axis.get_yticklabels()) == list(rows)
    others = list(paper_table()["relative"]) if by == "data" else []
    assert dots(axis) == pytest.approx(
        sorted(100 * np.r_[table["relative"], seeds["relative"], others])
    )
    legend = ["Conure-", "Conure"] + (["paper, TTL", "paper, ML"] if others else [])
    assert texts(figure.legends[0].get_texts()) == legend
    plt.close(figure)


def test_a_contradiction_stands_beside_the_curve():
    figure = DRAWN["dials"]()
    above, axis = figure.axes
    assert texts(figure.legends[0].get_texts()) == ["with T2", "without T2", "popularity"]
    assert dots(above)[-3:] == [1.25] * 3
    assert texts(axis.get_xticklabels()) == ["0", "0.5", "1", "contra-\ndiction"]
    curve = next(line for line in axis.lines if len(line.get_xdata()) == 3)
    assert list(curve.get_ydata()) == pytest.approx([0, 10, 30])
    assert max(dots(axis)) > 1
    plt.close(figure)


def test_every_task_has_a_panel_with_both_worlds():
    figure = DRAWN["truth"]()
    drawn = [axis for axis in figure.axes if axis.axison]
    assert [axis.get_title() for axis in drawn] == ["T1: MRR@5", "T2: MRR@5", "T4: accuracy"]
    faces = [line.get_markerfacecolor() for line in drawn[0].lines if line.get_marker() == "o"]
    assert faces.count("white") == 2
    assert len(faces) == 4
    assert texts(drawn[0].get_yticklabels()) == ["Conure", "Popularity"]
    plt.close(figure)
