"""Intervals and tests against other implementations and by hand, and how they are written."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from conure_lib.analysis.stats import (
    NAN,
    Estimate,
    beyond,
    detectable,
    estimate,
    holm,
    mean_relative_effect,
    over_seeds,
    relative_over_seeds,
    wider,
    with_interval,
)


@pytest.mark.parametrize("test", [over_seeds, lambda values: estimate(values, np.arange(4))])
def test_over_seeds_and_over_distinct_users_it_is_the_t_test(test):
    values = np.array([0.3, -0.1, 0.2, 0.4])
    got, reference = test(values), scipy_stats.ttest_1samp(values, 0)
    interval = reference.confidence_interval(0.95)
    numbers = (0.2, interval.low, interval.high, 4, 4, reference.pvalue)
    assert tuple(vars(got).values()) == pytest.approx(numbers)
    assert [test(np.full(4, x)).p for x in (0.0, 0.5)] == [1, 0]  # without variance


def test_what_cannot_be_estimated_is_refused_or_has_no_interval():
    alone = over_seeds(np.array([0.3]))
    assert [*vars(alone).values()] == pytest.approx([0.3, NAN, NAN, 1, 1, NAN], nan_ok=True)
    with pytest.raises(ValueError, match="at least 2"):
        estimate(np.ones(3), np.zeros(3))
    with pytest.raises(ZeroDivisionError, match="a reference above 0"):
        mean_relative_effect([(np.ones(3), np.zeros(3), np.arange(3))])


def test_the_relative_effect_over_two_tasks_by_hand():
    # Task 1: means 0.4 and 0.5, ratio 0.8: residuals ours - 0.8 theirs are 0.2 and -0.2.
    # Task 2: means 0.4 and 0.2, ratio 2: residuals ours - 2 theirs are 0.1, -0.1 and 0.
    first = (np.array([0.6, 0.2]), np.array([0.5, 0.5]), np.array([1, 2]))
    second = (np.array([0.3, 0.3, 0.6]), np.array([0.1, 0.2, 0.3]), np.array([1, 1, 2]))
    got = mean_relative_effect([first, second])
    of_users = np.array([0.2 / 0.5 / 4 + (0.1 - 0.1) / 0.2 / 6, -0.2 / 0.5 / 4])
    error = np.sqrt(2 / 1 * (of_users**2).sum())
    assert (got.mean, got.n, got.users) == (pytest.approx((-0.2 + 1) / 2), 5, 2)
    assert got.high - got.mean == pytest.approx(scipy_stats.t.ppf(0.975, 1) * error)
    # p is that of the differences: 0.1 and -0.3 in task 1, 0.2, 0.1 and 0.3 in task 2
    of_users = np.array([0.2 / 0.5 / 4 + (0.0 - 0.1) / 0.2 / 6, -0.2 / 0.5 / 4 + 0.1 / 0.2 / 6])
    error = np.sqrt(2 / 1 * (of_users**2).sum())
    assert got.p == pytest.approx(2 * scipy_stats.t.sf(0.4 / error, 1))


def test_p_does_not_depend_on_who_is_compared_with_whom():
    draw, users = np.random.default_rng(1).random, np.arange(40) // 2
    ours, theirs = draw(40), draw(40)
    one, other = (
        mean_relative_effect([(*both, users)]) for both in ((ours, theirs), (theirs, ours))
    )
    assert one.mean * other.mean < 0
    assert one.p == pytest.approx(other.p) == pytest.approx(estimate(ours - theirs, users).p)


def test_relative_over_seeds_by_hand():
    """Theirs 1 and 3, ours 2 and 3: 4 and 5 / 4; less each seed's share of the mean of theirs."""
    got = relative_over_seeds([(np.array([1.0, 0.0]), np.array([1.0, 3.0]))])
    assert (got.mean, got.n) == (0.25, 2)
    assert got.p == pytest.approx(over_seeds(np.array([0.5, 0.0])).p)
    ends = over_seeds(np.array([0.5 + 0.25 * 0.5, 0.0 - 0.25 * 0.5]))
    assert (got.low, got.high) == (pytest.approx(ends.low), pytest.approx(ends.high))
    twice = relative_over_seeds([(np.array([1.0, 0.0]), np.array([1.0, 3.0]))] * 2)
    assert vars(twice) == pytest.approx(vars(got))
    steady = relative_over_seeds([(np.array([-0.5, -1.0, -2.0]), np.array([1.0, 2.0, 4.0]))])
    assert steady.low == pytest.approx(steady.high) == pytest.approx(-0.5)


