"""The paper's claims and the rules that decide them, one module per group of claims."""

from conure_lib.analysis.claims import memory, methods, orders, pruning
from conure_lib.analysis.claims.registry import (
    CLAIMS,
    COLUMNS,
    Claim,
    Finding,
    effect_in_words,
    ledger,
    markdown,
    write,
)

__all__ = [
    "CLAIMS",
    "COLUMNS",
    "Claim",
    "Finding",
    "effect_in_words",
    "ledger",
    "markdown",
    "write",
]
__all__ += ["memory", "methods", "orders", "pruning"]
