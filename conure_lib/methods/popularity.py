"""Popularity: the floor that every method has to beat."""

from conure_lib.data.stream import TEST
from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.method import Method, recipe
from conure_lib.training.evaluation import popularity_ranks


def popularity(c: Context) -> Outcome:
    """Rank the labels by their frequency in the training part, the same for every user."""
    return Outcome(None, popularity_ranks(c.stream, c.task, TEST))


_RECIPE = recipe("popularity", t1="popularity", from_t1=False)
_PARTS = {"actions": {"popularity": popularity}, "backbone": "none"}
POPULARITY = Method("Popularity", _RECIPE, "#9A9A9A", "x", (1, 1), **_PARTS)
