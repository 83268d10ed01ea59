"""The layers of NextItNet: residual blocks, PeterRec's patches, output layers."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conure_lib.data.stream import Kind
from conure_lib.models.convolution import KERNEL_SIZE, BlockPlan, CausalConv, take

LAYER_NORM_EPS = 1e-8
PATCH_REDUCTION = 8  # a patch's bottleneck has k / 8 channels: 8% of a kernel's weights
PatchKind = Literal["serial", "parallel"]
BlockInputs = tuple[Tensor, Tensor]
"""What a block's two convolutions read."""


class Block(nn.Module):
    """h + conv_2d(relu(ln(conv_d(relu(ln(h)))))), NextItNet's second residual block (section 3.2).

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


class Patch(nn.Module):
    """PeterRec's model patch: a residual bottleneck of two 1x1 convolutions, z + up(relu(down(z))).

    Serial: z is what a convolution returns; parallel: what it reads. ``up`` starts at zero, so
    that a patched network starts as the network that it patches.
    """

    def __init__(self, width: int, kind: PatchKind, generator: torch.Generator) -> None:
        super().__init__()
        self.kind = kind
        narrow = max(1, width // PATCH_REDUCTION)
        self.down = nn.Parameter(truncated_normal((width, narrow), generator))
        self.up = nn.Parameter(torch.zeros(narrow, width))
        self.down_bias = nn.Parameter(torch.zeros(narrow))
        self.up_bias = nn.Parameter(torch.zeros(width))

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Add the patch to a convolution's outputs y; x: its inputs at the same positions."""
        z = y if self.kind == "serial" else x
        return y + (F.relu(z @ self.down + self.down_bias) @ self.up + self.up_bias)


class OutputLayer(nn.Module):
    """Scores of a task's labels: g W^T + b (Eq. 2); W is [n_labels, k], ranking has no b."""

    def __init__(self, n_labels: int, width: int, kind: Kind, generator: torch.Generator) -> None:
        super().__init__()
        weight = torch.empty(n_labels, width).normal_(0.0, 0.01, generator=generator)
        start = 0.1 if kind == "sequence" else 0.0
        self.weight = nn.Parameter(weight)
        self.bias = None if kind == "ranking" else nn.Parameter(torch.full((n_labels,), start))

    def forward(self, vectors: Tensor) -> Tensor:
        """User vectors [..., k] -> scores [..., n_labels]."""
        return F.linear(vectors, self.weight, self.bias)


def scores_into(out: Tensor, vectors: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Write an output layer's scores, to the last bit, into ``out`` [n, n_labels]; no gradient."""
    if bias is None:
        return torch.mm(vectors, weight.t(), out=out)
    return torch.addmm(bias, vectors, weight.t(), out=out)


def truncated_normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw N(0, 0.02) truncated at two standard deviations, as TensorFlow's initialiser does."""
    values = torch.empty(shape)
    return nn.init.trunc_normal_(values, 0.0, 0.02, -0.04, 0.04, generator=generator)
