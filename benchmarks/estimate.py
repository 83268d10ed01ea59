"""``conure bench estimate``: time, money and memory at the paper's size and beyond, out of what was measured.

Nothing is run. The operations of Conure's chain (T1 to T6, all stages, all evaluations) are counted and divided by
the rates in bench.json: those of 2 CPU threads at the paper's network. What a GPU would need is arithmetic with an
assumed speed; none was measured.
"""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.flops import backbone_flop, output_flop
from benchmarks.measure import BenchError
from benchmarks.parts import SAMPLED
from benchmarks.worlds import FULL, Size
from conure_lib import paths
from conure_lib.analysis.tables import paper_table
from conure_lib.data.stream import SPLITS

TRAIN_SHARE, VALIDATION_SHARE, TEST_SHARE = SPLITS["80/5/15"]
BATCH = 32  # of every training step that was measured
WORLDS = {"TTL": 1.0, "100M users": 100e6 / 1.47e6}
"""How many times TTL's users and instances; the catalogue and the numbers of labels stay TTL's."""


@dataclass(frozen=True)
class Assumptions:
    """What nobody measured. epochs: of training and of retraining a task. Prices: dollars per hour of a core, of a
    GPU. gpu_tflops: peak of a GPU in float32; gpu_share: the part of it that training reaches."""

    epochs: int = 5
    retrain_epochs: int = 2
    core_price: float = 0.04
    gpu_price: float = 3.0
    gpu_tflops: float = 60.0
    gpu_share: float = 0.3


@dataclass(frozen=True)
class Rates:
    """GFLOP/s on ``threads`` threads, and the peak memory (GiB) of a T1 step over the whole catalogue."""

    first: float
    later: float
    evaluation: float
    threads: int
    step_gib: float


def rates_of(bench: dict) -> Rates:
    """The rates out of bench.json's content."""
    rows = {row["name"]: row["gflops"] for row in bench["parts"]}
    large, size = bench["large catalogue"], FULL.b
    step = BATCH * _first_flop(size, large["items"], SAMPLED.negatives, train=True)
    return Rates(
        first=step / 1e9 / large["step_s"],
        later=rows["(b) T2+ step, distinct users, batch 32"],
        evaluation=rows["(b) evaluation, one label a user"],
        threads=bench["threads"],
        step_gib=large["peak_gib"],
    )


def estimate(bench: dict, assumed: Assumptions = Assumptions()) -> pd.DataFrame:
    """One row per quantity, one column per world; hours are those of the measured machine."""
    rates, size = rates_of(bench), FULL.b
    tasks = paper_table(1).query("dataset == 'TTL'")
    speed = f"{assumed.gpu_share:.0%} of {assumed.gpu_tflops:g} TFLOP/s"
    columns = {}
    for world, times in WORLDS.items():
        first, later, tests = _operations(size, tasks, times)
        epoch = [first[0] / rates.first + first[1] / rates.evaluation]
        epoch += [sum(train / rates.later + check / rates.evaluation for train, check in later)]
        epochs = assumed.epochs + assumed.retrain_epochs
        hours = (epochs * sum(epoch) + tests / rates.evaluation) / 3600e9
        total = epochs * sum(map(sum, (first, *later))) + tests
        gpu = total / (assumed.gpu_tflops * assumed.gpu_share) / 3600e12
        disk, arrays = _bytes(size, tasks, times)
        columns[world] = {
            "users": f"{tasks['n_instances'].iloc[0] * times:,.0f}",
            "one epoch of T1, hours": f"{epoch[0] / 3600e9:,.0f}",
            "one epoch of each of T2 to T6, hours": f"{epoch[1] / 3600e9:,.0f}",
            "all evaluations on test parts, hours": f"{tests / rates.evaluation / 3600e9:,.0f}",
            f"the whole chain, hours on {rates.threads} threads": f"{hours:,.0f}",
            "core hours": f"{hours * rates.threads:,.0f}",
            f"at ${assumed.core_price:g} a core hour": f"${hours * rates.threads * assumed.core_price:,.0f}",
            "memory of a T1 step (measured), GiB": f"{rates.step_gib:.1f}",
            "arrays beside it, GiB": f"{arrays / 2**30:,.1f}",
            "stream on disk (mapped), GiB": f"{disk / 2**30:,.1f}",
            "not measured: operations, 10^18": f"{total / 1e18:,.1f}",
            f"not measured: hours of a GPU at {speed}": f"{gpu:,.0f}",
            f"not measured: at ${assumed.gpu_price:g} a GPU hour": f"${gpu * assumed.gpu_price:,.0f}",
        }
    return pd.DataFrame(columns)


