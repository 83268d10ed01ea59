"""What other systems take out of a trained model: a task's plain model, and vectors of users."""

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
from conure_lib.data.stream import Names, TaskStream
from conure_lib.errors import ConfigError, DataError, VerificationError
from conure_lib.files import atomic_file, atomic_folder, path_problem, read_json
from conure_lib.models.checkpoint import load_model, save_model
from conure_lib.models.nextitnet import UserModel
from conure_lib.models.ownership import ContinualModel
from conure_lib.training.determinism import seeded
from conure_lib.training.evaluation import last_vectors

MODEL, WEIGHTS, PROGRAM = "model.json", "model.safetensors", "program.pt2"
STREAM, METRICS, NAMES = "stream.json", "metrics.json", "names.{}.parquet"
OURS = re.compile(rf"{MODEL}|{WEIGHTS}|{PROGRAM}|{STREAM}|{METRICS}|names\.\w+\.parquet")
MAX_DIFFERENCE = 1e-5  # of a program's outputs and the model's; so far they were equal bit by bit
BATCH_SIZES = (1, 2, 7, 64)  # on which exported models are compared
USERS_AT_ONCE = 4096  # whose vectors are in memory


class StreamFacts(BaseModel, strict=True):
    """What stream.json says that embedding needs: how sequences were cut, the tables' columns."""

    length: Length
    min_events: int
    columns: dict[str, str]


class TaskModel(nn.Module):
    """One task as a function of sequences.

    Parameters
    ----------
    model, task, is_first
        The task's plain model; its name; whether it is T1, which has no separator.
    folder, facts
        Where it was saved, and what is known of its stream if ``conure run`` saved it.
    """

    def __init__(
        self,
        model: UserModel,
        task: str,
        is_first: bool,
        folder: Path = Path(),
        facts: StreamFacts | None = None,
    ) -> None:
        super().__init__()
        self.model, self.output = model, model.outputs[task]
        self.task, self.is_first, self.folder, self.facts = task, is_first, folder, facts

    def vectors(self, sequences: Tensor, prefix: int = 0) -> Tensor:
        """Return user vectors [B, k] for item ids [B, L] that begin with ``prefix`` paddings."""
        model = self.model
        return (model.last_hidden if self.is_first else model.user_vectors)(sequences, prefix)

    def forward(self, sequences: Tensor) -> tuple[Tensor, Tensor]:
        """Return user vectors [B, k] and scores [B, n_labels] for item ids int64 [B, L]."""
        vectors = self.vectors(sequences)
        return vectors, self.output(vectors)


def open_saved(folder: str | Path, task: str) -> TaskModel:
    """Open one task of a trained model, to export it or to embed users.

    Parameters
    ----------
    folder
        What ``conure run`` wrote, or the folder of a Conure stage.
    task
        One of the tasks that the model has learned.

    Raises
    ------
    ModelFileError, DataError
        If the model or the description of its stream cannot be read.
    ConfigError
        If the model has not learned the task.
    """
    folder, facts = Path(folder), None
    learner = ContinualModel.load(folder)
    if task not in learner.tasks:
        known = ", ".join(learner.tasks) or "none"
        raise ConfigError(f"{folder}: found no task {task!r}, expected one of {known} (--task)")
    if (file := folder / STREAM).is_file():
        try:
            facts = StreamFacts.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise DataError(f"{explain(error, str(file))}; run conure run again") from error
    return TaskModel(learner.for_task(task), task, task == learner.tasks[0], folder, facts)


