"""A stage: a pure function of what determines it, kept whole or not at all, and found by its id."""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from conure_lib import paths
from conure_lib.config import PROTOCOL, StudyConfig, content_id
from conure_lib.data.stream import TaskStream
from conure_lib.errors import DamagedResultError, MissingResultError
from conure_lib.files import atomic_folder, file_digest, file_lock
from conure_lib.methods import ACTIONS
from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.method import Step
from conure_lib.models.ownership import ContinualModel
from conure_lib.pipeline.provenance import environment
from conure_lib.pipeline.records import ENVIRONMENT, RECORD, load_verified, read_record
from conure_lib.training.determinism import repeatable, torch_threads
from conure_lib.training.evaluation import metric_name, metric_of

RANKS = "ranks.parquet"
PUBLISHED = (RECORD, RANKS, ENVIRONMENT)
CHECKPOINT, WEIGHTS = "model.json", "model.safetensors"


@dataclass(frozen=True)
class Stage:
    """A step of a study with one seed: a pure function of what ``spec`` holds.

    stream_digest: of the data that the stage may depend on: the whole stream, or, if that grows, the part of it
    up to the stage's task. by_task: a growing stream's digest up to each task (nothing for others).
    """

    step: Step
    study: StudyConfig
    stream_digest: str
    seed: int
    by_task: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def parent(self) -> "Stage | None":
        """The stage that this one starts from; None at a start."""
        step = self.step.parent
        if step is None:
            return None
        digest = self.by_task.get(step.task, self.stream_digest)
        return Stage(step, self.study, digest, self.seed, self.by_task)

    @cached_property
    def spec(self) -> dict:
        """Everything that the stage's files depend on, beside the code of this protocol version."""
        action, task = self.step.action, self.step.task
        if action == "popularity":
            return {
                "protocol": PROTOCOL,
                "action": action,
                "task": task,
                "stream": self.stream_digest,
            }
        if action == "prune":
            settings: object = self.study.pruned(task)
        else:
            settings = asdict(self.study.training(task, action))
        return {
            "protocol": PROTOCOL,
            "action": action,
            "task": task,
            "settings": settings,
            "parent": None if self.parent is None else self.parent.id,
            "model": asdict(self.study.model),
            "stream": self.stream_digest,
            "seed": self.seed,
            "threads": self.study.threads,
            **({"t1_settings": asdict(self.study.training("T1"))} if action == "joint" else {}),
            **({} if self.study.device == "cpu" else {"device": self.study.device}),
        }

    @cached_property
    def id(self) -> str:
        """dataset.task.action.sSEED and a hash of ``spec``."""
        step = self.step
        return f"{self.study.data.dataset}.{step.task}.{step.action}.s{self.seed}.{content_id(self.spec)}"

    @property
    def folder(self) -> Path:
        """Where the stage is kept when it is computed here."""
        return paths.stages() / self.id

    def lineage(self) -> list["Stage"]:
        """The stage's ancestors, eldest first, and itself."""
        return [*(self.parent.lineage() if self.parent else []), self]

    def record(self) -> dict:
        """The stage's record, verified. Raises MissingResultError, or DamagedResultError."""
        return load_verified(self._found(), RANKS)

    def ranks(self, measure: str) -> np.ndarray:
        """Test ranks (uint8; 0 = beyond 255) in the order of the task's test rows. measure: task or "T1-all"."""
        self.record()
        table = pd.read_parquet(self._found() / RANKS)
        return table.loc[table["measure"] == measure, "rank"].to_numpy()

    def environment(self) -> dict:
        """Where and when the stage was computed (see the function ``environment``). Raises MissingResultError."""
        return read_record(self._found() / ENVIRONMENT, {"commit"})

    def model(self) -> ContinualModel:
        """The stage's checkpoint, verified. Raises MissingResultError if it was not computed here, or DamagedResultError."""
        if not (self.folder / CHECKPOINT).is_file():
            raise MissingResultError(f"no checkpoint of {self.id} here; {self._mend()}")
        load_verified(self.folder, CHECKPOINT, WEIGHTS)
        return ContinualModel.load(self.folder)

    def is_done(self, reuse: bool = True) -> bool:
        """Whether there is a record; without ``reuse`` a committed one does not count."""
        return any((folder / RECORD).is_file() for folder in self._places()[: 2 if reuse else 1])

    def verify(self) -> bool:
        """Whether the stage is here with its checkpoint, if it has one. Raises DamagedResultError."""
        if not (self.folder / RECORD).is_file():
            return False
        names = load_verified(self.folder, RANKS)["digests"]
        whole = CHECKPOINT not in names or (self.folder / CHECKPOINT).is_file()
        if whole:
            load_verified(self.folder, *names)
        return whole

    def _places(self) -> tuple[Path, Path]:
        return self.folder, paths.published() / self.study.data.dataset / self.id

    def _found(self) -> Path:
        for folder in self._places():
            if (folder / RECORD).is_file():
                return folder
        raise MissingResultError(f"{self.id} is not computed yet; {self._mend()}")

    def _mend(self) -> str:
        study = self.study
        return f"run: make study DATASET={study.data.dataset} PROFILE={study.profile} SEEDS={self.seed}"


