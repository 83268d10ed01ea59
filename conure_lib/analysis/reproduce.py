"""Recompute one seed of the committed evidence here, and say what differs."""

from collections import defaultdict

import numpy as np
import pandas as pd
from scipy import stats

from conure_lib.analysis.claims.registry import ledger
from conure_lib.pipeline import provenance
from conure_lib.study.experiments import all_runs
from conure_lib.study.study import load_study

IDENTICAL, WITHIN, OUTSIDE, DIFFERENT = "identical", "within the spread", "outside it", "DIFFERENT"


def reproduce(
    dataset: str, profile: str, seed: int, workers: int = 1, cluster: str | None = None
) -> pd.DataFrame:
    """Recompute one committed seed and compare every measure with the evidence.

    Parameters
    ----------
    dataset, profile, seed
        Of published results.
    workers, cluster
        Where to compute (``conure_lib.pipeline.scheduler.compute``).

    Returns
    -------
    DataFrame
        One row per run, task and measure: the committed and the recomputed value, the interval
        (low, high) in which one more seed lies with 95% probability given the committed seeds, and
        the outcome. "identical": every rank is the same. On another kind of processor "within the
        spread" or "outside it"; on the same kind "DIFFERENT", which must not be.
    """
    committed = load_study(dataset, profile)
    old = load_study(dataset, profile, [seed])
    new = load_study(dataset, profile, [seed], "local")
    rows, same_kind = [], True
    everything = (all_runs(study) for study in (committed, old, new))
    for (several, known), (_, old_runs), (study, new_runs) in zip(*everything, strict=True):
        study.compute(new_runs, workers, cluster)
        values = several.results(known).groupby(["method", "variant", "task", "measure"])["value"]
        for before, after in zip(old_runs, new_runs, strict=True):
            for task, stage in before.stages.items():
                own = after.stages[task]
                same_kind &= provenance.kind(stage.environment()) == provenance.kind(
                    own.environment()
                )
                found = {row["measure"]: row["value"] for row in own.record()["metrics"]}
                for row in stage.record()["metrics"]:
                    key = before.method, before.variant, task, row["measure"]
                    low, high = _interval_of_one_more(values.get_group(key).to_numpy())
                    ranks = (one.ranks(row["measure"]) for one in (stage, own))
                    equal = _equal(*ranks, stage.record()["cutoff"])
                    value = found[row["measure"]]
                    outcome = IDENTICAL if equal else WITHIN if low <= value <= high else OUTSIDE
                    rows.append((*key, row["value"], value, low, high, outcome))
    names = "method variant task measure committed recomputed low high outcome"
    table = pd.DataFrame(rows, columns=names.split())
    if same_kind:
        table.loc[table["outcome"] != IDENTICAL, "outcome"] = DIFFERENT
    return table


def verdicts(dataset: str, profile: str, seed: int) -> pd.DataFrame:
    """Return whether each verdict stays, once ``reproduce`` has computed the seed.

    Returns
    -------
    DataFrame
        One row per claim: the published verdict (all seeds), the verdicts of this seed alone by the
        evidence and as recomputed, and whether these two are the same (``stays``).
    """
    studies = {
        "published": load_study(dataset, profile),
        "committed": load_study(dataset, profile, [seed]),
        "recomputed": load_study(dataset, profile, [seed], "local"),
    }
    columns = defaultdict(dict)
    for name, study in studies.items():
        table = ledger(study)
        columns[name] = dict(zip(table["claim"], table["verdict"], strict=True))
    table = pd.DataFrame(columns).rename_axis("claim").reset_index()
    return table.assign(stays=table["committed"] == table["recomputed"])


def _interval_of_one_more(values: np.ndarray) -> tuple[float, float]:
    """Return the 95% prediction interval of a normal variable; everything if it was seen once."""
    n = len(values)
    if n < 2:
        return -np.inf, np.inf
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) * np.sqrt(1 + 1 / n)
    return float(values.mean() - half), float(values.mean() + half)


def _equal(committed: np.ndarray, recomputed: np.ndarray, cutoff: int) -> bool:
    """Return whether ranks are the same as far as the evidence tells them apart."""
    return np.array_equal(committed, np.where(recomputed > cutoff, 0, recomputed))
