"""Runs of methods made of stages: the graph of what is missing, computed by any number of processes."""

import copy
import multiprocessing
import os
import shutil
import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from . import paths
from .actions import ACTIONS
from .config import ConfigError, StudyConfig, content_id
from .data import GROWING, load
from .data.store import load_stream, save_stream, temporary_folder
from .data.stream import TaskStream
from .methods import METHODS, Step
from .records import tidy
from .stages import CHECKPOINT, Stage, compute_one

COMPUTED_IN_NOTEBOOKS = ("smoke", "quick")
"""Profiles small enough for a notebook to compute what is missing; elsewhere it demands the results."""


class WorkerLost(RuntimeError):
    """A worker process died, e.g. killed for its memory. Names the stages that were in hand."""

    @classmethod
    def at(cls, stages: Iterable[Stage]) -> "WorkerLost":
        names = ", ".join(sorted(stage.id for stage in stages))
        return cls(f"a worker died; in hand were {names}; the same command goes on where it was")


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
        return content_id([self.method, *(stage.id for stage in self.stages.values())])


class Study:
    """A stream, a configuration, and the runs of every method asked for."""

    def __init__(self, config: StudyConfig, stream: TaskStream | None = None) -> None:
        if unknown := {action for key in config.train if (action := key.partition(".")[2])} - set(ACTIONS):
            raise ConfigError(f"StudyConfig.train names actions {sorted(unknown)}; there are {sorted(ACTIONS)}")
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
        digest = self.by_task.get(step.task, self._digest)
        return Stage(step, self.config, digest, seed, self.by_task)

    def run(self, method: str, seed: int, order: tuple[str, ...] | None = None) -> Run:
        """One method with one seed. order: of the tasks, the stream's unless given; a part of them will do.

        Raises ValueError for an unknown method or an order that does not begin with the stream's first task.
        """
        if method not in METHODS:
            raise ValueError(f"method {method!r} is unknown; known are {', '.join(METHODS)}")
        order = order or self.order
        if order[0] != self.order[0] or len(set(order)) < len(order) or not set(order) <= set(self.order):
            raise ValueError(
                f"order {order}; wanted: {self.order[0]} first, then others of {self.order}, each once"
            )
        steps = METHODS[method](order)
        return Run(method, seed, {task: self.stage(step, seed) for task, step in steps.items()}, self.variant)

    def runs(self, methods: Iterable[str], order: tuple[str, ...] | None = None) -> list[Run]:
        return [self.run(method, seed, order) for method in methods for seed in self.config.seeds]

    def compute(self, runs: Iterable[Run], workers: int = 1, reuse: bool = True) -> None:
        """Computes what is missing of these runs' stages, in any number of processes, with the same results.

        reuse: a committed record counts as done; otherwise only what was computed here does.
        """
        compute([stage for run in runs for stage in run.stages.values()], self.stream, workers, reuse)

    def require(self, runs: Iterable[Run]) -> None:
        """Raises MissingResult with the command that computes the first stage without a result."""
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
                    head = {"dataset": self.stream.name, "profile": self.config.profile, "method": run.method,
                            "variant": run.variant}  # fmt: skip
                    tail = {"run_id": run.id, "stage_id": stage.id, "commit": commit}
                    rows.append(head | {"task": task, "seed": run.seed} | row | tail)
        return pd.DataFrame(rows)


def compute(stages: Iterable[Stage], stream: TaskStream, workers: int = 1, reuse: bool = True) -> None:
    """Computes the stages and whatever they need. A killed computation goes on where it was. What is damaged in
    the cache is named and computed again. Raises WorkerLost when a worker dies.

    Each worker is a process with the study's number of threads; results do not depend on ``workers``.
    """
    stages = list(stages)
    todo = missing([*stages, *tidy(stages)], reuse)
    bar = tqdm(total=len(todo), desc="stages", unit="stage", disable=not todo)
    if workers <= 1:
        for stage in todo:
            bar.set_postfix_str(stage.id)
            compute_one(stage, stream)
            bar.update()
    elif todo:
        _compute_in_processes(todo, stream, workers, bar)
    bar.close()


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


def _compute_in_processes(todo: list[Stage], stream: TaskStream, workers: int, bar: tqdm) -> None:
    """Long chains first; a stage starts once its parent is done. The workers map one file with the stream."""
    children: dict[str | None, list[Stage]] = {}
    names = {stage.id for stage in todo}
    for stage in todo:
        parent = stage.parent.id if stage.parent and stage.parent.id in names else None
        children.setdefault(parent, []).append(stage)

    def height(stage: Stage) -> int:
        return 1 + max((height(child) for child in children.get(stage.id, [])), default=0)

    ready, running = list(children.get(None, [])), {}
    spawn = multiprocessing.get_context("spawn")
    shared = temporary_folder("stream", paths.artifacts())
    folder = shared / "stream"
    save_stream(stream, folder)
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
        try:
            while ready or running:
                ready.sort(key=height)
                while ready and len(running) < workers:
                    stage = ready.pop()
                    running[pool.submit(_compute_with, stage, folder)] = stage
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    stage = running.pop(future)
                    try:
                        future.result()
                    except BrokenProcessPool as error:
                        raise WorkerLost.at([stage, *running.values()]) from error
                    ready += children.get(stage.id, [])
                    bar.update()
                    bar.set_postfix_str(stage.id)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            shutil.rmtree(shared, ignore_errors=True)


def _compute_with(stage: Stage, folder: Path) -> None:
    compute_one(stage, _shared_stream(folder))


@lru_cache(maxsize=1)
def _shared_stream(folder: Path) -> TaskStream:
    """Loaded once in each worker: sent with every stage, TTL's stream would be 1 GiB through a pipe."""
    return load_stream(folder)


def _end_with_parent() -> None:
    """Ends this worker as soon as the process that started it is gone, killed ones included."""

    def wait_for_the_end() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait_for_the_end, daemon=True).start()
