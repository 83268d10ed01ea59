"""``conure bench data``: streams of the paper's size, from official files that are written here at random.

Each measurement is a process of its own (python -m benchmarks.streams, JSON in, JSON out), so that its
peak memory is its own.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv
from tqdm.auto import tqdm

from benchmarks.measure import child, peak_gib, seconds
from conure_lib import paths
from conure_lib.data.cache import load_stream, save_stream
from conure_lib.data.registry import BUILDERS
from conure_lib.data.sources.movielens_files import LAYOUTS
from conure_lib.data.sources.ttl import TASKS
from conure_lib.data.stream import TRAIN
from conure_lib.models.padding import length_buckets, padding_of
from conure_lib.pipeline.provenance import environment
from conure_lib.training.batches import shuffled
from conure_lib.training.determinism import seeded

RATINGS = LAYOUTS["ratings.csv"]
BLOCK = 1 << 16  # lines of a TTL file that are made at a time
BATCHES = {"sequence": 32, "ranking": 512}  # sequences of T1, instances of T2


@dataclass(frozen=True)
class Shape:
    """How large a dataset is. ``ratings`` of MovieLens; of TTL the length of a window and the labels of T2, of
    which each second user has ``per_user``, a third as many in T3; every second user has a profile."""

    dataset: str
    users: int
    items: int
    ratings: int = 0
    length: int = 0
    labels: int = 0
    per_user: int = 0


SHAPES = (
    Shape("ml-25m", 162_541, 59_047, ratings=25_000_095),
    Shape("ttl", 1_470_000, 646_000, length=100, labels=17_000, per_user=6),
)
TOYS = (
    Shape("ml-25m", 60, 900, ratings=4_000),
    Shape("ttl", 300, 400, length=12, labels=30, per_user=3),
)


def run_data(quick: bool = False) -> dict:
    """Prints, returns and writes data.json. quick: toy sizes, under artifacts/.

    Per dataset: bytes of its largest official file; seconds and peak memory (GiB, the imports included) to
    prepare the stream, to load the prepared one and read the training sequences of T1 and T2 in batches, and
    of pandas to read that file.
    """
    rows = [measured(shape) for shape in (TOYS if quick else SHAPES)]
    result = {"environment": environment(), "datasets": {row["dataset"]: row for row in rows}}
    folder = paths.bench(quick)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def measured(shape: Shape) -> dict:
    """One dataset's entry."""
    paths.artifacts().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.artifacts()) as folder:
        file = WRITERS[shape.dataset](shape, Path(folder))
        row = asdict(shape) | {"csv_bytes": file.stat().st_size}
        for what in WORK:
            request = {"what": what, "dataset": shape.dataset, "folder": folder, "file": str(file)}
            row[what] = child("streams", request=request)
            print(
                f"{shape.dataset:8} {what:8} {row[what]['seconds']:8.1f} s  {row[what]['peak_gib']:.2f} GiB",
                flush=True,
            )
    return row


def prepare(dataset: str, folder: Path, file: Path) -> None:
    """The official files become a stream on disk."""
    options = {} if dataset == "ml-25m" else {"length": len(file.open().readline().split(","))}
    save_stream(BUILDERS[dataset](path=str(file.parent), **options), folder / "stream")


def batches(dataset: str, folder: Path, file: Path) -> None:
    """The prepared stream is loaded; one epoch of T1 and one of T2 read their sequences, batch by batch."""
    stream = load_stream(folder / "stream")
    for task in stream.tasks[:2]:
        rows = task.rows(TRAIN)
        which = np.arange(len(stream.sequences)) if task.kind == "sequence" else stream.input_rows
        padding = padding_of(stream.sequences)[which]
        order, size = shuffled(rows, task.users[rows], 1, seeded(0, task.name)), BATCHES[task.kind]
        for batch in np.split(order, range(size, len(order), size)):
            users = batch if task.kind == "sequence" else np.unique(task.users[batch])
            for piece in length_buckets(padding[users], size):
                for numbers, prefix in piece:
                    stream.sequences[which[users[numbers]], prefix:].astype(np.int64)


