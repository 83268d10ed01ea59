"""NextItNet: residual blocks of dilated causal convolutions (section 3.2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conure_lib.models.backbone import UserModel
from conure_lib.models.convolution import KERNEL_SIZE, BlockPlan, CausalConv, receptive_cone, take
from conure_lib.models.layers import LAYER_NORM_EPS, Patch, truncated_normal

BlockInputs = tuple[Tensor, Tensor]
"""What a block's two convolutions read."""
Padding = list[BlockInputs] | None
"""Per block, what its convolutions read at positions of padding."""


class Block(nn.Module):
    """h + conv2(relu(ln(conv1(relu(ln(h)))))), with dilations d and 2d (section 3.2).

    The kernels are [3, k, k] (tap, in, out), without bias: the authors' code keeps it at 0.
    """

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        shape = (KERNEL_SIZE, width, width)
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.kernel1 = nn.Parameter(truncated_normal(shape, generator))
        self.kernel2 = nn.Parameter(truncated_normal(shape, generator))
        self.patch1: Patch | None = None
        self.patch2: Patch | None = None

    def forward(
        self, h: Tensor, plan: BlockPlan, padding: BlockInputs | None
    ) -> tuple[Tensor, BlockInputs]:
        """Return the block's outputs for h [positions, batch, k], and what its convolutions read.

        ``padding``: what these read at the padding that all sequences share, [P, k] each.
        """
        padding1, padding2 = padding or (None, None)
        x1 = F.relu(self.norm1(h), inplace=True)
        y = CausalConv.apply(x1, self.kernel1, padding1, plan.taps1, plan.n_out1)
        y = y if self.patch1 is None else self.patch1(y, take(x1, plan.taps1[0].rows))
        x2 = F.relu(self.norm2(y), inplace=True)
        y = CausalConv.apply(x2, self.kernel2, padding2, plan.taps2, plan.n_out2)
        y = y if self.patch2 is None else self.patch2(y, take(x2, plan.taps2[0].rows))
        return take(h, plan.skip) + y, (x1, x2)


class NextItNet(UserModel):
    """The paper's backbone: blocks of two convolutions, whose dilations are ``config.dilations``.

    ``PlainNextItNet`` is the same network in few lines; this one skips padding and what nothing
    depends on.
    """

    def new_block(self, generator: torch.Generator) -> Block:
        """Return a block with random kernels."""
        return Block(self.config.width, generator)

    def hidden(self, sequences: Tensor, prefix: int = 0, padding: Padding = None) -> Tensor:
        """Return the outputs of the last block at every position from ``prefix`` on."""
        return self._run(sequences, False, prefix, padding)[0]

    def last_hidden(self, sequences: Tensor, prefix: int = 0, padding: Padding = None) -> Tensor:
        """Return the last position of ``hidden``, [B, k], at the cost of its receptive cone."""
        return self._run(sequences, True, prefix, padding)[0][0]

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
        h, inputs = self.embed(items), []
        for number, (block, plan) in enumerate(zip(self.blocks, plans, strict=True)):
            shared = (padding[number][0][:prefix], padding[number][1][:prefix]) if prefix else None
            h, read = block(h, plan, shared)
            inputs.append(read)
        return h, inputs
