"""Floating-point operations that our work needs (those of its matrix products), and how fast products can be."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.worlds import Size
from conure_lib.models.layers import TAPS

REPEATS = 8


def tap_products(dilations: tuple[int, ...], length: int, known: int, last_only: bool) -> list[int]:
    """Per convolution, the last one first: how many vectors of a sequence meet one of its k x k matrices.

    Counts what the result needs and no more: positions that feed no wanted one do not count, nor does the
    padding before the ``known`` last positions, which is the same for all sequences.
    """
    first = length - known
    wanted = {length - 1} if last_only else set(range(first, length))
    counts = []
    for step in [x for d in reversed(dilations) for x in (2 * d, d)]:
        reads = [
            p - back * step for p in wanted for back in range(TAPS) if p - back * step >= first
        ]
        counts.append(len(reads))
        wanted = set(reads)
    return counts


def backbone_flop(
    size: Size,
    length: int,
    known: np.ndarray,
    last_only: bool,
    train: bool = True,
    frozen_below: bool = False,
) -> float:
    """Operations of the backbone for sequences with ``known`` filled positions each.

    train: the gradients of kernels and inputs as well, each as many as the forward pass; with
    ``frozen_below`` (embedding and LayerNorms stand still) the first convolution's inputs need none.
    """
    total = 0
    for filled, sequences in zip(*np.unique(known, return_counts=True), strict=True):
        counts = tap_products(size.dilations, length, int(filled), last_only)
        total += int(sequences) * ((3 if train else 1) * sum(counts) - frozen_below * counts[-1])
    return 2.0 * size.width**2 * total


def output_flop(size: Size, rows: int, labels: int, train: bool = True) -> float:
    """Operations of an output layer that scores ``labels`` for ``rows`` vectors."""
    return (3 if train else 1) * 2.0 * size.width * rows * labels


def gemm_gflops(shapes: tuple[tuple[int, int, int], ...]) -> dict[str, float]:
    """GFLOP/s of products [m, k] x [k, n], the best of some repeats, by shape and by the way it is computed.

    ``mm`` and a 1x1 convolution may be served by different libraries; the better one is what is possible here.
    """
    reached = {}
    for m, k, n in shapes:
        left, right = torch.randn(m, k), torch.randn(k, n)
        image = left.t().reshape(1, k, m, 1).contiguous(memory_format=torch.channels_last)
        kernel = right.t().reshape(n, k, 1, 1).contiguous(memory_format=torch.channels_last)
        out = torch.empty(m, n)
        ways: dict[str, Callable[[], object]] = {
            "mm": lambda left=left, right=right, out=out: torch.mm(left, right, out=out),
            "1x1": lambda image=image, kernel=kernel: F.conv2d(image, kernel),
        }
        for way, product in ways.items():
            product()
            spent = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                product()
                spent.append(time.perf_counter() - started)
            reached[f"{way} {m}x{k}x{n}"] = round(2 * m * k * n / min(spent) / 1e9, 1)
    return reached
