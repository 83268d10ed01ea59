"""Task streams from every source, behind one function: ``load(DataConfig(dataset, options))``."""

from inspect import signature
from pathlib import Path

from .. import paths
from ..config import DataConfig, content_id
from . import complete_journey, custom, movielens, synthetic, ttl
from .assemble import LabelTable, assemble
from .store import load_stream, prepared, save_stream
from .stream import TEST, TRAIN, VALIDATION, DataError, Task, TaskStream

STREAM_VERSION = 1  # raise it when a builder gives another stream for the same options

__all__ = [
    "BUILDERS", "TEST", "TRAIN", "VALIDATION", "DataError", "LabelTable", "Task", "TaskStream",
    "assemble", "load", "load_stream", "save_stream",
]  # fmt: skip

BUILDERS = {
    "synthetic": synthetic.build,
    "complete-journey": complete_journey.build,
    "ml-100k": movielens.build_ml_100k,
    "ml-1m": movielens.build_ml_1m,
    "ml-latest-small": movielens.build_ml_latest_small,
    "ml-25m": movielens.build_ml_25m,
    "ml-32m": movielens.build_ml_32m,
    "ttl": ttl.build,
    "custom": custom.build,
}
"""Dataset -> builder; the options of DataConfig are its keyword arguments."""


def load(config: DataConfig) -> TaskStream:
    """The task stream of a dataset: prepared once, then read from disk in a moment.

    Raises DataError for an unknown dataset or option, or input that cannot be used.
    """
    if config.dataset not in BUILDERS:
        raise DataError(f"dataset {config.dataset!r} is unknown; known are {', '.join(BUILDERS)}")
    build = BUILDERS[config.dataset]
    allowed = signature(build).parameters
    for name in config.options:
        if name not in allowed:
            raise DataError(f"{config.dataset} has no option {name!r}; it has {', '.join(allowed)}")
    key = content_id([STREAM_VERSION, config.options, _files_now(config.options.get("path"))])
    folder = paths.streams() / f"{config.dataset}-{key}"
    return prepared(folder, lambda: build(**config.options))


def at_hand() -> list[DataConfig]:
    """The datasets that need no download now: generated, shipped by a package, or prepared before."""
    prepared_names = {folder.name.rpartition("-")[0] for folder in paths.streams().glob("[!.]*")}
    ready = ["synthetic", "complete-journey"]
    ready += [name for name in BUILDERS if name.startswith("ml-") and name in prepared_names]
    return [DataConfig(name) for name in ready]


def _files_now(path: str | None) -> list:
    """Name, size and time of the files behind a path: a stream prepared from other files is not taken."""
    if path is None or not Path(path).exists():
        return []
    files = sorted(Path(path).iterdir()) if Path(path).is_dir() else [Path(path)]
    return [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]
