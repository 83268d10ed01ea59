"""The steps of an epoch: which instances stand in a batch, and the loss of a batch, piece by piece."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from conure_lib.config import TrainConfig
from conure_lib.data.stream import TRAIN, Task, TaskStream
from conure_lib.models.layers import to_device
from conure_lib.models.nextitnet import UserModel
from conure_lib.models.padding import Group, length_buckets, padding_of, sequences_in_cache
from conure_lib.training.determinism import seeded
from conure_lib.training.evaluation import user_vectors
from conure_lib.training.objectives import LabelLoss, NextItemLoss

Step = Callable[[np.ndarray], tuple[Iterator[Tensor], int]]


@dataclass(frozen=True)
class Joint:
    """T1's loss on the same users, added to a later task's with a weight (MTL)."""

    task: Task
    config: TrainConfig
    weight: float


class Batches:
    """The batches of one epoch with a length, so that progress can show the remaining time.

    Each is (losses, size): the losses of the batch's pieces, whose sum is the mean over its ``size`` summands
    Take the gradient of each before asking for the next, then intermediate results stay in fast memory. The
    forward pass of a piece runs when its loss is asked for, nothing of it before.
    """

    def __init__(self, batches: list[np.ndarray], step: Step) -> None:
        self.batches, self.step = batches, step

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Iterator[Tensor], int]]:
        return map(self.step, self.batches)


def batches_of(
    model: UserModel,
    stream: TaskStream,
    task: Task,
    config: TrainConfig,
    seed: int,
    frozen_backbone: bool,
    joint: Joint | None = None,
) -> Callable[[int], Batches]:
    """For an epoch's number: its batches.

    What stands in a batch and where is worked out on the host, so that a GPU is never waited for.
    """
    noise = seeded(seed, task.name, "negatives", device=model.embedding.device)
    if task.kind == "sequence":
        step = _sequence_step(
            model, stream, task, NextItemLoss(model.outputs[task.name], stream, config, noise)
        )
    elif frozen_backbone:
        step = _output_step(
            model, stream, task, LabelLoss(model.outputs[task.name], task, config, noise)
        )
    else:
        loss = LabelLoss(model.outputs[task.name], task, config, noise)
        first = joint and NextItemLoss(model.outputs[joint.task.name], stream, joint.config, noise)
        step = _label_step(model, stream, task, loss, first, joint.weight if joint else 0.0)
    rows = task.rows(TRAIN)

    def epoch(number: int) -> Batches:
        order = shuffled(
            rows, task.users[rows], config.labels_per_user, seeded(seed, task.name, "order", number)
        )
        noise.manual_seed(seeded(seed, task.name, "negatives", number).initial_seed())
        return Batches(
            np.split(order, range(config.batch_size, len(order), config.batch_size)), step
        )

    return epoch


def _sequence_step(model: UserModel, stream: TaskStream, task: Task, loss: NextItemLoss) -> Step:
    sequences = torch.from_numpy(stream.sequences).to(model.embedding.device)
    padding = padding_of(stream.sequences)
    last = sequences.shape[1] - 1

    def step(batch: np.ndarray) -> tuple[Iterator[Tensor], int]:
        size, negatives = int((last - padding[batch]).sum()), loss.draw()

        def losses() -> Iterator[Tensor]:
            for piece in _pieces(padding[batch], model, last):
                pads, parts = _pads(model, piece), []
                for numbers, prefix in piece:
                    items = sequences[to_device(batch[numbers], sequences.device)].long()
                    hidden = model.hidden(items[:, :-1], prefix, pads)
                    parts.append(next_items(hidden, items, padding[batch[numbers]], prefix))
                vectors, targets = (torch.cat(part) for part in zip(*parts, strict=True))
                yield loss(vectors, targets, negatives) * (len(targets) / size)

        return losses(), size

    return step


def _label_step(
    model: UserModel,
    stream: TaskStream,
    task: Task,
    loss: LabelLoss,
    first: NextItemLoss | None,
    weight: float,
) -> Step:
    """Backbone and output layer: one vector per distinct user. first, weight: T1's loss beside it (MTL)."""
    device, separator = model.embedding.device, int(model.config.separator)
    sequences = torch.from_numpy(stream.sequences).to(device)
    padding = padding_of(stream.sequences)[stream.input_rows]
    last = sequences.shape[1] - 1

    def step(batch: np.ndarray) -> tuple[Iterator[Tensor], int]:
        users, index = np.unique(task.users[batch], return_inverse=True)
        labels = to_device(task.labels[batch], device)
        negatives, others = loss.draw(labels), first and first.draw()
        n_next = int((last - padding[users]).sum())

        def losses() -> Iterator[Tensor]:
            for piece in _pieces(padding[users], model, last + 1 + separator):
                pads, vectors, parts = _pads(model, piece), [], []
                for numbers, prefix in piece:
                    items = sequences[to_device(stream.input_rows[users[numbers]], device)].long()
                    if first is None:
                        vectors.append(model.user_vectors(items, prefix, pads))
                        continue
                    hidden = model.hidden(F.pad(items, (0, separator)), prefix, pads)
                    vectors.append(hidden[-1])
                    parts.append(next_items(hidden, items, padding[users[numbers]], prefix))
                at, rows = _instances(piece, index)
                chosen = to_device(at, device)
                own = torch.cat(vectors)[to_device(rows, device)]
                total = loss(own, labels[chosen], None if negatives is None else negatives[chosen])
                total = total * (len(at) / len(batch))
                if first is not None:
                    hidden, targets = (torch.cat(part) for part in zip(*parts, strict=True))
                    total = total + first(hidden, targets, others) * (
                        weight * len(targets) / n_next
                    )
                yield total

        return losses(), len(batch)

    return step


