"""A task counts where its best network clearly beats popularity, within the group if there are."""

import numpy as np
import pytest

from conure_lib.analysis import floors
from conure_lib.methods import METHODS
from tests.analysis.conftest import made_up, positions

SURE, FLOOR = [1, 2, 2], [2, 5, 0]  # of each fold's three instances


def study_of(t2=lambda seed: [1, 1, 1]):
    """A study in which popularity has FLOOR, STL these ranks of T2, and other networks nothing."""

    def rule(task, action, seed):
        stl = {"finetune": t2(seed) if task == "T2" else [1, 1, 1], "train": [1, 1, 1]}
        ranks = {"popularity": FLOOR, **(stl if task == "T1" or action == "finetune" else {})}
        return {task: ranks.get(action, [0, 0, 0])}

    return made_up(at_all_positions(rule))


def at_all_positions(rule):
    """The rule, in which T1 has its first rank at all positions as well."""

    def with_all(task, action, seed):
        found = rule(task, action, seed)
        every = [found[task][0]] * positions(seed)
        return found | ({"T1-all": every} if task == "T1" else {})

    return with_all


def test_the_best_network_against_the_floor_by_hand():
    table = floors.floors(study_of(lambda seed: SURE), ["T2"])
    row = table.iloc[0]
    assert (row["ours"], row["theirs"], row["strongest"]) == ("STL", "Popularity", True)
    assert table["theirs"].tolist() == ["Popularity", "Linear (window)", "Linear"]
    assert (row["value"], row["reference"]) == pytest.approx((2 / 3, 0.7 / 3))
    assert row["relative"] == pytest.approx(2 / 0.7 - 1)
    networks = sum(m.compared and not m.floor for m in METHODS.values())
    assert row["p_holm"] == pytest.approx(min(1, networks * row["p"]))
    assert row["clear"]


@pytest.mark.parametrize(
    ("ranks", "learned"),
    [
        (lambda seed: SURE, True),
        (lambda seed: FLOOR, False),  # the same
        (lambda seed: [5, 0, 0], False),  # clearly worse
        (lambda seed: [1, 1, 1] if seed == 4 else [2, 5, 5], False),  # one fold, not over seeds
    ],
)
def test_a_task_is_learned_where_the_best_network_clearly_beats_popularity(ranks, learned):
    assert floors.learned(study_of(ranks)) == {"T1": True, "T2": learned, "T4": True}


def test_t1_is_learned_at_all_positions():
    def rule(task, action, seed):
        if task == "T1" and action == "popularity":
            return {"T1": [1, 1, 1], "T1-all": [2] * positions(seed)}
        return at_all_positions(lambda *_: {task: [1, 1, 1]})(task, action, seed)

    assert floors.learned(made_up(rule)) == {"T1": True, "T2": False, "T4": False}


def test_popularity_within_the_group_is_the_gate_where_there_are_groups():
    def rule(task, action, seed):
        return {task: FLOOR if action == "popularity" else [1, 1, 1]}

    rule = at_all_positions(rule)
    grouped = made_up(rule, groups=np.zeros(20, np.int32))
    table = floors.floors(grouped, ["T2"])
    assert table.loc[table["strongest"], "theirs"].tolist() == ["Group popularity"]
    assert not any(floors.learned(grouped).values())
    assert all(floors.learned(made_up(rule)).values())


def test_phases_that_the_cap_ended_are_listed_once():
    def rule(task, action, seed):
        return {task: SURE, "capped": [2] if (task, action, seed) == ("T1", "train", 3) else []}

    study = made_up(rule)
    table = floors.capped(study.runs(["STL", "SinMo", "FineSmax"]))
    assert table.drop(columns="stage_id").to_numpy().tolist() == [["STL", "", "T1", "train", 3, 2]]
