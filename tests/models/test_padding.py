"""Groups of similar padding: every sequence once, never more padding than it has."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conure_lib.models import padding as module
from conure_lib.models.padding import length_buckets, micro_batch_size, padding_of


def test_padding_is_counted_from_the_left():
    assert padding_of(np.array([[0, 0, 3, 4], [1, 2, 3, 4], [0, 5, 6, 7]])).tolist() == [2, 0, 1]


@given(
    padding=st.lists(st.integers(0, 99), min_size=1, max_size=80).map(np.array),
    at_most=st.integers(1, 100),
)
def test_every_sequence_is_in_one_group_that_fits_it(padding, at_most):
    seen = []
    for piece in length_buckets(padding, at_most):
        assert 1 <= len(piece) <= max(1, min(module.MAX_BUCKETS, at_most // module.MIN_BUCKET))
        assert sum(len(numbers) for numbers, _ in piece) <= at_most
        for numbers, prefix in piece:
            assert prefix == padding[numbers].min()
            seen += numbers.tolist()
    assert sorted(seen) == list(range(len(padding)))


def test_a_group_must_be_worth_it():
    padding = np.array([0] * 64 + [32] * 64)
    assert [prefix for _, prefix in next(length_buckets(padding, 128))] == [0, 32]
    assert [prefix for _, prefix in next(length_buckets(padding // 2, 128))] == [0, 16]
    assert [prefix for _, prefix in next(length_buckets(padding // 4, 128))] == [
        0
    ]  # 16 of them spare 128
    assert [prefix for _, prefix in next(length_buckets(np.full(16, 7), 16))] == [
        7
    ]  # shared by all: always


def test_what_is_computed_together_stays_in_cache():
    assert (
        micro_batch_size(30, 64) * 30 * 64 * 4
        <= 2 << 20
        < (micro_batch_size(30, 64) + 1) * 30 * 64 * 4
    )
    assert micro_batch_size(1000, 1000) == module.MIN_MICRO_BATCH
