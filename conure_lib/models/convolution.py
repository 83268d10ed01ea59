"""Dilated causal convolutions that compute only the positions that are needed."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

KERNEL_SIZE = 3  # the paper's 1x3 kernels
Rows = slice | Tensor
"""Row numbers: a slice where they are neighbours (a view, no copy), else an index tensor."""


class Tap(NamedTuple):
    """What one tap of a kernel reads; outputs that it has no input for read zeros."""

    first: int  # the first output that reads an input
    rows: Rows  # these inputs
    pad_outputs: slice | None  # the outputs that read shared padding instead
    pad_rows: Rows | None  # at these positions


class BlockPlan(NamedTuple):
    """Taps (2, 1, 0) and number of outputs of a block's two convolutions."""

    taps1: tuple[Tap, ...]
    n_out1: int
    taps2: tuple[Tap, ...]
    n_out2: int
    skip: Rows  # the inputs that the residual connection adds


class CausalConv(torch.autograd.Function):
    """y[t] = x[t] Z[2] + x[t - d] Z[1] + x[t - 2d] Z[0], with zeros before the first position.

    Time-major, x is [positions, batch, k]: each tap is one product of contiguous matrices, added
    in place. Where all sequences begin with padding, inputs depend on the position only and are
    stored once: ``padding`` [P, k].
    """

    @staticmethod
    def forward(ctx, x, kernel, padding, taps, n_out) -> Tensor:
        """Return y [n_out, batch, k] from x [positions, batch, k] and kernel [3, k, k]."""
        inputs = [take(x, tap.rows).flatten(0, 1) for tap in taps]
        ctx.save_for_backward(kernel, padding, *inputs)
        ctx.taps, ctx.shape = taps, x.shape
        y = torch.mm(inputs[0], kernel[2]).view(n_out, x.shape[1], kernel.shape[2])
        for number, tap, read in zip((1, 0), taps[1:], inputs[1:], strict=True):
            if tap.first < n_out:
                y[tap.first :].flatten(0, 1).addmm_(read, kernel[number])
            if tap.pad_outputs is not None:
                y[tap.pad_outputs] += torch.mm(padding[tap.pad_rows], kernel[number])[:, None]
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, kernel and padding from that of y."""
        kernel, padding, *inputs = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = grad.new_zeros(ctx.shape) if ctx.needs_input_grad[0] else None
        grad_kernel = torch.zeros_like(kernel) if ctx.needs_input_grad[1] else None
        grad_padding = torch.zeros_like(padding) if ctx.needs_input_grad[2] else None
        for number, tap, read in zip((2, 1, 0), ctx.taps, inputs, strict=True):
            back = kernel[number].t()
            if tap.first < len(grad):
                g = grad[tap.first :].flatten(0, 1)
                if grad_x is not None and isinstance(tap.rows, slice):
                    grad_x[tap.rows].flatten(0, 1).addmm_(g, back)
                elif grad_x is not None:  # a tap reads each row once: a sum of one term
                    grad_x.index_add_(0, tap.rows, (g @ back).view(-1, *ctx.shape[1:]))
                if grad_kernel is not None:
                    torch.mm(read.t(), g, out=grad_kernel[number])
            if tap.pad_outputs is not None:
                g = grad[tap.pad_outputs].sum(1)
                if grad_padding is not None:
                    grad_padding[tap.pad_rows] += g @ back
                if grad_kernel is not None:
                    grad_kernel[number].addmm_(padding[tap.pad_rows].t(), g)
        return grad_x, grad_kernel, grad_padding, None, None


@lru_cache(maxsize=1024)
def receptive_cone(
    dilations: tuple[int, ...], length: int, last_only: bool, prefix: int, device: torch.device
) -> tuple[Rows, tuple[BlockPlan, ...]]:
    """Return which positions of the input are read and, per block, what its convolutions compute.

    Worked out backwards from the outputs: all positions, or the last one only. The first
    ``prefix`` positions are padding and never computed.
    """

    def positions_read(outputs: list[int], dilation: int) -> set[int]:
        read = {p - back * dilation for p in outputs for back in range(KERNEL_SIZE)}
        return {p for p in read if p >= prefix}

    needed = [length - 1] if last_only else list(range(prefix, length))
    blocks = []
    for d in reversed(dilations):
        middle = sorted(positions_read(needed, 2 * d))
        first = sorted(positions_read(middle, d) | set(needed))
        taps1 = _taps(first, middle, d, prefix, device)
        taps2 = _taps(middle, needed, 2 * d, prefix, device)
        skip = _rows(needed, first, device)
        blocks.append(BlockPlan(taps1, len(middle), taps2, len(needed), skip))
        needed = first
    return _rows(needed, range(prefix, length), device), tuple(reversed(blocks))


def _taps(
    inputs: list[int], outputs: list[int], dilation: int, prefix: int, device: torch.device
) -> tuple[Tap, ...]:
    taps = []
    for back in range(KERNEL_SIZE):  # how many dilations kernel[2], kernel[1], kernel[0] look back
        read = [p - back * dilation for p in outputs]  # ascending
        before = sum(position < 0 for position in read)
        first = sum(position < prefix for position in read)
        pad_outputs = slice(before, first) if before < first else None
        pad_rows = pad_outputs and _rows(read[pad_outputs], range(prefix), device)
        taps.append(Tap(first, _rows(read[first:], inputs, device), pad_outputs, pad_rows))
    return tuple(taps)


def _rows(positions: Sequence[int], available: Sequence[int], device: torch.device) -> Rows:
    """Return where ``positions`` are among the ``available`` ones."""
    row_of = {position: row for row, position in enumerate(available)}
    rows = [row_of[p] for p in positions]
    start = rows[0] if rows else 0
    if rows == list(range(start, start + len(rows))):
        return slice(start, start + len(rows))
    return to_device(np.array(rows), device)


def take(x: Tensor, rows: Rows) -> Tensor:
    """Return x [positions, ...] at these rows: a view if they are neighbours, else a copy."""
    return x[rows] if isinstance(rows, slice) else x.index_select(0, rows)


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to a device without waiting for it."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
