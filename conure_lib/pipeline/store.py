"""Where the results of stages are kept: a user's own under ``artifacts/``, the evidence under ``results/``.

Both verify what they read. ``publish`` turns the first into the second.
"""

import hashlib
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from conure_lib import paths
from conure_lib.config import canonical
from conure_lib.errors import ConfigError, DamagedResultError, MissingResultError
from conure_lib.files import (
    atomic_file,
    atomic_folder,
    file_digest,
    file_lock,
    read_json,
    write_json,
)
from conure_lib.methods.actions import Outcome
from conure_lib.models.ownership import ContinualModel
from conure_lib.pipeline import provenance
from conure_lib.training.evaluation import metric_name, metric_of

if TYPE_CHECKING:
    from conure_lib.pipeline.stage import Stage

RECORD, ENVIRONMENT, RANKS = "record.json", "environment.json", "ranks.parquet"
CHECKPOINT, WEIGHTS = "model.json", "model.safetensors"
FORMAT = "1"  # of the committed Parquet files
_KINDS = {metric_name(kind): kind for kind in ("ranking", "classification")}


class Stored(NamedTuple):
    """What is kept of a stage: its record, where it was computed, and test ranks (uint8) by measure."""

    record: dict[str, Any]
    environment: dict[str, Any]
    ranks: dict[str, np.ndarray]


class Store(Protocol):
    """Results of stages by their ids."""

    @property
    def place(self) -> Path:
        """Where the results are, for messages."""

    def read(self, stage_id: str) -> Stored | None:
        """Return verified results, None where there are none. Raises DamagedResultError."""

    def model(self, stage_id: str) -> ContinualModel | None:
        """Return the verified checkpoint, None where there is none. Raises DamagedResultError."""


class LocalStore:
    """A user's own results: one folder per stage under ``artifacts/stages``, written in one step.

    Every file has a digest: those of ranks and checkpoint stand in the record, that of the record in the
    environment, which holds its own.
    """

    @property
    def place(self) -> Path:
        """Return the folder of all stages."""
        return paths.stages()

    def folder(self, stage_id: str) -> Path:
        """Return the folder of a stage."""
        return self.place / stage_id

    def lock(self, stage_id: str) -> AbstractContextManager[None]:
        """Let one process at a time compute a stage."""
        return file_lock(self.folder(stage_id))

    def read(self, stage_id: str) -> Stored | None:
        """Return verified results, None where there are none. Raises DamagedResultError."""
        folder = self.folder(stage_id)
        if not (folder / RECORD).is_file():
            return None
        environment = _json(folder / ENVIRONMENT, {"record_sha256", "sha256", "processor"})
        own = {name: value for name, value in environment.items() if name != "sha256"}
        _demand(folder / ENVIRONMENT, _sha256(canonical(own)), environment["sha256"])
        _demand(folder / RECORD, file_digest(folder / RECORD), environment["record_sha256"])
        record = _json(folder / RECORD, {"digests", "metrics"})
        _demand_file(folder / RANKS, record)
        columns = pq.read_table(folder / RANKS).to_pydict()
        ranks = {
            name: np.frombuffer(r, np.uint8) for name, r in zip(*columns.values(), strict=True)
        }
        _demand_metrics(folder / RECORD, record, ranks)
        return Stored(record, environment, ranks)

    def model(self, stage_id: str) -> ContinualModel | None:
        """Return the verified checkpoint, None where there is none. Raises DamagedResultError."""
        if not self._has_model(stage_id, self.read(stage_id)):
            return None
        return ContinualModel.load(self.folder(stage_id))

    def is_usable(self, stage_id: str, kind: str | None, model: bool = False) -> bool:
        """Return whether results are here, of this kind of processor, if ``model`` with the checkpoint.

        Raises DamagedResultError, also for a damaged checkpoint that is not asked for.
        """
        stored = self.read(stage_id)
        has_model = self._has_model(stage_id, stored)
        if stored is None or kind not in (None, provenance.kind(stored.environment)):
            return False
        return has_model or not model or CHECKPOINT not in stored.record["digests"]

    def _has_model(self, stage_id: str, stored: Stored | None) -> bool:
        folder = self.folder(stage_id)
        if stored is None or not (folder / CHECKPOINT).is_file():
            return False
        for name in (CHECKPOINT, WEIGHTS):
            _demand_file(folder / name, stored.record)
        return True

    def write(self, stage_id: str, record: dict, environment: dict, outcome: Outcome) -> None:
        """Write a stage's folder in one step, in place of an unusable one."""
        folder = self.folder(stage_id)
        shutil.rmtree(folder, ignore_errors=True)
        with atomic_folder(folder) as part:
            if outcome.model is not None:
                outcome.model.save(part)
            ranks = [r.astype(np.uint8).tobytes() for r in outcome.ranks.values()]
            table = pa.table(
                {"measure": list(outcome.ranks), "ranks": pa.array(ranks, pa.binary())}
            )
            pq.write_table(table, part / RANKS, compression="zstd")
            digests = {file.name: file_digest(file) for file in sorted(part.iterdir())}
            write_json(part / RECORD, record | {"digests": digests})
            environment = environment | {"record_sha256": file_digest(part / RECORD)}
            own = {"sha256": _sha256(canonical(environment))}
            write_json(part / ENVIRONMENT, environment | own)


