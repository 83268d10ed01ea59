"""Claims on forgetting, ownership and cost: C01, C02, C13, C19, C20 (sections 3.3 and 4)."""

import json

import numpy as np
import pandas as pd

from conure_lib import paths
from conure_lib.analysis import tables
from conure_lib.analysis.claims.registry import (
    NOT_REPRODUCED,
    NOT_TESTED,
    PARTLY,
    REPRODUCED,
    Finding,
    claim,
    ids_of,
)
from conure_lib.analysis.stats import estimate, over_seeds, paired_effect
from conure_lib.study.study import Study
from conure_lib.training.evaluation import reciprocal_ranks


@claim(
    "C01",
    "01_forgetting",
    "Training T2 on the unprotected network of T1 destroys T1 (MRR@5 from 0.0473 to 0.0010).",
    "REPRODUCED if at most a quarter of T1's test MRR@5 is left (upper end of the interval of what is left); "
    "PARTLY if it fell and p < 0.05; else NOT REPRODUCED. Effect: MRR@5 after minus before.",
    "MRR@5",
)
def unprotected_training_destroys_t1(study: Study) -> Finding:
    """C01 (section 3.3, Fig. 2): T1's test MRR@5 after an unprotected T2, against before."""
    runs = study.runs(["STL"])
    before = np.mean([reciprocal_ranks(r.stages["T1"].ranks("T1")) for r in runs], axis=0)
    after = np.mean([reciprocal_ranks(r.stages["T2"].ranks("T1-after")) for r in runs], axis=0)
    users = tables.test_users(study.stream, "T1")
    effect, left = paired_effect(after, before, users), estimate(after, users)
    verdict = PARTLY if effect.mean < 0 and effect.p < tables.ALPHA else NOT_REPRODUCED
    verdict = REPRODUCED if left.high <= before.mean() / 4 else verdict
    return Finding(
        verdict, effect.mean, effect.low, effect.high, effect.p, effect.p, effect.n, ids_of(runs)
    )


@claim(
    "C02",
    "01_forgetting",
    "Most weights move little (about 20%) while the last hidden vector changes drastically.",
    "Two halves: more than half of all kernel weights move by less than 20%; the mean cosine of a user's "
    "vectors before and after is below 0.5. REPRODUCED if both hold, PARTLY if one does, else NOT "
    "REPRODUCED. Effect: mean cosine, interval over seeds.",
    "cosine",
)
def weights_move_little_vectors_much(study: Study) -> Finding:
    """C02 (section 3.3, Fig. 2): how far kernel weights and user vectors moved during T2."""
    runs = study.runs(["STL"])
    notes = pd.DataFrame([r.stages["T2"].record()["notes"]["forgetting"] for r in runs])
    cosine = over_seeds(notes["hidden_cosine"].to_numpy())
    halves = (notes["share_moved_over_20_percent"].mean() < 0.5, cosine.mean < 0.5)
    verdict = (NOT_REPRODUCED, PARTLY, REPRODUCED)[sum(halves)]
    return Finding(verdict, cosine.mean, cosine.low, cosine.high, n=len(runs), run_ids=ids_of(runs))


@claim(
    "C13",
    "03_baselines",
    "One backbone serves all tasks with no forgetting at all.",
    "REPRODUCED if after every later stage the logits of every earlier task are equal to the last bit, for "
    "every seed; else NOT REPRODUCED. Effect: pairs of seed and task with a changed bit; n: such pairs.",
    "pairs with a changed bit",
)
def nothing_is_forgotten(study: Study) -> Finding:
    """C13 (sections 4 and 6.2): whether any bit of an earlier task's logits ever changed."""
    runs = study.runs(["Conure"])
    memory = pd.concat([tables.no_forgetting(run).assign(seed=run.seed) for run in runs])
    different = memory.groupby(["seed", "task"])["logits_sha256"].nunique() - 1
    verdict = REPRODUCED if (different == 0).all() else NOT_REPRODUCED
    return Finding(verdict, float((different > 0).sum()), n=len(different), run_ids=ids_of(runs))


@claim(
    "C19",
    "08_verdicts",
    "All tasks' masks together hold at most as many ones as there are convolution weights.",
    "REPRODUCED if for every seed the weights owned by all tasks together are at most all kernel weights, "
    "and each task's share is the predicted one (the product of the earlier ratios times its own share) "
    "within 0.1 points; else NOT REPRODUCED. Effect: share of the kernel weights that is owned after the "
    "last task; n: kernel weights.",
    "of the kernel weights",
)
def masks_never_exceed_the_weights(study: Study) -> Finding:
    """C19 (section 4, overhead): the weights that all tasks own together, and each task's predicted share."""
    runs, verdict, owned, weights = study.runs(["Conure"]), REPRODUCED, 0.0, 0
    for run in runs:
        table = tables.capacity(run).set_index("owner")
        free = 1.0
        for task in study.order:
            ratio = study.config.pruned(task)["kernels"]
            if abs(table.loc[task, "share"] - free * (1 - ratio)) > 0.001:
                verdict = NOT_REPRODUCED
            free *= ratio
        owned, weights = 1 - float(table.loc["free", "share"]), int(table["weights"].sum())
        if table.drop(index="free")["weights"].sum() > weights:
            verdict = NOT_REPRODUCED
    return Finding(verdict, owned, n=weights, run_ids=ids_of(runs))


@claim(
    "C20",
    "08_verdicts",
    "Inference costs only the masking, and nothing once the masked weights are materialised.",
    "From the committed measurement of inference (make bench): REPRODUCED if the materialised network takes "
    "at most 5% longer than a network of the same size without owners and masking on the fly adds at most "
    "10% to that, PARTLY if only the former holds, else NOT REPRODUCED; NOT TESTED without a measurement. "
    "Effect: relative time of the materialised network minus 1; n: rounds.",
    "relative",
)
def inference_costs_only_the_masking(study: Study) -> Finding:
    """C20 (section 4, inference): the committed measurement of serving, with and without masks."""
    path = paths.benchmarks() / "inference.json"
    if not path.is_file():
        return Finding(NOT_TESTED)
    found = json.loads(path.read_text(encoding="utf-8"))
    materialised, masked = found["materialised"], found["masked"]
    verdict = NOT_REPRODUCED if materialised["median"] > 1.05 else PARTLY
    verdict = REPRODUCED if verdict == PARTLY and masked["median"] <= 1.1 else verdict
    effect = (materialised[name] - 1 for name in ("median", "low", "high"))
    return Finding(verdict, *effect, n=found["rounds"])
