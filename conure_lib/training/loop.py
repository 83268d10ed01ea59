"""One training loop for every method and stage."""

import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from conure_lib.config import TrainConfig
from conure_lib.data.stream import VALIDATION, Task, TaskStream
from conure_lib.models.nextitnet import UserModel
from conure_lib.training.batches import Joint, batches_of
from conure_lib.training.evaluation import (
    CUTOFF,
    evaluate_all_positions,
    metric_of,
    rank_instances,
    user_vectors,
)
from conure_lib.training.optimizers import Trainable, fresh_optimizers, row_tables


@dataclass(frozen=True)
class Epoch:
    """What an epoch of training gave: its mean loss and the validation metric (MRR@5 or accuracy).

    number: 0 is the state before training, whose loss is nan. best: better than every epoch before.
    """

    number: int
    loss: float
    validation: float
    best: bool


def fit(
    model: UserModel,
    stream: TaskStream,
    task: Task,
    config: TrainConfig,
    trainable: Trainable,
    seed: int,
    on_epoch: Callable[[UserModel, int], None] | None = None,
    joint: Joint | None = None,
) -> list[Epoch]:
    """Trains ``task`` in place and leaves the parameters of the best validation epoch (paper, section 6.1).

    trainable: parameter name -> mask of the entries that may change (None: all); everything else is, and is
    checked to be, bit for bit the same afterwards. Epoch 0 of the result is the state before training.
    Stops after ``config.patience`` epochs without a better validation metric. ``on_epoch`` is called with the
    model after every epoch, 0 included. joint: T1 learns along (MTL).
    Raises FloatingPointError when the loss is not finite.
    """
    task = task.thinned(config.share)
    parameters = dict(model.named_parameters())
    before = {n: p.detach().clone() for n, p in parameters.items()}
    trained = {n: parameters[n] for n in trainable}
    validate = _validator(model, stream, task, frozen_backbone=_only_output(trainable, task))

    history = [Epoch(0, float("nan"), validate(), best=False)]
    best_value, best_state = -1.0, {n: p.detach().clone() for n, p in trained.items()}
    if on_epoch:
        on_epoch(model, 0)
    for number, loss in enumerate(
        epochs(model, stream, task, config, trainable, seed, joint), start=1
    ):
        value = validate()
        history.append(Epoch(number, loss, value, best=value > best_value))
        if value > best_value:
            best_value, best_state = value, {n: p.detach().clone() for n, p in trained.items()}
        if on_epoch:
            on_epoch(model, number)
        best_number = max(e.number for e in history if e.best)
        if number - best_number >= config.patience:
            break
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(best_state[name])
    _check_frozen(before, parameters, trainable)
    return history


def epochs(
    model: UserModel,
    stream: TaskStream,
    task: Task,
    config: TrainConfig,
    trainable: Trainable,
    seed: int,
    joint: Joint | None = None,
) -> Iterator[float]:
    """Trains epoch by epoch with one fresh optimiser; yields each epoch's mean loss."""
    parameters = dict(model.named_parameters())
    model.requires_grad_(False)
    trained = [parameters[name].requires_grad_() for name in trainable]
    masks = [(parameters[name], mask) for name, mask in trainable.items() if mask is not None]
    tables = row_tables(parameters, task, config, trainable)
    optimizers = fresh_optimizers(config, trained, tables)
    model.sparse_embedding = any(table is model.embedding for table in tables)
    weight = model.outputs[task.name].weight
    steps = batches_of(model, stream, task, config, seed, _only_output(trainable, task), joint)
    quiet = (
        True if multiprocessing.parent_process() else None
    )  # workers' bars would overwrite each other
    try:
        for number in range(1, config.epochs + 1):
            means, sizes = [], []
            label = f"{task.name} epoch {number}/{config.epochs}"
            for losses, size in tqdm(
                steps(number), desc=label, leave=False, mininterval=2, disable=quiet
            ):
                for parameter in trained:
                    parameter.grad = None
                total = torch.zeros((), device=weight.device)
                for loss in losses:
                    loss.backward()
                    total += loss.detach()
                for parameter, mask in masks:
                    parameter.grad.mul_(mask)
                if config.l2:
                    weight.grad.add_(weight.detach(), alpha=config.l2)
                for optimizer in optimizers:
                    optimizer.step()
                means.append(total)
                sizes.append(size)
            mean = float(np.average(torch.stack(means).cpu().numpy(), weights=sizes))
            if not np.isfinite(mean):
                raise FloatingPointError(
                    f"{task.name}: the loss became {mean}; lower the learning rate"
                )
            yield mean
    finally:
        model.sparse_embedding = False
        model.requires_grad_(False)


def _validator(
    model: UserModel, stream: TaskStream, task: Task, frozen_backbone: bool
) -> Callable[[], float]:
    """The metric that stops training, on the validation part. T1: MRR@5 over all positions, which has some
    thirty times the observations of the last one."""
    if task.kind == "sequence":
        return lambda: metric_of(
            task.kind, evaluate_all_positions(model, stream, task, VALIDATION, CUTOFF)
        )
    rows = task.rows(VALIDATION)
    distinct, index = np.unique(task.users[rows], return_inverse=True)
    sequences = stream.sequences[stream.input_rows[distinct]]
    cached = user_vectors(model, sequences) if frozen_backbone else None

    def validate() -> float:
        vectors = user_vectors(model, sequences) if cached is None else cached
        layer = model.outputs[task.name]
        return metric_of(
            task.kind, rank_instances(layer, vectors, index, task.labels[rows], CUTOFF)
        )

    return validate


def _only_output(trainable: Trainable, task: Task) -> bool:
    return all(name.startswith(f"outputs.{task.name}.") for name in trainable)


def _check_frozen(
    before: dict[str, Tensor], after: dict[str, Tensor], trainable: Trainable
) -> None:
    """Freezing must be exact; a single changed bit in a frozen entry is a defect of the optimiser."""
    for name, parameter in after.items():
        moved = before[name].view(torch.int32) != parameter.detach().view(
            torch.int32
        )  # bits, not values
        allowed = trainable[name] if name in trainable else torch.zeros_like(moved)
        if allowed is not None and (moved & ~allowed).any():
            raise RuntimeError(
                f"training changed frozen entries of {name}; this optimiser does not freeze exactly"
            )
