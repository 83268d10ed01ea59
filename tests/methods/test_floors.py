"""Floors: popularity and linear models, against hand-worked values and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import a_task, done, small_stream
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression, Ridge

from conure_lib.data.stream import TEST, TRAIN, TaskStream
from conure_lib.methods import FLOORS, METHODS, linear
from conure_lib.training.evaluation import metric_of

pytestmark = pytest.mark.numerics
PAIRS = {(0, 0): 0, (1, 0): 0, (1, 1): 0, (2, 1): 0, (3, 1): 0, (3, 2): 0, (0, 1): 2, (2, 0): 2}
"""T2's instances (user, label) and their parts; in training labels occur 2, 3, 1 and 0 times."""


def toy() -> TaskStream:
    sequences = np.array([[1, 2, 2], [3, 1, 2], [0, 1, 3], [0, 3, 3], [1, 1, 1]], np.int32)
    t1 = a_task("sequence", [0, 0, 1, 2, 3], sequences[:, -1] - 1, 3, [0, 0, 0, 2, 3], "T1")
    t2 = a_task("ranking", *zip(*PAIRS, strict=True), 4, list(PAIRS.values()))
    groups = np.array([0, 0, 1, 1], np.int32)
    return TaskStream("toy", sequences, np.arange(1, 5), 3, (t1, t2), groups=groups)


def ranks_by(action, task, stream):
    return {measure: ranks.tolist() for measure, ranks in done(action, task, stream).ranks.items()}


def test_popularity_by_hand():
    """User 0 knows label 0, user 2 label 1; in group 0 labels occur 2, 1, 0, 0 times, in 1 0221."""
    found = ranks_by("popularity", "T2", toy())
    assert found == {"T2": [1, 1], "T2-literal": [1, 2]}
    found = ranks_by("group-popularity", "T2", toy())
    assert found == {"T2": [1, 2], "T2-literal": [2, 3]}


def test_labels_that_are_as_frequent_stand_in_random_order():
    """Two classes of six users each: without an order neither would ever be the first."""
    task = a_task("classification", range(20), [0, 1] * 10, 2, [0] * 12 + [2] * 8)
    stream = small_stream()
    stream = replace(stream, tasks=(stream.tasks[0], task))
    found = [done("popularity", "T2", stream, seed=seed).ranks["T2"] for seed in range(9)]
    assert {tuple(ranks) for ranks in found} == {(1, 2) * 4, (2, 1) * 4}


def test_popularity_of_items_by_hand():
    """Items 1 to 3 occur 3, 3, 2 times; in group 0 (users 0, 1) 3, 3, 2, in group 1 never."""
    assert ranks_by("popularity", "T1", toy()) == {"T1": [3], "T1-all": [3]}
    own = replace(toy(), groups=np.array([0, 1, 1, 1], np.int32))  # group 1: 1, 0, 1
    assert ranks_by("group-popularity", "T1", own) == {"T1": [2], "T1-all": [2]}


def test_features_by_hand():
    stream, log = toy(), np.log1p
    history = np.array([log([2, 3, 1]), log([1, 0, 1]), log([0, 0, 2]), log([3, 0, 0])])
    expected = history / np.sqrt((history**2).sum(1, keepdims=True))
    np.testing.assert_allclose(linear.history(stream).toarray(), expected, rtol=1e-6)
    window = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [1, 0, 0]])
    window = window / np.sqrt(window.sum(1, keepdims=True))
    np.testing.assert_allclose(linear.window(stream).toarray(), window, rtol=1e-6)
    labels = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0]])
    labels = labels / np.sqrt(labels.sum(1, keepdims=True))
    both = np.hstack([expected, labels])  # of the training part alone
    np.testing.assert_allclose(linear.history_and_t2(stream).toarray(), both, rtol=1e-6)


