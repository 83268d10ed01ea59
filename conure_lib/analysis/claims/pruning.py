"""Claims on pruning and retraining: C03, C04, C05, C11, C17, C18 (Figures 3 and 7, Tables 2, 5)."""

from itertools import pairwise

import pandas as pd

from conure_lib.analysis import tables
from conure_lib.analysis.claims.registry import MARGIN, Finding, claim, decided
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
    """Compare T1 pruned (one row per ratio) and pruned and retrained with T1 as trained."""
    runs, most = overparameterization(study), f"{network} {percent(SHOWN_RATIOS[-1])}"
    trained = tables.pick(runs, "Conure-", most)
    others = [tables.pick(runs, PRUNED, f"{network} {percent(r)}") for r in SHOWN_RATIOS]
    others.append(tables.pick(runs, "Conure", most))
    return tables.compare(study, [(other, trained) for other in others], [ALL_POSITIONS])


@claim("C03")
def pruning_hurts(study: Study) -> Finding:
    """Compare T1 pruned by 30, 50 and 70% and not retrained with unpruned (Fig. 3)."""
    table = pruned_t1(study, "normal")
    steps, most = [0.0, *table["effect"].iloc[:-1]], table.iloc[-2]
    falls = all(later < earlier for earlier, later in pairwise(steps))
    worse = most["clear"] and most["effect"] < 0
    return decided(worse and falls, worse, most)


def _regains(study: Study, network: str) -> Finding:
    """Decide whether T1 pruned by 70% and retrained is back at the unpruned network's level."""
    table, most = pruned_t1(study, network), f"{network} {percent(SHOWN_RATIOS[-1])}"
    pruned, retrained = table.iloc[-2], table.iloc[-1]
    trained = tables.pick(overparameterization(study), "Conure-", most)
    reference = float(tables.scores(study, trained, ALL_POSITIONS).mean())
    half = retrained["effect"] >= pruned["effect"] / 2
    return decided(retrained["low"] > -MARGIN * reference, half, retrained)


@claim("C04")
def retraining_regains(study: Study) -> Finding:
    """Compare T1 pruned by 70% and retrained with unpruned (section 3.4, Fig. 3 a)."""
    return _regains(study, "normal")


@claim("C05")
def a_small_network_is_too_large(study: Study) -> Finding:
    """Decide C04 for a network of half the width and half the blocks (Fig. 3 b)."""
    return _regains(study, "small")


@claim("C11")
def retraining_improves(study: Study) -> Finding:
    """Compare Conure with Conure-, task by task (Table 2)."""
    pair = [(study.runs(["Conure"]), study.runs(["Conure-"]))]
    table = tables.compare(study, pair)
    ahead = table["effect"] > 0
    better = (table["clear"] & ahead).any()
    kept = not (table["clear"] & (table["effect"] < 0)).any()
    mean = tables.compare_means(study, pair, study.order).iloc[0]
    return decided(kept and better, kept and ahead.sum() > len(table) / 2, mean)


@claim("C17")
def half_is_enough(study: Study) -> Finding:
    """Compare T2 pruned by 50, 80 and 95% and retrained with Conure- (section 6.5, Fig. 7)."""
    runs = [run for run in pruning_ratios(study) if "T2" in run.stages]
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
    runs = embedding_pruning(study)
    variants = ("kernels and embedding", "kernels")
    pair = tuple(tables.pick(runs, "Conure", variant) for variant in variants)
    row = tables.compare_means(study, [pair], ["T1", "T2", "T3"]).iloc[0]
    within = row["low"] > -MARGIN and row["high"] < MARGIN
    return decided(within, abs(row["effect"]) < MARGIN, row)
