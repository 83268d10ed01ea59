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
    """An action on a task, after a parent or from scratch; equal steps are one stage."""

    action: str
    task: str
    parent: "Step | None" = None


@dataclass(frozen=True)
class Method:
    """A compared method. One file makes the record, ``conure_lib.methods`` registers it."""

    name: str  # as in Table 2
    recipe: Callable[[Order], dict[str, Step]]  # the steps whose test results are the method's
    color: str  # this and the next two: in figures; methods differ in all three
    marker: str
    dashes: tuple[float, ...] = ()  # lengths on and off; () is solid
    actions: Mapping[str, Callable] = field(default_factory=dict)  # Context -> Outcome, by name
    search: Mapping[Kind, SearchSpace] = field(default_factory=dict)
    settings_of: str = ""  # without a search: the method whose settings are taken
    backbone: Literal["own", "shared", "none"] | None = "own"  # stored; None: a passing state
    patches: bool = False  # stored per later task
    owner_maps: bool = False  # stored for all tasks
    compared: bool = True  # a row of Table 2


def recipe(
    action: str, t1: str | None = "train", from_t1: bool = True
) -> Callable[[Order], dict[str, Step]]:
    """Return a recipe: an action on T1 (or none), then one on each later task, maybe from T1's."""

    def steps(order: Order) -> dict[str, Step]:
        first = {order[0]: Step(t1, order[0])} if t1 else {}
        parent = first[order[0]] if from_t1 else None
        return first | {task: Step(action, task, parent) for task in order[1:]}

    return steps
