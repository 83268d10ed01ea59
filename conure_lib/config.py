"""What determines a result, as frozen dataclasses; the profiles; ids by content."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

PROTOCOL = 2
"""Goes into every stage id. Raise it with any change of the code that changes numbers."""

OPTIMIZERS = ("adam", "sgd")
T1_LOSSES = ("softmax", "sampled-softmax")
DEVICES = ("cpu", "cuda")
PATCHES = ("serial", "parallel")
TABLE_UPDATES = ("dense", "rows")


class ConfigError(ValueError):
    """A setting that cannot be used. The message names the field, what was found and what is wanted."""


def _demand(ok: bool, owner: object, name: str, wanted: str) -> None:
    if not ok:
        raise ConfigError(f"{type(owner).__name__}.{name} = {getattr(owner, name)!r}; wanted: {wanted}")


def _in(value: object, low: float, high: float) -> bool:
    """Whether it is a number strictly between the bounds."""
    return isinstance(value, int | float) and low < value < high


@dataclass(frozen=True)
class DataConfig:
    """Which stream. ``options`` go to the dataset's builder (see ``conure_lib.data``)."""

    dataset: str
    options: Mapping[str, Any] = field(default_factory=dict)


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
        _demand(isinstance(self.width, int) and self.width >= 1, self, "width", "an integer of at least 1")
        ok = isinstance(self.dilations, tuple) and len(self.dilations) > 0
        ok = ok and all(isinstance(d, int) and d >= 1 for d in self.dilations)
        _demand(ok, self, "dilations", "a non-empty tuple of integers of at least 1")
        _demand(isinstance(self.separator, bool), self, "separator", "True or False")


@dataclass(frozen=True)
class TrainConfig:
    """One training or retraining of one task.

    batch_size: instances a step (sequences for T1). patience: epochs without a better validation metric
    before stopping. labels_per_user: at most this many instances of a user stand side by side in the shuffled
    order, so that one user vector serves them; 1 is a plain shuffle. loss and negatives (share of the
    catalogue): T1 only. rho: popularity sampler of BPR, ranking tasks only. l2: on the output embedding.
    table_updates: "dense" is plain Adam; "rows" touches only the rows of the embedding and of T1's output
    layer that a step uses (large catalogues, sampled softmax): the moments of the others do not decay
    meanwhile, and there is no l2.
    """

    epochs: int = 10
    learning_rate: float = 0.001
    batch_size: int = 32
    patience: int = 2
    labels_per_user: int = 1
    loss: str = "softmax"
    negatives: float = 0.2
    rho: float = 0.3
    l2: float = 0.0
    optimizer: str = "adam"
    table_updates: str = "dense"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "labels_per_user"):
            value = getattr(self, name)
            _demand(isinstance(value, int) and value >= 1, self, name, "an integer of at least 1")
        _demand(_in(self.learning_rate, 0, 10), self, "learning_rate", "a number between 0 and 10")
        _demand(_in(self.negatives, 0, 1) or self.negatives == 1, self, "negatives", "a share in (0, 1]")
        _demand(_in(self.rho, 0, math.inf), self, "rho", "a number above 0")
        _demand(_in(self.l2, 0, math.inf) or self.l2 == 0, self, "l2", "a number of at least 0")
        for name in ("learning_rate", "negatives", "rho", "l2"):  # 0 and 0.0 are one setting with one id
            object.__setattr__(self, name, float(getattr(self, name)))
        _demand(self.optimizer in OPTIMIZERS, self, "optimizer", " or ".join(OPTIMIZERS))
        _demand(self.loss in T1_LOSSES, self, "loss", " or ".join(T1_LOSSES))
        _demand(self.table_updates in TABLE_UPDATES, self, "table_updates", " or ".join(TABLE_UPDATES))
        if self.table_updates == "rows":
            _demand(self.loss == "sampled-softmax", self, "loss", "sampled-softmax, if table_updates is rows")
            _demand(self.optimizer == "adam", self, "optimizer", "adam, if table_updates is rows")
            _demand(self.l2 == 0, self, "l2", "0, if table_updates is rows")


