"""Settings: bad ones are refused in one line; ids stand for content that is not default."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from helpers import refused, small_study
from pydantic import BaseModel, ValidationError

from conure_lib import config
from conure_lib.config import DataConfig, ModelConfig, StudyConfig, TrainConfig, explain, spec
from conure_lib.errors import ConfigError

NAN, INF = float("nan"), float("inf")
NO_RATIO = ({"T1": 0.5}, {"*": -0.1}, {"*": 1}, {"*": 0.5, "T3": 70}, {"*": NAN}, {"*": "0.5"})
BPR_ON_T1 = {"T1": TrainConfig(loss="bpr"), "*": TrainConfig()}
BAD = {
    ModelConfig: {"width": (0, 1.5, "2", True), "dilations": ((), (0,), [1, 4]), "separator": (1,)},
    TrainConfig: {
        **dict.fromkeys(("epochs", "batch_size", "patience", "labels_per_user"), (0, 1.5, "2")),
        **dict.fromkeys(("negatives", "share", "joint_weight"), (0, 1.1, NAN)),
        **{"learning_rate": (0, 10, NAN), "rho": (0, INF), "l2": (-0.1, INF), "loss": ("hinge",)},
        **{"optimizer": ("Adam",), "table_updates": ("row",)},
    },
    StudyConfig: {
        **{"profile": (1,), "data": ("synthetic",), "model": (64,), "prune": NO_RATIO},
        "train": ({}, {"T1": TrainConfig()}, {"*": TrainConfig()}, {"T1": {}, "*": {}}, BPR_ON_T1),
        **{"prune_embedding": NO_RATIO, "seeds": ((), (1, 1), (-1,), (0.5,), ("1",))},
        **{"threads": (0, 1.5), "device": ("gpu",), "retrain_rate": (0, NAN, INF)},
    },
}
CASES = [(kind, n, bad) for kind, by in BAD.items() for n, values in by.items() for bad in values]


def made(kind, **changes):
    return small_study(**changes) if kind is StudyConfig else kind(**changes)


@pytest.mark.parametrize(("kind", "name", "bad"), CASES)
def test_a_bad_field_is_named_in_one_line(kind, name, bad):
    with refused(ConfigError, f"{kind.__name__}, {name}", ": found ", ", expected "):
        made(kind, **{name: bad})


LEAST = "expected a number greater than or equal to 1"
ROWS, FAST = {"table_updates": "rows", "loss": "sampled-softmax"}, TrainConfig(learning_rate=9.0)
MESSAGES = [
    (ModelConfig, {"width": np.int64(3)}, "width: found 3 (int64), expected a valid integer"),
    (TrainConfig, {"epochs": 0, "loss": "mse"}, f"epochs: found 0, {LEAST} (and 1 more)"),
    (TrainConfig, {"epoch": 1}, "epoch: found an unknown field, expected only known ones"),
    (StudyConfig, {"prune": {"*": 0.5, "T3": 70}}, "prune.T3: found 70, expected a number less"),
    (ModelConfig, {"self": 3}, "self: found an unknown field, expected only known ones"),
    (DataConfig, {"dataset": "x", "options": "y" * 999}, "yyy..., expected"),
    (TrainConfig, ROWS | {"loss": "softmax"}, "loss, optimizer, l2: found ('softmax', "),
    (TrainConfig, ROWS | {"optimizer": "sgd"}, "'sgd', 0.0), expected"),
    (TrainConfig, ROWS | {"l2": 0.1}, "0.1), expected ('sampled-softmax', 'adam', 0.0) by rows"),
]


@pytest.mark.parametrize(("kind", "given", "said"), MESSAGES)
def test_messages_by_hand(kind, given, said):
    with refused(ConfigError, f"{kind.__name__}, ", said, most=200):
        made(kind, **given)


def test_a_bad_value_for_retraining_is_found_at_once():
    with refused(ConfigError, "TrainConfig, epochs: found 0"):
        small_study(retrain={"epochs": 0})
    train = {"T1": TrainConfig(), "*": TrainConfig(), "T2.train": FAST}
    with refused(ConfigError, "TrainConfig, learning_rate: found 18"):
        small_study(train=train, retrain_rate=2.0)


def test_a_file_is_explained_by_place():
    class Plan(BaseModel, extra="forbid"):
        tasks: list[ModelConfig]
        name: str

    def line(content):
        with pytest.raises(ValidationError) as caught:
            Plan.model_validate_json(json.dumps(content))
        return explain(caught.value, "plan.yaml")

    found = line({"tasks": [{"width": 0}], "name": "a"})
    assert found == f"plan.yaml, tasks[0].width: found 0, {LEAST}"
    assert line({"tasks": []}) == "plan.yaml, name: found nothing, expected a value"
    assert line([]).startswith("plan.yaml, found [], expected an object")


def test_retraining_follows_from_training_and_from_nothing_else():
    rest, trained, other = (TrainConfig(epochs=n, learning_rate=n / 10) for n in (1, 2, 3))
    train = {"T1": rest, "*": rest, "T2.finetune": other, "T2.retrain": other}
    for more, epochs, rate in (({}, 1, 0.05), ({"T2.train": trained}, 2, 0.1)):
        study = small_study(train=train | more, retrain={"patience": 7}, retrain_rate=0.5)
        expected = TrainConfig(epochs=epochs, learning_rate=rate, patience=7)
        assert study.training("T2", "retrain") == expected
    study = small_study(train=train, retrain={"epochs": 4, "learning_rate": 0.5})
    assert study.training("T1", "retrain") == TrainConfig(epochs=4, learning_rate=0.5)


# --- ids -----------------------------------------------------------------------------------------

FROZEN = {"epochs": 10, "learning_rate": 0.001, "batch_size": 32, "patience": 2, "share": 1.0}
FROZEN |= {"labels_per_user": 1, "final_rate": 0.1, "loss": "softmax", "negatives": 0.2}
FROZEN |= {"rho": 0.3, "l2": 0.0, "joint_weight": 0.1, "dropout": 0.0, "optimizer": "adam"}
FROZEN |= {"retention": 1.0, "temperature": 2.0, "memory": 1000, "table_updates": "dense"}


def test_defaults_are_frozen():
    """Ids leave out what is default: a default that changes would give old ids another meaning."""
    assert {f.name: f.default for f in fields(TrainConfig)} == FROZEN
    model = {"width": 64, "dilations": (1, 4), "separator": False, "backbone": "nextitnet"}
    model |= {"layers": 2, "heads": 1, "positions": 100, "pooling": "last"}
    assert {f.name: f.default for f in fields(ModelConfig)} == model
    assert spec(TrainConfig()) == spec(ModelConfig()) == {}
    assert spec(TrainConfig(l2=1, epochs=10)) == {"l2": 1.0}
    assert spec(ModelConfig(8, (1,))) == {"width": 8, "dilations": (1,)}


def test_canonical_text_by_hand():
    text = config.canonical({"b": [1, 2.5, None], "a": (1, Path("x"))})
    assert text == '{"a":[1,"x"],"b":[1,2.5,null]}'
    assert config.content_id({"a": 1}) == "015abd7f5cc5"
    ordered, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2, "d": 4}}
    shuffled = {"b": {"d": 3, "c": 2}, "a": 1}
    assert config.content_id(ordered) == config.content_id(shuffled) != config.content_id(other)
    with pytest.raises(TypeError):
        config.content_id({"a": {1}})
