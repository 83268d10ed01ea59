"""Experience replay: a few training instances of each old task are kept and trained on again.

At most ``memory`` of them, and a tenth of the task's. The backbone alone learns from them: an
output layer that learned from so few would forget all others.
"""

from itertools import cycle

import numpy as np
import torch
from torch import Tensor

from conure_lib.data.stream import TRAIN, Task
from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.continual import (
    go_on,
    learner,
    numbers_of,
    old_tasks,
    settings_of,
    training_part,
)
from conure_lib.methods.method import LogRange
from conure_lib.models.backbone import UserModel
from conure_lib.training.batches import kind_of
from conure_lib.training.determinism import seeded

MAX_SHARE = 0.1  # of a task's training instances: a small task is not kept as a whole


def replay(c: Context) -> Outcome:
    """Train backbone and new output layer; each step takes a batch of one old task as well."""
    model, config, old = c.parent.model, c.study.training(c.task.name, c.action), old_tasks(c)
    generator, length = seeded(c.seed, c.task.name, "replay"), c.stream.sequences.shape[1]
    instances = {task.name: memory(c, task) for task in (*old, c.task)}
    every, turns = dict.fromkeys(model.backbone()), []
    for task in old:
        given = c.stream, training_part(c, task), settings_of(c, task), c.seed
        batches = kind_of(task, every)(model, *given)
        targets = length - 1 if task.kind == "sequence" else 1  # of an instance
        size = max(1, config.batch_size // targets)
        turns.append((batches, instances[task.name], size))
    turn = cycle(turns)

    def extra(_: UserModel, __: np.ndarray) -> Tensor:
        batches, kept, size = next(turn)
        some = kept[torch.randperm(len(kept), generator=generator)[:size].numpy()]
        return config.retention * sum(loss for loss, _ in batches.losses(some))

    return go_on(c, outputs=False, extra=extra, memory=numbers_of(c, instances.values()))


def memory(c: Context, task: Task) -> np.ndarray:
    """Return the numbers of the training instances that are kept of a task, the same ever after."""
    most, rows = c.study.training(c.task.name, c.action).memory, training_part(c, task).rows(TRAIN)
    size = min(most, max(1, round(MAX_SHARE * len(rows))))
    generator = seeded(c.seed, task.name, "memory")
    return rows[torch.randperm(len(rows), generator=generator)[:size].numpy()]


_SEARCH = {"retention": LogRange(0.01, 10.0)}
REPLAY = learner("Replay", "replay", replay, "#7FB3F0", "4", (4, 4), search=_SEARCH)
