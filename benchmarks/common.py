"""Timing by turns, options, and files that the benchmarks write."""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from benchmarks.cases import Call
from conure_lib import paths


def interleaved(
    calls: Mapping[str, Call], least: int, most: int, budget: float, label: str
) -> list[dict[str, float]]:
    """Time all calls by turns: seconds by name, one dictionary per round; a first round warms up.

    As many rounds as fit into ``budget`` seconds, judged by the first; from ``least`` to ``most``.
    """

    def timed() -> dict[str, float]:
        spent = {}
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            spent[name] = time.perf_counter() - started
        return spent

    rounds = min(most, max(least, int(budget / max(sum(timed().values()), 1e-9))))
    return [timed() for _ in tqdm(range(rounds), desc=label, leave=False, disable=None)]


def arguments(about: str | None) -> argparse.Namespace:
    """Read the options that all three benchmarks share."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of a row, at least")
    parser.add_argument("--quick", action="store_true", help="toy sizes: a check that all runs")
    parser.add_argument("--publish", action="store_true", help="replace the committed measurement")
    return parser.parse_args()


def write(
    name: str, result: dict, options: argparse.Namespace, figure: Figure | None = None
) -> Path:
    """Write NAME.json (and .png) to results/local/benchmarks, or with ``--publish`` to results/."""
    folder = paths.benchmarks(local=options.quick or not options.publish)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if figure:
        figure.savefig(folder / f"{name}.png", dpi=160, bbox_inches="tight")
        plt.close(figure)
    print(f"written to {folder}")
    return folder
