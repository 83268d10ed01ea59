"""Prepared streams on disk: one safetensors file and a manifest with the digest; complete or not there."""

import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file
from safetensors.torch import load_file

from conure_lib.data.stream import Task, TaskStream
from conure_lib.errors import DataError
from conure_lib.files import atomic_folder, file_lock, read_json, write_json

STORED, MANIFEST = "stream.safetensors", "manifest.json"


def save_stream(stream: TaskStream, folder: Path) -> None:
    """Write the stream and its manifest (counts, sources, digest) into a new folder, atomically."""
    arrays = {"sequences": stream.sequences, "input_rows": stream.input_rows}
    for task in stream.tasks:
        arrays |= {f"{task.name}.{a}": getattr(task, a) for a in ("users", "labels", "split")}
    manifest = {"name": stream.name, "digest": stream.digest(), "n_items": stream.n_items}
    manifest |= {"n_users": stream.n_users, "tasks": stream.describe(), "info": stream.info}
    with atomic_folder(folder) as part:
        save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, part / STORED)
        write_json(part / MANIFEST, manifest)


def load_stream(folder: Path) -> TaskStream:
    """Load a stream with its arrays mapped: read from disk as they are used, changes stay in memory.

    Raises DataError when a file is missing or damaged, or its content does not have the manifest's digest.
    """
    fix = f"delete the folder {folder} and it is prepared anew"
    try:
        manifest = read_json(folder / MANIFEST)
        arrays = {name: a.numpy() for name, a in load_file(folder / STORED).items()}  # torch maps
        tasks = []
        for t in manifest["tasks"]:
            users, labels, split = (
                arrays[f"{t['task']}.{a}"] for a in ("users", "labels", "split")
            )
            tasks.append(
                Task(t["task"], t["kind"], str(t["what"]), users, labels, t["labels"], split)
            )
        sequences, input_rows = arrays["sequences"], arrays["input_rows"]
        name, n_items, info = manifest["name"], manifest["n_items"], dict(manifest["info"])
        stream = TaskStream(name, sequences, input_rows, n_items, tuple(tasks), info)
        found, expected = stream.digest(), manifest["digest"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(f"{folder}: found {error!r}, expected a prepared stream; {fix}") from error
    if found != expected:
        raise DataError(f"{folder / STORED}: found digest {found}, expected {expected!r}; {fix}")
    return stream


def prepared(folder: Path, build: Callable[[], TaskStream]) -> TaskStream:
    """Load the stored stream, or build and store it. A damaged one is named (stderr) and built anew."""
    if folder.is_dir():
        with suppress(DataError):  # said below, by the one process that builds it anew
            return load_stream(folder)
    with file_lock(folder):
        if folder.is_dir():
            try:
                return load_stream(folder)
            except DataError as damage:
                print(f"conure: {damage}; preparing it anew", file=sys.stderr)
                stream = build()
                shutil.rmtree(folder)
        else:
            stream = build()
        save_stream(stream, folder)
        return load_stream(folder)
