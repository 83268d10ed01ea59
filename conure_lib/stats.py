"""Means, effects and intervals over test instances that share users."""

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
    p_plain: float


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
    """Mean of ours - theirs over the same instances, clustered by user; identical scores give p = 1."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} against {len(theirs)} scores; a paired test needs the same instances")
    difference = np.asarray(ours, float) - np.asarray(theirs, float)
    difference[np.abs(difference) < ROUNDING] = 0.0
    interval = estimate(difference, users)
    mean, error, groups = _clustered(difference, users)
    p = 1.0 if error == 0 and mean == 0 else float(2 * stats.t.sf(abs(mean) / error, groups - 1)) if error else 0.0
    plain = difference.std(ddof=1) / np.sqrt(len(difference))
    p_plain = float(2 * stats.t.sf(abs(mean) / plain, len(difference) - 1)) if plain else float(mean == 0)
    return Effect(interval.mean, interval.low, interval.high, interval.n, groups, p, p_plain)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's correction: p values for a family of tests, such that the chance of any false alarm is kept."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return corrected


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
