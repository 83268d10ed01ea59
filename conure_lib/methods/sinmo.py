"""SinMo: a single model per task, from random weights."""

from conure_lib.methods.actions import BACKBONE, Context, Outcome, new_model, train_new_output
from conure_lib.methods.method import SEARCH, Method, after_t1


def scratch(c: Context) -> Outcome:
    """Train the same network on this task alone, from random weights."""
    return train_new_output(c, new_model(c).model, also=BACKBONE)


RECIPE, ACTIONS = after_t1("scratch", from_t1=False), {"scratch": scratch}
SINMO = Method("SinMo", RECIPE, "#E69F00", "o", (4, 1), actions=ACTIONS, search=SEARCH)
