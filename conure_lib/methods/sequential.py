"""Sequential fine-tuning: the next task trains the network of the last; nothing is protected."""

from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.continual import chain, go_on
from conure_lib.methods.method import Method


def sequential(c: Context) -> Outcome:
    """Train the whole network on the next task."""
    return go_on(c, protects=False, outputs=False)


_PARTS = {"actions": {"sequential": sequential}, "search": {}, "backbone": "shared"}
SEQUENTIAL = Method(
    "Sequential", chain("sequential"), "#B33A00", "1", (6, 1), **_PARTS, compared=False
)
