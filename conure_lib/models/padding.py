"""Left padding costs nothing: sequences are grouped by how much of it they have in common."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from conure_lib.data.stream import PAD

Group = tuple[np.ndarray, int]
"""Numbers of sequences, and the padding that all of them have."""
MAX_GROUPS = 8  # of one piece
MIN_GROUP = 10  # sequences of one of a full piece's groups; fewer make poor products
MIN_SPARED = (
    256  # positions that one more group must spare, or its operators take longer than they save
)
CACHED_ELEMENTS = (
    1 << 19
)  # of a hidden tensor [sequences, positions, k]: more than 2 MiB leave the cache
MIN_CACHED = 32  # sequences; fewer make poor products


def padding_of(sequences: np.ndarray) -> np.ndarray:
    """How many positions stand before each sequence's first item: [n, L] item ids -> int64 [n]."""
    return (sequences != PAD).argmax(1)


def sequences_in_cache(length: int, width: int) -> int:
    """How many sequences of so many positions are computed together: no more than stay in fast memory."""
    return max(MIN_CACHED, CACHED_ELEMENTS // (length * width))


def length_buckets(padding: np.ndarray, at_most: int) -> Iterator[list[Group]]:
    """Pieces of up to ``at_most`` sequences, each in groups of similar padding, all [n] of them once.

    padding: int64 [n], as ``padding_of`` gives it. The groups hold row numbers, in order of their padding.
    """
    order, groups = (
        np.argsort(padding, kind="stable"),
        min(MAX_GROUPS, max(1, at_most // MIN_GROUP)),
    )
    for start in range(0, len(order), at_most):
        numbers = order[start : start + at_most]
        edges = np.unique(np.linspace(0, len(numbers), groups + 1).astype(np.int64))
        starts = [0]
        for left, right in pairwise(edges[1:]):
            spared = (right - left) * (padding[numbers[left]] - padding[numbers[starts[-1]]])
            if spared >= MIN_SPARED:
                starts.append(left)
        yield [
            (numbers[left:right], int(padding[numbers[left]]))
            for left, right in zip(starts, [*starts[1:], len(numbers)], strict=True)
        ]
