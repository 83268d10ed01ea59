"""The pieces of NextItNet: dilated causal convolutions on any subset of positions, blocks, patches, outputs."""

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .data.stream import Kind

LAYER_NORM_EPS = 1e-8
TAPS = 3  # the paper's 1x3 kernels
PATCH_REDUCTION = 8  # a patch's bottleneck has k / 8 channels: 8% of a convolution's weights, as PeterRec's
PatchKind = Literal["serial", "parallel"]
Rows = slice | Tensor
Plan = tuple[tuple[int, Rows], ...]


class CausalConv(torch.autograd.Function):
    """y[t] = x[t] Z[2] + x[t - d] Z[1] + x[t - 2d] Z[0], with zeros before the first position.

    Time-major, x is [positions, batch, k]: each tap is one product of contiguous matrices, added in place, so
    there is no padding and no im2col. ``plan`` gives, for taps 2, 1, 0, the first output position that the
    tap reaches and the input positions it reads; thereby the same code serves every subset of positions.
    """

    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor, plan: Plan, n_out: int) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.plan = plan
        width = x.shape[2]
        y = torch.mm(x[plan[0][1]].reshape(-1, width), kernel[2]).view(n_out, x.shape[1], kernel.shape[2])
        for tap, (first, rows) in zip((1, 0), plan[1:], strict=True):
            if first < n_out:
                y[first:].flatten(0, 1).addmm_(x[rows].reshape(-1, width), kernel[tap])
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, kernel = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        grad_kernel = torch.zeros_like(kernel) if ctx.needs_input_grad[1] else None
        for tap, (first, rows) in zip((2, 1, 0), ctx.plan, strict=True):
            if first >= len(grad):
                continue
            g = grad[first:].flatten(0, 1)
            if grad_x is not None and isinstance(rows, slice):
                grad_x[rows].flatten(0, 1).addmm_(g, kernel[tap].t())
            elif grad_x is not None:  # a tap reads no position twice, so this sum has one term per row
                grad_x.index_add_(0, rows, (g @ kernel[tap].t()).view(-1, *x.shape[1:]))
            if grad_kernel is not None:
                torch.mm(x[rows].reshape(-1, x.shape[2]).t(), g, out=grad_kernel[tap])
        return grad_x, grad_kernel, None, None


@lru_cache(maxsize=64)
def receptive_cone(
    dilations: tuple[int, ...], length: int, last_only: bool, device: torch.device
) -> tuple[Rows, tuple[tuple[Plan, int, Plan, int, Rows], ...]]:
    """Which positions each convolution must compute, worked out backwards from the wanted outputs.

    dilations: first dilation of each block. Returns the positions of the input sequence that are read, and per
    block: plan and output size of both convolutions, and the block's input rows that its skip connection adds.
    With ``last_only`` only what feeds the last position is in it: the receptive cone.
    """
    wanted = [length - 1] if last_only else list(range(length))
    blocks = []
    for d in reversed(dilations):
        middle = _reach(wanted, 2 * d)
        first = sorted(set(_reach(middle, d)) | set(wanted))
        skip = _rows(wanted, first, device)
        plans = _plan(first, middle, d, device), _plan(middle, wanted, 2 * d, device)
        blocks.append((plans[0], len(middle), plans[1], len(wanted), skip))
        wanted = first
    return _rows(wanted, list(range(length)), device), tuple(reversed(blocks))


def _reach(positions: list[int], dilation: int) -> list[int]:
    return sorted({p - tap * dilation for p in positions for tap in range(TAPS) if p >= tap * dilation})


def _plan(inputs: list[int], outputs: list[int], dilation: int, device: torch.device) -> Plan:
    plan = []
    for back in range(TAPS):  # how many dilations this tap looks back: kernel[2], kernel[1], kernel[0]
        read = [p - back * dilation for p in outputs if p >= back * dilation]
        plan.append((len(outputs) - len(read), _rows(read, inputs, device)))
    return tuple(plan)


def _rows(positions: list[int], available: list[int], device: torch.device) -> Rows:
    """Where ``positions`` stand in ``available``: a slice if they are neighbours (no copy), else a tensor."""
    rows = [available.index(p) for p in positions]
    start = rows[0] if rows else 0
    if rows == list(range(start, start + len(rows))):
        return slice(start, start + len(rows))
    return torch.tensor(rows, device=device)


class Block(nn.Module):
    """h + conv_2d(relu(ln(conv_d(relu(ln(h)))))) (paper, section 3.2; NextItNet's second residual block).

    The kernels are [3, k, k] (tap, in, out). The convolutions have no bias: the authors' code keeps them at 0.
    """

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=LAYER_NORM_EPS) for _ in range(2))
        shape = (TAPS, width, width)
        self.kernel1, self.kernel2 = (nn.Parameter(normal(shape, 0.02, generator, cut=True)) for _ in range(2))
        self.patch1: Patch | None = None
        self.patch2: Patch | None = None

    def forward(self, h: Tensor, plan1: Plan, n1: int, plan2: Plan, n2: int, skip: Rows) -> Tensor:
        inner = _patched(self.patch1, F.relu(self.norm1(h)), self.kernel1, plan1, n1)
        return h[skip] + _patched(self.patch2, F.relu(self.norm2(inner)), self.kernel2, plan2, n2)


class Patch(nn.Module):
    """PeterRec's model patch: a residual bottleneck of two 1x1 convolutions, z + up(relu(down(z))).

    Serial: on what a convolution gives; parallel: from what it reads, added to what it gives. ``up`` starts at
    zero, so that a patched network starts as the network it patches.
    """

    def __init__(self, width: int, kind: PatchKind, generator: torch.Generator) -> None:
        super().__init__()
        self.kind = kind
        narrow = max(1, width // PATCH_REDUCTION)
        self.down = nn.Parameter(normal((width, narrow), 0.02, generator, cut=True))
        self.up = nn.Parameter(torch.zeros(narrow, width))
        self.down_bias, self.up_bias = nn.Parameter(torch.zeros(narrow)), nn.Parameter(torch.zeros(width))

    def forward(self, z: Tensor) -> Tensor:
        return F.relu(z @ self.down + self.down_bias) @ self.up + self.up_bias


def _patched(patch: Patch | None, x: Tensor, kernel: Tensor, plan: Plan, n_out: int) -> Tensor:
    y = CausalConv.apply(x, kernel, plan, n_out)
    if patch is None:
        return y
    return y + patch(y if patch.kind == "serial" else x[plan[0][1]])


class OutputLayer(nn.Module):
    """Scores of a task's labels: g W^T + b (paper, eq. 2); W is [n_labels, k], b [n_labels] or absent."""

    def __init__(self, n_labels: int, width: int, kind: Kind, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal((n_labels, width), 0.01, generator))
        start = 0.1 if kind == "sequence" else 0.0
        self.bias = None if kind == "ranking" else nn.Parameter(torch.full((n_labels,), start))

    def forward(self, vectors: Tensor) -> Tensor:
        return F.linear(vectors, self.weight, self.bias)


def normal(shape: tuple[int, ...], sd: float, generator: torch.Generator, cut: bool = False) -> Tensor:
    """Normal values; with ``cut`` truncated at two standard deviations, as TensorFlow's initialiser."""
    values = torch.empty(shape)
    if cut:
        return nn.init.trunc_normal_(values, 0.0, sd, -2 * sd, 2 * sd, generator=generator)
    return values.normal_(0.0, sd, generator=generator)
