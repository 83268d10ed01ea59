"""Buckets of similar padding: every sequence once, never more padding than it has."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from conure_lib.models import padding as module
from conure_lib.models.padding import length_buckets, micro_batch_size

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@given(
    padding=st.lists(st.integers(0, 99), min_size=1, max_size=80).map(np.array),
    at_most=st.integers(1, 100),
)
def test_every_sequence_is_in_one_bucket_that_fits_it(padding, at_most):
    seen = []
    for buckets in length_buckets(padding, at_most, CPU):
        assert 1 <= len(buckets) <= max(1, min(module.MAX_BUCKETS, at_most // module.MIN_BUCKET))
        assert sum(len(numbers) for numbers, _ in buckets) <= at_most
        for numbers, prefix in buckets:
            assert prefix == padding[numbers].min()
            seen += numbers.tolist()
    assert sorted(seen) == list(range(len(padding)))


def prefixes(padding, max_sequences=128, device=CPU):
    return [prefix for _, prefix in next(length_buckets(padding, max_sequences, device))]


def test_a_bucket_must_be_worth_it():
    padding = np.array([0] * 64 + [32] * 64)
    assert prefixes(padding) == [0, 32]
    assert prefixes(padding // 2) == [0, 16]
    assert prefixes(padding // 4) == [0]  # 16 of them would save 128 positions
    assert prefixes(np.full(16, 7), 16) == [7]  # shared by all: always
    assert prefixes(padding, device=CUDA) == [0]  # launches cost more there
    assert prefixes(np.repeat(4 * padding, 4), 512, CUDA) == [0, 128]


def test_what_is_computed_together_stays_in_cache_and_is_divided_on_a_gpu_for_memory_alone():
    n, bytes_each = micro_batch_size(30, 64, CPU), 30 * 64 * 4
    assert n * bytes_each <= 2 << 20 < (n + 1) * bytes_each
    assert micro_batch_size(100, 256, CUDA) > 512  # the paper's largest batches
    for device in (CPU, CUDA):
        assert micro_batch_size(1000, 1000, device) == module.MIN_MICRO_BATCH
