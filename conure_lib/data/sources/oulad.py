"""`oulad`: page views of 28,785 students in 22 courses of the Open University; six tasks.

Kuzilek, Hlosta, Zdrahal 2017, "Open University Learning Analytics dataset", Scientific Data 4.
"""

from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from conure_lib import paths
from conure_lib.config import Count
from conure_lib.data import download as fetch
from conure_lib.data.assemble import assemble, label_tables
from conure_lib.data.options import DEFAULTS, AssemblyOptions, SourcePath, checked_options
from conure_lib.data.stream import TaskStream, check
from conure_lib.data.text_tables import read_source
from conure_lib.errors import DataError, TransferError
from conure_lib.files import file_digest

NAME = "oulad"
LICENCE = (
    "Open University Learning Analytics Dataset, CC BY 4.0; cite Kuzilek, Hlosta, Zdrahal (2017), "
    "Scientific Data 4:170171, doi:10.1038/sdata.2017.171"
)
UCI = "https://archive.ics.uci.edu/static/public/349/open+university+learning+analytics+dataset.zip"
DOWNLOADS = {  # file -> address and sha256 of the zip of all seven CSV files
    "oulad.zip": (UCI, "f2ed1902616c1fe8d2824d872c0b7d2d72be435bf0124d077044fe4be2c6d3e4"),
    "anonymisedData.zip": (
        "https://analyse.kmi.open.ac.uk/open-dataset/download",
        "90dda45037939953f979072fa70a809ebe07e90ec783c408762af7698a3825ec",
    ),
}
TEXT, NUMBER = pa.large_string(), pa.int32()
TABLES = {  # table -> the columns that are read of it
    "studentVle": {"id_student": NUMBER, "id_site": NUMBER, "date": NUMBER},
    "vle": {"id_site": NUMBER, "code_presentation": TEXT, "activity_type": TEXT},
    "studentInfo": {"id_student": NUMBER, "code_module": TEXT, "code_presentation": TEXT}
    | {"age_band": TEXT, "gender": TEXT, "final_result": TEXT},
}
CONTENT = ["oucontent", "subpage", "page", "htmlactivity", "dualpane", "glossary", "sharedsubpage"]
CONTENT += ["folder", "dataplus"]
FILES = ["resource", "url"]
STARTS = {"B$": "-02-01", "J$": "-10-01"}  # presentations begin in February and October
VIEW = ["user", "item", "date"]


