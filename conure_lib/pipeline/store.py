"""Results, verified when read: one's own in ``artifacts/``, committed ones in ``results/``."""

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from conure_lib import paths
from conure_lib.config import canonical
from conure_lib.errors import ConfigError, DamagedResultError, MissingResultError
from conure_lib.files import atomic_file, atomic_folder, file_digest, read_json, write_json
from conure_lib.methods.actions import Outcome
from conure_lib.models.checkpoint import DESCRIPTION, WEIGHTS
from conure_lib.models.ownership import ContinualModel
from conure_lib.pipeline import provenance
from conure_lib.training.evaluation import CUTOFF, MAX_CUTOFF, metric_name, metric_of

RECORD, ENVIRONMENT, RANKS = "record.json", "environment.json", "ranks.parquet"
MODEL = "model"  # the folder of a committed checkpoint
EVIDENCE = dict.fromkeys(("id", "record", "environment", "digest"), pa.string())
EVIDENCE["ranks"] = pa.map_(pa.string(), pa.binary())
"""Columns of committed evidence: JSON, a digest over the row, and ranks of one byte by measure."""
EVIDENCE_RANK = 20  # of committed ranks, so that a file stays small; those beyond are 0 there
_KINDS = {metric_name(kind): kind for kind in ("ranking", "classification")}


class Stored(NamedTuple):
    """What is kept of a stage: its record, where it was computed, and test ranks by measure."""

    record: dict[str, Any]
    environment: dict[str, Any]
    ranks: dict[str, np.ndarray]


class LocalStore:
    """One's own results: a folder per stage; environment.json holds the digests of its files."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root  # ROOT/artifacts/stages unless given

    def folder(self, stage_id: str) -> Path:
        """Return the folder of a stage."""
        return (self.root or paths.artifacts("stages")) / stage_id

    def read(self, stage_id: str) -> Stored | None:
        """Return verified results, None where there are none. Raises DamagedResultError."""
        if not (folder := self.folder(stage_id)).is_dir():
            return None
        return _read_once(folder, *(_stamp(folder / n) for n in (RECORD, RANKS, ENVIRONMENT)))

    def model(self, stage_id: str) -> ContinualModel | None:
        """Return the verified checkpoint, None where there is none. Raises DamagedResultError."""
        folder = self.folder(stage_id)
        kept = folder.is_dir() and DESCRIPTION in _verified(folder)["digests"]
        return ContinualModel.load(folder) if kept else None

    def is_usable(self, stage_id: str, kind: str | None) -> bool:
        """Return whether an undamaged stage is here, of this kind of processor if given."""
        folder = self.folder(stage_id)
        return folder.is_dir() and kind in (None, provenance.kind(_verified(folder)))

    def write(self, stage_id: str, record: dict, environment: dict, outcome: Outcome) -> None:
        """Write a stage's folder in one step, in place of an unusable one."""
        folder = self.folder(stage_id)
        with atomic_folder(folder, replace=True) as part:
            if outcome.model is not None:
                outcome.model.save(part)
            rows = [{"measure": n, "ranks": r.tobytes()} for n, r in outcome.ranks.items()]
            pq.write_table(pa.Table.from_pylist(rows), part / RANKS)
            write_json(part / RECORD, record)
            digests = {file.name: file_digest(file) for file in sorted(part.iterdir())}
            about = environment | {"digests": digests}
            write_json(part / ENVIRONMENT, about | {"sha256": _sha256(canonical(about))})


