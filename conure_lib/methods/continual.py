"""What continual learners share that go on with one network: the chain of tasks, old tasks' tests.

They train T1 themselves, as other methods do (to the same bytes on one kind of processor), so that
what they learn can be computed separately (see ``provenance.mixed``).
What each of them keeps beside the network is in ``ContinualModel.state``, and counted in the notes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from math import exp

import numpy as np
from torch import Tensor

from conure_lib.config import TrainConfig
from conure_lib.data.stream import TEST, Task, TaskStream
from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.conure import train
from conure_lib.methods.method import Method, Order, Step
from conure_lib.models.backbone import UserModel
from conure_lib.models.convolution import to_device
from conure_lib.training.batches import Batches
from conure_lib.training.evaluation import MAX_CUTOFF, deciding, metric_of, validation_value

Serve = Callable[[str], object]  # makes the network serve a task, where tasks use it differently
MIN_REFERENCE = 1e-3  # a smaller value before training is no measure of change


def learner(name: str, action: str, run: Callable, *look: object, **others) -> Method:
    """Return a learner's record: T1's training, then an action on each task after it."""

    def steps(order: Order) -> dict[str, Step]:
        last = Step("start", order[0])
        found = {order[0]: last}
        for task in order[1:]:
            last = found[task] = Step(action, task, last)
        return found

    actions = {"start": train, action: run}
    return Method(name, steps, *look, actions, backbone="shared", compared=False, **others)


def old_tasks(c: Context) -> list[Task]:
    """Return the tasks that the network has learned before, in the order of the stream."""
    return [t for t in c.stream.tasks if t.name in c.parent.model.outputs and t is not c.task]


def settings_of(c: Context, task: Task) -> TrainConfig:
    """Return the settings of a task so far; T1's are those that it was trained with."""
    return c.study.training(task.name, "start" if task.kind == "sequence" else c.action)


def training_part(c: Context, task: Task) -> Task:
    """Return a task with the share of its training part that its settings leave."""
    return task.thinned(settings_of(c, task).share)


def numbers_of(c: Context, instances: Iterable[np.ndarray]) -> int:
    """Count what instances of tasks take that are kept: a sequence and a label each."""
    return sum(map(len, instances)) * (c.stream.sequences.shape[1] + 1)


def go_on(
    c: Context,
    protects: bool = True,
    outputs: bool = True,
    extra: Callable[[UserModel, np.ndarray], Tensor] | None = None,
    kind: type[Batches] | None = None,
    serve: Serve = lambda _: None,
    **kept: int,
) -> Outcome:
    """Train the backbone and the new output layer; test what became of the old tasks.

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
    """Add the old tasks' test results: ranks (up to MAX_CUTOFF) as "T1-all-after", and metrics."""
    found = outcome.notes["old_tasks"] = {}
    for task in old if len(c.task.rows(TEST)) else ():
        serve(task.name)
        measure = deciding(task)
        ranks = c.test_ranks(outcome.model.model, task, MAX_CUTOFF)[measure]
        outcome.ranks[f"{measure}-after"] = ranks
        found[task.name] = {"metric": metric_of(task.kind, ranks), "n": len(ranks)}


@dataclass(eq=False)
class AllTasks(Batches):
    """A task's batches that stop, and settings that are searched, by all tasks so far.

    The value is the mean change of each task's validation value, relative to that before training;
    what an old task gains does not count. By the new task alone no protection would be the best.
    before: values to compare with, where the network as it begins has other ones (TERACON).
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
        self.before = values | self.before
        changes = {
            n: (v - self.before[n]) / max(self.before[n], MIN_REFERENCE) for n, v in values.items()
        }
        kept = [min(changes[task.name], self.max_change) for task in self.old]
        return float(np.mean([*kept, changes[self.task.name]]))


def validation_score(model: UserModel, stream: TaskStream, task: Task) -> float:
    """Return a task's validation value; of classes the right one's geometric mean probability."""
    value = validation_value(model, stream, task)
    return exp(value) if task.kind == "classification" else value


def inputs_of(c: Context, batch: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """Return a batch's users, each once, and their input sequences on the device."""
    users = np.unique(c.task.users[batch])
    sequences = c.stream.sequences[c.stream.input_rows[users]]
    return users, to_device(sequences, c.parent.model.embedding.device).long()
