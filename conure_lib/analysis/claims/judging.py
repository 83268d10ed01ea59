"""How results become a verdict; ``general`` in ``claims.yaml`` says it in words."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from conure_lib import paths
from conure_lib.analysis import costs, floors, tables
from conure_lib.analysis.stats import (
    NAN,
    VERDICTS,
    beyond,
    detectable,
    holm,
    over_seeds,
    relative_over_seeds,
    wider,
)
from conure_lib.files import read_json
from conure_lib.study.experiments import EXPERIMENTS, backbones, continual_learners, convergence
from conure_lib.study.study import Run, Study

REPRODUCED, PARTLY, NOT_REPRODUCED, CANNOT_TELL, NOT_TESTED = VERDICTS
ENDS = ("low", "high", "seeds_low", "seeds_high")  # of the intervals over users and over seeds
RECOVERED_SHARE, QUICK_EPOCHS = 0.95, 5  # of a validation value; epochs


@dataclass(frozen=True)
class Finding:
    """What the rule of a claim found: the columns of the ledger that follow from results."""

    verdict: str
    reason: str = ""  # one phrase
    paper: float = NAN  # the paper's effect
    effect: float = NAN  # what the rule calls so
    effect_verdict: str = ""  # of the part that the effect is of, where a claim has several
    ci_low: float = NAN  # the outer ends of the 95% intervals over users and over seeds
    ci_high: float = NAN
    smallest: float = NAN  # effect of interest, or the margin
    detectable: float = NAN  # the smallest effect that this data would have shown, on that side
    p: float = NAN  # of what is claimed, over users: an effect, or staying within the margin
    p_corrected: float = NAN  # by Holm, over the tests of the rule
    p_seeds: float = NAN
    n: int = 0
    seeds: int = 0
    run_ids: str = ""


@dataclass(frozen=True)
class Claim:
    """One claim of the paper: its entry in ``claims.yaml``, and the function that decides it."""

    id: str
    section: str
    notebook: str
    title: str
    statement: str
    rule: str
    unit: str
    decide: Callable[[Study, "Claim"], Finding]
    revised: str = ""  # what of the rule was decided or corrected after results had been seen
    by_construction: bool = False  # true of any network, so not counted among the reproduced
    experiment: str = ""  # whose runs are compared, beside those of the study
    comparisons: Sequence[Mapping[str, Any]] = ()  # each a part of the claim, read by ``judge``
    quick: Mapping[str, Any] | None = None  # one part more: a few epochs suffice
    needs: int | None = None  # this and the next one: see ``together``
    worst: bool = False
    smallest: float = NAN  # effect of interest, where it is no comparison's
    again: Sequence[str] = ()  # claims that C24 judges with other networks


def judge_effect(row: Mapping, smallest: float, by_far: bool = False) -> tuple[str, str]:
    """Return the verdict on an effect and why; the sign of ``smallest`` is the claimed side.

    by_far: the estimate itself has to reach ``smallest``.
    """
    side, bar = (1 if smallest > 0 else -1), abs(smallest)
    _, high = _bounds(row, side)
    if row["clear"] and side * row["effect"] > 0:
        enough = side * row["effect"] >= bar if by_far else high >= bar
        return (REPRODUCED, "clear") if enough else (PARTLY, f"clear, but smaller than {bar:.1%}")
    if high < bar:
        return NOT_REPRODUCED, f"an effect of {smallest:+.1%} is excluded"
    if side * row["effect"] < 0:
        return CANNOT_TELL, f"of the other sign, but {smallest:+.1%} is possible"
    if row["p_holm"] < tables.ALPHA:
        return CANNOT_TELL, f"not clear over seeds (p = {row['p_seeds']:.3f})"
    if (could := detectable(*_bounds(row))) > bar:
        return CANNOT_TELL, f"too few data: {could:.1%} would show, of interest is {bar:.1%}"
    if row["p_seeds"] < tables.ALPHA and row["p"] < tables.ALPHA:
        return CANNOT_TELL, f"not clear after Holm's correction (p = {row['p_holm']:.3f})"
    return CANNOT_TELL, f"not clear, but {smallest:+.1%} is possible"


def judge_margin(row: Mapping, margin: float, two_sided: bool = False) -> tuple[str, str]:
    """Return the verdict on staying above minus the margin (or on both sides of it), and why."""
    low, high = _bounds(row)
    if low > -margin and not (two_sided and high >= margin):
        return REPRODUCED, f"within {margin:.0%}" if two_sided else f"at most {margin:.0%} worse"
    if high < -margin or (two_sided and low > margin):
        return NOT_REPRODUCED, f"{'beyond' if two_sided else 'worse by over'} {margin:.0%}"
    return CANNOT_TELL, f"over {margin:.0%} {'apart' if two_sided else 'worse'} is possible"


def _bounds(row: Mapping, side: int = 1) -> tuple[float, float]:
    """Return the outer ends of the intervals over users and over seeds, the claimed side up."""
    ends = side * np.array([row[name] for name in ENDS])
    return float(ends.min()), float(ends.max())


def judge(row: Mapping, one: Mapping) -> Finding:
    """Judge a row of ``tables.mean_effect`` as its comparison in ``claims.yaml`` says."""
    tests = {name: row[name] for name in ("p", "p_seeds")} | {"p_corrected": row.get("p_holm", NAN)}
    if "smallest" in one:
        bar = one["smallest"]
        verdict, reason = judge_effect(row, bar, one.get("by_far", False))
    else:
        bar, two_sided = one["margin"], one.get("two_sided", False)
        verdict, reason = judge_margin(row, bar, two_sided)
        for name, sample, n in (("p", "users", np.inf), ("p_seeds", "seeds", row["seeds"])):
            effect, low, high = (row[key] for key in ("effect", f"{sample}_low", f"{sample}_high"))
            above, below = beyond(effect, low, high, -bar, n), beyond(-effect, -high, -low, -bar, n)
            tests[name] = max(above, below) if two_sided else above
        tests["p_corrected"] = NAN  # each margin is a question of its own
        bar = bar if two_sided else -bar
    if row["seeds"] < 2 and verdict == CANNOT_TELL:
        reason = "a single training"
    numbers = {name: row[name] for name in ("effect", "n", "seeds", "run_ids")}
    numbers |= {"ci_low": row["low"], "ci_high": row["high"], "smallest": bar}
    if (could := detectable(row["low"], row["high"])) < 1 or bar > 0:  # nothing loses over 100%
        numbers["detectable"] = float(np.copysign(could, bar))
    return Finding(verdict, reason, **numbers, **tests)


def together(verdicts: Sequence[str], needs: int | None = None, worst: bool = False) -> str:
    """Return the verdict on a claim of several parts.

    needs: how many have to be reproduced (all), and no other refuted. worst: a part that is refuted
    refutes the claim.
    """
    if NOT_REPRODUCED not in verdicts and verdicts.count(REPRODUCED) >= (needs or len(verdicts)):
        return REPRODUCED
    if {REPRODUCED, PARTLY} & {*verdicts} and not (worst and NOT_REPRODUCED in verdicts):
        return PARTLY
    return NOT_REPRODUCED if NOT_REPRODUCED in verdicts else CANNOT_TELL


def combine(parts: Mapping[str, Finding], verdict: str | None = None) -> Finding:
    """Return the finding of a claim of parts by name; its numbers are those of the first."""
    first, *_ = found = list(parts.values())
    reason, same = first.reason, {}
    for name, part in parts.items():
        same.setdefault(part.reason, []).append(name)
    if len(same) > 1:
        reason = "; ".join(f"{', '.join(names)}: {why}" for why, names in same.items())
    ids = dict.fromkeys(name for part in found for name in part.run_ids.split())
    verdict = verdict or together([part.verdict for part in found])
    numbers = {"reason": reason, "effect_verdict": first.verdict, "run_ids": " ".join(ids)}
    return replace(first, verdict=verdict, **numbers)


def compared(study: Study, claim: Claim) -> Finding:
    """Decide a claim by the comparisons that its entry lists."""
    runs = EXPERIMENTS[claim.experiment](study) if claim.experiment else []
    if claim.experiment and not runs:
        return Finding(NOT_TESTED, "there is no such task")
    parts = _parts(study, runs, claim.comparisons)
    profiles = {one["name"] for one in claim.comparisons if one.get("apart")}
    main = {name: part for name, part in parts.items() if name not in profiles}
    apart = {name: part for name, part in parts.items() if name in profiles}
    if not main:
        return Finding(NOT_TESTED, "there is no such task")
    if claim.quick and next(iter(main.values())).n:
        main["epochs"] = _quick(study, runs, claim.quick)
    verdict = together([part.verdict for part in main.values()], claim.needs, claim.worst)
    told = [part.verdict for part in apart.values() if part.verdict != CANNOT_TELL]
    without = verdict
    if told:
        verdict = together([verdict, together(told, worst=claim.worst)], worst=claim.worst)
    for name, part in apart.items():
        if part.verdict == CANNOT_TELL:
            apart[name] = replace(part, reason=f"left out, {part.reason}")
    found = combine(main | apart, verdict)
    if without == NOT_REPRODUCED != verdict:
        found = replace(found, reason=f"{found.reason}; partly by the profiles alone")
    return replace(found, seeds=len(study.config.seeds))


def not_learned(study: Study, tasks: str) -> str:
    """Say why tasks are not judged."""
    return f"{tasks} not learned" if len(study.config.seeds) > 1 else f"{tasks}: a single training"


def _parts(study: Study, runs: list[Run], comparisons: Sequence[Mapping]) -> dict[str, Finding]:
    """Judge comparisons; those of effects are one family of tests. Without a task: left out."""
    rows = [_row(study, runs, one) for one in comparisons]
    tests = [row for one, row in zip(comparisons, rows, strict=True) if row and "smallest" in one]
    for row, p in zip(tests, holm([row["p"] for row in tests]), strict=True):
        row |= {"p_holm": p, "clear": tables.is_clear(p, row["p_seeds"])}
    parts = {}
    for one, row in zip(comparisons, rows, strict=True):
        asked = _asked(study, one)
        missing = [task for task in asked if task not in row.get("task", "").split()]
        missing = ", ".join(map(tables.task_of, missing))
        bar = one.get("smallest", one.get("margin", NAN) * (1 if one.get("two_sided") else -1))
        found = Finding(CANNOT_TELL, not_learned(study, missing), smallest=bar)
        if row:
            found = judge(row, one)
            without = f" (without {missing})" if missing else ""
            found = replace(found, reason=found.reason + without)
        if asked:
            parts[one.get("name", "")] = replace(found, paper=one.get("paper", NAN))
    return parts


def _asked(study: Study, one: Mapping) -> list[str]:
    """Return the measures of a comparison that there are: "-after" of all tasks but the last."""
    *before, last = study.order
    of = {name: before if name.endswith("-after") else [*before, last] for name in one["tasks"]}
    return [name for name, tasks in of.items() if tables.task_of(name) in tasks]


def _row(study: Study, runs: list[Run], one: Mapping) -> dict[str, Any]:
    """Return a comparison over those of its tasks that networks have learned; {} without any."""
    learned = floors.learned(study)
    tasks = [task for task in _asked(study, one) if learned[tables.task_of(task)]]
    with suppress(ZeroDivisionError):  # a reference of 0: nothing was learned
        if tasks:
            ours, theirs = (_named(study, runs, one[side], tasks) for side in ("ours", "theirs"))
            times = max(len(ours), len(theirs))  # one method against the mean of several
            both = (some * (times // len(some)) for some in (ours, theirs))
            row = tables.mean_effect(study, *both, tasks)
            return row | {"n": row["n"] * min(len(ours), len(theirs)) // times}  # each once
    return {}


def _named(study: Study, runs: list[Run], names: str | list[str], tasks: list[str]) -> list[Run]:
    """Return the runs of "METHOD" or of an experiment's "METHOD (VARIANT)", or of several."""
    found, needed = [], {tables.task_of(task) for task in tasks}
    for name in [names] if isinstance(names, str) else names:
        method, _, variant = name.rstrip(")").partition(" (")
        some = tables.pick(runs, method, variant) if variant else study.runs([method])
        found += [run for run in some if needed <= run.stages.keys()]
    study.ready(found)
    return found


