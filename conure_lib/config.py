"""What determines a result, as frozen dataclasses; ids by content."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from conure_lib.errors import ConfigError

PROTOCOL = 2
"""Goes into every stage id. Raise it with any change of the code that changes numbers."""

OPTIMIZERS = ("adam", "sgd")
T1_LOSSES = ("softmax", "sampled-softmax")
DEVICES = ("cpu", "cuda")
PATCHES = ("serial", "parallel")
TABLE_UPDATES = ("dense", "rows")
MAX_INT = 2**31 - 1  # of anything that is counted, seeds too
MAX_WIDTH = 2**16  # of a layer or a dilation
MAX_THREADS = 1024


def _demand(ok: bool, owner: object, name: str, wanted: str) -> None:
    if not ok:
        raise ConfigError(
            f"{type(owner).__name__}.{name} = {getattr(owner, name)!r}; wanted: {wanted}"
        )


def _in(value: object, low: float, high: float) -> bool:
    """Whether it is a number strictly between the bounds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low < value < high


def _whole(value: object, low: int, high: int) -> bool:
    """Whether it is an integer from ``low`` to ``high``; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


@dataclass(frozen=True)
class DataConfig:
    """Which stream. ``options`` go to the dataset's builder (see ``conure_lib.data``)."""

    dataset: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _demand(isinstance(self.dataset, str), self, "dataset", "a name")
        ok = isinstance(self.options, Mapping) and all(
            isinstance(name, str) for name in self.options
        )
        _demand(ok, self, "options", "option names and their values")


@dataclass(frozen=True)
class ModelConfig:
    """NextItNet's size. dilations: the first dilation d of each block, whose convolutions have d and 2d.

    The paper's "4 x {1,2,4,8}" (16 layers) is ``(1, 4) * 4``, "6 x {1,2,4,8}" (24 layers) ``(1, 4) * 6``.
    separator: append id 0 to the input of the tasks after T1 and use its vector, as the authors' code does.
    """

    width: int = 64
    dilations: tuple[int, ...] = (1, 4)
    separator: bool = False

    def __post_init__(self) -> None:
        _demand(
            _whole(self.width, 1, MAX_WIDTH), self, "width", f"an integer from 1 to {MAX_WIDTH}"
        )
        ok = isinstance(self.dilations, tuple) and len(self.dilations) > 0
        ok = ok and all(_whole(d, 1, MAX_WIDTH) for d in self.dilations)
        _demand(ok, self, "dilations", f"a non-empty tuple of integers from 1 to {MAX_WIDTH}")
        _demand(isinstance(self.separator, bool), self, "separator", "True or False")


@dataclass(frozen=True)
class TrainConfig:
    """One training or retraining of one task.

    batch_size: instances a step (sequences for T1). patience: epochs without a better validation metric
    before stopping. labels_per_user: at most this many instances of a user stand side by side in the shuffled
    order, so that one user vector serves them; 1 is a plain shuffle. share: of the training instances that are
    used, always the same ones (Table 3). loss and negatives (share of the catalogue): T1 only. rho: popularity
    sampler of BPR, ranking tasks only. l2: on the output embedding. joint_weight: of T1's loss, MTL only (lambda).
    table_updates: "dense" is plain Adam; "rows" touches only the rows of the embedding and of T1's output
    layer that a step uses (large catalogues, sampled softmax): the moments of the others do not decay
    meanwhile, and there is no l2.
    """

    epochs: int = 10
    learning_rate: float = 0.001
    batch_size: int = 32
    patience: int = 2
    labels_per_user: int = 1
    share: float = 1.0
    loss: str = "softmax"
    negatives: float = 0.2
    rho: float = 0.3
    l2: float = 0.0
    joint_weight: float = 0.1
    optimizer: str = "adam"
    table_updates: str = "dense"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "labels_per_user"):
            _demand(
                _whole(getattr(self, name), 1, MAX_INT),
                self,
                name,
                f"an integer from 1 to {MAX_INT}",
            )
        _demand(_in(self.learning_rate, 0, 10), self, "learning_rate", "a number between 0 and 10")
        shares = ("share", "negatives", "joint_weight")
        for name in shares:
            value = getattr(self, name)
            _demand(_in(value, 0, 2) and value <= 1, self, name, "a share in (0, 1]")
        _demand(_in(self.rho, 0, MAX_INT), self, "rho", f"a number between 0 and {MAX_INT}")
        _demand(
            _in(self.l2, -1, MAX_INT) and self.l2 >= 0,
            self,
            "l2",
            f"a number of at least 0, below {MAX_INT}",
        )
        for name in (
            *shares,
            "learning_rate",
            "rho",
            "l2",
        ):  # 0 and 0.0 are one setting with one id
            object.__setattr__(self, name, float(getattr(self, name)))
        _demand(self.optimizer in OPTIMIZERS, self, "optimizer", " or ".join(OPTIMIZERS))
        _demand(self.loss in T1_LOSSES, self, "loss", " or ".join(T1_LOSSES))
        _demand(
            self.table_updates in TABLE_UPDATES, self, "table_updates", " or ".join(TABLE_UPDATES)
        )
        if self.table_updates == "rows":
            _demand(
                self.loss == "sampled-softmax",
                self,
                "loss",
                "sampled-softmax, if table_updates is rows",
            )
            _demand(self.optimizer == "adam", self, "optimizer", "adam, if table_updates is rows")
            _demand(self.l2 == 0, self, "l2", "0, if table_updates is rows")


