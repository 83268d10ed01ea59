"""Exact ranks over the whole catalogue, one per instance; averages come late (paper, section 6.1).

Tie rule: a label's rank is the number of labels whose score is at least its own, itself included. Ties thus
count against the model: constant scores earn nothing where there are more labels than the cutoff.
"""

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from conure_lib.data.stream import Kind, Task, TaskStream
from conure_lib.models.layers import OutputLayer
from conure_lib.models.nextitnet import UserModel
from conure_lib.models.padding import Group, length_buckets, padding_of, sequences_in_cache

CUTOFF = 5  # MRR@5
MAX_RANK = 255  # of stored ranks, one byte each; 0 stands for any rank beyond
VECTORS_AT_A_TIME = (
    128  # fewer make poor products; the scores of more leave the cache before they are read
)
MAX_COUNTED = 1 << 24  # ones that float32 can add up; they are counted in place of the scores
USERS_AT_A_TIME = 512  # among which similar padding is looked for


def exact_ranks(
    layer: OutputLayer, vectors: Tensor, index: Tensor, targets: Tensor, max_rank: int = MAX_RANK
) -> np.ndarray:
    """Rank of each instance's label among all labels: uint8 [n], 1..max_rank, or 0 beyond.

    vectors [V, k], one per distinct user; index int64 [n]: each instance's row of ``vectors`` (ascending);
    targets int64 [n]. Where each vector has one target, scores of at least its own are counted. Else only the
    max_rank + 1 best scores of a vector are needed: a target that reaches the last of them has a rank beyond
    it, else all scores of at least its own are among them.
    Raises FloatingPointError if a score is not a finite number.
    """
    n_labels = len(layer.weight)
    index, targets = index.to(vectors.device), targets.to(vectors.device)
    step = VECTORS_AT_A_TIME
    edges = torch.arange(0, len(vectors) + step, step, device=vectors.device)
    bounds = torch.searchsorted(index, edges).tolist()
    buffer = vectors.new_empty(min(step, len(vectors)), n_labels)  # used again: no page faults
    ranks = targets.new_zeros(len(targets), dtype=torch.uint8)
    finite = targets.new_ones(
        (), dtype=torch.bool
    )  # asked once, at the end: a GPU is not waited for
    single = (
        torch.equal(index, torch.arange(len(vectors), device=index.device))
        and n_labels <= MAX_COUNTED
    )
    for chunk, start in enumerate(range(0, len(vectors), step)):
        rows = slice(bounds[chunk], bounds[chunk + 1])
        some = vectors[start : start + step]
        scores = layer.into(buffer[: len(some)], some)
        own = scores[index[rows] - start, targets[rows]]
        best = scores.amax(1) if single else scores.topk(min(max_rank + 1, n_labels), dim=1).values
        finite &= torch.isfinite(best).all() & torch.isfinite(own).all()
        at_least = (scores if single else best[index[rows] - start]).ge_(own[:, None])
        rank = at_least.sum(1)
        ranks[rows] = torch.where(rank > max_rank, 0, rank).to(torch.uint8)
    if not finite:
        raise FloatingPointError(
            "a score is not finite; the model has diverged (lower the learning rate)"
        )
    return ranks.cpu().numpy()


def reciprocal_ranks(ranks: np.ndarray, cutoff: int = CUTOFF) -> np.ndarray:
    """1 / rank per instance, 0.0 for ranks beyond the cutoff: float64 [n]."""
    hit = (ranks > 0) & (ranks <= cutoff)
    return np.divide(1.0, ranks, out=np.zeros(len(ranks)), where=hit)


def scores_of(kind: Kind, ranks: np.ndarray, cutoff: int = CUTOFF) -> np.ndarray:
    """The metric per instance: reciprocal rank, or for classification 1.0 where the right class is ahead."""
    if kind == "classification":
        return (ranks == 1).astype(np.float64)
    return reciprocal_ranks(ranks, cutoff)


def metric_of(kind: Kind, ranks: np.ndarray) -> float:
    """MRR@5 for sequence and ranking tasks, accuracy for classification."""
    return float(scores_of(kind, ranks).mean())


def user_vectors(model: UserModel, sequences: np.ndarray) -> Tensor:
    """The vector at the last position of each sequence: item ids [n, L] -> float32 [n, k]."""
    return last_vectors(model, model.user_vectors, sequences)