@dataclass(frozen=True)
class StudyConfig:
    """Everything that determines a study's results, beside the data's content and the code.

    train: settings per task name; ``"*"`` serves the tasks not named. retrain: what differs when retraining,
    where the learning rate is ``retrain_rate`` times the one of training.
    prune: the share pruned away after each task (Q in the paper), per task. seeds: of initialisation, order
    and negatives. threads: of PyTorch; results are bit-identical only at the same number.
    device: "cpu" or "cuda". joint_weight: of T1's loss in MTL (lambda). patch: PeterRec's, "serial" or
    "parallel".
    """

    profile: str
    data: DataConfig
    model: ModelConfig
    train: Mapping[str, TrainConfig]
    retrain: Mapping[str, Any]
    prune: Mapping[str, float]
    seeds: tuple[int, ...]
    retrain_rate: float = 1.0
    threads: int = 1
    device: str = "cpu"
    joint_weight: float = 0.1
    patch: str = "serial"

    def __post_init__(self) -> None:
        _demand("T1" in self.train and "*" in self.train, self, "train", "settings for 'T1' and '*'")
        _demand("*" in self.prune, self, "prune", "a ratio for '*' (tasks that are not named)")
        ok = all(_in(ratio, 0, 1) for ratio in self.prune.values())
        _demand(ok, self, "prune", "shares above 0 and below 1, e.g. 0.7 to prune 70%")
        ok = len(self.seeds) > 0 and all(isinstance(s, int) and s >= 0 for s in self.seeds)
        _demand(ok and len(set(self.seeds)) == len(self.seeds), self, "seeds", "distinct integers of at least 0")
        _demand(isinstance(self.threads, int) and self.threads >= 1, self, "threads", "an integer of at least 1")
        _demand(self.device in DEVICES, self, "device", " or ".join(DEVICES))
        _demand(_in(self.joint_weight, 0, 1) or self.joint_weight == 1, self, "joint_weight", "a factor in (0, 1]")
        _demand(self.patch in PATCHES, self, "patch", " or ".join(PATCHES))
        unknown = set(self.retrain) - {f.name for f in fields(TrainConfig)}
        _demand(not unknown, self, "retrain", f"fields of TrainConfig; unknown: {sorted(unknown)}")
        _demand(_in(self.retrain_rate, 0, math.inf), self, "retrain_rate", "a number above 0")
        for task in self.train:
            self.training(task, retrain=True)  # a bad value is refused here, not after hours of training

    def training(self, task: str, retrain: bool = False) -> TrainConfig:
        """The settings to train (or retrain) this task with."""
        settings = self.train.get(task, self.train["*"])
        if not retrain:
            return settings
        return replace(settings, **{"learning_rate": settings.learning_rate * self.retrain_rate, **self.retrain})

    def pruned(self, task: str) -> float:
        """Q: the share of the free weights that is given back after this task."""
        return self.prune.get(task, self.prune["*"])


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: the same text for the same content."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} cannot be part of an id")


def content_id(value: object) -> str:
    """Twelve hexadecimal digits that stand for the content."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:12]


TTL_RATIOS = {"T1": 0.7, "T2": 0.8, "T3": 0.9, "T4": 0.8, "T5": 0.9, "T6": 0.9, "*": 0.9}
ML_RATIOS = {"T1": 0.7, "T2": 0.8, "T3": 0.7, "*": 0.7}


def study_config(dataset: str, profile: str, seeds: tuple[int, ...] | None = None) -> StudyConfig:
    """The committed settings of a dataset under a profile; ``seeds`` replaces the profile's own.

    Raises ConfigError for a dataset or profile without settings.
    """
    known = PROFILES.get(profile)
    if known is None:
        raise ConfigError(f"profile {profile!r} is unknown; known are {', '.join(PROFILES)}")
    if dataset not in known:
        raise ConfigError(f"profile {profile!r} has no settings for {dataset!r}; it has {', '.join(known)}")
    config = StudyConfig(profile=profile, **known[dataset])
    return replace(config, seeds=tuple(seeds)) if seeds else config


_SMOKE_DATA = {"n_users": 400, "n_items": 64, "n_labels": 32, "length": 10, "structure": 0.6}
_SMOKE = TrainConfig(epochs=3, learning_rate=0.01, batch_size=64, labels_per_user=4)
_RANKING = TrainConfig(epochs=15, batch_size=512, patience=3, labels_per_user=8, learning_rate=0.0003, l2=0.01)
_CLASSES = TrainConfig(epochs=15, batch_size=64, patience=4, learning_rate=0.0003)
_REAL = {
    "model": ModelConfig(width=64, dilations=(1, 4) * 2),
    "retrain": {"epochs": 5},
    "retrain_rate": 0.1,
    "prune": TTL_RATIOS,
}
_COMPLETE_JOURNEY = _REAL | {
    "data": DataConfig("complete-journey"),
    "train": {
        "T1": TrainConfig(epochs=8, learning_rate=0.01, batch_size=128, loss="sampled-softmax"),
        "T2": replace(_RANKING, learning_rate=0.001),
        "T3": replace(_RANKING, learning_rate=0.001),
        "T4": replace(_CLASSES, learning_rate=0.003),
        "T6": replace(_CLASSES, learning_rate=0.001),
        "*": _CLASSES,
    },
}
_ML_100K = _REAL | {
    "data": DataConfig("ml-100k"),
    "train": {
        "T1": TrainConfig(epochs=25, learning_rate=0.01, patience=4),
        "T2": _RANKING,
        "T3": replace(_RANKING, l2=0.001),
        "T5": replace(_CLASSES, learning_rate=0.003),
        "T6": replace(_CLASSES, learning_rate=0.003),
        "*": _CLASSES,
    },
}

PROFILES: dict[str, dict[str, dict]] = {
    "smoke": {
        "synthetic": {
            "data": DataConfig("synthetic", _SMOKE_DATA),
            "model": ModelConfig(width=16, dilations=(1,)),
            "train": {"T1": TrainConfig(epochs=6, learning_rate=0.02, batch_size=32), "*": _SMOKE},
            "retrain": {"epochs": 2},
            "prune": TTL_RATIOS,
            "seeds": (1,),
        },
    },
    "quick": {
        "complete-journey": _COMPLETE_JOURNEY | {"seeds": (1,)},
        "ml-100k": _ML_100K | {"seeds": (1, 2, 3)},
    },
}
"""Profile -> dataset -> fields of StudyConfig. Settings chosen by ``conure tune`` (results/tuning)."""
