"""What other systems take out of a trained model: a task's plain model, and vectors of users."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn
from tqdm.auto import tqdm

from conure_lib.config import explain
from conure_lib.data.options import Length
from conure_lib.data.sources.tables import latest_windows
from conure_lib.data.stream import TaskStream
from conure_lib.errors import ConfigError, DataError, VerificationError
from conure_lib.files import (
    atomic_file,
    atomic_folder,
    file_digest,
    path_problem,
    read_json,
    regular,
)
from conure_lib.models.backbone import UserModel
from conure_lib.models.checkpoint import load_model, save_model
from conure_lib.models.ownership import ContinualModel
from conure_lib.pipeline.store import ENVIRONMENT, LocalStore
from conure_lib.training.determinism import limited_threads, seeded
from conure_lib.training.evaluation import last_vectors

STREAM, METRICS, NAMES = "stream.json", "metrics.json", "names.{}.parquet"
OURS = r"(model|stream|metrics)\.json|model\.safetensors|program\.pt2|names\.[^.]+\.parquet"
UNREADABLE = (OSError, ValueError, LookupError, TypeError, pa.ArrowException)
BATCH = 4096  # users whose vectors are in memory at a time
MAX_DIFFERENCE = {"model.safetensors": 0.0, "program.pt2": 1e-5}  # from the model's outputs


class StreamFacts(BaseModel, strict=True):
    """What embedding needs of a stream: how sequences were cut, columns, the ids of items."""

    length: Length
    min_events: int
    seed: int
    columns: dict[str, str]
    items: list[str] = []


class TaskModel(nn.Module):
    """One task as a function of sequences; ``facts`` only of what ``conure run`` saved."""

    def __init__(self, model: UserModel, task: str, is_first: bool, folder=None, facts=None):
        super().__init__()
        self.model, self.output = model, model.outputs[task]
        self.task, self.is_first, self.folder, self.facts = task, is_first, folder, facts

    def vectors(self, sequences: Tensor, prefix: int = 0) -> Tensor:
        """Return user vectors [B, k] for item ids [B, L] that begin with ``prefix`` paddings."""
        forward = self.model.last_hidden if self.is_first else self.model.user_vectors
        return forward(sequences, prefix)  # T1 has no separator

    def forward(self, sequences: Tensor) -> tuple[Tensor, Tensor]:
        """Return user vectors [B, k] and scores [B, n_labels] for item ids int64 [B, L]."""
        vectors = self.vectors(sequences)
        return vectors, self.output(vectors)


def open_saved(folder: str | Path, task: str) -> TaskModel:
    """Open one task of a trained model (what ``conure run`` wrote, or the folder of a stage)."""
    folder, facts = Path(folder), None
    learner = _verified(folder)
    if task not in learner.tasks:
        known = ", ".join(learner.tasks) or "none"
        raise ConfigError(f"{folder}: found no task {task!r}, expected one of {known} (--task)")
    if (folder / STREAM).is_file():
        try:
            facts = StreamFacts.model_validate(read_json(folder / STREAM))
            facts.items = pq.read_table(regular(folder / NAMES.format("items")))["id"].to_pylist()
            if len(facts.items) != learner.model.n_items:
                raise ValueError(f"{len(facts.items)} ids of {learner.model.n_items} items")
        except UNREADABLE as error:
            found = f"{folder}: found {' '.join(str(error).split())}"
            if isinstance(error, ValidationError):
                found = explain(error, str(folder / STREAM))
            raise DataError(f"{found}; run conure run again") from error
    return TaskModel(learner.for_task(task), task, task == learner.tasks[0], folder, facts)


def _verified(folder: Path) -> ContinualModel:
    """Load a model whose files are as they were written, as far as there are digests of them."""
    if (folder / ENVIRONMENT).is_file():  # of a stage
        return LocalStore(folder.parent).model(folder.name) or ContinualModel.load(folder)
    digests = {}
    if (folder / METRICS).exists():  # of conure run
        try:
            digests = dict(read_json(folder / METRICS)["digests"])
        except UNREADABLE as error:
            found = f"{folder / METRICS}: found {' '.join(str(error).split())}"
            raise DataError(f"{found}, expected digests; delete the folder, run again") from error
    for name, digest in digests.items():
        if file_digest(folder / name) != digest:
            expected = "expected what conure run wrote; run it again"
            raise DataError(f"{folder / name}: found a changed file, {expected}")
    return ContinualModel.load(folder)


@limited_threads(1)
@torch.no_grad()
def export(
    saved: TaskModel, out: str | Path, program: bool = False, length: int | None = None
) -> dict:
    """Write a task's plain model as a folder: model.safetensors, model.json, ids of its labels.

    VerificationError unless the files, read again, give the same outputs (``MAX_DIFFERENCE``).

    Parameters
    ----------
    saved, out
        From ``open_saved``; a new or empty folder, or an earlier export, which is replaced.
    program, length
        Also write program.pt2, by ``torch.export``, for any number of sequences of ``length`` items
        (as in training unless given), padded with 0 on the left. PyTorch reads it with pickle: this
        library reads only the one that it just wrote.

    Returns
    -------
    dict
        ``folder``, ``files``, facts of the task, ``largest_difference`` of the outputs per file.
    """
    length = length or (saved.facts.length if saved.facts else None)
    if length is None and program:
        raise ConfigError(f"{saved.folder}: found no length of sequences, expected --length N")
    out = replaceable(out, lambda old: "exported" in read_json(old / "model.json"), "conure export")
    facts = {"task": saved.task, "is_first": saved.is_first, "length": length or 2}
    with atomic_folder(out, replace=True) as part:
        save_model(saved.model, part, about={"exported": facts})
        for name in (NAMES.format("items"), NAMES.format(saved.task)):
            if (saved.folder / name).is_file():
                shutil.copy(saved.folder / name, part)
        again = TaskModel(load_model(part)[0], saved.task, saved.is_first)
        differences = {"model.safetensors": largest_difference(saved, again, facts["length"])}
        if program:
            file, example = part / "program.pt2", _random(saved.model.n_items, 3, length)
            saved(example)  # so that what the model caches is real tensors, not stand-ins
            shapes = ({0: torch.export.Dim("batch", min=1)},)
            traced = torch.export.export(saved.eval(), (example,), dynamic_shapes=shapes)
            torch.export.save(traced, file)
            again = torch.export.load(file).module()  # noqa: TID251
            differences[file.name] = largest_difference(saved, again, length)
        for name, found in differences.items():
            if not found <= MAX_DIFFERENCE[name]:
                expected = f"expected outputs that differ by at most {MAX_DIFFERENCE[name]}"
                raise VerificationError(f"{out / name}: found {found}, {expected}")
        files = sorted(file.name for file in part.iterdir())
    facts |= {"folder": str(out), "from": str(saved.folder.absolute()), "files": files}
    return facts | {"largest_difference": differences}


def largest_difference(model: TaskModel, other: nn.Module, length: int) -> float:
    """Return the largest difference of two models' outputs on batches of random sequences."""
    batches = [_random(model.model.n_items, size, length) for size in (1, 2, 7, 64)]
    pairs = [pair for items in batches for pair in zip(model(items), other(items), strict=True)]
    return max(float((ours - theirs).abs().max()) for ours, theirs in pairs)