@torch.no_grad()
def last_vectors(model: UserModel, forward: Callable, sequences: np.ndarray) -> Tensor:
    """``user_vectors`` by another method of the model, ``forward(items [B, L], prefix) -> [B, k]``."""
    vectors = model.embedding.new_empty(len(sequences), model.config.width)
    for numbers, prefix in _groups(padding_of(sequences), model, sequences.shape[1]):
        items = torch.from_numpy(sequences[numbers]).to(vectors.device).long()
        vectors[torch.from_numpy(numbers).to(vectors.device)] = forward(items, prefix)
    return vectors


def evaluate(
    model: UserModel, stream: TaskStream, task: Task, part: int, max_rank: int = MAX_RANK
) -> np.ndarray:
    """Ranks (uint8) of the instances in one part of a task, in the order of ``task.rows(part)``.

    T1: the rank of each sequence's last item, given all items before it.
    """
    rows = task.rows(part)
    if task.kind == "sequence":
        vectors = last_vectors(model, model.last_hidden, stream.sequences[rows, :-1])
        index = np.arange(len(rows))
        return rank_instances(model.outputs[task.name], vectors, index, task.labels[rows], max_rank)
    users, index = np.unique(task.users[rows], return_inverse=True)
    vectors = user_vectors(model, stream.sequences[stream.input_rows[users]])
    return rank_instances(model.outputs[task.name], vectors, index, task.labels[rows], max_rank)


@torch.no_grad()
def rank_instances(
    layer: OutputLayer,
    vectors: Tensor,
    index: np.ndarray,
    targets: np.ndarray,
    max_rank: int = MAX_RANK,
) -> np.ndarray:
    """``exact_ranks`` for instances in any order: they are grouped by user first."""
    order = np.argsort(index, kind="stable")
    ranks = np.empty(len(order), dtype=np.uint8)
    ranks[order] = exact_ranks(
        layer, vectors, torch.from_numpy(index[order]), torch.from_numpy(targets[order]), max_rank
    )
    return ranks


@torch.no_grad()
def evaluate_all_positions(
    model: UserModel, stream: TaskStream, task: Task, part: int, max_rank: int = MAX_RANK
) -> np.ndarray:
    """T1 at every position: ranks (uint8) of all items that follow an item, by sequence, then by position."""
    sequences = stream.sequences[task.rows(part)]
    padding = padding_of(sequences)
    known = sequences.shape[1] - 1 - padding  # items that follow an item, of each sequence
    first = np.cumsum(known) - known
    ranks = np.empty(known.sum(), dtype=np.uint8)
    for numbers, prefix in _groups(padding, model, sequences.shape[1]):
        items = torch.from_numpy(sequences[numbers]).to(model.embedding.device).long()
        position = (
            np.arange(prefix, sequences.shape[1] - 1) - padding[numbers, None]
        )  # from the first item on
        valid = torch.from_numpy(position >= 0).to(items.device)
        vectors = model.hidden(items[:, :-1], prefix).transpose(0, 1)[valid]
        targets = items[:, prefix + 1 :][valid] - 1
        place = (first[numbers, None] + position)[position >= 0]
        ranks[place] = exact_ranks(
            model.outputs[task.name], vectors, torch.arange(len(vectors)), targets, max_rank
        )
    return ranks


def _groups(padding: np.ndarray, model: UserModel, length: int) -> Iterator[Group]:
    """All sequences in groups of similar padding; of each no more at a time than stay in cache."""
    size = sequences_in_cache(length, model.config.width)
    for numbers, prefix in chain.from_iterable(length_buckets(padding, USERS_AT_A_TIME)):
        for some in np.array_split(numbers, -(-len(numbers) // size)):
            yield some, prefix


def popularity_ranks(stream: TaskStream, task: Task, part: int) -> np.ndarray:
    """The floor: every user is given the labels most frequent in training (ties: against the model).

    T1 counts all items of the training sequences, not only their last ones.
    """
    counts = stream.item_counts() if task.kind == "sequence" else task.label_counts()
    at_least = len(counts) - np.searchsorted(np.sort(counts), counts, side="left")
    rank = at_least[task.labels[task.rows(part)]]
    return np.where(rank > MAX_RANK, 0, rank).astype(np.uint8)


def metric_name(kind: str) -> str:
    """What a kind of task is measured by: accuracy for classification, MRR@5 for sequence and ranking."""
    return "accuracy" if kind == "classification" else "MRR@5"
