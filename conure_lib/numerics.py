"""In which numbers products are computed, and what makes a GPU repeat itself and never be waited for."""

import contextlib
import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .config import ConfigError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")  # the values with which cuBLAS repeats itself


def forwards_in(precision: str, losses: Iterator[Tensor], device: torch.device) -> Iterator[Tensor]:
    """The same losses, each computed in this precision (``StudyConfig.precision``).

    "bfloat16": what ``product_type`` serves, and PyTorch's own products, round their operands and their result
    to bfloat16 and add up in float32. Everything else is float32: weights, hidden vectors, LayerNorm, softmax,
    losses, gradients as the optimiser sees them, the sums over a convolution's taps and over a loss's chunks.
    Only the forward passes are inside, so that an evaluation between two of them is float32, and so is the
    optimiser; a backward pass follows its forward pass.
    """
    low = precision == "bfloat16"
    while True:
        with torch.autocast(device.type, torch.bfloat16, enabled=low, cache_enabled=False):
            loss = next(losses, None)
        if loss is None:
            return
        yield loss


def product_type(x: Tensor) -> torch.dtype:
    """What the operands of products with x are cast to: bfloat16 inside ``forwards_in``, else x's own type."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def put_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """out = a b. Operands of a lower type than ``out``: the product is rounded to theirs."""
    if a.dtype == out.dtype:
        torch.mm(a, b, out=out)
    else:
        out.copy_(torch.mm(a, b))


def add_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """out += a b. Operands of a lower type than ``out``: the product is rounded to theirs, the sum is not."""
    if a.dtype == out.dtype:
        out.addmm_(a, b)
    else:
        out.add_(torch.mm(a, b))


def put(array: np.ndarray, device: torch.device) -> Tensor:
    """The array on the device, without waiting for it."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


@contextlib.contextmanager
def repeatable(device: str) -> Iterator[None]:
    """Makes CUDA compute the same bits again, for a while; on the CPU nothing changes: it does so anyway.

    Kernels are deterministic or refused (training uses none that is refused),
    products of float32 stay in float32 (no TF32, whatever the study's precision), those of bfloat16 add up in
    float32. Afterwards the former settings are back.
    Raises ConfigError unless CUBLAS_WORKSPACE_CONFIG is set, which cuBLAS reads when it is first used.
    """
    if device != "cuda":
        yield
        return
    if os.environ.get(WORKSPACE) not in WORKSPACES:
        wanted = f"{' or '.join(WORKSPACES)}, set before Python starts (make does it), or CUDA's products vary"
        raise ConfigError(f"{WORKSPACE} = {os.environ.get(WORKSPACE)!r}; wanted: {wanted}")
    products = torch.backends.cuda.matmul
    former = products.fp32_precision, products.allow_bf16_reduced_precision_reduction
    strict = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    products.fp32_precision, products.allow_bf16_reduced_precision_reduction = "ieee", False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warned)
        products.fp32_precision, products.allow_bf16_reduced_precision_reduction = former
