"""Claims on pruning and retraining: C03, C04, C05, C11, C17, C18 (Figures 3 and 7, Tables 2, 5)."""

from functools import partial
from itertools import pairwise

import pandas as pd

from conure_lib.analysis import tables
from conure_lib.analysis.claims.registry import MARGIN, Finding, claim, decided
from conure_lib.study import experiments
from conure_lib.study.experiments import SHOWN_RATIOS, percent
from conure_lib.study.study import Study

ALL_POSITIONS = "T1-all"  # some thirty times the observations of the last position alone
PRUNED = "Conure, not retrained"


def pruned_t1(study: Study, network: str) -> pd.DataFrame:
    """Compare T1 pruned (one row per ratio) and pruned and retrained with T1 as trained."""
    pick = partial(tables.pick, experiments.overparameterization(study))
    names = [f"{network} {percent(ratio)}" for ratio in SHOWN_RATIOS]
    others = [*(pick(PRUNED, name) for name in names), pick("Conure", names[-1])]
    pairs = [(other, pick("Conure-", names[-1])) for other in others]
    return tables.compare(study, pairs, [ALL_POSITIONS])


@claim("C03")
def pruning_hurts(study: Study) -> Finding:
    """Compare T1 pruned by 30, 50 and 70% and not retrained with unpruned (Fig. 3)."""
    table = pruned_t1(study, "normal")
    steps, most = [0.0, *table["effect"].iloc[:-1]], table.iloc[-2]
    falls = all(later < earlier for earlier, later in pairwise(steps))
    worse = most["clear"] and most["effect"] < 0
    return decided(worse and falls, worse, most)


def retraining_regains(study: Study, network: str) -> Finding:
    """Compare T1 pruned by 70% and retrained with unpruned (section 3.4, Fig. 3)."""
    pruned, retrained = (row for _, row in pruned_t1(study, network).iloc[-2:].iterrows())
    runs = experiments.overparameterization(study)
    trained = tables.pick(runs, "Conure-", f"{network} {percent(SHOWN_RATIOS[-1])}")
    margin = MARGIN * float(tables.scores(study, trained, ALL_POSITIONS).mean())
    half = retrained["effect"] >= pruned["effect"] / 2
    return decided(retrained["low"] > -margin, half, retrained)


claim("C04")(partial(retraining_regains, network="normal"))
claim("C05")(partial(retraining_regains, network="small"))


@claim("C11")
def retraining_improves(study: Study) -> Finding:
    """Compare Conure with Conure-, task by task (Table 2)."""
    pair = [(study.runs(["Conure"]), study.runs(["Conure-"]))]
    table = tables.compare(study, pair)
    ahead, clear = table["effect"] > 0, table["clear"]
    kept = not (clear & (table["effect"] < 0)).any()
    mean = tables.compare_means(study, pair, study.order).iloc[0]
    return decided(kept and (clear & ahead).any(), kept and ahead.mean() > 0.5, mean)


@claim("C17")
def half_is_enough(study: Study) -> Finding:
    """Compare T2 pruned by 50, 80 and 95% and retrained with Conure- (section 6.5, Fig. 7)."""
    runs = [run for run in experiments.pruning_ratios(study) if "T2" in run.stages]
    trained = tables.pick(runs, "Conure-", "pr50")
    half, usual, most = (tables.pick(runs, "Conure", percent(r)) for r in (0.5, 0.8, 0.95))
    table = tables.compare(study, [(usual, trained), (half, trained), (most, half)], ["T2"])
    (_, a), (_, b), (_, c) = table.iterrows()
    margin = MARGIN * float(tables.scores(study, trained, "T2").mean())
    mean = (a["effect"] > -margin, b["effect"] > 0, c["effect"] < 0)
    clear = (a["low"] > -margin, b["clear"] and mean[1], c["clear"] and mean[2])
    return decided(all(clear), sum(map(bool, mean)) >= 2, b)


@claim("C18")
def the_embedding_can_be_pruned(study: Study) -> Finding:
    """Compare Conure with the embedding pruned as well with Conure without (Table 5)."""
    runs, variants = experiments.embedding_pruning(study), ("kernels and embedding", "kernels")
    pair = tuple(tables.pick(runs, "Conure", variant) for variant in variants)
    row = tables.compare_means(study, [pair], ["T1", "T2", "T3"]).iloc[0]
    within = row["low"] > -MARGIN and row["high"] < MARGIN
    return decided(within, abs(row["effect"]) < MARGIN, row)
