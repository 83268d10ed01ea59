"""Means, effects and intervals over test instances that share users, and over seeds."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

VERDICTS = ("REPRODUCED", "PARTLY", "NOT REPRODUCED", "NOT TESTED")
"""What the rule of a claim can decide."""

ROUNDING = 1e-12  # means over seeds that differ by less are equal
NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A mean, or a mean difference, with its 95% interval.

    Parameters
    ----------
    mean, low, high : float
        The mean and the bounds of its interval.
    n : int
        Test instances (or seeds).
    users : int
        Clusters that the interval is based on.
    p : float
        Of a test against 0, clustered like the interval; nan for a mean that is not tested.
    p_plain : float
        The paper's paired t-test over instances, which ignores that users come back.
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


def with_interval(mean: float, low: float, high: float, unit: str = "") -> str:
    """Return a mean and its interval with three significant digits of the largest of them.

    The unit "relative" is shown in per cent; what is nan is left out.
    """
    if np.isnan(mean):
        return ""
    known = [mean] if np.isnan(low) else [mean, low, high]
    if unit == "relative":
        mean_text, *bounds = (f"{100 * x:+.1f}%" for x in known)
    else:
        largest = max(map(abs, known))
        decimals = int(np.clip(2 - np.floor(np.log10(largest)), 0, 6)) if largest else 0
        mean_text, *bounds = (f"{x:.{decimals}f}" for x in known)
    return f"{mean_text} [{', '.join(bounds)}]" if bounds else mean_text


def estimate(scores: np.ndarray, users: np.ndarray, level: float = 0.95) -> Estimate:
    """Return the mean of per-instance scores with an interval clustered by user.

    The standard error is the cluster-robust one of a mean, sqrt(G/(G-1) sum_g (sum of residuals in
    g)^2) / n, with Student's t of G - 1 degrees of freedom.

    Parameters
    ----------
    scores : float array of shape (n,)
    users : array of shape (n,)
        The user of each score.
    level : float
        Coverage of the interval.

    Raises
    ------
    ValueError
        For fewer than two users, or arrays of different lengths.
    """
    mean, error, groups = _clustered(scores, users)
    margin = stats.t.ppf((1 + level) / 2, groups - 1) * error
    return Estimate(mean, mean - margin, mean + margin, len(scores), groups)


def paired_effect(ours: np.ndarray, theirs: np.ndarray, users: np.ndarray) -> Estimate:
    """Return the mean of ours - theirs over the same instances, clustered by user.

    Identical scores give p = 1.

    Parameters
    ----------
    ours, theirs : float arrays of shape (n,)
        Scores of the same instances in the same order.
    users : array of shape (n,)

    Raises
    ------
    ValueError
        For fewer than two users, or arrays of different lengths.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} scores; expected the same instances")
    difference = np.asarray(ours, float) - np.asarray(theirs, float)
    difference[np.abs(difference) < ROUNDING] = 0.0
    mean, error, groups = _clustered(difference, users)
    margin = stats.t.ppf(0.975, groups - 1) * error
    plain = difference.std(ddof=1) / np.sqrt(len(difference))
    p = (_two_sided(mean, error, groups - 1), _two_sided(mean, plain, len(difference) - 1))
    return Estimate(mean, mean - margin, mean + margin, len(difference), groups, *p)


def mean_relative_effect(tasks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Estimate:
    """Return the mean over tasks of (mean of ours / mean of theirs - 1), clustered by user.

    The standard error is the linearised one, with the mean of theirs taken as given; a user's
    residuals of all tasks belong together.

    Parameters
    ----------
    tasks : iterable of (ours, theirs, users)
        Per task, arrays of shape (n,); a number in ``users`` means the same user in every task.

    Raises
    ------
    ValueError
        If the mean of theirs is 0 in a task, or arrays have different lengths.
    """
    scaled, clusters, means, n = [], [], [], 0
    tasks = list(tasks)
    for ours, theirs, users in tasks:
        reference = float(np.mean(theirs))
        if len(ours) != len(theirs) or reference == 0:
            raise ValueError("a relative effect needs the same instances and a reference above 0")
        relative = (np.asarray(ours, float) - np.asarray(theirs, float)) / reference
        relative[np.abs(relative) < ROUNDING] = 0.0
        means.append(float(relative.mean()))
        scaled.append((relative - means[-1]) / (len(relative) * len(tasks)))
        clusters.append(np.asarray(users))
        n += len(relative)
    _, group = np.unique(np.concatenate(clusters), return_inverse=True)
    groups = int(group.max()) + 1
    residuals = np.bincount(group, weights=np.concatenate(scaled))
    error = float(np.sqrt(groups / max(groups - 1, 1) * np.sum(residuals**2)))
    mean, margin = float(np.mean(means)), stats.t.ppf(0.975, groups - 1) * error
    p = _two_sided(mean, error, groups - 1)
    return Estimate(mean, mean - margin, mean + margin, n, groups, p)


def over_seeds(values: np.ndarray) -> Estimate:
    """Return the mean of one value per seed, its 95% interval and the p of a t-test against 0.

    A single seed says nothing about the variance of training: interval and p are nan.
    """
    values = np.asarray(values, float)
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Estimate(mean, NAN, NAN, n, n)
    error = float(values.std(ddof=1) / np.sqrt(n))
    margin = stats.t.ppf(0.975, n - 1) * error
    return Estimate(mean, mean - margin, mean + margin, n, n, _two_sided(mean, error, n - 1))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's corrected p values of a family of tests, in the order given."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return corrected


def _two_sided(mean: float, error: float, freedom: int) -> float:
    """Return p of a t-test against 0; without any spread 1 for a mean of 0, else 0."""
    return float(2 * stats.t.sf(abs(mean) / error, freedom)) if error else float(mean == 0)


def _clustered(scores: np.ndarray, users: np.ndarray) -> tuple[float, float, int]:
    """Return mean, cluster-robust standard error and number of clusters."""
    if len(scores) != len(users):
        raise ValueError(f"{len(scores)} scores for {len(users)} users; expected as many")
    _, group = np.unique(users, return_inverse=True)
    groups = int(group.max()) + 1 if len(group) else 0
    if groups < 2:
        raise ValueError(f"{groups} user: an interval needs at least 2")
    mean = float(np.mean(scores))
    residuals = np.bincount(group, weights=np.asarray(scores, float) - mean)
    return mean, float(np.sqrt(groups / (groups - 1) * np.sum(residuals**2)) / len(scores)), groups
