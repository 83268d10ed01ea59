"""From tables of events and labels to a task stream: filters, windows, ids, joins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd
from pandas.util import hash_array
from pydantic import TypeAdapter

from conure_lib.data.options import DEFAULTS, AssemblyOptions, explained
from conure_lib.data.stream import Kind, Names, Task, TaskStream, check, draw_blocks
from conure_lib.errors import DataError

Windows = tuple[np.ndarray, np.ndarray, np.ndarray]  # what ``cut_windows`` returns


@dataclass(frozen=True)
class LabelTable:
    """One task after T1 as a table."""

    name: str  # T2, T3, ...
    kind: Kind  # "ranking" or "classification"
    title: str  # the task in words
    rows: pd.DataFrame | str | Path  # columns user and label; for ``from_tables`` also a file
    columns: Mapping[str, str] = field(default_factory=dict)  # there: their names in that file


def label_tables(rankings: Mapping[str, pd.DataFrame], profiles: pd.DataFrame) -> list[LabelTable]:
    """Return the tasks from T2 on: rankings by title, then a profile per column beside ``user``."""
    rows = [("ranking", *item) for item in rankings.items()]
    for title in profiles.columns.drop("user"):
        labels = profiles[["user", title]].set_axis(["user", "label"], axis=1)
        rows.append(("classification", title, labels))
    return [LabelTable(f"T{number}", *row) for number, row in enumerate(rows, 2)]


def assemble(
    name: str,
    events: pd.DataFrame,
    tables: Sequence[LabelTable],
    *,
    title: str,
    info: dict | None = None,
    **options: Unpack[AssemblyOptions],
) -> TaskStream:
    """Build a task stream from plain tables; see ``from_tables`` for what is not said here.

    events: columns ``user``, ``item`` and, unless the rows stand in time order, ``time``. tables:
    the tasks after T1, in their order. Users and items with too few events are left out (3.1).
    """
    with explained(name):
        o = DEFAULTS | TypeAdapter(AssemblyOptions).validate_python(options)
    info = dict(info or {})
    dropped = dict(info.get("dropped", {}))
    for column, least in (("item", o["min_item_count"]), ("user", o["min_events"])):
        frequent = events.groupby(column)[column].transform("size") >= least
        rare = events[column][~frequent]
        dropped[f"{column}s with fewer than {least} events"] = rare.nunique()
        dropped[f"events of {column}s with fewer than {least} events"] = len(rare)
        events = events[frequent]
    if events.empty:
        least = f"{o['min_events']} events of items with at least {o['min_item_count']}"
        raise DataError(f"{name}: T1 is empty: found no user with {least}; check the table")
    events = in_time_order(events, o["seed"])
    if "time" in events:
        shared = int(events.duplicated(["user", "time"], keep=False).sum())
        info |= {"shared_time": {"events": shared, "share": round(shared / len(events), 4)}}
    (who, users), (what, items) = (pd.factorize(events[c], sort=True) for c in ("user", "item"))
    windows = cut_windows(who, what + 1, len(users), o["length"], o["min_events"])
    dropped["oldest events that fill no window"] = len(who) - np.count_nonzero(windows[0])
    return add_tasks(name, title, windows, users, items, tables, info | o | {"dropped": dropped})


def add_tasks(
    name: str,
    title: str,
    windows: Windows,
    users: pd.Index,
    items: pd.Index,
    tables: Sequence[LabelTable],
    info: dict,
) -> TaskStream:
    """Make a stream of T1's windows, ids in ascending order, and label tables; info has options."""
    sequences, owners, input_rows = windows
    blocks = draw_blocks(len(owners), info["seed"], "T1")
    last = sequences[:, -1].astype(np.int64) - 1
    tasks, labels = [Task("T1", "sequence", title, owners, last, len(items), blocks)], {}
    for table in tables:
        rows = _usable_rows(f"{name}: task {table.name}", table, users, info)
        what, ids = pd.factorize(rows["label"], sort=True)
        who, labels[table.name] = users.get_indexer(rows["user"]), ids.to_numpy()
        order = np.lexsort([what, who])  # the order of the table's rows plays no part
        who, what = who[order], what[order]
        blocks = draw_blocks(len(rows), info["seed"], table.name)
        tasks.append(Task(table.name, table.kind, table.title, who, what, len(ids), blocks))
    classes = [task.name for task in tasks if task.kind == "classification"]
    info["classes"] = {name: [*map(str, labels[name])] for name in classes}
    info["dropped"] = {what: int(count) for what, count in info["dropped"].items() if count}
    names = Names(users.to_numpy(), items.to_numpy(), labels)
    about = (len(items), tuple(tasks), info, names, info["split"])
    return check(TaskStream(name, sequences, input_rows, *about).fold(1))


