"""``make robustness``: bad inputs at length, then kills, a full disk and damaged files.

PYTHONPATH=tests python -m robustness [fuzz | faults] [--examples N] [--seed N] [--short]
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from . import faults, fuzz

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("half", nargs="?", choices=("fuzz", "faults"), help="one half only")
parser.add_argument("--examples", type=int, default=3000, help="inputs by chance")
parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
parser.add_argument("--short", action="store_true", help="a minute of kills, of conure run")
given, found, started = parser.parse_args(), {}, time.monotonic()
torch.set_num_threads(1)
if given.half != "faults":
    found["fuzz"] = fuzz.campaign(given.examples)
if given.half != "fuzz":
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        try:
            found["faults"] = faults.campaign(Path(folder), given.short, given.seed)
        except faults.Fault as fault:
            found["faults"] = {"faults": [str(fault)]}
print(json.dumps(found | {"seconds": round(time.monotonic() - started)}, indent=1))
sys.exit(any(half.get("faults") for half in found.values()))