@dataclass(frozen=True)
class StudyConfig:
    """Everything that determines a study's results, beside the data's content and the code.

    train: settings per task, or per task and action as in ``"T2.finetune"`` (each method has settings of its
    own); ``"*"`` serves what is not named. retrain: what differs from the action ``train`` when retraining,
    where the learning rate is ``retrain_rate`` times the one of training.
    prune: the share pruned away after each task (Q in the paper), per task. prune_embedding: the same for the
    embedding, which is pruned and retrained as well if this is not empty (Table 5). seeds: of initialisation,
    order and negatives. threads: of PyTorch; results are bit-identical only at the same number.
    device: "cpu" or "cuda".
    """

    profile: str
    data: DataConfig
    model: ModelConfig
    train: Mapping[str, TrainConfig]
    retrain: Mapping[str, Any]
    prune: Mapping[str, float]
    seeds: tuple[int, ...]
    prune_embedding: Mapping[str, float] = field(default_factory=dict)
    retrain_rate: float = 1.0
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        _demand(isinstance(self.profile, str), self, "profile", "a name")
        for name, kind in (("data", DataConfig), ("model", ModelConfig)):
            _demand(isinstance(getattr(self, name), kind), self, name, f"a {kind.__name__}")
        for name in ("train", "retrain", "prune", "prune_embedding"):
            ok = isinstance(getattr(self, name), Mapping) and all(
                isinstance(k, str) for k in getattr(self, name)
            )
            _demand(ok, self, name, "names and their values")
        ok = all(isinstance(settings, TrainConfig) for settings in self.train.values())
        _demand(
            ok and {"T1", "*"} <= self.train.keys(),
            self,
            "train",
            "a TrainConfig for 'T1' and '*' at least",
        )
        _demand("*" in self.prune, self, "prune", "a ratio for '*' (tasks that are not named)")
        ok = not self.prune_embedding or "*" in self.prune_embedding
        _demand(ok, self, "prune_embedding", "nothing, or a ratio for '*' as well")
        for name in ("prune", "prune_embedding"):
            ok = all(_in(ratio, 0, 1) for ratio in getattr(self, name).values())
            _demand(ok, self, name, "shares above 0 and below 1, e.g. 0.7 to prune 70%")
        ok = (
            isinstance(self.seeds, tuple)
            and len(self.seeds) > 0
            and all(_whole(s, 0, MAX_INT) for s in self.seeds)
        )
        wanted = f"a tuple of distinct integers from 0 to {MAX_INT}"
        _demand(ok and len(set(self.seeds)) == len(self.seeds), self, "seeds", wanted)
        wanted = f"an integer from 1 to {MAX_THREADS}"
        _demand(_whole(self.threads, 1, MAX_THREADS), self, "threads", wanted)
        _demand(self.device in DEVICES, self, "device", " or ".join(DEVICES))
        unknown = set(self.retrain) - {f.name for f in fields(TrainConfig)}
        _demand(not unknown, self, "retrain", f"fields of TrainConfig; unknown: {sorted(unknown)}")
        _demand(
            _in(self.retrain_rate, 0, MAX_INT),
            self,
            "retrain_rate",
            f"a number between 0 and {MAX_INT}",
        )
        for key in self.train:
            self.training(
                key.partition(".")[0], "retrain"
            )  # a bad value is refused here, not after hours

    def training(self, task: str, action: str = "train") -> TrainConfig:
        """The settings of an action on a task; those of "retrain" follow from those of "train"."""
        if action == "retrain":
            settings = self.training(task)
            rate = settings.learning_rate * self.retrain_rate
            return replace(settings, **{"learning_rate": rate, **self.retrain})
        return self.train.get(f"{task}.{action}", self.train.get(task, self.train["*"]))

    def pruned(self, task: str) -> dict[str, float]:
        """Q: the shares of the free weights given back after this task, of "kernels" and maybe "embedding"."""
        ratios = {"kernels": self.prune.get(task, self.prune["*"])}
        if self.prune_embedding:
            ratios["embedding"] = self.prune_embedding.get(task, self.prune_embedding["*"])
        return ratios


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: the same text for the same content."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be part of an id")


def content_id(value: object) -> str:
    """Twelve hexadecimal digits that stand for the content."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:12]
