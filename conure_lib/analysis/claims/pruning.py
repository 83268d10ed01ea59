"""Claims on pruning and retraining: C03, C04, C05, C11, C17, C18 (Figures 3 and 7, Tables 2 and 5)."""

from itertools import pairwise

import pandas as pd

from conure_lib.analysis import tables
from conure_lib.analysis.claims.registry import (
    MARGIN,
    NOT_REPRODUCED,
    PARTLY,
    REPRODUCED,
    Finding,
    claim,
    from_row,
)
from conure_lib.study.experiments import (
    SHOWN_RATIOS,
    embedding_pruning,
    overparameterization,
    percent,
    pruning_ratios,
)
from conure_lib.study.study import Study

ALL_POSITIONS = "T1-all"  # some thirty times the observations of the last position alone
PRUNED = "Conure, not retrained"


def pruned_t1(study: Study, network: str) -> pd.DataFrame:
    """T1's change by pruning (a row per ratio) and by pruning and retraining, against T1 as trained."""
    runs = overparameterization(study)
    most = f"{network} {percent(SHOWN_RATIOS[-1])}"
    trained = tables.pick(runs, "Conure-", most)
    pruned = [tables.pick(runs, PRUNED, f"{network} {percent(ratio)}") for ratio in SHOWN_RATIOS]
    return tables.compare(
        study,
        [*((one, trained) for one in pruned), (tables.pick(runs, "Conure", most), trained)],
        [ALL_POSITIONS],
    )


@claim(
    "C03",
    "02_overparameterization",
    "Pruning without retraining hurts, and the more is pruned the more it hurts.",
    "T1 at all positions. REPRODUCED if the metric falls from step to step (0, 30, 50, 70% pruned) and pr70 "
    "is clearly worse than unpruned; PARTLY if only the latter; else NOT REPRODUCED. Effect: pr70 minus "
    "unpruned.",
    "MRR@5",
)
def pruning_hurts(study: Study) -> Finding:
    """C03 (section 3.4, Fig. 3): T1 pruned by 30, 50 and 70% and not retrained, against unpruned."""
    table = pruned_t1(study, "normal")
    *_, most, _ = (row for _, row in table.iterrows())
    steps = [0.0, *table["effect"].iloc[:-1]]
    falls = all(later < earlier for earlier, later in pairwise(steps))
    worse = most["clear"] and most["effect"] < 0
    return from_row(REPRODUCED if worse and falls else PARTLY if worse else NOT_REPRODUCED, most)


def _regains(study: Study, network: str) -> Finding:
    """Whether pr70 + retraining is back at the unpruned network's level."""
    table = pruned_t1(study, network)
    most, retrained = (row for _, row in table.iloc[-2:].iterrows())
    trained = tables.pick(
        overparameterization(study), "Conure-", f"{network} {percent(SHOWN_RATIOS[-1])}"
    )
    back = retrained["low"] > -MARGIN * float(tables.scores(study, trained, ALL_POSITIONS).mean())
    regained = retrained["effect"] >= most["effect"] / 2
    return from_row(REPRODUCED if back else PARTLY if regained else NOT_REPRODUCED, retrained)


@claim(
    "C04",
    "02_overparameterization",
    "Retraining a network pruned by 70% regains T1's accuracy quickly.",
    "T1 at all positions, at most five epochs of retraining. REPRODUCED if the interval of pr70+retrain "
    "minus unpruned lies above -5% of unpruned; PARTLY if at least half of what pruning cost is regained; "
    "else NOT REPRODUCED. Effect: pr70+retrain minus unpruned.",
    "MRR@5",
)
def retraining_regains(study: Study) -> Finding:
    """C04 (section 3.4, Fig. 3 a): T1 pruned by 70% and retrained, against unpruned."""
    return _regains(study, "normal")


@claim(
    "C05",
    "02_overparameterization",
    "A much smaller network is over-parameterised as well.",
    "As C04, for a network of half the width and half the blocks. Effect: its pr70+retrain minus it unpruned.",
    "MRR@5",
)
def a_small_network_is_too_large(study: Study) -> Finding:
    """C05 (section 3.4, Fig. 3 b): C04 in a network of half the width and half the blocks."""
    return _regains(study, "small")


