"""Conure (section 4): train on the free weights, prune, retrain; and its states on the way."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from conure_lib.data.stream import TEST
from conure_lib.methods.actions import Context, Outcome, logits_digest, weights_digest
from conure_lib.methods.method import Method, Order, Step
from conure_lib.models.ownership import ContinualModel, Phase
from conure_lib.training.batches import Trainable
from conure_lib.training.determinism import seeded
from conure_lib.training.evaluation import CUTOFF, evaluate, metric_of
from conure_lib.training.progress import Epoch, Progress

RATIO_STEPS = 20  # of a pruning ratio that is searched
LEAST_RATIO = 1 / RATIO_STEPS  # with 0 later tasks would find no free weights


def train(c: Context) -> Outcome:
    """Train a new task on the free weights, all weights for T1 (stages 1 and 4)."""
    learner = c.parent or c.new_model()
    before = task_logits(c, learner)
    if learner.tasks and learner.free_share() < c.study.grow_below:
        learner.grow(seeded(c.seed, c.task.name, "growth"))
    larger = copy.deepcopy(learner) if learner.tasks and c.study.grow_margin else None
    curve = learned(c, learner)
    if larger:
        larger.grow(seeded(c.seed, c.task.name, "growth by value"))
        of_larger = learned(c, larger)
        if best_value(curve) < best_value(of_larger) - c.study.grow_margin * abs(best_value(curve)):
            learner, curve = larger, of_larger
    notes = state_notes(c, learner, learner.trainable(), before)
    return c.outcome(learner, learner.model, curve, **notes)


def learned(c: Context, learner: ContinualModel) -> list[Epoch]:
    """Start the task and train all free weights."""
    learner.start(c.task.name, c.label_counts(c.task), seeded(c.seed, c.task.name, "output"))
    return c.train(learner.model, learner.trainable())


def best_value(curve: list[Epoch]) -> float:
    """Return the best validation value of a training."""
    return max(epoch.validation for epoch in curve[1:])


def prune(c: Context) -> Outcome:
    """Free the smallest of the weights that the task has just trained (stages 2 and 5)."""
    learner, before = c.parent, task_logits(c, c.parent)
    ratios, margin, probes = c.study.pruned(c.task.name), c.study.margin(c.task.name), {}
    if margin is not None:
        ratios["kernels"], probes = largest_ratio(partial(retrained_value, c), margin)
    learner.prune(**ratios)
    kernel = list(learner.model.kernels())[-1]  # Fig. 4: taps x 6 input x 12 output channels
    owner = learner.owners[kernel]
    owners = owner.view(-1, *owner.shape[-2:])[:, :6, :12]
    sample = {"kernel": kernel, "shape": [*owners.shape], "owners": owners.flatten().tolist()}
    notes = state_notes(c, learner, {}, before) | {"owners_sample": sample}
    if probes:
        notes |= {"ratio": ratios["kernels"], "probes": [*map(list, sorted(probes.items()))]}
    with learner.only_owned() as model:
        return c.outcome(learner, model, [], **notes)


def retrain(c: Context) -> Outcome:
    """Train the task's own weights once more, without the free ones (stages 3 and 5)."""
    learner, before = c.parent, task_logits(c, c.parent)
    trainable = learner.trainable()
    with learner.only_owned() as model:
        curve = c.train(model, trainable)
        outcome = c.outcome(learner, model, curve)
    learner.finish()
    outcome.notes |= state_notes(c, learner, trainable, before)
    return outcome


def retrained_value(c: Context, ratio: float) -> float:
    """Return the best validation value after pruning by a ratio and retraining, on a copy."""
    learner, again = copy.deepcopy(c.parent), replace(c, action="retrain", progress=Progress())
    learner.prune(**{**c.study.pruned(c.task.name), "kernels": ratio})
    with learner.only_owned() as model:
        return best_value(again.train(model, learner.trainable()))


def largest_ratio(
    value_at: Callable[[float], float], margin: float
) -> tuple[float, dict[float, float]]:
    """Return the largest pruning ratio whose value is within a margin, and every value probed.

    By bisection over multiples of 5%, as if no value rose with the ratio; LEAST_RATIO where even
    that is too much. ``margin``: how far a value may be below that of ratio 0, as a share of it.
    """
    values, low, high = {0.0: value_at(0.0)}, 0, RATIO_STEPS
    least = values[0.0] - margin * abs(values[0.0])
    while high - low > 1:
        middle = (low + high) // 2
        value = values[middle / RATIO_STEPS] = value_at(middle / RATIO_STEPS)
        low, high = (middle, high) if value >= least else (low, middle)
    return max(low / RATIO_STEPS, LEAST_RATIO), values


def task_logits(c: Context, learner: ContinualModel) -> dict[str, str]:
    """Return the digest of each finished task's logits, as the model is now."""
    finished = learner.tasks if learner.phase is Phase.READY else learner.tasks[:-1]
    return {name: logits_digest(learner.for_task(name), c.stream, name) for name in finished}


def state_notes(c: Context, learner: ContinualModel, trained: Trainable, before: dict) -> dict:
    """Return what a stage records: capacity, and evidence that no finished task has changed.

    ``before``: from ``task_logits``, computed by the same process before the stage.
    """
    memory = {}
    for name, logits in task_logits(c, learner).items():
        task, model = c.stream[name], learner.for_task(name)
        tested = evaluate(model, c.stream, task, TEST, CUTOFF)[name]
        memory[name] = {
            "metric": metric_of(task.kind, tested) if len(tested) else None,
            "weights_sha256": weights_digest(model),
            "logits_sha256": logits,
        }
        if name in before:
            memory[name]["logits_before_sha256"] = before[name]
    sizes = {n: p.numel() for n, p in learner.model.named_parameters()}
    number = sum(sizes[n] if mask is None else int(mask.sum()) for n, mask in trained.items())
    state = {"owned": learner.owned_shares(), "memory": memory, "trained_parameters": number}
    return state | {"blocks": len(learner.model.blocks)}


def conure_chain(order: Order) -> dict[str, dict[str, Step]]:
    """Return Conure's steps along an order of tasks: task -> {"train", "prune", "retrain"}."""
    chain, last = {task: {} for task in order}, None
    for task in order:
        for action in ("train", "prune", "retrain"):
            last = chain[task][action] = Step(action, task, last)
    return chain


def _after(action: str) -> Callable[[Order], dict[str, Step]]:
    return lambda order: {task: steps[action] for task, steps in conure_chain(order).items()}


_TRAINED = {"actions": {"train": train}, "search": {}, "backbone": None}
_PRUNED = {"actions": {"prune": prune}, "settings_of": "Conure-", "backbone": None}
_RETRAINED = {"actions": {"retrain": retrain}, "settings_of": "Conure-", "backbone": "shared"}
CONURE_MINUS = Method("Conure-", _after("train"), "#D55E00", "X", (3, 2), **_TRAINED)
NOT_RETRAINED = Method(
    "Conure, not retrained", _after("prune"), "#332288", "*", (1, 2), **_PRUNED, compared=False
)
CONURE = Method("Conure", _after("retrain"), "#0072B2", "p", **_RETRAINED, owner_maps=True)
