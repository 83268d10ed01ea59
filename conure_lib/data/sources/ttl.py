"""`ttl`: the authors' text files (Tencent TL: QQ Browser, Kandian, profiles) as a task stream.

T1 file, one line per user: ``0,0,17,5,92``, items padded with 0 on the left. The others: the same
sequence as the user's key, two commas, labels: ``0,0,17,5,92,,3,8``. Paper: section 6.1.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from conure_lib.config import Count, Seed
from conure_lib.data.assemble import LabelTable, add_tasks
from conure_lib.data.options import Length, OnProblem, SourcePath, Split, checked_options
from conure_lib.data.stream import PAD, Kind, TaskStream
from conure_lib.data.text_tables import bad_line, demand_pattern, lines_of, read_source
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
SEQUENCE, LABELS = r"(0,)*([1-9]\d{0,8},)+[1-9]\d{0,8}", r"\d{1,9}(,\d{1,9})*"
BLOCK = 1 << 16  # sequences parsed at a time: memory stays near the result's
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
        What to do about equal T1 sequences, whose users cannot be told apart.
    unknown_users, min_label_count, split, split_seed
        See ``assemble``.
    """
    names = files or {task: name for task, (name, _, _) in TASKS.items()}
    if not names.keys() <= TASKS.keys() or "T1" not in names or len(names) < 2:
        raise DataError(f"ttl, files: found {names}, expected T1 and at least one of T2 to T6")
    if not path.is_dir():
        raise DataError(f"{path}: found a file, expected the folder of {', '.join(names.values())}")
    text, file, digest = read_source(path, names["T1"])
    lines, digests, tables = lines_of(text), {names["T1"]: digest}, []
    sequences = _sequences(lines, file, length)
    first = pc.index_in(lines, value_set=lines).to_numpy()  # row of the first equal line
    kept = np.bincount(first)[first] == 1
    if duplicates == "error" and not kept.all():
        row = int(np.argmax(first != np.arange(len(first))))
        found = f"the same sequence as in line {first[row] + 1}"
        fix = "their users cannot be told apart: drop them, or pass duplicates='drop'"
        raise bad_line(file, row + 1, found, "each sequence once", fix)
    for name in sorted(names.keys() - {"T1"}):
        _, kind, title = TASKS[name]
        text, file, digests[names[name]] = read_source(path, names[name])
        rows = _labels(lines_of(text), file, lines, unknown_users)
        tables.append(LabelTable(name, kind, title, rows))
    users, sequences = np.flatnonzero(kept), sequences if kept.all() else sequences[kept]
    items, rows = _renumber(sequences), np.arange(len(users), dtype=np.int64)
    info = {"source": "the authors' text files", "files": digests, "licence": LICENCE}
    info |= {"length": length, "min_label_count": min_label_count, "unknown_users": "drop"}
    info |= {"split": split, "split_seed": split_seed}
    info["dropped"] = {"T1 sequences that occur more than once": (~kept).sum()}
    windows = sequences, rows, rows
    return add_tasks("ttl", TASKS["T1"][2], windows, pd.Index(users), items, tables, info)


def _numbers(texts: pa.Array) -> np.ndarray:
    """Return all numbers between commas, one after the other."""
    return pc.split_pattern(texts, ",").values.cast(pa.large_string()).cast(pa.int64()).to_numpy()


def _sequences(lines: pa.Array, file: str, length: int) -> np.ndarray:
    """Parse T1: int32 [lines, length]."""
    demand_pattern(lines, SEQUENCE, file, "zeros, then two whole numbers at least, and commas")
    bad = pc.index(pc.equal(pc.count_substring(lines, ","), length - 1), False).as_py()
    if bad >= 0:
        found = f"{lines[bad].as_py().count(b',') + 1} items"
        raise bad_line(file, bad + 1, found, f"{length}, or another option length")
    sequences = np.empty((len(lines), length), dtype=np.int32)
    for start in range(0, len(lines), BLOCK):
        block = lines[start : start + BLOCK]
        sequences[start : start + BLOCK] = _numbers(block).reshape(-1, length)
    return sequences


def _renumber(sequences: np.ndarray) -> pd.Index:
    """Renumber the items 1..n in place, block by block, padding stays 0; return their ids."""
    ids = np.sort(pd.unique(sequences.ravel()))
    ids = ids[ids != PAD]
    for start in range(0, len(sequences), BLOCK):
        block = sequences[start : start + BLOCK]
        block[block != PAD] = np.searchsorted(ids, block[block != PAD]) + 1
    return pd.Index(ids)


def _labels(lines: pa.Array, file: str, sequences: pa.Array, unknown_users: str) -> pd.DataFrame:
    """Parse a label file: columns user (the row of T1's line, -1 without one) and label."""
    demand_pattern(lines, f"{SEQUENCE},,{LABELS}", file, "'0,0,17,5,,label,label'")
    halves = pc.split_pattern(lines, ",,").values
    keys, labels = halves[::2], halves[1::2]
    users = pc.fill_null(pc.index_in(keys, value_set=sequences), -1).to_numpy()
    if unknown_users == "error" and (users < 0).any():
        row, fix = int(np.argmax(users < 0)), "drop the line, or pass unknown_users='drop'"
        raise bad_line(file, row + 1, keys[row].as_py().decode(), "a sequence of T1", fix)
    counts = pc.add(pc.count_substring(labels, ","), 1).to_numpy()
    return pd.DataFrame({"user": np.repeat(users, counts), "label": _numbers(labels)})
