"""How a graph of stages is computed: one after the other, or by Dask here or on a cluster.

Streams and results go through files of one CONURE_ROOT, not through Dask, whose messages run code.
"""

import platform
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import distributed as dask
from tqdm.auto import tqdm

from conure_lib import files, paths
from conure_lib.data.stream import TaskStream, load_stream, save_stream
from conure_lib.errors import ClusterError, ConfigError, DamagedResultError, StorageError
from conure_lib.pipeline import provenance
from conure_lib.pipeline.stage import Stage, compute_stage, with_ancestors

CONNECT_SECONDS = 10.0  # seconds to wait for the scheduler's answer
WORKER_SECONDS = 60.0  # seconds to wait for a first worker
VISIBLE_SECONDS = 60.0  # seconds after which a network file system shows a new file by its defaults

Finished = Iterator[tuple[Stage, BaseException | None]]
Streams = Mapping[str, TaskStream]  # by the ids of the stages that learn them
load_once = lru_cache(maxsize=8)(load_stream)  # streams are mapped, so that several cost little


def compute(
    groups: Iterable[tuple[Iterable[Stage], TaskStream]],
    workers: int = 1,
    cluster: str | None = None,
) -> None:
    """Compute what is missing of these stages and their ancestors; results do not depend on how.

    What is damaged is computed again, and what another kind of processor computed unless the stream
    grows. A stage that fails stops only those that need it; the first error is raised at the end.

    groups: stages and the stream that they learn; all are one graph, so that workers start once and
    none waits for the end of a group. workers: processes of this machine. cluster: instead of them
    the address (tcp://host:8786) or scheduler file of a Dask cluster whose workers see the same
    CONURE_ROOT and have one thread.
    """
    asked = [(stage, stream) for stages, stream in groups for stage in stages]
    streams = {one.id: stream for stage, stream in asked for one in stage.lineage()}
    stages, failed = [stage for stage, _ in asked], dict[str, BaseException]()
    for folder in (paths.artifacts(), paths.artifacts("stages")):
        files.remove_leftovers(folder)
    device = stages[0].config.device if stages else "cpu"
    with ExitStack() as stack:
        client = stack.enter_context(_connected(cluster)) if cluster else None
        kind = _kind_of_workers(client, device) if client else provenance.kind_here(device)
        if not (todo := missing(stages, kind)):
            return
        if workers > 1 and client is None:
            local = stack.enter_context(_local_cluster(min(workers, len(todo))))
            client = stack.enter_context(_connected(local.scheduler_address))
        bar = tqdm(total=len(todo), desc="stages", unit="stage", leave=None)  # below another: gone
        stack.enter_context(bar)
        by_dask = client and _by_dask(client, todo, streams, kind)
        for stage, error in by_dask or _here(todo, streams, failed):
            bar.update(error is None)
            if error:
                failed[stage.id] = error
                bar.set_postfix_str("some failed")
    blocked = [one.id for one in todo if _is_blocked(one, failed)]
    causes = [name for name in failed if name not in blocked]
    if causes := sorted(causes, key=lambda name: isinstance(failed[name], FloatingPointError)):
        counts = f"{len(causes)} failed, {len(blocked)} that need them not started"
        failed[causes[0]].add_note(f"stage {causes[0]} failed ({counts})")
        raise failed[causes[0]]


def _is_blocked(stage: Stage, failed: Container[str]) -> bool:
    return any(one.id in failed for one in stage.lineage()[:-1])


def missing(stages: Iterable[Stage], kind: str) -> list[Stage]:
    """Return which stages and ancestors are not usable, parents first; say why on stderr."""
    todo, other = [], 0
    for one in with_ancestors(stages):
        try:
            if one.store.is_usable(one.id, None if one.by_task else kind):
                continue
            other += one.store.is_usable(one.id, None)
        except DamagedResultError as damage:
            print(f"conure: {damage}: done", file=sys.stderr)
        todo.append(one)
    if other:
        found = f"{other} stage(s) of another kind of processor or version than {kind}"
        print(f"conure: {found} are computed again", file=sys.stderr)
    return todo


def _here(todo: list[Stage], streams: Streams, failed: Container[str]) -> Finished:
    for stage in todo:
        if not _is_blocked(stage, failed):
            try:
                compute_stage(stage, streams[stage.id])
                yield stage, None
            except Exception as error:
                yield stage, error


