"""Options of the builders of streams: their types and ranges, checked by pydantic."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, validate_call
from typing_extensions import TypedDict  # pydantic asks for this one below Python 3.12

from conure_lib.config import MAX_INT, Count, Seed, explain
from conure_lib.data.stream import Split
from conure_lib.errors import DataError
from conure_lib.files import path_problem

MAX_LENGTH = 1 << 16  # items of a sequence


def _existing(path: Path) -> Path:
    if problem := path_problem(path) or ("" if path.exists() else "no such file"):
        raise ValueError(f"found {str(path)[:80]!r} ({problem}), expected a file or folder")
    return path


SourcePath = Annotated[Path, Field(strict=False), AfterValidator(_existing)]
Length = Annotated[int, Field(ge=2, le=MAX_LENGTH)]
OnProblem = Literal["error", "drop"]


class AssemblyOptions(TypedDict, total=False):
    """How ``assemble`` makes a stream out of tables; ``DEFAULTS`` hold for what is not given."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    length: Length  # of a T1 sequence: a user's events are cut into such windows from the end
    min_events: Annotated[int, Field(ge=2, le=MAX_INT)]  # of a user, and of a first window
    min_item_count: Count  # events of an item; users' events are counted after this
    min_label_count: Count  # instances of a label of a ranking task
    split: Split  # into training, validation and test part: six folds, or shares
    seed: Seed  # draws the order of events at equal times, and the split
    unknown_users: OnProblem  # what to do with the labels of users without T1


DEFAULTS: AssemblyOptions = {"length": 30, "min_events": 5, "min_item_count": 1}
DEFAULTS |= {"min_label_count": 1, "split": "folds", "seed": 0, "unknown_users": "error"}


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Raise DataError, which begins with ``name``, for what pydantic refuses in this block."""
    try:
        yield
    except ValidationError as error:
        raise DataError(explain(error, name)) from error


def checked_options(name: str) -> Callable[[Callable], Callable]:
    """Return a decorator: arguments that do not fit raise DataError, which begins with ``name``."""
    return lambda build: explained(name)(validate_call(build, config=ConfigDict(strict=True)))
