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
    """The loss that the settings choose, softmax for classification (Eq. 1 and 2)."""

    layer: OutputLayer
    stream: TaskStream
    task: Task
    config: TrainConfig
    noise: torch.Generator

    @cached_property
    def sampler(self) -> LogUniformSampler | PopularitySampler | None:
        """What draws the negatives, if there are any."""
        config, device = self.config, self.layer.weight.device
        if self.task.kind == "classification" or config.loss == "softmax":
            return None
        counts = self.stream.label_counts(self.task)
        if config.loss == "sampled-softmax":
            n_draws = max(1, round(config.negatives * len(counts)))
            return LogUniformSampler(counts, n_draws, device)
        return PopularitySampler(counts, config.rho, device)

    @property
    def pairwise(self) -> bool:
        """Whether every label has a negative of its own (BPR)."""
        return isinstance(self.sampler, PopularitySampler)

    @property
    def by_rows(self) -> bool:
        """Whether the gradient of the output weight is sparse."""
        return self.config.table_updates == "rows" and self.sampler is not None

    def draw(self, labels: Tensor | None = None) -> Tensor | None:
        """Draw a batch's negatives: for BPR one per label, else shared ones; None without."""
        if self.pairwise:
            return self.sampler.draw(labels, self.noise)
        return self.sampler and self.sampler.draw(self.noise)

    def __call__(self, vectors: Tensor, labels: Tensor, negatives: Tensor | None) -> Tensor:
        """Return the mean loss of vectors [N, k] with labels int64 [N]."""
        if rate := self.config.dropout:
            kept = torch.rand(vectors.shape, generator=self.noise, device=vectors.device) >= rate
            vectors = vectors * kept / (1 - rate)
        layer = (vectors, self.layer.weight, self.layer.bias)
        if negatives is None:
            return softmax_loss(*layer, labels)
        if self.pairwise:
            return bpr_loss(*layer, labels, negatives)
        return sampled_softmax_loss(
            *layer, labels, negatives, self.sampler.log_expected, self.by_rows
        )
