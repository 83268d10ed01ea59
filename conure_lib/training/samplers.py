"""Samplers of negatives (section 6.1)."""

import math

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor


class LogUniformSampler:
    """Draws distinct negatives with p(rank) = log((rank + 2) / (rank + 1)) / log(n + 1).

    The candidate sampler of the authors' sampled softmax; rank 0 is the most frequent label. An
    exponential race gives the same distribution as drawing with replacement and skipping
    repetitions, in one step. ``log_expected`` [n] is log q for the correction: q = 1 - (1 - p)^T
    with T such that the q sum to the number drawn (TensorFlow uses each draw's own tries instead).
    ``counts``: training frequencies, int64 [n]; ``n_draws``: how many negatives a step shares.
    """

    def __init__(self, counts: np.ndarray, n_draws: int, device: str = "cpu") -> None:
        n, rank = len(counts), popularity_rank(counts).astype(np.float64)
        self.p = np.log((rank + 2) / (rank + 1)) / math.log(n + 1)
        self.n_draws = n_draws
        q = np.ones(n) if n_draws == n else -np.expm1(_tries(self.p, n_draws) * np.log1p(-self.p))
        self.log_expected = torch.from_numpy(np.log(q)).float().to(device)
        self._rate = torch.from_numpy(self.p).float().to(device)

    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw the negatives of a step: int64 [n_draws], all different."""
        arrival = torch.empty_like(self._rate).exponential_(generator=generator) / self._rate
        return arrival.topk(self.n_draws, largest=False, sorted=False).indices


def _tries(p: np.ndarray, n_draws: int) -> float:
    """Return how many draws with replacement are expected to show ``n_draws`` different labels."""
    log_miss = np.log1p(-p)
    return brentq(lambda tries: -np.expm1(tries * log_miss).sum() - n_draws, 0, 1e15)


class PopularitySampler:
    """LambdaFM's static sampler for BPR: p(label) proportional to exp(-(rank + 1) / (rho n)).

    One negative per positive, never the positive itself; other positives of the user may occur, as
    in the authors' code, whose rho is 0.3. ``counts``: training frequencies, int64 [n].
    """

    def __init__(self, counts: np.ndarray, rho: float, device: str = "cpu") -> None:
        self.p = np.exp(-(popularity_rank(counts) + 1.0) / (rho * len(counts)))
        self.p /= self.p.sum()
        above = np.cumsum(self.p)
        self._chance = torch.from_numpy(self.p).to(device)
        self._above = torch.from_numpy(above).to(device)
        self._below = torch.from_numpy(above - self.p).to(device)

    def draw(self, positives: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one negative for each of ``positives`` (int64 [N]) in one step: int64 [N].

        The positive's own interval of the cumulative distribution is cut out: a uniform point
        falls into what is left, and points behind the cut move up by its width.
        """
        shape, device = len(positives), positives.device
        point = torch.rand(shape, generator=generator, dtype=torch.float64, device=device)
        point *= self._above[-1] - self._chance[positives]
        point += torch.where(point >= self._below[positives], self._chance[positives], 0.0)
        drawn = torch.searchsorted(self._above, point, right=True).clamp_(max=len(self.p) - 1)
        # Rounding at the edge of the cut may still meet the positive: then take a neighbour.
        return torch.where(drawn == positives, torch.where(positives > 0, positives - 1, 1), drawn)


def popularity_rank(counts: np.ndarray) -> np.ndarray:
    """Return each label's rank by frequency, 0 the most frequent; equal counts by label number."""
    return np.argsort(np.argsort(-np.asarray(counts), kind="stable"))