class CommittedStore:
    """The committed evidence of a profile on a dataset: one Parquet file for each of ``seeds``."""

    def __init__(self, profile: str, dataset: str) -> None:
        self.folder = paths.results(profile, dataset, local=False)
        self._files: dict[Path, dict[str, Stored]] = {}
        files = self.folder.glob("seed-*.parquet")
        self.seeds = tuple(sorted(int(file.stem.removeprefix("seed-")) for file in files))
        if not self.seeds:
            hint = 'results="local" (RESULTS in a notebook) reads your own run'
            if paths.ROOT != paths.CHECKOUT:
                hint += "; committed ones are in a checkout: set CONURE_ROOT to it"
            raise MissingResultError(f"no committed results in {self.folder}; {hint}")

    @property
    def device(self) -> str:
        """What the networks were trained on: "cpu" or "cuda"."""
        about = {}
        with suppress(OSError, pa.ArrowException):  # what is damaged is said when it is read
            about = pq.read_metadata(self.folder / f"seed-{self.seeds[0]}.parquet").metadata
        return about.get(b"device", b"cpu").decode()

    def read(self, stage_id: str) -> Stored | None:
        """Return verified results, None where there are none. Raises DamagedResultError."""
        file = self.folder / f"seed-{stage_id.split('.')[-2][1:]}.parquet"
        if file not in self._files:
            try:
                rows = pq.read_table(file).to_pylist() if file.is_file() else []
                self._files[file] = {row["id"]: _checked(row) for row in rows}
            except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
                said = " ".join(f"{file} is damaged ({error}); run: git checkout --".split())
                raise DamagedResultError(f"{said} {file}") from error
        return self._files[file].get(stage_id)

    def model(self, stage_id: str) -> ContinualModel | None:
        """Return the checkpoint if it is the one that is committed (see ``publish_model``)."""
        folder, stored = self.folder / MODEL, self.read(stage_id)
        if not stored or not folder.is_dir():
            return None
        kept, names = stored.environment["digests"], (DESCRIPTION, WEIGHTS)
        same = all(file_digest(folder / name) == kept.get(name) for name in names)
        return ContinualModel.load(folder) if same else None


def evidence_ranks(measure: str, ranks: np.ndarray) -> np.ndarray:
    """Return what evidence keeps of a measure's ranks: any cutoff up to ``EVIDENCE_RANK`` follows.

    Of T1 at all positions, by far the longest, every metric of the study does; of what later tasks
    left of a task the primary one, by which it is compared.
    """
    most = MAX_CUTOFF if "-all" in measure else EVIDENCE_RANK
    most = CUTOFF if measure.endswith("-after") else most
    return np.where(ranks > most, 0, ranks).astype(np.uint8)


def write_evidence(profile: str, dataset: str, seed: int, stages: Mapping[str, Stored]) -> Path:
    """Write a seed's stages as committed evidence, in place of what is there; return the file."""
    rows = []
    for stage_id, (record, environment, ranks) in sorted(stages.items()):
        row = {"id": stage_id, "record": canonical(record), "environment": canonical(environment)}
        row["ranks"] = [(n, evidence_ranks(n, ranks[n]).tobytes()) for n in sorted(ranks)]
        rows.append(row | {"digest": _row_digest(row)})
    about = {"protocol": str(record["spec"]["protocol"]), "profile": profile, "dataset": dataset}
    if devices := {s.record["spec"].get("device") for s in stages.values()} - {None}:
        about |= {"device": devices.pop()}
    table = pa.Table.from_pylist(rows, pa.schema(EVIDENCE, metadata=about | {"seed": str(seed)}))
    file = paths.results(profile, dataset, local=False) / f"seed-{seed}.parquet"
    with atomic_file(file) as part:
        small = {"compression": "brotli", "compression_level": 11, "use_dictionary": False}
        pq.write_table(table, part, **small)
    return file


