"""What every data source delivers: a task stream, checked, split, with a digest, and stored."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import safetensors.numpy
import safetensors.torch

from conure_lib.errors import DataError
from conure_lib.files import atomic_folder, read_json, regular, write_json

Kind = Literal["sequence", "ranking", "classification"]
KINDS = get_args(Kind)
TRAIN, VALIDATION, TEST, UNUSED = 0, 1, 2, 3
PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
PAD = 0  # the item id that fills a sequence on its left
COUNTED_AT_ONCE = 1 << 16  # sequences counted at a time: all of them at once would be held as int64
BLOCKS = 20  # that a task's instances fall into; those of block 20 are left out
FOLD_SEEDS = (1, 2, 3, 4, 5, 6)
"""Seeds whose test parts, of three blocks each, do not overlap and hold 90% of all instances."""
Split = Literal["folds", "80/5/15", "20/80"]
TEST_BLOCKS = {"80/5/15": slice(1, 4), "20/80": slice(1, 16)}
MIN_INSTANCES = 7  # instances of a task: no part of any fold is empty
STORED, MANIFEST = "stream.safetensors", "manifest.json"
ARRAYS = ("users", "labels", "blocks")  # of each task


def parts_of(split: Split, seed: int) -> np.ndarray:
    """Return which part each block belongs to with a seed: uint8 [BLOCKS + 1]; see ``fold``."""
    parts = np.full(BLOCKS + 1, TRAIN, dtype=np.uint8)
    parts[BLOCKS] = UNUSED
    if split == "folds":
        number = seed - 1 if seed in FOLD_SEEDS else seed % len(FOLD_SEEDS)
        parts[:2] = VALIDATION
        parts[3 * number + 2 : 3 * number + 5] = TEST if seed in FOLD_SEEDS else UNUSED
    else:
        parts[0] = VALIDATION
        parts[TEST_BLOCKS[split]] = TEST
    return parts


@dataclass(frozen=True)
class Task:
    """One task of a stream (paper, section 3.1): n instances, each with a user and a label.

    Instance i of the sequence task is row i of ``TaskStream.sequences``, labelled by its last item.
    """

    name: str  #: T1, T2, ...
    #: "sequence" (predicts the next item), "ranking" (items to recommend) or "classification" (one
    #: class per user).
    kind: Kind
    title: str  #: the task in words
    users: np.ndarray  #: the user's row: int64 [n]
    labels: np.ndarray  #: 0..``n_labels``-1: int64 [n]
    n_labels: int
    blocks: np.ndarray  #: 0..``BLOCKS``-1, a balanced random draw; BLOCKS: left out; uint8 [n]
    #: For each block TRAIN (0), VALIDATION (1), TEST (2) or UNUSED (3); see ``TaskStream.fold``.
    parts: np.ndarray = field(default_factory=lambda: parts_of("folds", 1))

    @property
    def split(self) -> np.ndarray:
        """Each instance's part: uint8 [n]."""
        return self.parts[self.blocks]

    def rows(self, part: int) -> np.ndarray:
        """Return the row numbers (int64) of the instances in TRAIN, VALIDATION or TEST."""
        return np.flatnonzero(self.split == part)

    def thinned(self, share: float) -> "Task":
        """Return the task with a random share of its training part, always the same (Table 3)."""
        if share == 1:
            return self
        rows = self.rows(TRAIN)
        order = np.random.default_rng([len(rows), self.n_labels]).permutation(len(rows))
        blocks = self.blocks.copy()
        blocks[rows[order[max(1, round(share * len(rows))) :]]] = BLOCKS
        return replace(self, blocks=blocks)


@dataclass(frozen=True)
class Names:
    """What a stream's numbers stand for: the ids in the tables that it was made of."""

    users: np.ndarray  # [n_users]
    items: np.ndarray  # [n_items]; item id i is items[i - 1]
    labels: dict[str, np.ndarray]  # task after T1 -> [n_labels]


