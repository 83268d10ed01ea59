"""From tables of events and labels to a task stream: windows, ids, joins."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from conure_lib.data.stream import (
    MAX_INT,
    MAX_LENGTH,
    Kind,
    Names,
    Task,
    TaskStream,
    checked,
    demand_whole,
    draw_split,
)
from conure_lib.errors import DataError


@dataclass(frozen=True)
class LabelTable:
    """One task after T1 as a table. rows: a DataFrame with columns ``user`` and ``label``, any hashable ids."""

    name: str
    kind: Kind
    title: str
    rows: pd.DataFrame


def assemble(
    name: str,
    events: pd.DataFrame,
    tables: list[LabelTable],
    *,
    length: int,
    title: str,
    min_events: int = 5,
    min_item_count: int = 1,
    min_label_count: int = 1,
    split: str = "80/5/15",
    split_seed: int = 0,
    unknown_users: str = "error",
    info: dict | None = None,
) -> TaskStream:
    """Builds and checks a task stream from plain tables.

    events: columns ``user``, ``item``, in time order within each user; ``title`` says what T1 is. Items with
    fewer than ``min_item_count`` events go first, then users with fewer than ``min_events`` (paper, section
    3.1), then ranking labels with fewer than ``min_label_count`` instances. Each user's events are cut from
    the end into windows of ``length``; a first window that would hold fewer than ``min_events`` is dropped.
    unknown_users: "error", or "drop" the labels of users without T1 (their number is put into ``info``).
    Raises DataError for empty tables, unknown users, repeated (user, label) instances, tiny tasks.
    """
    demand_whole(name, 2, MAX_LENGTH, length=length)
    demand_whole(name, 2, MAX_INT, min_events=min_events)
    demand_whole(name, 1, MAX_INT, min_item_count=min_item_count, min_label_count=min_label_count)
    if unknown_users not in ("error", "drop"):
        raise DataError(f"{name}: unknown_users={unknown_users!r}; use 'error' or 'drop'")
    info = {
        **(info or {}),
        "length": length,
        "min_events": min_events,
        "min_item_count": min_item_count,
    }
    info |= {
        "min_label_count": min_label_count,
        "split": split,
        "split_seed": split_seed,
        "dropped_labels": {},
    }
    if min_item_count > 1:
        events = events[events.groupby("item")["item"].transform("size") >= min_item_count]
    per_user = events.groupby("user")["user"].transform("size")
    events = events[per_user >= min_events]
    if events.empty:
        raise DataError(
            f"{name}: T1 is empty: no user has {min_events} events (items with >= {min_item_count}); "
            "wanted one at least"
        )

    users = pd.Index(np.sort(events["user"].unique()))
    items = pd.Index(np.sort(events["item"].unique()))
    who, what = users.get_indexer(events["user"]), items.get_indexer(events["item"]) + 1
    by_user = np.argsort(who, kind="stable")
    sequences, owners, input_rows = cut_windows(
        who[by_user], what[by_user], len(users), length, min_events
    )

    first = Task(
        "T1",
        "sequence",
        title,
        owners,
        sequences[:, -1].astype(np.int64) - 1,
        len(items),
        draw_split(len(owners), split, split_seed, "T1"),
    )
    tasks, labels = [first], {}
    for table in tables:
        rows, dropped = _known(name, table, users, unknown_users, min_label_count)
        info["dropped_labels"][table.name] = dropped
        label_ids = pd.Index(np.sort(rows["label"].unique()))
        labels[table.name] = label_ids.to_numpy()
        tasks.append(
            Task(
                table.name,
                table.kind,
                table.title,
                users.get_indexer(rows["user"]).astype(np.int64),
                label_ids.get_indexer(rows["label"]).astype(np.int64),
                len(label_ids),
                draw_split(len(rows), split, split_seed, table.name),
            )
        )
        if table.kind == "classification":
            info.setdefault("classes", {})[table.name] = [str(x) for x in label_ids]
    names = Names(users.to_numpy(), items.to_numpy(), labels)
    return checked(TaskStream(name, sequences, input_rows, len(items), tuple(tasks), info, names))


def _known(
    name: str, table: LabelTable, users: pd.Index, unknown: str, least: int
) -> tuple[pd.DataFrame, int]:
    """The table's usable rows (known users, frequent enough labels) and how many were left out."""
    rows = table.rows[["user", "label"]]
    if rows.empty:
        raise DataError(
            f"{name}: task {table.name} ({table.title}) is empty; wanted rows with user and label"
        )
    if rows["label"].isna().any():
        where = int(np.flatnonzero(rows["label"].isna())[0])
        raise DataError(
            f"{name}: task {table.name}: row {where} has no label; drop the row or give it one"
        )
    repeated = rows.duplicated()
    if repeated.any():
        row = rows[repeated].iloc[0]
        raise DataError(
            f"{name}: task {table.name}: user {row.user!r} has label {row.label!r} twice; keep one"
        )
    known = rows["user"].isin(users)
    if unknown == "error" and not known.all():
        stranger = rows["user"][~known].iloc[0]
        raise DataError(
            f"{name}: task {table.name} has a label of user {stranger!r}, who has no T1 sequence "
            f"({int((~known).sum())} such rows); drop them, or pass unknown_users='drop'"
        )
    kept = rows[known]
    if table.kind == "ranking" and least > 1:
        kept = kept[kept.groupby("label")["label"].transform("size") >= least]
    return kept, len(rows) - len(kept)


def cut_windows(
    who: np.ndarray, what: np.ndarray, n_users: int, length: int, least: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts each user's events, counted from the latest, into left-padded windows.

    who, what: [E] user rows (ascending) and item ids in time order; every user has at least ``least`` events.
    Returns sequences int32 [S, length] (a user's windows in time order), their users int64 [S], and for each
    user the row of the latest window int64 [U].
    """
    counts = np.bincount(who, minlength=n_users)
    from_end = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(len(who))
    remainder = counts % length
    windows = counts // length + ((remainder >= least) | ((counts < length) & (remainder > 0)))
    ends = np.cumsum(windows)
    window = from_end // length
    kept = window < windows[who]
    sequences = np.zeros((int(ends[-1]), length), dtype=np.int32)
    rows = ends[who] - 1 - window
    sequences[rows[kept], (length - 1 - from_end % length)[kept]] = what[kept]
    return (
        sequences,
        np.repeat(np.arange(n_users), windows).astype(np.int64),
        ends.astype(np.int64) - 1,
    )
