"""What every network has: an item embedding, residual blocks, an output layer per task."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conure_lib.config import ModelConfig
from conure_lib.models.layers import OutputLayer, Patch, PatchKind


class UserModel(nn.Module):
    """One backbone, and the output layers of the tasks that it has met so far.

    A backbone is a subclass with ``new_block`` and ``hidden``. Its prunable weights are the
    parameters that are called kernel...; a block must add exactly nothing where they are zero.
    Items have ids 1..n_items, 0 is padding; another id is PyTorch's IndexError.
    """

    def __init__(self, config: ModelConfig, n_items: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.n_items = config, n_items
        self.sparse_embedding = False  # see ``TrainConfig.table_updates``
        weight = torch.empty(n_items + 1, config.width).normal_(0.0, 0.02, generator=generator)
        self.embedding = nn.Parameter(weight)
        self.blocks = nn.ModuleList(self.new_block(generator) for _ in range(config.blocks))
        self.outputs = nn.ModuleDict()

    def new_block(self, generator: torch.Generator) -> nn.Module:
        """Return a block with random weights; patch1, and maybe patch2, are where patches go."""
        raise NotImplementedError

    def hidden(self, sequences: Tensor, prefix: int = 0, padding: Any = None) -> Tensor:
        """Return hidden vectors of item ids [B, L], time-major: [L - prefix, B, k] (section 3.2).

        ``prefix``: how many positions are padding in every sequence; nothing is computed for them.
        ``padding``: from ``padding_inputs`` of at least as many, if several calls share it.
        """
        raise NotImplementedError

    def last_hidden(self, sequences: Tensor, prefix: int = 0, padding: Any = None) -> Tensor:
        """Return the last position of ``hidden``, [B, k]."""
        return self.hidden(sequences, prefix, padding)[-1]

    def padding_inputs(self, prefix: int) -> Any:
        """Return what calls that have ``prefix`` positions of padding share; None for nothing."""
        return None

    def user_vectors(self, sequences: Tensor, prefix: int = 0, padding: Any = None) -> Tensor:
        """Return the vectors g [B, k] that tasks after T1 read: the last position (section 3.2).

        With ``config.separator`` an id 0 is appended and read instead. Arguments as in ``hidden``.
        """
        read = F.pad(sequences, (0, 1)) if self.config.separator else sequences
        return self.last_hidden(read, prefix, padding)

    def embed(self, items: Tensor) -> Tensor:
        """Return the embeddings of item ids, one more dimension of size k."""
        return F.embedding(items, self.embedding, sparse=self.sparse_embedding)

    def add_output(self, task: str, counts: np.ndarray, generator: torch.Generator) -> None:
        """Add a new output layer for a task, whose labels occur ``counts`` times in training."""
        layer = OutputLayer(counts, self.config.width, generator)
        self.outputs[task] = layer.to(self.embedding.device)

    def add_patches(self, kind: PatchKind, generator: torch.Generator) -> None:
        """Add a model patch (PeterRec) wherever the blocks have a place for one."""
        for block in self.blocks:
            for name in ("patch1", "patch2"):
                if hasattr(block, name):
                    patch = Patch(self.config.width, kind, generator)
                    setattr(block, name, patch.to(self.embedding.device))

    @property
    def patch_kind(self) -> PatchKind | None:
        """How the model is patched; None if it is not."""
        return None if self.blocks[0].patch1 is None else self.blocks[0].patch1.kind

    def kernels(self) -> dict[str, nn.Parameter]:
        """Return the prunable weights by parameter name; those of blocks in order of depth."""
        named = self.named_parameters()
        return {n: p for n, p in named if n.rpartition(".")[2].startswith("kernel")}

    def backbone(self) -> tuple[str, ...]:
        """Return the names of all parameters but those of output layers."""
        return tuple(n for n, _ in self.named_parameters() if not n.startswith("outputs."))

    def resize(self, blocks: int, generator: torch.Generator | None = None) -> None:
        """Append new blocks, or drop the last ones, until there are so many."""
        self.config = self.config.resized(blocks)
        del self.blocks[blocks:]
        while len(self.blocks) < blocks:
            self.blocks.append(self.new_block(generator).to(self.embedding.device))
