"""Your own tables of events and labels: as a task stream, and each user's latest events.

A table is a DataFrame or the path of a Parquet or CSV file (comma, one header line, UTF-8). Ids and
labels are text, as they stand in the table: all three forms of a table give the same stream.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from pandas.api import types
from pyarrow import csv

from conure_lib.data.assemble import LabelTable, assemble, cut_windows, in_time_order
from conure_lib.data.options import AssemblyOptions
from conure_lib.data.stream import Kind, TaskStream
from conure_lib.errors import DataError
from conure_lib.files import file_digest

Table, Columns = pd.DataFrame | str | Path, Mapping[str, str]
EVENTS, LABELS = ("user", "item", "time"), ("user", "label")
LIKELY_TIME = re.compile(r"time|date|^ts$|^day$", re.IGNORECASE)
DEFAULTS: AssemblyOptions = {"length": 100, "split": "80/5/15", "unknown_users": "drop"}
BLOCK_ROWS, BLOCK_BYTES = 1 << 20, 1 << 24


def from_tables(
    events: Table,
    labels: Sequence[LabelTable] | Mapping[str, tuple[Kind, Table]],
    *,
    name: str = "own-tables",
    title: str = "events in time order",
    columns: Columns | None = None,
    **options: Unpack[AssemblyOptions],
) -> TaskStream:
    """Build a task stream from your own tables; ``notes()`` of it says what is doubtful.

    Parameters
    ----------
    events : DataFrame or path
        Columns user, item and, unless the rows stand in time order, time (numbers or dates; the
        order of events at equal times is drawn by the option seed).
    labels : sequence of LabelTable, or mapping
        The tasks after T1 in order, or their tables: ``{"T2": ("ranking", "likes.csv")}``.
    name, title : str
        Of the stream, and of T1 in words.
    columns : mapping, optional
        Names of columns where they differ, e.g. ``{"user": "customer", "time": "ts"}``; a
        LabelTable's own come before these.
    **options
        See ``AssemblyOptions``; ``DEFAULTS`` here differ from those of datasets.
    """
    if isinstance(labels, Mapping):
        labels = [LabelTable(task, kind, task, table) for task, (kind, table) in labels.items()]
    columns, notes, tables = columns or {}, [], []
    history = pd.concat(read_table(events, EVENTS, columns, f"{name}: events", notes))
    for task in labels:
        named, where = {**columns, **task.columns}, f"{name}: task {task.name}"
        rows = pd.concat(read_table(task.rows, LABELS, named, where, []))
        tables.append(replace(task, rows=rows))
    given = [events, *(task.rows for task in labels)]
    named = [Path(table) for table in given if not isinstance(table, pd.DataFrame)]
    alike = len({file.name for file in named}) < len({*named})
    files = {str(file) if alike else file.name: file_digest(file) for file in named}
    info = {"source": "your own tables", "licence": "your own data", "files": files}
    info["notes"] = notes
    return assemble(name, history, tables, title=title, info=info, **DEFAULTS | options)


def latest_windows(
    events: Table,
    items: Sequence[str],
    length: int,
    least: int,
    columns: Columns | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Return each user's latest ``least`` to ``length`` events of known items, cut as a stream's.

    Item id i: ``items[i - 1]``. seed: the stream's, which orders equal times. Returns the users'
    ids, ascending [U], sequences int32 [U, length], and what ``embed`` tells about the table.
    Memory grows with the users, not with the events.
    """
    known, notes, unknown = pd.Index(items), [], 0
    kept, counts = None, pd.Series(dtype="int64")
    for block in read_table(events, EVENTS, columns or {}, "events", notes):
        rows = block.assign(number=known.get_indexer(block["item"]) + 1)
        unknown += int((rows["number"] == 0).sum())
        rows = rows[rows["number"] > 0]
        counts = counts.add(rows.groupby("user").size(), fill_value=0)
        kept = in_time_order(pd.concat([kept, rows]), seed).groupby("user").tail(length)
    few = counts[counts < least].index
    kept = kept[~kept["user"].isin(few)]
    if kept.empty:
        where = "events" if isinstance(events, pd.DataFrame) else events
        raise DataError(f"{where}: found no user with {least} events of items of the model")
    who, users = pd.factorize(kept["user"], sort=True)
    sequences, _, _ = cut_windows(who, kept["number"].to_numpy(), len(users), length, 1)
    about = {"left_out": len(few), "unknown_events": unknown, "notes": notes}
    return users.to_numpy(), sequences, about


