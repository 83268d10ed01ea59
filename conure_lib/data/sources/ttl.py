"""`ttl`: the authors' text files (Tencent TL: QQ Browser, Kandian, profiles) as a task stream.

T1 file, one line per user: ``0,0,17,5,92``, items padded with 0 on the left. The others: the same
sequence as the user's key, two commas, labels: ``0,0,17,5,92,,3,8``. Paper: section 6.1.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from conure_lib import paths
from conure_lib.config import Count, Seed
from conure_lib.data.assemble import LabelTable, add_tasks
from conure_lib.data.options import Length, OnProblem, SourcePath, checked_options
from conure_lib.data.stream import PAD, Kind, Split, TaskStream
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
LICENCE = "released by the paper's authors, on their terms: see the page that the files came from"


@checked_options("ttl")
def build(
    *,
    path: SourcePath | None = None,
    files: Mapping[str, str] | None = None,
    length: Length = 100,
    duplicates: OnProblem = "error",
    unknown_users: OnProblem = "error",
    min_label_count: Count = 1,
    split: Split = "folds",
    seed: Seed = 0,
) -> TaskStream:
    """Build the stream of T1 and those of T2..T6 that ``files`` names.

    path: the folder, by default ROOT/artifacts/downloads/ttl. files: task -> file name, T1 and one
    more at least, by default ``TASKS``. length: items per line. duplicates: what to do about equal
    T1 sequences, whose users cannot be told apart. The others: see ``AssemblyOptions``.
    """
    names = files or {task: name for task, (name, _, _) in TASKS.items()}
    if not names.keys() <= TASKS.keys() or "T1" not in names or len(names) < 2:
        raise DataError(f"ttl, files: found {names}, expected T1 and at least one of T2 to T6")
    path = path or paths.artifacts("downloads") / "ttl"
    if path.is_file():
        raise DataError(f"{path}: found a file, expected the folder of {', '.join(names.values())}")
    text, file, digest = read_source(path, names["T1"])
    lines, digests, tables = lines_of(text), {names["T1"]: digest}, []
    demand_pattern(lines, SEQUENCE, file, "zeros, then two whole numbers at least, and commas")
    bad = pc.index(pc.equal(pc.count_substring(lines, ","), length - 1), False).as_py()
    if bad >= 0:
        found = f"{lines[bad].as_py().count(b',') + 1} items"
        raise bad_line(file, bad + 1, found, f"{length}, or another option length")
    types = csv.ConvertOptions(column_types={f"f{n}": pa.int32() for n in range(length)})
    read = csv.ReadOptions(autogenerate_column_names=True)
    sequences = np.column_stack(csv.read_csv(pa.BufferReader(text), read, None, types).columns)
    first = pc.index_in(lines, value_set=lines).to_numpy()  # row of the first equal line
    kept = np.bincount(first)[first] == 1
    if duplicates == "error" and not kept.all():
        row = int(np.argmax(first != np.arange(len(first))))
        found = f"the same sequence as in line {first[row] + 1}"
        fix = "their users cannot be told apart: drop them, or pass duplicates='drop'"
        raise bad_line(file, row + 1, found, "each sequence once", fix)
    if not kept.any():
        raise DataError(f"{file}: found each sequence twice, expected some once")
    for name in sorted(names.keys() - {"T1"}):
        _, kind, title = TASKS[name]
        text, file, digests[names[name]] = read_source(path, names[name])
        rows = _labels(lines_of(text), file, lines, unknown_users)
        tables.append(LabelTable(name, kind, title, rows))
    codes, items = pd.factorize(sequences[kept].ravel(), sort=True)
    codes, items = (codes, items[1:]) if items[0] == PAD else (codes + 1, items)
    rows = np.arange(kept.sum())
    windows = codes.astype(np.int32).reshape(-1, length), rows, rows
    info = {"source": "the authors' text files", "files": digests, "licence": LICENCE}
    info |= {"length": length, "min_label_count": min_label_count, "unknown_users": "drop"}
    info |= {"split": split, "seed": seed}
    info["dropped"] = {"T1 sequences that occur more than once": (~kept).sum()}
    users, items = pd.Index(np.flatnonzero(kept)), pd.Index(items)
    return add_tasks("ttl", TASKS["T1"][2], windows, users, items, tables, info)


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
    numbers = pc.split_pattern(labels, ",").values.cast(pa.large_string()).cast(pa.int64())
    return pd.DataFrame({"user": np.repeat(users, counts), "label": numbers.to_numpy()})
