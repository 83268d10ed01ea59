"""Popularity among all users, or within the user's group: floors that every method has to beat."""

import numpy as np

from conure_lib.data.stream import PAD, TRAIN
from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.method import floor


def popularity(c: Context) -> Outcome:
    """Rank the labels by their frequency in the training part, the same for every user.

    "group-popularity": within the user's group, ties by their frequency among all users.
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
    return c.test_scores(lambda users: scores[groups[users]])


POPULARITY = floor("Popularity", "popularity", popularity, "#B3B3B3", "x", (1, 1))
GROUP_POPULARITY = floor(
    "Group popularity", "group-popularity", popularity, "#595959", "+", (1, 3), groups=True
)
