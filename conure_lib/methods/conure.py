"""Conure (section 4): train on the free weights, prune, retrain; and its states on the way."""

from collections.abc import Callable
from functools import partial

from conure_lib.methods.actions import (
    Context,
    Outcome,
    new_model,
    owners_sample,
    ranks_on_test,
    state_notes,
    task_logits,
    train_task,
)
from conure_lib.methods.method import SEARCH, Method, Order, Step
from conure_lib.training.determinism import seeded

CHAIN = ("train", "prune", "retrain")


def train(c: Context) -> Outcome:
    """Train a new task on the free weights, all weights for T1 (stages 1 and 4)."""
    learner = c.parent or new_model(c)
    before = task_logits(c, learner)
    learner.start(c.task.name, c.task.n_labels, c.task.kind, seeded(c.seed, c.task.name, "output"))
    trainable = learner.trainable()
    curve = train_task(c, learner.model, trainable)
    ranks = ranks_on_test(learner.model, c.stream, c.task)
    return Outcome(learner, ranks, curve, state_notes(c, learner, trainable, before))


def prune(c: Context) -> Outcome:
    """Free the smallest of the weights that the task has just trained (stages 2 and 5)."""
    learner, before = c.parent, task_logits(c, c.parent)
    learner.prune(**c.study.pruned(c.task.name))
    with learner.only_owned() as model:
        ranks = ranks_on_test(model, c.stream, c.task)
    notes = state_notes(c, learner, {}, before) | {"owners_sample": owners_sample(learner)}
    return Outcome(learner, ranks, [], notes)


def retrain(c: Context) -> Outcome:
    """Train the task's own weights once more, without the free ones (stages 3 and 5)."""
    learner, before = c.parent, task_logits(c, c.parent)
    trainable = learner.trainable()
    with learner.only_owned() as model:
        curve = train_task(c, model, trainable)
        ranks = ranks_on_test(model, c.stream, c.task)
    learner.finish()
    return Outcome(learner, ranks, curve, state_notes(c, learner, trainable, before))


def conure_chain(order: Order) -> dict[str, dict[str, Step]]:
    """Return Conure's steps along an order of tasks: task -> {"train", "prune", "retrain"}."""
    chain: dict[str, dict[str, Step]] = {task: {} for task in order}
    last = None
    for task in order:
        for action in CHAIN:
            last = chain[task][action] = Step(action, task, last)
    return chain


def _after(action: str) -> Callable[[Order], dict[str, Step]]:
    return lambda order: {task: steps[action] for task, steps in conure_chain(order).items()}


_state = partial(Method, backbone=None)
CONURE_MINUS = _state(
    "Conure-", _after("train"), "#D55E00", "X", (3, 2), actions={"train": train}, search=SEARCH
)
NOT_RETRAINED = _state(
    "Conure, not retrained",
    _after("prune"),
    "#332288",
    "*",
    (1, 2),
    actions={"prune": prune},
    settings_of="Conure-",
    compared=False,
)
CONURE = Method(
    "Conure",
    _after("retrain"),
    "#0072B2",
    "p",
    actions={"retrain": retrain},
    settings_of="Conure-",
    backbone="shared",
    owner_maps=True,
)
