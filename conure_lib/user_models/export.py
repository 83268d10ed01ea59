"""A task's model and user vectors for other systems: ``conure export`` and ``conure embed``."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from conure_lib.data.sources.tables import latest_windows
from conure_lib.config import MAX_INT
from conure_lib.data.options import MAX_LENGTH
from conure_lib.data.stream import TaskStream
from conure_lib.errors import ConfigError, DataError, VerificationError
from conure_lib.files import atomic_file, atomic_folder, read_json
from conure_lib.models.checkpoint import load_model, save_model
from conure_lib.models.nextitnet import UserModel
from conure_lib.models.ownership import ContinualModel
from conure_lib.pipeline.store import RECORD
from conure_lib.training.determinism import seeded
from conure_lib.training.evaluation import last_vectors
from conure_lib.user_models.train import NAMES, STREAM, free_folder, read_names

PROGRAM = "program.pt2"
BOUND = 1e-5  # of the difference between a program's outputs and the model's; so far they were equal bit by bit
CHECKED_SIZES = (1, 2, 7, 64)  # sequences in the batches that exported models are compared on
USERS = 4096  # whose vectors are in memory at a time


class TaskModel(nn.Module):
    """One task as a function: item ids int64 [B, L] -> user vectors float32 [B, k], scores [B, n_labels]."""

    def __init__(self, model: UserModel, task: str, is_first: bool) -> None:
        super().__init__()
        self.model, self.output, self.is_first = model, model.outputs[task], is_first

    def forward(self, sequences: Tensor) -> tuple[Tensor, Tensor]:
        """item ids int64 [B, L] -> user vectors float32 [B, k], scores float32 [B, n_labels]."""
        vectors = (
            self.model.last_hidden(sequences)
            if self.is_first
            else self.model.user_vectors(sequences)
        )
        return vectors, self.output(vectors)


@dataclass(frozen=True)
class Saved:
    """A saved continual model and one of its tasks. about: what ``conure run`` says of the stream, else None."""

    folder: Path
    learner: ContinualModel
    task: str
    about: dict | None

    @property
    def is_first(self) -> bool:
        """Whether the task is the sequence task, T1."""
        return self.task == self.learner.tasks[0]

    def function(self) -> TaskModel:
        """The task's plain model as one function."""
        return TaskModel(self.learner.for_task(self.task), self.task, self.is_first)


def open_saved(folder: Path, task: str) -> Saved:
    """A model that ``conure run`` wrote, or a stage's folder. Raises ModelFileError, ConfigError, DataError."""
    learner = ContinualModel.load(folder)
    if task not in learner.tasks:
        known = ", ".join(learner.tasks) or "none"
        raise ConfigError(
            f"{folder} has not learned task {task!r}; wanted: one that it has learned: {known}"
        )
    about = _json_of(folder / STREAM)
    for field, most in (
        (("length", MAX_LENGTH), ("min_events", MAX_INT)) if about is not None else ()
    ):
        value = about["info"].get(field) if isinstance(about.get("info"), dict) else None
        if type(value) is not int or not 2 <= value <= most:
            place = f"{folder / STREAM}, info.{field}"
            raise DataError(
                f"{place}: found {value!r}, wanted what conure run wrote; write the folder anew"
            )
    return Saved(folder, learner, task, about)


def export(saved: Saved, out: Path, program: bool = False, length: int | None = None) -> dict:
    """Writes a task's plain model as a new folder: model.safetensors and model.json, ids of items and labels.

    The files are read again and must give the same outputs, bit for bit. program: also program.pt2, what
    ``torch.export`` makes of ``TaskModel`` for any number of sequences of ``length`` items (those of training
    unless given; shorter histories are padded with 0 on the left). It is saved, loaded and compared: outputs
    within BOUND. Its format is PyTorch's own, whose loader uses pickle for the example inputs: nothing in this
    library reads such a file but this check, which has just written it.
    Returns what was written and how far outputs differed. Raises ConfigError, VerificationError.
    """
    length = length or (saved.about and saved.about["info"]["length"])
    if length is None and program:
        raise ConfigError(
            f"{saved.folder} does not say how long its sequences are; pass --length N"
        )
    out = free_folder(out, (PROGRAM,))
    function, length = saved.function(), length or 2
    facts = {
        "task": saved.task,
        "is_first": saved.is_first,
        "length": length,
        "from": str(saved.folder),
    }
    with atomic_folder(out) as part:
        save_model(function.model, part, about={"exported": facts})
        for what in ("items", saved.task):
            if (saved.folder / NAMES.format(what)).is_file():
                shutil.copy(saved.folder / NAMES.format(what), part / NAMES.format(what))
        again, _, _ = load_model(part)
        again = TaskModel(again.requires_grad_(False), saved.task, saved.is_first)
        difference = {"model.safetensors": difference_of(function, again, length)}
        if difference["model.safetensors"] != 0:
            raise VerificationError(
                f"{out}: the files do not give the model's outputs again: {difference}"
            )
        if program:
            _write_program(function, length, part / PROGRAM)
            loaded = torch.export.load(part / PROGRAM).module()
            difference[PROGRAM] = difference_of(function, loaded, length)
            if not difference[PROGRAM] <= BOUND:
                raise VerificationError(
                    f"{out}: the program's outputs differ by {difference[PROGRAM]}, over {BOUND}"
                )
        files = sorted(file.name for file in part.iterdir())
        shutil.rmtree(out, ignore_errors=True)
    return {"folder": str(out), "files": files, **facts, "largest_difference": difference}


