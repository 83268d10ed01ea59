"""The matrix of continual learners and the transfers that follow, worked out by hand."""

import pytest

from conure_lib.analysis import continual
from tests.analysis.conftest import made_up


def rule(task, action, seed):
    """Of EWC T1 falls from 1 to 1/2 and 1/4, T2 from 1/2 to 1/4; three test users a seed."""
    del seed
    found = {task: [1] * 3 if task == "T1" or task == "T4" else [2] * 3}
    if action == "ewc":
        found["notes"] = {"old_tasks": {}}
        found["T1-after"] = [2] * 3 if task == "T2" else [4] * 3
        if task == "T4":
            found["T2-after"] = [4] * 3
    elif action == "retrain":
        found = {"T1": {"T1": [2] * 3}, "T2": {"T2": [1] * 3}, "T4": {"T4": [1] * 3}}[task]
    return found


def test_the_matrix_by_hand():
    table = continual.matrix(made_up(rule), ("EWC", "Conure"))
    cells = table.set_index(["method", "after", "task"])["value"].to_dict()
    of_ewc = {("T1", "T1"): 1, ("T2", "T1"): 0.5, ("T2", "T2"): 0.5, ("T4", "T1"): 0.25}
    of_ewc |= {("T4", "T2"): 0.25, ("T4", "T4"): 1}
    flat = {"T1": 0.5, "T2": 1.0, "T4": 1.0}
    expected = {("EWC", *key): value for key, value in of_ewc.items()}
    expected |= {("Conure", *key): flat[key[1]] for key in of_ewc}
    assert cells == expected
    assert set(table["n"]) == {18}


def test_transfers_by_hand():
    """Alone: T1 1 (its training is shared), T2 1/2, T4 1."""
    table = continual.transfers(made_up(rule), ("EWC", "Conure"))
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