def _quick(study: Study, runs: list[Run], one: Mapping) -> Finding:
    """Judge whether a few epochs bring ours to 95% of the best validation value of theirs."""
    task = one["task"]
    pair = (_named(study, runs, one[side], [task]) for side in ("ours", "theirs"))
    epochs = tables.epochs_to_reach(*pair, task, RECOVERED_SHARE)
    few = epochs[epochs > 0] <= QUICK_EPOCHS
    if few.empty:
        return Finding(CANNOT_TELL, "no seed had anything to regain")
    verdict = REPRODUCED if all(few) else CANNOT_TELL if any(few) else NOT_REPRODUCED
    return Finding(verdict, f"{sum(few)} of {len(few)} seeds within {QUICK_EPOCHS}")


def epochs_to_best(run: Run, task: str) -> float:
    """Return after how many epochs, at least one, a run reaches 95% of its own best value."""
    stage = run.stages[task]
    return max(1, tables.epochs_until(stage, tables.best_validation(stage), RECOVERED_SHARE))


# Claims that are no comparisons between scores: a function each, named after its claim.

BELOW = {"hidden_cosine": ("vectors", 0.5), "median_relative_change": ("weights", 0.4)}  # C02
FASTER = ("Conure-", "PeterRec")  # C21
MIN_GROWTH, MAX_GROWTH = 0.9, 0.05  # C23: backbones a task
ENOUGH = 3  # C24: of the five verdicts


