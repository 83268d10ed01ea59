"""Curves are means over seeds; a seed that stopped early goes on as it was kept."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from conure_lib import figures
from conure_lib.methods import METHODS
from tests.figures.conftest import labelled, texts, values


def curve(numbers, seed=1, method="SinMo", panel="T2: MRR@5", **more):
    head = {"panel": panel, "method": method, "seed": seed}
    return pd.DataFrame({**head, **more, "epoch": range(len(numbers)), "value": numbers})


@pytest.mark.parametrize(("kept", "third"), [("last", 0.2), ("best", 0.3)])
def test_a_stopped_seed_keeps_its_last_value_or_its_best_so_far(kept, third):
    curves = pd.concat([curve([0.9, 0.3, 0.2]), curve([0.1, 0.2, 0.3, 0.4], seed=2)])
    figure = figures.draw_curves(curves, "validation", kept=kept)
    line = labelled(figure.axes[0], "SinMo")
    expected = [0.5, 0.25, (third + 0.3) / 2, (third + 0.4) / 2]  # no training reached epoch 0's
    assert values(line.get_ydata()) == pytest.approx(expected)
    assert to_rgba(line.get_color()) == to_rgba(METHODS["SinMo"].color)
    assert ("best value so far" in figure.get_suptitle()) == (kept == "best")


def test_a_panel_per_task_and_levels():
    curves = pd.concat([curve([0.1, 0.2]), curve([0.5, 0.6], panel="T5: accuracy")])
    levels = pd.DataFrame({"panel": ["T5: accuracy"], "method": ["Conure"], "value": [0.55]})
    figure = figures.draw_curves(curves, "validation", levels.assign(line="best of Conure"))
    left, right = figure.axes
    assert texts([left.title, right.title]) == ["T2: MRR@5", "T5: accuracy"]
    assert [left.get_ylabel(), right.get_ylabel()] == ["validation", ""]
    assert values(labelled(right, "best of Conure").get_ydata()) == [0.55, 0.55]
    assert texts(figure.legends[0].get_texts()) == ["SinMo", "best of Conure"]
    assert "//" in texts(right.texts)


def test_tasks_remembered_are_lines_over_the_tasks_learned_and_negative_values_are_seen():
    memory = curve([0.3, 0.3], method="Conure", low=0.2, high=0.4)
    memory = memory.rename(columns={"epoch": "tasks learned"})
    figure = figures.draw_curves(memory, "test", x="tasks learned", bottom=0)
    (axis,) = figure.axes
    assert "over users" in figure.get_suptitle()
    (band,) = axis.collections
    assert np.unique(band.get_paths()[0].vertices[:, 1]).tolist() == [0.2, 0.4]
    assert (axis.get_ylim()[0], axis.get_xlabel()) == (0, "tasks learned")
    assert values(labelled(axis, "Conure").get_ydata()) == [0.3, 0.3]
    (axis,) = figures.draw_curves(curve([-2.0, -1.5]), "minus cross-entropy").axes
    low, high = axis.get_ylim()
    assert low < -2 < -1.5 < high


def test_several_lines_of_one_method_differ_in_shade_and_marker():
    lines = ["50% pruned", "80% pruned", "95% pruned"]
    curves = pd.concat(
        curve([0.1 * n, 0.2 * seed], seed, "Conure", line=line)
        for n, line in enumerate(lines)
        for seed in (1, 2)
    )
    axis = figures.draw_curves(curves, "validation").axes[0]
    drawn = [labelled(axis, line) for line in lines]
    assert len({to_rgba(line.get_color()) for line in drawn}) == len(lines)
    assert len({line.get_marker() for line in drawn}) == len(lines)
    for n, line in enumerate(drawn):
        assert values(line.get_ydata()) == pytest.approx([0.1 * n, 0.3])
