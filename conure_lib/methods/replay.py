"""Experience replay: a few training instances of each old task are kept and trained on again.

The backbone alone: an output layer that learned from so few would forget all others.
"""

from itertools import cycle

import numpy as np
import torch
from torch import Tensor

from conure_lib.data.stream import TRAIN, Task
from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.continual import go_on, learner, old_tasks
from conure_lib.methods.method import LogRange
from conure_lib.models.backbone import UserModel
from conure_lib.training.batches import kind_of
from conure_lib.training.determinism import seeded


def replay(c: Context) -> Outcome:
    """Train the whole network; each step takes a batch of one old task as well, in turn."""
    model, config, old = c.parent.model, c.study.training(c.task.name, c.action), old_tasks(c)
    generator, length = seeded(c.seed, c.task.name, "replay"), c.stream.sequences.shape[1]
    every, turns = dict.fromkeys(model.backbone()), []
    for task in old:
        settings = c.study.training(task.name, c.action)
        batches = kind_of(task, every)(model, c.stream, task, settings, c.seed)
        targets = length - 1 if task.kind == "sequence" else 1  # of an instance
        turns.append((batches, memory(c, task), max(1, config.batch_size // targets)))
    turn = cycle(turns)

    def extra(_: UserModel, __: np.ndarray) -> Tensor:
        batches, kept, size = next(turn)
        some = kept[torch.randperm(len(kept), generator=generator)[:size].numpy()]
        return config.retention * sum(loss for loss, _ in batches.losses(some))

    numbers = sum(len(kept) for _, kept, _ in turns) * (length + 1)  # a sequence and a label each
    return go_on(c, outputs=False, extra=extra, memory=numbers)


def memory(c: Context, task: Task) -> np.ndarray:
    """Return the numbers of the training instances that are kept of a task, the same ever after."""
    rows, size = task.rows(TRAIN), c.study.training(c.task.name, c.action).memory
    generator = seeded(c.seed, task.name, "memory")
    return rows[torch.randperm(len(rows), generator=generator)[:size].numpy()]


_SEARCH = {"retention": LogRange(0.01, 10.0)}
REPLAY = learner("Replay", "replay", replay, "#7FB3F0", "4", (4, 4), search=_SEARCH)
