"""The steps of an epoch: which instances stand in a batch, and the loss of a batch."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .config import TrainConfig
from .data.stream import PAD, TRAIN, Task, TaskStream
from .evaluate import user_vectors
from .layers import OutputLayer
from .losses import LogUniformSampler, PopularitySampler, bpr_loss, sampled_softmax_loss, softmax_loss
from .model import UserModel


@dataclass(frozen=True)
class Joint:
    """T1's loss on the same users, added to a later task's with a weight (MTL)."""

    task: Task
    config: TrainConfig
    weight: float


def seeded(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose; different purposes of the same seed are independent."""
    digest = hashlib.sha256("/".join(map(str, (seed, *purpose))).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


class Batches:
    """The batches of one epoch with a length, so that progress can show the remaining time."""

    def __init__(self, batches: list, step: Callable[[Tensor], tuple[Tensor, int]]) -> None:
        self.batches, self.step = batches, step

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return map(self.step, self.batches)


def steps_of(
    model: UserModel,
    stream: TaskStream,
    task: Task,
    config: TrainConfig,
    seed: int,
    frozen_backbone: bool,
    joint: Joint | None = None,
) -> Callable[[int], Batches]:
    """For an epoch's number: its batches as (loss with a graph, number of summands) pairs."""
    rows = task.rows(TRAIN)
    layer = model.outputs[task.name]
    device = layer.weight.device
    users, labels, input_rows, inputs = (
        torch.from_numpy(a).to(device) for a in (task.users, task.labels, stream.input_rows, stream.sequences)
    )
    cached = user_vectors(model, stream.sequences[stream.input_rows]) if frozen_backbone else None
    noise = seeded(seed, task.name, "negatives", device=device)
    if task.kind == "sequence":
        next_item_loss = _next_item_loss(model.outputs[task.name], stream, config, noise)
    elif joint:
        next_item_loss = _next_item_loss(model.outputs[joint.task.name], stream, joint.config, noise)
    if task.kind == "ranking":
        popular = PopularitySampler(task.label_counts(), config.rho, device)

    def sequence_step(batch: Tensor) -> tuple[Tensor, int]:
        items = inputs[batch].long()
        return next_item_loss(model.hidden(items[:, :-1]), items)

    def label_step(batch: Tensor) -> tuple[Tensor, int]:
        distinct, index = users[batch].unique(return_inverse=True)
        extra: Tensor | float = 0.0
        if cached is not None:
            vectors = cached[users[batch]]
        elif joint:
            items = inputs[input_rows[distinct]].long()
            hidden = model.hidden(F.pad(items, (0, 1)) if model.config.separator else items)
            extra = joint.weight * next_item_loss(hidden[: items.shape[1] - 1], items)[0]
            vectors = hidden[-1][index]
        else:
            vectors = model.user_vectors(inputs[input_rows[distinct]].long())[index]
        if task.kind == "ranking":
            negatives = popular.draw(labels[batch], noise)
            return bpr_loss(vectors, layer.weight, labels[batch], negatives) + extra, len(batch)
        return softmax_loss(vectors, layer.weight, layer.bias, labels[batch]) + extra, len(batch)

    step = sequence_step if task.kind == "sequence" else label_step

    def epoch(number: int) -> Batches:
        order = shuffled(rows, task.users[rows], config.labels_per_user, seeded(seed, task.name, "order", number))
        noise.manual_seed(seeded(seed, task.name, "negatives", number).initial_seed())
        return Batches(list(torch.from_numpy(order).to(device).split(config.batch_size)), step)

    return epoch


def _next_item_loss(
    layer: OutputLayer, stream: TaskStream, config: TrainConfig, noise: torch.Generator
) -> Callable[[Tensor, Tensor], tuple[Tensor, int]]:
    """T1's loss: (hidden [L-1, B, k], items [B, L]) -> mean over all items that follow an item, their number."""
    sampled = config.loss == "sampled-softmax"
    n_draws = max(1, round(config.negatives * stream.n_items))
    sampler = LogUniformSampler(stream.item_counts(), n_draws, layer.weight.device)

    def loss(hidden: Tensor, items: Tensor) -> tuple[Tensor, int]:
        known = (items[:, :-1] != PAD).t()
        vectors, targets = hidden[known], items[:, 1:].t()[known] - 1
        if not sampled:
            return softmax_loss(vectors, layer.weight, layer.bias, targets), len(targets)
        args = (vectors, layer.weight, layer.bias, targets, sampler.draw(noise), sampler.log_expected)
        return sampled_softmax_loss(*args, rows_only=config.table_updates == "rows"), len(targets)

    return loss


def shuffled(rows: np.ndarray, users: np.ndarray, per_user: int, generator: torch.Generator) -> np.ndarray:
    """A random order of ``rows`` in which up to ``per_user`` instances of a user stand side by side."""
    order = torch.randperm(len(rows), generator=generator).numpy()
    if per_user == 1:
        return rows[order]
    order = order[np.argsort(users[order], kind="stable")]
    grouped = users[order]
    first = np.searchsorted(grouped, grouped, side="left")
    group = first + (np.arange(len(order)) - first) // per_user
    key = torch.randperm(len(order), generator=generator).numpy()[group]
    return rows[order[np.argsort(key, kind="stable")]]
