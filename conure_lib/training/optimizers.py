"""Optimisers: fresh for every stage, without weight decay, with row updates of large tables."""

import torch
from torch import Tensor

from conure_lib.config import TrainConfig

MOMENTUM = 0.9  # of plain SGD


def fresh_optimizers(
    config: TrainConfig, parameters: list[Tensor], tables: list[Tensor]
) -> list[torch.optim.Optimizer]:
    """Return new optimisers: state kept from before, or weight decay, would move frozen weights."""
    rate = config.learning_rate
    dense = [p for p in parameters if not any(p is table for table in tables)]
    if config.optimizer == "sgd":
        return [torch.optim.SGD(dense, lr=rate, momentum=MOMENTUM, fused=True)]
    adam = torch.optim.Adam(dense, lr=rate, fused=True)
    return [adam, torch.optim.SparseAdam(tables, lr=rate)] if tables else [adam]