def c02(study: Study, claim: Claim) -> Finding:
    """Measure how far kernel weights and user vectors moved during T2 (section 3.3, Fig. 2)."""
    rates, parts = {"searched": study.runs(["STL"])}, {}
    rates["common"] = tables.pick(convergence(study), "STL")
    study.ready(run for runs in rates.values() for run in runs)
    for rate, runs in rates.items():
        notes = pd.DataFrame([r.stages["T2"].record()["notes"]["forgetting"] for r in runs])
        for column, (what, bound) in BELOW.items():
            found = over_seeds(notes[column])
            verdict = NOT_REPRODUCED if found.low > bound else CANNOT_TELL
            verdict = REPRODUCED if found.high < bound else verdict
            effect = {"effect": found.mean, "ci_low": found.low, "ci_high": found.high}
            reason = f"{verdict.lower()} ({found.mean:.2f}, bound {bound:g})"
            part = Finding(verdict, reason, **effect, n=found.n, **_of(runs))
            parts[f"{what} at the {rate} rate"] = part
    return combine(parts)


def c13(study: Study, claim: Claim) -> Finding:
    """Count the tasks of which any bit changed after they were learned (sections 4 and 6.2)."""
    runs = study.runs(["Conure"])
    memory = pd.concat([tables.no_forgetting(run).assign(seed=run.seed) for run in runs])
    changed = memory.groupby(["seed", "task"])["changed"].any()
    verdict = NOT_REPRODUCED if changed.any() else REPRODUCED
    numbers = {"effect": float(changed.sum()), "n": len(changed)}
    return Finding(verdict, f"{len(memory)} comparisons bit by bit", **numbers, **_of(runs))


