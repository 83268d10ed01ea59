"""Exact ranks over the whole catalogue, one per instance; means are taken late (section 6.1).

Tie rule: a label's rank is the number of labels whose score is at least its own, itself included.
Ties count against the model: constant scores earn nothing with more labels than the cutoff.

Ranks by measure: T1's are those of each sequence's last item, "T1-all" of all that follow an item;
a ranking task's are filtered (labels that the user is known to have, from the parts before this
one, do not compete), "T2-literal" those of the paper, where they do.
"""

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from conure_lib.data.stream import VALIDATION, Kind, Task, TaskStream
from conure_lib.models.backbone import UserModel
from conure_lib.models.convolution import to_device
from conure_lib.models.layers import OutputLayer, scores_into
from conure_lib.models.padding import Bucket, length_buckets, micro_batch_size, padding_of

Ranks = dict[str, np.ndarray]
"""Measure -> uint8 [n]: ranks of the instances, in the order of ``task.rows(part)``."""
Known = tuple[np.ndarray, np.ndarray]
"""Pairs in order of the first: number of a user (vector), a label that does not compete."""
CUTOFF = 5  # MRR@5
METRICS = ("MRR@5", "HR@10", "NDCG@10")  # of sequence and ranking tasks; the first is primary
MAX_CUTOFF = 10  # of METRICS
MAX_RANK = 255  # of stored ranks, one byte each; 0 is any rank beyond
SCORED_VECTORS = 128  # at a time: the scores of more leave the cache before they are read
MAX_COUNTED = 1 << 24  # ones that float32 can add up; they are counted in place of the scores
SORTED_USERS = 512  # among which similar padding is looked for
DIVERGED = "a score is not finite: training diverged; lower learning_rate"


def exact_ranks(
    layer: OutputLayer,
    vectors: Tensor,
    index: np.ndarray | Tensor,
    targets: np.ndarray | Tensor,
    max_rank: int = MAX_RANK,
    known: Known | None = None,
) -> np.ndarray:
    """Return the rank of each instance's label among all labels: uint8 [n], 0 beyond ``max_rank``.

    vectors: float [V, k], one per user. index, targets: int64 [n], each instance's row of them and
    its label. max_rank: at most 255; small ones are faster. known: labels that do not compete, no
    targets among them; then [2, n], filtered and literal ranks.
    """
    n_labels = len(layer.weight)
    buffer = vectors.new_empty(min(SCORED_VECTORS, len(vectors)), n_labels)  # no page faults

    def scores(start: int) -> Tensor:
        scored = vectors[start : start + SCORED_VECTORS]
        return scores_into(buffer[: len(scored)], scored, layer.weight, layer.bias)

    index, targets = (torch.as_tensor(array, device=vectors.device) for array in (index, targets))
    return _ranks(scores, (len(vectors), n_labels), index, targets, max_rank, known)