def _random(n_items: int, size: int, length: int) -> Tensor:
    """Return random item ids, int64 [size, length], every second sequence half padding."""
    rng = seeded(0, "export", size)
    items = torch.randint(1, n_items + 1, (size, length), generator=rng)
    items[::2, : length // 2] = 0
    return items


def embed(saved: TaskModel, data: TaskStream | str | Path, out: str | Path) -> dict:
    """Write a vector per user, as the task sees them, to a Parquet file.

    Parameters
    ----------
    saved, data
        From ``open_saved``; for what ``conure run`` wrote a table of events of any length (Parquet
        or CSV with the columns of training), for a stage the task stream that it was trained on.
    out
        A ``.parquet`` file, new or of earlier vectors: ``user`` (id in the table, or row in the
        stream), ``vector`` (list of k float32).

    Returns
    -------
    dict
        ``users``; ``left_out``, those with too few events; ``unknown_events``, of items that the
        model does not know; ``notes`` on the table.
    """
    out, columns = Path(out), ["user", "vector"]
    if out.suffix != ".parquet" or out.is_dir():
        raise ConfigError(f"{str(out)[:200]}: expected the name of a .parquet file (--out)")
    out = replaceable(out, lambda old: pq.read_schema(old).names == columns, "conure embed")
    if isinstance(data, TaskStream):
        trained_on = data.digest()
        with contextlib.suppress(*UNREADABLE):  # not a stage's folder
            trained_on = read_json(saved.folder / "record.json")["spec"]["stream"]
        if (saved.model.n_items, trained_on) != (data.n_items, data.digest()):
            expected = f"expected one of {data.name}, digest {data.digest()[:12]} (--option)"
            raise DataError(f"{saved.folder}: found a model of another stream, {expected}")
        users, sequences = np.arange(data.n_users), data.sequences[data.input_rows]
        about = {"left_out": 0, "unknown_events": 0, "notes": []}
    elif (facts := saved.facts) is None:
        raise DataError(f"{saved.folder}: found no {STREAM}, expected what conure run wrote")
    else:
        how = facts.length, facts.min_events, facts.columns, facts.seed
        users, sequences, about = latest_windows(data, facts.items, *how)
    vector = pa.list_(pa.float32(), saved.model.config.width)
    schema = pa.schema([("user", pa.array(users[:1]).type), ("vector", vector)])
    with atomic_file(out) as part, pq.ParquetWriter(part, schema, compression="zstd") as writer:
        for start in tqdm(range(0, len(users), BATCH), desc="users", unit="batch"):
            some = slice(start, start + BATCH)
            read = np.ascontiguousarray(sequences[some])
            vectors = last_vectors(saved.model, saved.vectors, read).numpy().ravel()
            rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors), type=vector)
            writer.write_table(pa.table([pa.array(users[some]), rows], schema=schema))
    return {"users": len(users)} | about


def replaceable(out: str | Path, is_same: Callable[[Path], bool], maker: str) -> Path:
    """Return a path to write to, a link's target in its place, if nothing but an old copy is lost.

    It is new, an empty folder, or what ``is_same`` says that the same command wrote (a folder: with
    nothing else in it): no command replaces its own input, whatever the paths look like.
    """
    found, path = path_problem(out), Path(out)
    if not found:
        path = path.resolve()
        above = next((parent for parent in path.parents if parent.exists()), path)
        names = sorted(os.listdir(path)) if path.is_dir() else []
        if not os.access(above, os.W_OK | os.X_OK):
            found = f"no folder to write to in {above}"
        elif path.is_mount():  # which cannot be renamed
            found = "a mount point"
        elif foreign := [name for name in names if not re.fullmatch(OURS, name)]:
            found = repr(foreign[0])
        elif names or path.is_file():
            found = "something else"
            with contextlib.suppress(*UNREADABLE):
                found = "" if is_same(path) else found
    if found:
        expected = f"expected a new name or what {maker} wrote there (--out)"
        raise ConfigError(f"{str(path)[:200]}: found {found}, {expected}")
    return path
