"""The paper's claims: their texts in ``claims.yaml``, one module per group with the deciding rules.

A new claim is one entry in ``claims.yaml`` and one function with ``@claim(id)``; a new module is
imported here. May import ``analysis`` beside this package, and what that may.
"""

from conure_lib.analysis.claims import memory, methods, orders, pruning
from conure_lib.analysis.claims.registry import (
    CLAIMS,
    Claim,
    Finding,
    claim,
    for_notebook,
    ledger,
    markdown,
    save,
)
from conure_lib.analysis.stats import VERDICTS

__all__ = [
    "CLAIMS",
    "VERDICTS",
    "Claim",
    "Finding",
    "claim",
    "for_notebook",
    "ledger",
    "markdown",
    "memory",
    "methods",
    "orders",
    "pruning",
    "save",
]
