"""What every data source delivers: a task stream, checked, split and with a digest."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from conure_lib.errors import DataError

Kind = Literal["sequence", "ranking", "classification"]
TRAIN, VALIDATION, TEST, UNUSED = 0, 1, 2, 3
PAD = 0  # the item id that fills a sequence on its left
MAX_LENGTH = 1 << 16  # items of a sequence
MAX_INT = 2**31 - 1  # of a size or a seed
BLOCK = 1 << 16  # sequences counted at a time: all of them at once would be held as int64
SPLITS = {"80/5/15": (0.80, 0.05, 0.15), "20/80": (0.20, 0.05, 0.75)}
"""Shares of train, validation, test. "20/80" trains on few; of the rest 5 points are for early stopping, 75 are
the test part. Table 3 is computed with ``Task.thinned`` instead, which leaves the test part as it is."""


def demand_whole(name: str, least: int, most: int, **values: object) -> None:
    """Raises DataError for a value that is no whole number from ``least`` to ``most``. name: of the dataset."""
    for option, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            found = f"{name}: {option}={repr(value)[:80]}"
            raise DataError(f"{found}; wanted: a whole number from {least} to {most}")


@dataclass(frozen=True)
class Task:
    """One task of a stream (paper, section 3.1).

    users: int64 [n], row of the stream's user table per instance. labels: int64 [n], 0..n_labels-1; for the
    sequence task instance i is row i of ``TaskStream.sequences`` and its label is the last item (id - 1).
    split: uint8 [n], 0 train, 1 validation, 2 test, 3 unused.
    """

    name: str
    kind: Kind
    title: str
    users: np.ndarray
    labels: np.ndarray
    n_labels: int
    split: np.ndarray

    def rows(self, part: int) -> np.ndarray:
        """Row numbers (int64) of the instances in one part: TRAIN, VALIDATION or TEST."""
        return np.flatnonzero(self.split == part)

    def label_counts(self) -> np.ndarray:
        """How often each label occurs in the training part: int64 [n_labels]."""
        return np.bincount(self.labels[self.rows(TRAIN)], minlength=self.n_labels)

    def thinned(self, share: float) -> "Task":
        """The same task with a random ``share`` of its training instances, always the same ones (Table 3)."""
        if share == 1:
            return self
        rows = self.rows(TRAIN)
        order = np.random.default_rng([len(rows), self.n_labels]).permutation(len(rows))
        split = self.split.copy()
        split[rows[order[max(1, round(share * len(rows))) :]]] = UNUSED
        return replace(self, split=split)


@dataclass(frozen=True)
class Names:
    """What a stream's numbers stand for: the ids in the tables that it was made of.

    users: [U], by row of the user table. items: [n_items]; item id i of the sequences is ``items[i - 1]``.
    labels: task -> [n_labels], for tasks after T1. Numbers or strings.
    """

    users: np.ndarray
    items: np.ndarray
    labels: dict[str, np.ndarray]


@dataclass(frozen=True)
class TaskStream:
    """An ordered list of tasks that share users (paper, section 3.1).

    sequences: int32 [S, L], T1's instances, item ids 1..n_items in time order, 0 fills the left.
    input_rows: int64 [U], for each user the row of ``sequences`` (the latest one) that is the input of all
    tasks after T1. info: where the data comes from, its licence and the readings taken; JSON-able.
    names: of a stream just made from tables; they are not stored with it.
    """

    name: str
    sequences: np.ndarray
    input_rows: np.ndarray
    n_items: int
    tasks: tuple[Task, ...]
    info: dict = field(default_factory=dict)
    names: Names | None = field(default=None, compare=False, repr=False)

    def __getitem__(self, name: str) -> Task:
        for task in self.tasks:
            if task.name == name:
                return task
        raise KeyError(
            f"{self.name} has no task {name!r}; it has {', '.join(t.name for t in self.tasks)}"
        )

    @property
    def n_users(self) -> int:
        """Users of the stream, each with a T1 sequence."""
        return len(self.input_rows)

    def until(self, task: str) -> "TaskStream":
        """The stream as it was before the tasks behind ``task`` joined it."""
        last = self.tasks.index(self[task])
        return replace(self, tasks=self.tasks[: last + 1])

    def item_counts(self) -> np.ndarray:
        """How often each item occurs in T1's training sequences: int64 [n_items], item id minus one."""
        rows, counts = self.tasks[0].rows(TRAIN), np.zeros(self.n_items + 1, dtype=np.int64)
        for start in range(0, len(rows), BLOCK):
            counts += np.bincount(
                self.sequences[rows[start : start + BLOCK]].ravel(), minlength=len(counts)
            )
        return np.delete(counts, PAD)

    def digest(self) -> str:
        """SHA-256 over everything a result can depend on (arrays, kinds, sizes), not over ``info``."""
        sha = hashlib.sha256(json.dumps([self.name, self.n_items, len(self.tasks)]).encode())
        arrays = [self.sequences, self.input_rows]
        for t in self.tasks:
            sha.update(json.dumps([t.name, t.kind, t.n_labels]).encode())
            arrays += [t.users, t.labels, t.split]
        for array in arrays:
            sha.update(str((array.dtype.str, array.shape)).encode())
            sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()

    def describe(self) -> list[dict]:
        """Table 1's row per task: kind, number of instances, labels, users, and the parts' sizes."""
        return [
            {
                "dataset": self.name,
                "task": t.name,
                "kind": t.kind,
                "what": t.title,
                "instances": len(t.users),
                "labels": t.n_labels,
                "users": int(np.count_nonzero(np.bincount(t.users))),
                "train": int((t.split == TRAIN).sum()),
                "validation": int((t.split == VALIDATION).sum()),
                "test": int((t.split == TEST).sum()),
            }
            for t in self.tasks
        ]


