"""What a method is: its recipe of steps, its search space, what it stores, how it is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from conure_lib.data.stream import Kind

Order = tuple[str, ...]
SearchSpace = Mapping[str, tuple[float, ...]]

LEARNING_RATES = (0.0003, 0.001, 0.003, 0.01)
SEARCH: Mapping[Kind, SearchSpace] = {
    "ranking": {"learning_rate": LEARNING_RATES, "l2": (0.001, 0.01, 0.1), "rho": (0.3, 1.0)},
    "classification": {"learning_rate": LEARNING_RATES, "l2": (0.0, 0.001, 0.01, 0.1)},
}
"""The search space of most methods; all methods try the same number of settings."""


@dataclass(frozen=True)
class Step:
    """One node of the graph of stages: an action on a task, after a parent (None: from scratch).

    Equal steps are one stage: methods that begin alike share what they have in common.
    """

    action: str
    task: str
    parent: "Step | None" = None


@dataclass(frozen=True)
class Method:
    """A compared method. One file makes the record, ``conure_lib.methods`` registers it.

    Parameters
    ----------
    recipe
        From an order of tasks to {task: Step}: the steps whose test results are the method's.
    color, marker, dashes
        How figures draw it, different in all three; dashes are on and off lengths, () is solid.
    actions
        The actions that it adds, by name: functions from a ``Context`` to an ``Outcome``.
    search, settings_of
        Kind of task -> {field of ``TrainConfig``: values to try}; else whose settings it takes.
    backbone, patches, owner_maps
        What serves all tasks: a backbone per task ("own"), one for all ("shared"), no network
        ("none"), or None for a state on the way; and whether patches or owner maps are stored too.
    compared
        Whether it is a row of Table 2.
    """

    name: str
    recipe: Callable[[Order], dict[str, Step]]
    color: str
    marker: str
    dashes: tuple[float, ...] = ()
    actions: Mapping[str, Callable] = field(default_factory=dict)
    search: Mapping[Kind, SearchSpace] = field(default_factory=dict)
    settings_of: str = ""
    backbone: Literal["own", "shared", "none"] | None = "own"
    patches: bool = False
    owner_maps: bool = False
    compared: bool = True


def recipe(
    action: str, t1: str | None = "train", from_t1: bool = True
) -> Callable[[Order], dict[str, Step]]:
    """Return a recipe: an action on T1 (None: no result of T1), then one on each later task.

    ``from_t1``: whether this one starts from T1's model, or from random weights.
    """

    def steps(order: Order) -> dict[str, Step]:
        first = {order[0]: Step(t1, order[0])} if t1 else {}
        parent = first[order[0]] if from_t1 else None
        return first | {task: Step(action, task, parent) for task in order[1:]}

    return steps
