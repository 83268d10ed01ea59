"""A task counts where its best network clearly beats popularity, within the group if there are."""

import numpy as np
import pytest

from conure_lib.analysis import floors
from conure_lib.methods import METHODS
from tests.analysis.conftest import made_up

SURE = [1, 2, 2]  # of each fold's three instances
FLOOR = [2, 5, 0]


def rule(t2=lambda seed: [1, 1, 1]):
    """Ranks of STL's networks, where popularity has FLOOR and other networks nothing."""

    def ranks(task, action, seed):
        stl = action == "finetune" or (task, action) == ("T1", "train")
        own = (t2(seed) if task == "T2" else [1, 1, 1]) if stl else [0, 0, 0]
        return {task: FLOOR if action == "popularity" else own}

    return ranks


def test_the_best_network_against_the_floor_by_hand():
    table = floors.floors(made_up(rule(lambda seed: SURE)), ["T2"])
    row = table.iloc[0]
    assert (row["ours"], row["theirs"], row["strongest"]) == ("STL", "Popularity", True)
    assert table["theirs"].tolist() == ["Popularity", "Linear (window)", "Linear"]
    assert (row["value"], row["floor"]) == pytest.approx((2 / 3, 0.7 / 3))
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
    assert floors.learned(made_up(rule(ranks))) == {"T1": True, "T2": learned, "T4": True}


def test_popularity_within_the_group_is_the_gate_where_there_are_groups():
    def ranks(task, action, seed):
        return {task: [1, 1, 1]} if action == "group-popularity" else rule()(task, action, seed)

    grouped = made_up(ranks, groups=np.zeros(20, np.int32))
    table = floors.floors(grouped, ["T2"])
    assert table.loc[table["strongest"], "theirs"].tolist() == ["Group popularity"]
    assert not any(floors.learned(grouped).values())
    assert all(floors.learned(made_up(ranks)).values())


def test_phases_that_the_cap_ended_are_listed_once():
    def ranks(task, action, seed):
        return {task: SURE, "capped": [2] if (task, action, seed) == ("T1", "train", 3) else []}

    study = made_up(ranks)
    table = floors.capped([*study.runs(["STL"]), *study.runs(["SinMo", "FineSmax"])])
    (row,) = table.drop(columns="stage_id").to_dict("records")
    where = {"method": "STL", "variant": "", "task": "T1", "action": "train", "seed": 3, "phase": 2}
    assert row == where
