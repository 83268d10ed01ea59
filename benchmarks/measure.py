"""Clocks, memory, and processes of their own."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tqdm.auto import tqdm

LIBRARY = Path(__file__).resolve().parents[2]
"""The folder that this version of the library is imported from."""


class BenchError(RuntimeError):
    """A measurement that cannot be made. The message says why, in one line."""


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def interleaved(
    calls: Mapping[str, Callable[[], object]], least: int, most: int, budget: float, label: str = ""
) -> list[dict[str, float]]:
    """Seconds of each call, by turns, one dictionary a round; a first round warms up and is not in it.

    As many rounds as fit into ``budget`` seconds, judged by the first; from ``least`` to ``most``.
    """
    warm = sum(seconds(call) for call in calls.values())
    rounds = min(most, max(least, int(budget / warm)))
    bar = tqdm(range(rounds), desc=label, leave=False, disable=None)
    return [{name: seconds(call) for name, call in calls.items()} for _ in bar]


def peak_gib() -> float:
    """The most memory that this process has held so far, in GiB.

    Linux counts the memory of the starting process into ``ru_maxrss``; the mark in /proc begins anew.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def child(module: str, *arguments: str, request: object = None, tree: Path = LIBRARY) -> dict:
    """Runs ``benchmarks.<module>`` of the library in ``tree`` in a fresh process: JSON in, JSON out.

    Raises BenchError with the last line of its complaint.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
    )
    if done.returncode:
        complaint = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BenchError(f"benchmarks.{module} in {tree} failed: {complaint}")
    return json.loads(done.stdout.splitlines()[-1])
