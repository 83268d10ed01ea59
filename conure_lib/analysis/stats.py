"""Means, effects and intervals over test instances that share users, and over seeds."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

VERDICTS = ("REPRODUCED", "PARTLY", "NOT REPRODUCED", "CANNOT TELL", "NOT TESTED")
"""What the rule of a claim can decide."""
NAN = float("nan")
POWER = 2.8  # standard errors that an effect must have to be found with 80% power at p < 0.05
NORMAL = stats.norm.ppf(0.975)


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval and the p value of a t-test against 0, clustered by user."""

    mean: float
    low: float = NAN
    high: float = NAN
    n: int = 0
    users: int = 0
    p: float = NAN

    def __str__(self) -> str:
        """Return "0.0286 [0.0251, 0.0321]"."""
        return with_interval(self.mean, self.low, self.high)


def with_interval(mean: float, low: float = NAN, high: float = NAN, unit: str = "") -> str:
    """Return a mean, with three digits, and its interval as text; "relative" is in per cent.

    Where the mean is next to nothing beside its interval, the interval has three digits.
    """
    known = [x for x in (mean, low, high) if not np.isnan(x)]
    if not known:
        return ""
    largest = max(map(abs, known))
    size = abs(mean) if abs(mean) > largest / 10 else largest
    decimals = np.clip(2 - np.floor(np.log10(size or 100.0)), 0, 6)  # 0 is written without any
    form = f"z.{decimals:.0f}f"
    if unit == "relative":
        form = "+z.2%" if 0 < largest < 0.002 else "+z.1%"
    first, *bounds = (f"{x:{form}}" for x in known)
    text = f"{first} [{', '.join(bounds)}]" if bounds else first
    return text if unit in ("", "relative") else f"{text} {unit}"


def estimate(scores: np.ndarray, users: np.ndarray) -> Estimate:
    """Return the mean of per-instance scores (n,), clustered by the user of each (n,).

    The standard error is the cluster-robust one of a mean, sqrt(G/(G-1) sum_g (sum of residuals in
    g)^2) / n, with Student's t of G - 1 degrees of freedom. ValueError for fewer than two users.
    """
    mean = float(np.mean(scores))
    return _clustered(mean, (np.asarray(scores, float) - mean) / len(scores), users)


def mean_relative_effect(tasks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Estimate:
    """Return the mean over tasks of (mean of ours / mean of theirs - 1) of (ours, theirs, users).

    The interval is that of a ratio of means, linearised, p that of the differences: who is compared
    with whom decides its sign alone. A user has the same number in every task, and the residuals of
    all tasks belong together.
    """
    tasks = list(tasks)
    if not all(np.any(theirs) for _, theirs, _ in tasks):
        raise ZeroDivisionError("a relative effect needs a reference above 0")
    effects, influence, of_differences = [], [], []
    for ours, theirs, _ in tasks:
        effects.append(np.mean(ours - theirs) / np.mean(theirs))
        ratio, difference = theirs * (1 + effects[-1]), theirs + np.mean(ours - theirs)
        influence.append(_residuals(ours, ratio) / np.sum(theirs) / len(tasks))
        of_differences.append(_residuals(ours, difference) / np.sum(theirs) / len(tasks))
    mean, users = float(np.mean(effects)), np.concatenate([users for *_, users in tasks])
    p = _clustered(mean, np.concatenate(of_differences), users).p
    return replace(_clustered(mean, np.concatenate(influence), users), p=p)


def _residuals(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    residuals = values - expected
    return np.where(np.abs(residuals) < 1e-12, 0.0, residuals)  # which only rounding leaves


def over_seeds(values: np.ndarray) -> Estimate:
    """Return the mean of one value per seed with its interval; a single seed has none."""
    n, mean = len(values), float(np.mean(values))
    error = float(np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else NAN
    return _interval(mean, error, n, n)


def relative_over_seeds(tasks: Iterable[tuple[np.ndarray, np.ndarray]]) -> Estimate:
    """Return the mean over tasks of (mean difference / mean of theirs) of these, one per seed.

    The interval is that of a ratio of means, linearised, p that of the differences.
    """
    shares, influence = [], []
    for differences, theirs in tasks:
        share = differences / np.mean(theirs)
        shares.append(share)
        influence.append(share - np.mean(share) * (theirs / np.mean(theirs) - 1))
    ends = over_seeds(np.mean(influence, axis=0))
    return replace(over_seeds(np.mean(shares, axis=0)), low=ends.low, high=ends.high)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's corrected p values of a family of tests, in the order given."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return corrected


def wider(users: Estimate, seeds: Estimate) -> dict[str, float]:
    """Return the ends of two 95% intervals, and as "low" and "high" the outer ones.

    A single seed has no interval: then the ends are those over users.
    """
    ends = {"users_low": users.low, "users_high": users.high}
    ends |= {"seeds_low": seeds.low, "seeds_high": seeds.high}
    low, high = (np.fmin(users.low, seeds.low), np.fmax(users.high, seeds.high))
    return {"low": float(low), "high": float(high)} | ends


def detectable(low: float, high: float) -> float:
    """Return the smallest effect that data with this 95% interval would find in 80% of cases."""
    return POWER * (high - low) / (2 * NORMAL)


def beyond(effect: float, low: float, high: float, bound: float, n: float = np.inf) -> float:
    """Return the one-sided p value that an effect with this 95% interval is above a bound.

    n: how many values the interval is of, if few; Student's t has n - 1 degrees of freedom.
    """
    error = (high - low) / (2 * stats.t.ppf(0.975, n - 1))
    return float(stats.t.sf((effect - bound) / error, n - 1)) if error else float(effect <= bound)


def _clustered(mean: float, influence: np.ndarray, users: np.ndarray) -> Estimate:
    """Return an estimate whose error is that of the sum of the influences, clustered by user."""
    _, user, counts = np.unique(users, return_inverse=True, return_counts=True)
    if (groups := len(counts)) < 2:
        raise ValueError(f"{groups} user: an interval needs at least 2")
    variance = groups / (groups - 1) * np.sum(np.bincount(user, weights=influence) ** 2)
    return _interval(mean, float(np.sqrt(variance)), len(influence), groups)


def _interval(mean: float, error: float, n: int, clusters: int) -> Estimate:
    """Return the estimate of Student's t; without any spread p is 1 for a mean of 0, else 0."""
    margin = stats.t.ppf(0.975, clusters - 1) * error
    p = 2 * stats.t.sf(abs(mean) / error, clusters - 1) if error else mean == 0
    return Estimate(mean, mean - margin, mean + margin, n, clusters, float(p))
