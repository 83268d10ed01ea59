"""Joint training of all tasks so far, from random weights: the reference of continual learning."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf

import numpy as np
import torch
from torch import Tensor

from conure_lib.config import TrainConfig
from conure_lib.data.stream import TRAIN
from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.continual import (
    AllTasks,
    evaluate_old,
    learner,
    numbers_of,
    old_tasks,
    settings_of,
    training_part,
)
from conure_lib.models.ownership import ContinualModel
from conure_lib.training.batches import Batches, kind_of
from conure_lib.training.determinism import seeded
from conure_lib.training.loop import fit


@dataclass(eq=False)
class Union(AllTasks):
    """The batches of several tasks in random order, each with the settings of its own task."""

    configs: dict[str, TrainConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make each task's batches."""
        super().__post_init__()
        self.parts: dict[str, Batches] = {}
        for task in (*self.old, self.task):
            kind = kind_of(task, dict.fromkeys(self.model.backbone()))
            config = self.configs[task.name]
            self.parts[task.name] = kind(self.model, self.stream, task, config, self.seed)

    def epoch(self, number: int) -> list[tuple[str, np.ndarray]]:
        """Return every batch of every task, with the task's name."""
        batches = [(name, b) for name, part in self.parts.items() for b in part.epoch(number)]
        generator = seeded(self.seed, self.task.name, "tasks", number)
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def losses(self, batch: tuple[str, np.ndarray]) -> Iterator[tuple[Tensor, int]]:
        """Yield the losses of the batch's task, with the penalty on its own output embedding."""
        name, rows = batch
        part = self.parts[name]
        yield from part.losses(rows)
        if part.config.l2:
            yield self.model.outputs[name].weight.square().sum() * part.config.l2 / 2, 0


def all_tasks(c: Context) -> Outcome:
    """Train a new network on this task and on all that the last one knew.

    With SinMo's settings of each task, whose networks start from random weights, too: a search of
    its own would cost more than all others together.
    """
    model, old, configs = c.new_model().model, old_tasks(c), {}
    for task in (*old, c.task):
        model.add_output(task.name, c.label_counts(task), seeded(c.seed, task.name, "output"))
        configs[task.name] = replace(settings_of(c, task), table_updates="dense")
    parts = [training_part(c, task) for task in (*old, c.task)]
    kind = partial(Union, old=parts[:-1], max_change=inf, configs=configs)
    settings = replace(configs[c.task.name], l2=0.0)  # it is among the losses
    trained = {name: parameter.numel() for name, parameter in model.named_parameters()}
    curve = fit(model, c.stream, c.task, settings, dict.fromkeys(trained), c.seed, kind=kind)
    kept = {"instances": numbers_of(c, (task.rows(TRAIN) for task in parts))}
    notes = {"trained_parameters": sum(trained.values()), "kept": kept}
    outcome = c.outcome(ContinualModel(model, ()), model, curve, **notes)
    evaluate_old(c, outcome, old)
    return outcome


JOINT = learner("Joint", "all-tasks", all_tasks, "#222222", "d", (8, 2), settings_of="SinMo")
