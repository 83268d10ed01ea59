"""The files of the MovieLens releases: their formats, and the tables in them, checked."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from conure_lib.data import text_tables as texts
from conure_lib.data.text_tables import Field, Layout, bad_line, only_numbers
from conure_lib.errors import DataError

AGE_FROM = np.array(
    [1, 18, 25, 35, 45, 50, 56]
)  # the first year of each group; also the age codes of ml-1m
AGE_GROUPS = np.array(["0-17", "18-24", "25-34", "35-44", "45-49", "50-55", "56+"])
OCCUPATIONS_1M = [
    "other",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
]  # in the order of their codes 0..20

USER = Field("user", r"[1-9]\d{0,8}", "a whole number from 1 to 999999999")
ITEM = Field("item", USER.pattern, USER.wanted)
WHOLE = Field("rating", r"[1-5]", "1, 2, 3, 4 or 5")
HALF = Field("rating", r"0\.5|[1-4](\.[05])?|5(\.0)?", "0.5, 1.0, 1.5, ... 5.0")
TIME = Field("timestamp", r"\d{1,11}", "whole seconds since 1970, not negative")
YEARS = Field("age", r"[1-9]\d?|1[01]\d", "an age from 1 to 119 years")
CODE = Field("age", "1|18|25|35|45|50|56", "one of the age codes 1, 18, 25, 35, 45, 50, 56")
GENDER = Field("gender", "[FM]", "F or M")
JOBS = (
    "administrator|artist|doctor|educator|engineer|entertainment|executive|healthcare|homemaker|lawyer|librarian"
    "|marketing|none|other|programmer|retired|salesman|scientist|student|technician|writer"
)
WORK = Field("occupation", JOBS, "one of the 21 names in u.occupation")
WORK_CODE = Field("occupation", r"1?\d|20", "a code from 0 to 20")
ZIP = Field("zip code", ".*", "text")
TYPES = {"user": pa.int32(), "item": pa.int32(), "rating": pa.float32(), "timestamp": pa.int64()}
RATINGS_100K, USERS_100K = (USER, ITEM, WHOLE, TIME), (USER, YEARS, GENDER, WORK, ZIP)
INTER_HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
USER_HEADER = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"
LAYOUTS = {
    "u.data": Layout("\t", RATINGS_100K),
    "u.user": Layout("|", USERS_100K),
    "ml-100k.inter": Layout("\t", RATINGS_100K, INTER_HEADER),
    "ml-100k.user": Layout("\t", USERS_100K, USER_HEADER),
    "ratings.dat": Layout("::", (USER, ITEM, WHOLE, TIME)),
    "users.dat": Layout("::", (USER, GENDER, CODE, WORK_CODE, ZIP)),
    "ratings.csv": Layout(",", (USER, ITEM, HALF, TIME), "userId,movieId,rating,timestamp"),
}


def read_ratings(
    where: Path, member: str, known: np.ndarray | None = None
) -> tuple[pd.DataFrame, str]:
    """Columns user, item (int32), rating (float32), sorted by user, time, item; and the file's sha256.

    where: a zip, a folder or the file itself (see ``texts.read_text``). known: the users that may occur.
    Raises DataError that names file, line, field and mend.
    """
    text, file, digest = texts.read_text(where, member)
    layout = LAYOUTS[member.rpartition("/")[2]]
    layout.check_header(text, file)
    skipped = int(bool(layout.header))
    columns = _columns(text, layout, skipped)
    if columns is None:
        for _ in layout.records(text, file):  # raises at the first bad line
            pass
        raise DataError(
            f"{file}: found a file that does not parse, wanted the official format; {texts.MEND}"
        )
    del text  # as large as all that follows
    user, item, rating, time = columns

    # The official files stand in this order already: a stable sort finds that out in one pass.
    pair = user.astype(np.int64) << 32 | item
    order = np.argsort(pair, kind="stable")
    pair = pair[order]
    repeated = order[1:][pair[1:] == pair[:-1]]
    if len(repeated):
        row = int(repeated.min())
        found = f"user {user[row]}, item {item[row]}"
        raise bad_line(file, row + 1 + skipped, "user and item", found, "each pair once")
    if known is not None and (strange := ~np.isin(user, known)).any():
        row = int(np.argmax(strange))
        raise bad_line(
            file, row + 1 + skipped, "user", int(user[row]), "a user listed in the users file"
        )
    order = order[np.lexsort((time[order], user[order]))]
    return pd.DataFrame(
        {"user": user[order], "item": item[order], "rating": rating[order]}, copy=False
    ), digest


def _columns(text: bytes, layout: Layout, skipped: int) -> list[np.ndarray] | None:
    """The columns of ``TYPES``, or None if a line is bad: which one is looked for only then."""
    grid = np.arange(1, 6) if WHOLE in layout.fields else np.arange(1, 11) / 2
    tabbed = text.replace(b"::", b"\t") if layout.separator == "::" else text
    options = texts.csv_options(layout.separator.replace("::", "\t"), TYPES, skipped)
    if not only_numbers(
        tabbed, b"\t" if layout.separator == "::" else layout.separator.encode(), layout.header
    ):
        return None
    try:
        table = csv.read_csv(pa.BufferReader(tabbed), **options)
    except pa.ArrowInvalid:
        return None
    user, item, rating, time = columns = [table[column].to_numpy() for column in TYPES]
    whole = (
        all(c.min() > 0 and c.max() < 10**9 for c in (user, item))
        and 0 <= time.min() <= time.max() < 10**11
    )
    valid = whole and np.isin(rating, grid).all()
    return columns if valid else None


def read_users(where: Path, member: str) -> tuple[pd.DataFrame, str]:
    """Columns user, age (group), gender, occupation (names), sorted by user; and the file's sha256.

    where and errors: as in ``read_ratings``.
    """
    text, file, digest = texts.read_text(where, member)
    layout = LAYOUTS[member.rpartition("/")[2]]
    layout.check_header(text, file)
    names, rows = [field.name for field in layout.fields], {}
    for line, values in layout.records(text, file):
        if values[0] in rows:
            raise bad_line(file, line, "user", values[0], "each user once")
        rows[values[0]] = values
    users = pd.DataFrame(list(rows.values()), columns=names).astype(
        {"user": np.int32, "age": np.int64}
    )
    users["age"] = AGE_GROUPS[np.searchsorted(AGE_FROM, users["age"], side="right") - 1]
    if WORK_CODE in layout.fields:
        users["occupation"] = np.array(OCCUPATIONS_1M)[users["occupation"].astype(np.int64)]
    return users.sort_values("user", ignore_index=True), digest
