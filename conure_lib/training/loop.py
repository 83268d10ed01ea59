"""One training loop for every method and stage."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from conure_lib.config import TrainConfig
from conure_lib.data.stream import Task, TaskStream
from conure_lib.errors import VerificationError
from conure_lib.models.backbone import UserModel
from conure_lib.training.batches import Batches, Trainable, WithT1, kind_of
from conure_lib.training.memory import reuse_memory
from conure_lib.training.progress import Epoch, Progress

LONG_EPOCH = 2  # seconds after which an epoch has a bar
Extra = Callable[[UserModel, np.ndarray], Tensor]
"""A further loss, once a step: of the model and the numbers of the batch's instances."""


def fit(
    model: UserModel,
    stream: TaskStream,
    task: Task,
    config: TrainConfig,
    trainable: Trainable,
    seed: int,
    on_epoch: Callable[[UserModel, int], object] = lambda *_: None,
    joint: WithT1 | None = None,
    extra: Extra | None = None,
    kind: type[Batches] | None = None,
    progress: Progress | None = None,
) -> list[Epoch]:
    """Train one task in place and keep the parameters of the best validation epoch (section 6.1).

    In two phases: the second goes on from the best epoch of the first, at ``config.final_rate``.

    Parameters
    ----------
    model, trainable
        With an output layer for the task; which entries may change: everything else is the same
        afterwards, compared bit by bit.
    seed
        Of the order of instances and of the negatives.
    on_epoch, joint, extra
        Called with the model and the epoch's number, 0 included; T1's loss on the same users, to be
        added (MTL); any other loss, of which a step takes the gradient as well (a penalty on
        weights, distillation, replay).
    kind, progress
        Of batches, if it is not the task's own; where a long training is kept after an epoch, and
        goes on if it was killed: without hooks that remember anything themselves.
    """
    reuse_memory()
    if extra is not None:  # its gradient of tables may be dense
        config = replace(config, table_updates="dense")
    task = task.thinned(config.share)
    batches = (kind or kind_of(task, trainable))(model, stream, task, config, seed, joint)
    parameters = dict(model.named_parameters())
    before = {n: p.detach().clone() for n, p in parameters.items()}
    progress = progress or Progress()
    progress.read(parameters)
    history, started = progress.history, time.perf_counter()
    if not history:
        value = batches.validation()
        seconds = time.perf_counter() - started
        history.append(Epoch(0, float("nan"), value, best=False, seconds=seconds))
        on_epoch(model, 0)
    best = max((epoch.number for epoch in history if epoch.best), default=0)
    for phase in (1, 2) if config.final_rate else (1,):
        if history[-1].phase > phase:
            continue
        begun = sum(epoch.phase < phase for epoch in history) or 1
        started = time.perf_counter()
        for loss in epochs(batches, trainable, phase, begun, extra, progress):
            value, number = batches.validation(), len(history)
            ended = time.perf_counter()
            improved = best == 0 or value > history[best].validation
            history.append(Epoch(number, loss, value, improved, phase, ended - started))
            started = ended
            if improved:
                best = number
                progress.best = {n: parameters[n].detach().clone() for n in trainable}
            on_epoch(model, number)
            if number - max(best, begun - 1) >= config.patience:
                break
        with torch.no_grad():
            for name, value in progress.best.items():
                parameters[name].copy_(value)
    for name, parameter in parameters.items():  # compared bit by bit
        moved = before[name].view(torch.int32) != parameter.detach().view(torch.int32)
        mask = trainable.get(name, torch.zeros_like(moved))
        if mask is not None and (moved & ~mask).any():
            raise VerificationError(f"training changed frozen entries of {name}")
    return history


def capped(history: list[Epoch], patience: int) -> list[int]:
    """Return the phases that the cap of epochs ended while the validation value still rose."""
    ended = []
    for phase in (1, 2):
        own = [epoch for epoch in history[1:] if epoch.phase == phase]
        if best := [epoch.number for epoch in own if epoch.best]:
            ended += [phase] if own[-1].number - best[-1] < patience else []
    return ended


