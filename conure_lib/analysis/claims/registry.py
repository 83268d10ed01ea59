"""The registry of claims, and the ledger: one row per claim with its verdict."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pandas as pd
import yaml

from conure_lib.analysis.stats import NAN, VERDICTS, Estimate
from conure_lib.files import atomic_file
from conure_lib.study.study import Run, Study

REPRODUCED, PARTLY, NOT_REPRODUCED, NOT_TESTED = VERDICTS
MARGIN = 0.05
"""Two results are "similar", or one "does not fall behind", within 5% of the reference."""
Rule = Callable[[Study], "Finding"]


@dataclass(frozen=True)
class Finding:
    """What the rule of a claim found: the columns of the ledger that follow from results.

    ``effect`` is what the rule calls so, ``ci_low`` to ``ci_high`` its 95% interval, ``p`` of its
    test against 0, ``p_corrected`` after Holm's correction over the rule's tests; ``n`` counts
    test instances, or what the rule counts; ``run_ids`` are separated by spaces.
    """

    verdict: str
    effect: float = NAN
    ci_low: float = NAN
    ci_high: float = NAN
    p: float = NAN
    p_corrected: float = NAN
    n: int = 0
    run_ids: str = ""


@dataclass(frozen=True)
class Claim:
    """One claim of the paper: its entry in ``claims.yaml``, and the function that decides it.

    ``title`` and ``statement`` are the claim in a few words and in a sentence, ``notebook`` argues
    it, ``rule`` says when it counts as reproduced and was fixed before any result of it was seen.
    ``unit`` is that of the effect; "relative" is a share of the reference, shown in per cent.
    """

    id: str
    notebook: str
    title: str
    statement: str
    rule: str
    unit: str
    decide: Rule


TEXTS: Mapping[str, Mapping[str, str]] = yaml.safe_load(
    (files(__package__) / "claims.yaml").read_text(encoding="utf-8")
)
"""Claim id -> title, notebook, statement, rule and unit."""
CLAIMS: dict[str, Claim] = {}
"""All claims by id; the modules of this package fill it."""


def claim(name: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of a claim, whose text is in ``claims.yaml``."""

    def register(decide: Rule) -> Rule:
        CLAIMS[name] = Claim(name, **TEXTS[name], decide=decide)
        return decide

    return register


def for_notebook(notebook: str) -> list[str]:
    """Return the ids of the claims that a notebook argues."""
    return sorted(name for name, claim in CLAIMS.items() if claim.notebook == notebook)


def ledger(study: Study, names: Iterable[str] | None = None) -> pd.DataFrame:
    """Return one row per claim (all unless named), as in results/claims.csv, ordered by id.

    Raises MissingResultError if a result that a rule needs is not there.
    """
    head = {"dataset": study.stream.name, "profile": study.config.profile}
    rows = []
    for name in sorted(names or CLAIMS):
        one = CLAIMS[name]
        row = {"claim": name, **head, "unit": one.unit, "rule": one.rule}
        rows.append(row | vars(one.decide(study)))
    columns = ["verdict", "effect", "ci_low", "ci_high", "unit", "p", "p_corrected", "n"]
    return pd.DataFrame(rows)[["claim", *head, *columns, "rule", "run_ids"]]


def save(table: pd.DataFrame, path: Path) -> None:
    """Put verdicts into a ledger file, in place of those of the same profile and datasets."""
    keys = ["profile", "dataset"]
    if path.is_file():
        known = pd.read_csv(path)
        replaced = known.set_index(keys).index.isin(table.set_index(keys).index)
        table = pd.concat([known[~replaced], table])[table.columns]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as part:
        table.sort_values([*keys, "claim"]).to_csv(part, index=False, float_format="%.6g")


def decided(
    reproduced: object, partly: object, effect: pd.Series | Estimate, runs: Iterable[Run] = ()
) -> Finding:
    """Return the finding of a rule with two conditions, of which the first that holds counts.

    ``effect`` is a row of ``tables.compare`` or ``compare_means``, or the estimate of ``runs`` that
    is tested once, so that there is nothing to correct.
    """
    verdict = verdict_of(reproduced, partly)
    if isinstance(effect, Estimate):
        numbers = (effect.mean, effect.low, effect.high, effect.p, effect.p, effect.n)
        return Finding(verdict, *numbers, ids_of(runs))
    numbers = effect[["effect", "low", "high", "p", "p_holm", "n"]]
    return Finding(verdict, *numbers, " ".join(dict.fromkeys(effect["run_ids"].split())))


def verdict_of(reproduced: object, partly: object = False) -> str:
    """Return the verdict of a rule with two conditions."""
    return REPRODUCED if reproduced else PARTLY if partly else NOT_REPRODUCED


def ids_of(runs: Iterable[Run]) -> str:
    """Return the runs' ids, each once."""
    return " ".join(dict.fromkeys(run.id for run in runs))
