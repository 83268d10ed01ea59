"""Claims on weights, ownership and cost: C02, C13, C19, C20 (sections 3.3 and 4)."""

import pandas as pd

from conure_lib import paths
from conure_lib.analysis import tables
from conure_lib.analysis.claims.judging import (
    CANNOT_TELL,
    NOT_REPRODUCED,
    NOT_TESTED,
    PARTLY,
    REPRODUCED,
    Finding,
    Part,
    reasons,
    together,
)
from conure_lib.analysis.claims.registry import claim
from conure_lib.analysis.stats import Estimate, over_seeds
from conure_lib.files import read_json
from conure_lib.study.experiments import convergence
from conure_lib.study.study import Run, Study

MOVED, COSINE = 0.4, 0.5  # C02: weights move less, vectors turn further than that


@claim("C02")
def weights_move_little_vectors_much(study: Study) -> Finding:
    """Measure how far kernel weights and user vectors moved during T2 (section 3.3, Fig. 2)."""
    rates = {"searched": study.runs(["STL"]), "common": tables.pick(convergence(study), "STL")}
    parts, cosines = [], {}
    for rate, runs in rates.items():
        notes = pd.DataFrame([r.stages["T2"].record()["notes"]["forgetting"] for r in runs])
        cosines[rate] = over_seeds(notes["hidden_cosine"])
        weights = over_seeds(notes["median_relative_change"])
        for what, verdict in (
            ("weights", _below(weights, MOVED)),
            ("vectors", _below(cosines[rate], COSINE)),
        ):
            parts.append(Part(verdict, verdict.lower(), f"{what} at the {rate} rate"))
    runs = [run for several in rates.values() for run in several]
    verdict = together([part.verdict for part in parts])
    return _measured(verdict, reasons(parts), cosines["searched"], runs)


def _below(value: Estimate, bound: float) -> str:
    """Return whether an interval lies below a bound; without one nobody can tell."""
    if value.high < bound:
        return REPRODUCED
    return NOT_REPRODUCED if value.low > bound else CANNOT_TELL


@claim("C13")
def nothing_is_forgotten(study: Study) -> Finding:
    """Count the tasks of which any bit changed after they were learned (sections 4 and 6.2)."""
    runs = study.runs(["Conure"])
    memory = pd.concat([tables.no_forgetting(run).assign(seed=run.seed) for run in runs])
    changed = memory.groupby(["seed", "task"])["changed"].any()
    verdict, count = (NOT_REPRODUCED if changed.any() else REPRODUCED), float(changed.sum())
    found = Estimate(count, n=len(changed))
    return _measured(verdict, f"{len(memory)} comparisons bit by bit", found, runs)


@claim("C19")
def masks_never_exceed_the_weights(study: Study) -> Finding:
    """Compare each task's share of the kernel weights with the predicted one (section 4)."""
    runs, off = study.runs(["Conure"]), []
    for run in runs:
        table, free = tables.capacity(run).set_index("owner"), 1.0
        for task in study.order:
            ratio = study.config.pruned(task)["kernels"]
            off.append(abs(table.loc[task, "share"] - free * (1 - ratio)))
            free *= ratio
        owned, weights = 1 - float(table.loc["free", "share"]), int(table["weights"].sum())
    verdict = REPRODUCED if max(off) <= 0.001 and owned <= 1 else NOT_REPRODUCED
    found = Estimate(owned, n=weights)
    return _measured(verdict, f"shares off by {max(off):.2%} at most", found, runs)


@claim("C20")
def inference_costs_only_the_masking(study: Study) -> Finding:
    """Read the measurement of inference with and without masks (section 4, inference)."""
    path = paths.benchmarks() / "inference.json"
    if not path.is_file():
        return Finding(NOT_TESTED, "there is no measurement")
    found = read_json(path)
    time, masked = found["materialised"], found["masked"]["median"]
    as_fast = time["median"] <= 1.05
    verdict = REPRODUCED if as_fast and masked <= 1.1 else PARTLY if as_fast else NOT_REPRODUCED
    effect = Estimate(*(time[x] - 1 for x in ("median", "low", "high")), n=found["rounds"])
    return _measured(verdict, f"masking on the fly takes {masked - 1:+.1%}", effect, [])


def _measured(verdict: str, reason: str, found: Estimate, runs: list[Run]) -> Finding:
    """Return a finding that rests on no test between users."""
    ids = " ".join(dict.fromkeys(run.id for run in runs))
    seeds = len({run.seed for run in runs})
    effect = {"effect": found.mean, "ci_low": found.low, "ci_high": found.high, "n": found.n}
    return Finding(verdict, reason, **effect, seeds=seeds, run_ids=ids)
