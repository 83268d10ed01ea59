"""One model trained by several processes that ``torchrun`` started: each takes its share of every batch.

Gradients are added up before anything else happens to them, so that each process takes the same step as one
process alone would, up to the order of floating-point sums. Every process keeps the whole model and evaluates it;
only the first one writes. In a process that ``torchrun`` did not start nothing here does anything.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from .config import ConfigError, StudyConfig

WORLD_SIZE, LOCAL_RANK = "WORLD_SIZE", "LOCAL_RANK"  # what torchrun sets


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes that ``torchrun`` started work as one: by NCCL on CUDA, by gloo on the CPU."""
    if started() == 1:
        yield
        return
    both = torch.cuda.is_available() and dist.is_nccl_available()
    if both:
        torch.cuda.set_device(int(os.environ.get(LOCAL_RANK, "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if both else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def started() -> int:
    """How many processes ``torchrun`` started, this one included; 1 without it."""
    return int(os.environ.get(WORLD_SIZE, "1"))


def world() -> int:
    """How many processes train one model together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and reports."""
    return world() == 1 or dist.get_rank() == 0


def demand(config: StudyConfig) -> None:
    """Raises ConfigError unless as many processes are at work as the settings say."""
    if config.processes != world():
        wanted = f"torchrun --nproc-per-node {config.processes} -m conure_lib.cli run ..."
        raise ConfigError(f"StudyConfig.processes = {config.processes}, {world()} at work; wanted: {wanted}")


def share(number: int) -> np.ndarray:
    """Which of a batch's first ``number`` things are this process's: all of them when it is alone."""
    return np.arange(number) if world() == 1 else np.arange(dist.get_rank(), number, world())


def add_up(tensor: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    if world() > 1:
        dist.all_reduce(tensor)
    return tensor


def add_up_gradients(parameters: Iterable[Tensor], tables: Iterable[Tensor]) -> None:
    """Each parameter's gradient becomes the sum over all processes; of ``tables`` only rows are sent.

    A process whose share of a batch is empty has no gradients and adds nothing.
    """
    if world() == 1:
        return
    for parameter in parameters:
        if any(parameter is table for table in tables):
            parameter.grad = _sum_of_rows(parameter)
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)


def _sum_of_rows(table: Tensor) -> Tensor:
    """The sparse gradient of a table: every process gets the rows of all, in the same order."""
    nothing = torch.zeros(1, 0, dtype=torch.long, device=table.device), table.new_zeros(0, table.shape[1])
    empty = torch.sparse_coo_tensor(*nothing, table.shape, check_invariants=False)
    own = (empty if table.grad is None else table.grad).coalesce()
    counts = [torch.zeros(1, dtype=torch.long, device=table.device) for _ in range(world())]
    dist.all_gather(counts, torch.tensor([own._nnz()], device=table.device))
    most = int(max(counts))
    index = own.indices().new_zeros(most)
    rows = table.new_zeros(most, table.shape[1])
    index[: own._nnz()], rows[: own._nnz()] = own.indices()[0], own.values()
    parts = [(torch.empty_like(index), torch.empty_like(rows)) for _ in counts]
    dist.all_gather([i for i, _ in parts], index)
    dist.all_gather([r for _, r in parts], rows)
    kept = [(i[: int(n)], r[: int(n)]) for n, (i, r) in zip(counts, parts, strict=True)]
    index, rows = (torch.cat(part) for part in zip(*kept, strict=True))
    return torch.sparse_coo_tensor(index[None], rows, table.shape, check_invariants=False)


def first_says(values: list[float]) -> list[float]:
    """The first process's values, for decisions that all must take alike."""
    if world() == 1:
        return values
    said = torch.tensor(values, dtype=torch.float64)
    dist.broadcast(said, 0)
    return said.tolist()


def demand_alike(parameters: Iterable[Tensor]) -> None:
    """Raises RuntimeError unless all processes hold the same parameters to the last bit."""
    if world() == 1:
        return
    digest = hashlib.sha256()
    for parameter in parameters:
        digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    own = torch.tensor(int.from_bytes(digest.digest()[:7], "big"))
    low, high = own.clone(), own.clone()
    dist.all_reduce(low, dist.ReduceOp.MIN)
    dist.all_reduce(high, dist.ReduceOp.MAX)
    if low != high:
        raise RuntimeError("the processes trained different models; they need the same machines and versions")


def wait_for_all() -> None:
    """Returns when all processes have come here."""
    add_up(torch.zeros(1))
