"""The committed settings: one set a dataset, chosen by ``conure tune``, and which seeds a profile runs them on."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from conure_lib import paths
from conure_lib.config import DataConfig, ModelConfig, StudyConfig, TrainConfig
from conure_lib.errors import ConfigError
from conure_lib.files import read_json

TTL_RATIOS = {"T1": 0.7, "T2": 0.8, "T3": 0.9, "T4": 0.8, "T5": 0.9, "T6": 0.9, "*": 0.9}
EMBEDDING_RATIOS = {"T1": 0.3, "T2": 0.8, "T3": 0.8, "*": 0.8}
"""The paper's shares to prune, of the kernels (TTL) and of the embedding (Table 5)."""

_T1 = TrainConfig(epochs=25, learning_rate=0.01, patience=3)
_RANKING = TrainConfig(
    epochs=30, batch_size=512, patience=3, labels_per_user=8, learning_rate=0.001, l2=0.01
)
_CLASSES = TrainConfig(epochs=30, batch_size=64, patience=4, learning_rate=0.001)
_BASE: dict[str, Any] = {
    "model": ModelConfig(width=64, dilations=(1, 4) * 2),
    "train": {"T1": _T1, "T2": _RANKING, "T3": _RANKING, "*": _CLASSES},
    "retrain": {"epochs": 5},
    "retrain_rate": 0.1,
    "prune": TTL_RATIOS,
}
"""What the search starts from."""


_COMPLETE_JOURNEY = _BASE | {
    "data": DataConfig("complete-journey"),
    "train": _BASE["train"]
    | {"T1": replace(_T1, epochs=8, batch_size=128, patience=2, loss="sampled-softmax")},
}
_ML_100K = _BASE | {"data": DataConfig("ml-100k")}
_SYNTHETIC = _BASE | {
    "data": DataConfig("synthetic", {"n_users": 6000}),
    "model": ModelConfig(width=32, dilations=(1, 4)),
    "train": _BASE["train"] | {"T1": replace(_T1, batch_size=128)},
}

_SMOKE = TrainConfig(epochs=3, learning_rate=0.01, batch_size=64, labels_per_user=4)
_SMOKE_DATA = {"n_users": 400, "n_items": 64, "n_labels": 32, "length": 10, "structure": 0.6}

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
    "standard": {
        "complete-journey": _COMPLETE_JOURNEY | {"seeds": (1, 2, 3, 4, 5)},
        "ml-100k": _ML_100K | {"seeds": tuple(range(1, 11))},
        "synthetic": _SYNTHETIC | {"seeds": (1, 2, 3, 4, 5)},
    },
}
"""Profile -> dataset -> fields of StudyConfig before the search. ``quick`` is ``standard`` on fewer seeds."""


def study_config(
    dataset: str, profile: str, seeds: tuple[int, ...] | None = None, tuned: bool = True
) -> StudyConfig:
    """The committed settings of a dataset under a profile; ``seeds`` replaces the profile's own.

    tuned: with what the search chose (``conure_lib/settings``), else what it starts from.
    Raises ConfigError for a dataset or profile without settings.
    """
    known = PROFILES.get(profile) if isinstance(profile, str) else None
    if known is None:
        raise ConfigError(f"profile {profile!r} is unknown; known are {', '.join(PROFILES)}")
    if not isinstance(dataset, str) or dataset not in known:
        raise ConfigError(
            f"profile {profile!r} has no settings for {dataset!r}; it has {', '.join(known)}"
        )
    config = StudyConfig(profile=profile, **known[dataset])
    if tuned and profile != "smoke":
        config = with_chosen(config)
    if seeds is None:
        return config
    return replace(config, seeds=tuple(seeds) if isinstance(seeds, Iterable) else seeds)


def with_chosen(config: StudyConfig) -> StudyConfig:
    """The settings with what the search chose for this dataset, if it was run.

    Raises ConfigError that names the file and the field that cannot be used.
    """
    path = paths.settings(config.data.dataset)
    if not path.is_file():
        return config
    try:
        chosen = read_json(path)
        model = ModelConfig(**chosen["model"] | {"dilations": tuple(chosen["model"]["dilations"])})
        train = {key: TrainConfig(**settings) for key, settings in chosen["train"].items()}
        return replace(
            config,
            model=model,
            retrain_rate=chosen["retrain_rate"],
            train={**config.train, **train},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        found = error if isinstance(error, ValueError) else repr(error)
        raise ConfigError(
            f"{path}: found {found}; wanted: what conure tune writes; run it again"
        ) from error
