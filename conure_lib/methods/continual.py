"""What continual learners share that go on with one network: the chain of tasks, old tasks' tests.

What each of them keeps beside the network is in ``ContinualModel.state``, and counted in the notes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import exp

import numpy as np
from torch import Tensor

from conure_lib.data.stream import TEST, VALIDATION, Task, TaskStream
from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.method import Method, Order, Step
from conure_lib.models.backbone import UserModel
from conure_lib.models.convolution import to_device
from conure_lib.training.batches import Batches
from conure_lib.training.evaluation import CUTOFF, cross_entropy, evaluate, metric_of

Serve = Callable[[str], object]  # makes the network serve a task, where tasks use it differently
MIN_REFERENCE = 1e-3  # a smaller value before training is no measure of change


def learner(name: str, action: str, run: Callable, *look: object, **others) -> Method:
    """Return a learner's record: T1's shared training, then an action on each task after it."""

    def steps(order: Order) -> dict[str, Step]:
        last = Step("train", order[0])
        found = {order[0]: last}
        for task in order[1:]:
            last = found[task] = Step(action, task, last)
        return found

    return Method(name, steps, *look, {action: run}, backbone="shared", compared=False, **others)


def old_tasks(c: Context) -> list[Task]:
    """Return the tasks that the network has learned before, in the order of the stream."""
    return [t for t in c.stream.tasks if t.name in c.parent.model.outputs and t is not c.task]


def go_on(
    c: Context,
    protects: bool = True,
    outputs: bool = True,
    extra: Callable[[UserModel, np.ndarray], Tensor] | None = None,
    kind: type[Batches] | None = None,
    serve: Serve = lambda _: None,
    **kept: int,
) -> Outcome:
    """Train the whole network on the next task, and test what became of the old ones.

    protects, outputs, extra
        Whether old tasks count for the validation value, and whether their output layers change;
        the loss that keeps them.
    kind, serve, kept
        Of batches; see ``Serve``; how many numbers the method keeps beside the network, by name.
    """
    model, old = c.parent.model, old_tasks(c)
    kind = partial(kind or AllTasks, old=old, serve=serve) if protects else None
    also = (*model.backbone(), *(f"outputs.{task.name}." for task in old if outputs))
    outcome = c.train_new_output(model, also=also, extra=extra, kind=kind)
    outcome.model.state = c.parent.state
    outcome.notes["kept"] = kept
    evaluate_old(c, outcome, old, serve)
    return outcome


def evaluate_old(
    c: Context, outcome: Outcome, old: list[Task], serve: Serve = lambda _: None
) -> None:
    """Add the old tasks' test results: ranks as measures "T1-after", metrics in the notes."""
    found = outcome.notes["old_tasks"] = {}
    for task in old if len(c.task.rows(TEST)) else ():
        serve(task.name)
        ranks = evaluate(outcome.model.model, c.stream, task, TEST)[task.name]
        outcome.ranks[f"{task.name}-after"] = ranks
        found[task.name] = {"metric": metric_of(task.kind, ranks), "n": len(ranks)}


@dataclass(eq=False)
class AllTasks(Batches):
    """A task's batches that stop, and settings that are searched, by all tasks so far.

    The value is the mean change of each task's validation value, relative to that before training;
    what an old task gains does not count. By the new task alone no protection would be the best.
    """

    old: list[Task] = field(default_factory=list)
    serve: Serve = lambda _: None
    max_change: float = 0.0  # of an old task that counts
    before: dict[str, float] = field(default_factory=dict)

    def validation(self) -> float:
        """Return the mean change, of the new task as it is."""
        values = {}
        for task in (*self.old, self.task):  # the new one last: it goes on being served
            self.serve(task.name)
            values[task.name] = validation_score(self.model, self.stream, task)
        self.before = self.before or values
        changes = {
            n: (v - self.before[n]) / max(self.before[n], MIN_REFERENCE) for n, v in values.items()
        }
        kept = [min(changes[task.name], self.max_change) for task in self.old]
        return float(np.mean([*kept, changes[self.task.name]]))


def validation_score(model: UserModel, stream: TaskStream, task: Task) -> float:
    """Return a task's MRR@5 (T1: of last items), or the mean chance (geometric) of the class."""
    if task.kind == "classification":
        return exp(-cross_entropy(model, stream, task, VALIDATION))
    return metric_of(task.kind, evaluate(model, stream, task, VALIDATION, CUTOFF)[task.name])


def inputs_of(c: Context, batch: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """Return a batch's users, each once, and their input sequences on the device."""
    users = np.unique(c.task.users[batch])
    sequences = c.stream.sequences[c.stream.input_rows[users]]
    return users, to_device(sequences, c.parent.model.embedding.device).long()
