"""What determines a result, as frozen dataclasses that pydantic validates; ids by content."""

import functools
import hashlib
import json
import os
import reprlib
from collections.abc import Mapping
from dataclasses import MISSING, field, fields, replace
from typing import Annotated, Any, Literal, dataclass_transform

import numpy as np
from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from conure_lib.errors import ConfigError

PROTOCOL = 4  # in every stage id; raised if numbers change beyond one method (its ``revisions``)
MAX_INT = 2**31 - 1  # of anything that is counted, and of seeds
Count = Annotated[int, Field(ge=1, le=MAX_INT)]
Size = Annotated[int, Field(ge=1, le=2**16)]
Seed = Annotated[int, Field(ge=0, le=MAX_INT)]
Share = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(gt=0, lt=MAX_INT)]
Weight = Annotated[float, Field(ge=0, lt=MAX_INT)]


def explain(error: ValidationError, where: str) -> str:
    """Say in one line what pydantic refused first: plan.yaml, seed: found 'a', expected ...``."""
    first, *others = error.errors(include_url=False)
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"])
    place = f"{where}, {path.removeprefix('.')}:" if path else f"{where},"
    said = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    kind = first["type"]
    if kind.startswith("missing"):
        said = "found nothing, expected a value"
    elif kind in ("extra_forbidden", "unexpected_keyword_argument"):
        said = "found an unknown field, expected only known ones; check its name"
    elif kind == "string_pattern_mismatch":
        said = (
            f"found {shown(first['input'])}, expected text that matches {first['ctx']['pattern']}"
        )
    elif kind == "too_short":
        said = f"found too few, expected at least {first['ctx']['min_length']}"
    elif kind != "value_error":
        number = "a number " if said.startswith(("greater", "less")) else ""
        said = f"found {shown(first['input'])}, expected {number}{said}"
    return f"{place} {said}" + (f" (and {len(others)} more)" if others else "")


def shown(value: object) -> str:
    """Show a value in a message: short, and a number of NumPy as a number with its type."""
    if isinstance(value, np.generic):
        return f"{value.item()!r} ({value.dtype})"
    text = repr(value) if isinstance(value, str) else reprlib.repr(value)  # it may be nested deeply
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass_transform(frozen_default=True)
def settings(cls: type) -> type:
    """Make a frozen dataclass with strictly checked fields; a mistake is a one-line ConfigError."""
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    cls = dataclass(frozen=True, config=config)(cls)
    checked, names = cls.__init__, [f.name for f in fields(cls)]

    @functools.wraps(checked)
    def init(self, /, *args: object, **given: object) -> None:  # a field may be called self
        try:
            checked(self, **dict(zip(names, args, strict=False)), **given)
        except ValidationError as error:
            raise ConfigError(explain(error, cls.__name__)) from None

    cls.__init__ = init
    return cls


@settings
class DataConfig:
    """Which task stream: a name in the registry, and arguments of its builder."""

    dataset: str
    options: Mapping[str, Any] = field(default_factory=dict)


@settings
class ModelConfig:
    """Which network, and its size."""

    width: Size = 64  #: channels: k in the paper
    #: The first dilation d of each block of NextItNet, whose two convolutions have d and 2d: the
    #: paper's "4 x {1,2,4,8}" (16 layers) is ``(1, 4) * 4``.
    dilations: Annotated[tuple[Size, ...], Field(min_length=1)] = (1, 4)
    #: Append id 0 to the input of tasks after T1 and use its vector, as the authors' code does.
    separator: bool = False
    backbone: str = "nextitnet"  #: or "gru", "sasrec", another key of ``models.BACKBONES``
    layers: Size = 2  #: the number of blocks of any backbone but NextItNet
    heads: Size = 1  #: SASRec's attention heads
    positions: Size = 100  #: SASRec's, counted from the end; the last serves all further back
    #: GRU: read its last state, or all up to a position with learned attention (DUPN).
    pooling: Literal["last", "attention"] = "last"

    @model_validator(mode="after")
    def _check_heads(self) -> "ModelConfig":
        if self.width % self.heads:
            raise ValueError(f"heads: found {self.heads}, expected a divisor of {self.width}")
        return self

    @property
    def blocks(self) -> int:
        """How many residual blocks the network has."""
        return len(self.dilations) if self.backbone == "nextitnet" else self.layers

    @property
    def receptive_field(self) -> int:
        """How many items the last position reads: NextItNet's kernels have three taps."""
        return 1 + 6 * sum(self.dilations) if self.backbone == "nextitnet" else MAX_INT

    def resized(self, blocks: int) -> "ModelConfig":
        """Return this network with so many blocks; NextItNet's dilations go on as they repeat."""
        d = self.dilations
        cycle = next(n for n in range(1, len(d) + 1) if d == (d[:n] * len(d))[: len(d)])
        if self.backbone != "nextitnet":
            return replace(self, layers=blocks)
        return replace(self, dilations=tuple(d[i % cycle] for i in range(blocks)))


