"""Claims on the compared methods: C06 to C10, C12, C21 (Table 2 and Fig. 6, section 6.2)."""

import numpy as np

from conure_lib.analysis import tables
from conure_lib.analysis.claims.registry import (
    MARGIN,
    NOT_REPRODUCED,
    NOT_TESTED,
    PARTLY,
    REPRODUCED,
    Finding,
    claim,
    from_row,
    ids_of,
)
from conure_lib.analysis.stats import over_seeds
from conure_lib.study.study import Study

RANKED = ("SinMo", "FineSmax", "MTL", "STL", "PeterRec", "Conure")
PROFILE_TASKS = ("T4", "T5", "T6")


def later_tasks(study: Study) -> tuple[str, ...]:
    """The tasks after T1, in the study's order."""
    return study.order[1:]


@claim(
    "C06",
    "03_baselines",
    "SinMo is about the worst on the tasks after T1.",
    "SinMo against each of FineSmax, MTL, STL, PeterRec and Conure, mean over the tasks after T1 of the "
    "relative difference (Holm over the five). REPRODUCED if it is behind all five in the mean and clearly "
    "behind at least three; PARTLY if behind at least three in the mean; else NOT REPRODUCED. Effect: SinMo "
    "minus STL, relative.",
    "relative",
)
def sinmo_is_the_worst(study: Study) -> Finding:
    """C06 (Table 2): SinMo against five other methods, over the tasks after T1."""
    sinmo = study.runs(["SinMo"])
    others = [name for name in RANKED if name != "SinMo"]
    table = tables.compare_means(
        study, [(sinmo, study.runs([name])) for name in others], later_tasks(study)
    )
    behind, clearly = table["effect"] < 0, table["clear"] & (table["effect"] < 0)
    verdict = PARTLY if behind.sum() >= 3 else NOT_REPRODUCED
    verdict = REPRODUCED if behind.all() and clearly.sum() >= 3 else verdict
    return from_row(verdict, table.iloc[others.index("STL")])


@claim(
    "C07",
    "03_baselines",
    "STL beats FineSmax by far.",
    "Mean over the tasks after T1 of the relative difference STL minus FineSmax. REPRODUCED if it is clear "
    "and at least 5%; PARTLY if it is above 0; else NOT REPRODUCED. Effect: that mean.",
    "relative",
)
def stl_beats_finesmax(study: Study) -> Finding:
    """C07 (Table 2): STL against FineSmax, over the tasks after T1."""
    pair = (study.runs(["STL"]), study.runs(["FineSmax"]))
    row = tables.compare_means(study, [pair], later_tasks(study)).iloc[0]
    far = row["clear"] and row["effect"] >= MARGIN
    return from_row(REPRODUCED if far else PARTLY if row["effect"] > 0 else NOT_REPRODUCED, row)


@claim(
    "C08",
    "03_baselines",
    "Conure and PeterRec are competitive with STL.",
    "Mean over the tasks after T1 of the relative difference to STL. REPRODUCED if for both its interval "
    "lies above -5%; PARTLY if both means do; else NOT REPRODUCED. Effect: Conure minus STL, relative.",
    "relative",
)
def as_good_as_stl(study: Study) -> Finding:
    """C08 (Table 2): Conure and PeterRec against STL, over the tasks after T1."""
    stl = study.runs(["STL"])
    pairs = [(study.runs([name]), stl) for name in ("Conure", "PeterRec")]
    table = tables.compare_means(study, pairs, later_tasks(study))
    verdict = PARTLY if (table["effect"] > -MARGIN).all() else NOT_REPRODUCED
    return from_row(REPRODUCED if (table["low"] > -MARGIN).all() else verdict, table.iloc[0])


@claim(
    "C09",
    "03_baselines",
    "Conure- beats STL and PeterRec on T3.",
    "T3. REPRODUCED if Conure- is clearly better than both (Holm over the two); PARTLY if it is ahead of "
    "both in the mean; else NOT REPRODUCED. Effect: Conure- minus the better of the two.",
    "MRR@5",
)
def conure_wins_on_t3(study: Study) -> Finding:
    """C09 (Table 2): Conure- against STL and PeterRec on T3."""
    if "T3" not in study.order:
        return Finding(NOT_TESTED)
    pairs = [(study.runs(["Conure-"]), study.runs([name])) for name in ("STL", "PeterRec")]
    table = tables.compare(study, pairs, ["T3"])
    ahead = table["effect"] > 0
    verdict = PARTLY if ahead.all() else NOT_REPRODUCED
    verdict = REPRODUCED if (ahead & table["clear"]).all() else verdict
    return from_row(verdict, table.loc[table["effect"].idxmin()])


