"""EWC (Kirkpatrick et al. 2017): a penalty holds in place what mattered to old tasks.

How much a weight mattered is its Fisher information: a task keeps its own, and its weights.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from conure_lib.data.stream import TRAIN, Task
from conure_lib.methods.actions import Context, Outcome, last_scores
from conure_lib.methods.continual import go_on, learner, old_tasks, training_part
from conure_lib.methods.method import LogRange
from conure_lib.training.determinism import seeded

FISHER_INSTANCES = 512  # of a task's training part, at most, for its Fisher information


def ewc(c: Context) -> Outcome:
    """Train the whole network, its backbone under the penalties of all old tasks."""
    model, state, old = c.parent.model.requires_grad_(), c.parent.state, old_tasks(c)
    weights = {name: model.get_parameter(name) for name in model.backbone()}
    for task in (task for task in old if f"{task.name}.fisher.embedding" not in state):
        generator = seeded(c.seed, task.name, "fisher")
        found = fisher(answers(c, task, generator), [*weights.values()], generator)
        for (name, weight), information in zip(weights.items(), found, strict=True):
            state[f"{task.name}.fisher.{name}"] = information
            state[f"{task.name}.weight.{name}"] = weight.detach().clone()
    strength = c.study.training(c.task.name, c.action).retention
    held = [
        (weight, state[f"{task.name}.weight.{name}"], state[f"{task.name}.fisher.{name}"])
        for name, weight in weights.items()
        for task in old
    ]
    size = sum(weight.numel() for weight in weights.values())
    numbers = {"fisher and weights": 2 * size * (len(old) + 1)}  # for the next task: this one's too
    return go_on(c, outputs=False, extra=lambda *_: strength * penalty(held), **numbers)


def penalty(held: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Return half the squared distances of weights from old ones, times their information."""
    return sum((information * (now - then).square()).sum() / 2 for now, then, information in held)


def answers(c: Context, task: Task, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the scores of all labels for random training instances, T1's for last items."""
    rows = training_part(c, task).rows(TRAIN)
    for row in rows[torch.randperm(len(rows), generator=generator)[:FISHER_INSTANCES]]:
        at = row if task.kind == "sequence" else c.stream.input_rows[task.users[row]]
        yield last_scores(c.parent.model, task, c.stream.sequences[at][None])[0]


def fisher(
    answers: Iterable[Tensor], weights: list[Tensor], generator: torch.Generator
) -> list[Tensor]:
    """Return the diagonal Fisher information of weights, one tensor each.

    The mean, over answers (scores of all labels), of the squared gradients of the log-probability
    of a label drawn from the answer's distribution.
    """
    total, number = [torch.zeros_like(weight) for weight in weights], 0
    for scores in answers:
        log_probabilities = scores.log_softmax(0)
        label = torch.multinomial(log_probabilities.detach().exp().cpu(), 1, generator=generator)
        gradients = torch.autograd.grad(log_probabilities[label.item()], weights)
        for one, gradient in zip(total, gradients, strict=True):
            one += gradient.square()
        number += 1
    return [one / number for one in total]


_SEARCH = {"retention": LogRange(1.0, 1e6), "loss": ("softmax",)}  # that of the information
EWC = learner("EWC", "ewc", ewc, "#C9A227", "2", (3, 3), search=_SEARCH)
