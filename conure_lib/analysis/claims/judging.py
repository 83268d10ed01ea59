"""How comparisons become a verdict; ``general`` in ``claims.yaml`` says it in words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from conure_lib.analysis import floors, tables
from conure_lib.analysis.stats import NAN, VERDICTS, beyond, detectable
from conure_lib.study.experiments import EXPERIMENTS
from conure_lib.study.study import Run, Study

REPRODUCED, PARTLY, NOT_REPRODUCED, CANNOT_TELL, NOT_TESTED = VERDICTS
NEARLY, A_FEW = 0.95, 5  # of a validation value; epochs


@dataclass(frozen=True)
class Finding:
    """What the rule of a claim found: the columns of the ledger that follow from results.

    ``reason``: one phrase. ``effect`` is what the rule calls so, ``paper`` the paper's;
    ``smallest`` is the smallest effect of interest (or the margin), ``detectable`` the smallest
    that this data would have shown. ``p_corrected`` is Holm's over the tests of the rule.
    """

    verdict: str
    reason: str = ""
    paper: float = NAN
    effect: float = NAN
    ci_low: float = NAN
    ci_high: float = NAN
    smallest: float = NAN
    detectable: float = NAN
    p: float = NAN
    p_corrected: float = NAN
    p_seeds: float = NAN
    n: int = 0
    seeds: int = 0
    run_ids: str = ""


@dataclass(frozen=True)
class Part:
    """One comparison of a claim as judged; the row is one of ``tables.compare_means``."""

    verdict: str
    reason: str
    name: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)
    smallest: float = NAN
    paper: float = NAN
    p: float = NAN  # of what is claimed: an effect, or staying within the margin
    p_corrected: float = NAN


def judge_effect(row: Mapping, smallest: float, by_far: bool = False) -> tuple[str, str]:
    """Return the verdict on an effect and why; the sign of ``smallest`` is the claimed side.

    by_far: the estimate itself has to reach ``smallest``.
    """
    side, bar = (1 if smallest > 0 else -1), abs(smallest)
    _, high = _bounds(row, side)
    if row["clear"] and side * row["effect"] > 0:
        enough = side * row["effect"] >= bar if by_far else high >= bar
        return (REPRODUCED, "clear") if enough else (PARTLY, f"clear, but below {bar:.1%}")
    if high < bar:
        return NOT_REPRODUCED, f"{smallest:+.1%} is excluded"
    if row["seeds"] < 2:
        return CANNOT_TELL, "a single training"
    if row["p_holm"] < tables.ALPHA:
        return CANNOT_TELL, f"not clear over seeds (p = {row['p_seeds']:.2f})"
    if (could := detectable(row["low"], row["high"])) > bar:
        return CANNOT_TELL, f"could have shown {could:.1%}, of interest {bar:.1%}"
    return CANNOT_TELL, f"not clear, {smallest:+.1%} not excluded"


def judge_margin(row: Mapping, margin: float, two_sided: bool = False) -> tuple[str, str]:
    """Return the verdict on staying above minus the margin (or on both sides of it), and why."""
    low, high = _bounds(row, 1)
    if low > -margin and not (two_sided and high >= margin):
        return REPRODUCED, f"within {margin:.0%}"
    if high < -margin or (two_sided and low > margin):
        return NOT_REPRODUCED, f"beyond {margin:.0%}"
    if row["seeds"] < 2:
        return CANNOT_TELL, "a single training"
    return CANNOT_TELL, f"more than {margin:.0%} is possible"


def _bounds(row: Mapping, side: int = 1) -> tuple[float, float]:
    """Return the outer ends of the intervals over users and over seeds, the claimed side up."""
    ends = side * np.array([row[name] for name in ("low", "high", "seeds_low", "seeds_high")])
    return float(ends.min()), float(ends.max())


def together(verdicts: Sequence[str], needs: int | None = None, worst: bool = False) -> str:
    """Return the verdict on a claim of several parts.

    needs: how many have to be reproduced, all unless given, and no other refuted. worst: a part
    that is refuted refutes the claim.
    """
    if NOT_REPRODUCED not in verdicts and verdicts.count(REPRODUCED) >= (needs or len(verdicts)):
        return REPRODUCED
    if worst:
        return NOT_REPRODUCED if NOT_REPRODUCED in verdicts else CANNOT_TELL
    if {REPRODUCED, PARTLY} & {*verdicts}:
        return PARTLY
    return NOT_REPRODUCED if NOT_REPRODUCED in verdicts else CANNOT_TELL


def compared(study: Study, text: Mapping[str, Any]) -> Finding:
    """Decide a claim by the comparisons that its entry in ``claims.yaml`` lists."""
    runs = EXPERIMENTS[text["experiment"]](study) if "experiment" in text else []
    main, apart = (
        _parts(study, runs, [c for c in text["comparisons"] if c.get("apart", False) == flag])
        for flag in (False, True)
    )
    if not main:
        return Finding(NOT_TESTED, "there is no such task")
    if "quick" in text and main[0].row:
        main.append(_quick(study, runs, text["quick"]))
    needs, worst = text.get("needs"), text.get("worst", False)
    verdict = together([part.verdict for part in main], needs, worst)
    other = together([part.verdict for part in apart], None, worst) if apart else CANNOT_TELL
    verdict = verdict if other == CANNOT_TELL else together([verdict, other], worst=worst)
    ids = " ".join(part.row.get("run_ids", "") for part in (*main, *apart))
    found = finding(verdict, reasons([*main, *apart]), main[0], ids)
    return replace(found, seeds=len(study.config.seeds))


def finding(verdict: str, reason: str, part: Part, run_ids: str = "") -> Finding:
    """Return a finding whose numbers are those of one part."""
    numbers = {"paper": part.paper, "smallest": part.smallest}
    if row := part.row:
        numbers |= {"effect": row["effect"], "ci_low": row["low"], "ci_high": row["high"]}
        numbers |= {"detectable": detectable(row["low"], row["high"]), "p": part.p}
        numbers |= {"p_corrected": part.p_corrected, "p_seeds": row["p_seeds"]}
        numbers |= {"n": row["n"], "seeds": row["seeds"]}
    return Finding(verdict, reason, **numbers, run_ids=" ".join(dict.fromkeys(run_ids.split())))


def _parts(study: Study, runs: list[Run], comparisons: list[Mapping]) -> list[Part]:
    """Judge comparisons; those of effects are one family of tests. Without a task: left out."""
    rows = [_row(study, runs, one) for one in comparisons]
    tests = [row for one, row in zip(comparisons, rows, strict=True) if row and "smallest" in one]
    corrected = iter(tables.family(tests).to_dict("records") if tests else ())
    parts = []
    for one, row in zip(comparisons, rows, strict=True):
        head = {"name": one.get("name", ""), "paper": one.get("paper", NAN)}
        head["smallest"] = one.get("smallest", one.get("margin"))
        asked = [task for task in one["tasks"] if tables.task_of(task) in study.order]
        if not row:
            parts += [Part(CANNOT_TELL, f"{', '.join(asked)} not learned", **head)] if asked else []
            continue
        left_out = [task for task in asked if task not in row["task"].split()]
        if "smallest" in one:
            row = next(corrected)
            verdict, reason = judge_effect(row, one["smallest"], one.get("by_far", False))
            p, p_corrected = row["p"], row["p_holm"]
        else:
            two_sided = one.get("two_sided", False)
            verdict, reason = judge_margin(row, one["margin"], two_sided)
            ends = [(row["effect"], row["low"], row["high"])]
            ends += [(-row["effect"], -row["high"], -row["low"])] if two_sided else []
            p = p_corrected = max(beyond(*end, -one["margin"]) for end in ends)
        reason += f" (without {', '.join(left_out)})" if left_out else ""
        parts.append(Part(verdict, reason, row=row, p=p, p_corrected=p_corrected, **head))
    return parts


def _row(study: Study, runs: list[Run], one: Mapping) -> dict[str, Any]:
    """Return a comparison over those of its tasks that networks have learned; {} without any."""
    learned = floors.learned(study)
    tasks = [task for task in one["tasks"] if learned.get(tables.task_of(task))]
    if not tasks:
        return {}
    ours, theirs = (_named(study, runs, one[side], tasks) for side in ("ours", "theirs"))
    times = max(len(ours), len(theirs))  # one method against the mean of several
    ours, theirs = (some * (times // len(some)) for some in (ours, theirs))
    with suppress(ZeroDivisionError):  # a reference of 0: nothing was learned
        return tables.mean_effect(study, ours, theirs, tasks)
    return {}


def _quick(study: Study, runs: list[Run], one: Mapping) -> Part:
    """Judge whether a few epochs bring ours to 95% of the best validation value of theirs."""
    task = one["task"]
    ours, theirs = (_named(study, runs, one[side], [task]) for side in ("ours", "theirs"))
    levels = [NEARLY * tables.best_validation(run.stages[task]) for run in theirs]
    pairs = zip(ours, levels, strict=True)
    epochs = [tables.epochs_until(run.stages[task], level) for run, level in pairs]
    few = [number <= A_FEW for number in epochs]
    verdict = REPRODUCED if all(few) else CANNOT_TELL if any(few) else NOT_REPRODUCED
    seen = f"reached after at most {max(epochs):.0f}" if max(epochs) < np.inf else "not reached"
    return Part(verdict, seen, "epochs")


def _named(study: Study, runs: list[Run], names: str | list[str], tasks: list[str]) -> list[Run]:
    """Return the runs of "METHOD" or of an experiment's "METHOD (VARIANT)", or of several."""
    found = []
    for name in [names] if isinstance(names, str) else names:
        method, variant = re.fullmatch(r"(.+?)(?: \((.+)\))?", name).groups()
        some = tables.pick(runs, method, variant) if variant else study.runs([method])
        needed = {tables.task_of(task) for task in tasks}
        found += [run for run in some if needed <= set(run.stages)]
    return found


def reasons(parts: Iterable[Part]) -> str:
    """Return why, in one phrase: parts of the same reason together."""
    names: dict[str, list[str]] = {}
    for part in parts:
        names.setdefault(part.reason, []).append(part.name)
    if len(names) == 1:
        return next(iter(names))
    return "; ".join(f"{', '.join(filter(None, of))}: {why}" for why, of in names.items())
