"""What a task learns from: its loss and the negatives that belong to it."""

import torch
from torch import Tensor

from conure_lib.config import TrainConfig
from conure_lib.data.stream import Task, TaskStream
from conure_lib.models.layers import OutputLayer
from conure_lib.training.losses import bpr_loss, sampled_softmax_loss, softmax_loss
from conure_lib.training.samplers import LogUniformSampler, PopularitySampler


class NextItemLoss:
    """T1's loss: the mean cross-entropy over all items that follow an item (paper, section 3.2, Eq. 1)."""

    def __init__(
        self, layer: OutputLayer, stream: TaskStream, config: TrainConfig, noise: torch.Generator
    ) -> None:
        self.layer, self.noise = layer, noise
        self.rows_only = config.table_updates == "rows"
        n_draws = max(1, round(config.negatives * stream.n_items))
        sampled = config.loss == "sampled-softmax"
        counts = stream.item_counts() if sampled else None
        self.sampler = LogUniformSampler(counts, n_draws, layer.weight.device) if sampled else None

    def draw(self) -> Tensor | None:
        """The negatives that a batch shares, int64 [draws]; None for the full softmax."""
        return self.sampler and self.sampler.draw(self.noise)

    def __call__(self, vectors: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        """vectors [N, k], targets int64 [N] -> their mean loss."""
        weight, bias = self.layer.weight, self.layer.bias
        if negatives is None:
            return softmax_loss(vectors, weight, bias, targets)
        log_expected = self.sampler.log_expected
        return sampled_softmax_loss(
            vectors, weight, bias, targets, negatives, log_expected, self.rows_only
        )


class LabelLoss:
    """The loss of a task after T1: BPR for ranking, cross-entropy for classification (section 3.2, Eq. 2)."""

    def __init__(
        self, layer: OutputLayer, task: Task, config: TrainConfig, noise: torch.Generator
    ) -> None:
        self.layer, self.noise = layer, noise
        ranking, device = task.kind == "ranking", layer.weight.device
        self.sampler = (
            PopularitySampler(task.label_counts(), config.rho, device) if ranking else None
        )

    def draw(self, labels: Tensor) -> Tensor | None:
        """One negative for each label of a batch, int64 [N] as the labels; None for classification."""
        return self.sampler and self.sampler.draw(labels, self.noise)

    def __call__(self, vectors: Tensor, labels: Tensor, negatives: Tensor | None) -> Tensor:
        """vectors [N, k], labels int64 [N] -> their mean loss."""
        if negatives is None:
            return softmax_loss(vectors, self.layer.weight, self.layer.bias, labels)
        return bpr_loss(vectors, self.layer.weight, labels, negatives)
