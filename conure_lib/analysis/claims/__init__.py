"""The paper's claims: texts, rules and comparisons in ``claims.yaml``; the ledger of verdicts.

Most claims are comparisons that ``judging`` decides as their entry says; for one of another kind it
has a function of the claim's name.
"""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import pandas as pd
import yaml
from scipy.stats import false_discovery_control

from conure_lib import paths
from conure_lib.analysis.claims import judging
from conure_lib.analysis.claims.judging import VERDICTS, Claim, Finding
from conure_lib.files import file_lock, write_csv
from conure_lib.study.study import Study

__all__ = ["CLAIMS", "GENERAL", "VERDICTS", "Claim", "Finding", "for_notebook", "ledger", "rules"]
__all__ += ["HEADLINES", "READING", "REVISED", "save"]

_TEXTS = yaml.safe_load((files(__package__) / "claims.yaml").read_text(encoding="utf-8"))
GENERAL: str = _TEXTS.pop("general")
"""What all rules have in common."""
REVISED: str = _TEXTS.pop("revised")
"""What of it was made precise or corrected once there were results."""
READING = """*How to read the table.* The effect is that of a claim's first part, the verdict that
of all; effects are relative to the reference that the rule names, unless a unit stands beside them.
A 95% interval covers that over users and that over seeds, and the wider end decides. *p*: of no
effect, over users (Holm: corrected for the comparisons of the rule) and in a t-test over seeds; of
a claim with a margin it is of lying beyond it, one-sided and not corrected. The p values are those
of differences, the intervals those of ratios, which are wider where the reference itself is
uncertain: beside p < 0.05 an interval can then reach past 0. *Smallest of interest*:
half of the paper's effect, our own bound where the paper has no number, or the margin (a
negative one on that side alone). *Smallest that would show*: what these data would find in four of
five cases. *n*: test instances, unless the rule counts something else."""
"""What the columns of the ledger mean, as Markdown."""
CLAIMS: dict[str, Claim] = {
    name: Claim(name, decide=getattr(judging, name.lower(), judging.compared), **text)
    for name, text in _TEXTS.items()
}
"""All claims by id."""
HEADLINES = {
    "C01": "T1 after T2, unprotected,\nagainst before (C01)",
    "C04": "T1 pruned and retrained,\nagainst unpruned (C04)",
    "C08": "Conure against STL\non T2 and T3 (C08)",
    "C14": "T3 after T2, against\nwithout T2 (C14)",
    "C22": "EWC's old tasks, in the end\nagainst when learned (C22)",
}
"""The claims that the README tells of, and what their effects compare."""


def for_notebook(notebook: str) -> list[str]:
    """Return the ids of the claims that a notebook argues."""
    return sorted(name for name, claim in CLAIMS.items() if claim.notebook == notebook)


def rules(notebook: str) -> str:
    """Return how to read the ledger, and the rules of the claims that a notebook argues.

    As Markdown; what was revised after results had been seen stands with its rule.
    """
    some = (CLAIMS[name] for name in for_notebook(notebook))
    rows = (
        f"- **{one.id} · {one.title}.** {one.rule}" + f" *{one.revised}*" * bool(one.revised)
        for one in some
    )
    return "\n".join([READING, "", *rows])


def ledger(study: Study, names: Iterable[str] | None = None) -> pd.DataFrame:
    """Return one row per claim (all unless named), ordered by id.

    Of all claims also ``p_ledger``: Benjamini and Hochberg's, over the rows that rest on a test.
    """
    rows, about = [], {"dataset": study.stream.name, "profile": study.config.profile}
    for one in map(CLAIMS.get, sorted(CLAIMS if names is None else names)):
        texts = {"unit": one.unit, "by_construction": one.by_construction, "rule": one.rule}
        rows.append({"claim": one.id, **about, **vars(one.decide(study, one)), **texts})
    table = pd.DataFrame(rows)
    table["effect_verdict"] = table["effect_verdict"].where(lambda v: v != "", table["verdict"])
    if names is None:
        tested = table["p"].dropna()
        corrected = pd.Series(false_discovery_control(tested), tested.index)
        table.insert(table.columns.get_loc("p_seeds"), "p_ledger", corrected)
    return table


def save(table: pd.DataFrame, path: Path) -> None:
    """Put verdicts into a ledger file, in place of those of the same profile and datasets."""
    keys = ["profile", "dataset"]
    with file_lock(paths.artifacts() / path.name):
        if path.is_file():
            known = pd.read_csv(path)
            replaced = known.set_index(keys).index.isin(table.set_index(keys).index)
            table = pd.concat([known[~replaced], table])[table.columns]
        write_csv(path, table.sort_values([*keys, "claim"]))