def pandas(dataset: str, folder: Path, file: Path) -> None:
    """What reading the largest official file takes with pandas."""
    pd.read_csv(file, header=0 if dataset == "ml-25m" else None)


WORK: dict[str, Callable[[str, Path, Path], None]] = {
    "prepare": prepare,
    "batches": batches,
    "pandas": pandas,
}


def write_ratings(shape: Shape, folder: Path) -> Path:
    """ratings.csv as MovieLens writes it: by user, then by movie; a user rates each movie once."""
    rng = np.random.default_rng(0)
    pairs = np.unique(rng.integers(shape.users * shape.items, size=shape.ratings * 11 // 10))
    pairs = np.sort(rng.permutation(pairs)[: shape.ratings])
    stars = pa.array([f"{half / 2:.1f}" for half in range(1, 11)])
    columns = [
        pa.array((pairs // shape.items + 1).astype(np.int32)),
        pa.array((pairs % shape.items + 1).astype(np.int32)),
        stars.take(pa.array(rng.integers(10, size=len(pairs)))),
        pa.array(rng.integers(789_652_009, 1_574_327_703, len(pairs))),
    ]
    file = folder / "ratings.csv"
    with file.open("wb") as out:
        out.write(f"{RATINGS.header}\n".encode())
        table = pa.table(columns, names=["user", "item", "rating", "timestamp"])
        csv.write_csv(table, out, csv.WriteOptions(include_header=False, quoting_style="none"))
    return file


def write_ttl(shape: Shape, folder: Path) -> Path:
    """The authors' files with random content; half of the windows are padded. Returns T1's."""
    rng = np.random.default_rng(0)
    first = folder / TASKS["T1"][0]
    others = {
        name: (folder / file).open("wb") for name, (file, _, _) in TASKS.items() if name != "T1"
    }
    with first.open("wb") as out:
        for start in tqdm(range(0, shape.users, BLOCK), desc="writing ttl", leave=False):
            number = min(BLOCK, shape.users - start)
            items = rng.integers(1, shape.items + 1, (number, shape.length), dtype=np.int32)
            known = np.where(
                rng.random(number) < 0.5, shape.length, rng.integers(5, shape.length, number)
            )
            items[np.arange(shape.length) < shape.length - known[:, None]] = 0
            table = pa.table(list(items.T), names=[str(place) for place in range(shape.length)])
            block = pa.BufferOutputStream()
            csv.write_csv(table, block, csv.WriteOptions(include_header=False))
            text = block.getvalue().to_pybytes()
            out.write(text)
            lines = text.splitlines()[::2]  # the users with labels
            for name, file in others.items():
                file.writelines(_labelled(lines, shape, name, rng))
    for file in others.values():
        file.close()
    return first


def _labelled(lines: list[bytes], shape: Shape, name: str, rng: np.random.Generator) -> list[bytes]:
    """Lines of a later task's file: a sequence, two commas, labels that differ."""
    if TASKS[name][1] == "classification":
        values = rng.integers(6, size=(len(lines), 1))
    else:
        number = shape.per_user if name == "T2" else shape.per_user // 3
        start = rng.integers(shape.labels, size=(len(lines), 1))
        values = (start + 7 * np.arange(number)) % shape.labels
    labels = [",".join(map(str, row)).encode() for row in values.tolist()]
    return [b"%b,,%b\n" % pair for pair in zip(lines, labels, strict=True)]


WRITERS: dict[str, Callable[[Shape, Path], Path]] = {"ml-25m": write_ratings, "ttl": write_ttl}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    work, where = WORK[asked["what"]], (Path(asked["folder"]), Path(asked["file"]))
    spent = seconds(lambda: work(asked["dataset"], *where))
    print(json.dumps({"seconds": round(spent, 2), "peak_gib": round(peak_gib(), 2)}))
