"""Conure (paper, section 4): train on free weights, prune, retrain; and its states along the way."""

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
    """Free the smallest of the weights that the task has just trained (stages 2 and 5, first half)."""
    learner = c.parent
    before = task_logits(c, learner)
    learner.prune(**c.study.pruned(c.task.name))
    with learner.only_owned() as model:
        ranks = ranks_on_test(model, c.stream, c.task)
    notes = state_notes(c, learner, {}, before) | {"owners_sample": owners_sample(learner)}
    return Outcome(learner, ranks, [], notes)


def retrain(c: Context) -> Outcome:
    """Train the task's own weights once more without the free ones (stages 3 and 5, second half)."""
    learner = c.parent
    before = task_logits(c, learner)
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


def _state_after(action: str):
    return lambda order: {task: steps[action] for task, steps in conure_chain(order).items()}


CONURE_MINUS = Method(
    name="Conure-",
    recipe=_state_after("train"),
    color="#D55E00",
    marker="X",
    dashes=(3, 2),
    actions={"train": train},
    search=SEARCH,
    backbone=None,
)
NOT_RETRAINED = Method(
    name="Conure, not retrained",
    recipe=_state_after("prune"),
    color="#332288",
    marker="*",
    dashes=(1, 2),
    actions={"prune": prune},
    settings_of="Conure-",
    backbone=None,
    compared=False,
)
CONURE = Method(
    name="Conure",
    recipe=_state_after("retrain"),
    color="#0072B2",
    marker="p",
    actions={"retrain": retrain},
    settings_of="Conure-",
    backbone="shared",
    owner_maps=True,
)
