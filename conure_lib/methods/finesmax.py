"""FineSmax: T1's backbone as it is, a new output layer (softmax layer) per task."""

from conure_lib.methods.actions import Context, Outcome, train_new_output
from conure_lib.methods.method import SEARCH, Method, each_after_first


def output_only(c: Context) -> Outcome:
    """Train only the new output layer; T1's backbone is frozen."""
    return train_new_output(c, c.parent.model)


FINESMAX = Method(
    name="FineSmax",
    recipe=each_after_first("output-only"),
    color="#56B4E9",
    marker="s",
    dashes=(3, 1, 1, 1),
    actions={"output-only": output_only},
    search=SEARCH,
    backbone="shared",
)
