"""NextItNet: item embedding, residual blocks of dilated convolutions, an output layer per task."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conure_lib.config import ModelConfig
from conure_lib.data.stream import Kind
from conure_lib.models.convolution import receptive_cone
from conure_lib.models.layers import Block, BlockInputs, OutputLayer, Patch, PatchKind

Padding = list[BlockInputs] | None
"""Per block, what its convolutions read at positions of padding."""


class UserModel(nn.Module):
    """One backbone, and the output layers of the tasks that it has met so far.

    ``PlainNextItNet`` is the same network in few lines; this one skips padding and what nothing
    depends on. Items have ids 1..n_items, 0 is padding; another id is PyTorch's IndexError.
    """

    def __init__(self, config: ModelConfig, n_items: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.n_items = config, n_items
        self.sparse_embedding = False  # see ``TrainConfig.table_updates``
        weight = torch.empty(n_items + 1, config.width).normal_(0.0, 0.02, generator=generator)
        self.embedding = nn.Parameter(weight)
        self.blocks = nn.ModuleList(Block(config.width, generator) for _ in config.dilations)
        self.outputs = nn.ModuleDict()

    def add_output(self, task: str, n_labels: int, kind: Kind, generator: torch.Generator) -> None:
        """Add a new output layer for a task; replace one of the same name."""
        layer = OutputLayer(n_labels, self.config.width, kind, generator)
        self.outputs[task] = layer.to(self.embedding.device)

    def add_patches(self, kind: PatchKind, generator: torch.Generator) -> None:
        """Add a model patch at every convolution (PeterRec)."""
        for block in self.blocks:
            for name in ("patch1", "patch2"):
                patch = Patch(self.config.width, kind, generator)
                setattr(block, name, patch.to(self.embedding.device))

    @property
    def patch_kind(self) -> PatchKind | None:
        """How the model is patched; None if it is not."""
        return None if self.blocks[0].patch1 is None else self.blocks[0].patch1.kind

    def kernels(self) -> dict[str, nn.Parameter]:
        """Return the convolution kernels by parameter name, in order of depth."""
        return {n: p for n, p in self.named_parameters() if ".kernel" in n}

    def hidden(self, sequences: Tensor, prefix: int = 0, padding: Padding = None) -> Tensor:
        """Return the hidden vectors of item ids [B, L], time-major: [L - prefix, B, k] (E, 3.2).

        ``prefix``: how many positions are padding in every sequence; nothing is computed for them.
        ``padding``: from ``padding_inputs`` of at least as many, if several calls share it.
        """
        return self._run(sequences, False, prefix, padding)[0]

    def last_hidden(self, sequences: Tensor, prefix: int = 0, padding: Padding = None) -> Tensor:
        """Return the last position of ``hidden``, [B, k], at the cost of its receptive cone."""
        return self._run(sequences, True, prefix, padding)[0][0]

    def user_vectors(self, sequences: Tensor, prefix: int = 0, padding: Padding = None) -> Tensor:
        """Return the vectors g [B, k] that tasks after T1 read: the last position (section 3.2).

        With ``config.separator`` an id 0 is appended and read instead. Arguments as in ``hidden``.
        """
        read = F.pad(sequences, (0, 1)) if self.config.separator else sequences
        return self.last_hidden(read, prefix, padding)

    def padding_inputs(self, prefix: int) -> list[BlockInputs]:
        """Return what each convolution reads at ``prefix`` positions of padding, [prefix, k] each.

        There hidden vectors depend on the position only: one row serves all sequences.
        """
        zeros = torch.zeros(1, prefix, dtype=torch.long, device=self.embedding.device)
        return [(x1[:, 0], x2[:, 0]) for x1, x2 in self._run(zeros, False, 0, None)[1]]

    def _run(self, sequences: Tensor, last_only: bool, prefix: int, padding: Padding) -> tuple:
        """Return the outputs of the last block, and what the convolutions of every block read."""
        dilations, length, device = self.config.dilations, sequences.shape[1], sequences.device
        rows, plans = receptive_cone(dilations, length, last_only, prefix, device)
        if prefix and padding is None:
            padding = self.padding_inputs(prefix)
        items = sequences[:, prefix:].t()[rows].contiguous()
        h, inputs = F.embedding(items, self.embedding, sparse=self.sparse_embedding), []
        for number, (block, plan) in enumerate(zip(self.blocks, plans, strict=True)):
            shared = (padding[number][0][:prefix], padding[number][1][:prefix]) if prefix else None
            h, read = block(h, plan, shared)
            inputs.append(read)
        return h, inputs