@claim(
    "C11",
    "03_baselines",
    "Pruning and retraining improves on the unpruned state Conure-.",
    "REPRODUCED if Conure is clearly better than Conure- on at least one task and clearly worse on none "
    "(Holm over the tasks); PARTLY if it is ahead on more than half of the tasks and clearly worse on none; "
    "else NOT REPRODUCED. Effect: mean over tasks of the relative difference.",
    "relative",
)
def retraining_improves(study: Study) -> Finding:
    """C11 (Table 2): Conure against Conure-, task by task."""
    pair = [(study.runs(["Conure"]), study.runs(["Conure-"]))]
    table = tables.compare(study, pair)
    better = (table["clear"] & (table["effect"] > 0)).any()
    worse = (table["clear"] & (table["effect"] < 0)).any()
    ahead = (table["effect"] > 0).sum() > len(table) / 2
    verdict = (
        NOT_REPRODUCED if worse else REPRODUCED if better else PARTLY if ahead else NOT_REPRODUCED
    )
    return from_row(verdict, tables.compare_means(study, pair, study.order).iloc[0])


@claim(
    "C17",
    "06_pruning_ratios",
    "A few epochs of retraining recover Conure-; 50% pruned exceeds it, 95% is worse or slower.",
    "T2, at most five epochs of retraining, three parts: (a) pr80 does not fall behind Conure- (interval "
    "above -5%); (b) pr50 is clearly better than Conure-; (c) pr95 is clearly worse than pr50. REPRODUCED if "
    "all hold, PARTLY if at least two hold in the mean, else NOT REPRODUCED. Effect: pr50 minus Conure-.",
    "MRR@5",
)
def half_is_enough(study: Study) -> Finding:
    """C17 (section 6.5, Fig. 7): T2 pruned by 50, 80 and 95% and retrained, against Conure-."""
    runs = [run for run in pruning_ratios(study) if "T2" in run.stages]
    trained = tables.pick(runs, "Conure-", "pr50")
    half, usual, most = (tables.pick(runs, "Conure", percent(r)) for r in (0.5, 0.8, 0.95))
    table = tables.compare(study, [(usual, trained), (half, trained), (most, half)], ["T2"])
    (_, a), (_, b), (_, c) = table.iterrows()
    reference = float(tables.scores(study, trained, "T2").mean())
    clear = (
        a["low"] > -MARGIN * reference,
        b["clear"] and b["effect"] > 0,
        c["clear"] and c["effect"] < 0,
    )
    mean = (a["effect"] > -MARGIN * reference, b["effect"] > 0, c["effect"] < 0)
    verdict = REPRODUCED if all(clear) else PARTLY if sum(map(bool, mean)) >= 2 else NOT_REPRODUCED
    return from_row(verdict, b)


@claim(
    "C18",
    "07_embedding_pruning",
    "Pruning and retraining the embedding as well gives similar results.",
    "T1 to T3, Conure with the embedding pruned against Conure without: the mean over tasks of the relative "
    "difference. REPRODUCED if its interval lies within 5% either way, PARTLY if the mean does, else NOT "
    "REPRODUCED. Effect: that mean.",
    "relative",
)
def the_embedding_can_be_pruned(study: Study) -> Finding:
    """C18 (section 6.5, Table 5): Conure with the embedding pruned against Conure without."""
    runs = embedding_pruning(study)
    pair = (
        tables.pick(runs, "Conure", "kernels and embedding"),
        tables.pick(runs, "Conure", "kernels"),
    )
    row = tables.compare_means(study, [pair], ["T1", "T2", "T3"]).iloc[0]
    within = row["low"] > -MARGIN and row["high"] < MARGIN
    return from_row(
        REPRODUCED if within else PARTLY if abs(row["effect"]) < MARGIN else NOT_REPRODUCED, row
    )
