"""`synthetic`: a world whose truth is known, with dials; any size, deterministic.

Every user has a community z (whom they resemble) and a taste f (what they choose within a topic), independent
of each other. Items have a topic and a flavour. T1 shows both: the community prefers topics, the taste prefers
flavours, and some items have a fixed successor. Labels of later tasks depend on z, on f, or on nothing.
"""

import numpy as np

from conure_lib.data.stream import (
    MAX_INT,
    MAX_LENGTH,
    Task,
    TaskStream,
    checked,
    demand_whole,
    distinct,
    draw_split,
)
from conure_lib.errors import DataError

NAME = "synthetic"
COMMUNITIES = 8
FLAVOURS = 8
LARGEST = 10**8  # users, items or labels; more would be no memory's world
MAX_LABELS = 1000  # a user, in the mean


def build(
    *,
    n_users: int = 2000,
    n_items: int = 512,
    n_labels: int = 256,
    length: int = 20,
    clicks: float = 6.0,
    likes: float = 1.5,
    structure: float = 0.3,
    taste: float = 0.5,
    signal: float = 0.6,
    relatedness: float = 1.0,
    contradiction: bool = False,
    profile_signal: float = 0.8,
    half_full: float = 0.3,
    seed: int = 0,
    split: str = "80/5/15",
    split_seed: int = 0,
) -> TaskStream:
    """Six tasks of TTL's shape: T1, clicks (T2), likes (T3), age (8 classes), gender (2), life status (6).

    structure: chance that the next item is the previous one's fixed successor; the best MRR@5 that T1 allows
    is a little above it. taste: how strongly sequences show the taste. signal: chance that a click or like
    follows the user, else it is uniform noise. relatedness: share of likes that follow the same trait as
    clicks (the taste); the others follow the community. contradiction: likes then follow the clicked taste
    turned upside down. profile_signal: chance that a profile follows its trait (age: community, gender: taste,
    life status: both). structure = taste = signal = profile_signal = 0 is pure noise: the negative control.
    clicks, likes: mean labels a user. half_full: share of users with a shorter history (left padding).
    Raises DataError for a dial outside its range.
    """
    shares = {"structure": structure, "taste": taste, "signal": signal, "relatedness": relatedness}
    shares |= {"profile_signal": profile_signal, "half_full": half_full}
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise DataError(f"synthetic: {name}={value!r}; wanted: a share from 0 to 1")
    demand_whole(NAME, COMMUNITIES * FLAVOURS, LARGEST, n_items=n_items)
    demand_whole(NAME, FLAVOURS * 2, LARGEST, n_labels=n_labels)
    demand_whole(NAME, 50, LARGEST, n_users=n_users)
    demand_whole(NAME, 6, MAX_LENGTH, length=length)
    demand_whole(NAME, 0, MAX_INT, seed=seed)
    for name, value in (("clicks", clicks), ("likes", likes)):
        if not 0 < value <= MAX_LABELS:
            raise DataError(
                f"synthetic: {name}={value!r}; wanted: labels a user, above 0, at most {MAX_LABELS}"
            )

    rng = np.random.default_rng(seed)
    community = rng.integers(COMMUNITIES, size=n_users)
    flavour = rng.integers(FLAVOURS, size=n_users)
    sequences = _histories(rng, community, flavour, n_items, length, structure, taste, half_full)

    def items_for(users: np.ndarray, follows_taste: np.ndarray, shift: int) -> np.ndarray:
        """One label per entry: in the block of the user's trait with chance ``signal``, else anywhere."""
        trait = np.where(
            follows_taste, (flavour[users] + shift) % FLAVOURS, community[users] % FLAVOURS
        )
        block = n_labels // FLAVOURS
        follows = rng.random(len(users)) < signal
        return np.where(
            follows,
            trait * block + _popular(rng, block, len(users)),
            rng.integers(n_labels, size=len(users)),
        )

    def ranking(name: str, title: str, mean: float, related: float, shift: int) -> Task:
        users = np.repeat(np.arange(n_users), 1 + rng.poisson(max(mean - 1, 0.0), n_users))
        if mean < 1:
            users = users[rng.random(len(users)) < mean]
        labels = items_for(users, rng.random(len(users)) < related, shift)
        pairs = distinct(users * n_labels + labels)
        return _task(name, "ranking", title, pairs // n_labels, pairs % n_labels, n_labels)

    def profile(name: str, title: str, trait: np.ndarray, classes: int) -> Task:
        noise = rng.integers(classes, size=n_users)
        labels = np.where(rng.random(n_users) < profile_signal, trait % classes, noise)
        return _task(name, "classification", title, np.arange(n_users), labels, classes)

    def _task(
        name: str, kind: str, title: str, users: np.ndarray, labels: np.ndarray, n: int
    ) -> Task:
        marks = draw_split(len(users), split, split_seed, name)
        return Task(name, kind, title, users.astype(np.int64), labels.astype(np.int64), n, marks)

    first = _task(
        "T1", "sequence", "items watched", np.arange(n_users), sequences[:, -1] - 1, n_items
    )
    tasks = (
        first,
        ranking("T2", "item clicked", clicks, 1.0, 0),
        ranking("T3", "item liked", likes, relatedness, FLAVOURS // 2 if contradiction else 0),
        profile("T4", "age group", community, 8),
        profile("T5", "gender", flavour, 2),
        profile("T6", "life status", community + flavour, 6),
    )
    dials = shares | {
        "clicks": clicks,
        "likes": likes,
        "contradiction": contradiction,
        "seed": seed,
    }
    info = {
        "source": "generated",
        "licence": "none needed",
        "length": length,
        "split": split,
        "split_seed": split_seed,
    }
    return checked(TaskStream(NAME, sequences, np.arange(n_users), n_items, tasks, info | dials))


def best_possible(stream: TaskStream) -> dict[str, float]:
    """Task -> the metric (MRR@5 or accuracy) of somebody who knows every user's traits and all dials.

    For ranking tasks it is a bound: a label that a user draws twice counts once, which flattens what there is to
    know. Of a stream of pure noise it is the level of chance.
    """
    dial, found = stream.info, {}
    for task in stream.tasks:
        signal = dial["profile_signal" if task.kind == "classification" else "signal"]
        if task.kind == "sequence":
            chances = np.append(
                (1 - dial["structure"]) * _free_choice(dial["taste"], stream.n_items),
                dial["structure"],
            )
        else:
            block = task.n_labels // FLAVOURS if task.kind == "ranking" else 1
            chances = np.full(task.n_labels, (1 - signal) / task.n_labels)
            chances[:block] += signal * _popularity(block)
        worth = np.array([1.0]) if task.kind == "classification" else 1 / np.arange(1, 6)
        best = np.sort(chances)[::-1][: len(worth)]
        found[task.name] = float(best @ worth[: len(best)])
    return found


def _free_choice(taste: float, n_items: int) -> np.ndarray:
    """Chance of each item where no successor is forced; the user's own topic and flavour stand first."""
    own = 0.5 * (taste > 0)
    topic = np.full(COMMUNITIES, (1 - own) / COMMUNITIES)
    flavour = np.full(FLAVOURS, (1 - taste) / FLAVOURS)
    topic[0] += own
    flavour[0] += taste
    return np.outer(
        np.outer(topic, flavour), _popularity(n_items // (COMMUNITIES * FLAVOURS))
    ).ravel()


def _popularity(n: int) -> np.ndarray:
    """Chance of each number that ``_popular`` draws."""
    return np.diff(np.sqrt(np.linspace(0, 1, n + 1)))


def _histories(
    rng: np.random.Generator,
    community: np.ndarray,
    flavour: np.ndarray,
    n_items: int,
    length: int,
    structure: float,
    taste: float,
    half_full: float,
) -> np.ndarray:
    """int32 [U, length]. Item ids are 1 + topic * block + flavour * cell + number in the cell."""
    n, block = len(community), n_items // COMMUNITIES
    cell = block // FLAVOURS
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
    sequences[np.arange(length)[None, :] < (length - kept)[:, None]] = 0
    return sequences


def _popular(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Numbers 0..n-1, the first ones more often (as items are), evenly when n is 1."""
    return (n * rng.random(size) ** 2).astype(np.int64)
