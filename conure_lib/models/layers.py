"""The pieces of NextItNet: dilated causal convolutions on any subset of positions, blocks, patches, outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conure_lib.data.stream import Kind

LAYER_NORM_EPS = 1e-8
TAPS = 3  # the paper's 1x3 kernels
PATCH_REDUCTION = (
    8  # a patch's bottleneck has k / 8 channels: 8% of a convolution's weights, as PeterRec's
)
PatchKind = Literal["serial", "parallel"]
Rows = slice | Tensor
BlockInputs = tuple[Tensor, Tensor]
Plan = tuple["Tap", ...]


class CausalConv(torch.autograd.Function):
    """y[t] = x[t] Z[2] + x[t - d] Z[1] + x[t - 2d] Z[0], with zeros before the first position.

    Time-major, x is [positions, batch, k]: each tap is one product of contiguous matrices, added in place, so
    there is no padding and no im2col. ``plan`` holds for taps 2, 1, 0 what they read (see ``Tap``); thereby
    the same code serves every subset of positions; rows that are no slice are gathered once and kept for the
    backward pass. ``pads`` [P, k]: what the layer reads at the first P positions, where all sequences are
    padding; it is the same for all of them and stored once.
    """

    @staticmethod
    def forward(
        ctx, x: Tensor, kernel: Tensor, pads: Tensor | None, plan: Plan, n_out: int
    ) -> Tensor:
        """x [positions, batch, k], kernel [3, k, k] -> y [n_out, batch, k]; pads, plan: see the class."""
        read = [rows_of(x, tap.rows).flatten(0, 1) for tap in plan]
        ctx.save_for_backward(kernel, pads, *read)
        ctx.plan, ctx.shape = plan, x.shape
        y = torch.mm(read[0], kernel[2]).view(n_out, x.shape[1], kernel.shape[2])
        for number, tap, inputs in zip((1, 0), plan[1:], read[1:], strict=True):
            if tap.first < n_out:
                y[tap.first :].flatten(0, 1).addmm_(inputs, kernel[number])
            if tap.beside is not None:
                y[tap.beside] += torch.mm(pads[tap.pads], kernel[number])[:, None]
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, kernel and pads from the one of y [n_out, batch, k]."""
        kernel, pads, *read = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = grad.new_zeros(ctx.shape) if ctx.needs_input_grad[0] else None
        grad_kernel = torch.zeros_like(kernel) if ctx.needs_input_grad[1] else None
        grad_pads = torch.zeros_like(pads) if ctx.needs_input_grad[2] else None
        for number, tap, inputs in zip((2, 1, 0), ctx.plan, read, strict=True):
            back = kernel[number].t()
            if tap.first < len(grad):
                g = grad[tap.first :].flatten(0, 1)
                if grad_x is not None and isinstance(tap.rows, slice):
                    grad_x[tap.rows].flatten(0, 1).addmm_(g, back)
                elif (
                    grad_x is not None
                ):  # a tap reads no position twice, so this sum has one term per row
                    grad_x.index_add_(0, tap.rows, (g @ back).view(-1, *ctx.shape[1:]))
                if grad_kernel is not None:
                    torch.mm(inputs.t(), g, out=grad_kernel[number])
            if tap.beside is not None:
                g = grad[tap.beside].sum(1)
                if grad_pads is not None:
                    grad_pads[tap.pads] += g @ back
                if grad_kernel is not None:
                    grad_kernel[number].addmm_(pads[tap.pads].t(), g)
        return grad_x, grad_kernel, grad_pads, None, None


@dataclass(frozen=True)
class Tap:
    """What one tap of a kernel reads. first: the first output it has an input for; rows: these inputs.

    beside, pads: the outputs for which it reads the shared padding instead, and the positions it reads there.
    """

    first: int
    rows: Rows
    beside: slice | None
    pads: Rows | None


@dataclass(frozen=True)
class BlockPlan:
    """A block's two convolutions: plan and number of outputs of each, and the input rows its skip adds."""

    first: Plan
    n_first: int
    second: Plan
    n_second: int
    skip: Rows


@lru_cache(maxsize=1024)
def receptive_cone(
    dilations: tuple[int, ...], length: int, last_only: bool, prefix: int, device: torch.device
) -> tuple[Rows, tuple[BlockPlan, ...]]:
    """Which positions each convolution must compute, worked out backwards from the wanted outputs.

    dilations: first dilation of each block. prefix: positions at the start that are padding in all sequences;
    they are read from elsewhere and never computed. Returns the positions read of the input sequence without
    its prefix, and a plan per block. With ``last_only`` only what feeds the last position is in it: the
    receptive cone.
    """
    wanted = [length - 1] if last_only else list(range(prefix, length))
    blocks = []
    for d in reversed(dilations):
        middle = _reach(wanted, 2 * d, prefix)
        first = sorted(set(_reach(middle, d, prefix)) | set(wanted))
        plans = (
            _plan(first, middle, d, prefix, device),
            _plan(middle, wanted, 2 * d, prefix, device),
        )
        blocks.append(
            BlockPlan(plans[0], len(middle), plans[1], len(wanted), _rows(wanted, first, device))
        )
        wanted = first
    return _rows(wanted, range(prefix, length), device), tuple(reversed(blocks))


