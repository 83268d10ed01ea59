"""Every folder and file name of the study, once, and one rule for where things are.

``ROOT`` is the environment variable CONURE_ROOT, else the checkout that the package lies in, else
the current folder. A run writes only where git ignores it: ``artifacts/``, ``results/local/`` and
``figures/local/``. The rest of these is committed, changed by ``conure publish`` alone.
"""

import os
from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parent
CHECKOUT = _PACKAGE.parent if (_PACKAGE.parent / "notebooks" / "00_data.ipynb").is_file() else None
"""The folder of this project's sources, or None for a package that is installed elsewhere."""
ROOT = Path(os.environ.get("CONURE_ROOT") or CHECKOUT or Path.cwd()).absolute()
"""Where everything is read and written."""
NOTEBOOKS = (CHECKOUT or ROOT) / "notebooks"  # to read and run, wherever outputs go


def artifacts(kind: Literal["", "downloads", "streams", "stages", "models"] = "") -> Path:
    """Return the folder of what can be made again, all or of a kind; "models" is of one's own."""
    return ROOT / "artifacts" / kind


def results(profile: str, dataset: str, local: bool) -> Path:
    """Return the folder of a profile's tables and executed notebooks on a dataset."""
    return _outputs("results", local) / profile / dataset


def figures(profile: str, dataset: str, local: bool) -> Path:
    """Return the folder of a profile's figures on a dataset."""
    return _outputs("figures", local) / profile / dataset


def drawn(kind: Literal["results", "figures"], profile: str, dataset: str, local: bool) -> Path:
    """Return where notebooks or figures are made; those of committed results have a place apart."""
    return _outputs(kind, local=True) / ("" if local else "committed") / profile / dataset


def claims(local: bool) -> Path:
    """Return the ledger of verdicts: one row per claim, dataset and profile."""
    return _outputs("results", local) / "claims.csv"


def benchmarks(local: bool = False) -> Path:
    """Return the folder of measurements of speed."""
    return _outputs("results", local) / "benchmarks"


def tuning(local: bool = False) -> Path:
    """Return the folder of what the search for hyper-parameters tried, one table per dataset."""
    return _outputs("results", local) / "tuning"


def settings(dataset: str, profile: str = "standard") -> Path:
    """Return the library's file of settings: seeds by profile, base, and what a search chose."""
    name = profile if profile in ("smoke", "paper") else dataset
    return _PACKAGE / "study" / "settings" / f"{name}.json"


def _outputs(kind: str, local: bool) -> Path:
    return ROOT / kind / "local" if local else ROOT / kind