def test_a_constant_ratio_has_no_error_but_rounding():
    theirs = np.array([0.2, 0.5, 1 / 3])
    got = mean_relative_effect([(theirs * 1.1, theirs, np.arange(3))])
    assert (got.mean, got.high - got.low) == (pytest.approx(0.1), 0)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng, covered = np.random.default_rng(2), np.zeros(2)
    for _ in range(400):
        users = np.repeat(np.arange(30), rng.integers(1, 6, 30))
        scores = rng.normal(size=30)[users] + rng.normal(size=len(users))
        theirs = rng.gamma(2.0, size=60)
        ours = theirs * 0.3 * rng.gamma(2.0, 0.5, size=60)
        mean = estimate(scores, users)
        ratio = mean_relative_effect([(ours, theirs, np.arange(60))])
        covered += mean.low <= 0 <= mean.high, ratio.low <= -0.7 <= ratio.high
    assert (np.abs(covered / 400 - 0.945) < 0.035).all()


def test_holm_by_hand():
    p = ([0.01, 0.04, 0.03, 0.005], [0.6, 0.9], [])
    corrected = ([0.03, 0.06, 0.06, 0.02], [1.0, 1.0], [])
    assert [holm(one).tolist() for one in p] == [pytest.approx(one) for one in corrected]


def test_what_an_interval_could_have_shown_and_how_far_it_is_from_a_bound():
    low, high = 0.1 - 1.96 * 0.05, 0.1 + 1.96 * 0.05  # a standard error of 0.05
    assert detectable(low, high) == pytest.approx(2.8 * 0.05, rel=1e-4)
    assert beyond(0.1, low, high, 0.0) == pytest.approx(scipy_stats.norm.sf(2), rel=1e-3)
    assert beyond(0.1, low, high, 0.2) == pytest.approx(scipy_stats.norm.cdf(2), rel=1e-3)
    assert [beyond(0.0, 0.0, 0.0, bound) for bound in (-0.05, 0.05)] == [0.0, 1.0]
    six = np.array([0.1, 0.3, -0.1, 0.2, 0.0, 0.4])
    e, reference = over_seeds(six), scipy_stats.ttest_1samp(six, -0.05, alternative="greater")
    assert beyond(e.mean, e.low, e.high, -0.05, 6) == pytest.approx(reference.pvalue)


def test_the_wider_of_two_intervals():
    users, seeds, single = Estimate(0.1, -0.1, 0.3), Estimate(0.1, 0.0, 0.4), Estimate(0.1)
    ends = {"users_low": -0.1, "users_high": 0.3, "seeds_low": 0.0, "seeds_high": 0.4}
    assert wider(users, seeds) == {"low": -0.1, "high": 0.4} | ends
    alone = wider(users, single)
    assert (alone["low"], alone["high"], np.isnan(alone["seeds_low"])) == (-0.1, 0.3, True)


@pytest.mark.parametrize(
    ("values", "unit", "text"),
    [
        ((0.02861, 0.02514, 0.0321), "MRR@5", "0.0286 [0.0251, 0.0321] MRR@5"),
        ((0.0976, 0.0952, 0.1004), "", "0.0976 [0.0952, 0.1004]"),
        ((0.0001, -0.004, 0.005), "", "0.00010 [-0.00400, 0.00500]"),
        ((-0.0004, -0.0012, 0.0001), "relative", "-0.04% [-0.12%, +0.01%]"),
        ((0.0, 0.0, 0.0), "relative", "+0.0% [+0.0%, +0.0%]"),
        ((0.534, 0.48, 0.587), "accuracy", "0.534 [0.480, 0.587] accuracy"),
        ((-0.0335, -0.0811, 0.0142), "relative", "-3.4% [-8.1%, +1.4%]"),
        ((-0.2, NAN, NAN), "relative", "-20.0%"),
        ((2.461, 1.49, 3.43), "", "2.46 [1.49, 3.43]"),
        ((0.0, 0.0, 0.0), "", "0 [0, 0]"),
        ((150.0, NAN, NAN), "", "150"),
        ((NAN, NAN, NAN), "MRR@5", ""),
    ],
)
def test_a_value_with_its_interval(values, unit, text):
    assert with_interval(*values, unit) == text
    assert unit or str(Estimate(*values)) == text
