"""Continual learners side by side: what becomes of each task as others are learned."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from conure_lib.analysis import stats, tables
from conure_lib.methods import CONTINUAL
from conure_lib.study.study import Run, Study
from conure_lib.training.evaluation import METRICS, scores_of

ALONE = "SinMo"  # a network per task, which transfer is relative to
TRANSFERS = ("average", "backward", "forward")


def matrix(
    study: Study, methods: Iterable[str] = CONTINUAL, metric: str = METRICS[0]
) -> pd.DataFrame:
    """Return each task's test score after each stage: one row per method, ``after`` and ``task``.

    The 95% interval of ``value`` is over users of the pooled instances of all seeds.
    """
    rows, order = [], study.order
    for name in methods:
        runs = study.runs([name])
        for number, after in enumerate(order, start=1):
            for task in order[:number]:
                scores = np.concatenate([_scores(study, run, after, task, metric) for run in runs])
                e = stats.estimate(scores, tables.test_users(study, runs, task))
                row = {"method": name, "after": after, "task": task, "value": e.mean}
                rows.append(row | {"low": e.low, "high": e.high, "n": e.n, "seeds": len(runs)})
    return pd.DataFrame(rows)


def transfers(study: Study, methods: Iterable[str] = CONTINUAL) -> pd.DataFrame:
    """Return how continual learners fare, as means over tasks of relative differences.

    One row per method and ``transfer``, as ``tables.compare`` gives it. "average": after the last
    task, to a network per task. "backward": after the last task, to when each was learned.
    "forward": when each was learned, T1 left out, to a network per task.
    """
    rows, alone = [], study.runs([ALONE])
    *old, last = study.order
    for name in methods:
        runs = study.runs([name])
        kept = [task if _never_changes(runs[0]) else f"{task}-after" for task in old]
        asked = ((alone, [*kept, last]), (runs, kept), (alone, study.order[1:]))
        for transfer, (theirs, measures) in zip(TRANSFERS, asked, strict=True):
            row = tables.mean_effect(study, runs, theirs, measures)
            rows.append({"transfer": transfer} | row)
    return tables.family(rows)


def _scores(study: Study, run: Run, after: str, task: str, metric: str) -> np.ndarray:
    """Return a task's score per test instance after a later stage (or its own)."""
    kept = task == after or _never_changes(run)
    ranks = run.stages[task].ranks(task) if kept else run.stages[after].ranks(f"{task}-after")
    return scores_of(study.stream[task].kind, ranks, metric)


def _never_changes(run: Run) -> bool:
    """Return whether what a task has learned stays as it is, to the last bit (see C13)."""
    *_, last = run.stages.values()
    return "old_tasks" not in last.record()["notes"]
