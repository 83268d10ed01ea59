"""Means, effects and intervals over test instances that share users, and over seeds."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

VERDICTS = ("REPRODUCED", "PARTLY", "NOT REPRODUCED", "NOT TESTED")


ROUNDING = 1e-12  # means over seeds that differ by less are equal


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval. n: instances; users: clusters that the interval is based on."""

    mean: float
    low: float
    high: float
    n: int
    users: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Effect(Estimate):
    """A mean paired difference. p: clustered by user; p_plain: the paper's paired t-test over instances."""

    p: float
    p_plain: float = float("nan")


def estimate(scores: np.ndarray, users: np.ndarray, level: float = 0.95) -> Estimate:
    """Mean of per-instance scores with an interval that allows for several instances of one user.

    scores float [n]; users [n], the cluster of each. The standard error is the cluster-robust one of a mean,
    sqrt(G/(G-1) sum_g (sum of residuals in g)^2) / n, with Student's t of G - 1 degrees of freedom.
    Raises ValueError for fewer than two users or arrays that are not aligned.
    """
    mean, error, groups = _clustered(scores, users)
    margin = stats.t.ppf((1 + level) / 2, groups - 1) * error
    return Estimate(mean, mean - margin, mean + margin, len(scores), groups)


def paired_effect(ours: np.ndarray, theirs: np.ndarray, users: np.ndarray) -> Effect:
    """Mean of ours - theirs over the same instances, clustered by user; identical scores give p = 1.

    ours, theirs: scores float [n] in the same order; users [n]. Raises ValueError if they are not aligned.
    """
    if len(ours) != len(theirs):
        raise ValueError(
            f"{len(ours)} against {len(theirs)} scores; a paired test needs the same instances"
        )
    difference = np.asarray(ours, float) - np.asarray(theirs, float)
    difference[np.abs(difference) < ROUNDING] = 0.0
    interval = estimate(difference, users)
    mean, error, groups = _clustered(difference, users)
    p = _two_sided(mean, error, groups - 1)
    plain = difference.std(ddof=1) / np.sqrt(len(difference))
    p_plain = _two_sided(mean, plain, len(difference) - 1)
    return Effect(interval.mean, interval.low, interval.high, interval.n, groups, p, p_plain)


def mean_relative_effect(parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Effect:
    """The mean over tasks of the relative difference (mean of ours / mean of theirs - 1), clustered by user.

    parts: per task the scores of ours and theirs [n] and the users [n], whose numbers mean the same user in
    every task. The standard error is the linearised one, with theirs' mean taken as given; a user's residuals of
    all tasks belong together. Raises ValueError if theirs' mean is 0 in a task.
    """
    scaled, clusters, means, n = [], [], [], 0
    parts = list(parts)
    for ours, theirs, users in parts:
        reference = float(np.mean(theirs))
        if len(ours) != len(theirs) or reference == 0:
            raise ValueError("a relative effect needs the same instances and a reference above 0")
        relative = (np.asarray(ours, float) - np.asarray(theirs, float)) / reference
        relative[np.abs(relative) < ROUNDING] = 0.0
        means.append(float(relative.mean()))
        scaled.append((relative - means[-1]) / (len(relative) * len(parts)))
        clusters.append(np.asarray(users))
        n += len(relative)
    _, group = np.unique(np.concatenate(clusters), return_inverse=True)
    groups = int(group.max()) + 1
    residuals = np.bincount(group, weights=np.concatenate(scaled))
    error = float(np.sqrt(groups / max(groups - 1, 1) * np.sum(residuals**2)))
    mean = float(np.mean(means))
    margin = stats.t.ppf(0.975, groups - 1) * error
    return Effect(
        mean, mean - margin, mean + margin, n, groups, _two_sided(mean, error, groups - 1)
    )


def over_seeds(values: np.ndarray) -> Effect:
    """The mean of one value a seed, its 95% interval and the p value of a t-test against 0.

    For a single seed interval and p are nan: it says nothing about the variance of training.
    """
    values = np.asarray(values, float)
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Effect(mean, float("nan"), float("nan"), n, n, float("nan"))
    error = float(values.std(ddof=1) / np.sqrt(n))
    margin = stats.t.ppf(0.975, n - 1) * error
    return Effect(mean, mean - margin, mean + margin, n, n, _two_sided(mean, error, n - 1))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's correction: p values [n] of a family of tests, such that the chance of any false alarm is kept."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return corrected


def _two_sided(mean: float, error: float, freedom: int) -> float:
    """p of a t-test against 0; without any spread it is 1 for a mean of 0, else 0."""
    return float(2 * stats.t.sf(abs(mean) / error, freedom)) if error else float(mean == 0)


def _clustered(scores: np.ndarray, users: np.ndarray) -> tuple[float, float, int]:
    """Mean, cluster-robust standard error, number of clusters."""
    if len(scores) != len(users):
        raise ValueError(f"{len(scores)} scores for {len(users)} users; they must be aligned")
    _, group = np.unique(users, return_inverse=True)
    groups = int(group.max()) + 1 if len(group) else 0
    if groups < 2:
        raise ValueError(f"{groups} user: an interval needs at least 2")
    mean = float(np.mean(scores))
    residuals = np.bincount(group, weights=np.asarray(scores, float) - mean)
    return mean, float(np.sqrt(groups / (groups - 1) * np.sum(residuals**2)) / len(scores)), groups
