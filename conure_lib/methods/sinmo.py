"""SinMo: a single model per task, from random weights."""

from conure_lib.methods.actions import BACKBONE, Context, Outcome, new_model, train_new_output
from conure_lib.methods.method import SEARCH, Method, Step


def scratch(c: Context) -> Outcome:
    """Train the same network on this task alone, from random weights."""
    return train_new_output(c, new_model(c).model, also=BACKBONE)


SINMO = Method(
    name="SinMo",
    recipe=lambda order: (
        {order[0]: Step("train", order[0])} | {task: Step("scratch", task) for task in order[1:]}
    ),
    color="#E69F00",
    marker="o",
    dashes=(4, 1),
    actions={"scratch": scratch},
    search=SEARCH,
)
