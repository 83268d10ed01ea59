"""Losses and the samplers behind them (paper, sections 3.2 and 6.1)."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_ELEMENTS = 1 << 21  # logits held at a time by the exact softmax: 8 MiB, which stays near the cache


class SoftmaxLoss(torch.autograd.Function):
    """Mean cross-entropy of g W^T + b without ever storing all logits: gradients are made chunk by chunk."""

    @staticmethod
    def forward(ctx, vectors: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        rows, n_labels = len(vectors), len(weight)
        grads = [
            torch.empty_like(vectors),
            torch.zeros_like(weight),
            None if bias is None else torch.zeros_like(bias),
        ]
        total = vectors.new_zeros(())
        step = max(1, CHUNK_ELEMENTS // n_labels)
        for start in range(0, rows, step):
            g, y = vectors[start : start + step], targets[start : start + step, None]
            logits = F.linear(g, weight, bias)
            normaliser = logits.logsumexp(1, keepdim=True)
            total += (normaliser - logits.gather(1, y)).sum()
            slope = logits.sub_(normaliser).exp_()
            slope.scatter_add_(1, y, torch.full_like(y, -1.0, dtype=slope.dtype)).div_(rows)
            torch.mm(slope, weight, out=grads[0][start : start + step])
            grads[1].addmm_(slope.t(), g)
            if grads[2] is not None:
                grads[2] += slope.sum(0)
        ctx.grads = grads
        return total / rows

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(None if g is None else g.mul_(grad) for g in ctx.grads), None)


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

    def __init__(self, counts: np.ndarray, n_draws: int) -> None:
        n = len(counts)
        if not 1 <= n_draws <= n:
            raise ValueError(f"{n_draws} negatives of {n} labels; wanted: from 1 to {n}")
        rank = popularity_rank(counts).astype(np.float64)
        self.p = np.log((rank + 2) / (rank + 1)) / math.log(n + 1)
        self.n_draws = n_draws
        q = np.ones(n) if n_draws == n else -np.expm1(_tries(self.p, n_draws) * np.log1p(-self.p))
        self.log_expected = torch.from_numpy(np.log(q)).float()
        self._rate = torch.from_numpy(self.p).float()

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
    vectors: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, negatives: Tensor, log_expected: Tensor
) -> Tensor:
    """Sampled softmax with shared negatives, one product for the batch (paper, section 6.1).

    Every logit has the log of its label's expected count subtracted; negatives that are a row's own target
    (accidental hits) do not count. Shapes as in ``softmax_loss``; negatives int64 [S], log_expected [n].
    """
    corrected = bias - log_expected
    target = (vectors * weight[targets]).sum(1) + corrected[targets]
    others = torch.addmm(corrected[negatives], vectors, weight[negatives].t())
    others = others.masked_fill(targets[:, None] == negatives, -math.inf)
    normaliser = torch.logaddexp(target, others.logsumexp(1))
    return (normaliser - target).mean()


class PopularitySampler:
    """LambdaFM's static sampler: p(label) proportional to exp(-(rank + 1) / (rho n)) (SPEC: rho = 0.3).

    One negative per positive, never the positive itself (it is redrawn); other positives of the user may
    occur, as in the authors' code. counts: int64 [n], training frequency. Raises ValueError for n < 2.
    """

    def __init__(self, counts: np.ndarray, rho: float) -> None:
        if len(counts) < 2:
            raise ValueError(f"{len(counts)} label; a negative needs at least 2")
        rank = popularity_rank(counts)
        self.p = np.exp(-(rank + 1.0) / (rho * len(counts)))
        self.p /= self.p.sum()
        self._cumulative = torch.from_numpy(np.cumsum(self.p))

    def draw(self, positives: Tensor, generator: torch.Generator) -> Tensor:
        """int64, one negative for each of ``positives`` (int64 [N])."""
        negatives = positives.clone()
        clash = torch.arange(len(positives))
        while len(clash):
            uniform = torch.rand(len(clash), generator=generator, dtype=torch.float64)
            drawn = torch.searchsorted(self._cumulative, uniform * self._cumulative[-1], right=True)
            negatives[clash] = drawn.clamp_(max=len(self.p) - 1)
            clash = clash[negatives[clash] == positives[clash]]
        return negatives


def bpr_loss(vectors: Tensor, weight: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Mean of -log sigmoid(score of the positive - score of the negative) (paper, section 3.2: BPR).

    vectors [N, k], one per instance; weight [n, k], an output layer without bias; positives, negatives [N].
    """
    margin = (vectors * (weight[positives] - weight[negatives])).sum(1)
    return F.softplus(-margin).mean()


def popularity_rank(counts: np.ndarray) -> np.ndarray:
    """Rank of each label by frequency, 0 the most frequent; equal counts in order of their number."""
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-np.asarray(counts), kind="stable")] = np.arange(len(counts))
    return rank
