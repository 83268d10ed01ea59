"""The ledger as the front page shows it: a row a claim, a cell a dataset, and what they add up to."""

from dataclasses import dataclass

import pandas as pd

from .. import paths
from ..claims import CLAIMS, COLUMNS, effect_in_words
from ..stats import VERDICTS
from .sources import SHOWN_FIRST, SiteError, Sources

KEYS = dict(zip(VERDICTS, ("reproduced", "partly", "not-reproduced", "not-tested"), strict=True))
"""Verdict to its name in the style sheet."""
SIGNS = dict(zip(KEYS.values(), ("✓", "◐", "✗", "–"), strict=True))
"""Told apart without colours."""


@dataclass(frozen=True)
class Cell:
    """One verdict in words. key: see ``KEYS``; page: the notebook that decides it, "" if it is not executed."""

    key: str
    effect: str
    interval: str
    numbers: str
    page: str

    @property
    def sign(self) -> str:
        """The verdict as a symbol."""
        return SIGNS[self.key]

    @property
    def word(self) -> str:
        """The verdict in words."""
        return words(self.key)

    @property
    def rank(self) -> int:
        """What the column sorts by: 0 is reproduced."""
        return list(SIGNS).index(self.key)


@dataclass(frozen=True)
class Row:
    """A claim with its verdicts. cells: by dataset, without those that say nothing about it."""

    claim: str
    says: str
    rule: str
    notebook: str
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Ledger:
    """The verdicts of one profile; without datasets where nothing is decided yet."""

    profile: str
    datasets: tuple[str, ...]
    rows: tuple[Row, ...]

    def counts(self, dataset: str) -> dict[str, int]:
        """How many claims got each verdict, in the order of ``KEYS``."""
        keys = [row.cells[dataset].key for row in self.rows if dataset in row.cells]
        return {key: keys.count(key) for key in SIGNS}

    def everywhere(self, key: str) -> list[str]:
        """The claims with this verdict on every dataset of the ledger."""
        return [row.claim for row in self.rows if self._all(row, key)]

    def _all(self, row: Row, key: str) -> bool:
        return all(d in row.cells and row.cells[d].key == key for d in self.datasets)

    def headline(self) -> str:
        """What the whole ledger says, in one sentence."""
        if not self.datasets:
            return f"The paper makes {len(self.rows)} claims; none of them is decided yet."
        sums = {key: sum(self.counts(d)[key] for d in self.datasets) for key in SIGNS}
        parts = ", ".join(f"{n} {words(key).lower()}" for key, n in sums.items() if n)
        data = self.datasets[0] if len(self.datasets) == 1 else f"{len(self.datasets)} datasets"
        return (
            f"The paper makes {len(self.rows)} claims. Tested on {data}, each by a rule fixed beforehand, "
            f"they get {sum(sums.values())} verdicts: {parts}."
        )


def words(key: str) -> str:
    """A verdict in small letters: "Not reproduced"."""
    return key.replace("-", " ").capitalize()


def ledgers(sources: Sources) -> list[Ledger]:
    """A ledger a profile, the reported one first. Always one at least: the claims, decided or not."""
    table = _read()
    found = list(dict.fromkeys(table["profile"]))
    found.sort(key=lambda profile: (profile != SHOWN_FIRST, profile))
    return [_ledger(profile, table[table["profile"] == profile], sources) for profile in found or [SHOWN_FIRST]]


def _read() -> pd.DataFrame:
    path = paths.claims(SHOWN_FIRST)
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS)
    table = pd.read_csv(path, dtype={"claim": str, "dataset": str, "profile": str, "rule": str, "run_ids": str})
    if missing := sorted(set(COLUMNS) - set(table)):
        raise SiteError(f"{path} has no column {', '.join(missing)}; make verdicts writes it anew")
    if unknown := sorted(set(table["verdict"]) - set(VERDICTS)):
        raise SiteError(f"{path}: unknown verdict {unknown[0]!r}; there are {', '.join(VERDICTS)}")
    return table


def _ledger(profile: str, table: pd.DataFrame, sources: Sources) -> Ledger:
    datasets, rows = tuple(dict.fromkeys(table["dataset"])), []
    for name in sorted({*CLAIMS, *table["claim"]}):
        known, found = CLAIMS.get(name), table[table["claim"] == name]
        notebook = known.notebook if known else ""
        cells = {row.dataset: _cell(row, profile, notebook, sources) for row in found.itertuples()}
        rule = found["rule"].iloc[0] if len(found) else known.rule
        rows.append(Row(name, known.says if known else "", rule, notebook, cells))
    return Ledger(profile, datasets, tuple(rows))


def _cell(row: tuple, profile: str, notebook: str, sources: Sources) -> Cell:
    executed = sources.notebook(profile, row.dataset, notebook)
    effect, interval = (text.replace("-", "−") for text in effect_in_words(row))
    numbers = [] if pd.isna(row.p_corrected) else [_p(row.p_corrected)]
    numbers += [f"n = {int(row.n):,}"] if row.n else []
    return Cell(KEYS[row.verdict], effect, interval, ", ".join(numbers), executed.page if executed else "")


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
