"""Figures of the compared methods: panels and lines where they belong, the same bytes for the same data."""

import numpy as np
import pandas as pd
import pytest
from helpers import small_stream, small_study
from matplotlib import pyplot as plt

from conure_lib import figures, paths
from conure_lib.figures import diagrams
from conure_lib.methods import COMPARED
from conure_lib.study.study import Study

TASKS = ("T1", "T2", "T3", "T4", "T5", "T6")


@pytest.fixture
def curves():
    """SinMo with two seeds, the first of which stops early."""
    head = {"method": "SinMo", "variant": "", "task": "T2", "metric": "MRR@5", "stage_id": "x"}
    values = {1: (0.1, 0.3, 0.2), 2: (0.1, 0.2, 0.3, 0.4, 0.5)}
    return pd.DataFrame(
        [
            {**head, "seed": s, "epoch": e, "validation": v}
            for s in values
            for e, v in enumerate(values[s])
        ]
    )


def test_a_curve_that_stopped_early_goes_on_with_its_last_value(curves):
    whole = figures.carried_on(curves)
    first, second = (whole[whole["seed"] == seed] for seed in (1, 2))
    assert first["epoch"].tolist() == second["epoch"].tolist() == [0, 1, 2, 3, 4]
    assert first["validation"].tolist() == [0.1, 0.3, 0.2, 0.2, 0.2]
    assert first["carried"].tolist() == [False] * 3 + [True] * 2
    assert first["stage_id"].tolist() == ["x"] * 5
    assert second["validation"].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert not second["carried"].any()


def test_convergence_is_the_mean_over_seeds(curves):
    other = curves[curves["seed"] == 2].assign(task="T5", metric="accuracy", seed=1)
    figure, _ = figures.draw_convergence(pd.concat([curves, other]))
    left, right = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["T2: MRR@5", "T5: accuracy"]
    assert left.lines[0].get_ydata().tolist() == pytest.approx([0.1, 0.25, 0.25, 0.3, 0.35])
    assert right.lines[0].get_ydata().tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    plt.close(figure)


@pytest.mark.parametrize(("tasks", "shape"), [(3, (1, 3)), (6, (2, 3)), (5, (2, 3))])
def test_the_overall_figure_has_a_panel_a_task_and_a_line_a_method(tasks, shape):
    table = pd.DataFrame(
        [
            {"method": m, "task": t, "metric": "MRR@5", "value": 0.1, "low": 0.05, "high": 0.15}
            for m in COMPARED
            for t in TASKS[:tasks]
            if (m, t) != ("MTL", "T1")
        ]
    )
    figure = figures.draw_overall(table)
    panels = np.array(figure.axes).reshape(shape)
    assert [axis.get_title() for axis in panels.flat[:tasks]] == [
        f"{t}: MRR@5" for t in TASKS[:tasks]
    ]
    assert [label.get_text() for label in panels[0, 0].get_yticklabels()] == list(COMPARED)[::-1]
    assert [len(axis.lines) for axis in panels.flat[:2]] == [
        2 * len(COMPARED) - 2,
        2 * len(COMPARED),
    ]
    assert not any(axis.axison for axis in panels.flat[tasks:])
    plt.close(figure)


def test_every_part_of_a_method_is_drawn_once():
    _, table = figures.draw_methods()
    plt.close("all")
    for method, parts in table.groupby("method"):
        backbone = parts[~parts["part"].str.contains("output|patches")]
        assert set(backbone["part"]) == set(diagrams.PARTS) - {"output"}
        assert parts[parts["part"] == "output"]["serves"].tolist() == ["T1", "later"]
        frozen = method in ("FineSmax", "PeterRec")
        assert (set(backbone["state"]) == {diagrams.FIRST}) == frozen
        assert parts["part"].str.contains("patches").any() == (method == "PeterRec")
        assert (diagrams.FREE in set(parts["state"])) == (method == "Conure")
    assert set(table["method"]) <= set(COMPARED)


def test_figures_are_the_same_bytes_again(root, curves):
    study = Study(small_study(), small_stream())
    drawn = {"fig5": figures.draw_methods, "fig6": lambda: figures.draw_convergence(curves)}
    for name, draw in drawn.items():
        twice = []
        for _ in range(2):
            figure, data = draw()
            png = figures.save_figure(figure, study, name, data)
            twice.append(
                [png.with_suffix(suffix).read_bytes() for suffix in (".png", ".pdf", ".csv")]
            )
            plt.close(figure)
        assert twice[0] == twice[1], name
        assert png.is_relative_to(paths.artifacts())
