"""The command ``conure``: a thin layer over the library."""

from .entry import main, parser

__all__ = ["main", "parser"]
