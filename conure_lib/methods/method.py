"""What a method is: its recipe of steps, what is searched for it, what it stores, how it is drawn."""

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
"""The search space of most methods: the same number of settings for every method."""


@dataclass(frozen=True)
class Step:
    """One node of the graph of stages: an action on a task, after a parent.

    Equal steps are one stage: methods that begin alike share what they have in common.

    Parameters
    ----------
    action : str
        A key of ``conure_lib.methods.ACTIONS``.
    task : str
        The task that is trained, pruned or evaluated.
    parent : Step, optional
        The step whose model this one starts from; None starts from random weights.
    """

    action: str
    task: str
    parent: "Step | None" = None


@dataclass(frozen=True)
class Method:
    """A compared method: one file declares one, and ``conure_lib.methods`` registers it.

    Parameters
    ----------
    name : str
        As in Table 2 of the paper.
    recipe : callable
        From an order of tasks to {task: Step}: the steps whose test results are the method's.
    color, marker, dashes : str, str, tuple of float
        How figures draw the method; ``dashes`` are on and off lengths, () a solid line. Methods
        differ in all three, so that they can be told apart without colours.
    actions : mapping of str to callable
        The actions that this method adds: functions from a ``Context`` to an ``Outcome``.
    search : mapping
        Kind of task -> {field of ``TrainConfig``: values to try}; empty if nothing is searched.
    settings_of : str
        The method whose settings this one takes, if it has no search of its own.
    backbone : {"own", "shared", "none"} or None
        What has to be stored to serve all tasks: a backbone per task, one for all of them, or no
        network. None: a state along the way that serves its newest task only.
    patches, owner_maps : bool
        Whether a patch per later task, or an owner map per prunable weight, is stored as well.
    compared : bool
        Whether the method is a row of Table 2.

    Examples
    --------
    >>> from conure_lib.methods import METHODS
    >>> METHODS["STL"].recipe(("T1", "T2"))["T2"].action
    'finetune'
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


def each_after_first(action: str) -> Callable[[Order], dict[str, Step]]:
    """Return the recipe that trains T1 once and applies the action to each later task, after T1."""

    def recipe(order: Order) -> dict[str, Step]:
        first = Step("train", order[0])
        return {order[0]: first} | {task: Step(action, task, first) for task in order[1:]}

    return recipe