def publish(stages: Iterable[Any]) -> list[Path]:
    """Turn one's own results, with their ancestors, into committed evidence; return its files.

    What is not computed here stays as it is published. Refuses beforehand what is neither, code
    that is not committed (now or then), and several kinds of processors in what begins alike.
    """
    every = {one.id: one for stage in stages for one in stage.lineage()}
    published = lru_cache(CommittedStore)
    files: dict[tuple, dict[str, Stored]] = defaultdict(dict)
    for name, one in every.items():
        key = one.config.profile, one.config.data.dataset, one.seed
        if not (found := one.store.read(name)):
            with suppress(MissingResultError):
                found = published(*key[:2]).read(name)
        files[key][name] = found or Stored({}, one.environment(), {})  # which says what is missing
    environments = {n: s.environment for stored in files.values() for n, s in stored.items()}
    for name, about in {"this checkout": provenance.environment(), **environments}.items():
        if about["dirty"] is not False:
            raise ConfigError(f"{name}: found code that is not committed; commit and compute again")
    for commit in {about["commit"] for about in environments.values()}:
        if not provenance.is_known(commit):
            raise ConfigError(f"found results of commit {commit}, which this branch does not hold")
    if kinds := provenance.mixed((every[name], about) for name, about in environments.items()):
        found = "; ".join(f"{kind} ({example})" for kind, example in kinds.items())
        raise ConfigError(f"found several kinds of processors: {found}; compute all on one")
    return [write_evidence(*key, stored) for key, stored in sorted(files.items())]


def publish_model(stage: Any) -> list[Path]:
    """Commit one checkpoint of a dataset beside its evidence; one not here stays as published."""
    source, config = LocalStore().folder(stage.id), stage.config
    if not source.is_dir():
        return []
    _verified(source)
    folder = paths.results(config.profile, config.data.dataset, local=False) / MODEL
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(source / n, folder / n)) for n in (DESCRIPTION, WEIGHTS)]


@lru_cache(maxsize=512)
def _read_once(folder: Path, *_stamps: tuple[int, ...]) -> Stored:
    """Read a local stage; tables and claims ask for the same ones again and again."""
    environment = _verified(folder, RECORD, RANKS)
    rows = pq.read_table(folder / RANKS).to_pylist()
    ranks = {row["measure"]: np.frombuffer(row["ranks"], np.uint8) for row in rows}
    return Stored(read_json(folder / RECORD), environment, ranks)


def _stamp(file: Path) -> tuple[int, ...]:
    """Return what changes when a file is written again; empty if there is none."""
    with suppress(OSError):
        about = file.stat()
        return about.st_ino, about.st_size, about.st_mtime_ns
    return ()


def _verified(folder: Path, *names: str) -> dict[str, Any]:
    """Return a local stage's environment, once it and the named files (or all) are as written."""
    try:
        environment = read_json(folder / ENVIRONMENT)
        content, digests = {**environment}, environment["digests"]
        changed = [] if content.pop("sha256") == _sha256(canonical(content)) else [ENVIRONMENT]
        changed += [n for n in names or digests if file_digest(folder / n) != digests[n]]
        if changed:
            raise ValueError(f"{changed[0]} is not what was written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"{folder} is damaged ({error}); delete it and compute it again"
        raise DamagedResultError(said) from error
    return environment


def _checked(row: dict) -> Stored:
    """Return a committed row's content; raises ValueError unless metrics follow from the ranks."""
    if _row_digest(row) != row["digest"]:
        raise ValueError(f"{row['id']} is not what was written")
    record, environment = json.loads(row["record"]), json.loads(row["environment"])
    ranks = {name: np.frombuffer(values, np.uint8) for name, values in row["ranks"]}
    for measured in record["metrics"]:
        values = ranks[measured["measure"]]
        expected = metric_of(_KINDS[measured["metric"]], values), len(values)
        if not np.allclose((measured["value"], measured["n"]), expected, rtol=1e-12, atol=0):
            raise ValueError(f"{row['id']}: {measured['value']}, by its ranks {expected[0]}")
    return Stored(record, environment, ranks)


def _row_digest(row: dict) -> str:
    ranks = [[name, _sha256(values)] for name, values in row["ranks"]]
    return _sha256(canonical([row["id"], row["record"], row["environment"], ranks]))


def _sha256(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
