"""Settings: bad ones are refused by name; ids stand for content, whatever its order."""

from dataclasses import FrozenInstanceError, fields

import pytest
from helpers import small_study
from hypothesis import given
from hypothesis import strategies as st

from conure_lib.config import ModelConfig, StudyConfig, TrainConfig, canonical, content_id
from conure_lib.errors import ConfigError

NAN = float("nan")
BAD = [
    *((ModelConfig, "width", bad) for bad in (0, -1, 1.5, "64", None)),
    *(
        (ModelConfig, "dilations", bad)
        for bad in ((), (0,), (1, -1), (1.5,), ("1",), [1, 4], 4, None)
    ),
    *((ModelConfig, "separator", bad) for bad in (1, "yes", None)),
    *(
        (TrainConfig, name, bad)
        for name in ("epochs", "batch_size", "patience", "labels_per_user")
        for bad in (0, -1, 1.5, "2", None)
    ),
    *((TrainConfig, "learning_rate", bad) for bad in (0, -0.1, 10, NAN, "fast", None)),
    *(
        (TrainConfig, name, bad)
        for name in ("negatives", "share", "joint_weight")
        for bad in (0, -0.1, 1.1, NAN, "all", None)
    ),
    *((TrainConfig, "rho", bad) for bad in (0, -1, NAN, float("inf"), "0.3")),
    *((TrainConfig, "l2", bad) for bad in (-0.1, NAN, float("inf"), "0")),
    *((TrainConfig, "optimizer", bad) for bad in ("Adam", "", None)),
    *((TrainConfig, "loss", bad) for bad in ("bpr", "", None)),
    *((TrainConfig, "table_updates", bad) for bad in ("row", "", None)),
    *((StudyConfig, "train", bad) for bad in ({}, {"T1": TrainConfig()}, {"*": TrainConfig()})),
    *(
        (StudyConfig, "prune", bad)
        for bad in ({}, {"T1": 0.5}, {"*": 0}, {"*": 1}, {"*": 0.5, "T3": 70})
    ),
    *((StudyConfig, "prune", bad) for bad in ({"*": NAN}, {"*": "0.5"})),
    *(
        (StudyConfig, "prune_embedding", bad)
        for bad in ({"T1": 0.5}, {"*": 0}, {"*": 1}, {"*": 0.5, "T3": 70})
    ),
    *((StudyConfig, "prune_embedding", bad) for bad in ({"*": NAN}, {"*": "0.5"})),
    *((StudyConfig, "seeds", bad) for bad in ((), (1, 1), (-1,), (0.5,), ("1",))),
    *((StudyConfig, name, bad) for name in ("threads", "processes") for bad in (0, -1, 1.5, "1")),
    *((StudyConfig, "device", bad) for bad in ("gpu", "", None)),
    *((StudyConfig, "precision", bad) for bad in ("bf16", "float16", "", None)),
    (StudyConfig, "retrain", {"epoch": 3}),
    *((StudyConfig, "retrain_rate", bad) for bad in (0, -1, NAN, float("inf"), "0.1")),
]


def made(kind, **changes):
    return small_study(**changes) if kind is StudyConfig else kind(**changes)


@pytest.mark.parametrize(
    ("kind", "name", "bad"), BAD, ids=lambda value: getattr(value, "__name__", repr(value))
)
def test_a_bad_field_is_named(kind, name, bad):
    with pytest.raises(ConfigError, match=rf"^{kind.__name__}\.{name} = ") as caught:
        made(kind, **{name: bad})
    assert "wanted: " in str(caught.value)


@pytest.mark.parametrize(("name", "bad"), [("loss", "softmax"), ("optimizer", "sgd"), ("l2", 0.1)])
def test_what_row_updates_do_not_go_with(name, bad):
    fitting = {"table_updates": "rows", "loss": "sampled-softmax", "optimizer": "adam", "l2": 0.0}
    assert TrainConfig(**fitting).table_updates == "rows"
    with pytest.raises(ConfigError, match=rf"^TrainConfig\.{name} = .*if table_updates is rows"):
        TrainConfig(**{**fitting, name: bad})


def test_a_bad_value_for_retraining_is_found_at_once():
    with pytest.raises(ConfigError, match=r"TrainConfig\.epochs = 0"):
        small_study(retrain={"epochs": 0})
    with pytest.raises(ConfigError, match=r"TrainConfig\.learning_rate = "):
        small_study(retrain_rate=1e6)
    fast = TrainConfig(learning_rate=9.0)
    with pytest.raises(ConfigError, match=r"TrainConfig\.learning_rate = "):
        small_study(
            train={"T1": TrainConfig(), "*": TrainConfig(), "T2.train": fast}, retrain_rate=2.0
        )


