"""Layers that several backbones use: PeterRec's patches, output layers, causal attention."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conure_lib.data.stream import PAD

LAYER_NORM_EPS = 1e-8
PATCH_REDUCTION = 8  # a patch's bottleneck has k / 8 channels: 8% of a kernel's weights
PatchKind = Literal["serial", "parallel"]


class Patch(nn.Module):
    """PeterRec's model patch: a bottleneck of two 1x1 convolutions, y + up(relu(down(z))).

    y: what a convolution returns. Serial: z is y; parallel: what the convolution reads. ``up``
    starts at zero, so that a patched network starts as the network that it patches; the authors'
    code, whose parallel patches add z itself as well, does not.
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
    """Scores of a task's labels: g W^T + b (Eq. 2); W is [n_labels, k].

    b starts at the log of the labels' frequencies (``counts``, int64 [n_labels], plus one), less
    its mean: before any training the scores are nearly those of popularity.
    """

    def __init__(self, counts: np.ndarray, width: int, generator: torch.Generator) -> None:
        super().__init__()
        weight = torch.empty(len(counts), width).normal_(0.0, 0.01, generator=generator)
        start = np.log(np.asarray(counts) + 1.0)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.from_numpy(start - start.mean()).float())

    def forward(self, vectors: Tensor) -> Tensor:
        """User vectors [..., k] -> scores [..., n_labels]."""
        return F.linear(vectors, self.weight, self.bias)


def scores_into(out: Tensor, vectors: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Write an output layer's scores, to the last bit, into ``out`` [n, n_labels]; no gradient."""
    return torch.addmm(bias, vectors, weight.t(), out=out)


def truncated_normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw N(0, 0.02) truncated at two standard deviations, as TensorFlow's initialiser does."""
    values = torch.empty(shape)
    return nn.init.trunc_normal_(values, 0.0, 0.02, -0.04, 0.04, generator=generator)


def begun(items: Tensor) -> Tensor:
    """Return where sequences have begun, bool like item ids [B, L]: zeros before are padding."""
    return (items != PAD).cumsum(1) > 0


def attention_mask(known: Tensor) -> Tensor:
    """Return what each position reads: itself, and those before it that are known.

    bool [B, L] -> bool [B, 1, L, L]; padding reads itself, for a softmax needs something.
    """
    causal = known.new_ones(2 * known.shape[1:]).tril()
    return (causal & (known[:, None] | causal.t()))[:, None]


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, heads: int = 1) -> Tensor:
    """Return softmax(q k^T / sqrt(width of a head)) v of [B, L, k] where ``mask`` allows it."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)
