"""Ids of stages change with what matters and with nothing else."""

from dataclasses import fields, replace

import pytest
from helpers import small_study

from conure_lib.config import DataConfig, ModelConfig, TrainConfig
from conure_lib.methods.conure import conure_chain
from conure_lib.methods.method import Step
from conure_lib.pipeline import stage as stages
from conure_lib.pipeline.stage import Stage

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


OTHER = {
    "epochs": 3,
    "learning_rate": 0.5,
    "batch_size": 7,
    "patience": 5,
    "final_rate": 0.3,
    "dropout": 0.2,
    "labels_per_user": 9,
    "loss": "softmax",
    "negatives": 0.7,
    "rho": 0.9,
    "l2": 0.7,
    "optimizer": "sgd",
    "table_updates": "rows",
    "share": 0.25,
    "joint_weight": 0.5,
    "retention": 0.3,
    "temperature": 3.0,
    "memory": 7,
}


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


def test_ids_change_with_the_rate_of_retraining_and_with_ratios():
    prune = small_study().prune
    assert changed(study=small_study(retrain_rate=0.5)) == after("T1.retrain")
    assert changed(study=small_study(prune={**prune, "T1": 0.5})) == after("T1.prune")
    assert changed(study=small_study(prune={**prune, "T6": 0.5})) == {"T6.prune", "T6.retrain"}


def test_ids_change_with_ratios_of_the_embedding():
    """From the first pruning on; T1's training is shared."""
    than = small_study(prune_embedding={"*": 0.5})

    def touched(**ratios):
        return changed(than, study=small_study(prune_embedding=ratios))

    assert changed(study=than) == after("T1.prune")
    assert touched(**{"*": 0.5, "T1": 0.5}) == set()
    assert touched(**{"*": 0.5, "T3": 0.6}) == after("T3.prune")
    assert touched(**{"*": 0.6, "T1": 0.5}) == after("T2.prune")


def test_ids_change_with_a_margin_and_what_its_search_depends_on():
    than = small_study(prune_margin={"T1": 0.1})
    assert changed(study=than) == after("T1.prune")
    assert changed(study=small_study(prune_margin={"*": 0.1, "T1": 0.2})) == after("T1.prune")

    def touched(**given):
        return changed(than, study=replace(than, **given))

    assert touched(prune_margin={"T1": 0.1, "*": 0.1}) == after("T2.prune")
    assert touched(prune_margin={"*": 0.1}) == after("T2.prune")
    assert touched(prune={**than.prune, "T1": 0.5}) == set()
    assert touched(retrain={"epochs": 3}) == after("T1.prune")


def test_ids_change_with_growth_from_the_second_task_on():
    assert changed(study=small_study(grow_below=0.2)) == after("T2.train")


MODELS = ((9, (1,)), (8, (2,)), (8, (1,), True))
CHANGES = [{"threads": 2}, {"device": "cuda"}, *({"model": ModelConfig(*m)} for m in MODELS)]


@pytest.mark.parametrize("changes", CHANGES)
def test_ids_change_with_model_threads_and_device(changes):
    expected = EVERYTHING if "threads" in changes else TRAINED
    assert changed(study=small_study(**changes)) == expected


def test_ids_change_with_data_and_protocol_and_seed(monkeypatch):
    assert changed(digest="e" * 64) == changed(seed=2) == EVERYTHING
    before = ids()
    monkeypatch.setattr(stages, "PROTOCOL", stages.PROTOCOL + 1)
    assert all(ids()[name] != before[name] for name in STEPS)


@pytest.mark.parametrize(
    "changes",
    [
        {"profile": "standard"},
        {"seeds": (1, 2, 3)},
        {"data": DataConfig("synthetic", {"n_users": 77})},  # counts by the stream's digest
        {"train": {**small_study().train, "T9": TrainConfig(), "T3.finetune": TrainConfig()}},
        {"train": {**small_study().train, "T2.finetune": small_study().train["*"]}},
        {"train": {**small_study().train, "T2.retrain": TrainConfig()}},
        {"train": dict(reversed(small_study().train.items()))},
        {"prune": {**small_study().prune, "T9": 0.1, "*": 0.4}},
    ],
)
def test_ids_change_with_nothing_else(changes):
    assert changed(study=small_study(**changes)) == set()


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
