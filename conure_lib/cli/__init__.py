"""The command ``conure``: a thin layer over the library."""

from conure_lib.cli.entry import main, parser

__all__ = ["main", "parser"]