def compute_stage(stage: Stage, stream: TaskStream) -> None:
    """Computes one stage from its parent's checkpoint and writes its folder, whole or not at all.

    Waits while another process has the same stage in hand, and takes what that one wrote.
    Raises ConfigError on CUDA without what makes it repeat itself (``numerics.repeatable``).
    """
    with file_lock(stage.folder):
        if not _is_whole(stage):
            _compute(stage, stream)


def _is_whole(stage: Stage) -> bool:
    try:
        return stage.verify()
    except DamagedResultError:
        return False


def _compute(stage: Stage, stream: TaskStream) -> None:
    started, cpu = time.time(), time.process_time()
    outcome = outcome_of(stage, stream)
    spent = {
        "wall_s": round(time.time() - started, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
    }
    shutil.rmtree(stage.folder, ignore_errors=True)  # a leftover that is not whole
    with atomic_folder(stage.folder) as folder:
        _write(stage, outcome, stream, folder)
        about = environment() | spent | {"record": file_digest(folder / RECORD)}
        (folder / ENVIRONMENT).write_text(_json(about))


def outcome_of(stage: Stage, stream: TaskStream) -> Outcome:
    """What ``compute_stage`` computes, without writing it. Raises ConfigError if the settings do not fit here."""
    with torch_threads(stage.study.threads), repeatable(stage.study.device):
        parent = stage.parent.model().to(stage.study.device) if stage.parent else None
        context = Context(
            stage.study, stream, stream[stage.step.task], stage.seed, parent, stage.step.action
        )
        return ACTIONS[stage.step.action](context)


def _write(stage: Stage, outcome: Outcome, stream: TaskStream, folder: Path) -> None:
    if outcome.model is not None:
        outcome.model.save(folder)
    ranks = outcome.ranks
    table = pd.DataFrame(
        {
            "measure": pd.Categorical(np.repeat(list(ranks), [len(r) for r in ranks.values()])),
            "rank": np.concatenate(list(ranks.values())),
        }
    )
    table.to_parquet(folder / RANKS, compression="zstd", index=False)
    kinds = {
        f"{t.name}{suffix}": t.kind
        for suffix in ("-all-after", "-all", "-after", "")
        for t in stream.tasks
    }
    metrics = [
        {
            "measure": name,
            "metric": metric_name(kinds[name]),
            "value": metric_of(kinds[name], r),
            "n": len(r),
        }
        for name, r in ranks.items()
    ]
    record = {
        "stage": stage.id,
        "spec": stage.spec,
        "metrics": metrics,
        "curve": [
            {
                "epoch": e.number,
                "loss": None if np.isnan(e.loss) else e.loss,
                "validation": e.validation,
                "best": e.best,
            }
            for e in outcome.curve
        ],
        "notes": outcome.notes,
        "digests": {p.name: file_digest(p) for p in sorted(folder.iterdir())},
    }
    (folder / RECORD).write_text(_json(record))


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
