"""The command ``conure``, a thin layer over the library.

Commands import what they need when they run: help and completion do not wait for PyTorch.
"""

from conure_lib.cli.app import app as app
from conure_lib.cli.app import main as main
