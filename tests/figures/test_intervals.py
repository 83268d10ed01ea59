"""Dots with intervals say what their tables say."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from conure_lib import figures
from conure_lib.methods import COMPARED, METHODS
from tests.figures.conftest import dots, labelled, texts, values

TASKS = ("T1", "T2", "T3", "T4", "T5", "T6")


def overall(tasks, methods=COMPARED, variant=""):
    head = {"metric": "MRR@5", "variant": variant, "n": 1234}
    rows = [
        {"method": m, "task": t, "value": 0.1 + 0.01 * i, "low": 0.09, "high": 0.3, **head}
        for t in tasks
        for i, m in enumerate(methods)
        if (m, t) != ("MTL", "T1")
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("tasks", [1, 5, 6])
def test_one_panel_per_task_and_one_row_per_method(tasks):
    table = overall(TASKS[:tasks])
    figure = figures.draw_estimates(table, "test")
    titles = [f"{task}, n = 1,234" for task in TASKS[:tasks]]
    assert texts(axis.title for axis in figure.axes) == titles
    axis = figure.axes[0]
    rows = [name for name in COMPARED if name in set(table.query("task == 'T1'")["method"])]
    names = texts(axis.get_yticklabels())
    assert [name for name in names if name in rows] == rows
    expected = [(r.value, names.index(r.method)) for r in table.query("task == 'T1'").itertuples()]
    assert dots(axis) == pytest.approx(np.array(expected))
    assert "//" in texts(axis.texts)  # the axis does not reach zero
    assert figure.get_suptitle() == "bars: 95% intervals over users"


def test_variants_are_rows_and_methods_keep_their_look():
    both = [overall(["T2"], ("Conure-", "Conure"), v) for v in ("kernels", "both")]
    (axis,) = figures.draw_estimates(pd.concat(both)).axes
    rows = ["Conure-, kernels", "Conure, kernels", "Conure-, both", "Conure, both"]
    assert texts(axis.get_yticklabels()) == rows
    looks = [(one.get_marker(), to_rgba(one.get_color())) for one in axis.lines[1::2]]
    expected = [(METHODS[m].marker, to_rgba(METHODS[m].color)) for m in ("Conure-", "Conure")]
    assert looks == expected * 2


def test_hollow_dots_and_levels():
    table = overall(["T2"], ("STL",)).assign(panel="T2", row="STL", chance=0.01, best=0.4)
    table = pd.concat([table.assign(filled=True), table.assign(filled=False, value=0.02)])
    figure = figures.draw_estimates(table, hollow="noise")
    (axis,) = figure.axes
    assert figure.get_suptitle().endswith("; hollow: noise")
    filled, hollow = dots(axis)
    assert filled[1] < hollow[1]
    faces = [one.get_markerfacecolor() for one in axis.lines[1:4:2]]
    assert faces == [METHODS["STL"].color, "white"]
    assert texts(figure.legends[0].get_texts()) == ["chance", "best"]
    assert [values(one.get_xdata()) for one in axis.lines[4:6]] == [[0.01] * 2, [0.4] * 2]


def test_effects_are_in_percent_with_seeds_and_the_papers_values():
    rows = [("all", "Conure-", 0.1), ("all", "Conure", 0.2), ("20%", "Conure-", -0.1)]
    table = pd.DataFrame(rows, columns=["row", "method", "relative"])
    table["low"], table["high"] = table["relative"] - 0.05, table["relative"] + 0.05
    seeds = table.assign(kind="single seed", relative=table["relative"] + 0.01)
    paper = pd.DataFrame({"row": ["all"], "kind": ["paper, ML"], "relative": [0.3]})
    points = pd.concat([seeds[["row", "method", "kind", "relative"]], paper])
    figure = figures.draw_effects(table, "gain, %", points, margin=0.05)
    (axis,) = figure.axes
    assert texts(axis.get_yticklabels()) == ["all", "20%"]
    assert axis.get_xlabel() == "gain, %"
    drawn = dict(dots(axis).tolist())
    assert sorted(drawn) == pytest.approx([-10, -9, 10, 11, 20, 21, 30])
    ours, theirs = (next(y for x, y in drawn.items() if round(x) == at) for at in (10, 20))
    assert ours < 0 < theirs  # side by side around their row
    seed = next(y for x, y in drawn.items() if round(x) == 21)
    assert seed == pytest.approx(theirs + 0.13)  # below its own method
    legend = ["Conure-", "Conure", "single seed", "paper, ML"]
    assert texts(figure.legends[0].get_texts()) == legend
    (band,) = axis.patches
    assert (band.get_x(), band.get_width()) == pytest.approx((-5, 10))
    assert figure.get_suptitle().endswith("\nshaded: up to ±5%")


def test_effects_by_panel_without_points():
    table = pd.DataFrame({"row": ["a", "a"], "method": ["STL", "STL"], "panel": ["T2", "T3"]})
    table = table.assign(relative=[0.1, 0.2], low=[0.0, 0.1], high=[0.2, 0.3])
    figure = figures.draw_effects(table, "difference, %")
    assert figure.get_suptitle().startswith("difference, %")
    assert texts(axis.title for axis in figure.axes) == ["T2", "T3"]
    for axis, at in zip(figure.axes, (10, 20), strict=True):
        assert dots(axis) == pytest.approx(np.array([(at, 0)]))


def test_the_papers_values_far_outside_stand_at_the_edge_with_their_number():
    table = pd.DataFrame({"row": ["a", "b"], "method": "Conure", "relative": [0.0, 0.1]})
    table["low"], table["high"] = table["relative"] - 0.1, table["relative"] + 0.1
    points = pd.DataFrame({"row": ["a", "a", "b"], "relative": [0.9, 0.8, 0.15]})
    points["kind"] = ["paper, TTL", "paper, ML", "paper, TTL"]
    (axis,) = figures.draw_effects(table, "difference, %", points).axes
    assert [text.strip() for text in texts(axis.texts)] == ["+90, +80"]
    edge = 20 + 0.6 * 30
    assert values(labelled(axis, "paper, TTL").get_xdata()) == pytest.approx([edge, 15])