def dilations_for(length: int) -> tuple[int, ...]:
    """Return 1, 4, 16, ...: at least two blocks, whose last position reads the whole sequence."""
    dilations = (1, 4)
    while ModelConfig(dilations=dilations).receptive_field < length:
        dilations += (4 * dilations[-1],)
    return dilations


@settings
class TrainConfig:
    """One training or retraining of one task."""

    epochs: Count = 10  #: at most, of each of two phases
    learning_rate: Annotated[float, Field(gt=0, lt=10)] = 0.001
    batch_size: Count = 32  #: instances per step
    patience: Count = 2  #: so many epochs without a better validation value end a phase
    #: The second phase goes on from the best epoch at a learning rate this much lower; 0: without.
    final_rate: Annotated[float, Field(ge=0, le=1)] = 0.1
    #: So many instances of a user, at most, stand side by side in the shuffled order and share one
    #: user vector; 1 is a plain shuffle.
    labels_per_user: Count = 1
    share: Share = 1.0  #: of the training instances that are used, always the same ones (Table 3)
    #: Of T1 and of ranking tasks, "bpr" of the latter only; classification has always "softmax".
    loss: Literal["softmax", "sampled-softmax", "bpr"] = "softmax"
    negatives: Share = 0.2  #: the share of the labels that "sampled-softmax" draws
    rho: Factor = 0.3  #: exponent of BPR's popularity sampler
    l2: Weight = 0.0  #: penalty on the output embedding
    joint_weight: Share = 0.1  #: weight of T1's loss in MTL (lambda in the paper)
    retention: Weight = 1.0  #: of continual learners: the weight of what keeps old tasks
    temperature: Factor = 2.0  #: the softness of old answers that LwF hands on
    memory: Count = 1000  #: instances of each old task that replay keeps, at most
    dropout: Ratio = 0.0  #: share of a user vector's entries set to zero, anew for every instance
    optimizer: Literal["adam", "sgd"] = "adam"
    #: "dense" is plain Adam. "rows" (large catalogues) touches only the rows of the embedding and
    #: of the output weight that a step uses; the moments of the others do not decay meanwhile.
    table_updates: Literal["dense", "rows"] = "dense"

    @model_validator(mode="after")
    def _check_row_updates(self) -> "TrainConfig":
        given, needed = (self.loss, self.optimizer, self.l2), ("sampled-softmax", "adam", 0.0)
        if self.table_updates == "rows" and given != needed:
            raise ValueError(f"loss, optimizer, l2: found {given}, expected {needed} by rows")
        return self