def read_table(
    table: Table, roles: Sequence[str], columns: Columns, where: str, notes: list[str]
) -> Iterator[pd.DataFrame]:
    """Give the rows block by block, a column per role (``EVENTS``, ``LABELS``), ids as text.

    columns: role -> the column's name where it differs; time may be missing unless named here.
    where: a DataFrame in messages. notes: takes a line about a time missing or not used.
    """
    is_frame, used = isinstance(table, pd.DataFrame), {r: columns.get(r, r) for r in roles}
    where, row = where if is_frame else str(table), 0
    try:
        source = table if is_frame else _opened(Path(table), [*used.values()])
        names = list(source.columns if is_frame else source.schema.names)
        if used.get("time") == "time" and "time" not in names:
            del used["time"]
            likely = next((name for name in names if LIKELY_TIME.search(str(name))), None)
            note = f"column {likely!r} is not named as the time" if likely else "no time column"
            notes.append(f"{where}: {note}: the rows count as standing in time order")
        for role, column in used.items():
            if names.count(column) != 1:
                fix = f"rename it, or say in columns which one is the {role}"
                raise DataError(f"{where}: found columns {names}, expected {column!r} once; {fix}")
        blocks = [source]
        if not is_frame:
            columns = [*{*used.values()}]
            batches = source.to_batches(columns, batch_size=BLOCK_ROWS, batch_readahead=2)
            blocks = (b.to_pandas(date_as_object=False, ignore_metadata=True) for b in batches)
        for block in blocks:
            if len(block):
                yield pd.DataFrame({r: _values(block, r, c, where, row) for r, c in used.items()})
            row += len(block)
        if not row:
            raise DataError(f"{where}: found no row, expected some")
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        found = " ".join(str(error).rpartition("Invalid: ")[2].split())
        raise DataError(f"{where}: found {found}, expected a readable table") from error


def _opened(file: Path, used: list[str]) -> ds.Dataset:
    """Open a file; the columns that are used of CSV are text, where an empty field is missing."""
    if file.suffix not in (".parquet", ".csv"):
        raise DataError(f"{file}: found suffix {file.suffix!r}, expected .parquet or .csv")
    if not file.is_file():
        raise DataError(f"{file}: found no such file, expected a table; correct the name")
    options = csv.ConvertOptions(column_types=dict.fromkeys(used, pa.string()), null_values=[""])
    options.strings_can_be_null, options.quoted_strings_can_be_null = True, False
    text = ds.CsvFileFormat(None, None, options, csv.ReadOptions(block_size=BLOCK_BYTES))
    return ds.dataset(file, format=text if file.suffix == ".csv" else "parquet")


def _values(block: pd.DataFrame, role: str, column: str, where: str, row: int) -> pd.Series:
    """Return a column without gaps as times or text, e.g. 12 as "12"; row: how many came before."""
    values, where = block[column].reset_index(drop=True), f"{where}, column {column!r}"
    if (missing := values.isna()).any():
        where = f"{where}, row {row + int(missing.to_numpy().argmax()) + 1}"
        raise DataError(f"{where}: found no value, expected one; fill it or drop the row")
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if role == "time":
        return _as_time(values, where, row)
    kind = types.infer_dtype(values)
    if kind.startswith("mixed") or kind == "bytes":
        raise DataError(f"{where}: found {kind} ids, expected text or numbers; use .astype(str)")
    if kind == "string":
        return values
    if kind == "floating" and (values.abs() >= 2**53).any():
        raise DataError(f"{where}: found ids rounded as floating point; expected integers or text")
    codes, distinct = pd.factorize(values)  # faster than a str of each value
    return pd.Series(np.array([str(value) for value in distinct.tolist()], dtype=object)[codes])


def _as_time(values: pd.Series, where: str, row: int) -> pd.Series:
    """Return times as finite numbers or dates; text is read as the one or the other."""
    times, wrong = values, np.ones(len(values), dtype=bool)
    if types.infer_dtype(values) == "string":
        times = pd.to_numeric(values, errors="coerce")
        if times.isna().any():
            # with offsets from UTC, which summer time changes, or without: then it is UTC
            dates = pd.to_datetime(values, format="ISO8601", errors="coerce", utc=True)
            if dates.count() >= times.count():  # else numbers, of which some are none
                times = dates.dt.tz_localize(None)
    if types.is_datetime64_any_dtype(times):
        wrong = times.isna()
    elif types.is_numeric_dtype(times) and not types.is_bool_dtype(times):
        wrong = ~np.isfinite(times.to_numpy())
    if wrong.any():
        where = f"{where}, row {row + int(np.argmax(wrong)) + 1}"
        found, expected = values[wrong].tolist()[0], "finite numbers or dates (2024-01-31 18:30:00)"
        raise DataError(f"{where}: found {found!r} ({values.dtype}), expected {expected}")
    return times
