"""`custom`: your own tables of events and labels as a task stream, from Python or from a folder.

In Python: ``from_tables(events, {"T2": ("ranking", likes), "T3": ("classification", ages)})``.
As files: tables as Parquet or CSV, and beside them a plan that says what they are (see ``build``).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from conure_lib.data.assemble import LabelTable, assemble
from conure_lib.data.sources.plan import KINDS, Plan, read_plan
from conure_lib.data.stream import Kind, TaskStream
from conure_lib.errors import DataError
from conure_lib.files import file_digest

Table = pd.DataFrame | str | Path
"""A DataFrame, or the path of a Parquet or CSV file (CSV: comma, one header line, UTF-8)."""
CSV = csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
"""An empty field is no value, also where ids are strings; so is NA unless it is quoted."""
EXACT = 2.0**53  # floating point holds whole numbers below; pyarrow reads those beyond int64 so
TITLE = "events in time order"
OPTIONS = {
    "length": int,
    "min_events": int,
    "min_item_count": int,
    "min_label_count": int,
    "split": str,
    "split_seed": int,
    "unknown_users": str,
}
"""What a plan may say about how its stream is made (see ``assemble``)."""


def from_tables(
    events: Table,
    labels: Sequence[LabelTable] | Mapping[str, tuple[Kind, Table]],
    *,
    name: str = "custom",
    title: str = TITLE,
    length: int = 30,
    min_events: int = 5,
    min_item_count: int = 1,
    min_label_count: int = 1,
    split: str = "80/5/15",
    split_seed: int = 0,
    unknown_users: str = "error",
    info: dict | None = None,
) -> TaskStream:
    """A task stream from tables.

    events: columns user, item and, unless the rows stand in time order already, time (numbers or dates; equal
    times keep the order of the rows). labels: the tasks after T1 in order, name -> (kind, table with columns
    user and label), or LabelTables, which carry a title too; kinds: "ranking" (the label is an item to
    recommend), "classification" (one label per user). Ids: numbers or strings, of one type per column.
    info: JSON-able facts to keep with the stream; the other options: see ``assemble``.
    Raises DataError that names table, column, row (from 0) and mend.
    """
    if isinstance(labels, Mapping):
        labels = [
            LabelTable(task, kind, task, _read(table)) for task, (kind, table) in labels.items()
        ]
    table = checked_events(_read(events), f"{name}: events")
    if "time" in table:
        table = table.sort_values("time", kind="stable")
    tables = []
    for task in labels:
        where = f"{name}: task {task.name}"
        if task.kind not in KINDS:
            raise DataError(
                f"{where}: found kind {task.kind!r}, wanted {' or '.join(KINDS)}; correct it"
            )
        rows = _columns(task.rows, ["user", "label"], where)
        numeric = [pd.api.types.is_numeric_dtype(t["user"]) for t in (rows, table)]
        if len(rows) and numeric[0] != numeric[1]:
            raise DataError(
                f"{where}, column 'user': found {rows['user'].dtype}, wanted the type of the events' users "
                f"({table['user'].dtype}); convert one of them with .astype"
            )
        if task.kind == "classification" and rows["user"].duplicated().any():
            user = rows["user"][rows["user"].duplicated()].iloc[0]
            raise DataError(
                f"{where}, column 'user': found user {user!r} in several rows, wanted one label per user; "
                "keep one row, or make it a ranking task"
            )
        tables.append(LabelTable(task.name, task.kind, task.title, rows))
    info = {"source": "your own tables", "licence": "your own data", **(info or {})}
    return assemble(
        name,
        table[["user", "item"]],
        tables,
        length=length,
        title=title,
        min_events=min_events,
        min_item_count=min_item_count,
        min_label_count=min_label_count,
        split=split,
        split_seed=split_seed,
        unknown_users=unknown_users,
        info=info,
    )


def build(
    *,
    path: str | Path,
    name: str = "custom",
    length: int = 30,
    min_events: int = 5,
    min_item_count: int = 1,
    min_label_count: int = 1,
    split: str = "80/5/15",
    split_seed: int = 0,
    unknown_users: str = "error",
) -> TaskStream:
    """The stream that a plan describes: a ``.yaml`` or ``.json`` file, or a folder with ``tasks.json``.

    ``{"title": "listened songs", "events": "events.parquet", "tasks": [{"name": "T2", "kind": "ranking",
    "title": "liked songs", "file": "likes.csv"}]}``; titles may be left out. Files are Parquet or CSV, beside
    the plan or in folders below it. Options as in ``from_tables``; those that the plan gives under ``options``
    have the last word. Raises DataError that names file, field, what was found and wanted, and the mend.
    """
    options = {
        "length": length,
        "min_events": min_events,
        "min_item_count": min_item_count,
        "min_label_count": min_label_count,
        "split": split,
        "split_seed": split_seed,
        "unknown_users": unknown_users,
    }
    return from_plan(read_plan(path), name, options)


def from_plan(
    plan: Plan, name: str = "custom", options: Mapping[str, object] | None = None
) -> TaskStream:
    """The stream of a plan that was read already; options: what the plan leaves open (see ``from_tables``)."""
    tasks, files = plan.content["tasks"], plan.tables()
    tables = [
        LabelTable(
            entry["name"],
            entry["kind"],
            entry.get("title", entry["name"]),
            _read(files[entry["file"]]),
        )
        for entry in tasks
    ]
    events = _read(files[plan.content["events"]])
    info = {"files": {name: file_digest(file) for name, file in files.items()}}
    title = plan.content.get("title", TITLE)
    options = {**(options or {}), **checked_options(plan)}
    try:
        return from_tables(events, tables, name=name, title=title, info=info, **options)
    except DataError as error:
        raise DataError(f"{plan.file}: {error}") from error


def checked_options(plan: Plan) -> dict:
    """The plan's ``options``, with names and types as ``from_tables`` takes them; else raises DataError."""
    given = plan.content.get("options", {})
    for option, value in given.items():
        where, known = plan.where(f"options.{option}"), ", ".join(OPTIONS)
        if option not in OPTIONS:
            raise DataError(
                f"{where}: found an unknown option, wanted one of {known}; correct or remove it"
            )
        if type(value) is not OPTIONS[option]:
            raise DataError(
                f"{where}: found {value!r}, wanted {OPTIONS[option].__name__}; correct it"
            )
    return given


