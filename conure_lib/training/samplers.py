"""Samplers of negatives (paper, section 6.1)."""

import math

import numpy as np
import torch
from torch import Tensor


class LogUniformSampler:
    """Draws distinct negatives with p(rank) = log((rank+2)/(rank+1)) / log(n+1), rank 0 the most frequent.

    The candidate sampler of the authors' sampled softmax. An exponential race gives the same sequence of
    distinct draws as drawing with replacement and skipping repetitions, in one step. ``log_expected`` [n]
    is log q for the correction, q = 1 - (1 - p)^T with T such that the q sum to the number drawn (the
    expected number of tries, solved once; TensorFlow uses the tries of each draw instead).

    counts: int64 [n], training frequency of each label. n_draws: how many negatives a step shares.
    Raises ValueError unless 1 <= n_draws <= n.
    """

    def __init__(
        self, counts: np.ndarray, n_draws: int, device: torch.device | str = "cpu"
    ) -> None:
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
        low, high = (
            (middle, high) if -np.expm1(middle * log_miss).sum() < n_draws else (low, middle)
        )
    return high


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
        point = torch.rand(
            len(positives), generator=generator, dtype=torch.float64, device=positives.device
        )
        point *= self._above[-1] - self._chance[positives]
        point += torch.where(point >= self._below[positives], self._chance[positives], 0.0)
        drawn = torch.searchsorted(self._above, point, right=True).clamp_(max=len(self.p) - 1)
        # Rounding at the edge of the cut may still meet the positive: then take a neighbour.
        return torch.where(drawn == positives, torch.where(positives > 0, positives - 1, 1), drawn)


def popularity_rank(counts: np.ndarray) -> np.ndarray:
    """Rank of each label by frequency: int64 [n], 0 the most frequent; equal counts in order of their number."""
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-np.asarray(counts), kind="stable")] = np.arange(len(counts))
    return rank
