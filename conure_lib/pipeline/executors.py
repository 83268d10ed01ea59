"""How a graph of stages is computed: one after the other or in processes of this machine (others: ``cluster``)."""

import multiprocessing
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path

from tqdm.auto import tqdm

from conure_lib import paths
from conure_lib.data.cache import load_stream, save_stream
from conure_lib.data.stream import TaskStream
from conure_lib.errors import ClusterError, ConfigError
from conure_lib.files import path_problem, read_json, temporary_folder
from conure_lib.pipeline.stage import Stage, compute_stage

STREAM = "stream"


def scheduler_address(where: str) -> str:
    """The address of a Dask scheduler; ``where`` is that, or the scheduler file that holds it.

    Raises ConfigError for neither.
    """
    file = Path(where)
    if not path_problem(where) and file.is_file():
        try:
            return str(read_json(file)["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"found {where!r}, not a scheduler file ({error!r})") from error
    if not re.search(r":\d+$", where):
        wanted = (
            "an address as tcp://host:8786, or the file that dask scheduler --scheduler-file wrote"
        )
        raise ConfigError(f"found {where!r}, neither a file nor an address; wanted: {wanted}")
    return where


class Progress:
    """Stages done, running and failed, and the time that the rest may take; parents stand first in ``todo``.

    A stage that fails does not stop those that do not need it; those that do are never started.
    """

    def __init__(self, todo: list[Stage]) -> None:
        self.todo, self.errors = todo, dict[str, Exception]()
        quiet = not todo
        self.bar = tqdm(total=len(todo), desc="stages", unit="stage", disable=quiet)

    def running(self, number: int) -> None:
        """Shows how many stages are being computed."""
        self.bar.set_postfix_str(f"{number} running, {len(self.errors)} failed")

    def done(self) -> None:
        """Counts one more stage."""
        self.bar.update()

    def failed(self, stage: Stage, error: Exception) -> None:
        """Keeps the error for the end."""
        self.errors[stage.id] = error

    def blocked(self, stage: Stage) -> bool:
        """Whether the stage needs one that failed."""
        return any(one.id in self.errors for one in stage.lineage()[:-1])

    def close(self) -> None:
        """Leaves the bar as it is at the end."""
        self.running(0)
        self.bar.close()

    def end(self) -> None:
        """Raises the first error, whose note names the stage and how many others failed or were not started."""
        if not self.errors:
            return
        name, error = next(iter(self.errors.items()))
        left = sum(self.blocked(stage) for stage in self.todo)
        error.add_note(
            f"stage {name} failed ({len(self.errors)} failed, {left} that need them not started)"
        )
        raise error


def compute_serially(todo: list[Stage], stream: TaskStream, progress: Progress) -> None:
    """One after the other, in this process."""
    for stage in todo:
        if progress.blocked(stage):
            continue
        progress.running(1)
        try:
            compute_stage(stage, stream)
        except Exception as error:
            progress.failed(stage, error)
        else:
            progress.done()


def compute_in_processes(
    todo: list[Stage], stream: TaskStream, workers: int, progress: Progress
) -> None:
    """Long chains first; a stage starts once its parent is done. The workers map one file with the stream.

    Raises ClusterError, with the stages that were in hand, when a worker dies.
    """
    left, running = {stage.id: stage for stage in todo}, {}
    heights, spawn = heights_of(todo), multiprocessing.get_context("spawn")
    with (
        stored_for_workers(stream) as folder,
        ProcessPoolExecutor(
            min(workers, len(todo)), mp_context=spawn, initializer=_end_with_parent
        ) as pool,
    ):
        try:
            while left:
                _start_what_can_be(
                    left,
                    running,
                    heights,
                    workers,
                    partial(pool.submit, compute_with, folder=folder),
                )
                progress.running(len(running))
                for future in wait(running, return_when=FIRST_COMPLETED)[0]:
                    error, stage = future.exception(), running[future]
                    if isinstance(error, BrokenProcessPool):
                        raise error
                    del running[future], left[stage.id]
                    if error is None:
                        progress.done()
                        continue
                    progress.failed(stage, error)
                    for name in [s.id for s in left.values() if progress.blocked(s)]:
                        del left[name]
        except BrokenProcessPool as error:
            names = ", ".join(sorted(stage.id for stage in running.values()))
            said = f"a worker process died, maybe killed for want of memory; in hand were {names}"
            raise ClusterError(f"{said}; the same command goes on where it was") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_what_can_be(
    left: dict[str, Stage],
    running: dict[Future, Stage],
    heights: dict[str, int],
    workers: int,
    submit: Callable[[Stage], Future],
) -> None:
    waiting = {stage.id for stage in running.values()}
    waiting |= {stage.id for stage in left.values() if stage.parent and stage.parent.id in left}
    ready = sorted(
        (left[name] for name in left if name not in waiting), key=lambda s: heights[s.id]
    )
    while ready and len(running) < workers:
        stage = ready.pop()
        running[submit(stage)] = stage


def heights_of(stages) -> dict[str, int]:
    """How long the longest chain is that begins with each stage (parents stand before their children)."""
    heights = {stage.id: 1 for stage in stages}
    for stage in reversed(list(stages)):
        if stage.parent and stage.parent.id in heights:
            heights[stage.parent.id] = max(heights[stage.parent.id], 1 + heights[stage.id])
    return heights


@contextmanager
def stored_for_workers(stream: TaskStream) -> Iterator[Path]:
    """A folder with the stream for as long as workers need it."""
    shared = temporary_folder(STREAM, paths.artifacts())
    try:
        save_stream(stream, shared / STREAM)
        yield shared / STREAM
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def compute_with(stage: Stage, folder: Path) -> None:
    """In a worker: computes a stage on the stream that lies in the folder."""
    compute_stage(stage, _shared_stream(folder))


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
