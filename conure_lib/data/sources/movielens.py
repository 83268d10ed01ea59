"""MovieLens as task streams: T1 = ratings below 4, T2 = liked, T3 = 5 stars, T4..T6 = profile.

Data: Harper and Konstan 2015, "The MovieLens Datasets". Reading of the stars: paper, section 6.1.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Unpack

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from conure_lib import paths
from conure_lib.data import download as fetch
from conure_lib.data.assemble import assemble, label_tables
from conure_lib.data.options import AssemblyOptions, SourcePath, checked_options
from conure_lib.data.stream import TaskStream
from conure_lib.data.text_tables import bad_line, demand_pattern, lines_of, read_source
from conure_lib.errors import DataError, TransferError

SOURCE = "MovieLens, https://grouplens.org/datasets/movielens/"
URL = "https://files.grouplens.org/datasets/movielens/{}.zip"
CHECKSUMS = {
    "ml-100k": "md5:0e33842e24a9c977be4e0107933c0723",
    "ml-1m": "md5:c4d9eecfca2ab87c1945afe126590906",
    "ml-latest-small": None,  # a development release that changes
    "ml-25m": "md5:6b51fb2759a8657d3bfcbfc42b592ada",
    "ml-32m": "md5:d472be332d4daa821edc399621853b57",
}
PROFILED = {"ml-100k": ("u.data", "u.user"), "ml-1m": ("ratings.dat", "users.dat")}
LICENCE = (
    "MovieLens, GroupLens Research, University of Minnesota: for research only; acknowledge it in "
    "publications; no commercial use without permission; {} (README in the zip: the full terms)."
)
SHARING = LICENCE.format("redistribute it only as the README allows, under the same terms")
LICENCES = dict.fromkeys(CHECKSUMS, SHARING)
LICENCES |= dict.fromkeys(PROFILED, LICENCE.format("do not redistribute it"))
LIKED = {"4-or-4.5": (4.0, 4.5), "above-4": (4.5,)}  # the stars that T2 takes
WHEEL = "recbole==1.2.1"  # holds copies of u.data and u.user, each with a header line added
WHEEL_FOLDER = "recbole/dataset_example/ml-100k"
WHEEL_FILES = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}

AGE_FROM = [1, 18, 25, 35, 45, 50, 56]  # the first year of each group; also the codes of ml-1m
AGE_GROUPS = np.array(["0-17", "18-24", "25-34", "35-44", "45-49", "50-55", "56+"])
JOBS = (
    "other|academic/educator|artist|clerical/admin|college/grad student|customer service"
    "|doctor/health care|executive/managerial|farmer|homemaker|K-12 student|lawyer|programmer"
    "|retired|sales/marketing|scientist|self-employed|technician/engineer|tradesman/craftsman"
    "|unemployed|writer"
)  # in the order of their codes 0..20 in ml-1m
JOBS_1M = {str(code): job for code, job in enumerate(JOBS.split("|"))}
TYPES = dict(user=pa.int32(), item=pa.int32(), rating=pa.float32(), time=pa.int64(), age=pa.int8())
STARS, HALVES = r"[1-5]", r"0\.5|[1-4](\.[05])?|5(\.0)?"
RATING = {"user": r"[1-9]\d{0,8}", "item": r"[1-9]\d{0,8}", "rating": STARS, "time": r"\d{1,11}"}
USER, ANY = {"user": RATING["user"]}, r"[^\r]*"
PERSON = USER | {"age": r"[1-9]\d?|1[01]\d", "gender": "[FM]", "job": "[a-z]+", "zip code": ANY}
CODED = USER | {"gender": "[FM]", "age": "1|18|25|35|45|50|56", "job": r"1?\d|20", "zip code": ANY}
INTER_100K = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
USER_100K = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"
LAYOUTS = {  # file -> separator, field -> expression of valid values, header line
    "u.data": ("\t", RATING, ""),
    "u.user": ("|", PERSON, ""),
    "ml-100k.inter": ("\t", RATING, INTER_100K),
    "ml-100k.user": ("\t", PERSON, USER_100K),
    "ratings.dat": ("::", RATING, ""),
    "users.dat": ("::", CODED, ""),
    "ratings.csv": (",", RATING | {"rating": HALVES}, "userId,movieId,rating,timestamp"),
}


def builder(name: str) -> Callable[..., TaskStream]:
    """Return the builder of a release: with profiles (ml-100k, ml-1m), or of ratings alone."""

    @checked_options(name)
    def build(
        *,
        path: SourcePath | None = None,
        t2_reading: Literal["4-or-4.5", "above-4"] = "4-or-4.5",
        **options: Unpack[AssemblyOptions],
    ) -> TaskStream:
        """Build T1: below 4 stars, T2: liked, T3: 5 stars, and T4..T6: age, gender, occupation.

        path: ratings.csv, or a folder or official zip with the files; else what lies unpacked in
        ROOT/artifacts/downloads/NAME, or the zip is downloaded.
        If that fails and CONURE_ALLOW_WHEEL=1 in the environment gives consent, the same ratings of
        ml-100k come out of the wheel recbole==1.2.1. t2_reading: the paper's "higher than 4" as 4
        and 4.5 stars, or literally as 4.5 only (4.0 is in no task). options: AssemblyOptions.
        """
        whole = name in PROFILED and t2_reading == "4-or-4.5"  # these releases have no half stars
        return _stream(name, path, options, (4.0,) if whole else LIKED[t2_reading])

    return build


def _downloaded(name: str) -> Path:
    """Return the folder that files were put into, the official zip, or the wheel's copies."""
    folder, has_copy = paths.artifacts("downloads") / name, name == "ml-100k"
    archive = folder / f"{name}.zip"
    if all((folder / file).is_file() for file in PROFILED.get(name, ("ratings.csv",))):
        return folder  # put there by hand
    copied = has_copy and all((folder / file).is_file() for file in WHEEL_FILES)
    if archive.is_file() or not copied:
        try:
            return fetch.download(URL.format(name), archive, CHECKSUMS[name], LICENCES[name])
        except TransferError as error:
            fix = f"; or set CONURE_ALLOW_WHEEL=1 to take the same ratings out of {WHEEL} on PyPI"
            if not has_copy or os.environ.get("CONURE_ALLOW_WHEEL") != "1":
                raise TransferError(f"{error}{fix if has_copy else ''}") from error
    fetch.from_wheel(WHEEL, WHEEL_FOLDER, WHEEL_FILES, folder)
    return folder


