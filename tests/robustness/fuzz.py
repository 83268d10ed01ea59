"""``make fuzz``: every bad input of the table, then inputs by chance; figures: results/campaigns/fuzz.json."""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm.auto import tqdm

from .cases import MOST_MEMORY, try_case
from .mutations import hunt, shares
from .table import all_accepted, all_cases, try_accepted

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "results" / "campaigns" / "fuzz.json"
EXAMPLES = 2000


def campaign(examples: int = EXAMPLES) -> dict:
    """Runs the whole campaign; returns its figures. Inputs that are answered wrongly are faults, all are named."""
    faults, marks, targets, most = [], set(), Counter(), 0.0
    for case in tqdm(list(all_cases()), desc="bad inputs"):
        try:
            mark, memory = try_case(case)
        except Exception as fault:  # whatever goes wrong is what the campaign is for
            faults.append(str(fault))
            continue
        targets[case.target] += mark not in marks
        marks.add(mark)
        most = max(most, memory)
    odd = list(all_accepted())
    for name, made, plain in tqdm(odd, desc="odd inputs"):
        try:
            try_accepted(name, made, plain)
        except Exception as fault:
            faults.append(f"{name}: {fault}")
    seen = {}
    for target, share in tqdm(shares(examples).items(), desc="inputs by chance"):
        try:
            seen[target] = dict(sorted(hunt(target, share).items()))
        except Exception as fault:
            faults.append(f"{target}: {fault}")
    return {
        "bad_inputs": len(marks),
        "by_target": dict(sorted(targets.items())),
        "odd_inputs_taken_like_plain_ones": len(odd),
        "by_chance": sum(sum(counts.values()) for counts in seen.values()),
        "by_chance_and_target": seen,
        "faults": len(faults),
        "faults_found": faults,
        "most_memory_of_an_answer_mib": round(most),
        "memory_limit_of_an_answer_mib": MOST_MEMORY >> 20,
    }


def circumstances() -> dict:
    """The commit, whether the code differs from it, and the versions of what reads files."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run(
        [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    changed = [*git, "status", "--porcelain", "--", "conure_lib", "tests"]
    dirty = bool(subprocess.run(changed, capture_output=True, text=True, check=True).stdout)
    packages = (
        "torch",
        "numpy",
        "pandas",
        "pyarrow",
        "safetensors",
        "PyYAML",
        "papermill",
        "hypothesis",
    )
    return {
        "command": "make fuzz",
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def main() -> int:
    """Exit code 1 if a fault was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--examples", type=int, default=EXAMPLES, help=f"inputs by chance (default {EXAMPLES})"
    )
    examples = parser.parse_args().examples
    torch.set_num_threads(1)
    started = time.monotonic()
    found = circumstances() | campaign(examples) | {"seconds": round(time.monotonic() - started)}
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(
        f"{found['bad_inputs']} bad inputs, {found['by_chance']} by chance, {found['faults']} faults: {FIGURES}"
    )
    for fault in found["faults_found"]:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