@claim(
    "C10",
    "03_baselines",
    "Conure does not fall behind PeterRec on the profiles T4 to T6, although nothing useful transfers.",
    "Mean over T4 to T6 of the relative difference Conure minus PeterRec. REPRODUCED if its interval lies "
    "above -5%; PARTLY if the mean does; else NOT REPRODUCED. Effect: that mean.",
    "relative",
)
def profiles_do_not_suffer(study: Study) -> Finding:
    """C10 (Table 2): Conure against PeterRec, over T4 to T6."""
    tasks = [task for task in PROFILE_TASKS if task in study.order]
    if not tasks:
        return Finding(NOT_TESTED)
    row = tables.compare_means(
        study, [(study.runs(["Conure"]), study.runs(["PeterRec"]))], tasks
    ).iloc[0]
    within = row["low"] > -MARGIN
    return from_row(
        REPRODUCED if within else PARTLY if row["effect"] > -MARGIN else NOT_REPRODUCED, row
    )


@claim(
    "C12",
    "03_baselines",
    "MTL beats SinMo but not STL, PeterRec and Conure.",
    "Means over the tasks after T1 of four relative differences: MTL minus SinMo, and STL, PeterRec, Conure "
    "minus MTL (Holm over the four). REPRODUCED if all are clearly above 0; PARTLY if all are above 0 in the "
    "mean; else NOT REPRODUCED. Effect: MTL minus SinMo, relative.",
    "relative",
)
def mtl_stands_between(study: Study) -> Finding:
    """C12 (Table 2): MTL against SinMo, STL, PeterRec and Conure, over the tasks after T1."""
    mtl = study.runs(["MTL"])
    better = [(study.runs([name]), mtl) for name in ("STL", "PeterRec", "Conure")]
    table = tables.compare_means(study, [(mtl, study.runs(["SinMo"])), *better], later_tasks(study))
    ahead = table["effect"] > 0
    verdict = PARTLY if ahead.all() else NOT_REPRODUCED
    return from_row(REPRODUCED if (ahead & table["clear"]).all() else verdict, table.iloc[0])


@claim(
    "C21",
    "03_baselines",
    "Methods that transfer converge faster than SinMo.",
    "Epochs until SinMo's best validation value is reached for the first time (the last epoch plus one if "
    "never), PeterRec and Conure- minus SinMo, mean over the tasks after T1, per seed. REPRODUCED if for "
    "both the interval over seeds lies below 0; PARTLY if both means do; else NOT REPRODUCED. Effect: "
    "Conure- minus SinMo, in epochs; n: seeds.",
    "epochs",
)
def transfer_is_faster(study: Study) -> Finding:
    """C21 (Fig. 6): epochs until SinMo's best validation value, PeterRec and Conure- against SinMo."""
    sinmo = study.runs(["SinMo"])
    found = []
    for method in ("Conure-", "PeterRec"):
        runs = study.runs([method])
        gaps = [
            np.mean([_epochs_to_reach(ours, theirs, task) for task in later_tasks(study)])
            for ours, theirs in zip(runs, sinmo, strict=True)
        ]
        found.append((over_seeds(np.array(gaps)), runs))
    effects = [effect for effect, _ in found]
    verdict = PARTLY if all(e.mean < 0 for e in effects) else NOT_REPRODUCED
    verdict = REPRODUCED if all(e.high < 0 for e in effects) else verdict
    first = effects[0]
    return Finding(
        verdict,
        first.mean,
        first.low,
        first.high,
        first.p,
        first.p,
        first.n,
        ids_of(sinmo, *(r for _, r in found)),
    )


def _epochs_to_reach(ours, theirs, task: str) -> int:
    """How many epochs later (or, below 0, earlier) than SinMo a run reaches SinMo's best validation value."""
    curves = [run.stages[task].record()["curve"] for run in (ours, theirs)]
    best = max(epoch["validation"] for epoch in curves[1][1:])
    reached = [[e["epoch"] for e in curve if e["validation"] >= best] for curve in curves]
    mine, sinmo = (
        r[0] if r else curve[-1]["epoch"] + 1 for r, curve in zip(reached, curves, strict=True)
    )
    return mine - sinmo
