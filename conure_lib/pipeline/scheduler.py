"""How a graph of stages is computed: one after the other, or by Dask here or on a cluster.

Workers share one CONURE_ROOT with the process that started the study: streams and results go
through files; only what names a stage goes through Dask, whose messages can run code.
"""

import hashlib
import platform
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

from distributed import CancelledError, Client, Future, KilledWorker, LocalCluster, get_worker, wait
from tqdm.auto import tqdm

from conure_lib import paths
from conure_lib.data.cache import load_stream, save_stream
from conure_lib.data.stream import TaskStream
from conure_lib.errors import ClusterError, ConfigError, DamagedResultError
from conure_lib.files import read_json, remove_leftovers, temporary_folder
from conure_lib.pipeline import provenance
from conure_lib.pipeline.stage import Stage, compute_stage

CONNECT = 10.0  # seconds to wait for the scheduler's answer
SEEN_LATE = 60.0  # seconds after which a network file system shows a new file by its defaults
SOURCE = hashlib.sha256(
    b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.parent.rglob("*.py")))
).hexdigest()[:12]
"""Digest of the library's code when it was imported: workers may have started before a change."""


def compute(
    stages: Iterable[Stage], stream: TaskStream, workers: int = 1, cluster: str | None = None
) -> None:
    """Compute what is missing of these stages and their ancestors; results do not depend on how.

    What is damaged is named and computed again; so is what another kind of processor computed,
    except where the stream grows. A killed computation continues where it stopped. A stage that
    fails does not stop those that do not need it; the first error is raised at the end.

    Parameters
    ----------
    stages, stream
        What is asked for, and the data of all of it.
    workers, cluster
        Processes of this machine (one computes in this process), or instead a running Dask
        cluster: its address (tcp://host:8786) or scheduler file. Its workers see the same
        CONURE_ROOT and have one thread each; ClusterError says what does not fit.
    """
    stages = list(stages)
    for folder in (paths.artifacts(), paths.stages()):
        remove_leftovers(folder)
    device = stages[0].config.device if stages else "cpu"
    with ExitStack() as stack:
        client = stack.enter_context(_connected(cluster)) if cluster else None
        kind = _kind_of_workers(client, device) if client else provenance.kind_here(device)
        todo = missing(stages, kind)
        if todo and workers > 1 and client is None:
            address = stack.enter_context(_local_cluster(min(workers, len(todo))))
            client = stack.enter_context(_connected(address))
        bar = tqdm(total=len(todo), desc="stages", unit="stage", disable=not todo)
        progress = Progress(todo, stack.enter_context(bar))
        if client and todo:
            stack.enter_context(client.as_current())
            _compute_by_dask(client, stream, kind, progress)
        for stage in [] if client else todo:
            if not progress.blocked(stage):
                try:
                    compute_stage(stage, stream)
                    progress.finished(stage)
                except Exception as error:
                    progress.finished(stage, error)
    for name, error in progress.errors.items():
        left = sum(map(progress.blocked, todo))
        counts = f"{len(progress.errors)} failed, {left} that need them not started"
        error.add_note(f"stage {name} failed ({counts})")
        raise error


def missing(stages: Iterable[Stage], kind: str | None = None) -> list[Stage]:
    """Return which of these stages and their ancestors are not usable, parents first.

    Says in a line on stderr what is damaged, and that another kind of processor computed some.
    """
    todo, other = [], 0
    for one in {one.id: one for stage in stages for one in stage.lineage()}.values():
        try:
            if one.store.is_usable(one.id, None if one.by_task else kind):
                continue
            other += one.store.is_usable(one.id, None)
        except DamagedResultError as damage:
            print(f"conure: {damage}: done", file=sys.stderr)
        todo.append(one)
    if other:
        found = f"{other} stage(s) were computed on another kind of processor than {kind}"
        print(f"conure: {found}; they are computed again", file=sys.stderr)
    return todo


class Progress:
    """Stages done and failed. Errors wait for the end; what needs a failed stage is not started."""

    def __init__(self, todo: list[Stage], bar: tqdm) -> None:
        self.todo, self.bar, self.errors = todo, bar, dict[str, BaseException]()

    def finished(self, stage: Stage, error: BaseException | None = None, running: int = 1) -> None:
        """Count a stage or keep its error; running: how many are being computed now."""
        if error is None:
            self.bar.update()
        elif not self.blocked(stage):
            self.errors[stage.id] = error
        self.bar.set_postfix_str(f"{running} running, {len(self.errors)} failed")

    def blocked(self, stage: Stage) -> bool:
        """Return whether the stage needs one that failed."""
        return any(one.id in self.errors for one in stage.lineage()[:-1])


