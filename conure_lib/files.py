"""Small text within bounds, digests, locks, and files and folders written in one step."""

import errno
import hashlib
import json
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pandas as pd
import psutil
from filelock import FileLock
from safetensors import SafetensorError

from conure_lib.errors import StorageError

UMASK = threading.Lock()  # which can only be read by setting it
MAX_TEXT_BYTES = 1 << 24  # plans and records have some kilobytes


def regular(path: Path) -> Path:
    """Return the path; raise OSError for a folder, pipe or device: a pipe waits for its writer."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "a folder, a pipe or a device", str(path))
    return path


def read_text(path: Path) -> str:
    """Read a small UTF-8 text file. Raises OSError, or ValueError if it is larger or not UTF-8."""
    if (size := regular(path).stat().st_size) > MAX_TEXT_BYTES:
        raise ValueError(f"{size} bytes, more than {MAX_TEXT_BYTES}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:  # whose repr holds the whole file
        raise ValueError(f"no UTF-8 text ({error.reason} at byte {error.start})") from None


def read_json(path: Path) -> object:
    """Read a small JSON file. Raises OSError, or ValueError, also for a key that occurs twice."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(content := dict(pairs)) < len(pairs):
            raise ValueError(f"a key twice among {', '.join(key for key, _ in pairs)[:80]}")
        return content

    try:
        return json.loads(read_text(path), object_pairs_hook=unique)
    except RecursionError as error:
        raise ValueError("lists or objects nested too deeply") from error


def write_json(path: Path, content: object) -> None:
    """Write JSON with sorted keys: the same content gives the same bytes."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # half a character


def path_problem(path: str | Path) -> str:
    """Say why no file can be at a path (a name too long, a link to itself); "" if one can."""
    try:
        with suppress(FileNotFoundError):
            Path(path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def file_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file, read block by block. Raises OSError that names it."""
    try:
        with regular(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:  # a failed read does not say of what
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def file_lock(target: Path) -> Iterator[None]:
    """Let one process at a time make ``target``; the lock of a dead process is free at once."""
    with _storing(target):
        held = FileLock(target.parent / ".locks" / target.name).acquire()
    with held:
        yield


def atomic_folder(target: Path, replace: bool = False) -> AbstractContextManager[Path]:
    """Give a temporary folder that becomes ``target`` when the block ends well.

    What is there is replaced if asked; else another process was quicker with the same content.
    """
    return _atomic(target, "", replace)


def atomic_file(target: Path) -> AbstractContextManager[Path]:
    """Give a temporary file that takes the place of ``target`` when the block ends well."""
    return _atomic(target, target.name)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table in one step, numbers with six digits, and the folder if there is none."""
    with atomic_file(path) as part:
        table.to_csv(part, index=False, float_format="%.6g")


@contextmanager
def _atomic(target: Path, name: str, replace: bool = False) -> Iterator[Path]:
    remove_leftovers(target.parent)
    folder = temporary_folder(target.name, target.parent)
    old = folder.with_name(f"{folder.name}-old")
    try:
        with _storing(target):
            yield folder / name
            with UMASK:
                os.umask(mask := os.umask(0))
            folder.chmod(0o777 & ~mask)  # mkdtemp and safetensors make files for the owner alone
            for file in folder.iterdir():
                file.chmod(0o666 & ~mask)
            if replace and target.is_dir():
                os.replace(target, old)
            try:
                os.replace(folder / name, target)
            except OSError:
                if old.is_dir():
                    os.replace(old, target)
                if name or replace or not target.is_dir():
                    raise
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def temporary_folder(name: str, parent: Path) -> Path:
    """Make a hidden folder that names this machine and process, for ``remove_leftovers``."""
    with _storing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        short = name.encode()[:80].decode(errors="ignore")  # a file name has 255 bytes at most
        prefix = f".{short}.of-{_machine()}@{os.getpid()}-"
        return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))


def remove_leftovers(parent: Path) -> None:
    """Remove temporary folders that killed processes of this machine left."""
    for folder in parent.glob(f".*.of-{_machine()}@*"):
        number = folder.name.rpartition("@")[2].partition("-")[0]
        replaced = folder.name.endswith("-old")  # by one that may not have come: kept
        if number.isdigit() and not replaced and not psutil.pid_exists(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def _machine() -> str:
    """Name this machine and, where there are any, the namespace of its process numbers."""
    with suppress(OSError):
        return f"{platform.node()}.{os.stat('/proc/self/ns/pid').st_ino}"
    return platform.node()


@contextmanager
def _storing(target: Path) -> Iterator[None]:
    """Turn what the system or safetensors says of a failed write into a StorageError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, StorageError) or getattr(error, "errno", 0) is None:
            raise  # ours already, or no error of the system's
        hint = "make room or allow writing; the same command then continues where it stopped"
        raise StorageError(f"{target.absolute()} cannot be written ({error}); {hint}") from error
