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

    ``effect`` and ``n`` are what the rule calls so; ``p_corrected`` is Holm's over its tests.
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
    """One claim of the paper: its entry in ``claims.yaml``, and the function that decides it."""

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
CLAIMS: dict[str, Claim] = {}
"""All claims by id; the modules of this package fill it."""


def claim(name: str, *tasks: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of a claim in ``claims.yaml``, not tested without tasks."""

    def register(decide: Rule) -> Rule:
        def checked(study: Study) -> Finding:
            return decide(study) if set(tasks) <= set(study.order) else Finding(NOT_TESTED)

        CLAIMS[name] = Claim(name, **TEXTS[name], decide=checked if tasks else decide)
        return decide

    return register


def for_notebook(notebook: str) -> list[str]:
    """Return the ids of the claims that a notebook argues."""
    return sorted(name for name, claim in CLAIMS.items() if claim.notebook == notebook)


def ledger(study: Study, names: Iterable[str] | None = None) -> pd.DataFrame:
    """Return one row per claim (all unless named), as in results/claims.csv, ordered by id."""
    rows = []
    for one in (CLAIMS[name] for name in sorted(names or CLAIMS)):
        head = {"claim": one.id, "dataset": study.stream.name, "profile": study.config.profile}
        rows.append(head | vars(one.decide(study)) | {"unit": one.unit, "rule": one.rule})
    table = pd.DataFrame(rows)
    table.insert(7, "unit", table.pop("unit"))
    table.insert(11, "rule", table.pop("rule"))
    return table


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
    """Return the finding of two conditions; the effect is a row of comparisons or over ``runs``."""
    verdict = REPRODUCED if reproduced else PARTLY if partly else NOT_REPRODUCED
    if isinstance(effect, pd.Series):
        numbers, ids = effect[["effect", "low", "high", "p", "p_holm", "n"]], effect["run_ids"]
    else:
        numbers = (effect.mean, effect.low, effect.high, effect.p, effect.p, effect.n)
        ids = " ".join(run.id for run in runs)
    return Finding(verdict, *numbers, " ".join(dict.fromkeys(ids.split())))
