"""What methods cost, worked out by hand for a tiny network; nothing but records is read."""

import pytest
from helpers import small_stream, small_study

from conure_lib import paths
from conure_lib.analysis import costs
from conure_lib.methods import METHODS
from conure_lib.study.study import Study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(paths, "ROOT", tmp_path_factory.mktemp("costs"))
    made = Study(small_study(), small_stream())
    made.compute(made.runs(METHODS))
    yield made
    patch.undo()


def test_costs_by_hand(study):
    # Width 8, one block: 65 x 8 embedding, 2 kernels of 3 x 8 x 8, 2 LayerNorms of 16.
    kernels, backbone = 384, 520 + 384 + 32
    outputs = {"T1": 64 * 9, "T2": 16 * 8, "T3": 16 * 8, "T4": 8 * 9, "T5": 2 * 9, "T6": 6 * 9}
    patches = 2 * (2 * 8 + 1 + 8)
    heads, later = sum(outputs.values()), sum(outputs.values()) - outputs["T1"]
    assert {task.name: task.n_labels for task in study.stream.tasks} == {
        "T1": 64,
        "T2": 16,
        "T3": 16,
        "T4": 8,
        "T5": 2,
        "T6": 6,
    }
    table = costs.table(study, study.runs(METHODS)).set_index("method")
    assert table["backbones"].dropna().to_dict() == {
        "Popularity": 0,
        "SinMo": 6,
        "FineSmax": 1,
        "MTL": 5,
        "STL": 6,
        "PeterRec": 1,
        "PeterRec-parallel": 1,
        "Conure": 1,
    }
    whole = 6 * backbone + heads
    stored = {
        "Popularity": 0,
        "SinMo": whole,
        "FineSmax": backbone + heads,
        "MTL": 5 * backbone + later,
        "STL": whole,
        "PeterRec": backbone + heads + 5 * patches,
        "PeterRec-parallel": backbone + heads + 5 * patches,
        "Conure": backbone + heads + 3 * kernels // 32,
    }
    assert table["stored"].dropna().to_dict() == stored
    assert table["share"].dropna().to_dict() == pytest.approx(
        {m: n / whole for m, n in stored.items()}
    )
    assert table["trained_later"].drop(
        ["Conure-", "Conure, not retrained", "Conure"]
    ).to_dict() == {
        "Popularity": 0,
        "SinMo": 5 * backbone + later,
        "FineSmax": later,
        "STL": 5 * backbone + later,
        "MTL": 5 * (backbone + outputs["T1"]) + later,
        "PeterRec": later + 5 * patches,
        "PeterRec-parallel": later + 5 * patches,
    }
    first = table["trained_first"].to_dict()
    assert (first["Popularity"], first["MTL"]) == (0, 0)
    assert {first[m] for m in ("SinMo", "FineSmax", "STL", "PeterRec")} == {
        backbone + outputs["T1"]
    }
    t1 = round(0.3 * kernels / 2) * 2  # T1's own weights are trained once more
    assert first["Conure"] == backbone + outputs["T1"] + t1 + outputs["T1"]


def test_owner_maps_take_as_many_bits_as_there_are_tasks(study):
    run = study.run("Conure", 1, ("T1", "T2", "T3"))
    part = costs.sizes(study, run)
    stored = costs.table(study, [run])["stored"].iloc[0]
    assert (
        stored
        == part["backbone"] + part["T1"] + part["T2"] + part["T3"] + 2 * part["prunable"] // 32
    )
    both = study.changed("", prune_embedding={"*": 0.8}).run("Conure", 1)
    assert costs.sizes(study, both)["prunable"] == part["prunable"] + 65 * 8
