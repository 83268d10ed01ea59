"""What every data source delivers: a task stream, checked, split and with a digest."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from conure_lib.errors import DataError

Kind = Literal["sequence", "ranking", "classification"]
TRAIN, VALIDATION, TEST, UNUSED = 0, 1, 2, 3
PARTS = {"training": TRAIN, "validation": VALIDATION, "test": TEST}
PAD = 0  # the item id that fills a sequence on its left
BLOCK = 1 << 16  # sequences counted at a time: all of them at once would be held as int64
SPLITS = {"80/5/15": (0.80, 0.05), "20/80": (0.20, 0.05)}
"""Shares of the training and the validation part; the rest is the test part. "20/80" keeps 5 points of its 80 for
early stopping. Table 3 is computed with ``Task.thinned`` instead, which leaves the test part as it is."""


@dataclass(frozen=True)
class Task:
    """One task of a stream (paper, section 3.1).

    Parameters
    ----------
    name : str
        T1, T2, ...
    kind : {"sequence", "ranking", "classification"}
        What is predicted: the next item, items to recommend, or one class per user.
    title : str
        The task in words.
    users : int64 array of shape (n,)
        For each instance the row of the stream's user table.
    labels : int64 array of shape (n,)
        For each instance its label, 0..n_labels-1. Instance i of the sequence task is row i of
        ``TaskStream.sequences``, and its label is that sequence's last item (id - 1).
    n_labels : int
        Number of distinct labels.
    split : uint8 array of shape (n,)
        TRAIN (0), VALIDATION (1), TEST (2) or UNUSED (3).
    """

    name: str
    kind: Kind
    title: str
    users: np.ndarray
    labels: np.ndarray
    n_labels: int
    split: np.ndarray

    def rows(self, part: int) -> np.ndarray:
        """Return the row numbers (int64) of the instances in TRAIN, VALIDATION or TEST."""
        return np.flatnonzero(self.split == part)

    def label_counts(self) -> np.ndarray:
        """Count each label in the training part: int64 [n_labels]."""
        return np.bincount(self.labels[self.rows(TRAIN)], minlength=self.n_labels)

    def thinned(self, share: float) -> "Task":
        """Return the task with a random ``share`` of its training part, always the same (Table 3)."""
        if share == 1:
            return self
        rows = self.rows(TRAIN)
        order = np.random.default_rng([len(rows), self.n_labels]).permutation(len(rows))
        split = self.split.copy()
        split[rows[order[max(1, round(share * len(rows))) :]]] = UNUSED
        return replace(self, split=split)

    def notes(self) -> list[str]:
        """Say in a line each why the labels of a classification task may not be learnable."""
        if self.kind != "classification":
            return []
        if self.n_labels == len(self.labels):
            return [
                f"task {self.name}: each of its {self.n_labels} labels occurs once: none can be learned"
            ]
        if unseen := int((self.label_counts() == 0).sum()):
            classes = f"{unseen} of its {self.n_labels} classes"
            return [f"task {self.name}: {classes} never occur in its training part"]
        return []


@dataclass(frozen=True)
class Names:
    """What a stream's numbers stand for: the ids in the tables that it was made of.

    users: [U], by row of the user table. items: [n_items]; item id i of the sequences is ``items[i - 1]``.
    labels: task -> [n_labels], for the tasks after T1.
    """

    users: np.ndarray
    items: np.ndarray
    labels: dict[str, np.ndarray]


@dataclass(frozen=True)
class TaskStream:
    """An ordered list of tasks that share users (paper, section 3.1).

    Parameters
    ----------
    name : str
        The dataset.
    sequences : int32 array of shape (S, L)
        T1's instances: item ids 1..n_items in time order, 0 fills the left.
    input_rows : int64 array of shape (U,)
        For each user the row of ``sequences`` (the latest) that is the input of all tasks after T1.
    n_items : int
        Size of the catalogue.
    tasks : tuple of Task
        T1 first. ``stream["T2"]`` finds a task by its name.
    info : dict
        Where the data comes from, its licence, what was dropped, which readings were taken; JSON-able.
    names : Names, optional
        The tables' ids, of a stream just made from tables; they are not stored with it.
    """

    name: str
    sequences: np.ndarray
    input_rows: np.ndarray
    n_items: int
    tasks: tuple[Task, ...]
    info: dict = field(default_factory=dict)
    names: Names | None = field(default=None, compare=False, repr=False)

    def __getitem__(self, name: str) -> Task:
        """Return the task of that name."""
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
        """Return the stream as it was before the tasks after ``task`` joined it."""
        return replace(self, tasks=self.tasks[: self.tasks.index(self[task]) + 1])

    def item_counts(self) -> np.ndarray:
        """Count each item in T1's training sequences: int64 [n_items], by item id minus one."""
        rows, counts = self.tasks[0].rows(TRAIN), np.zeros(self.n_items + 1, dtype=np.int64)
        for start in range(0, len(rows), BLOCK):
            block = self.sequences[rows[start : start + BLOCK]]
            counts += np.bincount(block.ravel(), minlength=len(counts))
        return np.delete(counts, PAD)

    def digest(self) -> str:
        """Return the SHA-256 of all that a result can depend on (arrays, kinds, sizes), not ``info``."""
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
        """Return one row per task, as in Table 1: kind, instances, labels, users, sizes of the parts."""
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

    def notes(self) -> list[str]:
        """Say in a line each what a user should know: rows dropped, readings taken, labels not learnable."""
        dropped = "; ".join(
            f"{count} {what}" for what, count in self.info.get("dropped", {}).items()
        )
        lines = [f"dropped: {dropped}"] if dropped else []
        lines += self.info.get("notes", [])
        return lines + [note for task in self.tasks for note in task.notes()]


