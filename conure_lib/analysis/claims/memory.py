"""Claims on forgetting, ownership and cost: C01, C02, C13, C19, C20 (sections 3.3 and 4)."""

from dataclasses import replace

import numpy as np
import pandas as pd

from conure_lib import paths
from conure_lib.analysis import tables
from conure_lib.analysis.claims.registry import NOT_TESTED, Finding, claim, decided
from conure_lib.analysis.stats import NAN, Estimate, estimate, over_seeds, paired_effect
from conure_lib.files import read_json
from conure_lib.study.study import Study
from conure_lib.training.evaluation import scores_of


@claim("C01")
def unprotected_training_destroys_t1(study: Study) -> Finding:
    """Compare T1's test MRR@5 after an unprotected T2 with before (section 3.3, Fig. 2)."""
    runs = study.runs(["STL"])
    before = np.mean([scores_of("sequence", r.stages["T1"].ranks("T1")) for r in runs], axis=0)
    after = np.mean([scores_of("sequence", r.stages["T2"].ranks("T1-after")) for r in runs], axis=0)
    users = tables.test_users(study.stream, "T1")
    effect, left = paired_effect(after, before, users), estimate(after, users)
    fell = effect.mean < 0 and effect.p < tables.ALPHA
    return decided(left.high <= before.mean() / 4, fell, effect, runs)


@claim("C02")
def weights_move_little_vectors_much(study: Study) -> Finding:
    """Measure how far kernel weights and user vectors moved during T2 (section 3.3, Fig. 2)."""
    runs = study.runs(["STL"])
    notes = pd.DataFrame([r.stages["T2"].record()["notes"]["forgetting"] for r in runs])
    cosine = over_seeds(notes["hidden_cosine"])
    halves = (notes["share_moved_over_20_percent"].mean() < 0.5, cosine.mean < 0.5)
    return decided(all(halves), any(halves), replace(cosine, p=NAN), runs)


@claim("C13")
def nothing_is_forgotten(study: Study) -> Finding:
    """Count the tasks of which any bit changed after they were learned (sections 4 and 6.2)."""
    runs = study.runs(["Conure"])
    memory = pd.concat([tables.no_forgetting(run).assign(seed=run.seed) for run in runs])
    changed = memory.groupby(["seed", "task"])["changed"].any()
    return decided(not changed.any(), False, Estimate(float(changed.sum()), n=len(changed)), runs)


@claim("C19")
def masks_never_exceed_the_weights(study: Study) -> Finding:
    """Compare each task's share of the kernel weights with the predicted one (section 4)."""
    runs, as_predicted = study.runs(["Conure"]), []
    for run in runs:
        table, free = tables.capacity(run).set_index("owner"), 1.0
        for task in study.order:
            ratio = study.config.pruned(task)["kernels"]
            as_predicted.append(abs(table.loc[task, "share"] - free * (1 - ratio)) <= 0.001)
            free *= ratio
        owned, weights = 1 - float(table.loc["free", "share"]), int(table["weights"].sum())
        as_predicted.append(owned <= 1)
    return decided(all(as_predicted), False, Estimate(owned, n=weights), runs)


@claim("C20")
def inference_costs_only_the_masking(study: Study) -> Finding:
    """Read the measurement of inference with and without masks (section 4, inference)."""
    path = paths.benchmarks() / "inference.json"
    if not path.is_file():
        return Finding(NOT_TESTED)
    found = read_json(path)
    time, as_fast = found["materialised"], found["materialised"]["median"] <= 1.05
    effect = Estimate(*(time[x] - 1 for x in ("median", "low", "high")), n=found["rounds"])
    return decided(as_fast and found["masked"]["median"] <= 1.1, as_fast, effect)
