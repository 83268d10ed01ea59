"""Your own tables of events and labels: as a task stream, and each user's latest events.

``from_tables(events, {"T2": ("ranking", likes), "T3": ("classification", ages)})``, where a table is a DataFrame
or the path of a Parquet or CSV file. Ids and labels are text, exactly as they stand in the table, so that a
table gives the same stream as CSV, as Parquet and as DataFrame.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from conure_lib.data.assemble import LabelTable, assemble, cut_windows, in_time_order
from conure_lib.data.options import AssemblyOptions
from conure_lib.data.stream import Kind, TaskStream
from conure_lib.errors import DataError
from conure_lib.files import file_digest

Table = pd.DataFrame | str | Path
"""A DataFrame, or the path of a Parquet or CSV file (CSV: comma, one header line, UTF-8)."""
EVENTS, LABELS = ("user", "item", "time"), ("user", "label")
KINDS = ("ranking", "classification")
TITLE = "events in time order"
LIKELY_TIME = re.compile(r"time|date|^ts$|^day$", re.IGNORECASE)
EXACT = 2.0**53  # floating point holds every whole number below
BLOCK_ROWS, BLOCK_BYTES = 1 << 20, 1 << 24


def from_tables(
    events: Table,
    labels: Sequence[LabelTable] | Mapping[str, tuple[Kind, Table]],
    *,
    name: str = "own-tables",
    title: str = TITLE,
    columns: Mapping[str, str] | None = None,
    info: dict | None = None,
    **options: Unpack[AssemblyOptions],
) -> TaskStream:
    """Build a task stream from your own tables.

    Parameters
    ----------
    events : DataFrame or path
        Columns user, item and, unless the rows stand in time order, time (numbers or dates; equal times keep
        the order of the rows).
    labels : sequence of LabelTable, or mapping
        The tasks after T1 in order; a mapping gives name -> (kind, table with columns user and label).
        Kinds: "ranking" (the label is an item to recommend), "classification" (one label per user).
    name, title : str
        Of the stream, and of T1 in words.
    columns : mapping, optional
        Names of the columns where they differ, e.g. ``{"user": "customer_id", "time": "ts"}``; a LabelTable's
        own ``columns`` come before these.
    info : dict, optional
        JSON-able facts to keep with the stream.
    **options
        See ``assemble``.

    Returns
    -------
    TaskStream
        Its ``names`` are the ids in the tables, as text; ``notes()`` says what was dropped or is doubtful.

    Raises
    ------
    DataError
        Names table, column, row (from 0), what was found and how to fix it.

    Examples
    --------
    >>> stream = from_tables("plays.csv", {"T2": ("ranking", "likes.csv")}, columns={"time": "ts"})
    """
    if isinstance(labels, Mapping):
        labels = [LabelTable(task, kind, task, table) for task, (kind, table) in labels.items()]
    columns, notes, tables = columns or {}, [], []
    history = read_table(events, EVENTS, columns, f"{name}: events", notes)
    if "time" in history:
        history = in_time_order(history)
    for task in labels:
        where = f"{name}: task {task.name}"
        if task.kind not in KINDS:
            raise DataError(f"{where}, kind: found {task.kind!r}, expected {' or '.join(KINDS)}")
        rows = read_table(task.rows, LABELS, {**columns, **task.columns}, where)
        if task.kind == "classification" and (repeated := rows["user"].duplicated()).any():
            found = f"user {rows['user'][repeated].iloc[0]!r} in several rows"
            raise DataError(f"{where}: found {found}, expected one label per user; keep one row")
        tables.append(LabelTable(task.name, task.kind, task.title, rows))
    paths = [
        t for t in (events, *(task.rows for task in labels)) if not isinstance(t, pd.DataFrame)
    ]
    files = {"files": {Path(path).name: file_digest(Path(path)) for path in paths}} if paths else {}
    info = {"source": "your own tables", "licence": "your own data"} | files | (info or {})
    info["notes"] = notes
    return assemble(name, history, tables, title=title, info=info, **options)


@dataclass(frozen=True)
class Latest:
    """Each user's latest events: what a user vector is made of.

    users: ids as in the table, ascending [U]; sequences: int32 [U, length]. unknown_events: how many had an
    item that the model does not know. few: users left out, who have too few known events. notes: in a line
    each, what is doubtful about the table.
    """

    users: np.ndarray
    sequences: np.ndarray
    unknown_events: int
    few: int
    notes: list[str]


def latest_windows(
    events: Table,
    items: Sequence[str],
    length: int,
    least: int,
    columns: Mapping[str, str] | None = None,
) -> Latest:
    """Return the latest ``length`` known events of every user who has ``least`` of them at least.

    events, columns: as in ``from_tables``. items: what the model knows, item id i of the sequences being
    ``items[i - 1]``. The same windows as ``assemble`` makes of the same events; memory grows with the users, not
    with the events.
    """
    known, notes = pd.Index(items), []
    kept, counts, unknown = pd.DataFrame({"user": []}), pd.Series(dtype="int64"), 0
    for block in _blocks(events, EVENTS, columns or {}, "events", notes):
        rows = block.assign(item=known.get_indexer(block["item"]) + 1)
        unknown += int((rows["item"] == 0).sum())
        rows = rows[rows["item"] > 0]
        counts = counts.add(rows.groupby("user").size(), fill_value=0)
        kept = pd.concat([kept, rows]) if len(kept) else rows
        if "time" in kept:
            kept = in_time_order(kept)
        kept = kept.groupby("user").tail(length)
    few = counts[counts < least].index
    kept = kept[~kept["user"].isin(few)]
    if kept.empty:
        where = "the table of events" if isinstance(events, pd.DataFrame) else events
        raise DataError(f"{where}: found no user with {least} events of items that the model knows")
    users = pd.Index(np.sort(kept["user"].unique()))
    who = users.get_indexer(kept["user"])
    by_user = np.argsort(who, kind="stable")
    what = kept["item"].to_numpy()[by_user]
    sequences, _, _ = cut_windows(who[by_user], what, len(users), length, 1)
    return Latest(users.to_numpy(), sequences, unknown, len(few), notes)


def read_table(
    table: Table,
    roles: Sequence[str],
    columns: Mapping[str, str] | None = None,
    where: str = "table",
    notes: list[str] | None = None,
) -> pd.DataFrame:
    """Read a column per role (user, item, time, label): times as numbers or dates, all else as text.

    Parameters
    ----------
    table : DataFrame or path
        A file's name replaces ``where`` in messages.
    roles : sequence of str
        ``EVENTS`` or ``LABELS``; a time column may be missing unless ``columns`` names it.
    columns : mapping, optional
        Role -> the column's name where it differs.
    where : str
        The table as the user knows it.
    notes : list of str, optional
        Takes a line about a missing or unused time column.

    Returns
    -------
    DataFrame
        Its columns are the roles.

    Raises
    ------
    DataError
        For a missing or repeated column, a missing value, ids of several types, an unreadable file.
    """
    notes = [] if notes is None else notes
    return pd.concat(list(_blocks(table, roles, columns or {}, where, notes)), ignore_index=True)


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Raise DataError that names the file for what pyarrow raises in this block at a damaged one."""
    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        found = " ".join(str(error).split())
        raise DataError(
            f"{file}: found {found}, expected a readable table; write it again"
        ) from error


