"""The batches of an epoch, and the loss of a batch, micro-batch by micro-batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from conure_lib.config import TrainConfig
from conure_lib.data.stream import TRAIN, Task, TaskStream
from conure_lib.models.backbone import UserModel
from conure_lib.models.convolution import to_device
from conure_lib.models.padding import length_buckets, micro_batch_size, padding_of
from conure_lib.training import evaluation
from conure_lib.training.determinism import seeded
from conure_lib.training.objectives import Objective

Trainable = dict[str, Tensor | None]
"""Parameter name -> mask of the entries that may change (None: all of them)."""


class WithT1(NamedTuple):
    """T1's loss on the same users, added to a later task's with a weight (MTL)."""

    task: Task
    config: TrainConfig
    weight: float


@dataclass(eq=False)
class Batches:
    """A later task's training instances in random order, a batch's losses, the validation value.

    What is where is worked out on the host: a GPU is never waited for.
    """

    model: UserModel
    stream: TaskStream
    task: Task
    config: TrainConfig
    seed: int
    joint: WithT1 | None = None

    def __post_init__(self) -> None:
        """Derive the loss, the negatives' generator and the padding."""
        self.device, self.rows = self.model.embedding.device, self.task.rows(TRAIN)
        self.noise = seeded(self.seed, self.task.name, "negatives", device=self.device)
        self.loss = self._objective(self.task, self.config)
        self.t1_loss = self.joint and self._objective(self.joint.task, self.joint.config)
        self.sequences = torch.from_numpy(self.stream.sequences).to(self.device)
        self.padding = padding_of(self.stream.sequences)
        self.last = self.sequences.shape[1] - 1

    def _objective(self, task: Task, config: TrainConfig) -> Objective:
        layer = self.model.outputs[task.name]
        return Objective(layer, self.stream, task, config, self.noise)

    def epoch(self, number: int) -> list[np.ndarray]:
        """Return an epoch's batches of instance numbers, and seed its negatives."""
        name, size, users = self.task.name, self.config.batch_size, self.task.users[self.rows]
        generator = seeded(self.seed, name, "order", number)
        order = shuffled(self.rows, users, self.config.labels_per_user, generator)
        self.noise.manual_seed(seeded(self.seed, name, "negatives", number).initial_seed())
        return np.split(order, range(size, len(order), size))

    def losses(self, batch: np.ndarray) -> Iterator[tuple[Tensor, int]]:
        """Yield the losses of a batch's micro-batches, whose sum is its mean loss, and their terms.

        Take the gradient of one before asking for the next: intermediate results stay in cache.
        """
        users, index = np.unique(self.task.users[batch], return_inverse=True)
        labels = to_device(self.task.labels[batch], self.device)
        negatives, t1_negatives = self.loss.draw(labels), self.t1_loss and self.t1_loss.draw()
        rows = self.stream.input_rows[users]
        padding, separator = self.padding[rows], int(self.model.config.separator)
        for buckets, shared in self._micro_batches(padding, self.last + 1 + separator):
            vectors, parts = [], []
            for numbers, prefix in buckets:
                items = self._items(rows[numbers])
                if self.t1_loss is None:
                    vectors.append(self.model.user_vectors(items, prefix, shared))
                    continue
                hidden = self.model.hidden(F.pad(items, (0, separator)), prefix, shared)
                vectors.append(hidden[-1])
                parts.append(next_items(hidden, items, padding[numbers], prefix))
            vectors = torch.cat(vectors)
            row_of = np.full(len(users), -1)  # among the vectors
            row_of[np.concatenate([numbers for numbers, _ in buckets])] = np.arange(len(vectors))
            at = np.flatnonzero(row_of[index] >= 0)  # the instances of these users
            chosen = to_device(at, self.device)
            of_instances = vectors[to_device(row_of[index[at]], self.device)]
            of_negatives = negatives[chosen] if self.loss.pairwise else negatives
            total = self.loss(of_instances, labels[chosen], of_negatives) * (len(at) / len(batch))
            if self.t1_loss is not None:
                hidden, targets = (torch.cat(part) for part in zip(*parts, strict=True))
                n_targets = int((self.last - padding).sum())
                weight = self.joint.weight * len(targets) / n_targets
                total = total + self.t1_loss(hidden, targets, t1_negatives) * weight
            yield total, len(at)

    def validation(self) -> float:
        """Return what stops training, by the validation part; higher is better."""
        return evaluation.validation_value(self.model, self.stream, self.task)

    def _micro_batches(self, padding: np.ndarray, length: int) -> Iterator:
        size = micro_batch_size(length, self.model.config.width, self.device)
        for buckets in length_buckets(padding, size, self.device):
            longest = buckets[-1][1]
            yield buckets, self.model.padding_inputs(longest) if longest else None

    def _items(self, rows: np.ndarray) -> Tensor:
        return self.sequences[to_device(rows, self.device)].long()


