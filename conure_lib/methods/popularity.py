"""Popularity among all users, or within the user's group: floors that every method has to beat."""

import numpy as np
import torch

from conure_lib.data.stream import PAD, TRAIN
from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.method import floor
from conure_lib.training.determinism import seeded

STEP = 1e-9  # between the scores of neighbours in the order, beside what their counts differ by


def popularity(c: Context) -> Outcome:
    """Rank the labels by their frequency in the training part, the same for every user.

    "group-popularity": within the user's group, then among all users. Labels that are as frequent
    stand in random order: ties count against a model, and no floor should lose by them.
    """
    all_together = c.action == "popularity"
    groups = np.zeros(c.stream.n_users, np.int32) if all_together else c.stream.groups
    task = c.thinned(c.task)
    rows = task.rows(TRAIN)
    users, labels = task.users[rows], task.labels[rows]
    if task.kind == "sequence":
        known = c.stream.sequences[rows] != PAD
        users, labels = np.repeat(users, known.sum(1)), c.stream.sequences[rows][known] - 1
    counts = np.zeros((groups.max() + 1, task.n_labels))
    np.add.at(counts, (groups[users], labels), 1)
    among_all = counts.sum(0) + 1
    smoothed = counts + among_all / among_all.sum()  # all users count as one of the group
    scores = np.log(smoothed / smoothed.sum(1, keepdims=True))
    shuffled = torch.randperm(task.n_labels, generator=seeded(c.seed, task.name, "ties")).numpy()
    order = np.lexsort((np.broadcast_to(shuffled, scores.shape), -scores), axis=1)
    scores -= STEP * np.argsort(order, axis=1)
    return c.test_scores(lambda users: scores[groups[users]])


_SINCE = {"popularity": 2, "group-popularity": 2}  # ties counted against it before
POPULARITY = floor("Popularity", "popularity", popularity, "#B3B3B3", "x", (1, 1), revisions=_SINCE)
GROUP_POPULARITY = floor(
    "Group popularity", "group-popularity", popularity, "#595959", "+", (1, 3), groups=True
)
