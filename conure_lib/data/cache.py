"""Prepared streams on disk: one safetensors file and a manifest with digests; written whole or not at all."""

import json
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file
from safetensors.torch import load_file

from conure_lib.data.stream import Task, TaskStream, checked
from conure_lib.errors import DataError
from conure_lib.files import atomic_folder, file_lock, read_json

STORED, MANIFEST = "stream.safetensors", "manifest.json"


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
    with atomic_folder(folder) as part:
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
        arrays = {
            n: a.numpy() for n, a in load_file(folder / STORED).items()
        }  # torch maps, numpy would copy
        tasks = tuple(
            Task(
                t["task"],
                t["kind"],
                t["what"],
                *(arrays[f"{t['task']}.{a}"] for a in ("users", "labels")),
                t["labels"],
                arrays[f"{t['task']}.split"],
            )
            for t in manifest["tasks"]
        )
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
        raise DataError(
            f"{folder / STORED}: its content does not have the digest in {MANIFEST}: {found}; {mend}"
        )
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
            raise TypeError(
                f"found {array.dtype} {array.shape}, wanted {kind} in {dimensions} dimensions"
            )


def prepared(folder: Path, build: Callable[[], TaskStream]) -> TaskStream:
    """The stored stream, or a new one that is built and stored. A damaged one is named and prepared anew.

    Raises DataError if what is prepared anew does not have the digest that the damaged one had.
    """
    if folder.is_dir():
        with suppress(DataError):  # said below, by the one process that mends it
            return load_stream(folder)
    with file_lock(folder):
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
        wanted = read_json(folder / MANIFEST)["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        wanted = None
    stream = build()
    if wanted not in (None, stream.digest()):
        raise DataError(
            f"{folder / MANIFEST}: found digest {wanted}, but what is prepared now has {stream.digest()}: its "
            "source changed, or the manifest is damaged; bring the source back, or delete the folder to go on "
            "with the dataset as it is now"
        )
    shutil.rmtree(folder)
    save_stream(stream, folder)
