"""Runs of methods made of stages: the graph of what is missing, computed here, in processes, or on a cluster."""

import copy
import importlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import ModuleType

import pandas as pd

from conure_lib.config import StudyConfig, content_id
from conure_lib.data.registry import GROWING, load
from conure_lib.data.stream import TaskStream
from conure_lib.errors import ConfigError
from conure_lib.methods import ACTIONS, METHODS
from conure_lib.methods.method import Step
from conure_lib.pipeline.executors import Progress, compute_in_processes, compute_serially
from conure_lib.pipeline.stage import CHECKPOINT, Stage
from conure_lib.pipeline.store import tidy

COMPUTED_IN_NOTEBOOKS = ("smoke", "quick")
"""Profiles small enough for a notebook to compute what is missing; elsewhere it demands the results."""


@dataclass(frozen=True)
class Run:
    """One method on one stream with one seed: the stages whose results are the method's results.

    variant: what an experiment changed, "" for the study's own settings and order of tasks.
    """

    method: str
    seed: int
    stages: dict[str, Stage]
    variant: str = ""

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits: a hash of the method and the stages' ids, which hold the seed."""
        return content_id([self.method, *(stage.id for stage in self.stages.values())])


class Study:
    """A stream, a configuration, and the runs of every method asked for."""

    def __init__(self, config: StudyConfig, stream: TaskStream | None = None) -> None:
        if unknown := {action for key in config.train if (action := key.partition(".")[2])} - set(
            ACTIONS
        ):
            raise ConfigError(
                f"StudyConfig.train names actions {sorted(unknown)}; there are {sorted(ACTIONS)}"
            )
        self.config = config
        self.stream = load(config.data) if stream is None else stream
        self.order = tuple(t.name for t in self.stream.tasks)
        self.variant = ""
        self._digest = self.stream.digest()
        grows = config.data.dataset in GROWING
        self.by_task = {t: self.stream.until(t).digest() for t in self.order} if grows else {}

    def changed(self, variant: str, **changes: object) -> "Study":
        """The same study with other settings; its runs bear the variant's name. Equal stages are shared."""
        other = copy.copy(self)
        other.config, other.variant = replace(self.config, **changes), variant
        return other

    def stage(self, step: Step, seed: int) -> Stage:
        """A step of this study with one seed; nothing is computed."""
        digest = self.by_task.get(step.task, self._digest)
        return Stage(step, self.config, digest, seed, self.by_task)

    def run(self, method: str, seed: int, order: tuple[str, ...] | None = None) -> Run:
        """One method with one seed. order: of the tasks, the stream's unless given; a part of them will do.

        Raises ValueError for an unknown method or an order that does not begin with the stream's first task.
        """
        if method not in METHODS:
            raise ValueError(f"method {method!r} is unknown; known are {', '.join(METHODS)}")
        order = order or self.order
        if (
            order[0] != self.order[0]
            or len(set(order)) < len(order)
            or not set(order) <= set(self.order)
        ):
            raise ValueError(
                f"order {order}; wanted: {self.order[0]} first, then others of {self.order}, each once"
            )
        steps = METHODS[method].recipe(order)
        return Run(
            method,
            seed,
            {task: self.stage(step, seed) for task, step in steps.items()},
            self.variant,
        )

    def runs(self, methods: Iterable[str], order: tuple[str, ...] | None = None) -> list[Run]:
        """Methods by seeds, in this order: a run for each of the study's seeds (see ``run``)."""
        return [self.run(method, seed, order) for method in methods for seed in self.config.seeds]

    def compute(
        self, runs: Iterable[Run], workers: int = 1, reuse: bool = True, cluster: str | None = None
    ) -> None:
        """Computes what is missing of these runs' stages, anywhere, with the same results.

        workers: processes of this machine. cluster: instead of them the address (tcp://host:port) or the scheduler
        file of a Dask cluster whose workers see the same CONURE_ROOT. reuse: a committed record counts as done;
        otherwise only what was computed here does. Raises what ``compute`` raises.
        """
        stages = [stage for run in runs for stage in run.stages.values()]
        compute(stages, self.stream, workers, reuse, cluster)

    def require(self, runs: Iterable[Run]) -> None:
        """Raises MissingResultError with the command that computes the first stage without a result."""
        for run in runs:
            for stage in run.stages.values():
                stage.environment()

    def ready(self, runs: Iterable[Run], workers: int = 1) -> None:
        """What notebooks call: computes what is missing in the small profiles, else demands that it is there."""
        if self.config.profile in COMPUTED_IN_NOTEBOOKS:
            self.compute(runs, workers)
        else:
            self.require(runs)

    def results(self, runs: Iterable[Run]) -> pd.DataFrame:
        """Tidy: one row per run, task and measure, with n, run id, stage id and commit."""
        rows = []
        for run in runs:
            for task, stage in run.stages.items():
                commit = stage.environment()["commit"]
                for row in stage.record()["metrics"]:
                    head = {
                        "dataset": self.stream.name,
                        "profile": self.config.profile,
                        "method": run.method,
                        "variant": run.variant,
                    }
                    tail = {"run_id": run.id, "stage_id": stage.id, "commit": commit}
                    rows.append(head | {"task": task, "seed": run.seed} | row | tail)
        return pd.DataFrame(rows)


def compute(
    stages: Iterable[Stage],
    stream: TaskStream,
    workers: int = 1,
    reuse: bool = True,
    cluster: str | None = None,
) -> None:
    """Computes the stages and whatever they need. A killed computation goes on where it was; what is damaged in
    the cache is named and computed again.

    Here, in ``workers`` processes of this machine, or on a Dask cluster (``Study.compute``); results do not depend
    on it. A stage that fails does not stop those that do not need it; at the end its error is raised and names it.
    Raises ConfigError for a way that is not open here, ClusterError for workers that cannot be used.
    """
    stages = list(stages)
    todo = missing([*stages, *tidy(stages)], reuse)
    progress = Progress(todo)
    try:
        if cluster and todo:
            _cluster().compute_on_cluster(todo, stream, cluster, progress)
        elif workers > 1 and todo:
            compute_in_processes(todo, stream, workers, progress)
        else:
            compute_serially(todo, stream, progress)
    finally:
        progress.close()
    progress.end()


def _cluster() -> ModuleType:
    """The part that needs Dask, which not everybody has."""
    try:
        return importlib.import_module(".cluster", __package__)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--cluster needs {error.name}; run: pip install -e '.[cluster]'"
        ) from error


def missing(stages: Iterable[Stage], reuse: bool = True) -> list[Stage]:
    """What has to be computed for these stages, parents first: those without a record (with ``reuse`` a
    committed one will do), and those whose checkpoint is needed by one of them and is not here."""
    todo: dict[str, Stage] = {}

    def need_checkpoint(stage: Stage) -> None:
        if stage.id not in todo and not (stage.folder / CHECKPOINT).is_file():
            add(stage)

    def add(stage: Stage) -> None:
        if stage.parent:
            need_checkpoint(stage.parent)
        todo[stage.id] = stage

    for stage in stages:
        if stage.id not in todo and not stage.is_done(reuse):
            add(stage)
    return list(todo.values())
