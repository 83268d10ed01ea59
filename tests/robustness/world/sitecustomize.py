"""On PYTHONPATH: every process of a campaign's study, kernels included, knows the profile ``faults``.

It is the profile ``smoke``, smaller still and under another name: so its records are published, and its notebooks
demand what they need instead of computing it, as in the profile that is reported.
"""

from dataclasses import replace

from conure_lib.config import DataConfig
from conure_lib.study import profiles

SETTINGS = profiles.PROFILES["smoke"]["synthetic"]
TRAIN = {name: replace(settings, epochs=2) for name, settings in SETTINGS["train"].items()}
DATA = DataConfig("synthetic", {**SETTINGS["data"].options, "n_users": 150})
profiles.PROFILES["faults"] = {"synthetic": SETTINGS | {"data": DATA, "train": TRAIN}}
profiles.with_chosen = lambda config: config  # nothing was searched for this profile
