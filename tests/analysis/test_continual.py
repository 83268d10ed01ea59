"""The matrix of continual learners and the transfers that follow, worked out by hand."""

import pytest

from conure_lib.analysis import continual
from tests.analysis.conftest import made_up


@pytest.fixture
def study():
    """Of EWC T1 falls from 1 to 1/2 and 1/4, T2 from 1/2 to 1/4; three test users a seed."""

    def rule(task, action, seed):
        learned = {"T1": [1] * 3, "T2": [2] * 3, "T4": [1] * 3}[task]
        if action == "retrain":
            return {task: {"T1": [2] * 3}.get(task, [1] * 3)}
        if action != "ewc":
            return {task: learned}
        after = {"T2": {"T1-after": [2] * 3}, "T4": {"T1-after": [4] * 3, "T2-after": [4] * 3}}
        return {task: learned, "notes": {"old_tasks": {}}} | after[task]

    return made_up(rule)


def test_the_matrix_by_hand(study):
    table = continual.matrix(study, ("EWC", "Conure"))
    cells = table.set_index(["method", "after", "task"])["value"].to_dict()
    of_ewc = {("T1", "T1"): 1, ("T2", "T1"): 0.5, ("T2", "T2"): 0.5, ("T4", "T1"): 0.25}
    of_ewc |= {("T4", "T2"): 0.25, ("T4", "T4"): 1}
    expected = {("EWC", *key): value for key, value in of_ewc.items()}
    expected |= {("Conure", *key): {"T1": 0.5}.get(key[1], 1) for key in of_ewc}
    assert cells == expected
    assert set(table["n"]) == {18}


def test_transfers_by_hand(study):
    """Alone: T1 1 (its training is shared), T2 1/2, T4 1."""
    table = continual.transfers(study, ("EWC", "Conure"))
    found = table.set_index(["ours", "transfer"])["effect"].to_dict()
    assert found == pytest.approx(
        {
            ("EWC", "average"): (-0.75 - 0.5 + 0) / 3,
            ("EWC", "backward"): (-0.75 - 0.5) / 2,
            ("EWC", "forward"): 0,
            ("Conure", "average"): (-0.5 + 1 + 0) / 3,
            ("Conure", "backward"): 0,
            ("Conure", "forward"): (1 + 0) / 2,
        }
    )
