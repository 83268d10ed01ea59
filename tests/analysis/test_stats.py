"""Intervals and tests against other implementations and by hand."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from conure_lib.analysis.stats import (
    benjamini_hochberg,
    beyond,
    detectable,
    estimate,
    holm,
    mean_relative_effect,
    over_seeds,
    paired_effect,
)


def test_the_clustered_error_by_hand():
    # The mean is 0.5; the residuals sum to 0.5 for user 7, to 0 for user 3, to -0.5 for user 9.
    scores, users = np.array([1.0, 0.0, 0.5, 1.0, 0.0]), np.array([7, 3, 3, 3, 9])
    got = estimate(scores, users)
    error = np.sqrt(3 / 2 * (0.5**2 + 0 + 0.5**2)) / 5
    assert got.high - got.mean == pytest.approx(scipy_stats.t.ppf(0.975, 2) * error)


def test_the_paired_effect_is_scipys_where_users_are_distinct():
    rng = np.random.default_rng(3)
    ours, theirs = rng.random(60), rng.random(60)
    got = paired_effect(ours, theirs, np.arange(60))
    reference = scipy_stats.ttest_rel(ours, theirs)
    assert (got.p, got.p_plain) == pytest.approx((reference.pvalue, reference.pvalue))
    assert got.mean == pytest.approx((ours - theirs).mean())


@pytest.mark.parametrize(("shift", "p"), [(0.0, 1.0), (0.5, 0.0)])
def test_differences_without_variance(shift, p):
    got = paired_effect(np.full(6, shift), np.zeros(6), np.arange(6))
    assert (got.mean, got.p, got.p_plain) == (shift, p, p)


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]


def test_benjamini_hochberg_by_hand_and_as_scipy():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005, 0.9])
    got = benjamini_hochberg(p)
    assert np.isnan(got[1])
    assert got[[0, 2, 3, 4, 5]].tolist() == pytest.approx([0.025, 0.05, 0.05, 0.025, 0.9])
    known = p[~np.isnan(p)]
    assert got[~np.isnan(p)].tolist() == pytest.approx(scipy_stats.false_discovery_control(known))


def test_what_an_interval_could_have_shown_and_how_far_it_is_from_a_bound():
    low, high = 0.1 - 1.96 * 0.05, 0.1 + 1.96 * 0.05  # a standard error of 0.05
    assert detectable(low, high) == pytest.approx(2.8 * 0.05, rel=1e-4)
    assert beyond(0.1, low, high, 0.0) == pytest.approx(scipy_stats.norm.sf(2), rel=1e-3)
    assert beyond(0.1, low, high, 0.2) == pytest.approx(scipy_stats.norm.cdf(2), rel=1e-3)
    assert [beyond(0.0, 0.0, 0.0, bound) for bound in (-0.05, 0.05)] == [0.0, 1.0]


ONES = np.ones(3)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (estimate, (ONES, np.zeros(3)), "at least 2"),
        (estimate, (ONES, np.arange(2)), "3 scores for 2 users"),
        (estimate, (np.ones(0), np.ones(0)), "at least 2"),
        (paired_effect, (ONES, np.ones(4), np.arange(3)), "the same instances"),
        (mean_relative_effect, ([(ONES, np.ones(4), np.arange(3))],), "the same instances"),
    ],
)
def test_what_cannot_be_estimated_is_refused(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


def test_there_is_no_relative_effect_on_a_reference_of_zero():
    with pytest.raises(ZeroDivisionError, match="a reference above 0"):
        mean_relative_effect([(ONES, np.zeros(3), np.arange(3))])


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
    assert got.p == pytest.approx(2 * scipy_stats.t.sf(0.4 / error, 1))


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


def test_over_seeds_is_scipys_test_against_zero():
    values = np.array([0.3, -0.1, 0.2, 0.4])
    got, reference = over_seeds(values), scipy_stats.ttest_1samp(values, 0)
    assert got.p == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval(0.95)
    assert (got.mean, got.low, got.high) == pytest.approx((0.2, interval.low, interval.high))
    assert (got.n, got.users) == (4, 4)
    alone = over_seeds(np.array([0.3]))
    assert alone.mean == 0.3
    assert np.isnan([alone.low, alone.high, alone.p]).all()
    assert over_seeds(np.full(3, 0.5)).p == 0
    assert over_seeds(np.zeros(3)).p == 1