@settings
class StudyConfig:
    """Everything that determines a study's results, beside the data's content and the code.

    A mapping by task has ``"*"`` for tasks that are not named.
    """

    profile: str  #: the name of this set of settings
    data: DataConfig
    model: ModelConfig
    train: Mapping[str, TrainConfig]  #: by task, or task and action: ``"T2.finetune"``
    retrain: Mapping[str, Any]  #: fields of TrainConfig that differ when retraining
    #: The share of its weights that each task gives back: Q. 0 leaves nothing to later tasks.
    prune: Mapping[str, Ratio]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]  #: of initialisation, order, negatives
    #: The same for the embedding, which is left alone if empty (Table 5).
    prune_embedding: Mapping[str, Ratio] = field(default_factory=dict)
    #: In place of ``prune``: search the largest share of the kernels whose retrained validation
    #: value is no more than this share of the unpruned one's below it, 5% if there is none.
    prune_margin: Mapping[str, Ratio] = field(default_factory=dict)
    #: Add a block before a later task if less than this share of the kernels is free; train it
    #: with another new block as well, and keep that if the best validation value without it is
    #: more than ``grow_margin`` (a share; 0 is without) below.
    grow_below: Ratio = 0.0
    grow_margin: Ratio = 0.0
    retrain_rate: Factor = 1.0  #: learning rate of retraining relative to that of training
    threads: Annotated[int, Field(ge=1, le=1024)] = 1  #: PyTorch's; the bits depend on them
    device: Literal["cpu", "cuda"] = "cpu"
    bpr: Mapping[str, TrainConfig] = field(default_factory=dict)  #: best settings with BPR
    # Of experiments beyond the paper:
    methods: tuple[str, ...] = ()  #: that are compared; all unless named
    #: The networks in NextItNet's place: fields of ModelConfig and T1's learning rate that differ.
    backbones: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    few_seeds: tuple[Seed, ...] = ()  #: on which they, and networks of other widths, run
    long_stream: Annotated[int, Field(ge=2, le=255)] = 30  #: tasks of a long stream
    #: By experiment: the points at which it varies something in place of its own, widths and ratios
    #: as numbers, others by name (``study.experiments.points_of``).
    points: Mapping[str, tuple[int | float | str, ...]] = field(default_factory=dict)

    @model_validator(mode="after")
    def _check_consistency(self) -> "StudyConfig":
        if lacking := {"T1", "*"} - self.train.keys():
            raise ValueError(f"train: found no {min(lacking)!r}, expected settings for it")
        for name in ("prune", "prune_embedding") if self.prune_embedding else ("prune",):
            if "*" not in getattr(self, name):
                raise ValueError(f"{name}: found no '*', expected a ratio for tasks not named")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: found {self.seeds}, expected each seed once")
        for key, own in self.train.items():
            task = key.partition(".")[0]
            again = self.training(task, "retrain")  # which checks what is retrained with, too
            if task == "T1" and "bpr" in (own.loss, again.loss):
                raise ValueError("train: found loss 'bpr' for T1, expected a softmax")
        return self

    def training(self, task: str, action: str = "train") -> TrainConfig:
        """Return an action's settings on a task; "start" and "retrain" follow from "train"."""
        if action == "start":
            return self.training(task)
        if action == "retrain":
            trained = self.training(task)
            rate = trained.learning_rate * self.retrain_rate
            return replace(trained, **{"learning_rate": rate, **self.retrain})
        return self.train.get(f"{task}.{action}", self.train.get(task, self.train["*"]))

    def pruned(self, task: str) -> dict[str, float]:
        """Return Q: the shares of "kernels" and maybe "embedding" that are pruned after a task."""
        ratios = {"kernels": self.prune, "embedding": self.prune_embedding}
        return {what: by.get(task, by["*"]) for what, by in ratios.items() if by}

    def margin(self, task: str) -> float | None:
        """Return the task's ``prune_margin``; None if its share is given."""
        return self.prune_margin.get(task, self.prune_margin.get("*"))


def spec(config: ModelConfig | TrainConfig) -> dict[str, Any]:
    """Return the fields that differ from the defaults: what is off is no part of an id."""
    values = ((f, getattr(config, f.name)) for f in fields(config))
    return {f.name: value for f, value in values if f.default is MISSING or value != f.default}


def canonical(value: object) -> str:
    """Return JSON with sorted keys and no spaces: the same text for the same content."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=os.fspath)


def content_id(value: object) -> str:
    """Return twelve hexadecimal digits that stand for the content."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:12]
