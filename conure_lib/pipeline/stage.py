"""A stage: a pure function of its specification, found by its id, computed from its parent."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from conure_lib.config import PROTOCOL, StudyConfig, content_id, spec
from conure_lib.data.stream import TaskStream
from conure_lib.errors import DamagedResultError, MissingResultError
from conure_lib.files import file_lock
from conure_lib.methods import ACTIONS, FLOOR_ACTIONS, REVISIONS
from conure_lib.methods.actions import Context, Outcome, weights_digest
from conure_lib.methods.conure import LEAST_RATIO
from conure_lib.methods.method import Step
from conure_lib.models.ownership import ContinualModel
from conure_lib.pipeline import provenance
from conure_lib.pipeline.store import CommittedStore, LocalStore
from conure_lib.training.determinism import limited_threads, repeatable
from conure_lib.training.evaluation import metric_name, metric_of
from conure_lib.training.loop import capped
from conure_lib.training.progress import Progress


@dataclass(frozen=True)
class Stage:
    """A step of a study with one seed."""

    step: Step
    config: StudyConfig
    stream_digest: str
    seed: int
    by_task: Mapping[str, str] = field(default_factory=dict)  # digests up to each, if it may grow
    store: LocalStore | CommittedStore = field(default_factory=LocalStore, compare=False)
    parents_seed: int | None = None  # that of its ancestors, if it is another

    @cached_property
    def parent(self) -> "Stage | None":
        """The stage that this one starts from; None at a start."""
        if (step := self.step.parent) is None:
            return None
        digest = self.by_task.get(step.task, self.stream_digest)
        seed = self.seed if self.parents_seed is None else self.parents_seed
        return Stage(step, self.config, digest, seed, self.by_task, self.store)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Everything that the results depend on, beside the code of this protocol version."""
        config, action, task = self.config, self.step.action, self.step.task
        found = {"protocol": PROTOCOL, "action": action, "task": task, "seed": self.seed}
        found |= {"stream": self.stream_digest}
        found |= {"revision": REVISIONS[action]} if action in REVISIONS else {}
        if action in FLOOR_ACTIONS:
            return found | {"share": config.training(task, action).share, "threads": config.threads}
        found |= {"settings": spec(config.training(task, action)), "model": spec(config.model)}
        if action == "prune":
            found["settings"] = config.pruned(task)
            if (margin := config.margin(task)) is not None:
                probed = {"margin": margin, "least": LEAST_RATIO}
                probed |= {"retrain": spec(config.training(task, "retrain"))}
                found["settings"]["kernels"] = probed
        if self.parent:
            found["parent"] = self.parent.id
            growth = {name: getattr(config, name) for name in ("grow_below", "grow_margin")}
            found |= {name: share for name, share in growth.items() if share and action == "train"}
        found |= {"t1_settings": spec(config.training("T1"))} if action == "joint" else {}
        found |= {"threads": config.threads} if config.threads != 1 else {}
        return found | ({"device": config.device} if config.device != "cpu" else {})

    @cached_property
    def id(self) -> str:
        """dataset.task.action.sSEED and a hash of ``spec``."""
        head = f"{self.config.data.dataset}.{self.step.task}.{self.step.action}.s{self.seed}"
        return f"{head}.{content_id(self.spec)}"

    def lineage(self) -> list["Stage"]:
        """Return the stage's ancestors, eldest first, and itself."""
        return [*(self.parent.lineage() if self.parent else []), self]

    def record(self) -> dict[str, Any]:
        """Return metrics, curve, capped (see ``loop.capped``), notes; or MissingResultError."""
        return self._found("result", self.store.read).record

    def ranks(self, measure: str) -> np.ndarray:
        """Return a measure's ranks (uint8; 0: beyond ``MAX_RANK``) by test instance."""
        return self._found("result", self.store.read).ranks[measure]

    def environment(self) -> dict[str, Any]:
        """Return where and when it was computed (see ``provenance``)."""
        return self._found("result", self.store.read).environment

    def model(self) -> ContinualModel:
        """Return the checkpoint. Raises MissingResultError; of committed ones few are there."""
        return self._found("checkpoint", self.store.model)

    def _found(self, what: str, read: Callable[[str], Any]) -> Any:
        if (found := read(self.id)) is not None:
            return found
        command = f"DATASET={self.config.data.dataset} PROFILE={self.config.profile}"
        reading = "" if isinstance(self.store, LocalStore) else ' and read results="local"'
        said = f"there is no {what} of {self.id}; run: make study {command} SEEDS={self.seed}"
        raise MissingResultError(said + reading)


def with_ancestors(stages: Iterable[Stage]) -> list[Stage]:
    """Return stages and what they start from, each once, parents first."""
    return list({one.id: one for stage in stages for one in stage.lineage()}.values())


def compute_stage(stage: Stage, stream: TaskStream) -> None:
    """Compute one stage on its seed's fold and write it, unless another process is quicker."""
    step, config, stream = stage.step, stage.config, stream.fold(stage.seed)
    kind_here = provenance.kind_here(config.device)
    kind = None if stage.by_task else kind_here
    folder = stage.store.folder(stage.id)
    with file_lock(folder):
        with suppress(DamagedResultError):
            if stage.store.is_usable(stage.id, kind):
                return
        started, cpu = time.time(), time.process_time()
        with limited_threads(config.threads), repeatable(config.device):
            parent = stage.parent.model().to(config.device) if stage.parent else None
            made_by = [kind_here, provenance.versions(), provenance.SOURCE]  # others: other bytes
            if parent and stage.by_task:  # which another kind of processor may have made
                made_by.append(weights_digest(parent.model))
            progress = Progress(folder.with_name(f".{folder.name}.{content_id(made_by)}.partial"))
            task = stream[step.task]
            context = Context(config, stream, task, stage.seed, parent, step.action, progress)
            try:
                outcome = ACTIONS[step.action](context)
            except RuntimeError as error:  # as PyTorch calls it
                if not re.search("out of memory|allocate memory", str(error)):
                    raise
                raise MemoryError(str(error).partition("\n")[0]) from error
        took = {"wall_s": round(time.time() - started, 2)}
        took |= {"cpu_s": round(time.process_time() - cpu, 2)}
        took |= {"epochs_s": [round(epoch.seconds, 3) for epoch in outcome.curve]}
        environment = provenance.environment(config.device) | took
        stage.store.write(stage.id, _record(stage, stream, outcome), environment, outcome)
        for file in folder.parent.glob(f".{folder.name}.*.partial"):  # of other versions, too
            file.unlink(missing_ok=True)


def _record(stage: Stage, stream: TaskStream, outcome: Outcome) -> dict[str, Any]:
    metrics, curve, step = [], [], stage.step
    for measure, ranks in outcome.ranks.items():
        kind = stream[measure.partition("-")[0]].kind
        row = {"measure": measure, "metric": metric_name(kind), "value": metric_of(kind, ranks)}
        metrics.append(row | {"n": len(ranks)})
    for one in outcome.curve:
        epoch = {"epoch": one.number, "phase": one.phase, "validation": one.validation}
        loss = None if np.isnan(one.loss) else one.loss
        curve.append(epoch | {"best": one.best, "loss": loss})
    ended = capped(outcome.curve, stage.config.training(step.task, step.action).patience)
    about = {"stage": stage.id, "spec": stage.spec, "metrics": metrics}
    return about | {"curve": curve, "capped": ended, "notes": outcome.notes}
