"""`ttl`: the authors' text files (Tencent TL: QQ Browser, Kandian, profiles) as a task stream.

T1 file, one line per user: ``0,0,17,5,92``, item ids padded with 0 on the left. The other files: the same
sequence as the user's key, two commas, labels: ``0,0,17,5,92,,3,8``. Paper: section 6.1, Table 1.
"""

import io
import re
from array import array
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b

import numpy as np
import pandas as pd

from conure_lib.data.options import (
    Count,
    Length,
    OnProblem,
    Seed,
    SourcePath,
    Split,
    checked_options,
)
from conure_lib.data.stream import PAD, Kind, Task, TaskStream, check, draw_split
from conure_lib.data.text_tables import Field, Layout, bad_line, read_source
from conure_lib.errors import DataError

TASKS: dict[str, tuple[str, Kind, str]] = {
    "T1": ("original_desen_pretrain.csv", "sequence", "watched items (QQ Browser), in time order"),
    "T2": ("original_desen_finetune_click_nouserID.csv", "ranking", "clicked items (Kandian)"),
    "T3": ("original_desen_finetune_like_nouserID.csv", "ranking", "liked items (Kandian)"),
    "T4": ("original_desen_age.csv", "classification", "age group"),
    "T5": ("original_desen_gender.csv", "classification", "gender"),
    "T6": ("original_desen_lifestatus.csv", "classification", "life status"),
}
"""Task: file name in the authors' release, kind, title."""
NUMBER = r"\d{1,9}"
LABELS = re.compile(rf"{NUMBER}(,{NUMBER})*")
REPEATED = -1  # marks a sequence that occurs more than once
LICENCE = "released by the paper's authors, on their terms: see the page that the files came from"


@checked_options("ttl")
def build(
    *,
    path: SourcePath,
    files: Mapping[str, str] | None = None,
    length: Length = 100,
    duplicates: OnProblem = "error",
    unknown_users: OnProblem = "error",
    min_label_count: Count = 1,
    split: Split = "80/5/15",
    split_seed: Seed = 0,
) -> TaskStream:
    """Build the stream in the folder ``path``: T1 and those of T2..T6 that ``files`` names.

    Parameters
    ----------
    path : path
        The folder.
    files : mapping, optional
        Task -> file name, by default the names in ``TASKS``; T1 and at least one more.
    length : int, default 100
        Items per line.
    duplicates : {"error", "drop"}
        What to do about equal T1 sequences, whose users cannot be told apart: "drop" drops them all, with
        their labels.
    unknown_users : {"error", "drop"}
        What to do about label lines whose sequence is not in T1.
    min_label_count, split, split_seed
        See ``assemble``.

    Returns
    -------
    TaskStream

    Raises
    ------
    DataError
        Names file, line, field, what was found and what is expected.
    """
    names = files or {task: name for task, (name, _, _) in TASKS.items()}
    if not names.keys() <= TASKS.keys() or "T1" not in names or len(names) < 2:
        known = ", ".join(list(TASKS)[1:])
        raise DataError(
            f"ttl, files: found {names}, expected names for T1 and at least one of {known}"
        )
    if not path.is_dir():
        raise DataError(
            f"{path}: found a file, expected the folder with {', '.join(names.values())}"
        )

    text, file, digest = read_source(path, names["T1"])
    sequences = _sequences(text, file, length)
    users = _users(text, file, duplicates)
    kept = np.zeros(len(sequences), dtype=bool)
    kept[np.fromiter((row for row in users.values() if row != REPEATED), dtype=np.int64)] = True
    new_row, dropped = np.cumsum(kept) - 1, {}
    if repeated := int((~kept).sum()):
        dropped["T1 sequences that occur more than once"] = repeated
        sequences = sequences[kept]
    info = {"source": "the authors' text files", "files": {names["T1"]: digest}, "licence": LICENCE}
    info |= {"length": length, "min_label_count": min_label_count, "split": split}
    info |= {"split_seed": split_seed, "dropped": dropped, "classes": {}}
    n_items, rows = _compact(sequences), np.arange(len(sequences), dtype=np.int64)
    last, parts = (
        sequences[:, -1].astype(np.int64) - 1,
        draw_split(len(rows), split, split_seed, "T1"),
    )
    tasks = [Task("T1", "sequence", TASKS["T1"][2], rows, last, n_items, parts)]
    for name in sorted(names.keys() - {"T1"}):
        _, kind, title = TASKS[name]
        text, file, info["files"][names[name]] = read_source(path, names[name])
        table, unknown = _labels(text, file, kind, users, length, unknown_users)
        if unknown:
            dropped[f"label lines of {name}, of users that are unknown or dropped"] = unknown
        if kind == "ranking" and min_label_count > 1:
            frequent = table.groupby("label")["label"].transform("size") >= min_label_count
            if rare := int((~frequent).sum()):
                dropped[f"labels of {name} that occur less than {min_label_count} times"] = rare
            table = table[frequent]
        values, labels = np.unique(table["label"].to_numpy(), return_inverse=True)
        if kind == "classification":
            info["classes"][name] = [str(value) for value in values]
        parts = draw_split(len(table), split, split_seed, name)
        tasks.append(Task(name, kind, title, new_row[table["row"]], labels, len(values), parts))
    return check(TaskStream("ttl", sequences, rows, n_items, tuple(tasks), info))


