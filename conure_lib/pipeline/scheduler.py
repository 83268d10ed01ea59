"""How a graph of stages is computed: one after the other, or by Dask on this machine or on a cluster.

Workers share one CONURE_ROOT with the process that started the study: streams, checkpoints and records
go through the file system; only what names a stage goes through Dask, whose messages can run code
(docs/clusters.md).
"""

import hashlib
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from distributed import (
    CancelledError,
    Client,
    Future,
    KilledWorker,
    LocalCluster,
    Worker,
    get_worker,
    wait,
)
from tqdm.auto import tqdm

from conure_lib import paths
from conure_lib.config import PROTOCOL
from conure_lib.data.cache import MANIFEST, load_stream, save_stream
from conure_lib.data.stream import TaskStream
from conure_lib.errors import ClusterError, ConfigError, DamagedResultError
from conure_lib.files import path_problem, read_json, remove_leftovers, temporary_folder
from conure_lib.pipeline import provenance
from conure_lib.pipeline.stage import Stage, compute_stage
from conure_lib.pipeline.store import RECORD

CONNECT = 10.0  # seconds to wait for the scheduler's answer
POLL = 1.0  # seconds between two looks at what is running
SEEN_LATE = 60.0  # seconds after which a network file system shows a new file by its defaults
RESUME = "the same command continues where it stopped"
SOURCE = hashlib.sha256(
    b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.parent.rglob("*.py")))
).hexdigest()[:12]
"""Digest of the library's code when it was imported: workers may have started before it was changed."""


def compute(
    stages: Iterable[Stage],
    stream: TaskStream,
    workers: int = 1,
    cluster: str | None = None,
) -> None:
    """Compute what is missing of these stages and of those that they start from.

    Results do not depend on how. What is damaged is named and computed again; so is what another kind of
    processor computed, except where the stream grows (``conure run``). A killed computation continues
    where it stopped. A stage that fails does not stop those that do not need it.

    Parameters
    ----------
    stages
        What is asked for.
    stream
        The data of all of them.
    workers
        Processes of this machine; one computes in this process.
    cluster
        A running Dask cluster instead of them: address (tcp://host:8786) or scheduler file. Its workers
        see the same CONURE_ROOT and have one thread each.

    Raises
    ------
    ConfigError
        If no scheduler answers there.
    ClusterError
        If workers cannot be used or die too often.
    Exception
        Of the first stage that failed, with a note that names it.
    """
    stages = list(stages)
    for folder in (paths.artifacts(), paths.stages()):
        remove_leftovers(folder)
    with ExitStack() as stack:
        client = stack.enter_context(_connected(scheduler_address(cluster))) if cluster else None
        device = stages[0].config.device if stages else "cpu"
        kind = _demand_alike(client, device) if client else provenance.kind_here(device)
        todo = missing(stages, kind)
        progress = stack.enter_context(Progress(todo))
        if todo and workers > 1 and client is None:
            client = stack.enter_context(_local_cluster(min(workers, len(todo))))
        if todo and client is not None:
            _compute_on(client, todo, stream, kind, progress)
        else:
            _compute_here(todo, stream, progress)
    progress.raise_first()


def missing(stages: Iterable[Stage], kind: str | None = None) -> list[Stage]:
    """Return what has to be computed for these stages, parents first.

    That is each stage or ancestor without usable results, and each without a checkpoint that one of them
    starts from. Says in one line each what is damaged, and what another kind of processor computed.
    """
    todo: dict[str, Stage] = {}
    other = 0

    def visit(stage: Stage, as_parent: bool) -> None:
        nonlocal other
        if stage.id in todo:
            return
        wanted = None if stage.by_task else kind
        try:
            if stage.store.is_usable(stage.id, wanted, as_parent):
                return
            other += wanted is not None and stage.store.is_usable(stage.id, None, as_parent)
        except DamagedResultError as damage:
            print(f"conure: {damage}: done", file=sys.stderr)
            shutil.rmtree(stage.store.folder(stage.id), ignore_errors=True)
        if stage.parent:
            visit(stage.parent, True)
        todo[stage.id] = stage

    for one in {one.id: one for stage in stages for one in stage.lineage()}.values():
        visit(one, False)
    if other:
        said = f"{other} stages were computed on another kind of processor than this ({kind})"
        print(f"conure: {said}; they are computed again", file=sys.stderr)
    return list(todo.values())