def _output_step(model: UserModel, stream: TaskStream, task: Task, loss: LabelLoss) -> Step:
    """The output layer alone: the backbone stands still, every user's vector is computed once."""
    vectors = user_vectors(model, stream.sequences[stream.input_rows])

    def step(batch: np.ndarray) -> tuple[Iterator[Tensor], int]:
        labels = to_device(task.labels[batch], vectors.device)
        users = to_device(task.users[batch], vectors.device)
        negatives = loss.draw(labels)

        def losses() -> Iterator[Tensor]:
            yield loss(vectors[users], labels, negatives)

        return losses(), len(batch)

    return step


def next_items(
    hidden: Tensor, items: Tensor, padding: np.ndarray, prefix: int
) -> tuple[Tensor, Tensor]:
    """T1's vectors [N, k] and targets (item id minus one, int64 [N]): every position from the first item on.

    hidden: time-major, from position ``prefix`` on; items [B, L]; padding [B].
    """
    last = items.shape[1] - 1
    vectors, targets = (
        hidden[: last - prefix].flatten(0, 1),
        items[:, prefix + 1 :].t().flatten() - 1,
    )
    known = np.arange(prefix, last)[:, None] >= padding
    if known.all():
        return vectors, targets
    at = to_device(np.flatnonzero(known), hidden.device)
    return vectors[at], targets[at]


def _pieces(padding: np.ndarray, model: UserModel, length: int) -> Iterator[list[Group]]:
    """A batch's sequences in pieces that stay in cache."""
    return length_buckets(padding, sequences_in_cache(length, model.config.width))


def _pads(model: UserModel, piece: list[Group]) -> list | None:
    longest = max(prefix for _, prefix in piece)
    return model.pad_rows(longest) if longest else None


def _instances(piece: list[Group], index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which instances' users are in the piece, and at which row of its vectors each user stands."""
    row = np.full(index.max() + 1, -1)
    numbers = np.concatenate([group for group, _ in piece])
    row[numbers] = np.arange(len(numbers))
    at = np.flatnonzero(row[index] >= 0)
    return at, row[index[at]]


def shuffled(
    rows: np.ndarray, users: np.ndarray, per_user: int, generator: torch.Generator
) -> np.ndarray:
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