def c19(study: Study, claim: Claim) -> Finding:
    """Compare each task's share of the kernel weights with the predicted one (section 4)."""
    runs = study.runs(["Conure"])
    pruned = np.array([study.config.pruned(task)["kernels"] for task in study.order])
    predicted = (1 - pruned) * np.cumprod([1, *pruned[:-1]])
    found = [tables.capacity(run).set_index("owner") for run in runs]
    off = max(np.abs(one["share"][[*study.order]] - predicted).max() for one in found)
    owned, weights = 1 - float(found[-1].loc["free", "share"]), int(found[-1]["weights"].sum())
    verdict = REPRODUCED if off <= 0.001 and owned <= 1 else NOT_REPRODUCED
    reason = f"shares off by {off:.2%} at most"
    return Finding(verdict, reason, effect=owned, n=weights, **_of(runs))


def _of(runs: list[Run]) -> dict[str, int | str]:
    ids = " ".join(dict.fromkeys(run.id for run in runs))
    return {"seeds": len({run.seed for run in runs}), "run_ids": ids}


def c20(study: Study, claim: Claim) -> Finding:
    """Read the measurement of inference with and without masks (section 4, inference)."""
    path = paths.benchmarks() / "inference.json"
    if not path.is_file():
        return Finding(NOT_TESTED, "there is no measurement")
    found = read_json(path)
    time, masked = found["materialised"], found["masked"]["median"]
    as_fast = time["median"] <= 1.05
    verdict = REPRODUCED if as_fast and masked <= 1.1 else PARTLY if as_fast else NOT_REPRODUCED
    why = f"one measurement for all datasets; masking on the fly takes {masked - 1:+.1%}"
    numbers = {"ci_low": time["low"] - 1, "ci_high": time["high"] - 1, "n": found["rounds"]}
    return Finding(verdict, why, effect=time["median"] - 1, **numbers)


