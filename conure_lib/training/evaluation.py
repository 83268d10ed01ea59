"""Exact ranks over the whole catalogue, one per instance; means are taken late (section 6.1).

Tie rule: a label's rank is the number of labels whose score is at least its own, itself included.
Ties count against the model: constant scores earn nothing with more labels than the cutoff.
"""

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from conure_lib.data.stream import Kind, Task, TaskStream
from conure_lib.models.layers import OutputLayer, scores_into
from conure_lib.models.nextitnet import UserModel
from conure_lib.models.padding import Bucket, length_buckets, micro_batch_size, padding_of

CUTOFF = 5  # MRR@5
MAX_RANK = 255  # of stored ranks, one byte each; 0 is any rank beyond
SCORED_VECTORS = 128  # at a time: the scores of more leave the cache before they are read
MAX_COUNTED = 1 << 24  # ones that float32 can add up; they are counted in place of the scores
SORTED_USERS = 512  # among which similar padding is looked for


@torch.no_grad()
def exact_ranks(
    layer: OutputLayer, vectors: Tensor, index: Tensor, targets: Tensor, max_rank: int = MAX_RANK
) -> np.ndarray:
    """Return the rank of each instance's label among all labels: uint8 [n], 0 beyond ``max_rank``.

    Parameters
    ----------
    layer, vectors
        The task's output layer; a vector per distinct user, float [V, k].
    index, targets
        Each instance's row of ``vectors`` and its label, int64 [n] (arrays will do).
    max_rank
        At most 255; small ones are faster to compute.
    """
    n_labels, device = len(layer.weight), vectors.device
    index, order = torch.as_tensor(index, device=device).sort(stable=True)
    targets = torch.as_tensor(targets, device=device)[order]
    edges = torch.arange(0, len(vectors) + SCORED_VECTORS, SCORED_VECTORS, device=device)
    bounds = torch.searchsorted(index, edges).tolist()
    buffer = vectors.new_empty(min(SCORED_VECTORS, len(vectors)), n_labels)  # no page faults
    ranks = targets.new_zeros(len(targets), dtype=torch.uint8)
    finite = targets.new_ones((), dtype=torch.bool)  # read once, at the end: no wait for a GPU
    # With one target per vector, scores of at least its own are counted; else a vector's
    # max_rank + 1 best scores are enough.
    each_once = torch.equal(index, torch.arange(len(vectors), device=device))
    count_all = each_once and n_labels <= MAX_COUNTED
    for chunk, start in enumerate(range(0, len(vectors), SCORED_VECTORS)):
        rows = slice(bounds[chunk], bounds[chunk + 1])
        scored = vectors[start : start + SCORED_VECTORS]
        scores = scores_into(buffer[: len(scored)], scored, layer.weight, layer.bias)
        target_scores = scores[index[rows] - start, targets[rows]]
        best = scores.amax(1) if count_all else scores.topk(min(max_rank + 1, n_labels)).values
        finite &= torch.isfinite(best).all() & torch.isfinite(target_scores).all()
        others = scores if count_all else best[index[rows] - start]
        rank = others.ge_(target_scores[:, None]).sum(1)
        ranks[order[rows]] = torch.where(rank > max_rank, 0, rank).to(torch.uint8)
    if not finite:
        raise FloatingPointError("a score is not finite: training diverged; lower learning_rate")
    return ranks.cpu().numpy()


def scores_of(kind: Kind, ranks: np.ndarray, cutoff: int = CUTOFF) -> np.ndarray:
    """Return the metric per instance: 1 / rank up to the cutoff; classification: of rank 1 only."""
    hit = (ranks > 0) & (ranks <= (1 if kind == "classification" else cutoff))
    return np.divide(1.0, ranks, out=np.zeros(len(ranks)), where=hit)


def metric_of(kind: Kind, ranks: np.ndarray) -> float:
    """Return MRR@5 for sequence and ranking tasks, accuracy for classification; nan of nothing."""
    return float(scores_of(kind, ranks).mean()) if len(ranks) else float("nan")


