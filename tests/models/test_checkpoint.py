"""Model files: what is saved comes back to the last bit; damage is named in one line."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch
from helpers import (
    KINDS,
    NETWORKS,
    begin,
    bytes_of,
    learn,
    learner_of,
    lively,
    logits,
    owners_of,
    random_sequences,
    rng,
    small_model,
    state_of,
)
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from conure_lib.errors import ModelFileError
from conure_lib.models.checkpoint import from_bit_planes, load_model, save_model, to_bit_planes
from conure_lib.models.ownership import ContinualModel

KERNEL, OWNER = "blocks.0.kernel1", "owner.blocks.0.kernel1"


@pytest.fixture
def saved(tmp_path):
    """A saved model of three tasks, and the model."""
    model = small_model(9, 4, (1, 4), separator=True)
    for task in KINDS:
        model.add_output(task, np.ones(3), rng(1))
    model.add_patches("parallel", rng())
    extra = {"extra": torch.arange(3, dtype=torch.uint8)}
    save_model(lively(model), tmp_path / "m", extra, {"note": [1, "x"]})
    return tmp_path / "m", model


def test_a_saved_model_comes_back(saved):
    folder, model = saved
    loaded, extra, about = load_model(folder)
    assert state_of(loaded) == state_of(model)
    assert (loaded.config, loaded.n_items, loaded.patch_kind) == (model.config, 9, "parallel")
    assert extra["extra"].tolist() == [0, 1, 2]
    assert about["note"] == [1, "x"]


def change_tensors(change):
    def damage(folder):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return damage


def change_description(change):
    def damage(folder):
        about = json.loads((folder / "model.json").read_text())
        change(about)
        (folder / "model.json").write_text(json.dumps(about))

    return damage


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-20])


NAN = torch.full((3, 4, 4), float("nan"))
DAMAGE = {
    "no folder": (shutil.rmtree, "No such file"),
    "cut weights": (cut("model.safetensors"), "safetensors"),
    "cut description": (cut("model.json"), "model.json"),
    "no object": (lambda f: (f / "model.json").write_text("[]"), "model.json"),
    "no kernel": (change_tensors(lambda t: t.pop(KERNEL)), f"{KERNEL}: found nothing"),
    "no embedding": (change_tensors(lambda t: t.pop("embedding")), "'embedding'"),
    "shape": (
        change_tensors(lambda t: t.update({KERNEL: torch.zeros(3, 4, 5)})),
        rf"{KERNEL}: found torch.float32 \(3, 4, 5\), expected torch.float32 \(3, 4, 4\)",
    ),
    "type": (
        change_tensors(lambda t: t.update(embedding=t["embedding"].half())),
        "embedding: found torch.float16",
    ),
    "nan": (change_tensors(lambda t: t.update({KERNEL: NAN})), f"{KERNEL}: found nan or inf"),
    "no columns": (
        change_tensors(lambda t: t.update({"outputs.T1.weight": torch.zeros(10**15, 0)})),
        r"outputs.T1.weight of torch.float32 \(1000000000000000, 0\)",
    ),
    "bad task": (change_tensors(lambda t: t.update({"outputs.pop.weight": NAN})), "pop"),
    "format": (change_description(lambda a: a.update(format=2)), "format 2 of another version"),
    "no patches": (change_description(lambda a: a.pop("patches")), "'patches'"),
    "no width": (change_description(lambda a: a["model"].update(width=0)), "width: found 0"),
    "field": (change_description(lambda a: a["model"].update(colour=1)), "colour"),
    "blocks": (change_description(lambda a: a["model"].update(dilations=[1] * 999)), "999 blocks"),
    "wider": (change_description(lambda a: a["model"].update(width=65536)), "T1.weight of"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_model_files_are_named(saved, damage):
    folder, _ = saved
    change, message = DAMAGE[damage]
    change(folder)
    with pytest.raises(ModelFileError, match=rf"{folder}[^\n]*{message}[^\n]*$"):
        load_model(folder)


def test_bit_planes_by_hand():
    planes = to_bit_planes(torch.tensor([[0, 1, 2], [3, 6, 5], [1, 1, 4]], dtype=torch.uint8), 3)
    ones, twos, fours = (int.from_bytes(plane.numpy().tobytes(), "big") >> 7 for plane in planes)
    assert (f"{ones:09b}", f"{twos:09b}", f"{fours:09b}") == ("010101110", "001110000", "000011001")


@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    bits=st.integers(0, 8),
    seed=st.integers(0, 99),
)
def test_owner_maps_come_back_from_bit_planes(shape, bits, seed):
    owner = torch.randint(0, 1 << bits, shape, generator=rng(seed), dtype=torch.uint8)
    planes = to_bit_planes(owner, bits)
    assert planes.numel() == bits * -(-owner.numel() // 8)
    assert torch.equal(from_bit_planes(planes, bits, owner.shape), owner)
    with pytest.raises(ValueError, match="bit planes"):
        from_bit_planes(planes, bits + 1, owner.shape)


IN_ANOTHER_PROCESS = """
import sys, json
from pathlib import Path
import torch
from conure_lib.models.ownership import ContinualModel
torch.set_num_threads(1)
learner = ContinualModel.load(Path(sys.argv[1]))
sequences = torch.tensor(json.loads(sys.argv[2]))
logits = {}
for task in learner.tasks:
    model = learner.for_task(task)
    first = task == "T1"
    read = model.last_hidden(sequences[:, :-1]) if first else model.user_vectors(sequences)
    logits[task] = model.outputs[task](read).numpy().tobytes().hex()
