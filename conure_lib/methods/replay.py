"""Experience replay: a few training instances of each old task are kept and trained on again."""

from itertools import cycle

import numpy as np
import torch
from torch import Tensor

from conure_lib.data.stream import TRAIN, Task
from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.continual import chain, go_on, old_tasks
from conure_lib.methods.method import LogRange, Method
from conure_lib.models.backbone import UserModel
from conure_lib.training.batches import kind_of
from conure_lib.training.determinism import seeded


def replay(c: Context) -> Outcome:
    """Train the whole network; each step takes a batch of one old task as well, in turn."""
    model, config, old = c.parent.model, c.study.training(c.task.name, c.action), old_tasks(c)
    generator, batches = seeded(c.seed, c.task.name, "replay"), {}
    for task in old:
        settings = c.study.training(task.name, c.action)
        kind = kind_of(task, dict.fromkeys(model.backbone()))
        batches[task.name] = kind(model, c.stream, task, settings, c.seed)
    turns = cycle((batches[task.name], memory(c, task)) for task in old)

    def extra(_: UserModel, __: np.ndarray) -> Tensor:
        one, rows = next(turns)
        some = torch.randperm(len(rows), generator=generator)[: config.batch_size].numpy()
        return config.retention * sum(loss for loss, _ in one.losses(rows[some]))

    length = c.stream.sequences.shape[1] + 1  # a sequence and a label
    return go_on(c, extra=extra, memory=sum(len(memory(c, task)) for task in old) * length)


def memory(c: Context, task: Task) -> np.ndarray:
    """Return the numbers of the training instances that are kept of a task, the same ever after."""
    rows, size = task.rows(TRAIN), c.study.training(c.task.name, c.action).memory
    return rows[torch.randperm(len(rows), generator=seeded(c.seed, task.name, "memory"))[:size]]


_PARTS = {"actions": {"replay": replay}, "search": {"retention": LogRange(0.1, 10.0)}}
REPLAY = Method(
    "Replay", chain("replay"), "#88CCEE", "4", (4, 4), **_PARTS, backbone="shared", compared=False
)
