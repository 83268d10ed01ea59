"""NextItNet: item embedding, residual blocks of dilated causal convolutions, one output layer per task."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conure_lib.config import ModelConfig
from conure_lib.data.stream import Kind
from conure_lib.models.layers import (
    Block,
    BlockInputs,
    OutputLayer,
    Patch,
    PatchKind,
    normal,
    receptive_cone,
)

Pads = list[BlockInputs]


class UserModel(nn.Module):
    """One backbone and the output layers of the tasks it has met so far.

    Raises nothing by itself: ids outside 0..n_items end in PyTorch's IndexError.
    """

    def __init__(self, config: ModelConfig, n_items: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.n_items = config, n_items
        self.sparse_embedding = (
            False  # gradient of the embedding as rows (``TrainConfig.table_updates``)
        )
        self.embedding = nn.Parameter(normal((n_items + 1, config.width), 0.02, generator))
        self.blocks = nn.ModuleList(Block(config.width, generator) for _ in config.dilations)
        self.outputs = nn.ModuleDict()

    def add_output(self, task: str, n_labels: int, kind: Kind, generator: torch.Generator) -> None:
        """A new output layer for a task; replaces one of the same name."""
        layer = OutputLayer(n_labels, self.config.width, kind, generator)
        self.outputs[task] = layer.to(self.embedding.device)

    def add_patches(self, kind: PatchKind, generator: torch.Generator) -> None:
        """A model patch at every convolution (PeterRec)."""
        for block in self.blocks:
            for name in ("patch1", "patch2"):
                patch = Patch(self.config.width, kind, generator)
                setattr(block, name, patch.to(self.embedding.device))

    def patch_kind(self) -> PatchKind | None:
        """How the model is patched; None if it is not."""
        return None if self.blocks[0].patch1 is None else self.blocks[0].patch1.kind

    def patches(self) -> tuple[str, ...]:
        """Return the names of the patches' parameters; none if the model is not patched."""
        return tuple(name for name, _ in self.named_parameters() if ".patch" in name)

    def kernels(self) -> dict[str, nn.Parameter]:
        """The convolution kernels by parameter name, in order of depth."""
        return {
            n: p for n, p in self.named_parameters() if n.rpartition(".")[2].startswith("kernel")
        }

    def hidden(self, sequences: Tensor, prefix: int = 0, pads: Pads | None = None) -> Tensor:
        """Hidden vectors, time-major: [B, L] item ids -> [L - prefix, B, k] (matrix E, section 3.2).

        prefix: how many positions are padding in every sequence; nothing is computed for them. pads: what
        ``pad_rows`` gave for at least as many, if several calls share it.
        """
        return self._run(sequences, False, prefix, pads)

    def user_vectors(self, sequences: Tensor, prefix: int = 0, pads: Pads | None = None) -> Tensor:
        """The vector at the last position (g, section 3.2), for tasks after T1: [B, L] item ids -> [B, k].

        With ``config.separator`` an id 0 is appended and read instead. prefix, pads: see ``hidden``.
        """
        return self.last_hidden(
            F.pad(sequences, (0, 1)) if self.config.separator else sequences, prefix, pads
        )

    def last_hidden(self, sequences: Tensor, prefix: int = 0, pads: Pads | None = None) -> Tensor:
        """The last position of ``hidden`` at the cost of its receptive cone: [B, L] item ids -> [B, k]."""
        return self._run(sequences, True, prefix, pads)[0]

    def pad_rows(self, prefix: int) -> Pads:
        """What each convolution reads at ``prefix`` positions of padding, per block two tensors [prefix, k].

        Before a sequence's first item all hidden vectors depend on the position only: one row serves all.
        """
        _, plans = receptive_cone(self.config.dilations, prefix, False, 0, self.embedding.device)
        padding = torch.zeros(prefix, 1, dtype=torch.long, device=self.embedding.device)
        h = F.embedding(padding, self.embedding, sparse=self.sparse_embedding)
        read = []
        for block, plan in zip(self.blocks, plans, strict=True):
            h, (x1, x2) = block(h, plan, None)
            read.append((x1[:, 0], x2[:, 0]))
        return read

    def _run(self, sequences: Tensor, last_only: bool, prefix: int, pads: Pads | None) -> Tensor:
        dilations, length, device = self.config.dilations, sequences.shape[1], sequences.device
        rows, plans = receptive_cone(dilations, length, last_only, prefix, device)
        if prefix and pads is None:
            pads = self.pad_rows(prefix)
        items = sequences[:, prefix:].t()[rows].contiguous()
        h = F.embedding(items, self.embedding, sparse=self.sparse_embedding)
        for number, (block, plan) in enumerate(zip(self.blocks, plans, strict=True)):
            beside = None if not prefix else tuple(x[:prefix] for x in pads[number])
            h, _ = block(h, plan, beside)
        return h
