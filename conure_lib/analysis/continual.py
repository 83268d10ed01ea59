"""Continual learners side by side: what becomes of each task as others are learned."""

from collections.abc import Iterable

import pandas as pd

from conure_lib.analysis import floors, tables
from conure_lib.methods import CONTINUAL
from conure_lib.study.study import Run, Study
from conure_lib.training.evaluation import deciding

ALONE = "SinMo"  # a network per task, which transfer is relative to


def matrix(study: Study, methods: Iterable[str] = CONTINUAL) -> pd.DataFrame:
    """Return each task's test score after each stage: one row per method, ``after`` and ``task``.

    Values and intervals are those of ``tables.overall``.
    """
    found = []
    for name in methods:
        for number, after in enumerate(study.order, start=1):
            runs = study.runs([name], study.order[:number])
            table = tables.overall(study, runs, in_the_end(study, runs[0], runs[0].stages))
            found.append(table.assign(after=after))
    table = pd.concat(found, ignore_index=True)
    table["task"] = table["task"].map(tables.task_of)
    return table[["method", "after", "task", "value", "low", "high", "n", "seeds"]]


def levels(study: Study, tasks: Iterable[str]) -> pd.DataFrame:
    """Return popularity's scores of tasks, as ``tables.overall`` does, beside those of a matrix.

    Of a stream with groups it is popularity within the user's group, which decides what is learned.
    """
    measures = [deciding(study.stream[task]) for task in tasks]
    table = tables.overall(study, floors.popularity(study), measures)
    return table.assign(task=table["task"].map(tables.task_of), line=table["method"].str.lower())


def transfers(
    study: Study, methods: Iterable[str] = CONTINUAL, tasks: Iterable[str] | None = None
) -> pd.DataFrame:
    """Return how continual learners fare, as means over tasks of relative differences.

    One row per method and ``transfer``, as ``tables.compare`` gives it. "average": after the last
    task, to a network per task. "backward": after the last task, to when each was learned.
    "forward": when each was learned, T1 left out, to a network per task. tasks: those that count,
    all unless given; a transfer that none of them has is left out.
    """
    rows, alone, (first, *_, last) = [], study.runs([ALONE]), study.order
    counted = [task for task in study.order if tasks is None or task in tasks]
    for runs in (study.runs([name]) for name in methods):
        asked = {
            "average": (alone, in_the_end(study, runs[0], counted)),
            "backward": (runs, in_the_end(study, runs[0], [t for t in counted if t != last])),
            "forward": (alone, [task for task in counted if task != first]),
        }
        for transfer, (theirs, measures) in asked.items():
            if measures:
                row = tables.mean_effect(study, runs, theirs, measures)
                rows.append({"transfer": transfer} | row)
    return tables.family(rows)


def against_conure(study: Study, methods: Iterable[str], tasks: Iterable[str]) -> pd.DataFrame:
    """Return each learner after the last task against Conure: means over tasks, one family."""
    conure, rows = study.runs(["Conure"]), []
    for runs in (study.runs([name]) for name in methods if name != "Conure"):
        measures = in_the_end(study, runs[0], tasks)
        rows.append(tables.mean_effect(study, runs, conure, measures))
    return tables.family(rows)


def in_the_end(study: Study, run: Run, tasks: Iterable[str]) -> list[str]:
    """Return tasks' measures after the last stage: their own if they never change (C13)."""
    changes = "old_tasks" in run.last.record()["notes"]
    after = {t: "-after" if changes and run.stages[t] is not run.last else "" for t in tasks}
    return [f"{deciding(study.stream[t])}{suffix}" for t, suffix in after.items()]