print(json.dumps([learner.tasks, learner.phase.value, logits]))
"""


LEARNERS = [("nextitnet", 0.7), *((network, None) for network in NETWORKS)]


@pytest.mark.parametrize(("network", "embedding"), LEARNERS)
def test_a_saved_learner_says_the_same_in_another_process(tmp_path, python, network, embedding):
    learner = learner_of(KINDS, 8, dilations=(1, 4), embedding=embedding, **NETWORKS[network])
    learner.grow(rng())
    begin(learner, "T5")
    learner.prune(0.9, embedding)
    learner.save(tmp_path / "learner")
    sequences = random_sequences(20, 9, 8)
    expected = {t: bytes_of(logits(learner.for_task(t), t, sequences)).hex() for t in learner.tasks}

    command = python(IN_ANOTHER_PROCESS, tmp_path)
    command["args"] += [str(tmp_path / "learner"), json.dumps(sequences.tolist())]
    answer = subprocess.run(**command, capture_output=True, check=True).stdout
    assert json.loads(answer) == [["T1", "T2", "T4", "T5"], "retrain", expected]

    loaded = ContinualModel.load(tmp_path / "learner")
    assert loaded.model.config == learner.model.config
    assert state_of(loaded.model) == state_of(learner.model)  # the free values as well
    assert owners_of(loaded) == owners_of(learner)
    loaded.finish()
    learn(loaded, "T6", embedding=embedding)  # and it goes on learning
    again = {t: bytes_of(logits(loaded.for_task(t), t, sequences)).hex() for t in expected}
    assert again == expected


LEARNER_DAMAGE = {
    "size": change_tensors(lambda t: t.update({OWNER: t[OWNER][:, :-1].clone()})),
    "planes": change_tensors(lambda t: t.update({OWNER: t[OWNER][:1].clone()})),
    "type": change_tensors(lambda t: t.update({OWNER: t[OWNER].float()})),
    "owner": change_tensors(lambda t: t.update({OWNER: torch.full_like(t[OWNER], 255)})),
    "name": change_tensors(lambda t: t.update({"owner.nobody": t.pop(OWNER)})),
    "none": change_tensors(lambda t: t.pop(OWNER)),
    "stray": change_tensors(lambda t: t.update(stray=t[OWNER].clone())),
    "state": change_description(lambda a: a.pop("continual")),
    "phase": change_description(lambda a: a["continual"].update(phase="asleep")),
    "phase without tasks": change_description(
        lambda a: a["continual"].update(phase="train", tasks=[])
    ),
    "tasks": change_description(lambda a: a["continual"].update(tasks=["T1", "T7"])),
    "twice": change_description(lambda a: a["continual"].update(tasks=["T1", "T1"])),
}


@pytest.mark.parametrize("damage", LEARNER_DAMAGE)
def test_damaged_files_of_a_learner_are_refused(tmp_path, damage):
    learner_of(("T1", "T2"), 4).save(tmp_path)
    LEARNER_DAMAGE[damage](tmp_path)
    with pytest.raises(ModelFileError, match=str(tmp_path)):
        ContinualModel.load(tmp_path)
