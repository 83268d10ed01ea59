"""Continual learners side by side: what becomes of each task as others are learned."""

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from conure_lib.analysis import tables
from conure_lib.methods import CONTINUAL
from conure_lib.study.study import Run, Study

ALONE = "SinMo"  # a network per task, which transfer is relative to
TRANSFERS = ("average", "backward", "forward")


def matrix(study: Study, methods: Iterable[str] = CONTINUAL) -> pd.DataFrame:
    """Return each task's test score after each stage: one row per method, ``after`` and ``task``.

    The 95% interval of ``value`` is over users of the pooled instances of all seeds.
    """
    found = []
    for runs in (study.runs([name]) for name in methods):
        for number, after in enumerate(study.order, start=1):
            *old, new = study.order[:number]
            until = [replace(r, stages={t: r.stages[t] for t in (*old, new)}) for r in runs]
            measures = [*_in_the_end(runs[0], old), new]
            found.append(tables.overall(study, until, measures).assign(after=after))
    table = pd.concat(found, ignore_index=True)
    table["task"] = table["task"].map(tables.task_of)
    return table[["method", "after", "task", "value", "low", "high", "n", "seeds"]]


def transfers(study: Study, methods: Iterable[str] = CONTINUAL) -> pd.DataFrame:
    """Return how continual learners fare, as means over tasks of relative differences.

    One row per method and ``transfer``, as ``tables.compare`` gives it. "average": after the last
    task, to a network per task. "backward": after the last task, to when each was learned.
    "forward": when each was learned, T1 left out, to a network per task.
    """
    rows, alone = [], study.runs([ALONE])
    *old, last = study.order
    for runs in (study.runs([name]) for name in methods):
        kept = _in_the_end(runs[0], old)
        asked = ((alone, [*kept, last]), (runs, kept), (alone, study.order[1:]))
        for transfer, (theirs, measures) in zip(TRANSFERS, asked, strict=True):
            row = tables.mean_effect(study, runs, theirs, measures)
            rows.append({"transfer": transfer} | row)
    return tables.family(rows)


def _in_the_end(run: Run, old: Iterable[str]) -> list[str]:
    """Return old tasks' measures after the last stage: their own if they never change (C13)."""
    *_, last = run.stages.values()
    changes = "old_tasks" in last.record()["notes"]
    return [f"{task}-after" if changes else task for task in old]