def draw_split(n: int, shares: str, seed: int, salt: str) -> np.ndarray:
    """A random split by instance (paper, section 6.1): uint8 [n]; the same for the same arguments.

    Raises DataError for unknown shares, a bad seed, or when n is too small to fill every part.
    """
    demand_whole(f"task {salt}", 0, MAX_INT, split_seed=seed)
    if not isinstance(shares, str) or shares not in SPLITS:
        raise DataError(f"split {shares!r} is unknown; use one of {', '.join(SPLITS)}")
    train, validation, _ = SPLITS[shares]
    n_train, n_validation = round(n * train), max(1, round(n * validation))
    if n_train < 1 or n - n_train - n_validation < 1:
        raise DataError(
            f"task {salt}: {n} instances are too few to split {shares}; wanted some for every part"
        )
    key = int.from_bytes(hashlib.sha256(f"{salt}/{shares}".encode()).digest()[:8], "big")
    order = np.random.default_rng([seed, key]).permutation(n)
    split = np.full(n, TEST, dtype=np.uint8)
    split[order[:n_train]] = TRAIN
    split[order[n_train : n_train + n_validation]] = VALIDATION
    return split


def distinct(values: np.ndarray) -> np.ndarray:
    """The distinct values, ascending. ``np.unique`` hashes, which is far slower for millions of pairs.

    Instances mostly stand in the order of their users, which a stable sort makes use of.
    """
    ordered = np.sort(values, kind="stable")
    new = np.ones(len(ordered), dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return ordered[new]


def checked(stream: TaskStream) -> TaskStream:
    """Returns the stream if everything that the rest of the library relies on holds, else raises DataError."""
    sequences, tasks = stream.sequences, stream.tasks

    def demand(ok: bool, message: str) -> None:
        if not ok:
            raise DataError(f"{stream.name}: {message}; correct the data")

    demand(bool(tasks) and tasks[0].kind == "sequence", "the first task must be the sequence task")
    demand(
        all(t.kind != "sequence" for t in tasks[1:]), "only the first task may be a sequence task"
    )
    demand(
        all(t.kind in get_args(Kind) for t in tasks),
        f"a task's kind is none of {', '.join(get_args(Kind))}",
    )
    names = [t.name for t in tasks]
    demand(len(set(names)) == len(names), f"task names repeat: {names}")
    demand(
        sequences.ndim == 2 and sequences.shape[1] >= 2,
        f"sequences have shape {sequences.shape}, not [S, L>=2]",
    )
    demand(len(sequences) > 0, "there is no sequence")
    demand(len(sequences) == len(tasks[0].users), "the sequence task needs one user per sequence")
    demand(
        bool((sequences[:, -2:] != PAD).all()),
        "a sequence has fewer than two items at its end (left padding)",
    )
    known = sequences != PAD
    demand(bool((known[:, :-1] <= known[:, 1:]).all()), "padding stands inside a sequence")
    demand(
        sequences.min() >= 0 and sequences.max() <= stream.n_items,
        f"an item id lies outside 1..{stream.n_items}",
    )
    demand(stream.n_users > 0 and stream.input_rows.min() >= 0, "a user has no T1 sequence")
    demand(stream.input_rows.max() < len(sequences), "input_rows points behind the last sequence")
    own = tasks[0].users[stream.input_rows] == np.arange(stream.n_users)
    demand(bool(own.all()), "input_rows gives a user somebody else's sequence")
    for t in tasks:
        demand(len(t.users) > 0, f"task {t.name} ({t.title}) is empty")
        demand(
            len(t.users) == len(t.labels) == len(t.split), f"task {t.name}: arrays differ in length"
        )
        demand(
            t.users.min() >= 0 and t.users.max() < stream.n_users,
            f"task {t.name}: a label of an unknown user",
        )
        demand(
            t.labels.min() >= 0 and t.labels.max() < t.n_labels,
            f"task {t.name}: label outside 0..{t.n_labels - 1}",
        )
        demand(
            t.n_labels >= 2, f"task {t.name} has {t.n_labels} distinct label; at least 2 are needed"
        )
        for part, word in ((TRAIN, "training"), (VALIDATION, "validation"), (TEST, "test")):
            demand(bool((t.split == part).any()), f"task {t.name}: its {word} part is empty")
        if t.kind != "sequence":
            pairs = distinct(t.users.astype(np.int64) * t.n_labels + t.labels)
            demand(
                len(pairs) == len(t.users), f"task {t.name} holds a (user, label) instance twice"
            )
    first = tasks[0]
    demand(
        first.n_labels == stream.n_items,
        f"{first.name} has {first.n_labels} labels, not {stream.n_items}",
    )
    own = first.labels == sequences[:, -1].astype(np.int64) - 1
    demand(bool(own.all()), f"a label of {first.name} is not its sequence's last item")
    return stream