def _blocks(
    table: Table, roles: Sequence[str], columns: Mapping[str, str], where: str, notes: list[str]
) -> Iterator[pd.DataFrame]:
    """Give the rows block by block, checked and converted."""
    if not isinstance(table, pd.DataFrame):
        table = Path(table)
        where = str(table)
    names = _column_names(table)
    used = {role: columns.get(role, role) for role in roles}
    if used.get("time") == "time" and "time" not in names:
        del used["time"]
        found = next((name for name in names if LIKELY_TIME.search(str(name))), None)
        odd = (
            f"the column {found!r} is not used as time (name it in columns)"
            if found
            else "no time column"
        )
        notes.append(f"{where}: {odd}: the rows count as standing in time order")
    for role, column in used.items():
        if names.count(column) != 1:
            found = f"found columns {names}, expected {column!r} once"
            raise DataError(f"{where}: {found}; rename it, or name the {role} column in columns")
    row = 0
    for raw in _raw_blocks(table, list(used.values())):
        block = {}
        for role, column in used.items():
            at, values = f"{where}, column {column!r}", raw[column].reset_index(drop=True)
            if isinstance(values.dtype, pd.CategoricalDtype):
                values = values.astype(values.cat.categories.dtype)
            if (missing := values.isna()).any():
                line = row + int(missing.to_numpy().argmax())
                raise DataError(
                    f"{at}, row {line}: found no value, expected one; fill it or drop the row"
                )
            block[role] = _as_time(values, at) if role == "time" else _as_text(values, at)
        row += len(raw)
        yield pd.DataFrame(block)