class Progress:
    """Shows stages done, running and failed, and the time that the rest may take.

    Keeps errors for the end; a stage that needs one that failed is never started.
    """

    def __init__(self, todo: list[Stage]) -> None:
        self.todo, self.errors = todo, dict[str, Exception]()
        self.bar = tqdm(total=len(todo), desc="stages", unit="stage", disable=not todo)

    def __enter__(self) -> "Progress":
        """Return the progress itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bar as it is at the end."""
        self.running(0)
        self.bar.close()

    def running(self, number: int) -> None:
        """Show how many stages are being computed."""
        self.bar.set_postfix_str(f"{number} running, {len(self.errors)} failed")

    def finished(self, stage: Stage, error: BaseException | None) -> None:
        """Count a stage that is done, or keep its error."""
        if error is None:
            self.bar.update()
        else:
            self.errors[stage.id] = error

    def blocked(self, stage: Stage) -> bool:
        """Return whether the stage needs one that failed."""
        return any(one.id in self.errors for one in stage.lineage()[:-1])

    def raise_first(self) -> None:
        """Raise the first error with a note: which stage, and how many others failed or were not started."""
        for name, error in self.errors.items():
            left = sum(self.blocked(stage) for stage in self.todo)
            counts = f"{len(self.errors)} failed, {left} that need them not started"
            error.add_note(f"stage {name} failed ({counts})")
            raise error


def _compute_here(todo: list[Stage], stream: TaskStream, progress: Progress) -> None:
    for stage in todo:
        if progress.blocked(stage):
            continue
        progress.running(1)
        try:
            compute_stage(stage, stream)
        except Exception as error:
            progress.finished(stage, error)
        else:
            progress.finished(stage, None)


def scheduler_address(where: str) -> str:
    """Return the address of a Dask scheduler; ``where`` is that, or the scheduler file that holds it.

    Raises ConfigError for neither.
    """
    file = Path(where)
    if not path_problem(where) and file.is_file():
        try:
            return str(read_json(file)["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{where}: found no scheduler file ({error!r})") from error
    if not re.search(r":\d+$", where):
        expected = "tcp://host:8786, or the file that dask scheduler --scheduler-file wrote"
        raise ConfigError(f"cluster: found {where!r}, expected {expected}")
    return where


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        client = Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        said = f"no Dask scheduler answered at {address} in {CONNECT:g} s ({error})"
        raise ConfigError(said) from error
    with client, client.as_current():
        yield client


@contextmanager
def _local_cluster(workers: int) -> Iterator[Client]:
    """Start workers of one thread each on this machine; Dask replaces one that dies."""
    try:
        local = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=None,
            silence_logs="CRITICAL",
            env={"CONURE_ROOT": str(paths.ROOT)},
        )
    except (OSError, RuntimeError) as error:
        said = f"{workers} workers cannot start on this machine ({error})"
        raise ClusterError(f"{said}; allow shared memory (/dev/shm), or use one worker") from error
    with local, _connected(local.scheduler_address) as client:
        yield client


def _compute_on(
    client: Client, todo: list[Stage], stream: TaskStream, kind: str, progress: Progress
) -> None:
    """Hand all stages to the scheduler, each to start when its parent is done, long chains first."""
    shared = temporary_folder("stream", paths.artifacts())
    heights, token, futures = _heights(todo), uuid4().hex, dict[str, Future]()
    try:
        save_stream(stream, shared / "stream")
        for stage in todo:
            futures[stage.id] = client.submit(
                _compute_there,
                stage,
                str(shared.relative_to(paths.artifacts())),
                versions() | {"kind of processor": kind},
                futures.get(stage.parent.id) if stage.parent else None,
                key=f"{stage.id}-{token}",
                priority=heights[stage.id],
            )
        _follow(client, {futures[stage.id]: stage for stage in todo}, progress)
    except (CancelledError, OSError) as error:
        raise ClusterError(f"lost the Dask scheduler ({error}); {RESUME}") from error
    finally:
        client.cancel(list(futures.values()))
        shutil.rmtree(shared, ignore_errors=True)


def _heights(stages: list[Stage]) -> dict[str, int]:
    """Return how long the longest chain is that begins with each stage (parents stand before children)."""
    heights = {stage.id: 1 for stage in stages}
    for stage in reversed(stages):
        if stage.parent and stage.parent.id in heights:
            heights[stage.parent.id] = max(heights[stage.parent.id], 1 + heights[stage.id])
    return heights


