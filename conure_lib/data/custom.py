"""`custom`: your own tables of events and labels as a task stream, from Python or from a folder.

In Python: ``from_tables(events, {"T2": ("ranking", likes), "T3": ("classification", ages)})``.
As a folder: the tables as Parquet or CSV, and ``tasks.json`` that says what they are (see ``build``).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from .assemble import LabelTable, assemble
from .fetch import source_digest
from .stream import DataError, Kind, TaskStream

Table = pd.DataFrame | str | Path
"""A DataFrame, or the path of a Parquet or CSV file (CSV: comma, one header line, UTF-8)."""
KINDS = [kind for kind in get_args(Kind) if kind != "sequence"]
TITLE = "events in time order"
TASKS_FILE = "tasks.json"


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
        labels = [LabelTable(task, kind, task, _read(table)) for task, (kind, table) in labels.items()]
    table = _columns(_read(events), ["user", "item"], f"{name}: events")
    if "time" in table:
        time = table["time"]
        if not (pd.api.types.is_numeric_dtype(time) or pd.api.types.is_datetime64_any_dtype(time)):
            raise DataError(
                f"{name}: events, column 'time': found {time.dtype} ({time.iloc[:1].tolist()}), wanted numbers "
                "or dates; convert it with pandas.to_datetime (in a CSV file: 2024-01-31 18:30:00)"
            )
        _demand_present(time, f"{name}: events")
        table = table.sort_values("time", kind="stable")
    tables = []
    for task in labels:
        where = f"{name}: task {task.name}"
        if task.kind not in KINDS:
            raise DataError(f"{where}: found kind {task.kind!r}, wanted {' or '.join(KINDS)}; correct it")
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
        name, table[["user", "item"]], tables, length=length, title=title, min_events=min_events,
        min_item_count=min_item_count, min_label_count=min_label_count, split=split, split_seed=split_seed,
        unknown_users=unknown_users, info=info,
    )  # fmt: skip


def build(
    *, path: str | Path, name: str = "custom", length: int = 30, min_events: int = 5, min_item_count: int = 1,
    min_label_count: int = 1, split: str = "80/5/15", split_seed: int = 0, unknown_users: str = "error",
) -> TaskStream:  # fmt: skip
    """The stream that a folder with ``tasks.json`` describes; options as in ``from_tables``.

    ``{"title": "listened songs", "events": "events.parquet", "tasks": [{"name": "T2", "kind": "ranking",
    "title": "liked songs", "file": "likes.csv"}]}``; titles may be left out. Files are Parquet or CSV and lie
    inside the folder. Raises DataError that names file, field, what was found and wanted, and the mend.
    """
    plan_file = Path(path) / TASKS_FILE
    try:
        plan = json.loads(plan_file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{plan_file}: found no such file, wanted the plan of the tasks; write it") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{plan_file}: found {error}, wanted JSON text in UTF-8; correct the file") from error
    _check_entry(plan, {"events": str, "tasks": list}, {"title": str}, f"{plan_file}")
    for number, entry in enumerate(plan["tasks"]):
        wanted = {"name": str, "kind": str, "file": str}
        _check_entry(entry, wanted, {"title": str}, f"{plan_file}, tasks[{number}]")
    files = {
        file: _inside(Path(path), file, plan_file)
        for file in [plan["events"]] + [t["file"] for t in plan["tasks"]]
    }
    tables = [
        LabelTable(entry["name"], entry["kind"], entry.get("title", entry["name"]), _read(files[entry["file"]]))
        for entry in plan["tasks"]
    ]
    info = {"files": {name: source_digest(file) for name, file in files.items()}}
    return from_tables(
        files[plan["events"]], tables, name=name, title=plan.get("title", TITLE), length=length,
        min_events=min_events, min_item_count=min_item_count, min_label_count=min_label_count, split=split,
        split_seed=split_seed, unknown_users=unknown_users, info=info,
    )  # fmt: skip


def _check_entry(entry: object, wanted: dict[str, type], optional: dict[str, type], where: str) -> None:
    """Raises DataError unless a JSON object has the wanted keys, no unknown ones, and values of their types."""
    known = wanted | optional
    if not isinstance(entry, dict) or not wanted.keys() <= entry.keys() <= known.keys():
        found = sorted(entry) if isinstance(entry, dict) else entry
        raise DataError(
            f"{where}: found {found!r}, wanted an object with {', '.join(wanted)} (optional: "
            f"{', '.join(optional)}); correct the entry"
        )
    for key, value in entry.items():
        if not isinstance(value, known[key]):
            raise DataError(f"{where}, {key}: found {value!r}, wanted a {known[key].__name__}; correct it")


def _inside(folder: Path, file: str, plan_file: Path) -> Path:
    """The file's path; raises DataError when it leads out of the folder, as by ``..`` or a link."""
    target = (folder / file).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise DataError(f"{plan_file}: found {file!r}, wanted a file inside the folder; put it there")
    return target


def _read(table: Table) -> pd.DataFrame:
    """The table itself, or the content of its file."""
    if isinstance(table, pd.DataFrame):
        return table
    readers = {".parquet": pq.read_table, ".csv": csv.read_csv}
    file = Path(table)
    if file.suffix not in readers:
        raise DataError(f"{file}: found suffix {file.suffix!r}, wanted .parquet or .csv; convert the file")
    if not file.is_file():
        raise DataError(f"{file}: found no such file, wanted a table; put it there or correct the name")
    try:
        return readers[file.suffix](file).to_pandas(date_as_object=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: found {error}, wanted a readable table; write the file again") from error


def _columns(table: pd.DataFrame, wanted: list[str], where: str) -> pd.DataFrame:
    """The table with plain, complete, sortable columns ``wanted`` (and ``time`` if it has one)."""
    missing = [column for column in wanted if column not in table]
    if missing:
        raise DataError(f"{where}: found columns {list(table.columns)}, wanted {wanted}; rename or add {missing}")
    table = table[[*wanted, *({"time"} & set(table.columns))]]
    for column in wanted:
        values = table[column]
        _demand_present(values, where)
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
