"""NextItNet: the plain network, convolution, receptive cone, shared padding, initial values."""

import numpy as np
import pytest
import torch
from helpers import lively, plain_copy, random_sequences, rng, small_model
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import grad, gradcheck
from torch.nn import functional as F
from torch.testing import assert_close

from conure_lib.config import ModelConfig
from conure_lib.models.convolution import CausalConv, receptive_cone
from conure_lib.models.nextitnet import NextItNet

pytestmark = pytest.mark.numerics
CPU = torch.device("cpu")
SHAPES = [(1, 1, 1, 1), (3, 1, 5, 4), (5, 2, 3, 2), (7, 3, 4, 1), (12, 1, 3, 8), (30, 2, 3, 8)]
SIZES = ("length", "batch", "width", "dilation")
DILATIONS = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)


def test_one_block_by_hand():
    """h + conv_2(relu(ln(conv_1(relu(ln(h)))))): k = 2, two positions, kernels of one entry."""
    model = small_model(2, 2, (1,)).double()
    model.add_output("T1", np.ones(2), rng())
    one, two = model.kernels().values()
    with torch.no_grad():
        model.embedding.copy_(torch.tensor([[0.0, 0.0], [3.0, 1.0], [1.0, 5.0]]))
        one.zero_()[1, 0, 1] = 2.0  # channel 0, one position back, to channel 1
        two.zero_()[2, 1, 0] = 10.0  # channel 1 of the same position to channel 0
    # ln(h) is (1, -1) at the first position, so the inner vector of the second is (0, 2), and
    # its ln is (-1, 1).
    expected = torch.tensor([[3.0, 1.0], [11.0, 5.0]], dtype=torch.float64)
    items = torch.tensor([[1, 2]])
    for hidden in (plain_copy(model, "T1")(items)[0], model.hidden(items)[:, 0]):
        assert_close(hidden, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dilations", [(1,), (4,), (1, 4), (1, 4, 1, 4), (2, 3, 1)])
@pytest.mark.parametrize("length", [1, 2, 5, 13])
def test_hidden_vectors_are_those_of_the_plain_network(dilations, length):
    model, sequences = small_model(64, 6, dilations), random_sequences(3, length, 64)
    model.add_output("T2", np.ones(20), rng())
    expected = plain_copy(lively(model).double(), "T2")(sequences)
    assert_close(model.hidden(sequences).transpose(0, 1), expected, rtol=0, atol=1e-10)
    assert_close(model.last_hidden(sequences), expected[:, -1], rtol=0, atol=1e-10)


def random64(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=rng(seed), requires_grad=True)


def conv_case(length, batch, width, dilation):
    """Input, kernel, taps and outputs of a block's first convolution over all positions."""
    _, (block,) = receptive_cone((dilation,), length, False, 0, CPU)
    x, kernel = random64(length, batch, width, seed=1), random64(3, width, width, seed=2)
    return x, kernel, block.taps1, block.n_out1


@pytest.mark.parametrize(SIZES, SHAPES)
def test_causal_convolution_is_conv1d_with_left_padding(length, batch, width, dilation):
    x, kernel, taps, n_out = conv_case(length, batch, width, dilation)
    ours = CausalConv.apply(x, kernel, None, taps, n_out)
    padded = F.pad(x.permute(1, 2, 0), (2 * dilation, 0))
    theirs = F.conv1d(padded, kernel.permute(2, 1, 0), dilation=dilation).permute(2, 0, 1)
    assert_close(ours, theirs, rtol=0, atol=1e-11)
    weights = random64(*ours.shape, seed=3)
    slopes = [grad((y * weights).sum(), (x, kernel)) for y in (ours, theirs)]
    assert_close(*slopes, rtol=0, atol=1e-11)


@pytest.mark.parametrize("prefix", [0, 3, 6])
def test_a_cone_with_gaps_passes_gradcheck(prefix):
    _, blocks = receptive_cone((1, 4), 14, True, prefix, CPU)
    taps = blocks[1].taps1  # which read every fourth row: index tensors, not slices
    assert any(isinstance(tap.rows, torch.Tensor) for tap in blocks[0].taps1 + taps)
    assert prefix == 0 or any(tap.pad_outputs is not None for tap in taps)
    shapes = (blocks[0].n_out2, 2, 2), (3, 2, 2), (max(prefix, 1), 2)
    inputs = [random64(*shape, seed=1) for shape in shapes]
    assert gradcheck(lambda *given: CausalConv.apply(*given, taps, blocks[1].n_out1), inputs)


@given(
    dilations=DILATIONS,
    length=st.integers(1, 24),
    prefix=st.integers(0, 22),
    more=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_nothing_is_computed_for_padding_that_all_share(dilations, length, prefix, more, seed):
    """Values and gradients are those of computing everything, in every way of calling."""
    prefix = min(prefix, length - 1)
    model = lively(small_model(12, 4, dilations, seed=seed)).double()
    sequences = random_sequences(3, length, 12, seed)
    sequences[:, :prefix] = 0
    weights, parameters = random64(length - prefix, 3, 4, seed=seed), list(model.parameters())

    def slopes(hidden):
        return grad((hidden * weights[-len(hidden) :]).sum(), parameters, retain_graph=True)

    shared = model.padding_inputs(prefix + more) if prefix + more else None
    everything = model.hidden(sequences)[prefix:]
    for ours, theirs in (
        (model.hidden(sequences, prefix), everything),
        (model.hidden(sequences, prefix, shared), everything),
        (model.last_hidden(sequences)[None], everything[-1:]),
        (model.last_hidden(sequences, prefix)[None], everything[-1:]),
        (model.last_hidden(sequences, prefix, shared)[None], everything[-1:]),
    ):
        assert_close(ours, theirs, rtol=1e-11, atol=1e-12)
        assert_close(slopes(ours), slopes(theirs), rtol=1e-8, atol=1e-10)


def test_the_cone_reads_only_what_it_needs():
    rows, blocks = receptive_cone((1,), 20, True, 0, CPU)
    assert list(range(20))[rows] == list(range(13, 20))  # back by up to 2 * 2 + 2 * 1
    # Positions 15, 17, 19, then 19:
    assert [(block.n_out1, block.n_out2) for block in blocks] == [(3, 1)]
    rows, _ = receptive_cone((4,), 30, True, 0, CPU)
    assert rows.tolist() == [5, 9, 13, 17, 21, 25, 29]


@pytest.mark.parametrize(("dilations", "items"), [((1,), 7), ((1, 4), 31), ((1, 2, 1), 25)])
def test_the_receptive_field_is_what_the_last_position_reads(dilations, items):
    model = lively(small_model(12, 4, dilations)).double()
    assert model.config.receptive_field == items
    before = random_sequences(1, items + 1, 12).clamp_min(1)
    for position, reads in ((0, False), (1, True)):
        after = before.clone()
        after[:, position] = before[:, position] % 12 + 1
        same = torch.equal(model.last_hidden(before), model.last_hidden(after))
        assert same != reads


def test_initial_values():
    model = NextItNet(ModelConfig(64, (1,)), 500, rng())
    counts = np.arange(400) % 3  # of the labels
    model.add_output("T1", counts, rng(1))
    values = dict(model.named_parameters())
    norms = {f"blocks.0.norm{n}.{p}" for n in (1, 2) for p in ("weight", "bias")}
    kernels = {"blocks.0.kernel1", "blocks.0.kernel2"}
    layers = {"outputs.T1.weight", "outputs.T1.bias"}
    assert set(values) == {"embedding"} | norms | kernels | layers  # convolutions have no bias
    assert values["embedding"].shape == (501, 64)
    deviations = {"embedding": 0.02, "outputs.T1.weight": 0.01}
    deviations |= dict.fromkeys(kernels, 0.02 * 0.8796)  # truncated at two of them
    for name, deviation in deviations.items():
        assert values[name].std().item() == pytest.approx(deviation, rel=0.03), name
        assert abs(values[name].mean().item()) < 5 * deviation / values[name].numel() ** 0.5, name
    assert all(0.039 < values[kernel].abs().max() <= 0.04 for kernel in kernels)
    assert values["embedding"].abs().max() > 0.06
    bias = values["outputs.T1.bias"].detach()  # add-one smoothed log frequencies, less their mean
    np.testing.assert_allclose((bias - bias[0])[:3], np.log([1, 2, 3]), rtol=1e-6)
    assert abs(bias.mean().item()) < 1e-6
    assert all((values[n] == n.endswith("weight")).all() for n in norms)
    assert model.blocks[0].norm1.eps == model.blocks[0].norm2.eps == 1e-8


def test_the_separator_is_one_more_input_for_later_tasks_only():
    plain, marked = (
        lively(small_model(9, 4, (1, 2), separator=flag)).double() for flag in (False, True)
    )
    sequences = random_sequences(4, 7, 9)
    assert_close(marked.user_vectors(sequences), plain.hidden(F.pad(sequences, (0, 1)))[-1])
    assert torch.equal(plain.user_vectors(sequences), plain.last_hidden(sequences))
    assert torch.equal(marked.last_hidden(sequences), plain.last_hidden(sequences))
    assert not torch.allclose(marked.user_vectors(sequences), plain.user_vectors(sequences))
