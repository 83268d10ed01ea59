"""Figures on pruning show what their tables say: lines, dots, bars, cells, labels; one seed and one task too."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba

from conure_lib import figures
from conure_lib.figures.pruning import PRUNED, held

COLORS = figures.METHOD_COLORS


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


def curve(values, seed=1, **head):
    return pd.DataFrame({**head, "seed": seed, "epoch": range(len(values)), "validation": values})


def texts(items):
    return [item.get_text() for item in items]


def plain(data):
    return np.asarray(data, float).tolist()


def labelled(axis, label):
    (line,) = [one for one in axis.lines if one.get_label() == label]
    return line


def test_a_seed_that_has_stopped_holds_its_best_value():
    full = held(pd.concat([curve([0.0, 0.1, 0.2, 0.3]), curve([0.9, 0.5, 0.4], seed=2)]))
    assert full.pivot(index="seed", columns="epoch", values="validation").to_numpy().tolist() == [
        [0.0, 0.1, 0.2, 0.3],
        [0.9, 0.5, 0.4, 0.5],  # epoch 0 is no trained epoch and never kept
    ]


@pytest.fixture
def tested():
    states = {"unpruned": "Conure-", "pr30": PRUNED, "pr70": PRUNED, "pr70 + retrain": "Conure"}
    rows = [
        {
            "network": n,
            "state": s,
            "method": m,
            "value": 0.1 * i,
            "low": 0.1 * i - 0.02,
            "high": 0.1 * i + 0.02,
        }
        for n in ("normal", "small")
        for i, (s, m) in enumerate(states.items(), start=1)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_fig3_draws_training_retraining_and_every_tested_state(tested, seeds):
    frames = []
    for seed in seeds:
        for network in ("normal", "small"):
            frames.append(curve([0.0, 0.2 * seed, 0.4], seed, network=network, method="Conure-"))
            frames.append(curve([0.1, 0.3], seed, network=network, method="Conure"))
    figure = figures.draw_overparameterization(pd.concat(frames), tested)
    above, below = figure.axes[:2], figure.axes[2:]
    assert texts(axis.title for axis in above) == ["(a) normal network", "(b) small network"]
    for axis in above:
        line = labelled(axis, "training, nothing pruned")
        assert plain(line.get_ydata()) == pytest.approx([0.0, 0.2 * np.mean(seeds), 0.4])
        assert to_rgba(line.get_color()) == to_rgba(COLORS["Conure-"])
        again = labelled(axis, "retraining, pr70 at epoch 0")
        assert plain(again.get_xdata()) == [0, 1]
        assert plain(again.get_ydata()) == pytest.approx([0.1, 0.3])
        assert "validation" in above[0].get_ylabel()
    assert texts(above[0].get_legend().texts) == [
        "training, nothing pruned",
        "retraining, pr70 at epoch 0",
    ]
    assert texts(below[0].get_yticklabels()) == ["unpruned", "pr30", "pr70", "pr70 + retrain"]
    for axis in below:
        dots = [line for line in axis.lines if line.get_marker() == "o"]
        assert [plain(dot.get_xdata())[0] for dot in dots] == pytest.approx([0.1, 0.2, 0.3, 0.4])
        spans = [plain(line.get_xdata()) for line in axis.lines if line.get_marker() != "o"]
        assert np.array(spans) == pytest.approx(
            np.array([[v - 0.02, v + 0.02] for v in (0.1, 0.2, 0.3, 0.4)])
        )
        assert [dot.get_color() for dot in dots] == [
            COLORS["Conure-"],
            *2 * [COLORS[PRUNED]],
            COLORS["Conure"],
        ]


@pytest.mark.parametrize("tasks", [("T2",), ("T2", "T6")])
@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_fig7_draws_a_line_a_ratio_and_the_best_of_conure_minus(tasks, seeds):
    frames = []
    for task in tasks:
        for seed in seeds:
            head = {"task": task, "metric": "MRR@5"}
            for ratio in ("pr50", "pr95"):
                frames.append(
                    curve([0.9, 0.1 * seed, 0.3], seed, **head, method="Conure-", variant=ratio)
                )
            frames.append(curve([0.1, 0.2 * seed], seed, **head, method="Conure", variant="pr50"))
            frames.append(curve([0.0, 0.1, 0.2], seed, **head, method="Conure", variant="pr95"))
    figure = figures.draw_retraining(pd.concat(frames))
    assert texts(axis.title for axis in figure.axes) == list(tasks)
    wanted = {"50% pruned": [0.1, 0.2 * np.mean(seeds)], "95% pruned": [0.0, 0.1, 0.2]}
    for axis in figure.axes:
        for label, values in wanted.items():
            line = labelled(axis, label)
            assert plain(line.get_ydata()) == pytest.approx(values)
            assert np.abs(line.get_xdata() - np.arange(len(values))).max() < 0.1
        assert plain(labelled(axis, "best of Conure-").get_ydata()) == pytest.approx([0.3, 0.3])
        assert axis.get_ylabel() == "validation MRR@5"
    (legend,) = figure.legends
    assert texts(legend.texts) == [*wanted, "best of Conure-"]


@pytest.mark.parametrize("tasks", [("T2",), ("T2", "T6")])
def test_the_sweep_draws_both_states_over_all_ratios(tasks):
    rows = [("Conure-", np.nan, 0.5)]
    rows += [("Conure", 0.9, 0.4), ("Conure", 0.1, 0.6), (PRUNED, 0.1, 0.5), (PRUNED, 0.9, 0.1)]
    one = pd.DataFrame(rows, columns=["method", "ratio", "value"]).assign(metric="MRR@5")
    one = one.assign(low=one["value"] - 0.05, high=one["value"] + 0.1)
    figure = figures.draw_sweep(pd.concat(one.assign(task=task) for task in tasks))
    assert texts(axis.title for axis in figure.axes) == list(tasks)
    for axis in figure.axes:
        drawn = dict(
            zip(
                axis.get_legend_handles_labels()[1],
                axis.get_legend_handles_labels()[0],
                strict=True,
            )
        )
        assert list(drawn) == ["Conure-, nothing pruned", "pruned and retrained", "pruned only"]
        for label, values in {
            "pruned and retrained": [0.6, 0.4],
            "pruned only": [0.5, 0.1],
        }.items():
            line, _, (bars,) = drawn[label]
            assert plain(line.get_ydata()) == pytest.approx(values)  # in the order of the ratios
            assert plain(line.get_xdata()) == pytest.approx([10, 90], abs=1)
            ends = [[y for _, y in segment] for segment in bars.get_segments()]
            assert np.array(ends) == pytest.approx(np.array([[v - 0.05, v + 0.1] for v in values]))
        (span,) = axis.patches
        assert span.get_y() == pytest.approx(0.45)
        assert span.get_height() == pytest.approx(0.15)


def sample(owners):
    return {"kernel": "blocks.0.kernel2", "shape": [3, 2, 2], "owners": owners}


@pytest.mark.parametrize("tasks", [("T1",), ("T1", "T6", "T2", "T3")])
def test_fig4_draws_who_owns_each_weight(tasks):
    maps = [
        [*range(1, n + 1), *[0] * (12 - n)] for n in range(1, len(tasks) + 1)
    ]  # each task takes one weight
    figure, data = figures.draw_owners(dict(zip(tasks, map(sample, maps), strict=True)))
    panels = [axis for axis in figure.axes if axis.axison]
    assert texts(axis.title for axis in panels) == [f"after {task}" for task in tasks]
    for axis, owners, n in zip(panels, maps, range(1, 13), strict=False):
        (mesh,) = axis.collections
        wanted = (
            np.array(owners).reshape(6, 2).T
        )  # tap after tap of inputs to the right, outputs upwards
        assert (mesh.get_array().reshape(2, 6) == wanted).all()
        colors = mesh.to_rgba(mesh.get_array()).reshape(-1, 4)
        white = (colors == 1).all(axis=1)
        assert (white == (wanted.ravel() == 0)).all()
        assert axis.get_xlabel() == f"{(12 - n) / 12:.0%} free"
    (legend,) = figure.legends
    assert texts(legend.texts) == [*tasks, "free"]
    last = data[data["after"] == tasks[-1]].set_index(["tap", "input", "output"])["owner"]
    assert last[(0, 0, 0)] == tasks[0]
    assert last[(2, 1, 1)] == "free"
    assert len(last) == 12
    assert list(last[last != "free"]) == list(tasks)


def test_table5_sets_the_variants_of_a_method_side_by_side():
    rows = [
        {
            "task": t,
            "metric": "MRR@5",
            "method": m,
            "variant": v,
            "value": 0.1 * i,
            "low": 0,
            "high": 1,
        }
        for t in ("T1", "T2", "T3")
        for i, (v, m) in enumerate(
            (v, m) for v in ("kernels", "both") for m in ("Conure-", "Conure")
        )
    ]
    figure = figures.draw_embedding_pruning(pd.DataFrame(rows))
    assert texts(axis.title for axis in figure.axes) == ["T1", "T2", "T3"]
    labels = texts(figure.axes[0].get_yticklabels())
    assert labels == ["Conure-, kernels", "Conure-, both", "Conure, kernels", "Conure, both"]
    for axis in figure.axes:
        dots = [line for line in axis.lines if line.get_marker() == "o"]
        assert [plain(dot.get_xdata())[0] for dot in dots] == pytest.approx([0.0, 0.2, 0.1, 0.3])


def test_capacity_bars_add_up_with_what_is_free_last():
    rows = [
        ("embedding", "T1", 1.0),
        ("kernels", "free", 0.5),
        ("kernels", "T1", 0.3),
        ("kernels", "T2", 0.2),
    ]
    figure = figures.draw_capacity(pd.DataFrame(rows, columns=["part", "owner", "share"]))
    (axis,) = figure.axes
    assert texts(axis.get_yticklabels()) == ["embedding", "kernels"]
    bars = {
        container.get_label(): [bar.get_width() for bar in container]
        for container in axis.containers
    }
    assert list(bars) == ["T1", "T2", "free"]
    assert np.array(list(bars.values())) == pytest.approx(np.array([[100, 30], [0, 20], [0, 50]]))
    ends = [
        max(bar.get_x() + bar.get_width() for bar in bar_pair)
        for bar_pair in zip(*axis.containers, strict=True)
    ]
    assert ends == pytest.approx([100, 100])
