"""Task streams from every source, behind one function: ``load(DataConfig(dataset, options))``."""

from inspect import signature

from .. import paths
from ..config import DataConfig, content_id
from . import complete_journey, synthetic
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
    folder = paths.streams() / f"{config.dataset}-{content_id([STREAM_VERSION, config.options])}"
    return prepared(folder, lambda: build(**config.options))
