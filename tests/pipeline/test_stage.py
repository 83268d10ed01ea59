"""Ids of stages change with what matters and with nothing else."""

from dataclasses import fields, replace

import pytest
from helpers import small_stream, small_study

from conure_lib.config import DataConfig, ModelConfig, TrainConfig
from conure_lib.methods.conure import conure_chain
from conure_lib.methods.method import Step
from conure_lib.pipeline import stage as stages
from conure_lib.pipeline.stage import ACTIONS, Stage, compute_stage

TASKS = ("T1", "T2", "T3", "T4", "T5", "T6")
STEPS = {f"{t}.{a}": step for t, steps in conure_chain(TASKS).items() for a, step in steps.items()}
T1 = STEPS["T1.train"]
ALONE = {"T2.finetune", "T2.joint", "T2.patched-serial", "T2.patched-parallel"}
STEPS |= {name: Step(name[3:], "T2", None if name == "T2.joint" else T1) for name in sorted(ALONE)}
STEPS["T2.popularity"] = Step("popularity", "T2")
EVERYTHING = set(STEPS)
TRAINED = EVERYTHING - {"T2.popularity"}


def ids(study=None, digest="d" * 64, seed=1):
    study = study or small_study()
    return {name: Stage(step, study, digest, seed).id for name, step in STEPS.items()}


def changed(than=None, **arguments):
    """Which stages have another id than in the small study (or in another)."""
    before, after = ids(than), ids(**arguments)
    return {name for name in STEPS if before[name] != after[name]}


def after(name):
    """A stage and all that start from it."""
    found = {name}
    for other, step in STEPS.items():
        while step.parent and step.parent != STEPS[name]:
            step = step.parent
        found |= {other} if step.parent else set()
    return found


OTHER = {"epochs": 3, "learning_rate": 0.5, "batch_size": 7, "patience": 5, "final_rate": 0.3}
OTHER |= {"dropout": 0.2, "labels_per_user": 9, "loss": "softmax", "negatives": 0.7, "rho": 0.9}
OTHER |= {"l2": 0.7, "optimizer": "sgd", "table_updates": "rows", "share": 0.25, "memory": 7}
OTHER |= {"joint_weight": 0.5, "retention": 0.3, "temperature": 3.0}


@pytest.mark.parametrize("name", [f.name for f in fields(TrainConfig)])
def test_ids_change_with_every_training_setting(name):
    settings = TrainConfig(epochs=2, loss="sampled-softmax")
    other, train = replace(settings, **{name: OTHER[name]}), {"T1": settings, "*": settings}
    than = small_study(train=train)

    def touched(**given):
        return changed(than, study=small_study(train={**train, **given}))

    of_t1 = after("T1.train") | {"T2.joint"}
    assert touched(T1=other) == of_t1 == TRAINED
    later = after("T2.train") | ALONE | ({"T2.popularity"} if name == "share" else set())
    assert touched(**{"*": other}) == touched(T2=other) == later
    assert touched(T5=other) == after("T5.train")
    for alone in ALONE:  # each method has settings of its own
        assert touched(**{alone: other}) == {alone}
    for task in ("T1", "T2", "T6"):  # whose retraining follows
        assert touched(**{f"{task}.train": other}) == (
            of_t1 if task == "T1" else after(f"{task}.train")
        )
    retrain = {"epochs": 1} | {name: OTHER[name]}
    assert changed(than, study=small_study(train=train, retrain=retrain)) == after("T1.retrain")


