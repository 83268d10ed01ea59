"""SinMo: a single model per task, from random weights."""

from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.method import Method, recipe


def scratch(c: Context) -> Outcome:
    """Train the same network on this task alone, from random weights."""
    model = c.new_model().model
    return c.train_new_output(model, also=model.backbone())


_PARTS = {"actions": {"scratch": scratch}, "search": {}}
SINMO = Method("SinMo", recipe("scratch", from_t1=False), "#E69F00", "o", (4, 1), **_PARTS)
