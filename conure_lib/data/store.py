"""Prepared streams on disk: one safetensors file and a manifest with digests; written whole or not at all."""

import fcntl
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file
from safetensors.torch import load_file

from .stream import DataError, Task, TaskStream, checked

STORED, MANIFEST = "stream.safetensors", "manifest.json"
OWNER = ".of-"  # between a temporary folder's name and its owner's
LOCK = ".lock"


class StorageError(OSError):
    """Something cannot be written: a full disk, a read-only folder. Names it, the cause and the mend."""


@contextmanager
def _storing(target: Path) -> Iterator[None]:
    """Turns what the system (or safetensors, in words of its own) says of a failed write into a StorageError."""
    try:
        yield
    except StorageError:
        raise
    except (OSError, SafetensorError) as error:
        mend = "make room or let it be written, and the same command goes on where it was"
        raise StorageError(f"{target} cannot be written ({error}); {mend}") from error


def temporary_folder(name: str, parent: Path) -> Path:
    """A new hidden folder that bears this machine's and process's name, so that ``sweep`` knows whose it is."""
    with _storing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{name}{OWNER}{platform.node()}@{os.getpid()}-", dir=parent))


def sweep(parent: Path) -> list[Path]:
    """Removes the temporary folders and locks that killed processes of this machine left in ``parent``.

    Returns the folders.
    """
    gone = []
    for folder in parent.glob(f".*{OWNER}{platform.node()}@*") if parent.is_dir() else ():
        number = folder.name.rpartition("@")[2].partition("-")[0]
        if number.isdigit() and not _alive(int(number)):
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder)
    for lock in parent.glob(f".*{LOCK}"):
        with suppress(OSError), lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file.fileno(), lock):
                lock.unlink()
    return gone


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """One process at a time makes ``target``; others wait here. The lock of a dead process is free at once.

    Where the file system has no locks nobody waits: work may then be done twice, with the same result.
    """
    lock = target.with_name(f".{target.name}{LOCK}")
    new = [folder for folder in lock.parents if not folder.exists()]
    with _storing(target):
        held = _locked(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(held)
        with suppress(OSError):
            for folder in new:  # that nothing came to lie in
                folder.rmdir()


def _locked(lock: Path) -> int:
    """The open file that holds the lock. Whoever had it before removed the file: then a new one is locked."""
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
        if _is_at(held, lock):
            return held
        os.close(held)


def _is_at(held: int, path: Path) -> bool:
    """Whether an open file is still the one that is found under the path."""
    try:
        return os.path.samestat(os.fstat(held), path.stat())
    except FileNotFoundError:
        return False


def _alive(process: int) -> bool:
    """Whether a process of this machine is at work; one that is dead but not yet reaped is not."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's process, or a system without /proc
        return True
    return state not in "ZX"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its name when the block ends well, else disappears.

    If somebody else finished ``target`` meanwhile, theirs stays. Files in it can be read by everybody whom the
    process's umask allows to (safetensors writes for the owner alone).
    """
    folder = temporary_folder(target.name, target.parent)
    try:
        with _storing(target):
            yield folder
            readable = 0o777 & ~_umask()
            folder.chmod(readable)
            for file in folder.iterdir():
                file.chmod(readable & 0o666)
            try:
                os.rename(folder, target)
            except OSError:
                if not target.is_dir():
                    raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path of the same name elsewhere, whose file takes ``target``'s place when the block ends well."""
    sweep(target.parent)
    folder = temporary_folder(target.name, target.parent)
    try:
        with _storing(target):
            yield folder / target.name
            os.replace(folder / target.name, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save_stream(stream: TaskStream, folder: Path) -> None:
    """Writes the stream and its manifest (counts, sources, digests) into a new folder, atomically."""
    arrays = {"sequences": stream.sequences, "input_rows": stream.input_rows}
    for task in stream.tasks:
        arrays |= {f"{task.name}.{a}": getattr(task, a) for a in ("users", "labels", "split")}
    manifest = {
        "name": stream.name,
        "digest": stream.digest(),
        "n_items": stream.n_items,
        "n_users": stream.n_users,
        "tasks": stream.describe(),
        "info": stream.info,
    }
    with whole_folder(folder) as part:
        save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, part / STORED)
        (part / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def load_stream(folder: Path) -> TaskStream:
    """The stream with its arrays mapped: read from disk as they are used; what is changed in one stays in memory.

    Raises DataError when a file is missing or damaged or its content does not have the manifest's digest.
    """
    mend = f"delete the folder {folder} and it is prepared anew"
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / MANIFEST}: not the manifest of a stream ({error}); {mend}") from error
    try:
        arrays = {n: a.numpy() for n, a in load_file(folder / STORED).items()}  # torch maps, numpy would copy
        tasks = tuple(
            Task(t["task"], t["kind"], t["what"],
                 *(arrays[f"{t['task']}.{a}"] for a in ("users", "labels")),
                 t["labels"], arrays[f"{t['task']}.split"])
            for t in manifest["tasks"]
        )  # fmt: skip
        stream = TaskStream(
            manifest["name"],
            arrays["sequences"],
            arrays["input_rows"],
            manifest["n_items"],
            tasks,
            manifest["info"],
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(f"{folder / STORED}: not a stream as its {MANIFEST} says ({error!r}); {mend}") from error
    if stream.digest() != manifest.get("digest"):
        raise DataError(f"{folder / STORED}: its content does not have the digest in {MANIFEST}; {mend}")
    return checked(stream)


def prepared(folder: Path, build: Callable[[], TaskStream]) -> TaskStream:
    """The stored stream, or a new one that is built and stored. A damaged one is named and prepared anew.

    Raises DataError if what is prepared anew does not have the digest that the damaged one had.
    """
    if folder.is_dir():
        with suppress(DataError):  # said below, by the one process that mends it
            return load_stream(folder)
    with alone(folder):
        if not folder.is_dir():
            save_stream(build(), folder)
        try:
            return load_stream(folder)
        except DataError as damage:
            print(f"conure: {damage}", file=sys.stderr)
            _prepare_anew(folder, build)
        return load_stream(folder)


def _prepare_anew(folder: Path, build: Callable[[], TaskStream]) -> None:
    """Puts what is built in place of a damaged stream, if it has the digest in the manifest (or that is lost)."""
    try:
        wanted = json.loads((folder / MANIFEST).read_text())["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        wanted = None
    stream = build()
    if wanted not in (None, stream.digest()):
        raise DataError(
            f"{folder / MANIFEST}: found digest {wanted}, but what is prepared now has {stream.digest()}: its "
            "source changed, or the manifest is damaged; bring the source back, or delete the folder to go on with "
            "the dataset as it is now"
        )
    shutil.rmtree(folder)
    save_stream(stream, folder)