class CommittedStore:
    """The committed evidence of a profile on a dataset: one Parquet file per seed, one row per stage.

    Columns: id, record and environment (JSON), ranks (a byte per test instance, by measure), cutoff (of
    the ranks) and digest (SHA-256 over the others). There are no checkpoints.

    Raises
    ------
    MissingResultError
        If there is no evidence of this profile on this dataset.
    """

    def __init__(self, profile: str, dataset: str) -> None:
        self.profile, self.dataset = profile, dataset
        self._files: dict[str, dict[str, dict]] = {}
        self._stored: dict[str, Stored] = {}
        if not list(self.place.glob("seed-*.parquet")):
            hint = 'results="local" (RESULTS in a notebook) reads and computes your own run'
            raise MissingResultError(f"no committed results in {self.place}; {hint}")

    @property
    def place(self) -> Path:
        """Return the folder of the evidence."""
        return paths.results(self.profile, self.dataset, local=False)

    def read(self, stage_id: str) -> Stored | None:
        """Return verified results, None where there are none. Raises DamagedResultError."""
        if stage_id not in self._stored:
            seed = re.search(r"\.s(\d+)\.[0-9a-f]+$", stage_id)[1]
            file = evidence_file(self.profile, self.dataset, seed)
            if seed not in self._files:
                self._files[seed] = _read_evidence(file) if file.is_file() else {}
            row = self._files[seed].get(stage_id)
            if row is None:
                return None
            self._stored[stage_id] = _checked(file, row)
        return self._stored[stage_id]

    def model(self, stage_id: str) -> None:
        """Return None: checkpoints are not committed."""


def evidence_file(profile: str, dataset: str, seed: int | str) -> Path:
    """Return the file of a seed's committed stages."""
    return paths.results(profile, dataset, local=False) / f"seed-{seed}.parquet"


