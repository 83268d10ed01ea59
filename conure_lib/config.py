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

PROTOCOL = 4  # in every stage id; raise it with any change of the code that changes numbers
MAX_INT = 2**31 - 1  # of anything that is counted, and of seeds
Count = Annotated[int, Field(ge=1, le=MAX_INT)]
Size = Annotated[int, Field(ge=1, le=2**16)]
Seed = Annotated[int, Field(ge=0, le=MAX_INT)]
Share = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(gt=0, lt=MAX_INT)]
Weight = Annotated[float, Field(ge=0, lt=MAX_INT)]


def explain(error: ValidationError, where: str) -> str:
    """Say in one line what pydantic refused first.

    Example: ``plan.yaml, tasks[1].kind: found 'rank', expected 'ranking' or 'classification'``.
    """
    first, *others = error.errors(include_url=False)
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"])
    place = f"{where}, {path.removeprefix('.')}:" if path else f"{where},"
    said = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    kind = first["type"]
    if kind.startswith("missing"):
        said = "found nothing, expected a value"
    elif kind in ("extra_forbidden", "unexpected_keyword_argument"):
        said = "found an unknown field, expected only known ones; check its name"
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
    def init(self, *args: object, **given: object) -> None:
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
    """Which network, and its size.

    Parameters
    ----------
    width, dilations
        Channels (k in the paper), and the first dilation d of each block of NextItNet, whose two
        convolutions have d and 2d: the paper's "4 x {1,2,4,8}" (16 layers) is ``(1, 4) * 4``.
    separator
        Append id 0 to the input of tasks after T1 and use its vector, as the authors' code does.
    backbone, layers
        "nextitnet", "gru", "sasrec" or another key of ``models.BACKBONES``; the number of blocks
        of any but NextItNet.
    heads, positions
        SASRec's attention heads and learned positions, counted from the end; the last one serves
        all that are further back.
    pooling
        GRU: read its "last" state, or all up to a position with learned "attention" (DUPN).
    """

    width: Size = 64
    dilations: Annotated[tuple[Size, ...], Field(min_length=1)] = (1, 4)
    separator: bool = False
    backbone: str = "nextitnet"
    layers: Size = 2
    heads: Size = 1
    positions: Size = 100
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
    """One training or retraining of one task.

    Parameters
    ----------
    epochs, patience
        At most this many of each phase; how many without a better validation value end it.
    final_rate
        After that training goes on from the best epoch at a learning rate this much lower, under
        the same rule; 0 is without this second phase.
    learning_rate, optimizer, l2
        Of the optimiser ("adam" or "sgd"), and the penalty on the output embedding.
    batch_size, labels_per_user
        Instances per step, of which at most so many of one user stand side by side in the shuffled
        order and share one user vector; 1 is a plain shuffle.
    share
        Of the training instances that are used, always the same ones (Table 3).
    loss, negatives
        Of T1 and of ranking tasks, "bpr" of the latter only (classification: always "softmax");
        the share of the labels that "sampled-softmax" draws.
    rho, joint_weight
        Exponent of BPR's popularity sampler; weight of T1's loss in MTL (lambda in the paper).
    retention, temperature, memory
        Of continual learners: the weight of what keeps old tasks, the softness of old answers that
        LwF hands on, and the instances of each old task that replay keeps.
    dropout
        Share of a user vector's entries that training sets to zero, anew for every instance.
    table_updates
        "dense" is plain Adam. "rows" (large catalogues) touches only the rows of the embedding and
        of the output weight that a step uses; the moments of the others do not decay meanwhile.
    """

    epochs: Count = 10
    learning_rate: Annotated[float, Field(gt=0, lt=10)] = 0.001
    batch_size: Count = 32
    patience: Count = 2
    final_rate: Annotated[float, Field(ge=0, le=1)] = 0.1
    labels_per_user: Count = 1
    share: Share = 1.0
    loss: Literal["softmax", "sampled-softmax", "bpr"] = "softmax"
    negatives: Share = 0.2
    rho: Factor = 0.3
    l2: Weight = 0.0
    joint_weight: Share = 0.1
    retention: Weight = 1.0
    temperature: Factor = 2.0
    memory: Count = 1000
    dropout: Ratio = 0.0
    optimizer: Literal["adam", "sgd"] = "adam"
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

    Parameters
    ----------
    profile, data, model
        The name of this set of settings, the stream, and the network.
    train
        Settings per task, or per task and action as in ``"T2.finetune"``. ``"T1"`` and ``"*"``,
        which serves what is not named, must be there.
    retrain, retrain_rate
        Fields of TrainConfig that differ when retraining, and the relative learning rate.
    prune, prune_embedding
        The share of its weights that each task gives back (Q in the paper), with ``"*"`` for tasks
        that are not named; the same for the embedding, which is left alone if empty (Table 5).
    prune_margin
        By task, or "*": search the share of the kernels in place of ``prune``, the largest whose
        retrained validation value is no more than this share of the unpruned one's below it.
    grow_below, grow_margin
        Before a later task is trained, add a block if less than this share of the kernels is free;
        0 leaves nothing to later tasks. Train it with another new block as well, and keep that if
        the best validation value without it is more than this share below; 0 is without.
    seeds, threads, device
        Of initialisation, order and negatives; PyTorch's threads (the bits depend on them);
        "cpu" or "cuda".
    bpr, size_seeds
        Of two experiments: the best settings with BPR by task; the seeds on which widths vary.
    methods, backbones, few_seeds, long_stream
        Of experiments beyond the paper: the compared methods, all unless named; the networks in
        NextItNet's place, each with its fields of ModelConfig and T1's learning rate where they
        differ; the seeds on which these experiments run; the number of tasks of a long stream.
    """

    profile: str
    data: DataConfig
    model: ModelConfig
    train: Mapping[str, TrainConfig]
    retrain: Mapping[str, Any]
    prune: Mapping[str, Ratio]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    prune_embedding: Mapping[str, Ratio] = field(default_factory=dict)
    prune_margin: Mapping[str, Ratio] = field(default_factory=dict)
    grow_below: Ratio = 0.0
    grow_margin: Ratio = 0.0
    retrain_rate: Factor = 1.0
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    device: Literal["cpu", "cuda"] = "cpu"
    bpr: Mapping[str, TrainConfig] = field(default_factory=dict)
    size_seeds: tuple[Seed, ...] = ()
    methods: tuple[str, ...] = ()
    backbones: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    few_seeds: tuple[Seed, ...] = ()
    long_stream: Annotated[int, Field(ge=2, le=255)] = 30

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
        """Return an action's settings on a task; those of "retrain" follow from "train"."""
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