def _reach(positions: list[int], dilation: int, prefix: int) -> list[int]:
    reached = {p - back * dilation for p in positions for back in range(TAPS)}
    return sorted(p for p in reached if p >= prefix)


def _plan(
    inputs: list[int], outputs: list[int], dilation: int, prefix: int, device: torch.device
) -> Plan:
    plan = []
    for back in range(
        TAPS
    ):  # how many dilations this tap looks back: kernel[2], kernel[1], kernel[0]
        read = [p - back * dilation for p in outputs]  # ascending
        before = sum(position < 0 for position in read)
        first = sum(position < prefix for position in read)
        beside = slice(before, first) if before < first else None
        pads = None if beside is None else _rows(read[beside], range(prefix), device)
        plan.append(Tap(first, _rows(read[first:], inputs, device), beside, pads))
    return tuple(plan)


def rows_of(x: Tensor, rows: Rows) -> Tensor:
    """x [positions, ...] at these rows: a view of neighbours, else a copy."""
    return x[rows] if isinstance(rows, slice) else x.index_select(0, rows)


def _rows(positions: Sequence[int], available: Sequence[int], device: torch.device) -> Rows:
    """Where ``positions`` stand in ``available``: a slice if they are neighbours (no copy), else a tensor."""
    place = {position: row for row, position in enumerate(available)}
    rows = [place[p] for p in positions]
    start = rows[0] if rows else 0
    if rows == list(range(start, start + len(rows))):
        return slice(start, start + len(rows))
    return to_device(np.array(rows), device)


class Block(nn.Module):
    """h + conv_2d(relu(ln(conv_d(relu(ln(h)))))) (paper, section 3.2; NextItNet's second residual block).

    The kernels are [3, k, k] (tap, in, out). The convolutions have no bias: the authors' code keeps them at 0.
    """

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=LAYER_NORM_EPS) for _ in range(2))
        shape = (TAPS, width, width)
        self.kernel1, self.kernel2 = (
            nn.Parameter(normal(shape, 0.02, generator, cut=True)) for _ in range(2)
        )
        self.patch1: Patch | None = None
        self.patch2: Patch | None = None

    def forward(
        self, h: Tensor, plan: BlockPlan, pads: BlockInputs | None
    ) -> tuple[Tensor, BlockInputs]:
        """h [positions, batch, k] -> the block's outputs, and what its two convolutions read.

        pads: what they read at the padding before the first position, [P, k] each.
        """
        pad1, pad2 = pads or (None, None)
        x1 = F.relu(self.norm1(h), inplace=True)
        inner = _patched(self.patch1, x1, self.kernel1, pad1, plan.first, plan.n_first)
        x2 = F.relu(self.norm2(inner), inplace=True)
        outer = _patched(self.patch2, x2, self.kernel2, pad2, plan.second, plan.n_second)
        return rows_of(h, plan.skip) + outer, (x1, x2)


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
        self.down_bias, self.up_bias = (
            nn.Parameter(torch.zeros(narrow)),
            nn.Parameter(torch.zeros(width)),
        )

    def forward(self, z: Tensor) -> Tensor:
        """z [positions, batch, k] -> the patch's addition, of the same shape."""
        return F.relu(z @ self.down + self.down_bias) @ self.up + self.up_bias


def _patched(
    patch: Patch | None, x: Tensor, kernel: Tensor, pads: Tensor | None, plan: Plan, n_out: int
) -> Tensor:
    y = CausalConv.apply(x, kernel, pads, plan, n_out)
    if patch is None:
        return y
    return y + patch(y if patch.kind == "serial" else rows_of(x, plan[0].rows))


class OutputLayer(nn.Module):
    """Scores of a task's labels: g W^T + b (paper, eq. 2); W is [n_labels, k], b [n_labels] or absent."""

    def __init__(self, n_labels: int, width: int, kind: Kind, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal((n_labels, width), 0.01, generator))
        start = 0.1 if kind == "sequence" else 0.0
        self.bias = None if kind == "ranking" else nn.Parameter(torch.full((n_labels,), start))

    def forward(self, vectors: Tensor) -> Tensor:
        """User vectors [..., k] -> scores [..., n_labels]."""
        return F.linear(vectors, self.weight, self.bias)

    @torch.no_grad()
    def into(self, scores: Tensor, vectors: Tensor) -> Tensor:
        """The same for vectors [n, k], to the last bit, written to ``scores`` [n, n_labels]; has no gradient."""
        if self.bias is None:
            return torch.mm(vectors, self.weight.t(), out=scores)
        return torch.addmm(self.bias, vectors, self.weight.t(), out=scores)


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """The array on the device, without waiting for it."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def normal(
    shape: tuple[int, ...], sd: float, generator: torch.Generator, cut: bool = False
) -> Tensor:
    """Normal values; with ``cut`` truncated at two standard deviations, as TensorFlow's initialiser."""
    values = torch.empty(shape)
    if cut:
        return nn.init.trunc_normal_(values, 0.0, sd, -2 * sd, 2 * sd, generator=generator)
    return values.normal_(0.0, sd, generator=generator)