def epochs(
    batches: Batches,
    trainable: Trainable,
    phase: int = 1,
    first: int = 1,
    extra: Extra | None = None,
    progress: Progress | None = None,
) -> Iterator[float]:
    """Train epoch by epoch, a phase with fresh optimisers; yield each epoch's mean loss.

    first: the phase's first epoch; those that ``progress`` holds already are not trained again.
    """
    model, task, config = batches.model, batches.task, batches.config
    parameters = dict(model.named_parameters())
    model.requires_grad_(False)
    trained = [parameters[name].requires_grad_() for name in trainable]
    frozen = [(parameters[name], ~mask) for name, mask in trainable.items() if mask is not None]
    names = ("embedding", f"outputs.{task.name}.weight") if batches.loss.by_rows else ()
    tables = [parameters[name] for name in names if trainable.get(name, ...) is None]
    rate = config.learning_rate * (config.final_rate if phase == 2 else 1.0)
    optimizers = fresh_optimizers(config, rate, trained, tables)
    progress = progress or Progress()
    progress.resume(optimizers)
    model.sparse_embedding = any(table is model.embedding for table in tables)
    weight = model.outputs[task.name].weight
    try:
        for number in range(max(first, len(progress.history)), first + config.epochs):
            means, sizes = [], []
            label = f"{task.name} phase {phase} epoch {number}"
            for batch in with_bar(batches.epoch(number), label):
                for parameter in trained:
                    parameter.grad = None
                total, size = torch.zeros((), device=weight.device), 0
                for loss, n_terms in batches.losses(batch):
                    loss.backward()
                    total += loss.detach()
                    size += n_terms
                if extra is not None:
                    loss = extra(model, batch)
                    loss.backward()
                    total += loss.detach()
                for parameter, mask in frozen:  # a product would make some gradients minus zero
                    parameter.grad.masked_fill_(mask, 0.0)
                if config.l2:
                    weight.grad.add_(weight.detach(), alpha=config.l2)
                for optimizer in optimizers:
                    optimizer.step()
                means.append(total)
                sizes.append(size)
            mean = float(np.average(torch.stack(means).cpu().numpy(), weights=sizes))
            if not np.isfinite(mean):
                raise FloatingPointError(f"{task.name}: the loss is {mean}; lower learning_rate")
            yield mean
            progress.keep({name: parameters[name] for name in trainable}, optimizers)
    finally:
        model.sparse_embedding = False
        model.requires_grad_(False)


def with_bar(batches: list[np.ndarray], label: str) -> Iterator[np.ndarray]:
    """Yield the batches of an epoch, below a bar as soon as the epoch takes long.

    In a notebook even a bar that is not drawn sends a dozen messages.
    """
    quiet = True if multiprocessing.parent_process() else None  # workers would share one line
    bar = {"total": len(batches), "leave": False, "mininterval": 2, "disable": quiet}
    drawn, started = None, time.perf_counter()
    for number, batch in enumerate(batches, 1):
        yield batch
        if drawn is None and time.perf_counter() - started > LONG_EPOCH:
            drawn = tqdm(desc=label, initial=number - 1, **bar)
        if drawn is not None:
            drawn.update()
    if drawn is not None:
        drawn.close()


def fresh_optimizers(
    config: TrainConfig, rate: float, parameters: list[Tensor], tables: list[Tensor]
) -> list[torch.optim.Optimizer]:
    """Return new optimisers: state kept from before, or weight decay, would move frozen weights."""
    dense = [p for p in parameters if not any(p is table for table in tables)]
    if config.optimizer == "sgd":
        return [torch.optim.SGD(dense, lr=rate, momentum=0.9, fused=True)]
    adam = torch.optim.Adam(dense, lr=rate, fused=True)
    return [adam, torch.optim.SparseAdam(tables, lr=rate)] if tables else [adam]
