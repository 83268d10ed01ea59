"""The parameters that every notebook takes, checked before anything is loaded or run."""

import ast
import sys
from collections.abc import Iterable, Mapping

from conure_lib.config import shown
from conure_lib.errors import ConfigError
from conure_lib.study.profiles import study_config

PARAMETERS = ("DATASET", "PROFILE", "SEEDS", "RESULTS")
RESULTS = ("committed", "local")
"""The evidence of a published profile, or one's own run."""


def demand_results(value: object) -> None:
    """Raise ConfigError unless the value is one of ``RESULTS``."""
    if value not in RESULTS:
        raise ConfigError(f"results: found {shown(value)}, expected {' or '.join(RESULTS)}")


def demand_names(names: Iterable[str], known: Iterable[str] = PARAMETERS) -> None:
    """Raise ConfigError for a parameter that there is not; papermill itself only warns."""
    if unknown := sorted(set(names) - set(known)):
        raise ConfigError(f"found parameter {unknown[0]}, expected {', '.join(known)}")


def demand_values(parameters: Mapping[str, object]) -> None:
    """Raise ConfigError for a value that a notebook of the study cannot take."""
    demand_results(parameters.get("RESULTS", "local"))
    dataset = parameters.get("DATASET", "complete-journey")
    study_config(dataset, parameters.get("PROFILE", "standard"), parameters.get("SEEDS"))


def injected() -> set[str]:
    """Return the names of the parameters that papermill has put into this kernel, if it has."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    cells = shell.user_ns.get("In", ()) if shell else ()
    trees = (ast.parse(cell) for cell in cells if cell.startswith("# Parameters\n"))
    statements = (node for tree in trees for node in tree.body if isinstance(node, ast.Assign))
    return {target.id for node in statements for target in node.targets}