@dataclass(frozen=True)
class TaskStream:
    """An ordered list of tasks that share users (paper, section 3.1)."""

    name: str  #: the dataset
    sequences: np.ndarray  #: T1's: ids 1..n_items in time order, 0 on the left; int32 [S, L]
    #: For each user the latest row of ``sequences``, the input of the later tasks: int64 [U].
    input_rows: np.ndarray
    n_items: int  #: the size of the catalogue
    tasks: tuple[Task, ...]  #: T1 first; ``stream["T2"]`` finds a task by its name
    info: dict = field(default_factory=dict)  #: origin, licence, rows dropped, notes, as JSON
    #: The ids of tables just read; not stored.
    names: Names | None = field(default=None, compare=False, repr=False)
    split: Split = "folds"  #: how ``fold`` makes parts of the blocks
    groups: np.ndarray | None = None  #: maybe each user's group (a course), from 0: int32 [U]

    def __getitem__(self, name: str) -> Task:
        """Return the task of that name."""
        tasks = {task.name: task for task in self.tasks}
        if name not in tasks:
            raise KeyError(f"{self.name} has no task {name!r}; it has {', '.join(tasks)}")
        return tasks[name]

    @property
    def n_users(self) -> int:
        """Users of the stream, each with a T1 sequence."""
        return len(self.input_rows)

    def until(self, task: str) -> "TaskStream":
        """Return the stream as it was before the tasks after ``task`` joined it."""
        return replace(self, tasks=self.tasks[: self.tasks.index(self[task]) + 1])

    def fold(self, seed: int) -> "TaskStream":
        """Return the stream with the parts that belong to a seed; one just loaded is at seed 1.

        "folds": blocks 0 and 1 validate, always. Seeds 1..6 test on three blocks of their own and
        train on the other 15; other seeds, of a search, leave three blocks unused and test nothing.
        "80/5/15" and "20/80": shares of training, validation and test part, the same for all seeds;
        "20/80" keeps 5 of its 80 for early stopping.
        """
        parts = parts_of(self.split, seed)
        return replace(self, tasks=tuple(replace(task, parts=parts) for task in self.tasks))

    def label_counts(self, task: Task) -> np.ndarray:
        """Count a task's labels in the training part, for T1 all items: int64 [n_labels]."""
        if task.kind != "sequence":
            return np.bincount(task.labels[task.rows(TRAIN)], minlength=task.n_labels)
        rows, n = task.rows(TRAIN), self.n_items + 1
        some = np.array_split(rows, len(rows) // COUNTED_AT_ONCE + 1)
        return sum(np.bincount(self.sequences[r].ravel(), minlength=n) for r in some)[PAD + 1 :]

    def digest(self) -> str:
        """Return the SHA-256 of all that a result can depend on: arrays, kinds, sizes."""
        head = [self.name, self.n_items, len(self.tasks), self.split]
        sha = hashlib.sha256(json.dumps(head).encode())
        arrays = [self.sequences, self.input_rows]
        for t in self.tasks:
            sha.update(json.dumps([t.name, t.kind, t.n_labels]).encode())
            arrays += [t.users, t.labels, t.blocks]
        arrays += [] if self.groups is None else [self.groups]
        for array in arrays:
            sha.update(str((array.dtype.str, array.shape)).encode())
            sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()

    def describe(self) -> list[dict]:
        """Return one row per task as in Table 1: kind, labels, users, sizes of the parts."""
        rows = []
        for t in self.tasks:
            users = int(np.count_nonzero(np.bincount(t.users)))
            row = {"dataset": self.name, "task": t.name, "kind": t.kind, "what": t.title}
            row |= {"instances": len(t.users), "labels": t.n_labels, "users": users}
            rows.append(row | {word: len(t.rows(part)) for word, part in PARTS.items()})
        return rows

    def notes(self) -> list[str]:
        """Say in a line each what to know: rows dropped, columns unused, labels not learnable."""
        dropped = [f"{count} {what}" for what, count in self.info.get("dropped", {}).items()]
        notes = [f"dropped: {'; '.join(dropped)}"] if dropped else []
        if (shared := self.info.get("shared_time", {"events": 0}))["events"]:
            found = f"{shared['events']} events of T1 ({shared['share']:.1%})"
            notes.append(f"{found} share their time with another of the user: in random order")
        notes += self.info.get("notes", [])
        for task in (task for task in self.tasks if task.kind == "classification"):
            found = f"task {task.name}: found {task.n_labels} classes"
            if task.n_labels == len(task.labels):
                notes.append(f"{found}, each with one user: nothing can be learned")
            elif unseen := np.count_nonzero(self.label_counts(task) == 0):
                notes.append(f"{found}, {unseen} of them never in the training part")
        return notes


def draw_blocks(n: int, seed: int, salt: str) -> np.ndarray:
    """Draw the blocks of n instances, sizes differing by one at most: uint8 [n], repeatable."""
    if n < MIN_INSTANCES:
        expected = (
            f"expected at least {MIN_INSTANCES}; min_events and min_label_count leave some out"
        )
        raise DataError(f"task {salt}: found {n} instances, {expected}")
    key = int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], "big")
    return (np.random.default_rng([seed, key]).permutation(n) * BLOCKS // n).astype(np.uint8)


def check(stream: TaskStream) -> TaskStream:
    """Return the stream if all holds that the library relies on, else raise DataError."""

    def demand(holds: bool, problem: str) -> None:
        if not holds:
            raise DataError(f"{stream.name}: {problem}; correct the data")

    def within(values: np.ndarray, n: int) -> bool:
        return values.min() >= 0 and values.max() < n

    sequences, rows, n_users = stream.sequences, stream.input_rows, stream.n_users
    tasks, first, shape = stream.tasks, stream.tasks[0], stream.sequences.shape
    names, n = [task.name for task in tasks], len(first.users)
    alone = [task.name for task in tasks if task.kind == "sequence"] == names[:1]
    demand(alone, "the first task, and no other, must be the sequence task")
    demand(len(set(names)) == len(names), f"task names repeat: {names}")
    fits = len(shape) == 2 and shape[0] == n and shape[1] >= 2
    demand(fits, f"sequences: found shape {shape}, expected [{n} instances of T1, L >= 2]")
    for t in tasks:
        where, n_labels = f"task {t.name}", t.n_labels
        demand(t.kind in KINDS, f"{where}, kind: found {t.kind!r}, expected one of {KINDS}")
        same = len(t.users) == len(t.labels) == len(t.blocks) > 0
        demand(same, f"{where} is empty, or its arrays differ in length")
        demand(within(t.users, n_users), f"{where}: a label of an unknown user")
        demand(within(t.labels, n_labels), f"{where}: a label outside 0..{n_labels - 1}")
        demand(n_labels >= 2, f"{where}: found {n_labels} distinct label, expected 2 or more")
        demand(within(t.blocks, BLOCKS + 1), f"{where}: a block outside 0..{BLOCKS}")
        for word, part in PARTS.items():
            demand((t.split == part).any(), f"{where}: its {word} part is empty")
        pairs = np.sort(t.users.astype(np.int64) * n_labels + t.labels, kind="stable")
        once = t.kind == "sequence" or (pairs[1:] > pairs[:-1]).all()
        demand(once, f"{where} holds a (user, label) instance twice")
    groups = np.zeros(n_users) if stream.groups is None else stream.groups
    demand(len(groups) == n_users and groups.min() >= 0, "groups must hold one of each user")
    known, last = sequences != PAD, sequences[:, -1] - 1
    padded = known[:, -2:].all() and (known[:, :-1] <= known[:, 1:]).all()
    demand(padded, "a sequence must have two items at its end, and padding on its left only")
    demand(within(sequences, stream.n_items + 1), f"an item id outside 1..{stream.n_items}")
    own = within(rows, n) and (first.users[rows] == np.arange(n_users)).all()
    demand(own, "input_rows must hold for every user a row of sequences, the user's own")
    follows = first.n_labels == stream.n_items and (first.labels == last).all()
    demand(follows, "T1's labels must be its sequences' last items, out of all items")
    return stream


def save_stream(stream: TaskStream, folder: Path) -> None:
    """Write the stream and its manifest (counts, sources, digest) into a new folder, atomically."""
    arrays = {"sequences": stream.sequences, "input_rows": stream.input_rows}
    arrays |= {} if stream.groups is None else {"groups": stream.groups}
    for task in stream.tasks:
        arrays |= {f"{task.name}.{a}": getattr(task, a) for a in ARRAYS}
    manifest = {name: getattr(stream, name) for name in ("name", "n_users", "n_items", "split")}
    manifest |= {"digest": stream.digest(), "tasks": stream.describe(), "info": stream.info}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with atomic_folder(folder) as part:
        safetensors.numpy.save_file(arrays, part / STORED)
        write_json(part / MANIFEST, manifest)


def load_stream(folder: Path) -> TaskStream:
    """Load a stream with its arrays mapped (changes stay in memory); DataError if damaged."""
    fix = f"delete the folder {folder} and it is prepared anew"
    try:
        manifest = read_json(folder / MANIFEST)
        mapped = safetensors.torch.load_file(regular(folder / STORED))  # numpy would not map it
        arrays = {name: tensor.numpy() for name, tensor in mapped.items()}
        tasks = []
        for t in manifest["tasks"]:
            own = {a: arrays[f"{t['task']}.{a}"] for a in ARRAYS}
            tasks.append(Task(t["task"], t["kind"], str(t["what"]), n_labels=t["labels"], **own))
        first = manifest["name"], arrays["sequences"], arrays["input_rows"], manifest["n_items"]
        last = dict(manifest["info"]), None, manifest["split"], arrays.get("groups")
        stream = TaskStream(*first, tuple(tasks), *last).fold(1)
        if (found := stream.digest()) != manifest["digest"]:
            raise ValueError(f"digest {found} in {STORED}, not {manifest['digest']!r}")
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise DataError(f"{folder}: found {error!r}, expected a prepared stream; {fix}") from error
    return stream