def draw_split(n: int, shares: str, seed: int, salt: str) -> np.ndarray:
    """Split n instances at random (paper, section 6.1): uint8 [n], the same for the same arguments.

    Raises DataError when n is too small to fill every part.
    """
    train, validation = SPLITS[shares]
    n_train, n_validation = round(n * train), max(1, round(n * validation))
    if n_train < 1 or n - n_train - n_validation < 1:
        raise DataError(
            f"task {salt}: found {n} instances, expected enough to fill every part of {shares}"
        )
    key = int.from_bytes(hashlib.sha256(f"{salt}/{shares}".encode()).digest()[:8], "big")
    order = np.random.default_rng([seed, key]).permutation(n)
    split = np.full(n, TEST, dtype=np.uint8)
    split[order[:n_train]] = TRAIN
    split[order[n_train : n_train + n_validation]] = VALIDATION
    return split


def distinct(values: np.ndarray) -> np.ndarray:
    """Return the distinct values, ascending. ``np.unique`` hashes: far slower for millions of pairs.

    Instances mostly stand in the order of their users, which a stable sort makes use of.
    """
    ordered = np.sort(values, kind="stable")
    new = np.ones(len(ordered), dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return ordered[new]


def check(stream: TaskStream) -> TaskStream:
    """Return the stream if all holds that the rest of the library relies on, else raise DataError."""
    for problem in _problems(stream):
        raise DataError(f"{stream.name}: {problem}; correct the data")
    return stream


def _problems(stream: TaskStream) -> Iterator[str]:
    """Name what is wrong with a stream; each check relies on those before it."""
    sequences, tasks = stream.sequences, stream.tasks
    if not tasks or [t.kind == "sequence" for t in tasks] != [True] + [False] * (len(tasks) - 1):
        yield "the first task, and no other, must be a sequence task"
    if odd := [t.kind for t in tasks if t.kind not in get_args(Kind)]:
        yield f"found a task of kind {odd[0]!r}, expected one of {', '.join(get_args(Kind))}"
    names = [t.name for t in tasks]
    if len(set(names)) < len(names):
        yield f"task names repeat: {names}"
    if sequences.ndim != 2 or sequences.shape[1] < 2 or not len(sequences):
        yield f"sequences have shape {sequences.shape}, expected [S >= 1, L >= 2]"
    if len(sequences) != len(tasks[0].users):
        yield "the sequence task needs one user per sequence"
    if (sequences[:, -2:] == PAD).any():
        yield "a sequence has fewer than two items at its end (padding belongs on the left)"
    known = sequences != PAD
    if (known[:, :-1] > known[:, 1:]).any():
        yield "padding stands inside a sequence"
    if sequences.min() < 0 or sequences.max() > stream.n_items:
        yield f"an item id lies outside 1..{stream.n_items}"
    if (
        not stream.n_users
        or stream.input_rows.min() < 0
        or stream.input_rows.max() >= len(sequences)
    ):
        yield f"input_rows must hold a row of sequences, 0..{len(sequences) - 1}, for each user"
    if (tasks[0].users[stream.input_rows] != np.arange(stream.n_users)).any():
        yield "input_rows gives a user somebody else's sequence"
    for task in tasks:
        yield from _task_problems(task, stream.n_users)
    if tasks[0].n_labels != stream.n_items:
        yield f"{tasks[0].name} has {tasks[0].n_labels} labels, expected {stream.n_items}"
    if (tasks[0].labels != sequences[:, -1].astype(np.int64) - 1).any():
        yield f"a label of {tasks[0].name} is not its sequence's last item"


def _task_problems(task: Task, n_users: int) -> Iterator[str]:
    where = f"task {task.name}"
    if not len(task.users):
        yield f"{where} ({task.title}) is empty"
    if not len(task.users) == len(task.labels) == len(task.split):
        yield f"{where}: arrays differ in length"
    if task.users.min() < 0 or task.users.max() >= n_users:
        yield f"{where}: a label of an unknown user"
    if task.labels.min() < 0 or task.labels.max() >= task.n_labels:
        yield f"{where}: a label outside 0..{task.n_labels - 1}"
    if task.n_labels < 2:
        yield f"{where}: found {task.n_labels} distinct label, expected at least 2"
    for word, part in PARTS.items():
        if not (task.split == part).any():
            yield f"{where}: its {word} part is empty"
    if task.kind != "sequence":
        pairs = distinct(task.users.astype(np.int64) * task.n_labels + task.labels)
        if len(pairs) < len(task.users):
            yield f"{where} holds a (user, label) instance twice"