def export(
    saved: TaskModel, out: str | Path, program: bool = False, length: int | None = None
) -> dict:
    """Write a task's plain model as a folder: model.safetensors, model.json, ids of its labels.

    The files are read again and must give the same outputs, bit for bit.

    Parameters
    ----------
    saved
        From ``open_saved``.
    out
        A new or empty folder, or an earlier export, which is replaced.
    program
        Also write program.pt2, what ``torch.export`` makes of ``TaskModel`` for any number of
        sequences of ``length`` items, padded with 0 on the left. Its loader in PyTorch uses pickle:
        nothing in this library reads such a file but the check here, which just wrote it.
    length
        Items per sequence of the program; as in training unless given.

    Returns
    -------
    dict
        ``folder``, ``files``, facts of the task, ``largest_difference`` of the outputs per file.

    Raises
    ------
    ConfigError
        If ``out`` holds anything but an earlier export, or no length is known.
    VerificationError
        If the files do not give the model's outputs (a program: within ``MAX_DIFFERENCE``).
    """
    length = length or (saved.facts.length if saved.facts else None)
    if length is None and program:
        raise ConfigError(f"{saved.folder}: found no length of sequences, expected --length N")
    out = replaceable(out, lambda old: "exported" in read_json(old / MODEL), "conure export")
    facts = {"task": saved.task, "is_first": saved.is_first, "length": length or 2}
    with atomic_folder(out) as part:
        save_model(saved.model, part, about={"exported": facts})
        for name in (NAMES.format("items"), NAMES.format(saved.task)):
            if (saved.folder / name).is_file():
                shutil.copy(saved.folder / name, part)
        again = load_model(part)[0].requires_grad_(False)
        copies = {WEIGHTS: (TaskModel(again, saved.task, saved.is_first), 0.0)}
        if program:
            _write_program(saved, facts["length"], part / PROGRAM)
            copies[PROGRAM] = torch.export.load(part / PROGRAM).module(), MAX_DIFFERENCE
        differences = {}
        for name, (copy, bound) in copies.items():
            differences[name] = found = largest_difference(saved, copy, facts["length"])
            if not found <= bound:
                expected = f"found outputs that differ by {found}, expected at most {bound}"
                raise VerificationError(f"{out / name}: {expected}")
        files = sorted(file.name for file in part.iterdir())
        shutil.rmtree(out, ignore_errors=True)
    facts |= {"folder": str(out), "from": str(saved.folder.absolute()), "files": files}
    return facts | {"largest_difference": differences}


def largest_difference(model: TaskModel, other: nn.Module, length: int) -> float:
    """Return the largest difference of outputs on random sequences; 0.0 means the same bits."""
    largest = 0.0
    for size in BATCH_SIZES:
        sequences = _random(model.model.n_items, size, length)
        for ours, theirs in zip(model(sequences), other(sequences), strict=True):
            if not torch.equal(ours.view(torch.int32), theirs.view(torch.int32)):
                tiny = torch.finfo(ours.dtype).tiny
                largest = max(largest, tiny, float((ours - theirs).abs().max()))
    return largest


def embed_table(
    saved: TaskModel, events: str | Path, out: str | Path, batch: int = USERS_AT_ONCE
) -> dict:
    """Write a vector per user, as the task sees them, from a table of events of any length.

    Parameters
    ----------
    saved
        From ``open_saved``, of a folder that ``conure run`` wrote.
    events
        Parquet or CSV with the columns that the model was trained on.
    out
        A ``.parquet`` file, new or of earlier vectors: ``user`` (id as in the table), ``vector``
        (list of k float32).
    batch
        Users whose vectors are in memory at a time.

    Returns
    -------
    dict
        ``users``; ``left_out``, users with fewer known events than training demanded;
        ``unknown_events``, of items that the model does not know; ``notes`` on the table.

    Raises
    ------
    ConfigError
        If ``out`` is anything but a new file or earlier vectors.
    DataError
        If the table cannot be used, or the folder does not say how the model was trained.
    """
    out = _vector_file(out)
    items, facts, known = read_items(saved.folder), saved.facts, saved.model.n_items
    if facts is None or len(items) != known:
        expected = f"expected {known} and {STREAM}; run conure run again"
        raise DataError(f"{saved.folder}: found {len(items)} ids of items, {expected}")
    latest = latest_windows(events, items, facts.length, facts.min_events, facts.columns)
    _write_vectors(saved, latest.users, latest.sequences, out, batch)
    counts = {"users": len(latest.users), "left_out": latest.few}
    return counts | {"unknown_events": latest.unknown_events, "notes": latest.notes}