def _follow(client: Client, left: dict[Future, Stage], progress: Progress) -> None:
    """Return when every stage is done or has failed."""
    while left:
        keys = {future.key for future in left}
        progress.running(sum(not keys.isdisjoint(busy) for busy in client.processing().values()))
        try:
            finished = wait(list(left), timeout=POLL, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            continue
        for future in [future for future in left if future in finished]:  # parents first
            stage, error = left.pop(future), future.exception()
            if isinstance(error, ClusterError):
                raise error
            if isinstance(error, KilledWorker):
                times = error.allowed_failures + 1
                error = ClusterError(f"{times} workers died at it, maybe for lack of memory")
            if error is None and not _appears(stage.store.folder(stage.id) / RECORD):
                raise ClusterError(
                    f"a worker computed {stage.id}, but {paths.stages()} does not show it"
                )
            if error is None or not progress.blocked(stage):
                progress.finished(stage, error)


def versions() -> dict[str, str]:
    """Return what must be the same in every process for the same bytes, beside the kind of processor."""
    python = ".".join(platform.python_version_tuple()[:2])
    packages = provenance.environment()["packages"]
    return {"conure_lib": SOURCE, "protocol": str(PROTOCOL), "python": python, **packages}


def _demand_alike(client: Client, device: str) -> str:
    """Return the workers' kind of processor, once scheduler and workers have what this process has.

    Workers that come later are asked when they get a stage.
    """
    remedy = "scheduler and workers need the same packages as this process"
    try:
        client.run_on_scheduler(versions)
    except OSError as error:
        raise ClusterError(f"lost the Dask scheduler ({error}); {RESUME}") from error
    except Exception as error:
        raise ClusterError(f"the scheduler cannot import conure_lib ({error}); {remedy}") from error
    kinds = {}
    for address, found in client.run(_describe, device, on_error="return").items():
        if isinstance(found, Exception):
            raise ClusterError(f"worker {address} cannot import conure_lib ({found}); {remedy}")
        kinds[found["kind of processor"]] = address
    if len(kinds) > 1:
        names = ", ".join(f"{kind} ({address})" for kind, address in sorted(kinds.items()))
        raise ClusterError(f"found several kinds of processors: {names}; use workers of one kind")
    return next(iter(kinds), provenance.kind_here(device))


def _describe(device: str) -> dict[str, str]:
    """In a worker: versions and kind of processor."""
    return versions() | {"kind of processor": provenance.kind_here(device)}


def _complaint(worker: Worker, expected: dict[str, str], shared: str, device: str) -> str:
    """In a worker: why it cannot be used, "" if it can."""
    name, found = f"worker {worker.address} on {platform.node()}", _describe(device)
    for what, value in expected.items():
        if found[what] != value:
            return (
                f"{name}: found {what} {found[what]}, expected {value} (restart it after updates)"
            )
    if worker.state.nthreads != 1:
        return f"{name}: found {worker.state.nthreads} threads, expected dask worker --nthreads 1"
    place = paths.artifacts()
    if not (place / shared / MANIFEST).is_file() or not os.access(place, os.W_OK):
        problem = f"does not see this study's stream in {place}, or cannot write there"
        return f"{name} {problem}; CONURE_ROOT must be on a file system that all share"
    return ""


def _compute_there(stage: Stage, shared: str, expected: dict[str, str], _parent: None) -> None:
    """In a worker. _parent: the parent stage's result, there so that Dask waits for it."""
    shared = f"{shared}/stream"
    if complaint := _complaint(get_worker(), expected, shared, stage.config.device):
        raise ClusterError(complaint)
    if stage.parent:
        _appears(stage.parent.store.folder(stage.parent.id) / RECORD)
    compute_stage(stage, _shared_stream(paths.artifacts() / shared))


@lru_cache(maxsize=1)
def _shared_stream(folder: Path) -> TaskStream:
    """Load the stream once in each worker: sent with every stage, TTL's would be 1 GiB through a pipe."""
    return load_stream(folder)


def _appears(file: Path) -> bool:
    """Wait until the file system shows a file that another machine has written."""
    deadline = time.monotonic() + SEEN_LATE
    while not file.is_file():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
