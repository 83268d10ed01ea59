"""FineSmax: T1's backbone frozen, a new output (softmax) layer per task."""

from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.method import Method, recipe


def output_only(c: Context) -> Outcome:
    """Train only the new output layer."""
    return c.train_new_output(c.parent.model)


_PARTS = {"actions": {"output-only": output_only}, "search": {}, "backbone": "shared"}
FINESMAX = Method("FineSmax", recipe("output-only"), "#56B4E9", "s", (3, 1, 1, 1), **_PARTS)