@torch.no_grad()
def _ranks(
    scores_from: Callable[[int], Tensor],
    shape: tuple[int, int],
    index: Tensor,
    targets: Tensor,
    max_rank: int,
    known: Known | None,
) -> np.ndarray:
    """Rank by ``scores_from`` a row on: SCORED_VECTORS rows, which may be overwritten."""
    (n_vectors, n_labels), device = shape, index.device
    index, order = index.sort(stable=True)
    targets = targets[order]
    starts = range(0, n_vectors, SCORED_VECTORS)
    edges = np.array([*starts, n_vectors])
    bounds = torch.searchsorted(index, torch.from_numpy(edges).to(device)).tolist()
    # With one target per vector, scores of at least its own are counted; else a vector's
    # max_rank + 1 best scores are enough.
    each_once = torch.equal(index, torch.arange(n_vectors, device=device))
    count_all = each_once and n_labels <= MAX_COUNTED
    if known is not None:
        n_known = np.bincount(known[0], minlength=n_vectors)
        place = np.arange(len(known[0])) - (np.cumsum(n_known) - n_known)[known[0]]
        known_bounds = np.searchsorted(known[0], edges)
        rows, labels, place = (to_device(array, device) for array in (*known, place))
    ranks = targets.new_zeros(1 if known is None else 2, len(targets), dtype=torch.uint8)
    finite = targets.new_ones((), dtype=torch.bool)  # read once, at the end: no wait for a GPU
    for chunk, start in enumerate(starts):
        some = slice(bounds[chunk], bounds[chunk + 1])
        scores, row = scores_from(start), index[some] - start
        own = scores[row, targets[some]][:, None]
        if known is not None:
            lowest = torch.finfo(scores.dtype).min
            pairs = slice(*known_bounds[chunk : chunk + 2])
            at = rows[pairs] - start, labels[pairs]
            widest = int(n_known[start : start + SCORED_VECTORS].max())
            theirs = scores.new_full((len(scores), widest), lowest)
            theirs[at[0], place[pairs]] = scores[at]
            scores[at] = lowest
        best = scores.amax(1) if count_all else scores.topk(min(max_rank + 1, n_labels)).values
        finite &= torch.isfinite(best).all() & torch.isfinite(own).all()
        rank = (scores if count_all else best[row]).ge_(own).sum(1)
        if known is not None:
            theirs = theirs.topk(max_rank + 1).values if widest > max_rank else theirs
            rank = torch.stack([rank, rank + theirs[row].ge_(own).sum(1)])
        ranks[:, order[some]] = torch.where(rank > max_rank, 0, rank).to(torch.uint8)
    if not finite:
        raise FloatingPointError(DIVERGED)
    return (ranks[0] if known is None else ranks).cpu().numpy()


def scores_of(kind: Kind, ranks: np.ndarray, metric: str = METRICS[0]) -> np.ndarray:
    """Return a metric (one of METRICS) per instance; for classification whether its rank is 1."""
    name, cutoff = ("HR", 1) if kind == "classification" else metric.split("@")
    place = np.arange(1, int(cutoff) + 1)
    gains = {"MRR": 1 / place, "HR": np.ones(len(place)), "NDCG": 1 / np.log2(place + 1)}[name]
    return np.concatenate([[0.0], gains, np.zeros(MAX_RANK - len(place))])[ranks]


def metric_of(kind: Kind, ranks: np.ndarray, metric: str = METRICS[0]) -> float:
    """Return the mean of a metric; for classification the accuracy."""
    return float(scores_of(kind, ranks, metric).mean())


def metric_name(kind: Kind, metric: str = METRICS[0]) -> str:
    """Return the name of what ``metric_of`` measures."""
    return "accuracy" if kind == "classification" else metric


def deciding(task: Task) -> str:
    """Return the measure that decides: a task's own, T1's at all positions."""
    return f"{task.name}-all" if task.kind == "sequence" else task.name


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
    model: UserModel,
    stream: TaskStream,
    task: Task,
    part: int,
    max_rank: int = MAX_RANK,
    vectors: Tensor | None = None,
) -> Ranks:
    """Return a task's ranks by measure; T1's at the last position only.

    ``max_rank``: see ``exact_ranks``. ``vectors``: those of all users, if they are there already.
    """
    if task.kind == "sequence":
        rows = task.rows(part)
        vectors = last_vectors(model, model.last_hidden, stream.sequences[rows, :-1])
        index, labels, known = np.arange(len(rows)), task.labels[rows], None
    else:
        users, index, labels, known = _asked(task, part)
        vectors = _vectors_of(users, model, stream, vectors)
    ranks = exact_ranks(model.outputs[task.name], vectors, index, labels, max_rank, known)
    return _by_measure(task, ranks)


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