def sources(path: str | Path) -> list[Path]:
    """The files that a plan's stream comes from: the plan and its tables, those that are there."""
    plan = read_plan(path)
    return [plan.file, *(file for file in plan.tables().values() if file.is_file())]


def _read(table: Table) -> pd.DataFrame:
    """The table itself, or the content of its file."""
    if isinstance(table, pd.DataFrame):
        return table
    readers = {".parquet": pq.read_table, ".csv": partial(csv.read_csv, convert_options=CSV)}
    file = Path(table)
    if file.suffix not in readers:
        raise DataError(
            f"{file}: found suffix {file.suffix!r}, wanted .parquet or .csv; convert the file"
        )
    if not file.is_file():
        raise DataError(
            f"{file}: found no such file, wanted a table; put it there or correct the name"
        )
    with readable(file):
        return plain(readers[file.suffix](file), file)


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Raises DataError that names the file for what pyarrow raises in this block at a damaged one."""
    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        found = " ".join(str(error).split())
        raise DataError(
            f"{file}: found {found}, wanted a readable table; write the file again"
        ) from error


def plain(table: pa.Table | pa.RecordBatch, file: Path) -> pd.DataFrame:
    """As pandas has it, whatever a file says of how to make it; raises DataError for text in another encoding."""
    for field in table.schema:
        if file.suffix == ".csv" and pa.types.is_binary(field.type):
            raise DataError(
                f"{file}, column {field.name!r}: found bytes, wanted text in UTF-8; save it so"
            )
    return table.to_pandas(date_as_object=False, ignore_metadata=True)


def checked_events(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """The columns user, item and, if there is one, time of a table of events; raises DataError if they are bad."""
    table = _columns(table, ["user", "item"], where)
    if "time" in table and len(table):
        time = table["time"]
        number = pd.api.types.is_numeric_dtype(time) and not pd.api.types.is_bool_dtype(time)
        if not (number or pd.api.types.is_datetime64_any_dtype(time)):
            raise DataError(
                f"{where}, column 'time': found {time.dtype} ({time.iloc[:1].tolist()}), wanted numbers or dates; "
                "convert it with pandas.to_datetime (in a CSV file: 2024-01-31 18:30:00)"
            )
        _demand_present(time, where)
        if number and np.isinf(time).any():
            row = int(np.isinf(time).to_numpy().argmax())
            raise DataError(
                f"{where}, column 'time', row {row}: found {time.iloc[row]}, wanted a time; correct it"
            )
    return table


def _columns(table: pd.DataFrame, wanted: list[str], where: str) -> pd.DataFrame:
    """The table with plain, complete, sortable columns ``wanted`` (and ``time`` if it has one)."""
    missing = [column for column in wanted if column not in table]
    if missing:
        raise DataError(
            f"{where}: found columns {list(table.columns)}, wanted {wanted}; rename or add {missing}"
        )
    used = [*wanted, *({"time"} & set(table.columns))]
    if twice := [column for column in used if list(table.columns).count(column) > 1]:
        raise DataError(
            f"{where}: found column {twice[0]!r} twice, wanted it once; rename or remove one"
        )
    table = table[used]
    for column in wanted:
        values = table[column]
        _demand_present(values, where)
        if pd.api.types.is_float_dtype(values) and (values.abs() >= EXACT).any():
            found = values[values.abs() >= EXACT].iloc[0]
            raise DataError(
                f"{where}, column {column!r}: found {found}, wanted ids that a number can hold, below 2^63 and "
                "without a point; write them as text, with a letter in front"
            )
        if isinstance(values.dtype, pd.CategoricalDtype):
            table = table.assign(**{column: values.astype(values.cat.categories.dtype)})
        elif (kind := pd.api.types.infer_dtype(values)).startswith("mixed"):
            raise DataError(
                f"{where}, column {column!r}: found ids of several types ({kind}), wanted one type; convert "
                "them with .astype(str)"
            )
    return table


def _demand_present(values: pd.Series, where: str) -> None:
    if values.isna().any():
        row = int(values.isna().to_numpy().argmax())
        raise DataError(
            f"{where}, column {values.name!r}, row {row}: found no value, wanted an id or a time; "
            "fill it or drop the row"
        )
