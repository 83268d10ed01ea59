"""The report as static pages: the ledger, the executed notebooks, the figures, how to reproduce each."""

from .build import build
from .sources import SiteError

__all__ = ["SiteError", "build"]
