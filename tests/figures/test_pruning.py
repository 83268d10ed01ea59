"""Figures on owners, ratios and forgetting show what their tables say."""

import numpy as np
import pandas as pd
import pytest

from conure_lib import figures
from conure_lib.analysis.claims import CLAIMS
from tests.figures.conftest import dots, labelled, texts, values


@pytest.mark.parametrize("tasks", [("T2",), ("T2", "T6")])
def test_the_sweep_draws_both_states_over_all_ratios(tasks):
    rows = [("Conure-", np.nan, 0.5), ("Conure", 0.9, 0.4), ("Conure", 0.1, 0.6)]
    rows += [("Conure, not retrained", 0.1, 0.5), ("Conure, not retrained", 0.9, 0.1)]
    one = pd.DataFrame(rows, columns=["method", "ratio", "value"]).assign(metric="MRR@5", n=1234)
    one = one.assign(low=one["value"] - 0.05, high=one["value"] + 0.1)
    figure = figures.draw_sweep(pd.concat(one.assign(task=task) for task in tasks))
    assert texts(axis.title for axis in figure.axes) == [f"{task}, n = 1,234" for task in tasks]
    for axis in figure.axes:
        drawn = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        assert list(drawn) == ["trained only (Conure-)", "pruned and retrained", "pruned only"]
        for label, numbers in (("pruned and retrained", [0.6, 0.4]), ("pruned only", [0.5, 0.1])):
            line, _, (bars,) = drawn[label]
            assert values(line.get_ydata()) == pytest.approx(numbers)  # in the order of the ratios
            assert values(line.get_xdata()) == pytest.approx([10, 90], abs=1)
            ends = [[y for _, y in segment] for segment in bars.get_segments()]
            assert np.ravel(ends) == pytest.approx(np.ravel([[v - 0.05, v + 0.1] for v in numbers]))
        assert values(labelled(axis, "trained only (Conure-)").get_ydata()) == [0.5, 0.5]


@pytest.mark.parametrize("tasks", [("T1",), ("T1", "T6", "T2", "T3")])
def test_who_owns_each_weight(tasks):
    maps = [[*range(1, n + 1), *[0] * (12 - n)] for n in range(1, len(tasks) + 1)]
    samples = [{"shape": [3, 2, 2], "owners": owners} for owners in maps]
    free = dict.fromkeys(tasks, 0.25)
    figure, data = figures.draw_owners(dict(zip(tasks, samples, strict=True)), free)
    titles = [f"after {task}\n25.0% free" for task in tasks]
    assert texts(axis.title for axis in figure.axes) == titles
    for axis, owners in zip(figure.axes, maps, strict=True):
        mesh = axis.collections[0]
        expected = np.array(owners).reshape(6, 2).T  # taps of inputs to the right, outputs upwards
        assert (mesh.get_array().reshape(2, 6) == expected).all()
        white = (mesh.to_rgba(mesh.get_array()).reshape(-1, 4) == 1).all(axis=1)
        assert (white == (expected.ravel() == 0)).all()
    assert texts(figure.legends[0].get_texts()) == [*tasks, "free"]
    last = data[data["after"] == tasks[-1]].set_index(["tap", "input", "output"])["owner"]
    assert (last[(0, 0, 0)], last[(2, 1, 1)], len(last)) == (tasks[0], "free", 12)


def test_shares_add_up_and_what_is_free_is_last():
    rows = [("embedding", "T1", 1.0), ("kernels", "free", 0.5), ("kernels", "T1", 0.3)]
    rows.append(("kernels", "T2", 0.2))
    table = pd.DataFrame(rows, columns=["part", "owner", "share"]).assign(weights=[40, 10, 6, 4])
    (axis,) = figures.draw_capacity(table).axes
    assert texts(axis.get_yticklabels()) == ["kernels\nn = 20", "embedding\nn = 40"]
    bars = {one.get_label(): [bar.get_width() for bar in one] for one in axis.containers}
    assert list(bars) == ["T1", "T2", "free"]
    assert np.nan_to_num(list(bars.values())).tolist() == [[30, 100], [20, 0], [50, 0]]


def test_before_and_after_share_a_scale_and_changes_are_framed():
    notes = {"kernel_before": [0.1] * 12, "kernel_after": [*[0.101] * 10, 0.5, -0.1]}
    notes |= {"hidden_before": [1.0] * 6, "hidden_after": [30.0] * 6}
    figure, data = figures.draw_weights(notes)
    scales = ["±0.5", "±0.5", "±0.4", "±30", "±30", "±29"]
    assert [axis.get_xlabel() for axis in figure.axes] == scales
    assert [len(axis.patches) for axis in figure.axes] == [0, 0, 2, 0, 0, 6]
    assert figure.get_suptitle().startswith("12 weights, a vector of 6, in one seed\n")
    assert data.groupby("what")["changed"].sum().to_dict() == {"hidden": 6, "kernel": 2}


