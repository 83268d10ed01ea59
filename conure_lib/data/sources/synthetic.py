"""`synthetic`: generated data whose truth is known, with dials; any size, deterministic.

Every user has a community and, independent of it, a taste. Items have a topic and a flavour. T1
shows both: the community prefers topics, the taste flavours, and items have a fixed successor.
Labels of later tasks depend on the community, on the taste, or on nothing.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from conure_lib.config import Seed
from conure_lib.data.options import MAX_LENGTH, checked_options
from conure_lib.data.stream import PAD, Split, Task, TaskStream, check, draw_blocks

NAME = "synthetic"
COMMUNITIES, FLAVOURS = 8, 8
MAX_TASKS = 254  # beside T1
MAX_SIZE = 10**8  # users, items or labels; more would fit into no memory
Chance = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Mean = Annotated[float, Field(gt=0, le=1000)]


@checked_options(NAME)
def build(
    *,
    n_users: Annotated[int, Field(ge=50, le=MAX_SIZE)] = 2000,
    n_items: Annotated[int, Field(ge=COMMUNITIES * FLAVOURS, le=MAX_SIZE)] = 512,
    n_labels: Annotated[int, Field(ge=2 * FLAVOURS, le=MAX_SIZE)] = 256,  # clicked and liked
    length: Annotated[int, Field(ge=6, le=MAX_LENGTH)] = 20,  # of a sequence
    clicks: Mean = 6.0,  # mean number of labels per user
    likes: Mean = 1.5,
    structure: Chance = 0.3,  # chance that the next item is the previous one's fixed successor
    taste: Chance = 0.5,  # how strongly sequences show the taste
    signal: Chance = 0.6,  # chance that a click or like follows the user, else it is uniform noise
    relatedness: Chance = 1.0,  # likes that follow the taste, as clicks do, else the community
    contradiction: bool = False,  # whether likes follow the clicked taste turned upside down
    profile_signal: Chance = 0.8,  # chance that a profile follows its trait
    half_full: Chance = 0.3,  # users with a shorter history (left padding)
    splits: Annotated[int, Field(ge=0, le=MAX_TASKS)] = 0,  # tasks in place of T2 to T6
    seed: Seed = 0,
    split: Split = "folds",
) -> TaskStream:
    """Build six tasks of TTL's shape: T1, clicks, likes, age (8), gender (2), life status (6).

    Age follows the community, gender the taste, status both. ``structure = taste = signal =
    profile_signal = 0`` is pure noise: the negative control. ``splits`` above 0: each of so many
    tasks splits the tastes into two sides, one way for half of the communities and another way for
    the others, all drawn for each task.
    """
    dials = dict(locals())
    rng = np.random.default_rng(seed)
    community = rng.integers(COMMUNITIES, size=n_users)
    flavour = rng.integers(FLAVOURS, size=n_users)
    sequences = _histories(rng, community, flavour, n_items, length, structure, taste, half_full)

    def ranking(name: str, title: str, mean: float, related: float, shift: int) -> Task:
        users = np.repeat(np.arange(n_users), 1 + rng.poisson(max(mean - 1, 0.0), n_users))
        if mean < 1:
            users = users[rng.random(len(users)) < mean]
        taste_block, block = (flavour[users] + shift) % FLAVOURS, n_labels // FLAVOURS
        by_taste = rng.random(len(users)) < related
        own = np.where(by_taste, taste_block, community[users] % FLAVOURS) * block
        follows = rng.random(len(users)) < signal
        own += _popular(rng, block, len(users))
        labels = np.where(follows, own, rng.integers(n_labels, size=len(users)))
        pairs = np.sort(users * n_labels + labels, kind="stable")  # np.unique hashes: slower here
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        return _task(name, "ranking", title, pairs // n_labels, pairs % n_labels, n_labels)

    def profile(name: str, title: str, trait: np.ndarray, classes: int) -> Task:
        noise = rng.integers(classes, size=n_users)
        labels = np.where(rng.random(n_users) < profile_signal, trait % classes, noise)
        return _task(name, "classification", title, np.arange(n_users), labels, classes)

    def split_tastes(name: str) -> Task:
        half = rng.permutation(COMMUNITIES) % 2
        sides = rng.permuted(np.tile(np.arange(FLAVOURS) % 2, (2, 1)), axis=1)
        return profile(name, "side of the taste", sides[half[community], flavour], 2)

    def _task(name, kind, title, users, labels, n) -> Task:
        blocks = draw_blocks(len(users), seed, name)
        return Task(name, kind, title, users.astype(np.int64), labels.astype(np.int64), n, blocks)

    everybody, last = np.arange(n_users), sequences[:, -1] - 1
    tasks = (
        _task("T1", "sequence", "items watched", everybody, last, n_items),
        ranking("T2", "item clicked", clicks, 1.0, 0),
        ranking("T3", "item liked", likes, relatedness, FLAVOURS // 2 if contradiction else 0),
        profile("T4", "age group", community, 8),
        profile("T5", "gender", flavour, 2),
        profile("T6", "life status", community + flavour, 6),
    )
    if splits:
        tasks = (tasks[0], *(split_tastes(f"T{number}") for number in range(2, splits + 2)))
    info = {"source": "generated", "licence": "none needed"} | dials
    stream = TaskStream(NAME, sequences, everybody, n_items, tasks, info, split=split)
    return check(stream.fold(1))


def best_possible(stream: TaskStream) -> dict[str, float]:
    """Return MRR@5, or accuracy, per task of somebody who knows all users' traits and all dials.

    For ranking tasks it is a bound: a label drawn twice counts once. Of pure noise it is chance.
    """
    dial, found = stream.info, {}
    for task in stream.tasks:
        signal = dial["profile_signal" if task.kind == "classification" else "signal"]
        if task.kind == "sequence":
            own, taste = 0.5 * (dial["taste"] > 0), dial["taste"]
            topic = own * np.eye(COMMUNITIES)[0] + (1 - own) / COMMUNITIES  # the user's own first
            flavour = taste * np.eye(FLAVOURS)[0] + (1 - taste) / FLAVOURS
            cell = _popularity(stream.n_items // (COMMUNITIES * FLAVOURS))
            free = np.outer(np.outer(topic, flavour), cell) * (1 - dial["structure"])
            probabilities = np.append(free, dial["structure"])
        else:
            block = task.n_labels // FLAVOURS if task.kind == "ranking" else 1
            probabilities = np.full(task.n_labels, (1 - signal) / task.n_labels)
            probabilities[:block] += signal * _popularity(block)
        best = np.sort(probabilities)[::-1][: 1 if task.kind == "classification" else 5]
        found[task.name] = float(best @ (1 / np.arange(1, len(best) + 1)))
    return found


def _histories(rng, community, flavour, n_items, length, structure, taste, half_full) -> np.ndarray:
    """Draw int32 [U, length]; item ids are 1 + topic * block + flavour * cell + number in it."""
    n, block, cell = len(community), n_items // COMMUNITIES, n_items // COMMUNITIES // FLAVOURS
    successor = rng.permutation(n_items)
    sequences = np.zeros((n, length), dtype=np.int32)
    previous = rng.integers(n_items, size=n)
    for position in range(length):
        own_topic = rng.random(n) < 0.5 * (taste > 0)
        topic = np.where(own_topic, community, rng.integers(COMMUNITIES, size=n))
        own_flavour = rng.random(n) < taste
        kind = np.where(own_flavour, flavour, rng.integers(FLAVOURS, size=n))
        free = topic * block + kind * cell + _popular(rng, cell, n)
        follows = (rng.random(n) < structure) & (position > 0)
        previous = np.where(follows, successor[previous], free)
        sequences[:, position] = previous + 1
    shorter = rng.random(n) < half_full
    kept = np.where(shorter, rng.integers(5, length + 1, size=n), length)
    sequences[np.arange(length) < (length - kept)[:, None]] = PAD
    return sequences


def _popular(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Draw numbers 0..n-1, the first ones more often, as items are."""
    return (n * rng.random(size) ** 2).astype(np.int64)


def _popularity(n: int) -> np.ndarray:
    """Return the chance of each number that ``_popular`` draws."""
    return np.diff(np.sqrt(np.linspace(0, 1, n + 1)))
