"""The paper's claims: texts in ``claims.yaml``, one module per group of deciding functions.

A new claim is one entry there and one function with ``@claim(id)``; a new module is imported here.
May import the rest of ``analysis``, and what that may.
"""

from conure_lib.analysis.claims import memory, methods, orders, pruning
from conure_lib.analysis.claims.registry import (
    CLAIMS,
    VERDICTS,
    Claim,
    Finding,
    claim,
    for_notebook,
    ledger,
    save,
)

__all__ = ["CLAIMS", "VERDICTS", "Claim", "Finding", "claim", "for_notebook"]
__all__ += ["ledger", "memory", "methods", "orders", "pruning", "save"]
