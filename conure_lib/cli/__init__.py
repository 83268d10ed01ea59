"""The command ``conure``, a thin layer over the library; ``main`` returns its exit code.

Commands import what they need when they run, so that help and shell completion do not wait for
PyTorch. May import everything.
"""

from conure_lib.cli.app import app, main

__all__ = ["app", "main"]
