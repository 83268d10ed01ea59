"""Means, effects and intervals over test instances that share users, and over seeds."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

VERDICTS = ("REPRODUCED", "PARTLY", "NOT REPRODUCED", "NOT TESTED")
"""What the rule of a claim can decide."""
ROUNDING = 1e-12  # means over seeds that differ by less are equal
NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval and the p value of a t-test against 0.

    ``n`` counts test instances, ``users`` the clusters that interval and p are based on;
    ``p_plain`` is the paper's test, over instances as if each were a user of its own.
    """

    mean: float
    low: float
    high: float
    n: int
    users: int
    p: float = NAN
    p_plain: float = NAN

    def __str__(self) -> str:
        """Return "0.0286 [0.0251, 0.0321]"."""
        return with_interval(self.mean, self.low, self.high)


def with_interval(mean: float, low: float = NAN, high: float = NAN, unit: str = "") -> str:
    """Return a mean and its interval with three significant digits of the largest of them.

    The unit "relative" is shown in per cent; what is nan is left out.
    """
    if np.isnan(mean):
        return ""
    known = [mean] if np.isnan(low) else [mean, low, high]
    largest = max(map(abs, known))
    decimals = int(np.clip(2 - np.floor(np.log10(largest)), 0, 6)) if largest else 0
    texts = (f"{x:+.1%}" if unit == "relative" else f"{x:.{decimals}f}" for x in known)
    mean_text, *bounds = texts
    return f"{mean_text} [{', '.join(bounds)}]" if bounds else mean_text


def estimate(scores: np.ndarray, users: np.ndarray) -> Estimate:
    """Return the mean of per-instance scores with an interval clustered by user.

    The standard error is the cluster-robust one of a mean, sqrt(G/(G-1) sum_g (sum of residuals in
    g)^2) / n, with Student's t of G - 1 degrees of freedom.

    Parameters
    ----------
    scores, users : arrays of shape (n,)
        Each score and its user; ValueError for fewer than two users.
    """
    mean = float(np.mean(scores)) if len(scores) else NAN
    return _clustered(mean, (np.asarray(scores, float) - mean) / max(len(scores), 1), users)


def paired_effect(ours: np.ndarray, theirs: np.ndarray, users: np.ndarray) -> Estimate:
    """Return the mean of ours - theirs over the same instances; identical scores give p = 1.

    Parameters
    ----------
    ours, theirs, users : arrays of shape (n,)
        Scores of the same instances in the same order, and their users.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} scores; expected the same instances")
    difference = _rounded(np.subtract(ours, theirs, dtype=float))
    clustered, n = estimate(difference, users), len(difference)
    plain = _interval(clustered.mean, difference.std(ddof=1) / np.sqrt(n), n, n)
    return replace(clustered, p_plain=plain.p)


def mean_relative_effect(tasks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Estimate:
    """Return the mean over tasks of (mean of ours / mean of theirs - 1), clustered by user.

    The standard error is the linearised one, with the mean of theirs taken as given; a user's
    residuals of all tasks belong together.

    Parameters
    ----------
    tasks : iterable of (ours, theirs, users)
        Arrays of shape (n,) per task; a user has the same number in every task. ValueError if
        the mean of theirs is 0.
    """
    influence, users, means, tasks = [], [], [], list(tasks)
    for ours, theirs, users_of_task in tasks:
        reference = float(np.mean(theirs))
        if len(ours) != len(theirs) or reference == 0:
            raise ValueError("a relative effect needs the same instances and a reference above 0")
        relative = _rounded(np.subtract(ours, theirs, dtype=float) / reference)
        means.append(float(relative.mean()))
        influence.append((relative - means[-1]) / (len(relative) * len(tasks)))
        users.append(users_of_task)
    return _clustered(float(np.mean(means)), np.concatenate(influence), np.concatenate(users))


def over_seeds(values: np.ndarray) -> Estimate:
    """Return the mean of one value per seed with its interval over seeds.

    A single seed says nothing about the variance of training: interval and p are nan.
    """
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Estimate(mean, NAN, NAN, n, n)
    return _interval(mean, float(np.std(values, ddof=1) / np.sqrt(n)), n, n)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's corrected p values of a family of tests, in the order given."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return corrected


def _rounded(difference: np.ndarray) -> np.ndarray:
    return np.where(np.abs(difference) < ROUNDING, 0.0, difference)


def _clustered(mean: float, influence: np.ndarray, users: np.ndarray) -> Estimate:
    """Return an estimate whose error is that of the sum of the influences, clustered by user."""
    if len(influence) != len(users):
        raise ValueError(f"{len(influence)} scores for {len(users)} users; expected as many")
    _, user = np.unique(users, return_inverse=True)
    groups = int(user.max()) + 1 if len(user) else 0
    if groups < 2:
        raise ValueError(f"{groups} user: an interval needs at least 2")
    variance = groups / (groups - 1) * np.sum(np.bincount(user, weights=influence) ** 2)
    return _interval(mean, float(np.sqrt(variance)), len(influence), groups)


def _interval(mean: float, error: float, n: int, clusters: int) -> Estimate:
    """Return the estimate of Student's t; without any spread p is 1 for a mean of 0, else 0."""
    margin = stats.t.ppf(0.975, clusters - 1) * error
    p = 2 * stats.t.sf(abs(mean) / error, clusters - 1) if error else mean == 0
    return Estimate(mean, mean - margin, mean + margin, n, clusters, float(p))