@cache
def _line(length: int) -> Layout:
    """Return the layout of a sequence."""
    fields = [
        Field(f"item {place}", NUMBER, "a whole number from 0 to 999999999")
        for place in range(1, length + 1)
    ]
    return Layout(
        ",", tuple(fields), fix="pad or cut the line, or pass its number of items as length"
    )


def _sequences(text: bytes, file: str, length: int) -> np.ndarray:
    """Read T1's lines as int32 [lines, length], block by block: memory stays near the result's."""
    line, row = _line(length), 0
    sequences = np.empty((text.count(b"\n"), length), dtype=np.int32)
    for batch in line.numbers(text, file):
        for place, column in enumerate(batch.columns):
            sequences[row : row + len(batch), place] = column.to_numpy()
        row += len(batch)
    if sequences.max() > 999_999_999:
        line.reject(text, file)
    gap = ((sequences[:, :-1] != PAD) & (sequences[:, 1:] == PAD)).any(axis=1)
    for wrong, found, expected in (
        (gap, "padding (0) after an item", "padding on the left only"),
        (sequences[:, -2] == PAD, "fewer than two items", "at least two"),
    ):
        if wrong.any():
            at = int(np.argmax(wrong)) + 1
            raise bad_line(file, at, "sequence", found, expected, "correct or drop the line")
    return sequences


def _key(sequence: bytes) -> bytes:
    """Stand for a sequence as it is written; 16 bytes keep the table of 1.5 million users small."""
    return blake2b(sequence, digest_size=16).digest()


def _users(text: bytes, file: str, duplicates: str) -> dict[bytes, int]:
    """Map the key of each distinct T1 sequence to its row, or to REPEATED."""
    users: dict[bytes, int] = {}
    for row, content in enumerate(io.BytesIO(text)):
        first = users.setdefault(key := _key(content.rstrip(b"\r\n")), row)
        if first != row:
            if duplicates == "error":
                found = f"the same sequence as in line {first + 1}"
                fix = "their users cannot be told apart: drop the lines, or pass duplicates='drop'"
                raise bad_line(file, row + 1, "sequence", found, "each sequence once", fix)
            users[key] = REPEATED
    return users


def _compact(sequences: np.ndarray) -> int:
    """Renumber the items 1..n in place, block by block, padding stays 0; return n."""
    ids = np.sort(pd.unique(sequences.ravel()))
    ids = ids[ids != PAD]
    for start in range(0, len(sequences), 65536):
        block = sequences[start : start + 65536]
        block[block != PAD] = np.searchsorted(ids, block[block != PAD]) + 1
    return len(ids)


def _labels(
    text: bytes, file: str, kind: Kind, users: dict[bytes, int], length: int, unknown_users: str
) -> tuple[pd.DataFrame, int]:
    """Read row (T1 line), label and line of each instance; and count the lines that were dropped."""
    flat, dropped = array("q"), 0  # row, label, line of each instance, one after the other
    for line, content in enumerate(io.BytesIO(text), 1):
        sequence, _, tail = content.rstrip(b"\r\n").partition(b",,")
        labels = tail.decode("ascii")
        if not LABELS.fullmatch(labels):
            expected = "'sequence,,label' or 'sequence,,label,label,...' with whole numbers"
            raise bad_line(file, line, "labels", labels, expected)
        row = users.get(_key(sequence))
        if row is None:
            _line(length).check(sequence.decode("ascii"), file, line)
            if unknown_users == "error":
                fix, found = "drop the line, or pass unknown_users='drop'", sequence.decode("ascii")
                raise bad_line(file, line, "sequence", found, "a sequence of the T1 file", fix)
        if row is None or row == REPEATED:
            dropped += 1
            continue
        for label in labels.split(","):
            flat.extend((row, int(label), line))
    table = pd.DataFrame(np.array(flat).reshape(-1, 3), columns=["row", "label", "line"])
    repeated = table.duplicated(["row"] if kind == "classification" else ["row", "label"])
    if repeated.any():
        _, label, line = table[repeated].iloc[0].tolist()
        expected = "one label per user" if kind == "classification" else "each label of a user once"
        raise bad_line(file, line, "labels", f"label {label}, one too many", expected)
    return table, dropped
