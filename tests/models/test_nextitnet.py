"""NextItNet: convolution, receptive cone, shared padding, causality, initial values."""

import pytest
import torch
from helpers import lively, random_sequences, rng, small_model, state_of
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from conure_lib.config import ModelConfig
from conure_lib.models.convolution import CausalConv, receptive_cone
from conure_lib.models.nextitnet import UserModel

pytestmark = pytest.mark.numerics
CPU = torch.device("cpu")
SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 2, 1),
    (3, 1, 5, 4),
    (5, 2, 3, 2),
    (7, 3, 4, 1),
    (9, 2, 2, 4),
    (12, 1, 3, 8),
]
SHAPES += [(4, 2, 3, 7), (30, 2, 3, 8)]


def reference_conv(x, kernel, dilation):
    """[batch, position, k]: conv1d with zeros on the left only."""
    padded = F.pad(x.transpose(1, 2), (2 * dilation, 0))
    return F.conv1d(padded, kernel.permute(2, 1, 0), dilation=dilation).transpose(1, 2)


def conv_case(length, batch, width, dilation):
    """Input, kernel and the plan of one convolution over all positions (the first of a block's two)."""
    _, (block,) = receptive_cone((dilation,), length, False, 0, CPU)
    x = torch.randn(length, batch, width, dtype=torch.float64, generator=rng(1), requires_grad=True)
    kernel = torch.randn(3, width, width, dtype=torch.float64, generator=rng(2), requires_grad=True)
    return x, kernel, block.taps1, block.n_out1


