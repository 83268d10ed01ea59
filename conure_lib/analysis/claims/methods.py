"""Claims on the compared methods: C06 to C10, C12, C21 (Table 2 and Fig. 6, section 6.2)."""

import numpy as np
import pandas as pd

from conure_lib.analysis import tables
from conure_lib.analysis.claims.registry import MARGIN, NOT_TESTED, Finding, claim, decided
from conure_lib.analysis.stats import over_seeds
from conure_lib.study.study import Run, Study


def _means(study: Study, *pairs: tuple[str, str], tasks: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return ``compare_means`` of methods by name, over the tasks after T1 unless given."""
    runs = [(study.runs([ours]), study.runs([theirs])) for ours, theirs in pairs]
    return tables.compare_means(study, runs, tasks or study.order[1:])


@claim("C06")
def sinmo_is_the_worst(study: Study) -> Finding:
    """Compare SinMo with five other methods (Table 2)."""
    others = ("STL", "FineSmax", "MTL", "PeterRec", "Conure")
    table = _means(study, *(("SinMo", other) for other in others))
    behind = table["effect"] < 0
    clearly = (behind & table["clear"]).sum() >= 3
    return decided(behind.all() and clearly, behind.sum() >= 3, table.iloc[0])


@claim("C07")
def stl_beats_finesmax(study: Study) -> Finding:
    """Compare STL with FineSmax (Table 2)."""
    row = _means(study, ("STL", "FineSmax")).iloc[0]
    return decided(row["clear"] and row["effect"] >= MARGIN, row["effect"] > 0, row)


@claim("C08")
def as_good_as_stl(study: Study) -> Finding:
    """Compare Conure and PeterRec with STL (Table 2)."""
    table = _means(study, ("Conure", "STL"), ("PeterRec", "STL"))
    return decided(*(table[["low", "effect"]] > -MARGIN).all(), table.iloc[0])


@claim("C09", "T3")
def conure_wins_on_t3(study: Study) -> Finding:
    """Compare Conure- with STL and PeterRec on T3 (Table 2)."""
    pairs = [(study.runs(["Conure-"]), study.runs([name])) for name in ("STL", "PeterRec")]
    table = tables.compare(study, pairs, ["T3"])
    ahead = table["effect"] > 0
    clear = (ahead & table["clear"]).all()
    return decided(clear, ahead.all(), table.loc[table["effect"].idxmin()])


@claim("C10")
def profiles_do_not_suffer(study: Study) -> Finding:
    """Compare Conure with PeterRec over T4 to T6 (Table 2)."""
    tasks = tuple(task for task in ("T4", "T5", "T6") if task in study.order)
    if not tasks:
        return Finding(NOT_TESTED)
    row = _means(study, ("Conure", "PeterRec"), tasks=tasks).iloc[0]
    return decided(row["low"] > -MARGIN, row["effect"] > -MARGIN, row)


@claim("C12")
def mtl_stands_between(study: Study) -> Finding:
    """Compare MTL with SinMo, and STL, PeterRec and Conure with MTL (Table 2)."""
    better = [(name, "MTL") for name in ("STL", "PeterRec", "Conure")]
    table = _means(study, ("MTL", "SinMo"), *better)
    ahead = table["effect"] > 0
    return decided((ahead & table["clear"]).all(), ahead.all(), table.iloc[0])


@claim("C21")
def transfer_is_faster(study: Study) -> Finding:
    """Count epochs until SinMo's best validation value, against SinMo itself (Fig. 6)."""
    sinmo, conure, peterrec = (study.runs([name]) for name in ("SinMo", "Conure-", "PeterRec"))
    later = [list(map(_epochs_later, runs, sinmo)) for runs in (conure, peterrec)]
    effects = [over_seeds(seeds) for seeds in later]
    faster = (all(e.high < 0 for e in effects), all(e.mean < 0 for e in effects))
    return decided(*faster, effects[0], [*sinmo, *conure, *peterrec])


def _epochs_later(ours: Run, theirs: Run) -> float:
    """Return how many epochs later a run reaches the other's best value, mean of later tasks."""
    later = []
    for task in list(theirs.stages)[1:]:
        curves = [pd.DataFrame(run.stages[task].record()["curve"]) for run in (ours, theirs)]
        best = curves[1]["validation"].iloc[1:].max()
        reached = [curve["epoch"][curve["validation"] >= best].min() for curve in curves]
        never = [curve["epoch"].iloc[-1] + 1 for curve in curves]
        later.append(np.subtract(*np.where(np.isnan(reached), never, reached)))
    return np.mean(later)
