"""Groups of similar padding: every sequence once, never more padding than it has."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conure_lib import padding as module
from conure_lib.padding import padding_of, pieces


def test_padding_is_counted_from_the_left():
    assert padding_of(np.array([[0, 0, 3, 4], [1, 2, 3, 4], [0, 5, 6, 7]])).tolist() == [2, 0, 1]


@given(
    padding=st.lists(st.integers(0, 99), min_size=1, max_size=80).map(np.array),
    width=st.sampled_from([1, 64, 256, 4096]),
    at_most=st.integers(1, 100),
)
def test_every_sequence_is_in_one_group_that_fits_it(padding, width, at_most):
    seen = []
    for piece in pieces(padding, width, at_most):
        assert 1 <= len(piece) <= module.MAX_GROUPS
        assert sum(len(numbers) for numbers, _ in piece) <= at_most
        for numbers, prefix in piece:
            assert prefix == padding[numbers].min()
            seen += numbers.tolist()
    assert sorted(seen) == list(range(len(padding)))


def test_a_group_must_be_worth_it():
    padding = np.array([0] * 8 + [9] * 8)
    assert [prefix for _, prefix in next(pieces(padding, 1024, 16))] == [0, 9]
    assert [prefix for _, prefix in next(pieces(padding, 16, 16))] == [0]
    assert [prefix for _, prefix in next(pieces(np.full(16, 7), 16, 16))] == [7]  # shared by all: always
