"""Recompute one seed of the committed evidence here, and say what differs."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy import stats

from conure_lib.analysis.claims import ledger
from conure_lib.errors import ConfigError
from conure_lib.pipeline import provenance
from conure_lib.pipeline.store import LocalStore, Stored, evidence_ranks
from conure_lib.study.experiments import all_runs
from conure_lib.study.study import load_study

IDENTICAL, WITHIN, OUTSIDE, DIFFERENT = "identical", "within the spread", "outside it", "DIFFERENT"
KEYS = ["method", "variant", "task", "measure"]


def reproduce(dataset: str, profile: str, seed: int, workers: int = 1) -> pd.DataFrame:
    """Recompute one committed seed here and compare it with the evidence, measure by measure.

    low and high bound where one more fold lies with 95% probability given the committed ones. The
    outcome is "identical" if every rank is the same; else "within the spread" or "outside it" on
    another kind of processor, and "DIFFERENT" on the same kind, which must not be.
    """
    committed = load_study(dataset, profile)
    if seed not in (published := committed.store.seeds):
        expected = f"expected a committed one of {dataset}: {', '.join(map(str, published))}"
        raise ConfigError(f"--seed: found {seed}, {expected}")
    old = load_study(dataset, profile, [seed])
    new = load_study(dataset, profile, [seed], "local")
    if (here := new.config.device) != (there := old.config.device):
        said = f"device: found {here!r}, expected {there!r}, where the committed networks were"
        raise ConfigError(f"{said} trained (CONURE_DEVICE={there})")
    found = []
    everything = (  # some experiments run on few seeds
        [group for group in all_runs(study) if seed in group[0].config.seeds]
        for study in (committed, old, new)
    )
    for (several, known), (_, before), (study, after) in zip(*everything, strict=True):
        study.compute(after, workers)
        table = old.results(before).merge(study.results(after), "left", KEYS, validate="1:1")
        table = table.join(one_more_seed(several.results(known)), on=KEYS)
        stages = [
            (old.store.read(a), new.store.read(b), measure)
            for a, b, measure in table[["stage_id_x", "stage_id_y", "measure"]].to_numpy()
        ]
        ranks = [
            (evidence_ranks(m, a.ranks[m]), evidence_ranks(m, b.ranks[m])) for a, b, m in stages
        ]
        equal = [np.array_equal(*two) for two in ranks]
        kinds = [{provenance.kind(one.environment) for one in two} for *two, _ in stages]
        found.append(table.assign(equal=equal, same=[len(two) == 1 for two in kinds]))
    table = pd.concat(found).rename(columns={"value_x": "committed", "value_y": "recomputed"})
    within = table["recomputed"].between(table["low"], table["high"])
    cases = [table["equal"], table["same"], within]
    table["outcome"] = np.select(cases, [IDENTICAL, DIFFERENT, WITHIN], OUTSIDE)
    return table[[*KEYS, "committed", "recomputed", "low", "high", "outcome"]]


def one_more_seed(results: pd.DataFrame) -> pd.DataFrame:
    """Return where one more seed lies with 95% probability; anywhere after a single one."""
    of = results.groupby(KEYS)["value"].agg(["mean", "std", "count"])
    half = stats.t.ppf(0.975, of["count"] - 1) * of["std"] * np.sqrt(1 + 1 / of["count"])
    half = half.fillna(np.inf)
    return pd.DataFrame({"low": of["mean"] - half, "high": of["mean"] + half})


def verdicts(dataset: str, profile: str, seed: int) -> pd.DataFrame:
    """Return whether each published verdict stays if one seed is that of ``reproduce``."""
    published, recomputed = (load_study(dataset, profile) for _ in range(2))
    own, committed = LocalStore(), published.store

    def read(stage_id: str) -> Stored | None:
        return (own if stage_id.split(".")[-2] == f"s{seed}" else committed).read(stage_id)

    recomputed.store = SimpleNamespace(read=read)
    recomputed.ready = lambda runs: None  # two kinds of processors are the point of it
    studies = {"published": published, "recomputed": recomputed}
    verdicts = {name: ledger(s).set_index("claim")["verdict"] for name, s in studies.items()}
    table = pd.DataFrame(verdicts).reset_index()
    return table.assign(stays=table["published"] == table["recomputed"])
