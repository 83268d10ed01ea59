"""Left padding at no cost: a batch is computed in micro-batches, in buckets of similar padding."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch

from conure_lib.data.stream import PAD

Bucket = tuple[np.ndarray, int]
"""Row numbers of sequences, and the padding that all of them have in common."""
MAX_BUCKETS = 8  # of a micro-batch
MIN_BUCKET = 10  # sequences of a bucket; smaller matrices underuse the GEMM kernel
MIN_SAVED = 256  # positions that one more bucket must save, or its operators cost more than that
MIN_SAVED_CUDA = 1 << 13  # the same on a GPU, where an operator costs its launch
CACHED_ELEMENTS = 1 << 19  # of a hidden tensor: more than 2 MiB leave the cache
CUDA_ELEMENTS = 1 << 24  # the same on a GPU, where no cache decides: 64 MiB, to bound its memory
MIN_MICRO_BATCH = 32  # sequences; smaller matrices underuse the GEMM kernel


def padding_of(sequences: np.ndarray) -> np.ndarray:
    """Return how many positions precede each sequence's first item: ids [n, L] -> int64 [n]."""
    return (sequences != PAD).argmax(1)


def micro_batch_size(length: int, width: int, device: torch.device) -> int:
    """Return how many sequences are computed together: on a CPU no more than stay in cache."""
    elements = CUDA_ELEMENTS if device.type == "cuda" else CACHED_ELEMENTS
    return max(MIN_MICRO_BATCH, elements // (length * width))


def length_buckets(
    padding: np.ndarray, max_sequences: int, device: torch.device
) -> Iterator[list[Bucket]]:
    """Yield micro-batches of up to ``max_sequences``, each as buckets of similar padding.

    Every row of ``padding`` (int64 [n], from ``padding_of``) is in one bucket; buckets are in
    order of their padding.
    """
    order = np.argsort(padding, kind="stable")
    least = MIN_SAVED_CUDA if device.type == "cuda" else MIN_SAVED
    n_buckets = min(MAX_BUCKETS, max(1, max_sequences // MIN_BUCKET))
    for start in range(0, len(order), max_sequences):
        rows = order[start : start + max_sequences]
        edges = np.unique(np.linspace(0, len(rows), n_buckets + 1).astype(np.int64))
        starts = [0]
        for left, right in pairwise(edges[1:]):
            saved = (right - left) * (padding[rows[left]] - padding[rows[starts[-1]]])
            if saved >= least:
                starts.append(left)
        ends = [*starts[1:], len(rows)]
        yield [
            (rows[left:right], int(padding[rows[left]]))
            for left, right in zip(starts, ends, strict=True)
        ]