def in_time_order(events: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Sort events by user and time, if they have one; equal times in an order drawn by ``seed``.

    Each event's draw is a hash of seed, user, time and item: no item tends to come first, rows may
    stand in any order, and a table read block by block gives the same.
    """
    if "time" not in events:
        return events
    times = events["time"]
    if times.dtype == object:
        raise DataError("column 'time': found numbers and dates, expected the one or the other")
    plain = times.to_numpy("datetime64[us]" if times.dtype.kind == "M" else np.float64)
    draw = np.uint64(seed)
    for values in (events["user"].to_numpy(), plain, events["item"].to_numpy()):
        draw = hash_array(draw ^ hash_array(values))
    who, when = (pd.factorize(events[column], sort=True)[0] for column in ("user", "time"))
    return events.iloc[np.lexsort([draw, when, who])]


def cut_windows(who: np.ndarray, what: np.ndarray, users: int, length: int, least: int) -> Windows:
    """Cut each user's events, counted from the latest, into left-padded windows.

    who, what: [E] user rows and item ids, each user's in time order, at least one. Returns
    sequences int32 [S, length] in time order, their users [S], each user's latest window [U].
    """
    counts = np.bincount(who, minlength=users)
    from_end = pd.Series(who).groupby(who).cumcount(ascending=False).to_numpy()
    remainder = counts % length
    windows = counts // length + ((remainder >= least) | ((counts < length) & (remainder > 0)))
    ends = np.cumsum(windows)
    window = from_end // length
    kept = window < windows[who]
    sequences, rows = np.zeros((ends[-1], length), dtype=np.int32), ends[who] - 1 - window
    sequences[rows[kept], (length - 1 - from_end % length)[kept]] = what[kept]
    return sequences, np.repeat(np.arange(users), windows), ends - 1


def _usable_rows(where: str, table: LabelTable, users: pd.Index, info: dict) -> pd.DataFrame:
    """Return the table's rows of known users with frequent enough labels."""
    rows, dropped, least = table.rows[["user", "label"]], info["dropped"], info["min_label_count"]
    if rows.empty or (missing := rows["label"].isna()).any():
        first = 0 if rows.empty else int(missing.to_numpy().argmax()) + 1  # counted from 1
        found = f"no label in row {first}" if first else "no row"
        raise DataError(f"{where} ({table.title}): found {found}, expected rows of user and label")
    known = rows["user"].isin(users)
    strange, rows = rows["user"][~known].tolist(), rows[known]
    if strange and info["unknown_users"] == "error":
        found = f"found user {strange[0]!r}, who has no T1 sequence ({len(strange)} such rows)"
        raise DataError(f"{where}: {found}; drop them, or set the option unknown_users to 'drop'")
    if rows.empty:
        found = f"found users such as {strange[0]!r}, none of T1's such as {users[0]!r}"
        raise DataError(f"{where}: {found}; write ids alike in all tables")
    dropped[f"labels of {table.name}, of users without T1"] = len(strange)
    once = ["user"] if table.kind == "classification" else ["user", "label"]
    if (repeated := rows.duplicated(once)).any():
        user, label = (rows.loc[repeated, column].tolist()[0] for column in ("user", "label"))
        found = f"found user {user!r} with label {label!r} again"
        raise DataError(f"{where}: {found}, expected each {' and '.join(once)} once; keep one row")
    if table.kind != "ranking":
        return rows
    frequent = rows.groupby("label")["label"].transform("size") >= least
    dropped[f"labels of {table.name} that occur less than {least} times"] = (~frequent).sum()
    return rows[frequent]
