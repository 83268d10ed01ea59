"""How far networks stand from what needs no network: popularity and linear models."""

from collections.abc import Iterable
from functools import lru_cache

import pandas as pd

from conure_lib.analysis import tables
from conure_lib.methods import COMPARED, METHODS
from conure_lib.study.study import Run, Study
from conure_lib.training.evaluation import deciding

POPULARITY = ("Group popularity", "Popularity")  # the first that a stream has is the gate
SHOWN = {"task": "task", "ours": "best network", "value": "its score", "theirs": "floor"}
SHOWN |= {"reference": "the floor's", "relative": "difference [95% interval]"}
SHOWN |= {"p_holm": "p (users, times networks)", "p_seeds": "p (seeds)", "clear": "clear"}
SHOWN |= {"relative_low": "", "relative_high": ""}
"""Columns of ``floors`` for a reader, by the names that they then have."""


def popularity(study: Study, order: Iterable[str] | None = None) -> list[Run]:
    """Return the runs of popularity that a task is learned against: within groups if there are."""
    return next(runs for name in POPULARITY if (runs := study.runs([name], order)))


def floors(study: Study, measures: Iterable[str] | None = None) -> pd.DataFrame:
    """Return how the best network of each measure stands to each floor.

    measures: the tasks unless given, a sequence task also at all positions. Rows as of
    ``tables.compare``: ``ours`` is the network of the paper's methods with the best score,
    ``theirs`` the floor; ``p_holm`` is corrected for the choice among networks, ``strongest`` the
    best floor.
    """
    names = study.config.methods or COMPARED
    by_name = {name: runs for name in names if (runs := study.runs([name]))}
    study.ready([run for runs in by_name.values() for run in runs])
    found, tasks = [], study.stream.tasks
    every = [name for task in tasks for name in dict.fromkeys((task.name, deciding(task)))]
    for measure in measures or every:
        task = tables.task_of(measure)
        have = [name for name, runs in by_name.items() if task in runs[0].stages]
        value = {name: tables.scores(study, by_name[name], measure).mean() for name in have}
        networks, bars = ([n for n in have if METHODS[n].floor is flag] for flag in (False, True))
        best, strongest = (max(some, key=value.get) for some in (networks, bars))
        pairs = [(by_name[best], by_name[bar]) for bar in bars]
        table = tables.compare(study, pairs, [measure])
        table["p_holm"] = (table["p"] * len(networks)).clip(upper=1.0)
        table["clear"] = tables.is_clear(table["p_holm"], table["p_seeds"])
        found.append(table.assign(strongest=[bar == strongest for bar in bars]))
    return pd.concat(found, ignore_index=True)


@lru_cache(maxsize=16)
def learned(study: Study) -> dict[str, bool]:
    """Return of each task whether its best network clearly beats popularity (of the user's group).

    A sequence task at all positions, as its training stops, for its last items are few.
    """
    table = floors(study)
    measures = [deciding(task) for task in study.stream.tasks]
    table = table[table["task"].isin(measures)].assign(task=table["task"].map(tables.task_of))
    gate = next(name for name in POPULARITY if name in set(table["theirs"]))
    rows = table[table["theirs"] == gate]
    return dict(zip(rows["task"], rows["clear"] & (rows["effect"] > 0), strict=True))


def capped(runs: Iterable[Run]) -> pd.DataFrame:
    """Return each phase of training that the cap of epochs ended while it still rose."""
    rows = []
    for run in runs:
        for stage in tables.lineage(run):
            where = (run.method, run.variant, stage.step.task, stage.step.action, run.seed)
            rows += [(*where, phase, stage.id) for phase in stage.record()["capped"]]
    columns = ["method", "variant", "task", "action", "seed", "phase", "stage_id"]
    table = pd.DataFrame(rows, columns=columns)
    return table.drop_duplicates(["stage_id", "phase"], ignore_index=True)