def write_evidence(profile: str, dataset: str, seed: int, stages: Mapping[str, Stored]) -> Path:
    """Write a seed's stages as committed evidence, in place of what is there."""
    rows = []
    for stage_id in sorted(stages):
        record, environment, ranks = stages[stage_id]
        row = {
            "id": stage_id,
            "record": canonical(record),
            "environment": canonical(environment),
            "ranks": [(name, ranks[name].astype(np.uint8).tobytes()) for name in sorted(ranks)],
            "cutoff": record["cutoff"],
        }
        rows.append(row | {"digest": _row_digest(row)})
    about = {"format": FORMAT, "profile": profile, "dataset": dataset, "seed": str(seed)}
    schema = pa.schema(
        {
            "id": pa.string(),
            "record": pa.string(),
            "environment": pa.string(),
            "ranks": pa.map_(pa.string(), pa.binary()),
            "cutoff": pa.uint8(),
            "digest": pa.string(),
        },
        metadata=about,
    )
    file = evidence_file(profile, dataset, seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    options = {"compression": "zstd", "compression_level": 19, "data_page_size": 1 << 26}
    with atomic_file(file) as part:
        table = pa.Table.from_pylist(rows, schema)
        pq.write_table(table, part, use_dictionary=False, write_statistics=False, **options)
    return file


def publish(stages: Iterable["Stage"]) -> list[Path]:
    """Turn a user's own results into committed evidence: the maintainer's step before a commit.

    Parameters
    ----------
    stages
        Every stage that the profile's tables, figures and verdicts rest on; their ancestors are added.

    Returns
    -------
    list of Path
        The files that were written, one per seed.

    Raises
    ------
    ConfigError
        If the library has uncommitted changes now or had some when a stage was computed, or if stages
        were computed by several kinds of processors. Nothing is written then.
    MissingResultError
        If a stage is not computed.
    """
    if provenance.environment()["dirty"] is not False:
        raise ConfigError(
            "found uncommitted changes or no commit of conure_lib; commit them, then publish"
        )
    files: dict[tuple, dict[str, Stored]] = defaultdict(dict)
    kinds: dict[str, str] = {}
    for one in {one.id: one for stage in stages for one in stage.lineage()}.values():
        environment = one.environment()
        if environment["dirty"] is not False:
            raise ConfigError(
                f"{one.id} was computed by uncommitted code; run conure clean, compute again"
            )
        kinds.setdefault(provenance.kind(environment), one.id)
        about = {k: v for k, v in environment.items() if k not in ("record_sha256", "sha256")}
        key = (one.config.profile, one.config.data.dataset, one.seed)
        files[key][one.id] = Stored(one.record(), about, one.store.read(one.id).ranks)
    if len(kinds) > 1:
        found = "; ".join(f"{kind} ({example})" for kind, example in kinds.items())
        raise ConfigError(f"found several kinds of processors: {found}; compute all on one of them")
    return [write_evidence(*key, stored) for key, stored in sorted(files.items())]


def _read_evidence(file: Path) -> dict[str, dict]:
    try:
        rows = pq.read_table(file, memory_map=True).to_pylist()
        return {row["id"]: row for row in rows}
    except (OSError, pa.ArrowException, KeyError) as error:
        raise _damaged(file, error, "a Parquet file of stages") from error


def _checked(file: Path, row: dict) -> Stored:
    where = f"{file}, {row['id']}"
    _demand(where, _row_digest(row), row["digest"])
    ranks = {name: np.frombuffer(values, np.uint8) for name, values in row["ranks"]}
    record = json.loads(row["record"])
    _demand_metrics(where, record, ranks)
    return Stored(record, json.loads(row["environment"]), ranks)


def _row_digest(row: dict) -> str:
    ranks = [[name, _sha256(values)] for name, values in row["ranks"]]
    return _sha256(canonical([row["id"], row["record"], row["environment"], row["cutoff"], ranks]))


def _demand_metrics(where: Path | str, record: dict, ranks: dict[str, np.ndarray]) -> None:
    """Refuse a record whose metrics do not follow from the ranks, whatever its digest says."""
    for row in record["metrics"]:
        name = row["measure"]
        found = (row["value"], row["n"])
        expected = (metric_of(_KINDS[row["metric"]], ranks[name]), len(ranks[name]))
        if not np.allclose(found, expected, rtol=1e-12, atol=0):
            raise _damaged(where, f"{name} = {found[0]:.6g}", f"{expected[0]:.6g} by its ranks")


def _demand_file(file: Path, record: dict) -> None:
    found = file_digest(file) if file.is_file() else "no such file"
    _demand(file, found, record["digests"].get(file.name, "no digest"))


def _demand(where: Path | str, found: str, expected: str) -> None:
    if found != expected:
        raise _damaged(where, found, expected)


def _damaged(where: Path | str, found: object, expected: object) -> DamagedResultError:
    own = isinstance(where, Path) and where.is_relative_to(paths.stages())
    remedy = (
        f"delete {where.parent}; it is computed again" if own else "restore it with git checkout"
    )
    return DamagedResultError(f"{where} is damaged: found {found}, expected {expected}; {remedy}")


def _json(file: Path, fields: set[str]) -> dict[str, Any]:
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise _damaged(file, error, "JSON") from error
    if not isinstance(content, dict) or not fields <= content.keys():
        raise _damaged(file, "other content", f"an object with {', '.join(sorted(fields))}")
    return content


def _sha256(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