def markdown(table: pd.DataFrame) -> str:
    """The table as it stands in docs/clusters.md."""
    lines = [["", *table.columns], ["---", *("---:" for _ in table.columns)]]
    lines += [[name, *row] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def run_estimate(assumed: Assumptions) -> str:
    """Prints and returns the table. Raises BenchError if nothing was measured yet."""
    file = paths.bench(quick=False) / "bench.json"
    if not file.is_file():
        raise BenchError(f"{file} is missing; run: make bench")
    table = markdown(estimate(json.loads(file.read_text()), assumed))
    print(table)
    return table


def _first_flop(size: Size, items: int, share: float, train: bool) -> float:
    """T1 on one full sequence at all positions; share: of the catalogue that is scored."""
    known = np.array([size.length - 1])
    backbone = backbone_flop(size, size.length - 1, known, last_only=False, train=train)
    return backbone + output_flop(size, size.length - 1, round(share * items), train)


def _last_flop(size: Size, labels: int) -> float:
    """Scoring all labels for one user."""
    backbone = backbone_flop(
        size, size.length, np.array([size.length]), last_only=True, train=False
    )
    return backbone + output_flop(size, 1, labels, train=False)


def _operations(size: Size, tasks: pd.DataFrame, times: float) -> tuple[tuple, list[tuple], float]:
    """(training, validation) of an epoch of T1, and of each later task; and all evaluations on test parts.

    Every instance has a user of its own here; labels of one user that share a batch would need less. Stages
    evaluate their own task; training and pruning the earlier ones too, retraining all (no forgetting is checked).
    """
    first, *rest = [(row.n_instances * times, row.n_labels) for row in tasks.itertuples()]
    n, items = first
    everywhere = _first_flop(size, items, 1.0, train=False)
    learned = n * TRAIN_SHARE * _first_flop(size, items, SAMPLED.negatives, train=True)
    step = backbone_flop(
        size, size.length, np.array([size.length]), last_only=True, frozen_below=True
    )
    later = [
        (m * TRAIN_SHARE * step, m * VALIDATION_SHARE * _last_flop(size, labels))
        for m, labels in rest
    ]
    each = [m * TEST_SHARE * _last_flop(size, labels) for m, labels in (first, *rest)]
    tests = 3 * n * TEST_SHARE * everywhere
    tests += sum(4 * own + 3 * sum(each[:number]) for number, own in enumerate(each))
    return (learned, n * VALIDATION_SHARE * everywhere), later, tests


def _bytes(size: Size, tasks: pd.DataFrame, times: float) -> tuple[float, float]:
    """Bytes of the stream on disk; and of the arrays that a process holds beside the model at its worst.

    Arrays: which positions are padding, an epoch's order of the largest task, vectors and ranks of a test part.
    """
    instances = tasks["n_instances"].to_numpy() * times
    users = instances[0]
    disk = users * (4 * size.length + 8) + instances.sum() * (8 + 8 + 1)
    order = 3 * 8 * TRAIN_SHARE * instances.max()
    test = TEST_SHARE * users * (4 * size.width + size.length)
    return disk, users * (size.length + 8) + max(order, test)
