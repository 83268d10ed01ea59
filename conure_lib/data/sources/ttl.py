"""`ttl`: the authors' text files (Tencent TL: QQ Browser, Kandian, profiles) as a task stream.

T1 file, one line per user: ``0,0,17,5,92``, item ids padded with 0 on the left. The other files: the same
sequence as the user's key, two commas, labels: ``0,0,17,5,92,,3,8``. Paper: section 6.1, Table 1.
"""

import io
import re
from array import array
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from conure_lib.data.stream import (
    MAX_INT,
    MAX_LENGTH,
    PAD,
    Kind,
    Task,
    TaskStream,
    checked,
    demand_whole,
    draw_split,
)
from conure_lib.data.text_tables import bad_line, csv_options, only_numbers, read_text
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


def build(
    *,
    path: str | Path,
    files: Mapping[str, str] | None = None,
    length: int = 100,
    duplicates: str = "error",
    unknown_users: str = "error",
    min_label_count: int = 1,
    split: str = "80/5/15",
    split_seed: int = 0,
) -> TaskStream:
    """The stream in the folder ``path``; tasks T1 and those of T2..T6 that ``files`` names.

    files: task -> file name, by default the names in ``TASKS``; name T1 and at least one more. length: the
    window, items per line. duplicates: what to do about equal T1 sequences, whose users cannot be told apart:
    "error", or "drop" them all with their labels. unknown_users: "error", or "drop" label lines whose
    sequence is not in T1. min_label_count: ranking labels with fewer instances go. Numbers of dropped lines
    are in ``info``. Raises DataError that names file, line, field and mend.
    """
    for option, value in (("duplicates", duplicates), ("unknown_users", unknown_users)):
        if value not in ("error", "drop"):
            raise DataError(f"ttl: {option}={value!r}; use 'error' or 'drop'")
    demand_whole("ttl", 2, MAX_LENGTH, length=length)
    demand_whole("ttl", 1, MAX_INT, min_label_count=min_label_count)
    names = dict(files) if files is not None else {task: TASKS[task][0] for task in TASKS}
    ok = names.keys() <= TASKS.keys() and all(
        isinstance(name, str) and name for name in names.values()
    )
    if not ok or "T1" not in names or len(names) < 2:
        raise DataError(
            f"ttl: files={names}; wanted file names: name T1 and at least one of {', '.join(list(TASKS)[1:])}"
        )
    if not Path(path).is_dir():
        raise DataError(
            f"{path}: found no such folder, wanted the folder with {', '.join(names.values())}"
        )

    text, file, digest = read_text(Path(path), names["T1"])
    sequences = _sequences(text, file, length)
    users = _users(text, file, duplicates)
    kept = np.zeros(len(sequences), dtype=bool)
    kept[np.fromiter((row for row in users.values() if row != REPEATED), dtype=np.int64)] = True
    new_row = np.cumsum(kept) - 1
    info = {
        "source": "the authors' text files",
        "files": {names["T1"]: digest},
        "licence": LICENCE,
        "length": length,
    }
    info |= {
        "length": length,
        "min_label_count": min_label_count,
        "split": split,
        "split_seed": split_seed,
    }
    info |= {"dropped_sequences": int((~kept).sum()), "dropped_labels": {}, "classes": {}}
    if info["dropped_sequences"]:
        sequences = sequences[kept]
    n_items = _compact(sequences)
    rows = np.arange(len(sequences), dtype=np.int64)
    split_1 = draw_split(len(rows), split, split_seed, "T1")
    tasks = [
        Task(
            "T1",
            "sequence",
            TASKS["T1"][2],
            rows,
            sequences[:, -1].astype(np.int64) - 1,
            n_items,
            split_1,
        )
    ]
    for name in sorted(names.keys() - {"T1"}):
        _, kind, title = TASKS[name]
        text, file, digest = read_text(Path(path), names[name])
        table, dropped = _labels(text, file, kind, users, length, unknown_users)
        if kind == "ranking" and min_label_count > 1:
            frequent = table.groupby("label")["label"].transform("size") >= min_label_count
            table, dropped = table[frequent], dropped + int((~frequent).sum())
        info["files"][names[name]], info["dropped_labels"][name] = digest, dropped
        values, labels = np.unique(table["label"].to_numpy(), return_inverse=True)
        if kind == "classification":
            info["classes"][name] = [str(value) for value in values]
        parts = draw_split(len(table), split, split_seed, name)
        tasks.append(Task(name, kind, title, new_row[table["row"]], labels, len(values), parts))
    return checked(TaskStream("ttl", sequences, rows, n_items, tuple(tasks), info))