class SequenceBatches(Batches):
    """T1: every item that follows an item is a target."""

    def losses(self, batch: np.ndarray) -> Iterator[tuple[Tensor, int]]:
        """Yield the losses of a batch's micro-batches, which share their negatives."""
        negatives, padding = self.loss.draw(), self.padding[batch]
        n_targets = int((self.last - padding).sum())
        for buckets, shared in self._micro_batches(padding, self.last):
            parts = []
            for numbers, prefix in buckets:
                items = self._items(batch[numbers])
                hidden = self.model.hidden(items[:, :-1], prefix, shared)
                parts.append(next_items(hidden, items, padding[numbers], prefix))
            vectors, targets = (torch.cat(part) for part in zip(*parts, strict=True))
            loss = self.loss(vectors, targets, negatives)
            yield loss * (len(targets) / n_targets), len(targets)


class OutputBatches(Batches):
    """The output layer alone: the backbone is frozen, so each user's vector is computed once."""

    @cached_property
    def vectors(self) -> Tensor:
        """The vectors of all users."""
        return evaluation.user_vectors(self.model, self.stream.sequences[self.stream.input_rows])

    def losses(self, batch: np.ndarray) -> Iterator[tuple[Tensor, int]]:
        """Yield the batch's loss."""
        labels = to_device(self.task.labels[batch], self.device)
        users = to_device(self.task.users[batch], self.device)
        negatives = self.loss.draw(labels)
        yield self.loss(self.vectors[users], labels, negatives), len(batch)

    def validation(self) -> float:
        """Return what stops training, from the vectors that are there."""
        return evaluation.validation_value(self.model, self.stream, self.task, self.vectors)


def kind_of(task: Task, trainable: Trainable) -> type[Batches]:
    """Return the class of a task's batches; a method that learns from something else adds one."""
    if task.kind == "sequence":
        return SequenceBatches
    only_output = all(name.startswith(f"outputs.{task.name}.") for name in trainable)
    return OutputBatches if only_output else Batches


def next_items(
    hidden: Tensor, items: Tensor, padding: np.ndarray, prefix: int
) -> tuple[Tensor, Tensor]:
    """Return T1's vectors [N, k] and targets (item id - 1, int64 [N]), from each first item on.

    ``hidden``: time-major, from position ``prefix`` on; ``items`` [B, L]; ``padding`` [B].
    """
    last = items.shape[1] - 1
    vectors = hidden[: last - prefix].flatten(0, 1)
    targets = items[:, prefix + 1 :].t().flatten() - 1
    known = np.arange(prefix, last)[:, None] >= padding
    if known.all():
        return vectors, targets
    at = to_device(np.flatnonzero(known), hidden.device)
    return vectors[at], targets[at]


def shuffled(
    rows: np.ndarray, users: np.ndarray, per_user: int, generator: torch.Generator
) -> np.ndarray:
    """Return ``rows`` in random order, up to ``per_user`` instances of a user side by side."""
    order = torch.randperm(len(rows), generator=generator).numpy()
    if per_user == 1:
        return rows[order]
    order = order[np.argsort(users[order], kind="stable")]
    grouped = users[order]
    first = np.searchsorted(grouped, grouped, side="left")
    group = first + (np.arange(len(order)) - first) // per_user
    key = torch.randperm(len(order), generator=generator).numpy()[group]
    return rows[order[np.argsort(key, kind="stable")]]