def test_every_verdict_of_every_claim_has_a_cell():
    table = pd.DataFrame({"claim": [*CLAIMS, *CLAIMS][:-1]}).assign(verdict="CANNOT TELL")
    for name in ("section", "title"):
        table[name] = [getattr(CLAIMS[claim], name) for claim in table["claim"]]
    table["dataset"] = ["a"] * len(CLAIMS) + ["b"] * (len(CLAIMS) - 1)
    figure = figures.draw_verdicts(table)
    (axis,) = figure.axes
    assert texts(axis.get_xticklabels()) == ["a", "b"]
    rows = texts(axis.get_yticklabels())
    assert rows == sorted(rows, key=lambda row: float(row.split()[0]))
    assert f"3.3  C01  {CLAIMS['C01'].title}" in rows
    said = texts(axis.texts)
    assert (said.count("?"), said.count("–")) == (len(table), 1)
    assert "? cannot tell" in texts(figure.legends[0].get_texts())


def test_a_claims_effects_stand_beside_the_papers():
    rows = [("C08", "a", 0.02, 0.01, 0.04, 0.05, 12), ("C08", "b", -0.03, -0.05, 0.0, 0.05, 3456)]
    rows += [("C14", "a", 0.1, 0.05, 0.15, 0.04, 78)]
    names = ["claim", "dataset", "effect", "ci_low", "ci_high", "paper", "n"]
    table = pd.DataFrame(rows, columns=names).assign(title="A claim")
    (axis,) = figures.draw_claims(table).axes
    assert texts(axis.get_yticklabels()) == ["C08 A claim", "C14 A claim"]
    dots = {line.get_label(): [*line.get_xdata()] for line in axis.lines}
    assert (dots["a"], dots["b"]) == ([2.0, 10.0], [-3.0])
    bars, _, paper = axis.collections
    assert [segment[:, 0].tolist() for segment in bars.get_segments()] == [[1.0, 4.0], [5.0, 15.0]]
    assert [segment[0, 0] for segment in paper.get_segments()] == [5.0, 4.0]
    (right,) = axis.child_axes
    sizes = dict(zip(right.get_yticks(), texts(right.get_yticklabels()), strict=True))
    places = [place for line in axis.lines[1:] for place in line.get_ydata()[:2]]
    assert sizes == dict(zip(places[:3], ["12", "78", "3,456"], strict=True))


def test_the_overview_has_the_weights_by_owner_and_the_effects():
    numbers = {"ci_low": -0.3, "ci_high": 0.3, "paper": np.nan, "n": 9, "seeds": 6, "dataset": "a"}
    rows = [{"claim": name, "title": name, "effect": 0.1, **numbers} for name in ("C01", "C04")]
    shares = pd.Series({"T1": 0.3, "T2": 0.14, "T3": 0.056})
    figure = figures.draw_overview(shares, pd.DataFrame(rows))
    *grids, first, others = figure.axes
    owned = [np.bincount(grid.collections[0].get_array().ravel(), minlength=4) for grid in grids]
    expected = [[100, 0, 0, 0], [30, 0, 0, 70], [30, 14, 0, 56], [30, 14, 6, 50]]
    assert [counts.tolist() for counts in owned] == expected
    assert grids[1].get_title() == "prune, retrain, freeze: 30%"
    assert texts([*first.get_yticklabels(), *others.get_yticklabels()]) == ["C01", "C04"]
    assert figure.get_suptitle().endswith("seeds: a 6")
    nothing = pd.DataFrame(columns=pd.DataFrame(rows).columns)
    assert len(figures.draw_overview(shares, nothing).axes) == 4  # of a single training


def test_learners_have_a_column_each_and_tasks_a_row():
    head = ["method", "row", "tasks learned", "value"]
    rows = [("EWC", "T1", 1, 0.3), ("EWC", "T1", 2, 0.2), ("EWC", "T2", 2, 0.7)]
    rows += [("Conure", "T1", 1, 0.3), ("Conure", "T1", 2, 0.3), ("Conure", "T2", 2, 0.6)]
    table = pd.DataFrame(rows, columns=head).eval("low = value - 0.1\nhigh = value + 0.1")
    levels = pd.DataFrame({"row": ["T1", "T2"], "value": [0.1, 0.5], "line": "popularity"})
    figure = figures.draw_learners(table, levels)
    ewc_t1, conure_t1, ewc_t2, _ = figure.axes
    assert texts([ewc_t1.title, conure_t1.title]) == ["EWC", "Conure"]
    assert [ewc_t1.get_ylabel(), ewc_t2.get_ylabel()] == ["T1", "T2"]
    assert dots(ewc_t1).tolist() == [[1, 0.3], [2, 0.2]]
    assert values(labelled(ewc_t1, "the other learners").get_ydata()) == [0.3, 0.3]
    assert values(labelled(ewc_t2, "popularity").get_ydata()) == [0.5, 0.5]
    (learned, _) = ewc_t1.collections
    assert learned.get_segments()[0].tolist() == [[1, 0.3], [2, 0.3]]
    assert ewc_t1.get_ylim() == conure_t1.get_ylim() == pytest.approx((0.085, 0.415))
    legend = ["the other learners", "popularity", "as learned"]
    assert texts(figure.legends[0].get_texts()) == legend