@pytest.mark.parametrize(("length", "batch", "width", "dilation"), SHAPES)
def test_causal_convolution_is_conv1d_with_left_padding(length, batch, width, dilation):
    x, kernel, plan, n_out = conv_case(length, batch, width, dilation)
    ours = CausalConv.apply(x, kernel, None, plan, n_out)
    theirs = reference_conv(x.transpose(0, 1), kernel, dilation).transpose(0, 1)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weights = torch.randn(ours.shape, dtype=torch.float64, generator=rng(3))
    for a, b in zip(
        *(torch.autograd.grad((y * weights).sum(), (x, kernel)) for y in (ours, theirs)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("length", "batch", "width", "dilation"), SHAPES[:6])
def test_causal_convolution_passes_gradcheck(length, batch, width, dilation):
    x, kernel, plan, n_out = conv_case(length, batch, width, dilation)
    assert torch.autograd.gradcheck(
        lambda a, b: CausalConv.apply(a, b, None, plan, n_out), (x, kernel)
    )


@pytest.mark.parametrize("prefix", [0, 3, 6])
def test_a_cone_with_gaps_passes_gradcheck(prefix):
    _, blocks = receptive_cone((1, 4), 14, True, prefix, CPU)
    plan = blocks[1].taps1  # its taps read every fourth row: index tensors, not slices
    assert any(isinstance(tap.rows, torch.Tensor) for tap in blocks[0].taps1 + plan)
    assert prefix == 0 or any(tap.pad_outputs is not None for tap in plan)
    shapes = (blocks[0].n_out2, 2, 2), (3, 2, 2), (max(prefix, 1), 2)
    inputs = [
        torch.randn(*shape, dtype=torch.float64, generator=rng(1), requires_grad=True)
        for shape in shapes
    ]
    assert torch.autograd.gradcheck(
        lambda *given: CausalConv.apply(*given, plan, blocks[1].n_out1), inputs
    )


@given(
    dilations=st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple),
    length=st.integers(2, 24),
    prefix=st.integers(0, 22),
    more=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_nothing_is_computed_for_padding_that_all_share(dilations, length, prefix, more, seed):
    """Forward and gradients in float64 are those of the whole, in every way of calling."""
    prefix = min(prefix, length - 1)
    model = lively(small_model(12, 4, dilations, seed=seed)).double()
    sequences = random_sequences(3, length, 12, seed)
    sequences[:, :prefix] = 0
    weights = torch.randn(length - prefix, 3, 4, dtype=torch.float64, generator=rng(seed))
    parameters = list(model.parameters())

    def slopes(hidden):
        return torch.autograd.grad(
            (hidden * weights[-len(hidden) :]).sum(), parameters, retain_graph=True
        )

    pads = model.padding_inputs(prefix + more) if prefix + more else None
    whole = model.hidden(sequences)[prefix:]
    for ours, theirs in (
        (model.hidden(sequences, prefix), whole),
        (model.hidden(sequences, prefix, pads), whole),
        (model.last_hidden(sequences, prefix)[None], whole[-1:]),
        (model.last_hidden(sequences, prefix, pads)[None], whole[-1:]),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
        for one, other in zip(slopes(ours), slopes(theirs), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_a_gradient_is_only_made_where_it_is_wanted():
    x, kernel, plan, n_out = conv_case(5, 2, 3, 1)
    CausalConv.apply(x.detach(), kernel, None, plan, n_out).sum().backward()
    CausalConv.apply(x, kernel.detach(), None, plan, n_out).sum().backward()
    both = torch.autograd.grad(CausalConv.apply(x, kernel, None, plan, n_out).sum(), (x, kernel))
    assert torch.equal(x.grad, both[0])
    assert torch.equal(kernel.grad, both[1])


@given(
    dilations=st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple),
    length=st.integers(1, 24),
    seed=st.integers(0, 99),
)
def test_the_receptive_cone_is_the_last_position_of_the_whole(dilations, length, seed):
    model = lively(small_model(12, 4, dilations, seed=seed))
    sequences = random_sequences(3, length, 12, seed)
    with torch.no_grad():
        torch.testing.assert_close(
            model.last_hidden(sequences), model.hidden(sequences)[-1], rtol=1e-5, atol=1e-6
        )
    model.double()
    weights = torch.randn(3, 4, dtype=torch.float64, generator=rng(seed))
    parameters = list(model.parameters())
    cone = torch.autograd.grad((model.last_hidden(sequences) * weights).sum(), parameters)
    full = torch.autograd.grad((model.hidden(sequences)[-1] * weights).sum(), parameters)
    for one, other in zip(cone, full, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_cone_reads_only_what_it_needs():
    rows, blocks = receptive_cone((1,), 20, True, 0, CPU)
    assert list(range(20))[rows] == list(range(13, 20))  # back by up to 2 * 2 + 2 * 1, all of them
    assert [(block.n_out1, block.n_out2) for block in blocks] == [
        (3, 1)
    ]  # positions 15, 17, 19, then 19
    rows, _ = receptive_cone((4,), 30, True, 0, CPU)
    assert rows.tolist() == [5, 9, 13, 17, 21, 25, 29]


@given(
    dilations=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    length=st.integers(2, 16),
    at=st.integers(0, 15),
)
def test_causality(dilations, length, at):
    at %= length
    model = lively(small_model(12, 4, dilations))
    before = random_sequences(2, length, 12)
    after = before.clone()
    after[:, at] = before[:, at] % 12 + 1
    with torch.no_grad():
        old, new = model.hidden(before), model.hidden(after)
    assert torch.equal(old[:at], new[:at])
    assert not torch.equal(old[at:], new[at:])


@pytest.mark.parametrize(("dilations", "layers"), [((1,), 2), ((1, 4) * 4, 16), ((1, 4) * 6, 24)])
def test_number_of_convolution_layers(dilations, layers):
    kernels = small_model(5, 4, dilations).kernels()
    assert len(kernels) == layers
    assert all(kernel.shape == (3, 4, 4) for kernel in kernels.values())
    assert list(kernels)[:2] == ["blocks.0.kernel1", "blocks.0.kernel2"]


def test_initial_values():
    model = UserModel(ModelConfig(64, (1,)), 500, rng())
    for task, kind in (("T1", "sequence"), ("T2", "ranking"), ("T4", "classification")):
        model.add_output(task, 400, kind, rng(1))
    parameters = dict(model.named_parameters())
    norms = {f"blocks.0.norm{n}.{p}" for n in (1, 2) for p in ("weight", "bias")}
    kernels = {"blocks.0.kernel1", "blocks.0.kernel2"}
    layers = {f"outputs.{t}.weight" for t in ("T1", "T2", "T4")} | {
        "outputs.T1.bias",
        "outputs.T4.bias",
    }
    assert (
        set(parameters) == {"embedding"} | norms | kernels | layers
    )  # the convolutions have no bias
    assert parameters["embedding"].shape == (501, 64)
    for name, sd in (
        ("embedding", 0.02),
        *((k, 0.02 * 0.8796) for k in kernels),
        ("outputs.T1.weight", 0.01),
    ):
        values = parameters[name]
        assert values.std().item() == pytest.approx(sd, rel=0.03), name
        assert abs(values.mean().item()) < 5 * sd / values.numel() ** 0.5, name
    for kernel in kernels:  # a normal cut at two standard deviations of 0.02
        assert 0.039 < parameters[kernel].abs().max() <= 0.04
    assert parameters["embedding"].abs().max() > 0.06
    assert torch.equal(parameters["outputs.T1.bias"], torch.full((400,), 0.1))
    assert not parameters["outputs.T4.bias"].any()
    assert all(
        torch.equal(parameters[n], torch.full((64,), float(n.endswith("weight")))) for n in norms
    )
    assert model.blocks[0].norm1.eps == model.blocks[0].norm2.eps == 1e-8


def test_initial_values_depend_on_the_generator_alone():
    torch.manual_seed(1)
    one = state_of(small_model(seed=3))
    torch.manual_seed(2)
    assert state_of(small_model(seed=3)) == one
    assert state_of(small_model(seed=4)) != one


def test_scores_are_products_with_bias():
    model = small_model(5, 2)
    model.add_output("T4", 3, "classification", rng())
    layer = model.outputs["T4"]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.0]]))
        layer.bias.copy_(torch.tensor([0.0, 10.0, 100.0]))
        assert layer(torch.tensor([[2.0, 1.0]])).tolist() == [[4.0, 9.0, 106.0]]


def test_the_separator_is_one_more_input_for_later_tasks_only():
    plain, marked = (lively(small_model(9, 4, (1, 2), separator=s)) for s in (False, True))
    sequences = random_sequences(4, 7, 9)
    with torch.no_grad():
        appended = torch.cat([sequences, torch.zeros(4, 1, dtype=torch.int64)], 1)
        torch.testing.assert_close(marked.user_vectors(sequences), plain.hidden(appended)[-1])
        assert torch.equal(plain.user_vectors(sequences), plain.last_hidden(sequences))
        assert torch.equal(marked.last_hidden(sequences), plain.last_hidden(sequences))
        assert not torch.allclose(marked.user_vectors(sequences), plain.user_vectors(sequences))


def test_an_unknown_item_is_an_error():
    with pytest.raises(IndexError):
        small_model(9, 4).hidden(torch.tensor([[1, 10]]))
