"""In which numbers products are computed, and what makes a GPU repeat itself and never be waited for."""

import contextlib
import hashlib
import os
from collections.abc import Iterator

import torch

from conure_lib.errors import ConfigError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")  # the values with which cuBLAS repeats itself


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


def seeded(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose; different purposes of the same seed are independent."""
    digest = hashlib.sha256("/".join(map(str, (seed, *purpose))).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


@contextlib.contextmanager
def torch_threads(number: int):
    """PyTorch's thread count for a while: results are the same to the last bit only at the same count."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
