"""What determines a result, as frozen dataclasses that pydantic validates; ids made from their content."""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, dataclass_transform, get_args

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from conure_lib.errors import ConfigError

PROTOCOL = 3
"""Goes into every stage id. Raise it with any change of the code that changes numbers."""

Optimizer = Literal["adam", "sgd"]
Device = Literal["cpu", "cuda"]
OPTIMIZERS, DEVICES, PATCHES = get_args(Optimizer), get_args(Device), ("serial", "parallel")
T1_LOSSES = ("softmax", "sampled-softmax")
MAX_INT = 2**31 - 1  # of anything that is counted, and of seeds

Count = Annotated[int, Field(ge=1, le=MAX_INT)]
Size = Annotated[int, Field(ge=1, le=2**16)]
Seed = Annotated[int, Field(ge=0, le=MAX_INT)]
Share = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0, lt=10)]


def explain(error: ValidationError, where: str) -> str:
    """Say in one line what pydantic refused first: place, field, what was found, what is expected.

    Parameters
    ----------
    error
        What pydantic raised.
    where
        The file, object or command that was read, as the user knows it.

    Returns
    -------
    str
        For example ``plan.yaml, tasks[1].kind: found 'rank', expected 'ranking' or 'classification'``.
    """
    first, *others = error.errors(include_url=False)
    place = ""
    for part in first["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}"
    place = f"{where}, {place.removeprefix('.')}" if place else where
    more = f" (and {len(others)} more)" if others else ""
    said = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if first["type"] in ("value_error", "assertion_error"):
        return f"{place}{':' if first['loc'] else ','} {said}{more}"
    if first["type"] in ("missing", "missing_argument"):
        return f"{place}: found nothing, expected a value{more}"
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{place}: found an unknown field, expected only known ones; check its name{more}"
    expected = said.removeprefix("Input should be ")
    if first["type"] == "too_short":
        expected = f"at least {first['ctx']['min_length']} of them"
    elif expected.startswith(("greater", "less")):
        expected = f"a number {expected}"
    return f"{place}: found {shown(first['input'])}, expected {expected}{more}"


def shown(value: object) -> str:
    """Show a value that was found in a message: short, and numbers of NumPy with their type."""
    if hasattr(value, "dtype") and hasattr(value, "item") and getattr(value, "size", 0) == 1:
        return f"{value.item()!r} ({type(value).__name__})"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass_transform(frozen_default=True)
def settings(cls: type) -> type:
    """Make a frozen dataclass whose fields pydantic checks strictly; a mistake is a one-line ConfigError."""
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    cls = dataclass(frozen=True, config=config)(cls)
    checked, names = cls.__init__, [f.name for f in fields(cls)]

    @functools.wraps(checked)
    def init(self, *args: object, **given: object) -> None:
        try:
            checked(self, **dict(zip(names, args, strict=False)), **given)
        except ValidationError as error:
            raise ConfigError(explain(error, cls.__name__)) from None

    cls.__init__ = init
    return cls


@settings
class DataConfig:
    """Which task stream.

    Parameters
    ----------
    dataset
        A name in the registry (``conure data list``).
    options
        Keyword arguments of the dataset's builder.
    """

    dataset: str
    options: Mapping[str, Any] = field(default_factory=dict)


@settings
class ModelConfig:
    """NextItNet's size.

    Parameters
    ----------
    width
        Channels of the embedding and of every block (k in the paper).
    dilations
        The first dilation d of each block, whose two convolutions have d and 2d. The paper's
        "4 x {1,2,4,8}" (16 layers) is ``(1, 4) * 4``, "6 x {1,2,4,8}" (24 layers) ``(1, 4) * 6``.
    separator
        Append id 0 to the input of the tasks after T1 and use its vector, as the authors' code does.
    """

    width: Size = 64
    dilations: Annotated[tuple[Size, ...], Field(min_length=1)] = (1, 4)
    separator: bool = False


@settings
class TrainConfig:
    """One training or retraining of one task.

    Parameters
    ----------
    epochs
        At most this many.
    learning_rate
        Of the optimiser.
    batch_size
        Instances per step (sequences for T1).
    patience
        Epochs without a better validation metric before training stops.
    labels_per_user
        At most this many instances of a user stand side by side in the shuffled order, so that one
        user vector serves them; 1 is a plain shuffle.
    share
        Of the training instances that are used, always the same ones (Table 3).
    loss
        Of T1: "softmax" or "sampled-softmax".
    negatives
        Share of the catalogue that the sampled softmax draws.
    rho
        Exponent of BPR's popularity sampler; ranking tasks only.
    l2
        Penalty on the output embedding.
    joint_weight
        Weight of T1's loss in MTL (lambda in the paper).
    optimizer
        "adam" or "sgd".
    table_updates
        "dense" is plain Adam. "rows" touches only the rows of the embedding and of T1's output layer
        that a step uses (large catalogues): the moments of the others do not decay meanwhile. It needs
        the sampled softmax, Adam and no l2.
    """

    epochs: Count = 10
    learning_rate: Rate = 0.001
    batch_size: Count = 32
    patience: Count = 2
    labels_per_user: Count = 1
    share: Share = 1.0
    loss: Literal["softmax", "sampled-softmax"] = "softmax"
    negatives: Share = 0.2
    rho: Annotated[float, Field(gt=0, lt=MAX_INT)] = 0.3
    l2: Annotated[float, Field(ge=0, lt=MAX_INT)] = 0.0
    joint_weight: Share = 0.1
    optimizer: Optimizer = "adam"
    table_updates: Literal["dense", "rows"] = "dense"

    @model_validator(mode="after")
    def _check_row_updates(self) -> "TrainConfig":
        needed = {"loss": "sampled-softmax", "optimizer": "adam", "l2": 0.0}
        for name, value in needed.items() if self.table_updates == "rows" else ():
            if (given := getattr(self, name)) != value:
                raise ValueError(f"{name}: found {given!r}, expected {value!r} with row updates")
        return self


@settings
class StudyConfig:
    """Everything that determines a study's results, beside the data's content and the code.

    Parameters
    ----------
    profile
        Name of this set of settings.
    data, model
        The stream and the network.
    train
        Settings per task, or per task and action as in ``"T2.finetune"`` (each method has settings of
        its own); ``"*"`` serves what is not named. ``"T1"`` and ``"*"`` must be there.
    retrain
        Fields of TrainConfig that differ from those of the action "train" when retraining.
    prune
        The share of its weights that each task gives back (Q in the paper), at least for ``"*"``.
    seeds
        Of initialisation, order and negatives.
    prune_embedding
        The same as ``prune`` for the embedding, which is pruned and retrained as well unless this is
        empty (Table 5).
    retrain_rate
        Learning rate of retraining relative to the one of training.
    threads
        Of PyTorch; results are bit-identical only at the same number.
    device
        "cpu" or "cuda".

    Raises
    ------
    ConfigError
        For a value that cannot be used, also one that would only show when a task is retrained.
    """

    profile: str
    data: DataConfig
    model: ModelConfig
    train: Mapping[str, TrainConfig]
    retrain: Mapping[str, Any]
    prune: Mapping[str, Ratio]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    prune_embedding: Mapping[str, Ratio] = field(default_factory=dict)
    retrain_rate: Annotated[float, Field(gt=0, lt=MAX_INT)] = 1.0
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    device: Device = "cpu"

    @model_validator(mode="after")
    def _check_consistency(self) -> "StudyConfig":
        for name, keys in (("train", ("T1", "*")), ("prune", ("*",)), ("prune_embedding", ("*",))):
            given = getattr(self, name)
            if (given or name != "prune_embedding") and (lacking := set(keys) - set(given)):
                raise ValueError(
                    f"{name}: found no {min(lacking)!r}, expected {' and '.join(keys)}"
                )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: found {self.seeds}, expected each seed once")
        for key in self.train:
            self.training(key.partition(".")[0], "retrain")
        return self

    def training(self, task: str, action: str = "train") -> TrainConfig:
        """Return the settings of an action on a task; those of "retrain" follow from those of "train"."""
        if action == "retrain":
            trained = self.training(task)
            rate = trained.learning_rate * self.retrain_rate
            return replace(trained, **{"learning_rate": rate, **self.retrain})
        return self.train.get(f"{task}.{action}", self.train.get(task, self.train["*"]))

    def pruned(self, task: str) -> dict[str, float]:
        """Return Q: the shares of "kernels" and maybe "embedding" that are pruned after a task."""
        ratios = {"kernels": self.prune.get(task, self.prune["*"])}
        if self.prune_embedding:
            ratios["embedding"] = self.prune_embedding.get(task, self.prune_embedding["*"])
        return ratios


def spec(config: ModelConfig | TrainConfig) -> dict[str, Any]:
    """Return the fields that differ from the defaults: an option that is off is no part of an id."""
    values = ((f, getattr(config, f.name)) for f in fields(config))
    return {f.name: value for f, value in values if f.default is MISSING or value != f.default}


def canonical(value: object) -> str:
    """Return JSON with sorted keys and no spaces: the same text for the same content."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be part of an id")


def content_id(value: object) -> str:
    """Return twelve hexadecimal digits that stand for the content."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:12]
