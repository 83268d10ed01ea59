"""TERACON (Kim et al., KDD 2023): soft masks that know of all tasks; old answers are kept.

Every task has an embedding per kernel; through a small layer it and those of all other tasks make
the mask of what the kernel reads. The network before the task gives the answers (scores) that old
tasks shall keep for some of the new users. After the authors' code, but T1 is trained without
masks, as for all methods here, from which new ones hardly differ; masks are of what a kernel
reads, theirs of what a layer gives; embeddings are not cut off at 6; and T1's old answers are those
to the whole sequence, theirs to all but its last item.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from conure_lib.data.stream import TRAIN
from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.continual import (
    AllTasks,
    go_on,
    inputs_of,
    learner,
    old_tasks,
    validation_score,
)
from conure_lib.methods.method import LogRange
from conure_lib.models.backbone import UserModel
from conure_lib.training.determinism import seeded

MAX_SCALE = 50.0  # s_max: the scale of a mask's sigmoid; 1 / s_max at the beginning of an epoch
SAMPLED_SHARE = 0.9  # share of users whose old answers are kept, until masks have been compared


@dataclass
class Serving:
    """Which task a network's masks are for, and how steep they are."""

    task: str
    scale: float = MAX_SCALE


class Mask(nn.Module):
    """The masks of a kernel (..., in, out): soft gates of what it reads, one vector per task."""

    def __init__(
        self, tasks: list[str], width: int, serving: Serving, generator: torch.Generator
    ) -> None:
        super().__init__()
        n, self.tasks, self.serving = len(tasks), tasks, serving
        self.embedding = nn.Parameter(2 * torch.rand(n, width, generator=generator))
        self.weight = nn.Parameter(0.01 * torch.randn(n, 2 * n - 1, generator=generator))
        self.bias = nn.Parameter(torch.full((n,), 0.1))

    def gates(self) -> Tensor:
        """Return the mask of the task that is served: [in] (Eq. 12 and 13; alone: Eq. 3)."""
        number, scale = self.tasks.index(self.serving.task), self.serving.scale
        own, others = self.embedding[number], np.delete(np.arange(len(self.tasks)), number)
        if not len(others):
            return (scale * own).sigmoid()
        others = self.embedding[others]
        related = torch.cat([own[None], others, -others])
        mixed = self.weight[number] @ (scale * related).tanh() + self.bias[number]
        return (scale * mixed).sigmoid()

    def forward(self, kernel: Tensor) -> Tensor:
        """Return the kernel as the task uses it."""
        return kernel * self.gates()[:, None]


def add_masks(
    model: UserModel, tasks: list[str], generator: torch.Generator
) -> tuple[Serving, dict[str, Mask]]:
    """Mask all kernels of a network, anew; return the masks by the kernels' names."""
    serving, masks = Serving(tasks[-1]), {}
    for name, kernel in model.kernels().items():
        module, _, attribute = name.rpartition(".")
        masks[name] = Mask(tasks, kernel.shape[-2], serving, generator)
        masks[name].to(kernel.device)
        parametrize.register_parametrization(model.get_submodule(module), attribute, masks[name])
    return serving, masks


def remove_masks(model: UserModel, masks: dict[str, Mask]) -> dict[str, Tensor]:
    """Leave the kernels as they are without masks; return the masks' parameters by name."""
    for name in masks:
        module, _, attribute = name.rpartition(".")
        kernel = model.get_submodule(module), attribute
        parametrize.remove_parametrizations(*kernel, leave_parametrized=False)
    named = ((name, *one) for name, mask in masks.items() for one in mask.named_parameters())
    return {f"{kernel}.{name}": parameter.detach() for kernel, name, parameter in named}


@dataclass(eq=False)
class Annealed(AllTasks):
    """A task's batches; each epoch begins with masks that hardly tell units apart."""

    serving: Serving | None = None

    def epoch(self, number: int) -> list[np.ndarray]:
        """Return an epoch's batches, and begin with the flattest masks."""
        self.serving.scale = 1 / MAX_SCALE
        return super().epoch(number)


def teracon(c: Context) -> Outcome:
    """Train the whole network and all masks, while old tasks' answers are kept."""
    generator, model, state = seeded(c.seed, c.task.name, "masks"), c.parent.model, c.parent.state
    old = [task.name for task in old_tasks(c)]
    every = [task.name for task in c.stream.tasks if task.name in (*old, c.task.name)]
    teacher = copy.deepcopy(model)
    before, taught = add_masks(teacher, old, generator)
    serving, masks = add_masks(model, every, generator)
    with torch.no_grad():
        for kernel, mask in taught.items():
            for name, parameter in mask.named_parameters() if state else ():
                parameter.copy_(state[f"{kernel}.{name}"])
            masks[kernel].embedding[[every.index(task) for task in old]] = mask.embedding
    config, shares = c.study.training(c.task.name, c.action), dict.fromkeys(old, SAMPLED_SHARE)
    steps = -(-len(c.thinned(c.task).rows(TRAIN)) // config.batch_size)

    def serve(task: str) -> None:
        serving.task, serving.scale = task, MAX_SCALE

    def extra(_: UserModel, batch: np.ndarray) -> Tensor:
        items, total = inputs_of(c, batch)[1], 0.0
        before.scale = serving.scale
        for task in old:
            number = max(1, int(len(items) * shares[task]))
            some = items[torch.randperm(len(items), generator=generator)[:number]]
            serving.task = before.task = task
            now = model.outputs[task](model.user_vectors(some))
            with torch.no_grad():
                then = teacher.outputs[task](teacher.user_vectors(some))
            total += shares[task] / sum(shares.values()) * F.mse_loss(now, then)
        serving.task = c.task.name
        for task in old:
            before.task = task
            shares[task] = sampled_share(taught.values(), masks.values())
        serving.scale += (MAX_SCALE - 1 / MAX_SCALE) / steps
        return config.retention * total

    numbers = {"masks": sum(p.numel() for mask in masks.values() for p in mask.parameters())}
    numbers["teacher"] = sum(p.numel() for p in teacher.parameters())
    known = {}  # with the masks that old tasks learned: the new ones lose some of it already
    for task in old_tasks(c):
        before.task = task.name
        known[task.name] = validation_score(teacher, c.stream, task)
    kind = partial(Annealed, serving=serving, before=known)
    outcome = go_on(c, extra=extra, kind=kind, serve=serve, **numbers)
    outcome.model.state = remove_masks(model, masks)
    return outcome


@torch.no_grad()
def sampled_share(before: Iterable[Mask], now: Iterable[Mask]) -> float:
    """Return the share of users whose old answers are kept: fewer, the more alike the masks are."""
    pairs = zip(before, now, strict=True)
    alike = [F.cosine_similarity(then.gates(), mask.gates(), dim=0) for then, mask in pairs]
    return 1 - float((6 * torch.stack(alike)).sigmoid().mean())


_SEARCH = {"retention": LogRange(0.01, 10.0)}
_LOOK = "#AA3377", "H", (2, 4)
TERACON = learner("TERACON", "teracon", teracon, *_LOOK, search=_SEARCH, revisions={"teracon": 2})
