"""LwF (Li and Hoiem 2016): old tasks keep the answers that they gave before, on the new users."""

import copy

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.continual import go_on, inputs_of, learner, old_tasks
from conure_lib.methods.method import LogRange
from conure_lib.models.backbone import UserModel
from conure_lib.training.evaluation import user_vectors


def lwf(c: Context) -> Outcome:
    """Train the whole network; the network before the task teaches each old task's output.

    All weights from the first step on: the paper first trains the new output layer alone.
    """
    config, old = c.study.training(c.task.name, c.action), old_tasks(c)
    teacher = copy.deepcopy(c.parent.model).requires_grad_(False)
    taught = user_vectors(teacher, c.stream.sequences[c.stream.input_rows])

    def extra(model: UserModel, batch: np.ndarray) -> Tensor:
        users, items = inputs_of(c, batch)
        before, now = taught[torch.from_numpy(users).to(taught.device)], model.user_vectors(items)
        pairs = [(teacher.outputs[t.name](before), model.outputs[t.name](now)) for t in old]
        return config.retention * sum(distillation(*pair, config.temperature) for pair in pairs)

    return go_on(c, extra=extra, teacher=sum(p.numel() for p in teacher.parameters()))


def distillation(before: Tensor, now: Tensor, temperature: float) -> Tensor:
    """Return the mean KL divergence of predicted distributions from before; scores [N, n_labels].

    Both at a temperature, times its square, which keeps gradients comparable across temperatures.
    """
    then, today = ((scores / temperature).log_softmax(1) for scores in (before, now))
    return temperature**2 * F.kl_div(today, then, reduction="batchmean", log_target=True)


_SEARCH = {"retention": LogRange(0.1, 10.0), "temperature": (1.0, 2.0, 4.0)}
_SEARCH |= {"loss": ("softmax",)}  # distillation is of probabilities, which BPR does not train
LWF = learner("LwF", "lwf", lwf, "#448866", "3", (1, 1, 4, 1), search=_SEARCH)
