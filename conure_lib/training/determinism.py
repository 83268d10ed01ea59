"""What makes results repeat to the last bit: seeds, the number of threads, CUDA's settings."""

import contextlib
import hashlib
import os
from collections.abc import Iterator

import torch
from threadpoolctl import threadpool_limits

from conure_lib.errors import ConfigError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")  # the values with which cuBLAS repeats itself


def seeded(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator for one purpose; different purposes of a seed are independent."""
    digest = hashlib.sha256("/".join(map(str, (seed, *purpose))).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


@contextlib.contextmanager
def limited_threads(number: int) -> Iterator[None]:
    """Set the thread count of PyTorch and NumPy for a while: others may give other last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def repeatable(device: str) -> Iterator[None]:
    """Make CUDA compute the same bits again, and no TF32, for a while; the CPU does so anyway."""
    if device != "cuda":
        yield
        return
    if (found := os.environ.get(WORKSPACE)) not in WORKSPACES:
        expected = f"{' or '.join(WORKSPACES)}, set before Python starts (make does it)"
        raise ConfigError(f"{WORKSPACE}: found {found!r}, expected {expected}")
    products, strict = torch.backends.cuda.matmul, torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    precision, products.fp32_precision = products.fp32_precision, "ieee"
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        products.fp32_precision = precision