def _column_names(table: pd.DataFrame | Path) -> list[str]:
    if isinstance(table, pd.DataFrame):
        return list(table.columns)
    if table.suffix not in (".parquet", ".csv"):
        raise DataError(f"{table}: found suffix {table.suffix!r}, expected .parquet or .csv")
    if not table.is_file():
        raise DataError(
            f"{table}: found no such file, expected a table; put it there or correct the name"
        )
    with readable(table):
        if table.suffix == ".csv":
            return csv.open_csv(table).schema.names
        return pq.ParquetFile(table).schema_arrow.names


def _raw_blocks(table: pd.DataFrame | Path, used: list[str]) -> Iterator[pd.DataFrame]:
    """Give the columns as they stand: those of CSV as text, where an empty field is a missing value."""
    if isinstance(table, pd.DataFrame):
        yield table[used]
        return
    with readable(table):
        if table.suffix == ".csv":
            convert = csv.ConvertOptions(
                include_columns=used,
                column_types=dict.fromkeys(used, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            )
            options = csv.ReadOptions(block_size=BLOCK_BYTES)
            batches = csv.open_csv(table, options, convert_options=convert)
        else:
            batches = pq.ParquetFile(table).iter_batches(BLOCK_ROWS, columns=used)
        for batch in batches:
            yield batch.to_pandas(date_as_object=False, ignore_metadata=True)


def _as_text(values: pd.Series, where: str) -> pd.Series:
    """Return ids or labels as text, e.g. 12 as "12"; text stays as it is."""
    kind = pd.api.types.infer_dtype(values)
    if kind.startswith("mixed") or kind == "bytes":
        found = f"found ids of several types ({kind})" if kind != "bytes" else "found bytes"
        raise DataError(
            f"{where}: {found}, expected text or numbers; convert them with .astype(str)"
        )
    if kind == "string":
        return values
    if kind == "floating" and (large := values.abs() >= EXACT).any():
        found = f"found {float(values[large].iloc[0])}, a number that cannot hold every id"
        raise DataError(f"{where}: {found}, expected ids below 2^53; write them as text")
    codes, distinct = pd.factorize(values)
    return pd.Series(np.array([str(value) for value in distinct.tolist()], dtype=object)[codes])


def _as_time(values: pd.Series, where: str) -> pd.Series:
    """Return times as numbers or dates; text is read as the one or the other."""
    if pd.api.types.infer_dtype(values) == "string":
        for read in (pd.to_numeric, lambda text: pd.to_datetime(text, format="ISO8601")):
            try:
                values = read(values)
                break
            except (ValueError, TypeError, OverflowError):
                continue
    number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if not number and not pd.api.types.is_datetime64_any_dtype(values) and len(values):
        found = f"found {values.dtype} ({values.iloc[0]!r}, ...)"
        raise DataError(f"{where}: {found}, expected numbers or dates such as 2024-01-31 18:30:00")
    if number and not np.isfinite(values.astype(float)).all():
        raise DataError(f"{where}: found a time that is not finite, expected numbers or dates")
    return values
