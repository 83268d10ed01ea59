"""Popularity: the floor that every method has to beat."""

from conure_lib.data.stream import TEST
from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.method import Method, Step
from conure_lib.training.evaluation import popularity_ranks


def popularity(c: Context) -> Outcome:
    """Rank the labels by their frequency in the training part, the same for every user."""
    return Outcome(None, {c.task.name: popularity_ranks(c.stream, c.task, TEST)})


POPULARITY = Method(
    name="Popularity",
    recipe=lambda order: {task: Step("popularity", task) for task in order},
    color="#777777",
    marker="x",
    dashes=(1, 1),
    actions={"popularity": popularity},
    backbone="none",
)
