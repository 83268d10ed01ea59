"""What a method is: its recipe of steps, its search space, what it stores, how it is drawn."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from conure_lib.data.stream import Kind

Order = tuple[str, ...]


@dataclass(frozen=True)
class LogRange:
    """Numbers that are searched on a logarithmic scale; zero: an eighth of the scale is 0."""

    low: float
    high: float
    zero: bool = False

    def at(self, place: float) -> float:
        """Return the number at a place from 0 to 1, to three digits."""
        place = (8 * place - 1) / 7 if self.zero else place
        return 0.0 if place < 0 else _rounded(self.low * (self.high / self.low) ** place)

    def edge(self, number: float) -> int:
        """Return -1 or 1 in the lowest or highest tenth, if nothing beyond is searched; else 0."""
        place = math.log(number / self.low, self.high / self.low) if number else 0.5
        return (place > 0.9) - (place < 0.1 and not self.zero)

    def past(self, side: int, decades: float) -> float:
        """Return the number so many decades beyond the lower (-1) or upper (1) end."""
        return _rounded((self.high if side > 0 else self.low) * 10 ** (side * decades))

    def wider(self, side: int) -> "LogRange":
        """Return the range that reaches a decade further at one end."""
        end = "high" if side > 0 else "low"
        return replace(self, **{end: self.past(side, 1)})


def _rounded(number: float) -> float:
    return float(f"{number:.3g}")


SearchSpace = Mapping[str, LogRange | tuple]
"""Fields of TrainConfig, each with a range or with some values to choose from."""
_RATE = {"learning_rate": LogRange(1e-4, 3e-2)}
_COMMON = _RATE | {"l2": LogRange(1e-5, 1e-1, zero=True)}
_DROPOUT = {"dropout": (0.0, 0.25, 0.5)}
SEARCH: Mapping[Kind, SearchSpace] = {
    "sequence": _RATE,
    "ranking": _COMMON | {"loss": ("softmax", "bpr")} | _DROPOUT | {"rho": (0.3, 1.0)},
    "classification": _COMMON | _DROPOUT,
}
"""What is searched for every method alike; a method names only what is its own."""


@dataclass(frozen=True)
class Step:
    """An action on a task, after a parent or from scratch; equal steps are one stage."""

    action: str
    task: str
    parent: "Step | None" = None


Recipe = Callable[[Order], dict[str, Step]]


@dataclass(frozen=True)
class Method:
    """A compared method. One file makes the record, ``conure_lib.methods`` registers it."""

    name: str  # as in Table 2
    recipe: Recipe  # the steps whose test results are the method's
    color: str  # this and the next two: in figures; methods differ in all three
    marker: str
    dashes: tuple[float, ...] = ()  # lengths on and off; () is solid
    actions: Mapping[str, Callable] = field(default_factory=dict)  # Context -> Outcome, by name
    search: SearchSpace | None = None  # what is searched beside ``SEARCH``; None: nothing at all
    settings_of: str = ""  # without a search: the method whose settings are taken
    backbone: Literal["own", "shared"] | None = "own"  # stored; None: a passing state
    patches: bool = False  # stored per later task
    owner_maps: bool = False  # stored for all tasks
    compared: bool = True  # one of ``COMPARED``
    floor: bool = False  # no network: what every network has to beat
    groups: bool = False  # only for streams whose users belong to known groups
    revisions: Mapping[str, int] = field(default_factory=dict)  # of actions, see ``REVISIONS``

    def space(self, kind: Kind) -> SearchSpace:
        """Return what is searched on tasks of a kind; of the common fields only those it has."""
        common = SEARCH[kind]
        elsewhere = {name for one in SEARCH.values() for name in one} - common.keys()
        return common | {name: of for name, of in self.search.items() if name not in elsewhere}


def recipe(action: str, t1: str | None = "train", from_t1: bool = True) -> Recipe:
    """Return a recipe: an action on T1 (or none), then one on each later task, maybe from T1's."""

    def steps(order: Order) -> dict[str, Step]:
        first = {order[0]: Step(t1, order[0])} if t1 else {}
        parent = first[order[0]] if from_t1 else None
        return first | {task: Step(action, task, parent) for task in order[1:]}

    return steps


def floor(name: str, action: str, run: Callable, *look: object, t1=True, **others) -> Method:
    """Return a floor's record: one action, on each task by itself; ``t1``: on T1 as well."""
    steps = recipe(action, action if t1 else None, from_t1=False)
    return Method(name, steps, *look, {action: run}, floor=True, **others)