def _stream(name: str, path: Path | None, options: dict, liked: tuple) -> TaskStream:
    """Make tasks of the ratings' file and, if there is one, the users' file."""
    where, files = path or _downloaded(name), PROFILED.get(name, ("ratings.csv",))
    if where.is_file() and len(files) > 1 and where.suffix != ".zip":
        raise DataError(f"{where}: found a file, expected the official zip or a folder")
    if name == "ml-100k" and (where / "ml-100k.inter").is_file():
        files = files if (where / "u.data").is_file() else tuple(WHEEL_FILES)
    tables, digests = zip(*(_read(where, f"{name}/{file}") for file in files), strict=True)
    ratings = tables[0]
    stars, words = ratings["rating"], f"{' or '.join(f'{value:g}' for value in liked)} stars"
    pairs = ratings[["user", "item"]].set_axis(["user", "label"], axis=1)
    rankings = {f"movies rated {words}": pairs[stars.isin(liked)]}
    rankings["movies rated 5 stars"] = pairs[stars == 5]
    profiles = pd.DataFrame(columns=["user"])
    for users in tables[1:]:
        ages = AGE_GROUPS[np.searchsorted(AGE_FROM, users["age"], side="right") - 1]
        profiles = users[["user"]].assign(**{"age group": ages, "gender": users["gender"]})
        profiles["occupation"] = users["job"].replace(JOBS_1M)
    info = {"source": SOURCE, "licence": LICENCES[name]}
    info["files"] = dict(zip(files, digests, strict=True))
    info["readings"] = {"T1": "ratings below 4 stars by time", "T2": words}
    unused = (stars >= 4) & (stars < 5) & ~stars.isin(liked)
    info["dropped"] = {"ratings of 4 stars, which belong to no task": int(unused.sum())}
    options, title = {"unknown_users": "drop"} | options, "movies rated below 4 stars by time"
    tasks = label_tables(rankings, profiles)
    return assemble(name, ratings[stars < 4], tasks, title=title, info=info, **options)


def _read(where: Path, member: str) -> tuple[pd.DataFrame, str]:
    """Read a file of ``LAYOUTS``, in which each user or (user, item) occurs once; its sha256."""
    text, file, digest = read_source(where, member)
    separator, fields, expected = LAYOUTS[member.rpartition("/")[2]]
    header, _, text = text.partition(b"\n") if expected else (b"", b"", text)
    if header != expected.encode():
        raise bad_line(file, 1, header.decode("latin-1"), repr(expected))
    pattern = re.escape(separator).join(f"(?:{field})" for field in fields.values())
    first = 2 if expected else 1
    demand_pattern(lines_of(text), pattern, file, f"values of {separator.join(fields)!r}", first)
    one = separator if len(separator) == 1 else "\t"
    try:
        table = csv.read_csv(
            pa.BufferReader(text.replace(separator.encode(), one.encode())),
            csv.ReadOptions(column_names=list(fields)),
            csv.ParseOptions(delimiter=one, quote_char=False),
            csv.ConvertOptions(column_types={f: TYPES.get(f, pa.string()) for f in fields}),
        ).to_pandas()
    except pa.ArrowException as error:  # in the last field, of which any text is expected
        found = " ".join(str(error).split())[:200]
        raise DataError(f"{file}: found {found}, expected {len(fields)} fields a line") from error
    key = [name for name in ("user", "item") if name in fields]
    if len(rows := np.flatnonzero(table.duplicated(key))):
        found = ", ".join(f"{name} {table[name][rows[0]]}" for name in key)
        raise bad_line(file, rows[0] + first, found, "it once")
    return table, digest
