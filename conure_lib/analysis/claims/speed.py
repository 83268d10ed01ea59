"""The claim on convergence: C21 (Fig. 6, section 6.2)."""

from collections.abc import Mapping

import numpy as np

from conure_lib.analysis import floors, tables
from conure_lib.analysis.claims.judging import (
    CANNOT_TELL,
    NEARLY,
    Finding,
    Part,
    finding,
    judge_effect,
    reasons,
    together,
)
from conure_lib.analysis.claims.registry import TEXTS, claim
from conure_lib.analysis.stats import holm, over_seeds
from conure_lib.study.experiments import convergence
from conure_lib.study.study import Run, Study

FASTER = ("Conure-", "PeterRec")


def epochs_to_best(run: Run, task: str) -> float:
    """Return after how many epochs, at least one, a run reaches 95% of its own best value."""
    stage = run.stages[task]
    return max(1, tables.epochs_until(stage, NEARLY * tables.best_validation(stage)))


@claim("C21")
def transfer_is_faster(study: Study) -> Finding:
    """Count epochs at one learning rate, against SinMo's (Fig. 6)."""
    tasks = [task for task in ("T2", "T3") if floors.learned(study).get(task)]
    if not tasks:
        return Finding(CANNOT_TELL, "T2, T3 not learned")
    runs = convergence(study)
    used = {name: tables.pick(runs, name) for name in ("SinMo", *FASTER)}
    sinmo, *others = (
        np.array([np.mean([epochs_to_best(run, task) for task in tasks]) for run in some])
        for some in used.values()
    )
    changes = {n: (own - sinmo) / sinmo.mean() for n, own in zip(FASTER, others, strict=True)}
    parts = over_trainings(changes, TEXTS["C21"]["smallest"])
    ids = " ".join(run.id for some in used.values() for run in some)
    return finding(together([part.verdict for part in parts]), reasons(parts), parts[0], ids)


def over_trainings(changes: Mapping[str, np.ndarray], smallest: float) -> list[Part]:
    """Judge relative changes by name, one value per seed, where only the seeds are a sample."""
    found = {name: over_seeds(values) for name, values in changes.items()}
    corrected = holm([one.p for one in found.values()])
    parts = []
    for (name, one), p in zip(found.items(), corrected, strict=True):
        row = {"effect": one.mean, "low": one.low, "high": one.high, "p_holm": p, "p_seeds": p}
        row |= {"seeds_low": one.low, "seeds_high": one.high, "n": one.n, "seeds": one.n}
        verdict, reason = judge_effect(row | {"clear": p < tables.ALPHA}, smallest)
        numbers = {"smallest": smallest, "p": one.p, "p_corrected": p}
        parts.append(Part(verdict, reason, name, row, **numbers))
    return parts
