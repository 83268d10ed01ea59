"""What a task learns from: its loss, and the negatives that belong to it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from conure_lib.config import TrainConfig
from conure_lib.data.stream import Task, TaskStream
from conure_lib.models.layers import OutputLayer
from conure_lib.training.losses import bpr_loss, sampled_softmax_loss, softmax_loss
from conure_lib.training.samplers import LogUniformSampler, PopularitySampler


@dataclass(eq=False)
class Objective:
    """Softmax for T1 (maybe sampled) and for classification, BPR for ranking (Eq. 1 and 2)."""

    layer: OutputLayer
    stream: TaskStream
    task: Task
    config: TrainConfig
    noise: torch.Generator

    @cached_property
    def sampler(self) -> LogUniformSampler | PopularitySampler | None:
        """What draws the negatives, if there are any."""
        config, device = self.config, self.layer.weight.device
        if self.task.kind == "ranking":
            return PopularitySampler(self.task.label_counts(), config.rho, device)
        if self.task.kind == "classification" or config.loss == "softmax":
            return None
        n_draws = max(1, round(config.negatives * self.stream.n_items))
        return LogUniformSampler(self.stream.item_counts(), n_draws, device)

    def draw(self, labels: Tensor | None = None) -> Tensor | None:
        """Draw a batch's negatives: for BPR one per label, else shared ones; None without."""
        if isinstance(self.sampler, PopularitySampler):
            return self.sampler.draw(labels, self.noise)
        return self.sampler and self.sampler.draw(self.noise)

    def __call__(self, vectors: Tensor, labels: Tensor, negatives: Tensor | None) -> Tensor:
        """Return the mean loss of vectors [N, k] with labels int64 [N]."""
        weight, bias = self.layer.weight, self.layer.bias
        if negatives is None:
            return softmax_loss(vectors, weight, bias, labels)
        if self.task.kind == "ranking":
            return bpr_loss(vectors, weight, labels, negatives)
        by_rows, log_expected = self.config.table_updates == "rows", self.sampler.log_expected
        return sampled_softmax_loss(vectors, weight, bias, labels, negatives, log_expected, by_rows)
