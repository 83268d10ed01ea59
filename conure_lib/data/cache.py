"""Prepared streams on disk: arrays in one safetensors file, the rest and a digest in a manifest."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file
from safetensors.torch import load_file

from conure_lib.data.stream import Task, TaskStream
from conure_lib.errors import DataError
from conure_lib.files import atomic_folder, read_json, regular, write_json

STORED, MANIFEST = "stream.safetensors", "manifest.json"
ARRAYS = ("users", "labels", "split")  # of each task


def save_stream(stream: TaskStream, folder: Path) -> None:
    """Write the stream and its manifest (counts, sources, digest) into a new folder, atomically."""
    arrays = {"sequences": stream.sequences, "input_rows": stream.input_rows}
    for task in stream.tasks:
        arrays |= {f"{task.name}.{a}": getattr(task, a) for a in ARRAYS}
    manifest = {"name": stream.name, "digest": stream.digest(), "n_items": stream.n_items}
    manifest |= {"n_users": stream.n_users, "tasks": stream.describe(), "info": stream.info}
    with atomic_folder(folder) as part:
        save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, part / STORED)
        write_json(part / MANIFEST, manifest)


def load_stream(folder: Path) -> TaskStream:
    """Load a stream with its arrays mapped (changes stay in memory); DataError if damaged."""
    fix = f"delete the folder {folder} and it is prepared anew"
    try:
        manifest = read_json(folder / MANIFEST)
        mapped = load_file(regular(folder / STORED))  # torch maps the file, numpy would read it
        arrays = {name: tensor.numpy() for name, tensor in mapped.items()}
        tasks = []
        for t in manifest["tasks"]:
            own = {a: arrays[f"{t['task']}.{a}"] for a in ARRAYS}
            tasks.append(Task(t["task"], t["kind"], str(t["what"]), n_labels=t["labels"], **own))
        first = manifest["name"], arrays["sequences"], arrays["input_rows"], manifest["n_items"]
        stream = TaskStream(*first, tuple(tasks), dict(manifest["info"]))
        if (found := stream.digest()) != manifest["digest"]:
            raise ValueError(f"digest {found} in {STORED}, not {manifest['digest']!r}")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(f"{folder}: found {error!r}, expected a prepared stream; {fix}") from error
    return stream
