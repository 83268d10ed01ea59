"""Claims on other continual learners and other networks: C22, C23 (section 2.3), C24 (3.2)."""

from dataclasses import replace

from conure_lib.analysis import costs
from conure_lib.analysis.claims.judging import (
    NOT_REPRODUCED,
    NOT_TESTED,
    PARTLY,
    REPRODUCED,
    Finding,
    compared,
    together,
)
from conure_lib.analysis.claims.registry import CLAIMS, TEXTS, claim
from conure_lib.methods import METHODS
from conure_lib.study.study import Study

GROWS, STAYS = 0.9, 0.05  # C23: backbones a task


@claim("C22")
def others_go_on_forgetting(study: Study) -> Finding:
    """Compare old tasks after the last one with when they were learned (section 2.3)."""
    if not {"EWC", "LwF"} <= set(METHODS):
        return Finding(NOT_TESTED, "there is no EWC, no LwF")
    found, kept = compared(study, TEXTS["C22"]), CLAIMS["C13"].decide(study).verdict
    verdict = found.verdict if kept == REPRODUCED else together([found.verdict, kept])
    return replace(found, verdict=verdict, reason=f"{found.reason}; Conure: {kept.lower()}")


@claim("C23")
def storage_grows(study: Study) -> Finding:
    """Count what serving and learning on take after two tasks and after all (section 2.3)."""
    if "EWC" not in METHODS:
        return Finding(NOT_TESTED, "there is no EWC")
    seed, order = study.config.seeds[0], study.order
    grown = {}
    for name in ("EWC", "Conure"):
        runs = [study.run(name, seed, order[:n]) for n in (2, len(order))]
        size = costs.sizes(study, runs[-1])
        stored = [costs.table(study, [run])["stored"].iloc[0] for run in runs]
        new = stored[1] - stored[0] - sum(size[task] for task in order[2:])
        grown[name] = float(new / size["backbone"] / (len(order) - 2))
    held = (grown["EWC"] >= GROWS, grown["Conure"] <= STAYS)
    verdict = REPRODUCED if all(held) else PARTLY if any(held) else NOT_REPRODUCED
    reason = f"EWC {grown['EWC']:.2f}, Conure {grown['Conure']:.3f} backbones a task"
    return Finding(verdict, reason, effect=grown["EWC"])


@claim("C24")
def any_network_will_do(study: Study) -> Finding:
    """Say that no other backbone has been studied (section 3.2)."""
    return Finding(NOT_TESTED, "no results of other backbones")
