"""What methods cost, worked out by hand for a tiny network; nothing but records is read."""

import pytest

from conure_lib.analysis import costs
from conure_lib.data.stream import TRAIN
from conure_lib.methods import CONTINUAL, FLOORS, METHODS

# Width 8, one block: 65 x 8 embedding, 2 kernels of 3 x 8 x 8, 2 LayerNorms of 16.
KERNELS, BACKBONE = 384, 520 + 384 + 32
OUTPUTS = {"T1": 64 * 9, "T2": 16 * 9, "T3": 16 * 9, "T4": 8 * 9, "T5": 2 * 9, "T6": 6 * 9}
PATCHES = 2 * (2 * 8 + 1 + 8)
HEADS = sum(OUTPUTS.values())
LATER = HEADS - OUTPUTS["T1"]
ALONE = 6 * BACKBONE + HEADS
PATCHED = BACKBONE + HEADS + 5 * PATCHES
CONURE = BACKBONE + HEADS + 3 * KERNELS // 32

BACKBONES = {"SinMo": 6, "FineSmax": 1, "MTL": 5, "STL": 6, "PeterRec": 1}
BACKBONES |= {"PeterRec-parallel": 1, **dict.fromkeys(CONTINUAL, 1)}
STORED = {"SinMo": ALONE, "FineSmax": BACKBONE + HEADS}
STORED |= {"MTL": 5 * BACKBONE + LATER, "STL": ALONE, "PeterRec": PATCHED}
STORED |= {"PeterRec-parallel": PATCHED, "Conure": CONURE}
TAUGHT = BACKBONE + HEADS - OUTPUTS["T6"]  # the network before the last task
KEPT = {"Sequential": 0, "EWC": 6 * 2 * BACKBONE, "LwF": TAUGHT}
KEPT["TERACON"] = 2 * (6 * 8 + 6 * 11 + 6) + TAUGHT + 2 * (5 * 8 + 5 * 9 + 5)
STORED |= {name: BACKBONE + HEADS + kept for name, kept in KEPT.items()}
TRAINED = {"SinMo": 5 * BACKBONE + LATER, "FineSmax": LATER}
TRAINED |= {"STL": 5 * BACKBONE + LATER, "MTL": 5 * (BACKBONE + OUTPUTS["T1"]) + LATER}
TRAINED |= {"PeterRec": LATER + 5 * PATCHES, "PeterRec-parallel": LATER + 5 * PATCHES}


def test_costs_by_hand(study):
    table = costs.table(study, study.runs(METHODS)).set_index("method")
    assert [*table.index] == [name for name in METHODS if name not in FLOORS]
    assert table["backbones"].dropna().to_dict() == BACKBONES
    tasks = study.stream.fold(2).tasks  # counted is the last seed
    known = [len(task.rows(TRAIN)) for task in tasks]  # of 6 items and a label each
    kept = {"Joint": sum(known) * 7, "Replay": sum(round(n / 10) for n in known) * 7}
    expected = STORED | {name: BACKBONE + HEADS + kept[name] for name in kept}
    assert table["stored"].dropna().to_dict() == expected
    shares = {method: stored / ALONE for method, stored in expected.items()}
    assert table["share"].dropna().to_dict() == pytest.approx(shares)
    assert table["trained_later"].loc[list(TRAINED)].to_dict() == TRAINED
    first = table["trained_first"].to_dict()
    assert first["MTL"] == 0
    once = BACKBONE + OUTPUTS["T1"]
    assert {first[m] for m in ("SinMo", "FineSmax", "STL", "PeterRec")} == {once}
    own = round(0.3 * KERNELS / 2) * 2  # T1's own weights are trained once more
    assert first["Conure"] == once + own + OUTPUTS["T1"]


def test_owner_maps_take_as_many_bits_as_there_are_tasks(study):
    run = study.run("Conure", 1, ("T1", "T2", "T3"))
    stored = costs.table(study, [run])["stored"].iloc[0]
    heads = sum(OUTPUTS[task] for task in run.stages)
    assert stored == BACKBONE + heads + 2 * KERNELS // 32
    grown = study.changed("", grow_below=0.75).run("Conure", 1, ("T1", "T2", "T3"))
    study.compute([grown])  # by a block before T2 and one before T3
    more = costs.table(study, [grown])["stored"].iloc[0] - stored
    assert more == 2 * (KERNELS + 32 + 2 * KERNELS // 32)
    both = study.changed("", prune_embedding={"*": 0.8}).run("Conure", 1)
    assert costs.sizes(study, both)["prunable"] == KERNELS + 65 * 8