def _by_dask(client: dask.Client, todo: list[Stage], streams: Streams, kind: str) -> Finished:
    """Hand all stages to the scheduler, each to start after its parent, long chains first."""
    needed_by = Counter(one.id for stage in todo for one in stage.lineage())
    places: dict[int, str] = {}  # of the streams, each of which is saved once
    shared, token = files.temporary_folder("stream", paths.artifacts()), uuid4().hex
    futures: dict[str, dask.Future] = {}
    try:
        for stage in todo:
            stream = streams[stage.id]
            if id(stream) not in places:
                places[id(stream)] = f"{shared.name}/stream{len(places)}"
                save_stream(stream, paths.artifacts() / places[id(stream)])
            parent = futures.get(stage.parent.id) if stage.parent else None
            order = {"key": f"{stage.id}-{token}", "priority": needed_by[stage.id]}
            given = (stage, places[id(stream)], _setup(kind), parent)
            futures[stage.id] = client.submit(_compute_there, *given, **order)
        stages = {futures[stage.id].key: stage for stage in todo}
        with client.as_current():
            for future in dask.as_completed(futures.values()):
                if future.status not in ("finished", "error"):
                    raise dask.CancelledError(future.key)
                stage, error = stages[future.key], future.exception()
                if isinstance(error, ClusterError):
                    raise error
                if isinstance(error, dask.KilledWorker):
                    error = ClusterError("workers died at it repeatedly, maybe for lack of memory")
                elif error is None and not _appears(stage.store.folder(stage.id)):
                    raise ClusterError(f"{paths.ROOT} does not show {stage.id} of a worker")
                yield stage, error
    except StorageError:  # an OSError, too
        raise
    except (dask.CancelledError, OSError) as error:
        raise ClusterError("lost the Dask scheduler; the same command continues") from error
    finally:
        if client.status == "running":
            client.cancel(list(futures.values()))
        shutil.rmtree(shared, ignore_errors=True)


def _compute_there(stage: Stage, folder: str, expected: dict[str, Any], _parent: None) -> None:
    """In a worker. _parent: the parent stage's result, there so that Dask waits for it."""
    worker, stream = dask.get_worker(), paths.artifacts() / folder
    found = _setup(provenance.kind_here(stage.config.device))
    found |= {"threads": worker.state.nthreads, "sees the stream": _appears(stream)}
    for name, value in found.items():
        if value != expected[name]:
            where = f"worker {worker.address} on {platform.node()} with CONURE_ROOT {paths.ROOT}"
            raise ClusterError(f"{where}, {name}: found {value}, expected {expected[name]}")
    if stage.parent:
        _appears(stage.parent.store.folder(stage.parent.id))
    compute_stage(stage, load_once(stream))


def _setup(kind: str) -> dict[str, Any]:
    """Return what must be the same in every process for the same bytes."""
    code = {"conure_lib": provenance.SOURCE, "Python": platform.python_version(), "processor": kind}
    return code | provenance.versions() | {"threads": 1, "sees the stream": True}


def _connected(where: str) -> dask.Client:
    """Connect to a Dask scheduler by its address or file."""
    try:
        address = files.read_json(Path(where))["address"] if Path(where).is_file() else where
        if not re.search(r":\d+$", str(address)):
            raise ValueError("no port")
        return dask.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = f"cluster: found no Dask scheduler at {where} ({error!r}), expected tcp://HOST:PORT"
        raise ConfigError(f"{said} or a scheduler file") from error


def _local_cluster(workers: int) -> dask.LocalCluster:
    """Start workers of one thread each on this machine; Dask replaces one that dies."""
    options = {"threads_per_worker": 1, "memory_limit": 0}
    options |= {"dashboard_address": "127.0.0.1:0"}
    options |= {"env": {"CONURE_ROOT": str(paths.ROOT)}, "silence_logs": "CRITICAL"}
    try:
        return dask.LocalCluster(n_workers=workers, **options)
    except (OSError, RuntimeError) as error:
        said = f"{workers} workers cannot start here ({error}); allow /dev/shm, or use one worker"
        raise ClusterError(said) from error


def _kind_of_workers(client: dask.Client, device: str) -> str:
    """Return the first worker's kind of processor; each stage then refuses another one."""
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
        kinds = client.run(provenance.kind_here, device)
    except dask.TimeoutError as error:
        said = f"no worker has come within {WORKER_SECONDS:.0f} s; start one and try again"
        raise ClusterError(said) from error
    except Exception as error:
        raise ClusterError(f"workers cannot be used ({error}); check their packages") from error
    return next(iter(kinds.values()))


def _appears(path: Path) -> bool:
    """Wait until the file system shows what another machine has written."""
    deadline = time.monotonic() + VISIBLE_SECONDS
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    return path.exists()
