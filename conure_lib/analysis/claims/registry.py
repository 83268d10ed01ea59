"""The registry of claims, and the ledger: one row per claim with its verdict."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from conure_lib.analysis.claims.judging import Finding, compared
from conure_lib.analysis.stats import benjamini_hochberg
from conure_lib.files import atomic_file
from conure_lib.study.study import Study

Rule = Callable[[Study], Finding]


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
    decide: Rule
    by_construction: bool = False  # true of any network, so not counted among the reproduced


TEXTS: dict[str, Mapping[str, Any]] = yaml.safe_load(
    (files(__package__) / "claims.yaml").read_text(encoding="utf-8")
)
GENERAL: str = TEXTS.pop("general")
"""What all rules have in common."""
CLAIMS: dict[str, Claim] = {}
"""All claims by id; entries with comparisons, and what the modules of this package register."""


def claim(name: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of a claim in ``claims.yaml``."""

    def register(decide: Rule) -> Rule:
        fields = {"section", "notebook", "title", "statement", "rule", "unit", "by_construction"}
        texts = {field: text for field, text in TEXTS[name].items() if field in fields}
        CLAIMS[name] = Claim(name, **texts, decide=decide)
        return decide

    return register


for _name, _text in TEXTS.items():
    if "comparisons" in _text:
        claim(_name)(partial(compared, text=_text))


def for_notebook(notebook: str) -> list[str]:
    """Return the ids of the claims that a notebook argues."""
    return sorted(name for name, claim in CLAIMS.items() if claim.notebook == notebook)


def rules(notebook: str) -> str:
    """Return the rules of the claims that a notebook argues, as Markdown."""
    some = (CLAIMS[name] for name in for_notebook(notebook))
    return "\n".join(f"- **{one.id} · {one.title}.** {one.rule}" for one in some)


def ledger(study: Study, names: Iterable[str] | None = None) -> pd.DataFrame:
    """Return one row per claim (all unless named), ordered by id.

    ``p_ledger`` is Benjamini and Hochberg's over the rows that rest on a test.
    """
    rows = []
    for one in (CLAIMS[name] for name in sorted(names or CLAIMS)):
        found = vars(one.decide(study))
        row = {"claim": one.id, "dataset": study.stream.name, "profile": study.config.profile}
        row |= {name: found[name] for name in ("verdict", "reason", "paper", "effect")}
        row |= {"ci_low": found["ci_low"], "ci_high": found["ci_high"], "unit": one.unit}
        rows.append({**row, **found, "by_construction": one.by_construction, "rule": one.rule})
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p_seeds"), "p_ledger", benjamini_hochberg(table["p"]))
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
