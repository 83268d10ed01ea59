"""The paper's claims: rules and texts in ``claims.yaml``, how they are applied in ``judging``.

Most claims are comparisons that their entry lists. A claim of another kind has a function with
``@claim(id)`` in one of the modules that are imported here. May import the rest of ``analysis``,
and what that may.
"""

from conure_lib.analysis.claims import learners, memory, speed
from conure_lib.analysis.claims.judging import Finding
from conure_lib.analysis.claims.registry import (
    CLAIMS,
    GENERAL,
    Claim,
    claim,
    for_notebook,
    ledger,
    rules,
    save,
)
from conure_lib.analysis.stats import VERDICTS

__all__ = ["CLAIMS", "GENERAL", "VERDICTS", "Claim", "Finding", "claim", "for_notebook"]
__all__ += ["learners", "ledger", "memory", "rules", "save", "speed"]
