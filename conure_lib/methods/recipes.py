"""The compared methods (Table 2): which chain of actions each of them is."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One node of the graph: an action on a task, after a parent. Equal steps are shared between methods."""

    action: str
    task: str
    parent: "Step | None" = None


def conure_chain(order: tuple[str, ...]) -> dict[str, dict[str, Step]]:
    """Task -> {"train", "prune", "retrain"}: Conure's steps along an order of tasks."""
    chain: dict[str, dict[str, Step]] = {}
    last = None
    for task in order:
        steps = {}
        for action in ("train", "prune", "retrain"):
            last = steps[action] = Step(action, task, last)
        chain[task] = steps
    return chain


def _from_t1(action: str) -> Callable[[tuple[str, ...]], dict[str, Step]]:
    def recipe(order: tuple[str, ...]) -> dict[str, Step]:
        first = Step("train", order[0])
        parent = None if action in ("scratch", "joint") else first
        return {order[0]: first} | {task: Step(action, task, parent) for task in order[1:]}

    return recipe


METHODS: dict[str, Callable[[tuple[str, ...]], dict[str, Step]]] = {
    "Popularity": lambda order: {task: Step("popularity", task) for task in order},
    "SinMo": _from_t1("scratch"),
    "FineSmax": _from_t1("output-only"),
    "MTL": lambda order: {task: Step("joint", task) for task in order[1:]},
    "STL": _from_t1("finetune"),
    "PeterRec": _from_t1("patched-serial"),
    "PeterRec-parallel": _from_t1("patched-parallel"),
    "Conure-": lambda order: {task: steps["train"] for task, steps in conure_chain(order).items()},
    "Conure, not retrained": lambda order: {
        task: steps["prune"] for task, steps in conure_chain(order).items()
    },
    "Conure": lambda order: {task: steps["retrain"] for task, steps in conure_chain(order).items()},
}
"""Method -> for an order of tasks, the step whose test result is the method's result on each task."""

COMPARED = tuple(method for method in METHODS if method != "Conure, not retrained")
"""The rows of Table 2; what is pruned and not retrained is a state of Conure, not a method."""