def embed_stream(
    saved: TaskModel, stream: TaskStream, out: str | Path, batch: int = USERS_AT_ONCE
) -> dict:
    """Write a vector per user of a prepared dataset, whose users are rows of its table: 0, 1, ...

    Parameters
    ----------
    saved
        From ``open_saved``, of a stage's folder.
    stream
        What the model was trained on; DataError if that was another, as far as the folder tells.
    out, batch
        As in ``embed_table``, like what is returned and raised.
    """
    out = _vector_file(out)
    try:
        trained_on = read_json(saved.folder / "record.json")["spec"]["stream"]
    except (OSError, ValueError, LookupError, TypeError):
        trained_on = stream.digest()
    if (saved.model.n_items, trained_on) != (stream.n_items, stream.digest()):
        expected = (
            f"expected one trained on {stream.name}, digest {stream.digest()[:12]} (--option)"
        )
        raise DataError(f"{saved.folder}: found a model of another stream, {expected}")
    users, sequences = np.arange(stream.n_users), stream.sequences[stream.input_rows]
    _write_vectors(saved, users, sequences, out, batch)
    return {"users": stream.n_users, "left_out": 0, "unknown_events": 0, "notes": []}


def save_names(names: Names, folder: Path) -> None:
    """Write the ids of items and labels, in the order of their numbers; no users' ids."""
    for what, ids in {"items": names.items, **names.labels}.items():
        pq.write_table(pa.table({"id": pa.array(ids)}), folder / NAMES.format(what))


def read_items(folder: Path) -> np.ndarray:
    """Return the ids of the items in the order of their numbers; raises DataError."""
    file = folder / NAMES.format("items")
    try:
        return pq.read_table(file, columns=["id"])["id"].to_pandas().to_numpy()
    except (pa.ArrowException, OSError, ValueError) as error:
        found = " ".join(str(error).split())
        raise DataError(f"{file}: found {found}, expected ids as conure run writes them") from error


def replaceable(out: str | Path, is_same: Callable[[Path], bool], maker: str) -> Path:
    """Return a path to write to, a link's target in its place, if nothing but an old copy is lost.

    It is new, or an empty folder, or ``is_same`` recognises what the same command wrote (a folder:
    with nothing else in it). So no command replaces its own input, whatever the paths look like.
    """
    problem, path = path_problem(out), Path(out)
    if not problem:
        path = path.resolve()
        above = next(parent for parent in path.parents if parent.exists())
        names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            problem = f"no folder to write to in {above}"
        elif foreign := [name for name in sorted(names) if not OURS.fullmatch(name)]:
            problem = repr(foreign[0])
        elif names or path.is_file():
            try:
                problem = "" if is_same(path) else "something else"
            except (OSError, ValueError, LookupError, TypeError, pa.ArrowException):
                problem = "something else"
    if problem:
        expected = f"expected a new name or what {maker} wrote there (--out)"
        raise ConfigError(f"{str(path)[:200]}: found {problem}, {expected}")
    return path


def _vector_file(out: str | Path) -> Path:
    if Path(out).suffix != ".parquet" or Path(out).is_dir():
        raise ConfigError(f"{str(out)[:200]}: expected the name of a .parquet file (--out)")
    columns = ["user", "vector"]
    return replaceable(out, lambda old: pq.read_schema(old).names == columns, "conure embed")


def _write_vectors(
    saved: TaskModel, users: np.ndarray, sequences: np.ndarray, out: Path, batch: int
) -> None:
    vector = pa.list_(pa.float32(), saved.model.config.width)
    schema = pa.schema([("user", pa.array(users[:1]).type), ("vector", vector)])
    with atomic_file(out) as part, pq.ParquetWriter(part, schema, compression="zstd") as writer:
        for start in tqdm(range(0, len(users), batch), desc="users", unit="batch"):
            some = np.ascontiguousarray(sequences[start : start + batch])
            vectors = last_vectors(saved.model, saved.vectors, some).numpy().ravel()
            rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors), type=vector)
            ids = pa.array(users[start : start + batch])
            writer.write_table(pa.table([ids, rows], schema=schema))


@torch.no_grad()
def _write_program(saved: TaskModel, length: int, file: Path) -> None:
    example = _random(saved.model.n_items, 3, length)
    saved(example)  # so that what the model caches is real tensors, not stand-ins of the tracing
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    torch.export.save(torch.export.export(saved.eval(), (example,), dynamic_shapes=shapes), file)


def _random(n_items: int, size: int, length: int) -> Tensor:
    """Return left-padded item ids, int64 [size, length]; the last two are never padding."""
    generator = seeded(0, "export", size)
    sequences = torch.randint(1, n_items + 1, (size, length), generator=generator)
    padding = torch.randint(0, max(1, length - 1), (size, 1), generator=generator)
    return sequences.masked_fill(torch.arange(length) < padding, 0)
