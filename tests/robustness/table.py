"""All bad inputs of the campaign, and the odd ones that are right."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from conure_lib.data.stream import TaskStream

from . import bad_commands, bad_files, bad_models, bad_settings
from .cases import Attempt, Case, Fault, answer, world


def all_cases() -> Iterator[Case]:
    for part in (bad_settings, bad_files, bad_models, bad_commands):
        yield from part.cases()


def all_accepted() -> Iterator[tuple[str, Callable[[Path], Attempt], Callable[[Path], Attempt]]]:
    yield from bad_files.accepted()
    yield from bad_commands.accepted()


def try_accepted(
    name: str, odd: Callable[[Path], Attempt], plain: Callable[[Path], Attempt]
) -> None:
    """Raises Fault unless the odd input gives the same stream as the plain one."""
    digests = []
    for prepare in (odd, plain):
        with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as root:
            got = answer(prepare(root))
            if not isinstance(got.value, TaskStream):
                raise Fault(f"{name}: {got.text}")
            digests.append(got.value.digest())
    if len(set(digests)) != 1:
        raise Fault(f"{name}: another stream than that of the plain file")
