"""The claim ledger: what the paper claims, the rule that decides each claim, and the verdicts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from conure_lib import paths
from conure_lib.analysis.stats import VERDICTS
from conure_lib.files import atomic_file
from conure_lib.study.study import Run, Study

NAN = float("nan")
REPRODUCED, PARTLY, NOT_REPRODUCED, NOT_TESTED = VERDICTS
COLUMNS = (
    *(
        "claim",
        "dataset",
        "profile",
        "verdict",
        "effect",
        "ci_low",
        "ci_high",
        "p",
        "p_corrected",
        "n",
    ),
    *("rule", "run_ids"),
)
MARGIN = 0.05
"""Two results are "similar", or one "does not fall behind", within 5% of the reference."""


@dataclass(frozen=True)
class Finding:
    """What a rule found. effect with its 95% interval and p: of what the rule calls the effect.

    p_corrected: after Holm's correction over the rule's tests. n: test instances, or what the rule counts.
    """

    verdict: str
    effect: float = NAN
    low: float = NAN
    high: float = NAN
    p: float = NAN
    p_corrected: float = NAN
    n: int = 0
    run_ids: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Claim:
    """One claim of the paper. rule: fixed before any result of it was seen; notebook: where it is argued.

    unit: of the effect; "relative" is a share of the reference, shown in per cent.
    """

    id: str
    notebook: str
    says: str
    rule: str
    unit: str
    decide: Callable[[Study], Finding]


CLAIMS: dict[str, Claim] = {}
"""All claims by id; the modules of this package fill it."""


def claim(name: str, notebook: str, says: str, rule: str, unit: str) -> Callable:
    """Registers a function study -> Finding as the rule of a claim."""

    def register(decide: Callable[[Study], Finding]) -> Callable[[Study], Finding]:
        CLAIMS[name] = Claim(name, notebook, says, rule, unit, decide)
        return decide

    return register


def ledger(study: Study, names: Iterable[str] | None = None) -> pd.DataFrame:
    """One row per claim with the columns of results/claims.csv, in the order of the claims' numbers.

    Raises MissingResultError if a result is not there.
    """
    rows = []
    for name in sorted(names or CLAIMS):
        found = CLAIMS[name].decide(study)
        rows.append(
            {
                "claim": name,
                "dataset": study.stream.name,
                "profile": study.config.profile,
                "verdict": found.verdict,
                "effect": found.effect,
                "ci_low": found.low,
                "ci_high": found.high,
                "p": found.p,
                "p_corrected": found.p_corrected,
                "n": found.n,
                "rule": CLAIMS[name].rule,
                "run_ids": " ".join(found.run_ids),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def write(table: pd.DataFrame, local: bool) -> Path:
    """Puts verdicts of one profile into its ledger, in place of those of the same datasets. Returns the path."""
    profile = table["profile"].iloc[0]
    path = paths.claims(local)
    if path.is_file():
        known = pd.read_csv(path, dtype={"run_ids": str}, keep_default_na=True)
        replaced = known["dataset"].isin(table["dataset"]) & (known["profile"] == profile)
        table = pd.concat([known[~replaced], table])
    path.parent.mkdir(parents=True, exist_ok=True)
    table = table.sort_values(["profile", "dataset", "claim"])
    with atomic_file(path) as part:
        table.to_csv(part, index=False, float_format="%.6g")
    return path


def markdown(table: pd.DataFrame) -> str:
    """The ledger as the README shows it: a row per claim, a column per dataset, verdict, effect, interval."""
    datasets = list(dict.fromkeys(table["dataset"]))
    lines = ["| claim | " + " | ".join(datasets) + " |", "|---" * (len(datasets) + 1) + "|"]
    for name, rows in table.groupby("claim"):
        cells = {
            r.dataset: " ".join([f"**{r.verdict.lower()}**", *effect_in_words(r)]).strip()
            for r in rows.itertuples()
        }
        says = f"{name}: {CLAIMS[name].says}"
        lines.append(
            f"| {says} | " + " | ".join(cells.get(dataset, "") for dataset in datasets) + " |"
        )
    return "\n".join(lines)


def effect_in_words(row: tuple) -> tuple[str, str]:
    """A row's effect and its interval with the unit: ("-3.3%", "[-8.1, 1.4]") or ("2.46", "[1.49, 3.43] epochs").

    Both are "" for a claim that was not tested.
    """
    if pd.isna(row.effect):
        return "", ""
    unit, numbers = CLAIMS[row.claim].unit, (row.effect, row.ci_low, row.ci_high)
    relative = unit == "relative"
    effect, low, high = (f"{100 * x:.1f}" if relative else f"{x:.3g}" for x in numbers)
    interval = "" if pd.isna(row.ci_low) else f"[{low}, {high}]"
    return (
        f"{effect}%" if relative else effect,
        interval if relative else f"{interval} {unit}".strip(),
    )


def ids_of(*groups: Iterable[Run]) -> tuple[str, ...]:
    """The runs' ids, each once."""
    return tuple(dict.fromkeys(run.id for group in groups for run in group))


def from_row(verdict: str, row: pd.Series) -> Finding:
    """A finding whose effect is a row of ``report.compare`` or ``report.compare_means``."""
    ids = tuple(dict.fromkeys(row["run_ids"].split()))
    return Finding(
        verdict, row["effect"], row["low"], row["high"], row["p"], row["p_holm"], int(row["n"]), ids
    )
