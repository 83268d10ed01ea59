"""A graph of stages on a Dask cluster that is running already: Dask decides what runs where, and what runs again.

The workers share one CONURE_ROOT with the process that started the study: the stream, checkpoints and records go
through the file system; only what names a stage goes through Dask, whose messages can run code (docs/clusters.md).
"""

import hashlib
import os
import platform
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import torch
from distributed import CancelledError, Client, Future, KilledWorker, Worker, get_worker, wait

from conure_lib import paths
from conure_lib.config import PROTOCOL
from conure_lib.data.cache import MANIFEST
from conure_lib.data.stream import TaskStream
from conure_lib.errors import ClusterError, ConfigError
from conure_lib.pipeline.executors import (
    Progress,
    compute_with,
    heights_of,
    scheduler_address,
    stored_for_workers,
)
from conure_lib.pipeline.stage import CHECKPOINT, RECORD, Stage

CONNECT = 10.0  # seconds to wait for the scheduler's answer
POLL = 1.0  # seconds between two looks at what is running
SEEN_LATE = 60.0  # seconds after which a network file system shows a new file by its defaults
PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "safetensors")
SAME = "scheduler and workers need the same set-up as this process"
SOURCE = hashlib.sha256(
    b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.rglob("*.py")))
).hexdigest()
"""Digest of the library's code when it was imported: workers may have been started before it was changed."""


def compute_on_cluster(
    todo: list[Stage], stream: TaskStream, where: str, progress: Progress
) -> None:
    """Hands all stages to the scheduler, each to start when its parent is done, long chains first.

    where: the scheduler's address or its scheduler file. A worker that dies is made up for by Dask: its stage runs
    again elsewhere, up to ``distributed.scheduler.allowed-failures`` times. Workers may come and go meanwhile.
    Raises ConfigError if no scheduler answers there, ClusterError if it is lost, and for a worker that does not
    fit: another version, another CONURE_ROOT, more than one thread.
    """
    with _connected(where) as client, stored_for_workers(stream) as folder:
        wanted, shared = versions(), str(folder.relative_to(paths.artifacts()))
        heights, token, futures = heights_of(todo), uuid4().hex, dict[str, Future]()
        try:
            _demand_alike(client, wanted, shared)
            for stage in todo:
                futures[stage.id] = client.submit(
                    _compute_there,
                    stage,
                    shared,
                    wanted,
                    futures.get(stage.parent.id) if stage.parent else None,
                    key=f"{stage.id}-{token}",
                    priority=heights[stage.id],
                )
            _follow(client, {futures[stage.id]: stage for stage in todo}, progress)
        except (CancelledError, OSError) as error:
            raise ClusterError(
                f"lost the scheduler at {where}; the same command goes on where it was"
            ) from error
        finally:
            client.cancel(list(futures.values()))


@contextmanager
def _connected(where: str) -> Iterator[Client]:
    address = scheduler_address(where)
    try:
        client = Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answered at {address} in {CONNECT:g} s ({error})"
        ) from error
    with client, client.as_current():
        yield client


def versions() -> dict[str, str]:
    """What must be the same in every process for the same bytes, beside the kind of processor."""
    found = {"conure_lib": SOURCE[:12], "protocol": str(PROTOCOL)}
    return (
        found
        | {"python": ".".join(platform.python_version_tuple()[:2])}
        | {n: version(n) for n in PACKAGES}
    )


def _demand_alike(client: Client, wanted: dict[str, str], shared: str) -> None:
    """Asks the scheduler and those workers that are there; others are asked when they get a stage."""
    try:
        client.run_on_scheduler(versions)
    except OSError:
        raise  # it is lost
    except Exception as error:
        raise ClusterError(f"the scheduler cannot import conure_lib ({error}); {SAME}") from error
    kinds = set()
    for address, found in client.run(_report, wanted, shared, on_error="return").items():
        if isinstance(found, Exception):
            raise ClusterError(f"worker {address} cannot import conure_lib ({found}); {SAME}")
        complaint, kind = found
        if complaint:
            raise ClusterError(complaint)
        kinds.add(kind)
    if len(kinds) > 1:
        said = f"the workers' processors differ ({', '.join(sorted(kinds))})"
        warnings.warn(f"{said}: a stage's last bits depend on where it is computed", stacklevel=2)


def _report(wanted: dict[str, str], shared: str, dask_worker: Worker) -> tuple[str, str]:
    """In a worker: why it cannot be used ("" if it can), and its kind of processor."""
    name, found = f"worker {dask_worker.address} on {platform.node()}", versions()
    kind = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    for what, wish in wanted.items():
        if found[what] != wish:
            return (
                f"{name} has {what} {found[what]}; wanted: {wish}, as here (restart it after updates)",
                kind,
            )
    if dask_worker.state.nthreads != 1:
        return (
            f"{name} has {dask_worker.state.nthreads} threads; wanted: dask worker --nthreads 1",
            kind,
        )
    place = paths.artifacts()
    if not (place / shared / MANIFEST).is_file() or not os.access(place, os.W_OK):
        seen = f"does not see this study's stream in {place}, or cannot write there"
        return f"{name} {seen}; wanted: CONURE_ROOT on a file system that all share", kind
    return "", kind


def _compute_there(stage: Stage, shared: str, wanted: dict[str, str], _parent: None) -> None:
    """In a worker. _parent: the parent stage's result, there so that Dask waits for it."""
    complaint, _ = _report(wanted, shared, get_worker())
    if complaint:
        raise ClusterError(complaint)
    if stage.parent:
        _seen(stage.parent.folder / CHECKPOINT)
    compute_with(stage, paths.artifacts() / shared)


def _follow(client: Client, left: dict[Future, Stage], progress: Progress) -> None:
    """Returns when every stage is done or has failed."""
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
                many = error.allowed_failures + 1
                error = ClusterError(
                    f"{many} workers died while they computed a stage, maybe for want of memory"
                )
            if error is None:
                if not _seen(stage.folder / RECORD):
                    raise ClusterError(
                        f"a worker computed {stage.id}, but {paths.stages()} does not show it"
                    )
                progress.done()
            elif not progress.blocked(stage):
                progress.failed(stage, error)


def _seen(file: Path) -> bool:
    """Waits until the file system shows a file that another machine has written."""
    deadline = time.monotonic() + SEEN_LATE
    while not file.is_file():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