def _connected(where: str) -> Client:
    """Connect to a Dask scheduler by its address or file."""
    try:
        address = read_json(Path(where))["address"] if Path(where).is_file() else where
        if not re.search(r":\d+$", str(address)):
            raise ValueError("no port")
        return Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected = "tcp://host:8786, or the file that dask scheduler --scheduler-file wrote"
        said = f"cluster: found no Dask scheduler at {where} ({error!r}), expected {expected}"
        raise ConfigError(said) from error


@contextmanager
def _local_cluster(workers: int) -> Iterator[str]:
    """Start workers of one thread each on this machine; Dask replaces one that dies."""
    options = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    root = {"CONURE_ROOT": str(paths.ROOT)}
    try:
        local = LocalCluster(n_workers=workers, silence_logs="CRITICAL", env=root, **options)
    except (OSError, RuntimeError) as error:
        remedy = "allow shared memory (/dev/shm) and local connections, or use one worker"
        raise ClusterError(f"{workers} workers cannot start here ({error}); {remedy}") from error
    with local:
        yield local.scheduler_address


def _kind_of_workers(client: Client, device: str) -> str:
    """Return the kind of processor that all workers have. Raises ClusterError."""
    try:
        kinds = set(client.run(provenance.kind_here, device).values())
    except Exception as error:
        remedy = "they need the same packages as this process"
        raise ClusterError(f"the workers cannot be used ({error}); {remedy}") from error
    if len(kinds) > 1:
        raise ClusterError(f"found workers of several kinds, use one: {', '.join(sorted(kinds))}")
    return kinds.pop() if kinds else provenance.kind_here(device)


def _software() -> dict[str, str]:
    packages = {name: version(name) for name in provenance.PACKAGES}
    return {"conure_lib": SOURCE, "Python": platform.python_version(), **packages}


def _compute_by_dask(client: Client, stream: TaskStream, kind: str, progress: Progress) -> None:
    """Hand all stages to the scheduler, each to start after its parent, long chains first."""
    needed_by = Counter(one.id for stage in progress.todo for one in stage.lineage())
    expected = _software() | {"processor": kind, "threads": "1", "sees the stream": "True"}
    shared = temporary_folder("stream", paths.artifacts())
    folder, token = str(shared.relative_to(paths.artifacts()) / "stream"), uuid4().hex
    futures: dict[str, Future] = {}
    try:
        save_stream(stream, shared / "stream")
        for stage in progress.todo:
            parent = futures.get(stage.parent.id) if stage.parent else None
            names = {"key": f"{stage.id}-{token}", "priority": needed_by[stage.id]}
            futures[stage.id] = client.submit(
                _compute_there, stage, folder, expected, parent, **names
            )
        _follow(client, {futures[stage.id]: stage for stage in progress.todo}, progress)
    except (CancelledError, OSError) as error:
        said = "lost the Dask scheduler; the same command continues where it stopped"
        raise ClusterError(said) from error
    finally:
        client.cancel(list(futures.values()))
        shutil.rmtree(shared, ignore_errors=True)


def _follow(client: Client, left: dict[Future, Stage], progress: Progress) -> None:
    """Return when every stage is done or has failed."""
    while left:
        finished = wait(list(left), return_when="FIRST_COMPLETED").done
        for future in [future for future in left if future in finished]:  # parents first
            stage, error = left.pop(future), future.exception()
            if isinstance(error, KilledWorker):
                error = ClusterError("workers died at it again and again, maybe for lack of memory")
            elif isinstance(error, ClusterError):
                raise error
            elif error is None and not _appears(stage.store.folder(stage.id)):
                raise ClusterError(f"{paths.stages()} does not show {stage.id} of a worker")
            progress.finished(stage, error, sum(map(bool, client.processing().values())))


def _compute_there(stage: Stage, folder: str, expected: dict[str, str], _parent: None) -> None:
    """In a worker. _parent: the parent stage's result, there so that Dask waits for it."""
    worker, stream = get_worker(), paths.artifacts() / folder
    found = _software() | {"processor": provenance.kind_here(stage.config.device)}
    found |= {"threads": str(worker.state.nthreads), "sees the stream": str(_appears(stream))}
    differing = [name for name in expected if found[name] != expected[name]]
    if differing:
        said = (f"{name}: found {found[name]}, expected {expected[name]}" for name in differing)
        where = f"worker {worker.address} on {platform.node()} with CONURE_ROOT {paths.ROOT}"
        raise ClusterError(f"{where}, {'; '.join(said)}")
    if stage.parent:
        _appears(stage.parent.store.folder(stage.parent.id))
    compute_stage(stage, _shared_stream(stream))


@lru_cache(maxsize=1)
def _shared_stream(folder: Path) -> TaskStream:
    return load_stream(folder)


def _appears(path: Path) -> bool:
    """Wait until the file system shows what another machine has written."""
    deadline = time.monotonic() + SEEN_LATE
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    return path.exists()
