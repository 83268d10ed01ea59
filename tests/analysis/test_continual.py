"""The matrix of continual learners and the transfers that follow, worked out by hand."""

import pytest

from conure_lib.analysis import continual
from tests.analysis.conftest import made_up, positions

PLACES = {"T1": 1, "T2": 2, "T4": 1}  # of a network per task; T1's training is shared
OF_CONURE = {"T1": 2, "T2": 1, "T4": 1}
OF_EWC = {
    "T1": {"T1": 1},
    "T2": {"T1-all-after": 2, "T2": 2},
    "T4": {"T1-all-after": 4, "T2-after": 4, "T4": 1},
}


def rule(task, action, seed):
    """Of EWC T1 falls from 1 to 1/2 and 1/4, T2 from 1/2 to 1/4; three test users a seed."""
    found = {task: (OF_CONURE if action == "retrain" else PLACES)[task]}
    found = OF_EWC[task] if action == "ewc" else found
    notes = {"old_tasks": {}} if action == "ewc" else {}
    found |= {"T1-all": found["T1"], "T1": 5} if task == "T1" else {}  # its last items do not count
    n = {measure: positions(seed) if "-all" in measure else 3 for measure in found}
    return {measure: [rank] * n[measure] for measure, rank in found.items()} | {"notes": notes}


def test_the_matrix_by_hand():
    table = continual.matrix(made_up(rule), ("EWC", "Conure"))
    cells = table.set_index(["method", "after", "task"])["value"].to_dict()
    places = {(t, m[:2]): rank for t, ranks in OF_EWC.items() for m, rank in ranks.items()}
    expected = {("EWC", *key): 1 / rank for key, rank in places.items()}
    expected |= {("Conure", *key): 1 / OF_CONURE[key[1]] for key in places}
    assert cells == expected
    of_t1 = sum(positions(seed) for seed in range(1, 7))
    assert table.groupby("task")["n"].unique().to_dict() == {"T1": [of_t1], "T2": [18], "T4": [18]}


def test_transfers_by_hand():
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


def test_against_conure_by_hand():
    table = continual.against_conure(made_up(rule), ("EWC", "Conure"), ("T1", "T2", "T4"))
    assert table["ours"].tolist() == ["EWC"]
    assert table["effect"].tolist() == pytest.approx([(-0.5 - 0.75 + 0) / 3])


def test_transfers_count_the_tasks_that_are_asked_for_and_leave_out_what_none_has():
    found = {
        task: continual.transfers(made_up(rule), ["EWC"], [task]).set_index("transfer")["effect"]
        for task in ("T1", "T2", "T4")
    }
    assert {task: row.to_dict() for task, row in found.items()} == {
        "T1": {"average": -0.75, "backward": -0.75},
        "T2": {"average": -0.5, "backward": -0.5, "forward": 0},
        "T4": {"average": 0, "forward": 0},
    }
