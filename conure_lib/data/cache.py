"""Prepared streams on disk: arrays in one safetensors file, the rest and a digest in a manifest."""

import shutil
import sys
from collections.abc import Callable
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
    """Load a stream with its arrays mapped: read from disk when used, changes stay in memory.

    Raises DataError when a file is missing or damaged, or its content has another digest.
    """
    fix = f"delete the folder {folder} and it is prepared anew"
    try:
        manifest = read_json(folder / MANIFEST)
        arrays = {n: a.numpy() for n, a in load_file(folder / STORED).items()}  # torch maps
        tasks = []
        for t in manifest["tasks"]:
            name, title = t["task"], str(t["what"])
            users, labels = arrays[f"{name}.users"], arrays[f"{name}.labels"]
            split = arrays[f"{name}.split"]
            tasks.append(Task(name, t["kind"], title, users, labels, t["labels"], split))
        first = manifest["name"], arrays["sequences"], arrays["input_rows"], manifest["n_items"]
        stream = TaskStream(*first, tuple(tasks), dict(manifest["info"]))
        found, expected = stream.digest(), manifest["digest"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(f"{folder}: found {error!r}, expected a prepared stream; {fix}") from error
    if found != expected:
        raise DataError(f"{folder / STORED}: found digest {found}, expected {expected!r}; {fix}")
    return stream


def prepared(folder: Path, build: Callable[[], TaskStream]) -> TaskStream:
    """Load the stored stream, or build and store it; a damaged one is named and built anew."""
    damage = None
    if folder.is_dir():
        try:
            return load_stream(folder)
        except DataError as error:
            damage = error
    with file_lock(folder):
        if damage:
            print(f"conure: {damage}; preparing it anew", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
        if not folder.is_dir():
            save_stream(build(), folder)
        return load_stream(folder)
