"""Prepared streams on disk: one safetensors file and a manifest with digests; written whole or not at all."""

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file
from safetensors.torch import load_file

from ..files import read_json
from .stream import DataError, Task, TaskStream, checked

STORED, MANIFEST = "stream.safetensors", "manifest.json"
OWNER = ".of-"  # between a temporary folder's name and its owner's


def temporary_folder(name: str, parent: Path) -> Path:
    """A new hidden folder that bears this machine's and process's name, so that ``sweep`` knows whose it is."""
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f".{name}{OWNER}{platform.node()}@{os.getpid()}-", dir=parent))


def sweep(parent: Path) -> list[Path]:
    """Removes the temporary folders that killed processes of this machine left in ``parent``; says which."""
    gone = []
    for folder in parent.glob(f".*{OWNER}{platform.node()}@*") if parent.is_dir() else ():
        number = folder.name.rpartition("@")[2].partition("-")[0]
        if number.isdigit() and not _alive(int(number)):
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder)
    return gone


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
        manifest = read_json(folder / MANIFEST)
    except (OSError, ValueError) as error:
        wanted = f"not the manifest of a stream: found {error}, wanted JSON"
        raise DataError(f"{folder / MANIFEST}: {wanted}; {mend}") from error
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
        _demand_types(stream)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        wanted = f"not a stream as its {MANIFEST} says: found {error!r}, wanted what was written together"
        raise DataError(f"{folder / STORED}: {wanted}; {mend}") from error
    if stream.digest() != manifest.get("digest"):
        found = f"found digest {stream.digest()}, wanted {manifest.get('digest')!r}"
        raise DataError(f"{folder / STORED}: its content does not have the digest in {MANIFEST}: {found}; {mend}")
    return checked(stream)


def _demand_types(stream: TaskStream) -> None:
    """Raises TypeError for a value or an array of a type that no stream has."""
    whole = [stream.n_items, *(t.n_labels for t in stream.tasks)]
    words = [stream.name, *(word for t in stream.tasks for word in (t.name, t.kind, t.title))]
    if not all(type(n) is int for n in whole) or not all(type(word) is str for word in words):
        raise TypeError(f"found sizes {whole} and names {words}")
    wanted = [(stream.sequences, "int32", 2), (stream.input_rows, "int64", 1)]
    for t in stream.tasks:
        wanted += [(t.users, "int64", 1), (t.labels, "int64", 1), (t.split, "uint8", 1)]
    for array, kind, dimensions in wanted:
        if (array.dtype, array.ndim) != (kind, dimensions):
            raise TypeError(f"found {array.dtype} {array.shape}, wanted {kind} in {dimensions} dimensions")


def prepared(folder: Path, build: Callable[[], TaskStream]) -> TaskStream:
    """The stored stream, or a new one that is built and stored."""
    if not folder.is_dir():
        save_stream(build(), folder)
    return load_stream(folder)