def difference_of(function: TaskModel, other: nn.Module, length: int) -> float:
    """The largest difference of any output on random left-padded sequences; 0.0 means equal to the last bit."""
    largest = 0.0
    for size in CHECKED_SIZES:
        sequences = _random(function.model.n_items, size, length)
        for ours, theirs in zip(function(sequences), other(sequences), strict=True):
            if ours.shape != theirs.shape:
                return float("inf")
            if not torch.equal(ours, theirs):
                largest = max(
                    largest, float((ours - theirs).abs().max()), torch.finfo(ours.dtype).tiny
                )
    return largest


def embed_table(saved: Saved, events: Path, out: Path, batch: int = USERS) -> dict:
    """User vectors of a task from a table of events (see ``latest_windows``) into a Parquet file.

    One row a user: ``user`` (id as in the table), ``vector`` (list of k float32). Users with fewer known events
    than training demanded are left out, and events of unknown items; returns how many. Raises DataError.
    """
    items = read_names(saved.folder, "items")
    if saved.about is None or items is None:
        raise DataError(
            f"{saved.folder}: found no ids of items ({NAMES.format('items')}, {STREAM}), wanted a folder that "
            "conure run wrote; run that, or name a dataset"
        )
    if len(items) != saved.learner.model.n_items:
        where, wanted = (
            saved.folder / NAMES.format("items"),
            f"the model's {saved.learner.model.n_items}",
        )
        raise DataError(f"{where}: found {len(items)} ids, wanted {wanted}; write the folder anew")
    info = saved.about["info"]
    latest = latest_windows(events, items, info["length"], info["min_events"])
    _write_vectors(saved, latest.users, latest.sequences, out, batch)
    return {
        "users": len(latest.users),
        "left_out": latest.few,
        "unknown_events": latest.unknown_events,
    }


def embed_stream(saved: Saved, stream: TaskStream, out: Path, batch: int = USERS) -> dict:
    """The same for a prepared dataset, whose users are rows of its user table: 0, 1, ...

    Raises DataError unless the model was trained on that stream, as far as its folder tells.
    """
    about = (_json_of(saved.folder / RECORD) or {}).get("spec", {})
    trained = about.get("stream") if isinstance(about, dict) else about
    if saved.learner.model.n_items != stream.n_items or trained not in (None, stream.digest()):
        raise DataError(
            f"{saved.folder}: found a model of another stream than {stream.name} (digest {stream.digest()[:12]}), "
            "wanted one trained on it; give the dataset's options (--option) as they were in training"
        )
    _write_vectors(
        saved, np.arange(stream.n_users), stream.sequences[stream.input_rows], out, batch
    )
    return {"users": stream.n_users, "left_out": 0, "unknown_events": 0}


def _write_vectors(
    saved: Saved, users: np.ndarray, sequences: np.ndarray, out: Path, batch: int
) -> None:
    if out.suffix != ".parquet" or out.is_dir():
        raise ConfigError(f"{out}: wanted: the name of a file that ends in .parquet (--out)")
    vector = pa.list_(pa.float32(), saved.learner.model.config.width)
    schema = pa.schema([("user", pa.array(users[:1]).type), ("vector", vector)])
    with atomic_file(out) as part, pq.ParquetWriter(part, schema, compression="zstd") as writer:
        bar = tqdm(
            _vectors(saved.function(), sequences, batch),
            total=-(-len(users) // batch),
            desc="users",
        )
        for start, vectors in bar:
            rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.numpy().ravel()), type=vector)
            writer.write_table(
                pa.table([pa.array(users[start : start + batch]), rows], schema=schema)
            )


def _vectors(
    function: TaskModel, sequences: np.ndarray, batch: int
) -> Iterator[tuple[int, Tensor]]:
    forward = function.model.last_hidden if function.is_first else function.model.user_vectors
    for start in range(0, len(sequences), batch):
        some = np.ascontiguousarray(sequences[start : start + batch])
        yield start, last_vectors(function.model, forward, some)


@torch.no_grad()
def _write_program(function: TaskModel, length: int, file: Path) -> None:
    example = _random(function.model.n_items, 3, length)
    function(
        example
    )  # so that ``receptive_cone`` remembers real tensors, not the stand-ins of the tracing
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    torch.export.save(torch.export.export(function.eval(), (example,), dynamic_shapes=shapes), file)


def _random(n_items: int, size: int, length: int) -> Tensor:
    """Left-padded item ids, int64 [size, length]; the last two are never padding."""
    rng = seeded(0, "export", size)
    sequences = torch.randint(1, n_items + 1, (size, length), generator=rng)
    padding = torch.randint(0, max(1, length - 1), (size, 1), generator=rng)
    return sequences.masked_fill(torch.arange(length) < padding, 0)


def _json_of(file: Path) -> dict | None:
    """The content of a JSON file, None if there is none. Raises DataError for a damaged one."""
    if not file.is_file():
        return None
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: found {error}, wanted JSON; write the folder anew") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: found {content!r}, wanted an object; write the folder anew")
    return content
