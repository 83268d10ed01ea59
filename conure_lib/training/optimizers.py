"""Optimisers: fresh for every stage, and updates of only the rows that a step used, for large tables."""

import torch
from torch import Tensor

from conure_lib.config import TrainConfig
from conure_lib.data.stream import Task

MOMENTUM = 0.9  # of plain SGD
Trainable = dict[str, Tensor | None]
"""Parameter name -> mask of the entries that may change (None: all of them)."""


def row_tables(
    parameters: dict[str, Tensor], task: Task, config: TrainConfig, trainable: Trainable
) -> list[Tensor]:
    """The tables whose gradients come as rows: where all of them may change and each step uses few rows."""
    if config.table_updates == "dense" or task.kind != "sequence":
        return []
    names = ("embedding", f"outputs.{task.name}.weight")
    return [parameters[name] for name in names if name in trainable and trainable[name] is None]


def fresh_optimizers(
    config: TrainConfig, parameters: list[Tensor], tables: list[Tensor]
) -> list[torch.optim.Optimizer]:
    """Fresh for every stage and without weight decay: state or decay would move frozen weights."""
    dense = [p for p in parameters if not any(p is table for table in tables)]
    if config.optimizer == "sgd":
        return [torch.optim.SGD(dense, lr=config.learning_rate, momentum=MOMENTUM, fused=True)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Adam(dense, lr=config.learning_rate, fused=True)
    ]
    if tables:
        optimizers.append(torch.optim.SparseAdam(tables, lr=config.learning_rate))
    return optimizers
