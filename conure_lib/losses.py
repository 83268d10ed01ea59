"""Losses and the samplers behind them (paper, sections 3.2 and 6.1)."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .numerics import add_product, product_type, put_product

CHUNK_ELEMENTS = 1 << 18  # logits held at a time by a softmax loss: 1 MiB, a core's own cache
MIN_CHUNK_ROWS = 128  # fewer rows make poor products
LARGE_CHUNK_ROWS = 512  # where so few rows leave that cache anyway: larger products
MOST_CHUNK_ELEMENTS = 1 << 26  # 256 MiB: bounds memory at catalogues of up to millions


class SoftmaxLoss(torch.autograd.Function):
    """Mean cross-entropy of g W^T + b in bounded memory: probabilities live for one chunk of rows.

    Rows are scaled after the products, on k columns instead of n, and the bias is no further column of them
    (k + 1 columns cost a fifth more time): each chunk is written and read as few times as possible.
    In low precision (``numerics``) only products are low: the softmax of their logits is float32.
    """

    @staticmethod
    def forward(ctx, vectors: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        """The mean loss, a scalar; shapes as in ``softmax_loss``. Gradients are computed along the way."""
        grad_vectors, grad_weight = torch.empty_like(vectors), torch.zeros_like(weight)
        grad_bias = None if bias is None else torch.zeros_like(bias)
        own, low = torch.empty_like(vectors[:, 0]), product_type(vectors)
        x, w = vectors.to(low), weight.to(low)
        for rows, logits, spare in _chunks(vectors, len(weight)):
            _scores(x[rows], w, bias, logits)
            chances = torch.softmax(logits, 1, out=spare)
            own[rows] = chances.gather(1, targets[rows, None]).squeeze(1)
            if grad_bias is not None:
                grad_bias += chances.sum(0)
            chances = chances.to(low)
            put_product(grad_vectors[rows], chances, w)
            add_product(grad_weight, chances.t(), x[rows])
        grad_vectors -= weight[targets]
        grad_weight.index_add_(0, targets, vectors, alpha=-1)
        if grad_bias is not None:
            grad_bias.index_add_(0, targets, torch.ones_like(own), alpha=-1)
        ctx.grads = [None if g is None else g.div_(len(vectors)) for g in (grad_vectors, grad_weight, grad_bias)]
        # A chance below the smallest float shows a loss of 87, its gradient is exact all the same.
        return -own.clamp_min_(torch.finfo(own.dtype).tiny).log_().mean()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The stored gradients of vectors, weight and bias, times the loss's own."""
        return (*(None if g is None else g * grad for g in ctx.grads), None)