def metric_name(kind: Kind) -> str:
    """Return the name of what ``metric_of`` measures."""
    return "accuracy" if kind == "classification" else f"MRR@{CUTOFF}"


def user_vectors(model: UserModel, sequences: np.ndarray) -> Tensor:
    """Return the vector that later tasks read of each sequence: item ids [n, L] -> [n, k]."""
    return last_vectors(model, model.user_vectors, sequences)


@torch.no_grad()
def last_vectors(model: UserModel, forward: Callable, sequences: np.ndarray) -> Tensor:
    """Return one vector per sequence, by ``model.user_vectors`` or ``model.last_hidden``."""
    vectors = model.embedding.new_empty(len(sequences), model.config.width)
    for numbers, prefix in _buckets(padding_of(sequences), model, sequences.shape[1]):
        items = torch.from_numpy(sequences[numbers]).to(vectors.device).long()
        vectors[torch.from_numpy(numbers).to(vectors.device)] = forward(items, prefix)
    return vectors


def evaluate(
    model: UserModel, stream: TaskStream, task: Task, part: int, max_rank: int = MAX_RANK
) -> np.ndarray:
    """Return the ranks of a task's instances: uint8 [n], in the order of ``task.rows(part)``.

    T1's are those of each sequence's last item, after all items before it. ``max_rank``: the
    largest rank that is kept (see ``exact_ranks``).
    """
    rows = task.rows(part)
    if task.kind == "sequence":
        index = np.arange(len(rows))
        vectors = last_vectors(model, model.last_hidden, stream.sequences[rows, :-1])
    else:
        users, index = np.unique(task.users[rows], return_inverse=True)
        vectors = user_vectors(model, stream.sequences[stream.input_rows[users]])
    return exact_ranks(model.outputs[task.name], vectors, index, task.labels[rows], max_rank)


@torch.no_grad()
def evaluate_all_positions(
    model: UserModel, stream: TaskStream, task: Task, part: int, max_rank: int = MAX_RANK
) -> np.ndarray:
    """Return T1's ranks of all items that follow an item, by sequence and position."""
    sequences = stream.sequences[task.rows(part)]
    padding, last = padding_of(sequences), sequences.shape[1] - 1
    n_targets = last - padding  # of each sequence
    first = np.cumsum(n_targets) - n_targets
    ranks = np.empty(n_targets.sum(), dtype=np.uint8)
    for numbers, prefix in _buckets(padding, model, last + 1):
        items = torch.from_numpy(sequences[numbers]).to(model.embedding.device).long()
        position = np.arange(prefix, last) - padding[numbers, None]  # from the first item on
        valid = torch.from_numpy(position >= 0).to(items.device)
        vectors = model.hidden(items[:, :-1], prefix).transpose(0, 1)[valid]
        targets = items[:, prefix + 1 :][valid] - 1
        place = (first[numbers, None] + position)[position >= 0]
        index = torch.arange(len(vectors))
        ranks[place] = exact_ranks(model.outputs[task.name], vectors, index, targets, max_rank)
    return ranks


def _buckets(padding: np.ndarray, model: UserModel, length: int) -> Iterator[Bucket]:
    """Yield all sequences in buckets of similar padding, no larger than a micro-batch."""
    size = micro_batch_size(length, model.config.width)
    for rows, prefix in chain.from_iterable(length_buckets(padding, SORTED_USERS)):
        for some in np.array_split(rows, -(-len(rows) // size)):
            yield some, prefix


def popularity_ranks(stream: TaskStream, task: Task, part: int) -> np.ndarray:
    """Return the ranks if every user is given the labels by frequency in the training part."""
    counts = stream.item_counts() if task.kind == "sequence" else task.label_counts()
    at_least = len(counts) - np.searchsorted(np.sort(counts), counts, side="left")
    rank = at_least[task.labels[task.rows(part)]]
    return np.where(rank > MAX_RANK, 0, rank).astype(np.uint8)