def test_a_class_for_each_user_is_no_second_warning(recwarn):
    """What cannot be learned is said once, among the stream's notes."""
    task = a_task("classification", range(40), range(40), 40, [0] * 40)
    assert len([*linear.logistic(csr_array(np.eye(40)), task)]) == len(linear.LOGISTIC)
    assert recwarn.list == []


@pytest.mark.parametrize("n_features", [3, 40])  # fewer and more than users
def test_ridge_is_the_closed_form(n_features):
    rng, task = np.random.default_rng(0), small_stream()["T2"]
    x = rng.random((60, n_features), dtype=np.float32)
    rows = task.rows(TRAIN)
    y = np.zeros((60, task.n_labels))
    y[task.users[rows], task.labels[rows]] = 1
    known = np.unique(task.users[rows])
    share = y[known].mean(0)
    for strength, scores in linear.ridge(csr_array(x), task):
        model = Ridge(strength, fit_intercept=False).fit(x[known], y[known] - share)
        expected = share + model.predict(x)
        np.testing.assert_allclose(scores(np.arange(60)), expected, atol=1e-5)


def test_rare_features_are_left_out_of_very_large_problems(monkeypatch):
    task, x = small_stream()["T2"], np.eye(60, 30, dtype=np.float32)
    x[:, :2] = 1
    expected = dict(linear.ridge(csr_array(x[:, :2]), task))[1.0](np.arange(60))
    monkeypatch.setattr(linear, "MAX_FEATURES", 2)
    found = dict(linear.ridge(csr_array(x), task))[1.0](np.arange(60))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_logistic_regression_smooths_what_it_has_never_seen():
    x = np.random.default_rng(1).random((9, 3), dtype=np.float32)
    task = a_task("classification", np.arange(9), [0, 2, 0, 2, 0, 2, 0, 1, 3], 4, [0] * 7 + [2] * 2)
    for c, scores in linear.logistic(csr_array(x), task):
        model = LogisticRegression(C=c, max_iter=1000).fit(x[:7], task.labels[:7])
        chances = np.exp(scores(np.arange(9)))
        expected = (model.predict_proba(x) * 7 + 1) / 11
        np.testing.assert_allclose(chances[:, [0, 2]], expected, rtol=2e-3)  # lbfgs stops early
        np.testing.assert_allclose(chances[:, [1, 3]], 1 / 11)
    alone = a_task("classification", np.arange(9), [1] * 7 + [0, 0], 2, [0] * 7 + [2] * 2)
    for _, scores in linear.logistic(csr_array(x), alone):
        np.testing.assert_allclose(np.exp(scores(np.arange(2))), [[1 / 9, 8 / 9]] * 2)


@pytest.mark.parametrize("task", ["T2", "T4"])
def test_linear_models_find_what_is_planted_and_never_see_the_test_part(task):
    dials = {"taste": 0.9, "signal": 0.9, "profile_signal": 0.9}
    stream = small_stream(n_users=400, **dials)
    found, floor = (done(action, task, stream) for action in ("linear", "popularity"))
    values = [metric_of(stream[task].kind, one.ranks[task]) for one in (found, floor)]
    assert values[0] > 1.2 * values[1]
    if task == "T4":
        assert found.notes["cross_entropy"] < floor.notes["cross_entropy"]
    rows, labels = stream[task].rows(TEST), stream[task].labels.copy()
    labels[rows] = labels[rows][::-1]
    other = replace(stream[task], labels=labels)
    again = done("linear", task, replace(stream, tasks=(stream.tasks[0], other)))
    for name in ("strength", "validation"):
        assert again.notes[name] == found.notes[name]


def test_linear_with_t2_is_for_tasks_after_it():
    steps = METHODS["Linear + T2"].recipe
    assert list(steps(("T1", "T2", "T6", "T3"))) == ["T6", "T3"]
    assert steps(("T1", "T3")) == {}
    assert tuple(METHODS)[: len(FLOORS)] == FLOORS  # and come first in every table
