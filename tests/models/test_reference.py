"""The plain network against numbers by hand, and the fast network against the plain one."""

import numpy as np
import pytest
import torch
from helpers import lively, plain_copy, random_sequences, rng, small_model

pytestmark = pytest.mark.numerics
ITEMS, LABELS = 64, 20


@pytest.fixture
def pair():
    """A fast model with one output layer, and the plain network with the same weights."""

    def make(task, n_labels, dilations=(1, 4), width=8):
        model = small_model(ITEMS, width, dilations)
        model.add_output(task, np.ones(n_labels), rng())
        lively(model).double()
        return model, plain_copy(model, task)

    return make


def test_one_block_by_hand():
    """h + conv_2(relu(ln(conv_1(relu(ln(h)))))): k = 2, two positions, kernels of one entry."""
    model = small_model(2, 2, (1,)).double()
    model.add_output("T1", np.ones(2), rng())
    with torch.no_grad():
        model.embedding.copy_(torch.tensor([[0.0, 0.0], [3.0, 1.0], [1.0, 5.0]]))
        model.blocks[0].kernel1.zero_()[1, 0, 1] = 2.0  # channel 0, one position back, to channel 1
        model.blocks[0].kernel2.zero_()[2, 1, 0] = (
            10.0  # channel 1 of the same position to channel 0
        )
    plain = plain_copy(model, "T1")
    # ln(h) is (1, -1) at the first position, so the inner vector of the second is (0, 2), and
    # its ln is (-1, 1).
    expected = torch.tensor([[3.0, 1.0], [11.0, 5.0]], dtype=torch.float64)
    for hidden in (plain(torch.tensor([[1, 2]]))[0], model.hidden(torch.tensor([[1, 2]]))[:, 0]):
        torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dilations", [(1,), (4,), (1, 4), (1, 4, 1, 4), (2, 3, 1)])
@pytest.mark.parametrize("length", [1, 2, 5, 13])
def test_hidden_vectors_are_those_of_the_plain_network(pair, dilations, length):
    model, plain = pair("T2", LABELS, dilations, width=6)
    sequences = random_sequences(3, length, ITEMS)
    expected = plain(sequences)
    hidden = model.hidden(sequences).transpose(0, 1)
    torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(model.last_hidden(sequences), expected[:, -1], rtol=0, atol=1e-10)