class SampledSoftmaxLoss(torch.autograd.Function):
    """As SoftmaxLoss, over each row's target and the negatives that all rows share."""

    @staticmethod
    def forward(
        ctx,
        vectors: Tensor,
        weight: Tensor,
        corrected: Tensor,
        targets: Tensor,
        negatives: Tensor,
        rows_only: bool,
    ) -> Tensor:
        """The mean loss, a scalar; corrected [n]: bias - log_expected; the rest as in ``sampled_softmax_loss``."""
        others, shift = weight[negatives], corrected[negatives]
        own = (vectors * weight[targets]).sum(1) + corrected[targets]
        column = targets.new_full((len(weight),), -1)
        column[negatives] = torch.arange(len(negatives), device=negatives.device)
        hits = column[targets][:, None]
        losses, missed = torch.empty_like(own), torch.empty_like(own)
        grad_vectors, grad_others = torch.empty_like(vectors), torch.zeros_like(others)
        grad_shift, low = torch.zeros_like(shift), product_type(vectors)
        x, w = vectors.to(low), others.to(low)
        for rows, logits, spare in _chunks(vectors, len(negatives)):
            _scores(x[rows], w, shift, logits)
            at = hits[rows].clamp_min(0)
            lowest = torch.finfo(logits.dtype).min  # infinite: NaN if nothing else was drawn
            logits.scatter_(1, at, torch.where(hits[rows] < 0, logits.gather(1, at), lowest))
            top = logits.amax(1)
            chances = torch.softmax(logits, 1, out=spare)  # among the negatives only
            margin = top - chances.amax(1).log() - own[rows]
            losses[rows] = F.softplus(margin)
            missed[rows] = margin.sigmoid()  # the chance left to all negatives together
            grad_shift.addmv_(chances.t(), missed[rows])
            chances = chances.to(low)
            put_product(grad_vectors[rows], chances, w)
            add_product(grad_others, chances.t(), (vectors[rows] * missed[rows, None]).to(low))
        scale = missed / len(vectors)
        touched = torch.cat([targets, negatives])
        slopes = torch.cat([vectors * -scale[:, None], grad_others / len(vectors)])
        grad_corrected = torch.zeros_like(corrected)
        grad_corrected.index_add_(0, touched, torch.cat([-scale, grad_shift / len(vectors)]))
        if rows_only:
            grad_weight = torch.sparse_coo_tensor(touched[None], slopes, weight.shape, check_invariants=False)
        else:
            grad_weight = torch.zeros_like(weight).index_add_(0, touched, slopes)
        ctx.grads = [(grad_vectors - weight[targets]) * scale[:, None], grad_weight, grad_corrected]
        return losses.mean()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The stored gradients of vectors, weight and corrected, times the loss's own."""
        return (*(g * grad for g in ctx.grads), None, None, None)


