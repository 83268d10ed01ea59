"""Profiles, the committed settings of datasets, and the parameters of notebooks."""

import json
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from conure_lib import paths
from conure_lib.config import StudyConfig, explain, shown
from conure_lib.data.stream import FOLD_SEEDS
from conure_lib.errors import ConfigError
from conure_lib.files import read_json

REPORTED = ("complete-journey", "ml-100k", "oulad", "synthetic")  # with ``standard``
PROFILES = {  # -> datasets
    "smoke": ("synthetic",),  # a test
    "quick": ("complete-journey", "ml-100k"),  # a look at the next one
    "standard": (*REPORTED, "ml-1m", "ml-latest-small"),
    "paper": ("ttl", "ml-25m", "ml-32m", "ml-latest-small", "ml-1m"),  # its hyper-parameters
}
OPTIONS, DEVICE = "CONURE_OPTIONS", "CONURE_DEVICE"  # which notebooks inherit from a command
RESULTS = ("committed", "local")  # the evidence of a profile, or one's own run
PARAMETERS = ("DATASET", "PROFILE", "SEEDS", "RESULTS")  # that every notebook takes


def study_config(
    dataset: str, profile: str, seeds: Iterable[int] | None = None, tuned: bool = True
) -> StudyConfig:
    """Return the committed settings of a dataset under a profile.

    They are those of its file under "base", then "chosen" (by ``conure tune``; not unless
    ``tuned``), then what the profile itself changes; of a file that serves several datasets, "base"
    with what it holds for this one. The environment has more options of the dataset
    (CONURE_OPTIONS, in JSON) and the device (CONURE_DEVICE). seeds: a list in place of the
    profile's, of 1 to 6, each with its own test fold; of any where "split" is not "folds".
    """
    demand_known("profile", profile, PROFILES)
    demand_known(f"dataset of the profile {profile}", dataset, PROFILES[profile])
    device = os.environ.get(DEVICE) or "cpu"
    demand_known(DEVICE, device, ("cpu", "cuda"))
    try:
        added = dict(json.loads(os.environ.get(OPTIONS) or "{}"))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{OPTIONS}: found no JSON object ({error}), expected one") from error
    path = paths.settings(dataset, profile)
    try:
        settings = read_settings(dataset, profile)
        fields = settings["base"] | {"profile": profile, "device": device}
        for name, own in settings.get("datasets", {}).get(dataset, {}).items():
            fields[name] = fields.get(name, {}) | own
        if tuned and (chosen := settings.get("chosen")):
            fields |= chosen | {"train": fields["train"] | chosen["train"]}
        options = fields["data"].get("options", {}) | added
        fields["data"] = {"dataset": dataset, "options": options}
        own = json.dumps(fields | settings["profiles"][profile])
        config = TypeAdapter(StudyConfig).validate_json(own)
    except ValidationError as error:
        raise ConfigError(explain(error, str(path))) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: found {error!r}, expected what conure tune wrote") from error
    if seeds is None:
        return config
    if not isinstance(seeds, list | tuple):
        expected = "None or a list of distinct integers such as [1, 2]"
        raise ConfigError(f"seeds: found {shown(seeds)}, expected {expected}")
    config, folds = replace(config, seeds=tuple(seeds)), options.get("split", "folds") == "folds"
    if strange := [seed for seed in seeds if folds and seed not in FOLD_SEEDS]:
        expected = f"expected {FOLD_SEEDS[0]} to {FOLD_SEEDS[-1]}, the six test folds"
        raise ConfigError(f"seeds: found {strange[0]}, {expected}")
    return config


def read_settings(dataset: str, profile: str) -> dict[str, Any]:
    """Read the file of settings; what it does not hold is in the file that it is "like"."""
    settings = read_json(path := paths.settings(dataset, profile))
    like = settings.get("like")
    return (read_json(path.with_name(f"{like}.json")) if like else {}) | settings


def injected() -> set[str]:
    """Return the names of the parameters that papermill has put into this kernel, if it has."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    cells = shell.user_ns.get("In", ()) if shell else ()
    given = "".join(cell for cell in cells if cell.startswith("# Parameters\n"))
    return set(re.findall(r"(?m)^(\w+) = ", given))


def demand_known(name: str, value: object, known: Iterable[str]) -> None:
    """Raise ConfigError for a value that is none of those known."""
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{name}: found {shown(value)}, expected {' or '.join(known)}")
