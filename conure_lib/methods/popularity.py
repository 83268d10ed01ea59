"""Popularity: the floor that every method has to beat."""

from conure_lib.data.stream import TEST
from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.method import Method, Order, Step
from conure_lib.training.evaluation import popularity_ranks


def popularity(c: Context) -> Outcome:
    """Rank the labels by their frequency in the training part, the same for every user."""
    return Outcome(None, {c.task.name: popularity_ranks(c.stream, c.task, TEST)})


def _recipe(order: Order) -> dict[str, Step]:
    return {task: Step("popularity", task) for task in order}


_PARTS = {"actions": {"popularity": popularity}, "backbone": "none"}
POPULARITY = Method("Popularity", _recipe, "#777777", "x", (1, 1), **_PARTS)
