"""A stage: a pure function of its specification, found by its id, computed from its parent's checkpoint."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from conure_lib.config import PROTOCOL, StudyConfig, content_id, spec
from conure_lib.data.stream import TaskStream
from conure_lib.errors import DamagedResultError, MissingResultError
from conure_lib.methods import ACTIONS
from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.method import Step
from conure_lib.models.ownership import ContinualModel
from conure_lib.pipeline import provenance
from conure_lib.pipeline.store import LocalStore, Store, Stored
from conure_lib.training.determinism import repeatable, torch_threads
from conure_lib.training.evaluation import MAX_RANK, metric_name, metric_of


@dataclass(frozen=True)
class Stage:
    """A step of a study with one seed: a pure function of what ``spec`` holds.

    Parameters
    ----------
    step
        The action, its task and the steps before it.
    config
        The study's settings.
    stream_digest
        Of the data that the stage may depend on: the stream, or, if that grows, its part up to the task.
    seed
        Of initialisation, order and negatives.
    by_task
        A growing stream's digest up to each task; empty for other streams.
    store
        Where its results are read and written.
    """

    step: Step
    config: StudyConfig
    stream_digest: str
    seed: int
    by_task: Mapping[str, str] = field(default_factory=dict)
    store: Store = field(default_factory=LocalStore, compare=False)

    @cached_property
    def parent(self) -> "Stage | None":
        """The stage that this one starts from; None at a start."""
        step = self.step.parent
        if step is None:
            return None
        digest = self.by_task.get(step.task, self.stream_digest)
        return Stage(step, self.config, digest, self.seed, self.by_task, self.store)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Everything that the results depend on, beside the code of this protocol version.

        Of settings only what differs from the defaults, so that a new option that is off changes no id.
        """
        config, action, task = self.config, self.step.action, self.step.task
        head = {"protocol": PROTOCOL, "action": action, "task": task, "stream": self.stream_digest}
        if action == "popularity":
            return head
        pruning = action == "prune"
        settings = config.pruned(task) if pruning else spec(config.training(task, action))
        return {
            **head,
            "seed": self.seed,
            "settings": settings,
            "model": spec(config.model),
            **({"parent": self.parent.id} if self.parent else {}),
            **({"t1_settings": spec(config.training("T1"))} if action == "joint" else {}),
            **({"threads": config.threads} if config.threads != 1 else {}),
            **({"device": config.device} if config.device != "cpu" else {}),
        }

    @cached_property
    def id(self) -> str:
        """dataset.task.action.sSEED and a hash of ``spec``."""
        step = self.step
        head = f"{self.config.data.dataset}.{step.task}.{step.action}.s{self.seed}"
        return f"{head}.{content_id(self.spec)}"

    def lineage(self) -> list["Stage"]:
        """Return the stage's ancestors, eldest first, and itself."""
        return [*(self.parent.lineage() if self.parent else []), self]

    def is_done(self) -> bool:
        """Return whether its results are in the store. Raises DamagedResultError."""
        return self.store.read(self.id) is not None

    def record(self) -> dict[str, Any]:
        """Return what the stage measured: ``metrics``, ``curve``, ``notes``, ``spec`` and digests.

        Raises
        ------
        MissingResultError
            If nobody has computed it; the message holds the command that does.
        DamagedResultError
            If what is stored is not what was written, or a metric does not follow from the ranks.
        """
        return self._stored().record

    def ranks(self, measure: str) -> np.ndarray:
        """Return test ranks (uint8, 0 = beyond the record's ``cutoff``) in the order of the test rows.

        measure: a task, or "T1-all" (every position). Raises what ``record`` raises.
        """
        return self._stored().ranks[measure]

    def environment(self) -> dict[str, Any]:
        """Return where and when it was computed (see ``provenance``). Raises what ``record`` raises."""
        return self._stored().environment

    def model(self) -> ContinualModel:
        """Return the checkpoint. Raises MissingResultError where none is kept, or DamagedResultError."""
        model = self.store.model(self.id)
        if model is None:
            raise MissingResultError(f"no checkpoint of {self.id} here; {self._remedy()}")
        return model

    def _stored(self) -> Stored:
        stored = self.store.read(self.id)
        if stored is None:
            raise MissingResultError(f"{self.id} is not in {self.store.place}; {self._remedy()}")
        return stored

    def _remedy(self) -> str:
        config = self.config
        what = f"DATASET={config.data.dataset} PROFILE={config.profile} SEEDS={self.seed}"
        remedy = f"compute it here (make study {what})"
        return (
            remedy if isinstance(self.store, LocalStore) else f'{remedy} and read results="local"'
        )


def compute_stage(stage: Stage, stream: TaskStream) -> None:
    """Compute one stage from its parent's checkpoint and write its folder in one step.

    Waits while another process computes the same stage, and takes what that one wrote.
    Raises ConfigError for CUDA without what makes it repeat itself.
    """
    store, device = stage.store, stage.config.device
    kind = None if stage.by_task else provenance.kind_here(device)
    with store.lock(stage.id):
        with suppress(DamagedResultError):
            if store.is_usable(stage.id, kind, model=True):
                return
        started, cpu = time.time(), time.process_time()
        outcome = outcome_of(stage, stream)
        spent = {
            "wall_s": round(time.time() - started, 2),
            "cpu_s": round(time.process_time() - cpu, 2),
        }
        environment = provenance.environment(device) | spent
        store.write(stage.id, _record(stage, stream, outcome), environment, outcome)


def outcome_of(stage: Stage, stream: TaskStream) -> Outcome:
    """Return what ``compute_stage`` computes, without writing it."""
    step, config = stage.step, stage.config
    with torch_threads(config.threads), repeatable(config.device):
        parent = stage.parent.model().to(config.device) if stage.parent else None
        context = Context(config, stream, stream[step.task], stage.seed, parent, step.action)
        return ACTIONS[step.action](context)


def _record(stage: Stage, stream: TaskStream, outcome: Outcome) -> dict[str, Any]:
    kinds = {task.name: task.kind for task in stream.tasks}
    metrics = []
    for measure, ranks in outcome.ranks.items():
        kind = kinds[measure.removesuffix("-after").removesuffix("-all")]
        value = metric_of(kind, ranks)
        metrics.append(
            {"measure": measure, "metric": metric_name(kind), "value": value, "n": len(ranks)}
        )
    curve = [
        {
            "epoch": epoch.number,
            "loss": None if np.isnan(epoch.loss) else epoch.loss,
            "validation": epoch.validation,
            "best": epoch.best,
        }
        for epoch in outcome.curve
    ]
    return {
        "stage": stage.id,
        "spec": stage.spec,
        "cutoff": MAX_RANK,
        "metrics": metrics,
        "curve": curve,
        "notes": outcome.notes,
    }