def ranks_of_scores(
    scores_for: Callable[[np.ndarray], np.ndarray], stream: TaskStream, task: Task, part: int
) -> Ranks:
    """Return the ranks by measure that given scores have, as a network's: for floors.

    ``scores_for``: called with up to SCORED_VECTORS users (distinct rows of the stream, int64 [u]),
    returns their scores of all labels, numbers [u, n_labels]; for T1 at all positions the same.
    """
    users, index, labels, known = _asked(task, part)
    if task.kind == "sequence":
        sequences = stream.sequences[task.rows(part)]
        at, position = np.nonzero(sequences[:, :-1])  # of the items that an item follows
        index, labels = index[at], sequences[at, position + 1].astype(np.int64) - 1

    def scores(start: int) -> Tensor:
        some = scores_for(users[start : start + SCORED_VECTORS])
        return torch.tensor(np.asarray(some, dtype=np.float64))  # a copy

    shape, asked = (len(users), task.n_labels), map(torch.from_numpy, (index, labels))
    ranks = _ranks(scores, shape, *asked, MAX_RANK, known)
    if task.kind != "sequence":
        return _by_measure(task, ranks)
    last = position == sequences.shape[1] - 2
    return {task.name: ranks[last], f"{task.name}-all": ranks}


@torch.no_grad()
def cross_entropy(
    model: UserModel, stream: TaskStream, task: Task, part: int, vectors: Tensor | None = None
) -> float:
    """Return a classification task's mean cross-entropy; arguments as in ``evaluate``."""
    users, *asked, _ = _asked(task, part)
    vectors = _vectors_of(users, model, stream, vectors)
    index, labels = (to_device(array, vectors.device) for array in asked)
    chunks = zip(index.split(SCORED_VECTORS), labels.split(SCORED_VECTORS), strict=True)
    layer = model.outputs[task.name]
    losses = [F.cross_entropy(layer(vectors[i]), y, reduction="none") for i, y in chunks]
    mean = float(torch.cat(losses).double().mean())
    if not np.isfinite(mean):
        raise FloatingPointError(DIVERGED)
    return mean


def validation_value(
    model: UserModel, stream: TaskStream, task: Task, vectors: Tensor | None = None
) -> float:
    """Return what stops training and what a search maximises, on the validation part.

    T1: MRR@5 at all positions; ranking: filtered MRR@5; classification: minus the cross-entropy.
    """
    if task.kind == "classification":
        return -cross_entropy(model, stream, task, VALIDATION, vectors)
    if task.kind == "sequence":
        ranks = evaluate_all_positions(model, stream, task, VALIDATION, CUTOFF)
    else:
        ranks = evaluate(model, stream, task, VALIDATION, CUTOFF, vectors)[task.name]
    return metric_of(task.kind, ranks)


def _asked(task: Task, part: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, Known | None]:
    """Return distinct users, each instance's place among them and label, and known labels."""
    rows = task.rows(part)
    users, index = np.unique(task.users[rows], return_inverse=True)
    if task.kind != "ranking":
        return users, index, task.labels[rows], None
    before = np.flatnonzero(task.split < part)  # TRAIN < VALIDATION < TEST
    before = before[np.isin(task.users[before], users)]
    before = before[np.argsort(task.users[before], kind="stable")]
    known = np.searchsorted(users, task.users[before]), task.labels[before]
    return users, index, task.labels[rows], known


def _vectors_of(
    users: np.ndarray, model: UserModel, stream: TaskStream, vectors: Tensor | None
) -> Tensor:
    if vectors is None:
        return user_vectors(model, stream.sequences[stream.input_rows[users]])
    return vectors[to_device(users, vectors.device)]


def _by_measure(task: Task, ranks: np.ndarray) -> Ranks:
    return dict(zip((task.name, f"{task.name}-literal"), np.atleast_2d(ranks), strict=False))


def _buckets(padding: np.ndarray, model: UserModel, length: int) -> Iterator[Bucket]:
    """Yield all sequences in buckets of similar padding, no larger than a micro-batch."""
    device = model.embedding.device
    size = micro_batch_size(length, model.config.width, device)
    for rows, prefix in chain.from_iterable(length_buckets(padding, SORTED_USERS, device)):
        for some in np.array_split(rows, -(-len(rows) // size)):
            yield some, prefix
