"""Every folder and file name of the study, once."""

import os
from pathlib import Path

ROOT = Path(os.environ.get("CONURE_ROOT", Path(__file__).resolve().parent.parent))
"""The repository; the environment variable CONURE_ROOT moves all outputs elsewhere (tests use it)."""

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
"""The notebooks to read and run, those of this checkout wherever outputs go."""

DOCS = NOTEBOOKS.parent / "docs"
"""The documents beside README.md and CONTRIBUTING.md."""


def artifacts() -> Path:
    """Everything that git ignores: downloads, prepared streams, checkpoints, local records."""
    return ROOT / "artifacts"


def downloads() -> Path:
    """What was fetched, one folder a dataset; ``make clean`` keeps it."""
    return artifacts() / "downloads"


def streams() -> Path:
    """Prepared task streams, one folder each (stream.safetensors, manifest.json)."""
    return artifacts() / "streams"


def stages() -> Path:
    """One folder per finished stage: its record and, unless removed, its checkpoint."""
    return artifacts() / "stages"


def runs() -> Path:
    """Models trained on one's own tables (``conure run``), one folder each."""
    return artifacts() / "runs"


def published() -> Path:
    """The committed copies of the records: what every committed number is derived from."""
    return ROOT / "results" / "runs"


def tables(profile: str, dataset: str) -> Path:
    """The tidy results of a profile on a dataset (metrics.csv, overall.csv, ...)."""
    return ROOT / "results" / profile / dataset


def executed(profile: str, dataset: str) -> Path:
    """The notebooks of a profile and a dataset as they ran."""
    return ROOT / "results" / "executed" / profile / dataset


def figures(profile: str, dataset: str) -> Path:
    """Figures of the smoke profile are for tests only and stay out of the committed folder."""
    return (artifacts() / "figures" if profile == "smoke" else ROOT / "figures") / profile / dataset


def settings(dataset: str) -> Path:
    """What the search for hyper-parameters chose; part of the library."""
    return Path(__file__).resolve().parent / "study" / "settings" / f"{dataset}.json"


def claims(profile: str) -> Path:
    """The ledger of verdicts, one row a claim, dataset and profile; that of the smoke profile means nothing."""
    return (artifacts() if profile == "smoke" else ROOT / "results") / "claims.csv"


def site() -> Path:
    """The report as static pages (conure site)."""
    return artifacts() / "site"


def tuning() -> Path:
    """What the search for hyper-parameters tried, one table a dataset."""
    return ROOT / "results" / "tuning"


def bench(quick: bool) -> Path:
    """Measurements; those at toy sizes mean nothing and stay out of the committed folder."""
    return (artifacts() if quick else ROOT / "results") / "bench"