def c21(study: Study, claim: Claim) -> Finding:
    """Count epochs at one learning rate, against SinMo's (Fig. 6); only seeds are a sample."""
    tasks = [task for task in ("T2", "T3") if floors.learned(study).get(task)]
    if not tasks:
        return Finding(CANNOT_TELL, not_learned(study, "T2, T3"))
    study.ready(runs := convergence(study))
    used = {name: tables.pick(runs, name) for name in ("SinMo", *FASTER)}
    epochs, rows = {}, {}
    for name, some in used.items():
        epochs[name] = np.mean([[epochs_to_best(run, t) for run in some] for t in tasks], axis=0)
    for name in FASTER:
        e = relative_over_seeds([(epochs[name] - epochs["SinMo"], epochs["SinMo"])])
        row = {"effect": e.mean, "p": e.p, "n": e.n} | wider(e, e)
        rows[name] = row | _of([*used["SinMo"], *used[name]])
    for row, p in zip(rows.values(), holm([row["p"] for row in rows.values()]), strict=True):
        row |= {"p_holm": p, "p_seeds": row["p"], "clear": p < tables.ALPHA}
    found = {name: judge(row, vars(claim)) for name, row in rows.items()}
    return replace(combine(found), p=NAN, p_corrected=NAN)


def _left_out(study: Study, learners: Sequence[str]) -> Finding | None:
    """Return the finding where the study's settings leave some of these learners out."""
    computed = {run.method for run in continual_learners(study)}
    missing = [name for name in learners if name not in computed]
    return Finding(NOT_TESTED, f"no results of {' and '.join(missing)}") if missing else None


def c22(study: Study, claim: Claim) -> Finding:
    """Compare old tasks after the last one with when they were learned (section 2.3)."""
    if missing := _left_out(study, ["EWC", "LwF"]):
        return missing
    found, kept = compared(study, claim), c13(study, claim).verdict
    verdict = found.verdict if kept == REPRODUCED else together([found.verdict, kept])
    return replace(found, verdict=verdict, reason=f"{found.reason}; Conure: {kept.lower()}")


def c23(study: Study, claim: Claim) -> Finding:
    """Count what serving and learning on take after two tasks and after all (section 2.3)."""
    if missing := _left_out(study, ["EWC"]):
        return missing
    seed, order, grown, counted = study.config.seeds[0], study.order, {}, []
    for name in ("EWC", "Conure"):
        two, every = (study.run(name, seed, order[:n]) for n in (2, len(order)))
        size = costs.sizes(study, every)
        before, after = (costs.table(study, [run])["stored"].iloc[0] for run in (two, every))
        new = after - before - sum(size[task] for task in order[2:])
        grown[name] = float(new / size["backbone"] / (len(order) - 2))
        counted += [two, every]
    held = (grown["EWC"] >= MIN_GROWTH, grown["Conure"] <= MAX_GROWTH)
    verdict = REPRODUCED if all(held) else PARTLY if any(held) else NOT_REPRODUCED
    reason = f"EWC {grown['EWC']:.2f}, Conure {grown['Conure']:.3f} backbones a task"
    return Finding(verdict, reason, effect=grown["EWC"], **_of(counted))


def c24(study: Study, claim: Claim) -> Finding:
    """Judge claims again with other networks, which must forget nothing either (section 3.2)."""
    from conure_lib.analysis.claims import CLAIMS  # which is made with this module

    if not (others := backbones(study)):
        return Finding(NOT_TESTED, "no results of other backbones")
    again = [CLAIMS[name] for name in claim.again]
    own = [one.decide(study, one).verdict for one in again]
    told, opposed, reasons = [], 0, []
    for network, other in others.items():
        pairs = {
            one.id: {mine, one.decide(other, one).verdict}
            for one, mine in zip(again, own, strict=True)
        }
        can = [name for name, pair in pairs.items() if not pair & {CANNOT_TELL, NOT_TESTED}]
        against = [name for name in can if pairs[name] == {REPRODUCED, NOT_REPRODUCED}]
        alike = [name for name in can if len(pairs[name]) == 1]
        told.append(len(can))
        opposed += len(against)
        said = {"can tell": can, "alike": alike, "contradict": against}
        said = (f"{what} {', '.join(names) or 'none'}" for what, names in said.items())
        reasons.append(f"{network}: {', '.join(said)}")
    verdict = PARTLY if opposed else REPRODUCED if min(told) >= ENOUGH else CANNOT_TELL
    if any(c13(other, claim).verdict != REPRODUCED for other in others.values()):
        verdict = NOT_REPRODUCED
    runs = [run for other in others.values() for run in other.runs(["Conure"])]
    numbers = {"effect": float(opposed), "n": sum(told)}
    return Finding(verdict, "; ".join(reasons), **numbers, **_of(runs))