def _sequences(text: bytes, file: str, length: int) -> np.ndarray:
    """T1's lines as int32 [lines, length]; parsed block by block, so that memory stays near the result's."""
    types = {f"item {place}": pa.int32() for place in range(1, length + 1)}
    sequences = np.empty((text.count(b"\n"), length), dtype=np.int32)
    try:
        row = 0
        if not only_numbers(text, b","):
            raise pa.ArrowInvalid("spaces, signs or letters")
        for batch in csv.open_csv(pa.BufferReader(text), **csv_options(",", types)):
            for place in range(length):
                sequences[row : row + len(batch), place] = batch.column(place).to_numpy()
            row += len(batch)
        valid = bool((sequences >= 0).all())
    except pa.ArrowInvalid:
        valid = False
    if not valid:
        for line, content in enumerate(io.BytesIO(text), 1):
            _check_sequence(content.decode("ascii").rstrip("\r\n"), file, line, length)
        raise DataError(
            f"{file}: found a file that does not parse, wanted whole numbers between commas; mend it"
        )
    gap = ((sequences[:, :-1] != PAD) & (sequences[:, 1:] == PAD)).any(axis=1)
    for wrong, found, wanted in (
        (gap, "padding (0) after an item", "padding on the left only"),
        (sequences[:, -2] == PAD, "fewer than two items", "at least two"),
    ):
        if wrong.any():
            raise bad_line(
                file,
                int(np.argmax(wrong)) + 1,
                "sequence",
                found,
                wanted,
                "correct or drop the line",
            )
    return sequences


def _check_sequence(sequence: str, file: str, line: int, length: int) -> None:
    """Raises DataError when the text is not ``length`` whole numbers between commas."""
    items = sequence.split(",")
    for place, item in enumerate(items, 1):
        if not re.fullmatch(NUMBER, item):
            raise bad_line(file, line, f"item {place}", item, "a whole number from 0 to 999999999")
    if len(items) != length:
        mend = f"pad or cut it, or pass length={len(items)} if all lines are like that"
        raise bad_line(
            file, line, "sequence", f"{len(items)} items", f"the window of {length}", mend
        )


def _key(sequence: bytes) -> bytes:
    """Stands for a sequence as it is written; 16 bytes keep the table of 1.5 million users small."""
    return blake2b(sequence, digest_size=16).digest()


def _users(text: bytes, file: str, duplicates: str) -> dict[bytes, int]:
    """The key of each distinct T1 sequence -> its row, or REPEATED."""
    users: dict[bytes, int] = {}
    for row, content in enumerate(io.BytesIO(text)):
        first = users.setdefault(key := _key(content.rstrip(b"\r\n")), row)
        if first != row:
            if duplicates == "error":
                mend = "their users cannot be told apart: drop the lines, or pass duplicates='drop'"
                found = "the same sequence as before" + (
                    f" (line {first + 1})" if first != REPEATED else ""
                )
                raise bad_line(file, row + 1, "sequence", found, "each sequence once", mend)
            users[key] = REPEATED
    return users


def _compact(sequences: np.ndarray) -> int:
    """Renumbers the items 1..n in place, block by block, padding stays 0; returns n."""
    ids = np.sort(pd.unique(sequences.ravel()))
    ids = ids[ids != PAD]
    for start in range(0, len(sequences), 65536):
        block = sequences[start : start + 65536]
        block[block != PAD] = np.searchsorted(ids, block[block != PAD]) + 1
    return len(ids)


def _labels(
    text: bytes, file: str, kind: Kind, users: dict[bytes, int], length: int, unknown_users: str
) -> tuple[pd.DataFrame, int]:
    """Columns row (T1 line), label, line, one row per instance; and how many lines were dropped."""
    flat, dropped = array("q"), 0  # row, label, line of each instance, one after the other
    for line, content in enumerate(io.BytesIO(text), 1):
        sequence, _, tail = content.rstrip(b"\r\n").partition(b",,")
        labels = tail.decode("ascii")
        if not LABELS.fullmatch(labels):
            wanted = "'sequence,,label' or 'sequence,,label,label,...' with whole numbers"
            raise bad_line(file, line, "labels", labels, wanted)
        row = users.get(_key(sequence))
        if row is None:
            _check_sequence(sequence.decode("ascii"), file, line, length)
            if unknown_users == "error":
                mend = "drop the line, or pass unknown_users='drop'"
                found = sequence.decode("ascii")
                raise bad_line(file, line, "sequence", found, "a sequence of the T1 file", mend)
        if row is None or row == REPEATED:
            dropped += 1
            continue
        for label in labels.split(","):
            flat.extend((row, int(label), line))
    table = pd.DataFrame(np.array(flat).reshape(-1, 3), columns=["row", "label", "line"])
    repeated = table.duplicated(["row"] if kind == "classification" else ["row", "label"])
    if repeated.any():
        first = table[repeated].iloc[0]
        wanted = "one label per user" if kind == "classification" else "each label of a user once"
        raise bad_line(
            file, int(first["line"]), "labels", f"label {first['label']}, one too many", wanted
        )
    return table, dropped