@checked_options(NAME)
def build(
    *,
    path: SourcePath | None = None,
    students: Count | None = None,
    **options: Unpack[AssemblyOptions],
) -> TaskStream:
    """Build the six-task stream; ``groups`` is the course of each student's last registration.

    T1: views of content pages, one a day and page, by date. T2: files and links opened on one day
    only; T3: on two or more days. T4: up to 35 years or above, T5: gender, T6: final result (4), as
    the student's last registration says (of several at once, that of the last module by its code).
    Days count from the start of a course, which is the first of its month here: so courses that a
    student takes side by side are interleaved. path: the official zip, or a folder of its CSV files
    or of Parquet files with the same columns; else what lies in ROOT/artifacts/downloads/oulad, or
    the zip is downloaded. students: a random subset of those with enough views. options:
    AssemblyOptions.
    """
    where = path or _downloaded()
    found = {name: _read(where, name) for name in TABLES}
    views, pages, people = (table for table, _ in found.values())
    if (again := pages["id_site"].duplicated()).any():
        found = f"found id_site {pages['id_site'][again].iloc[0]} again"
        raise DataError(f"{NAME}, vle: {found}, expected each page once")
    views = views.set_axis(VIEW, axis=1)
    page = pd.Index(pages["id_site"]).get_indexer(views["item"])
    kinds = (pages["activity_type"].isin(kind).to_numpy() for kind in (CONTENT, FILES))
    is_content, is_file = (is_kind[page] & (page >= 0) for is_kind in kinds)
    views["time"] = _start(pages["code_presentation"])[page] + views["date"]
    dropped = {"views of other kinds of pages": int((~is_content & ~is_file).sum())}
    events, opened = (views[kept].drop_duplicates(VIEW) for kept in (is_content, is_file))
    again = len(views) - len(events) - len(opened) - dropped["views of other kinds of pages"]
    dropped |= {"further views of a page on the same day": again}
    people = people.assign(start=_start(people["code_presentation"]))
    registrations = people.sort_values(["start", "code_module"])
    people = registrations.drop_duplicates("id_student", keep="last")
    dropped |= {"earlier registrations of a student": len(registrations) - len(people)}
    people = people.rename(columns={"id_student": "user"})
    if (strange := ~events["user"].isin(people["user"])).any():
        found = f"found no id_student {events['user'][strange].iloc[0]}, who has views"
        raise DataError(f"{NAME}, studentInfo: {found}; expected every student")
    options = DEFAULTS | {"unknown_users": "drop"} | options
    if students:
        counts = events.groupby("user").size()
        enough = counts.index[counts >= options["min_events"]]
        rng = np.random.default_rng([options["seed"], len(enough)])
        chosen = rng.permutation(enough)[:students]
        events, opened, people = (t[t["user"].isin(chosen)] for t in (events, opened, people))
        dropped |= {"students who are not in the random subset": len(enough) - len(chosen)}
    days = opened.rename(columns={"item": "label"}).groupby(["user", "label"]).size()
    days = days.reset_index(name="days")
    rankings = {"files and links opened on one day": days[days["days"] == 1]}
    rankings["files and links returned to"] = days[days["days"] > 1]
    ages = np.where(people["age_band"] == "0-35", "up to 35", "above 35")
    profiles = people[["user"]].assign(**{"age up to 35 or above": ages})
    profiles["gender"] = people["gender"]
    profiles["final result of the last course"] = people["final_result"]
    info = {"source": f"OULAD, {UCI}", "licence": LICENCE, "dropped": dropped}
    info["files"] = {name: digest for name, (_, digest) in found.items()}
    tables, title = label_tables(rankings, profiles), "content pages viewed, by day"
    stream = assemble(NAME, events, tables, title=title, info=info, **options)
    course = people.set_index("user")["code_module"] + " " + people["code_presentation"].to_numpy()
    groups, names = pd.factorize(course.reindex(stream.names.users), sort=True)
    stream.info["groups"] = [*names]
    return check(replace(stream, groups=groups.astype(np.int32)))


def _start(presentations: pd.Series) -> np.ndarray:
    """Return the days on which presentations such as 2013J begin, counted from 1970."""
    dates = presentations.replace(STARTS, regex=True)
    days = pd.to_datetime(dates, format="%Y-%m-%d", errors="coerce")
    if len(wrong := presentations[days.isna()]):
        found = f"found {wrong.iloc[0]!r}, expected one such as 2013J"
        raise DataError(f"{NAME}, code_presentation: {found}")
    return days.to_numpy("datetime64[D]").astype(np.int64)


def _downloaded() -> Path:
    """Return the folder that tables were put into, else the official zip of a site that answers."""
    folder = paths.artifacts("downloads") / NAME
    if any((folder / f"studentVle.{form}").is_file() for form in ("csv", "parquet")):
        return folder
    for file in sorted(DOWNLOADS, key=lambda file: not (folder / file).is_file()):
        url, checksum = DOWNLOADS[file]
        try:
            return fetch.download(url, folder / file, f"sha256:{checksum}", LICENCE)
        except TransferError as error:
            failed = error
    raise failed


def _read(where: Path, name: str) -> tuple[pd.DataFrame, str]:
    """Read the columns of a table that are used, none of their values missing; and its sha256."""
    schema, file = pa.schema(TABLES[name]), where / f"{name}.parquet"
    try:
        if file.is_file():
            table, digest = pq.read_table(file, columns=schema.names), file_digest(file)
            table = table.select(schema.names).cast(schema)
        else:
            text, file, digest = read_source(where, f"{name}.csv")
            taken = csv.ConvertOptions(column_types=schema, include_columns=schema.names)
            table = csv.read_csv(pa.BufferReader(text), convert_options=taken)
    except (pa.ArrowException, KeyError, OSError) as error:
        found = " ".join(str(error).split())[:200]
        raise DataError(f"{file}: found {found}, expected the table of OULAD") from error
    if not len(table):
        raise DataError(f"{file}: found no row, expected some")
    for column in schema.names:
        if table[column].null_count:
            raise DataError(f"{file}, column {column!r}: found no value, expected one in each row")
    return table.to_pandas(), digest
