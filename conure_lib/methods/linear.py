"""Linear models of a user's counts: floors that tell whether a network learns more than these.

Ridge regression to the 0/1 labels for ranking, logistic regression for classification; how strongly
they shrink is chosen on the validation part. Shrunk to nothing both are popularity.
"""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array, hstack
from torch import Tensor

from conure_lib.data.stream import PAD, TRAIN, VALIDATION, Task, TaskStream
from conure_lib.methods.actions import Context, Outcome, Scores, mean_cross_entropy
from conure_lib.methods.method import Order, Step, floor
from conure_lib.training.evaluation import metric_of, ranks_of_scores

RIDGE = (1.0, 3.0, 10.0, 30.0, 100.0)  # strengths of the penalty
LOGISTIC = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # C, the inverse of the strength
MAX_FEATURES = 4096  # users and features: if there are more of both, rare features are left out
MAX_WEIGHTS = 1 << 28  # of features and labels, 1 GiB: with more labels still fewer features


def linear(c: Context) -> Outcome:
    """Fit models to the training part, choose one on the validation part, and test it."""
    task = c.thinned(c.task)
    models = (ridge if task.kind == "ranking" else logistic)(FEATURES[c.action](c.stream), task)
    tried = [(validation(scores, c.stream, task), strength, scores) for strength, scores in models]
    value, strength, best = max(tried, key=lambda one: one[0])
    outcome = c.test_scores(best)
    outcome.notes |= {"strength": strength, "validation": value}
    return outcome


def validation(scores: Scores, stream: TaskStream, task: Task) -> float:
    """Return the value on the validation part that the choice maximises, as for networks."""
    if task.kind == "classification":
        return -mean_cross_entropy(scores, task, VALIDATION)
    return metric_of(task.kind, ranks_of_scores(scores, stream, task, VALIDATION)[task.name])


def ridge(x: csr_array, task: Task) -> Iterator[tuple[float, Scores]]:
    """Yield each strength with its scores: regressions to what a label has beyond its share.

    One decomposition, of X^T X or (if there are fewer users) of X X^T, serves all strengths.
    """
    rows = task.rows(TRAIN)
    y = counts(task.users[rows], task.labels[rows], (x.shape[0], task.n_labels))
    users = np.flatnonzero(np.diff(y.indptr))
    if min(len(users), x.shape[1]) > (largest := min(MAX_FEATURES, MAX_WEIGHTS // task.n_labels)):
        x = x[:, np.argsort(-x.count_nonzero(axis=0), kind="stable")[:largest]]
    of_users, y = x[users], y[users]
    share = y.sum(axis=0, dtype=np.float32) / np.float32(len(users))
    if len(users) < x.shape[1]:
        values, vectors = _eigen(of_users @ of_users.T)
        right = vectors.T @ torch.from_numpy(y.toarray() - share)
        left = of_users.T @ vectors.numpy()
    else:
        values, vectors = _eigen(of_users.T @ of_users)
        beyond = (of_users.T @ y).toarray() - np.outer(of_users.sum(axis=0), share)
        left, right = vectors.numpy(), vectors.T @ torch.from_numpy(beyond)

    def scores(users: np.ndarray, strength: float) -> np.ndarray:
        read = torch.from_numpy(x[users] @ left) / (values + strength)
        return torch.addmm(torch.from_numpy(share), read, right).numpy()

    for strength in RIDGE:
        yield strength, partial(scores, strength=strength)


def logistic(x: csr_array, task: Task) -> Iterator[tuple[float, Scores]]:
    """Yield each C with its scores: log probabilities, smoothed by one user per label."""
    from sklearn.linear_model import LogisticRegression  # which takes a second to import

    rows = task.rows(TRAIN)
    found, labels = np.unique(task.labels[rows], return_inverse=True)

    def scores(users: np.ndarray, model: LogisticRegression) -> np.ndarray:
        expected = np.ones((len(users), task.n_labels))
        expected[:, found] += len(rows) * (model.predict_proba(x[users]) if len(found) > 1 else 1)
        return np.log(expected / (len(rows) + task.n_labels))

    for c in LOGISTIC:
        model = LogisticRegression(C=c, max_iter=1000)
        if len(found) > 1:
            with warnings.catch_warnings():  # a stream's notes say that it cannot be learned
                warnings.filterwarnings("ignore", "The number of unique classes")
                model.fit(x[task.users[rows]], labels)
        yield c, partial(scores, model=model)


def history(stream: TaskStream, rows: np.ndarray | slice = slice(None)) -> csr_array:
    """Return log(1 + how often) each user met each item in T1's sequences, rows of length 1."""
    sequences = stream.sequences[rows]
    known = sequences != PAD
    users = np.repeat(stream.tasks[0].users[rows], known.sum(1))
    return unit_rows(counts(users, sequences[known] - 1, (stream.n_users, stream.n_items)))


def window(stream: TaskStream) -> csr_array:
    """Return the same of what the networks read: each user's input sequence."""
    return history(stream, stream.input_rows)


def history_and_t2(stream: TaskStream) -> csr_array:
    """Return the history beside the labels of T2's training part."""
    task = stream["T2"]
    rows = task.rows(TRAIN)
    labels = counts(task.users[rows], task.labels[rows], (stream.n_users, task.n_labels))
    return csr_array(hstack([history(stream), unit_rows(labels)]))


def counts(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """Count how often each row meets each column: float32."""
    return csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape)


def unit_rows(x: csr_array) -> csr_array:
    """Return log(1 + x) with rows of length 1."""
    x = x.log1p()
    lengths = np.sqrt(x.multiply(x).sum(axis=1))
    return csr_array(diags_array(1 / np.maximum(lengths, 1e-9), dtype=np.float32) @ x)


def _eigen(gram: csr_array) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(torch.from_numpy(gram.toarray()))
    return values.clamp_min(0), vectors


def _after_t2(order: Order) -> dict[str, Step]:
    later = order[order.index("T2") + 1 :] if "T2" in order else ()
    return {task: Step("linear-t2", task) for task in later}


FEATURES = {"linear": history, "linear-window": window, "linear-t2": history_and_t2}
LINEAR = floor("Linear", "linear", linear, "#664400", "<", (4, 2, 1, 2), t1=False)
LINEAR_WINDOW = floor("Linear (window)", "linear-window", linear, "#A67C3D", ">", (2, 3), t1=False)
_LATER = floor("Linear + T2", "linear-t2", linear, "#DDBB88", "h", (5, 3), compared=False)
LINEAR_T2 = replace(_LATER, recipe=_after_t2)