def test_every_field_that_can_be_bad_is_tried():
    free = {(StudyConfig, "profile"), (StudyConfig, "data"), (StudyConfig, "model")}
    every = {
        (kind, f.name) for kind in (ModelConfig, TrainConfig, StudyConfig) for f in fields(kind)
    }
    assert {(kind, name) for kind, name, _ in BAD} == every - free


@pytest.mark.parametrize("config", [ModelConfig(), TrainConfig(), small_study()])
def test_settings_do_not_change(config):
    with pytest.raises(FrozenInstanceError):
        setattr(config, fields(config)[0].name, 1)


def test_settings_of_tasks():
    one, other = TrainConfig(epochs=1, l2=0.5), TrainConfig(epochs=9, l2=0.25)
    prune = {"T1": 0.7, "*": 0.9}
    study = small_study(
        train={"T1": one, "*": other}, retrain={"epochs": 4, "learning_rate": 0.5}, prune=prune
    )
    assert study.training("T1") is one
    assert study.training("T5") is other
    assert study.training("T1", "retrain") == TrainConfig(epochs=4, learning_rate=0.5, l2=0.5)
    assert study.training("T5", "retrain") == TrainConfig(epochs=4, learning_rate=0.5, l2=0.25)
    assert (study.pruned("T1"), study.pruned("T2")) == ({"kernels": 0.7}, {"kernels": 0.9})
    study = small_study(train={"T1": one, "*": other}, retrain={"epochs": 4}, retrain_rate=0.5)
    assert study.training("T1", "retrain") == TrainConfig(epochs=4, learning_rate=0.0005, l2=0.5)
    assert study.training("T1") is one


def test_an_action_has_settings_of_its_own_then_its_tasks_then_the_rest():
    rest, task, own = (TrainConfig(epochs=n) for n in (1, 2, 3))
    study = small_study(
        train={"T1": rest, "*": rest, "T2": task, "T2.finetune": own, "T3.joint": own}
    )
    assert study.training("T2", "finetune") is own
    assert (
        study.training("T2", "scratch")
        is study.training("T2")
        is study.training("T2", "train")
        is task
    )
    assert study.training("T3", "joint") is own
    assert study.training("T3", "finetune") is study.training("T3") is rest
    assert study.training("T4", "joint") is rest


def test_retraining_follows_from_training_and_from_nothing_else():
    """The keys of other actions do not touch it, not even one with its own name."""
    rest, trained, other = (TrainConfig(epochs=n, learning_rate=n / 10) for n in (1, 2, 3))
    train = {"T1": rest, "*": rest, "T2.finetune": other, "T2.retrain": other}
    study = small_study(train=train, retrain={"patience": 7}, retrain_rate=0.5)
    assert study.training("T2", "retrain") == TrainConfig(epochs=1, learning_rate=0.05, patience=7)
    study = small_study(
        train={**train, "T2.train": trained}, retrain={"patience": 7}, retrain_rate=0.5
    )
    assert study.training("T2", "retrain") == TrainConfig(epochs=2, learning_rate=0.1, patience=7)


def test_the_embedding_is_pruned_only_if_asked_for():
    prune = {"T1": 0.7, "*": 0.9}
    assert small_study(prune=prune).pruned("T1") == {"kernels": 0.7}
    study = small_study(prune=prune, prune_embedding={"T2": 0.3, "*": 0.8})
    assert study.pruned("T1") == {"kernels": 0.7, "embedding": 0.8}
    assert study.pruned("T2") == {"kernels": 0.9, "embedding": 0.3}
    assert study.pruned("T6") == {"kernels": 0.9, "embedding": 0.8}


def test_equal_numbers_are_one_setting():
    whole = TrainConfig(share=1, negatives=1, joint_weight=1, l2=0, learning_rate=1)
    assert content_id(whole) == content_id(
        TrainConfig(share=1.0, negatives=1.0, joint_weight=1.0, l2=0.0, learning_rate=1.0)
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(value=st.dictionaries(st.text(max_size=3), JSON, min_size=1, max_size=5), data=st.data())
def test_an_id_stands_for_content_not_for_order(value, data):
    shuffled = dict(data.draw(st.permutations(list(value.items()))))
    assert canonical(shuffled) == canonical(value)
    assert content_id(shuffled) == content_id(value)
    assert len(content_id(value)) == 12
    key = data.draw(st.sampled_from(sorted(value)))
    other = data.draw(JSON)
    if canonical(other) != canonical(value[key]):
        assert content_id({**value, key: other}) != content_id(value)


def test_canonical_text_by_hand():
    assert canonical({"b": [1, 2.5, None], "a": ModelConfig(2, (1, 4))}) == (
        '{"a":{"dilations":[1,4],"separator":false,"width":2},"b":[1,2.5,null]}'
    )
    assert content_id({"a": 1}) == "015abd7f5cc5"


def test_what_has_no_fixed_text_is_refused():
    with pytest.raises(TypeError, match="set cannot be part of an id"):
        content_id({"a": {1}})
