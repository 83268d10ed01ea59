"""Recompute one seed of the committed evidence here, and say what differs."""

import numpy as np
import pandas as pd
from scipy import stats

from conure_lib.analysis.claims.registry import ledger
from conure_lib.pipeline import provenance
from conure_lib.pipeline.store import CommittedStore, LocalStore, Stored
from conure_lib.study.experiments import all_runs
from conure_lib.study.study import load_study

IDENTICAL, WITHIN, OUTSIDE, DIFFERENT = "identical", "within the spread", "outside it", "DIFFERENT"


def reproduce(
    dataset: str, profile: str, seed: int, workers: int = 1, cluster: str | None = None
) -> pd.DataFrame:
    """Recompute one committed seed here and compare it with the evidence, measure by measure.

    low and high bound where one more fold lies with 95% probability given the committed ones. The
    outcome is "identical" if every rank is the same; else "within the spread" or "outside it" on
    another kind of processor, and "DIFFERENT" on the same kind, which must not be.
    """
    committed = load_study(dataset, profile)
    old = load_study(dataset, profile, [seed])
    new = load_study(dataset, profile, [seed], "local")
    rows, kinds = [], set()
    everything = (all_runs(study) for study in (committed, old, new))
    for (several, known), (_, old_runs), (study, new_runs) in zip(*everything, strict=True):
        study.compute(new_runs, workers, cluster)
        values = several.results(known).groupby(["method", "variant", "task", "measure"])["value"]
        for before, after in zip(old_runs, new_runs, strict=True):
            for task, stage in before.stages.items():
                own = after.stages[task]
                kinds |= {provenance.kind(one.environment()) for one in (stage, own)}
                found = {row["measure"]: row["value"] for row in own.record()["metrics"]}
                for row in stage.record()["metrics"]:
                    key = before.method, before.variant, task, row["measure"]
                    low, high = _interval_of_one_more(values.get_group(key).to_numpy())
                    equal = np.array_equal(*(s.ranks(row["measure"]) for s in (stage, own)))
                    value = found[row["measure"]]
                    outcome = IDENTICAL if equal else WITHIN if low <= value <= high else OUTSIDE
                    rows.append((*key, row["value"], value, low, high, outcome))
    names = "method variant task measure committed recomputed low high outcome"
    table = pd.DataFrame(rows, columns=names.split())
    if len(kinds) == 1:
        table.loc[table["outcome"] != IDENTICAL, "outcome"] = DIFFERENT
    return table


class Exchanged:
    """Committed results in which one seed is one's own."""

    def __init__(self, committed: CommittedStore, seed: int) -> None:
        self.committed, self.own, self.seed = committed, LocalStore(), f"s{seed}"

    def read(self, stage_id: str) -> Stored | None:
        """Return verified results, None where there are none. Raises DamagedResultError."""
        own = stage_id.split(".")[-2] == self.seed
        return (self.own if own else self.committed).read(stage_id)


def verdicts(dataset: str, profile: str, seed: int) -> pd.DataFrame:
    """Return whether each published verdict stays if one seed is that of ``reproduce``."""
    published, recomputed = (load_study(dataset, profile) for _ in range(2))
    recomputed.store = Exchanged(published.store, seed)
    recomputed.ready = lambda runs: None  # two kinds of processors are the point of it
    studies = {"published": published, "recomputed": recomputed}
    verdicts = {name: ledger(s).set_index("claim")["verdict"] for name, s in studies.items()}
    table = pd.DataFrame(verdicts).reset_index()
    return table.assign(stays=table["published"] == table["recomputed"])


def _interval_of_one_more(values: np.ndarray) -> tuple[float, float]:
    """Return the 95% prediction interval of a normal variable; everything if it was seen once."""
    n = len(values)
    if n < 2:
        return -np.inf, np.inf
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) * np.sqrt(1 + 1 / n)
    return float(values.mean() - half), float(values.mean() + half)
