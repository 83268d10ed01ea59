"""A bad input and what its answer must be: one clear error, nothing written, no memory taken."""

import contextlib
import hashlib
import io
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from conure_lib import paths
from conure_lib.cli import main
from conure_lib.cli.entry import MISTAKES
from conure_lib.errors import DamagedResultError

Attempt = Callable[[], object] | list[str]
"""What meets the input: a call of the library, or the arguments of the command ``conure``."""

WANTED = re.compile(
    r"wanted|; use |known are|choose |see conure|; it has|there are|needs |goes with|pass |run: "
    r"|drop |keep one|correct |rename "
)
"""Every answer says in one of these ways what would be right, or what to do."""
LONGEST_ANSWER = 2000  # characters
MOST_MEMORY = 512 << 20  # bytes on top of what the process holds, whatever the size of the input
HEAD = 1 << 16  # bytes of a file that tell it from others: some are sparse and huge
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Case:
    """One bad input. target: what it is given to. name: unique within the target.

    prepare: writes the input into an empty folder, its working folder, and returns what meets it. said: words that
    the answer must hold: the place, what was found, what is wanted.
    """

    target: str
    name: str
    prepare: Callable[[Path], Attempt]
    said: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.target}: {self.name}"


@dataclass(frozen=True)
class Answer:
    """How an attempt ended. refused: with an error of the project, whose text is ``text``."""

    refused: bool
    text: str
    value: object = None


class Fault(AssertionError):
    """An input that was not answered as it must be."""


@contextlib.contextmanager
def world(root: Path) -> Iterator[Path]:
    """Everything that is written goes below ``root``, which is the working folder."""
    with (
        mock.patch.object(paths, "ROOT", root),
        mock.patch.dict(os.environ, {"CONURE_ROOT": str(root)}),
        contextlib.chdir(root),
    ):
        yield root


def answer(attempt: Attempt) -> Answer:
    """What comes of it. Raises Fault for an exception that is none of the project's, or a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if not isinstance(attempt, list):
                return Answer(False, "", attempt())
            code = main(attempt)
        except (*MISTAKES, DamagedResultError) as mistake:
            return Answer(True, str(mistake))
        except SystemExit as stopped:
            code = stopped.code
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise Fault(f"{type(error).__name__}: {error}") from error
    if code == 0:
        return Answer(False, out.getvalue())
    said = err.getvalue()
    if code != 2 or out.getvalue() or said.count("\n") != 1 or not said.startswith("conure"):
        raise Fault(f"exit code {code}, stdout {out.getvalue()[:200]!r}, stderr {said[:500]!r}")
    return Answer(True, said)


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every entry below a folder with its mode, size and time of change."""
    found = {}
    for entry in sorted(folder.rglob("*")):
        about = entry.lstat()
        found[str(entry.relative_to(folder))] = (about.st_mode, about.st_size, about.st_mtime_ns)
    return found


def fingerprint(target: str, folder: Path, attempt: Attempt, name: str) -> str:
    """What tells this input from all others: the target, the files, the arguments (of a call: its name)."""
    sha = hashlib.sha256(
        repr((target, attempt if isinstance(attempt, list) else name)).encode("utf-8", "replace")
    )
    for entry in sorted(folder.rglob("*")):
        about = entry.lstat()
        link = os.readlink(entry) if entry.is_symlink() else ""
        facts = (str(entry.relative_to(folder)), stat.S_IFMT(about.st_mode), about.st_size, link)
        sha.update(repr(facts).encode("utf-8", "replace"))
        if stat.S_ISREG(about.st_mode):
            sha.update(entry.open("rb").read(HEAD))
    return sha.hexdigest()


def try_case(case: Case) -> tuple[str, float]:
    """Tries one bad input; returns its fingerprint and the memory in MiB that the answer took.

    Raises Fault unless it is refused in one clear sentence, nothing is written and memory stays bounded.
    """
    with tempfile.TemporaryDirectory() as name, world(Path(name)) as root:
        attempt = case.prepare(root)
        mark, before = fingerprint(case.target, root, attempt, case.name), tree(root)
        held = _reset_peak()
        got = answer(attempt)
        taken = _peak() - held
        text = got.text.rstrip("\n")
        if not got.refused:
            raise Fault(f"{case}: accepted: {got.value!r}"[:500])
        if missing := [words for words in case.said if words not in text]:
            raise Fault(f"{case}: {missing} not in {text!r}")
        if "\n" in text or len(text) > LONGEST_ANSWER or not WANTED.search(text):
            raise Fault(f"{case}: not one clear sentence: {text[:3000]!r}")
        after = tree(root)
        if after != before:
            raise Fault(f"{case}: written: {sorted(set(after.items()) ^ set(before.items()))}")
        if taken > MOST_MEMORY:
            raise Fault(f"{case}: took {taken >> 20} MiB")
    return mark, taken / 2**20


def _reset_peak() -> int:
    """Bytes resident now; the peak counts from here on."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _field("VmRSS")


def _peak() -> int:
    return _field("VmHWM")


def _field(name: str) -> int:
    """Bytes, as Linux tells; 0 elsewhere, where memory is not checked."""
    if not STATUS.exists():
        return 0
    return int(re.search(rf"{name}:\s*(\d+) kB", STATUS.read_text())[1]) * 1024
