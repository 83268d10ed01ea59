"""The property of every input: it works, or one line says what is wrong and nothing is changed."""

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from conure_lib import paths
from conure_lib.cli import main
from conure_lib.errors import ConureError

Attempt = Callable[[], object] | list[str]
"""What meets the input: a call of the library, or the arguments of the command ``conure``."""

HELPFUL = re.compile(
    r"expected|See: conure|reads your own|; run: |; (run|delete|put|keep|drop|check|correct|make) "
)
IN_FULL = "CONURE_ROBUSTNESS" in os.environ  # which make robustness sets
MAX_MESSAGE = 2000  # characters
MAX_MEMORY = 512 << 20  # bytes on top of what the process holds, whatever the size of the input
STATUS = Path("/proc/self/status")


class Fault(AssertionError):
    """An input that was not answered as it must be, or a promise that was not kept."""


@contextlib.contextmanager
def sandbox() -> Iterator[Path]:
    """Give an empty folder that is the working folder and the root of everything written."""
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.object(paths, "ROOT", Path(name)),
        mock.patch.dict(os.environ, {"CONURE_ROOT": name}),
        contextlib.chdir(name),
    ):
        yield Path(name)


def judge(
    attempt: Attempt,
    names: tuple[str, ...] = (),
    is_valid: Callable[[object], bool] = lambda value: True,
    must_refuse: bool = False,
) -> tuple[bool, object]:
    """Try one input in the working folder; return what ``answer`` does.

    Raises Fault unless it gives something valid, or is refused in one helpful line that has one
    of the names. In both cases no file that was there may change; refused, none may be added.
    """
    before, held = files(), _memory("VmRSS")
    refused, value = answer(attempt)
    taken, after = _memory("VmHWM") - held, files()
    if refused:
        line = value.removesuffix("\n")
        if "\n" in line or len(line) > MAX_MESSAGE or not HELPFUL.search(line):
            raise Fault(f"not one helpful line: {line[:1000]!r}")
        if names and not any(name in line for name in names):
            raise Fault(f"none of {names} is named: {line[:1000]!r}")
    elif must_refuse or not is_valid(value):
        raise Fault(f"accepted: {str(value)[:500]!r}")
    changed = dict(after.items() ^ before.items())
    if changed if refused else changed.keys() & before.keys():
        raise Fault(f"changed: {sorted(changed)}; {value}")
    if taken > MAX_MEMORY:
        raise Fault(f"took {taken >> 20} MiB")
    return refused, value


def answer(attempt: Attempt) -> tuple[bool, object]:
    """Return whether it was refused, and the message or what it returned or printed.

    Raises Fault for a traceback or a misplaced message.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if not isinstance(attempt, list):
                return False, attempt()
            code = main(attempt)
        except ConureError as error:
            return True, str(error)
        except Exception as error:
            name = getattr(error, "filename", None)
            if isinstance(error, OSError) and name:  # as the command line says it
                return True, f"{name}: found {error.strerror}, expected a usable path"
            raise Fault(f"{type(error).__name__}: {error}") from error
    if code == 0:
        return False, out.getvalue()
    said = err.getvalue()
    if code not in (1, 2) or said.count("\n") != 1 or not said.startswith("conure: "):
        raise Fault(f"exit code {code}, stdout {out.getvalue()[:200]!r}, stderr {said[:500]!r}")
    return True, said


def files() -> dict[str, tuple[int, int, int]]:
    """Return mode, size and time of every entry below the working folder but folders and locks."""
    found = {}
    for entry in Path().rglob("*"):
        about = entry.lstat()
        if ".locks" not in entry.parts and (entry.is_symlink() or not entry.is_dir()):
            found[str(entry)] = (about.st_mode, about.st_size, about.st_mtime_ns)
    return found


def _memory(field: str) -> int:
    """Return bytes as Linux tells them, else 0; from a look at VmRSS on, the peak counts anew."""
    if not STATUS.exists():
        return 0
    if field == "VmRSS":
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(rf"{field}:\s*(\d+) kB", STATUS.read_text())[1]) * 1024