def _scores(vectors: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        put_product(out, vectors, weight.t())
    elif vectors.dtype == out.dtype:
        torch.addmm(bias, vectors, weight.t(), out=out)
    else:
        torch.add(torch.mm(vectors, weight.t()), bias, out=out)


def _chunks(inputs: Tensor, columns: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Row ranges, each with two buffers [rows, columns] that are used again and again (no page faults)."""
    step = max(1, min(len(inputs), chunk_rows(columns)))
    buffers = inputs.new_empty(2, step, columns)
    for start in range(0, len(inputs), step):
        rows = slice(start, min(start + step, len(inputs)))
        yield rows, *buffers[:, : rows.stop - rows.start]


def chunk_rows(columns: int) -> int:
    """How many rows of so many logits a softmax loss holds at a time."""
    rows = CHUNK_ELEMENTS // columns
    if rows >= MIN_CHUNK_ROWS:
        return rows
    return max(MIN_CHUNK_ROWS, min(LARGE_CHUNK_ROWS, MOST_CHUNK_ELEMENTS // columns))


def softmax_loss(vectors: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Exact softmax cross-entropy, mean over rows, in bounded memory.

    vectors [N, k], weight [n, k], bias [n] or None, targets int64 [N] in 0..n-1.
    """
    return SoftmaxLoss.apply(vectors, weight, bias, targets)


class LogUniformSampler:
    """Draws distinct negatives with p(rank) = log((rank+2)/(rank+1)) / log(n+1), rank 0 the most frequent.

    The candidate sampler of the authors' sampled softmax. An exponential race gives the same sequence of
    distinct draws as drawing with replacement and skipping repetitions, in one step. ``log_expected`` [n]
    is log q for the correction, q = 1 - (1 - p)^T with T such that the q sum to the number drawn (the
    expected number of tries, solved once; TensorFlow uses the tries of each draw instead).

    counts: int64 [n], training frequency of each label. n_draws: how many negatives a step shares.
    Raises ValueError unless 1 <= n_draws <= n.
    """

    def __init__(self, counts: np.ndarray, n_draws: int, device: torch.device | str = "cpu") -> None:
        n = len(counts)
        if not 1 <= n_draws <= n:
            raise ValueError(f"{n_draws} negatives of {n} labels; wanted: from 1 to {n}")
        rank = popularity_rank(counts).astype(np.float64)
        self.p = np.log((rank + 2) / (rank + 1)) / math.log(n + 1)
        self.n_draws = n_draws
        q = np.ones(n) if n_draws == n else -np.expm1(_tries(self.p, n_draws) * np.log1p(-self.p))
        self.log_expected = torch.from_numpy(np.log(q)).float().to(device)
        self._rate = torch.from_numpy(self.p).float().to(device)

    def draw(self, generator: torch.Generator) -> Tensor:
        """int64 [n_draws], all different."""
        arrival = torch.empty_like(self._rate).exponential_(generator=generator) / self._rate
        return arrival.topk(self.n_draws, largest=False, sorted=False).indices


def _tries(p: np.ndarray, n_draws: int) -> float:
    """How many draws with replacement are expected to show ``n_draws`` different labels (bisection)."""
    low, high = float(n_draws), float(n_draws)
    log_miss = np.log1p(-p)
    while -np.expm1(high * log_miss).sum() < n_draws and high < 1e15:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if -np.expm1(middle * log_miss).sum() < n_draws else (low, middle)
    return high


def sampled_softmax_loss(
    vectors: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    negatives: Tensor,
    log_expected: Tensor,
    rows_only: bool = False,
) -> Tensor:
    """Sampled softmax with shared negatives, one product for the batch (paper, section 6.1).

    Every logit has the log of its label's expected count subtracted; negatives that are a row's own target
    (accidental hits) do not count. Shapes as in ``softmax_loss``; negatives int64 [S], log_expected [n].
    rows_only: the gradient of ``weight`` is a sparse tensor of the rows that were used.
    """
    return SampledSoftmaxLoss.apply(vectors, weight, bias - log_expected, targets, negatives, rows_only)


class PopularitySampler:
    """LambdaFM's static sampler: p(label) proportional to exp(-(rank + 1) / (rho n)) (SPEC: rho = 0.3).

    One negative per positive, never the positive itself; other positives of the user may occur, as in the
    authors' code. counts: int64 [n], training frequency. Raises ValueError for n < 2.
    """

    def __init__(self, counts: np.ndarray, rho: float, device: torch.device | str = "cpu") -> None:
        if len(counts) < 2:
            raise ValueError(f"{len(counts)} label; a negative needs at least 2")
        rank = popularity_rank(counts)
        self.p = np.exp(-(rank + 1.0) / (rho * len(counts)))
        self.p /= self.p.sum()
        above = np.cumsum(self.p)
        self._chance = torch.from_numpy(self.p).to(device)
        self._above, self._below = (torch.from_numpy(c).to(device) for c in (above, above - self.p))

    def draw(self, positives: Tensor, generator: torch.Generator) -> Tensor:
        """int64, one negative for each of ``positives`` (int64 [N]), in one step.

        The positive's own stretch of the cumulative distribution is cut out: the point falls into what is
        left of it, and points behind the cut move up by its width.
        """
        point = torch.rand(len(positives), generator=generator, dtype=torch.float64, device=positives.device)
        point *= self._above[-1] - self._chance[positives]
        point += torch.where(point >= self._below[positives], self._chance[positives], 0.0)
        drawn = torch.searchsorted(self._above, point, right=True).clamp_(max=len(self.p) - 1)
        # Rounding at the edge of the cut may still meet the positive: then take a neighbour.
        return torch.where(drawn == positives, torch.where(positives > 0, positives - 1, 1), drawn)


def bpr_loss(vectors: Tensor, weight: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Mean of -log sigmoid(score of the positive - score of the negative) (paper, section 3.2: BPR).

    vectors [N, k], one per instance; weight [n, k], an output layer without bias; positives, negatives [N].
    """
    margin = (vectors * (weight[positives] - weight[negatives])).sum(1)
    return F.softplus(-margin).mean()


def popularity_rank(counts: np.ndarray) -> np.ndarray:
    """Rank of each label by frequency: int64 [n], 0 the most frequent; equal counts in order of their number."""
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-np.asarray(counts), kind="stable")] = np.arange(len(counts))
    return rank
