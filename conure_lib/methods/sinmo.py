"""SinMo: a single model per task, from random weights."""

from conure_lib.methods.actions import BACKBONE, Context, Outcome
from conure_lib.methods.method import SEARCH, Method, after_t1


def scratch(c: Context) -> Outcome:
    """Train the same network on this task alone, from random weights."""
    return c.train_new_output(c.new_model().model, also=BACKBONE)


_PARTS = {"actions": {"scratch": scratch}, "search": SEARCH}
SINMO = Method("SinMo", after_t1("scratch", from_t1=False), "#E69F00", "o", (4, 1), **_PARTS)
