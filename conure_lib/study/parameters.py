"""The parameters that every notebook takes; papermill itself only warns at an unknown one."""

import ast
import sys
from collections.abc import Iterable

from conure_lib.errors import ConfigError

PARAMETERS = ("DATASET", "PROFILE", "SEEDS", "RESULTS")


def demand_names(names: Iterable[str], known: Iterable[str] = PARAMETERS) -> None:
    """Raise ConfigError for a parameter that there is not."""
    if unknown := sorted(set(names) - set(known)):
        raise ConfigError(f"found parameter {unknown[0]}, expected {', '.join(known)}")


def injected() -> set[str]:
    """Return the names of the parameters that papermill has put into this kernel, if it has."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    cells = shell.user_ns.get("In", ()) if shell else ()
    trees = (ast.parse(cell) for cell in cells if cell.startswith("# Parameters\n"))
    statements = (node for tree in trees for node in tree.body if isinstance(node, ast.Assign))
    return {target.id for node in statements for target in node.targets}