SMALL = small_study()
SETTINGS = SMALL.train["*"]
EMBEDDING = small_study(prune_embedding={"*": 0.5})
MARGIN = small_study(prune_margin={"T1": 0.1})
CHANGES = [  # of a study, and whose ids differ then
    (SMALL, {"retrain_rate": 0.5}, after("T1.retrain")),
    (SMALL, {"prune": {**SMALL.prune, "T1": 0.5}}, after("T1.prune")),
    (SMALL, {"prune": {**SMALL.prune, "T6": 0.5}}, {"T6.prune", "T6.retrain"}),
    (SMALL, {"prune_embedding": {"*": 0.5}}, after("T1.prune")),
    (EMBEDDING, {"prune_embedding": {"*": 0.5, "T1": 0.5}}, set()),
    (EMBEDDING, {"prune_embedding": {"*": 0.5, "T3": 0.6}}, after("T3.prune")),
    (EMBEDDING, {"prune_embedding": {"*": 0.6, "T1": 0.5}}, after("T2.prune")),
    (SMALL, {"prune_margin": {"T1": 0.1}}, after("T1.prune")),
    (SMALL, {"prune_margin": {"*": 0.1, "T1": 0.2}}, after("T1.prune")),
    (MARGIN, {"prune_margin": {"T1": 0.1, "*": 0.1}}, after("T2.prune")),
    (MARGIN, {"prune_margin": {"*": 0.1}}, after("T2.prune")),
    (MARGIN, {"prune": {**SMALL.prune, "T1": 0.5}}, set()),
    (MARGIN, {"retrain": {"epochs": 3}}, after("T1.prune")),  # what its search depends on
    (SMALL, {"grow_below": 0.2}, after("T2.train")),
    (SMALL, {"grow_margin": 0.2}, after("T2.train")),
    (SMALL, {"threads": 2}, EVERYTHING),
    (SMALL, {"device": "cuda"}, TRAINED),
    (SMALL, {"model": ModelConfig(9, (1,))}, TRAINED),
    (SMALL, {"model": ModelConfig(8, (2,))}, TRAINED),
    (SMALL, {"model": ModelConfig(8, (1,), separator=True)}, TRAINED),
    (SMALL, {"profile": "standard"}, set()),
    (SMALL, {"seeds": (1, 2, 3)}, set()),
    (SMALL, {"data": DataConfig("synthetic", {"n_users": 77})}, set()),  # by the stream's digest
    (SMALL, {"train": {**SMALL.train, "T9": TrainConfig(), "T3.finetune": TrainConfig()}}, set()),
    (SMALL, {"train": {**SMALL.train, "T2.finetune": SETTINGS}}, set()),
    (SMALL, {"train": {**SMALL.train, "T2.retrain": TrainConfig()}}, set()),
    (SMALL, {"train": dict(reversed(SMALL.train.items()))}, set()),
    (SMALL, {"prune": {**SMALL.prune, "T9": 0.1, "*": 0.4}}, set()),
]


@pytest.mark.parametrize(("than", "changes", "expected"), CHANGES)
def test_ids_change_with_what_matters_and_nothing_else(than, changes, expected):
    assert changed(than, study=replace(than, **changes)) == expected


def test_ids_change_with_data_and_protocol_and_seed(monkeypatch):
    assert changed(digest="e" * 64) == changed(seed=2) == EVERYTHING
    before = ids()
    monkeypatch.setattr(stages, "PROTOCOL", stages.PROTOCOL + 1)
    assert all(ids()[name] != before[name] for name in STEPS)


def test_a_specification_holds_what_is_not_default():
    """If this fails, results of before are not found any more: raise PROTOCOL if that was meant."""
    settings = TrainConfig(epochs=3, learning_rate=0.01, l2=0.02)
    study = small_study(
        model=ModelConfig(width=8),
        train={"T1": settings, "*": settings},
        retrain={"epochs": 10},
        prune={"*": 0.7},
    )
    stage = Stage(STEPS["T2.retrain"], study, "d" * 64, 1)
    head = {"protocol": 4, "task": "T2", "stream": "d" * 64, "seed": 1, "model": {"width": 8}}
    assert stage.spec == head | {
        "action": "retrain",
        "settings": {"learning_rate": 0.01, "l2": 0.02},
        "parent": stage.parent.id,
    }
    assert stage.parent.spec["settings"] == {"kernels": 0.7}
    assert stage.id == "synthetic.T2.retrain.s1.818a4422698b"
    joint = Stage(STEPS["T2.joint"], study, "d" * 64, 1).spec
    assert joint["t1_settings"] == joint["settings"] == {**stage.spec["settings"], "epochs": 3}
    assert "parent" not in joint


def test_a_growing_stream_counts_up_to_the_task():
    """A task that is appended changes no id of those before it."""
    digests = {"T1": "1" * 64, "T2": "2" * 64}

    def made(last, by_task):
        return Stage(STEPS[last], small_study(), by_task[last[:2]], 1, by_task)

    one, other = made("T2.train", digests), made("T2.train", digests | {"T3": "3" * 64})
    assert one.id == other.id
    assert [s.spec["stream"][0] for s in one.lineage()] == ["1", "1", "1", "2"]


@pytest.mark.parametrize("said", ["CUDA out of memory. Tried", "can't allocate memory: you tried"])
def test_what_does_not_fit_is_too_little_memory(root, monkeypatch, said):
    def too_large(context):
        raise RuntimeError(f"{said} to allocate 9 GiB\nException raised from")

    monkeypatch.setitem(ACTIONS, "popularity", too_large)
    stage = Stage(Step("popularity", "T1"), small_study(), "d", 1)
    with pytest.raises(MemoryError, match=f"^{said} to allocate 9 GiB$"):
        compute_stage(stage, small_stream())
