"""Training in bfloat16: close to float32, low in the products alone, and never in what is measured."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from helpers import (
    FAST,
    STEPS,
    learner_of,
    lively,
    random_sequences,
    rng,
    small_model,
    small_stream,
    small_study,
    state_of,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from conure_lib import train
from conure_lib.actions import ranks_on_test
from conure_lib.config import PRECISIONS
from conure_lib.data.stream import TEST
from conure_lib.evaluate import evaluate, metric_of
from conure_lib.experiment import Study
from conure_lib.layers import CausalConv, Patch, receptive_cone
from conure_lib.losses import bpr_loss, sampled_softmax_loss, softmax_loss
from conure_lib.numerics import forwards_in
from conure_lib.train import epochs, fit

CPU = torch.device("cpu")
STREAM = small_stream()
ROUNDING = 2.0**-8  # of a bfloat16: half the largest relative step between two neighbours
PRODUCTS = {"mm", "t", "transpose", "permute", "view", "_unsafe_view", "reshape", "expand", "slice", "select"}
CASTS = {"_to_copy", "copy_", "index", "index_select", "clone", "detach", "empty_like", "new_empty"}
SUMS = {"add", "add_", "zeros_like"}


def in_precision(precision, make):
    """What ``make`` gives, computed as a step of training computes its loss."""
    (made,) = forwards_in(precision, iter_of(make), CPU)
    return made


def iter_of(make):
    yield make()


def both(make, inputs):
    """Value and gradients in float32 and in bfloat16, of a random sum of what ``make`` gives."""
    found = []
    for precision in PRECISIONS:
        value = in_precision(precision, make)
        assert value.dtype == torch.float32
        weights = torch.randn(value.shape, generator=rng(8))
        slopes = torch.autograd.grad((value * weights).sum(), inputs)
        assert all(slope.dtype == torch.float32 for slope in slopes)
        found.append([value.detach(), *(slope.to_dense() for slope in slopes)])
    return zip(*found, strict=True)


def off(low, full):
    """The largest difference as a share of the root of the mean square."""
    return ((low - full).abs().max() / full.square().mean().sqrt()).item()


def assert_close_but_low(pairs, bound):
    pairs = list(pairs)
    assert max(off(low, full) for full, low in pairs) < bound
    assert all(off(low, full) > 0 for full, low in pairs)


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("prefix", [0, 5])
def test_a_convolution_is_close_to_float32(last_only, prefix):
    _, blocks = receptive_cone((1, 4), 14, last_only, prefix, CPU)
    plan, n_out = blocks[1].first, blocks[1].n_first
    shapes = (blocks[0].n_second, 6, 32), (3, 32, 32), (max(prefix, 1), 32)
    inputs = [torch.randn(*shape, generator=rng(n), requires_grad=True) for n, shape in enumerate(shapes)]
    inputs = inputs[: 3 if prefix else 2]
    pads = inputs[2] if prefix else None
    pairs = both(lambda: CausalConv.apply(inputs[0], inputs[1], pads, plan, n_out), inputs)
    assert_close_but_low(pairs, 8 * ROUNDING)


@pytest.mark.parametrize("kind", ["serial", "parallel"])
def test_a_patch_is_close_to_float32(kind):
    patch = lively(Patch(32, kind, rng()))
    z = torch.randn(9, 4, 32, generator=rng(1), requires_grad=True)
    pairs = list(both(lambda: patch(z), [z, *patch.parameters()]))
    assert max(off(low, full) for full, low in pairs) < 16 * ROUNDING  # a ReLU may flip where its input is near 0


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("last_only", [False, True])
def test_a_whole_backbone_is_close_to_float32(last_only, padded):
    model = lively(small_model(40, 32, (1, 4)))
    items = random_sequences(9, 12, 40)
    items[:, :4] = 0
    forward = model.last_hidden if last_only else model.hidden
    pairs = both(lambda: forward(items, 4 if padded else 0), list(model.parameters()))
    (value, *slopes) = ((low - full).norm() / full.norm() for full, low in pairs)
    assert 0 < value < 0.01
    assert 0 < max(slopes) < 0.25  # a ReLU whose input is near 0 may flip


def loss_case(rows=300, width=32, n=400):
    shapes = ((rows, width), (n, width), (n,))
    vectors, weight, bias = (torch.randn(s, generator=rng(i)) for i, s in enumerate(shapes))
    inputs = vectors, weight * 0.3, bias
    return *(x.requires_grad_() for x in inputs), torch.randint(n, (rows,), generator=rng(9))


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("chunk", [50, 1 << 18])  # rows at a time: 50 of 300, all
def test_softmax_is_close_to_float32(with_bias, chunk, monkeypatch):
    monkeypatch.setattr("conure_lib.losses.CHUNK_ELEMENTS", 400 * chunk)
    monkeypatch.setattr("conure_lib.losses.MIN_CHUNK_ROWS", 1)
    monkeypatch.setattr("conure_lib.losses.LARGE_CHUNK_ROWS", 1)
    vectors, weight, bias, targets = loss_case()
    inputs = [vectors, weight, bias] if with_bias else [vectors, weight]
    pairs = both(lambda: softmax_loss(vectors, weight, bias if with_bias else None, targets), inputs)
    assert_close_but_low(pairs, 16 * ROUNDING)


@pytest.mark.parametrize("rows_only", [False, True])
def test_sampled_softmax_is_close_to_float32(rows_only):
    vectors, weight, bias, targets = loss_case()
    negatives, log_expected = torch.randperm(400, generator=rng(3))[:90], torch.rand(400, generator=rng(4)).log()
    given = (targets, negatives, log_expected, rows_only)
    pairs = both(lambda: sampled_softmax_loss(vectors, weight, bias, *given), [vectors, weight, bias])
    assert_close_but_low(pairs, 32 * ROUNDING)


def test_bpr_has_no_product_and_keeps_its_bits():
    vectors, weight, _, targets = loss_case()
    negatives = (targets + 1) % 400
    for full, low in both(lambda: bpr_loss(vectors, weight, targets, negatives), [vectors, weight]):
        assert torch.equal(full, low)


def test_large_scores_stay_finite_in_bfloat16():
    vectors, weight, bias, targets = loss_case()
    negatives = torch.arange(0, 400, 2)
    for loss in (
        lambda g, w: softmax_loss(g, w, bias, targets),
        lambda g, w: sampled_softmax_loss(g, w, bias, targets, negatives, torch.zeros(400)),
    ):
        found = in_precision("bfloat16", lambda loss=loss: loss(vectors * 100, weight * 100))
        assert found.isfinite()
        assert all(g.isfinite().all() for g in torch.autograd.grad(found, (vectors, weight)))


def test_a_backward_pass_follows_its_forward_pass_wherever_it_runs():
    """Inside a context of either precision, or in none: the same bits."""
    model = lively(small_model(40, 16, (1, 4)))
    model.add_output("T1", 40, "sequence", rng())
    items, targets = random_sequences(9, 12, 40), torch.randint(40, (108,), generator=rng(1))
    layer = model.outputs["T1"]

    def loss():
        return softmax_loss(model.hidden(items).flatten(0, 1), layer.weight, layer.bias, targets)

    for precision in PRECISIONS:
        value = in_precision(precision, loss)
        slopes = partial(torch.autograd.grad, value, list(model.parameters()), retain_graph=True)
        found = [slopes(), *(in_precision(around, slopes) for around in PRECISIONS)]
        for one, *others in zip(*found, strict=True):
            assert all(torch.equal(one, other) for other in others)


class LowOperators(TorchDispatchMode):
    """Names of the operators that read or give bfloat16."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        touched = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        if any(x.dtype == torch.bfloat16 for x in touched):
            self.names.add(operator.name().partition("::")[2].partition(".")[0])
        return result


@pytest.mark.parametrize("kind", STEPS)
def test_nothing_but_products_is_low(kind):
    name, config = STEPS[kind]
    model, trainable, joint = learner_of(kind, STREAM, patched=kind == "ranking")
    seen = {}
    for precision in PRECISIONS:
        with LowOperators() as low:
            next(epochs(model, STREAM, STREAM[name], config, trainable, 1, joint, precision))
        seen[precision] = low.names
    assert seen["float32"] == set()
    assert "mm" in seen["bfloat16"]
    assert seen["bfloat16"] <= PRODUCTS | CASTS | SUMS
    tensors = [x for p in model.parameters() for x in (p, p.grad) if x is not None]
    assert {x.dtype for x in tensors} == {torch.float32}


@pytest.mark.parametrize("kind", STEPS)
def test_the_same_seed_gives_the_same_bits_in_bfloat16(kind):
    name, config = STEPS[kind]
    states = []
    for precision in ("bfloat16", "bfloat16", "float32"):
        model, trainable, joint = learner_of(kind, STREAM)
        fit(model, STREAM, STREAM[name], config, trainable, 1, joint=joint, precision=precision)
        states.append(state_of(model))
    assert states[0] == states[1]
    assert states[0] != states[2]


@pytest.mark.parametrize("kind", ["sequence", "sampled", "ranking", "classification"])
def test_a_run_learns_as_well_as_in_float32(kind):
    name, config = STEPS[kind]
    config, stream = replace(config, epochs=8, patience=8), small_stream(n_users=400, structure=0.9)
    losses, metrics = [], []
    for precision in PRECISIONS:
        model, names, _ = learner_of(kind, stream, 16)
        history = fit(model, stream, stream[name], config, names, 1, precision=precision)
        losses.append([e.loss for e in history[1:]])
        metrics.append(max(e.validation for e in history))
    assert losses[0][-1] < 0.95 * losses[0][0]  # there is something to learn
    np.testing.assert_allclose(*losses, rtol=0.05)
    if name == "T1":  # validated at all positions; the others have too few instances here
        assert min(metrics) > 0.7
        assert metrics[0] == pytest.approx(metrics[1], abs=0.05)


def test_all_that_is_measured_is_float32(monkeypatch):
    """Every evaluation that training does stands outside, also while its epochs are at work."""
    seen, validator = [], train._validator

    def spied(*given, **options):
        validate = validator(*given, **options)

        def spy():
            with LowOperators() as low:
                value = validate()
            seen.append(low.names)
            return value

        return spy

    monkeypatch.setattr(train, "_validator", spied)
    model, trainable, _ = learner_of("ranking", STREAM)
    metrics = []

    def watch(changed, _):
        metrics.append(metric_of("ranking", evaluate(changed, STREAM, STREAM["T2"], TEST)))
        assert not torch.is_autocast_enabled("cpu")

    history = fit(model, STREAM, STREAM["T2"], FAST, trainable, 1, watch, precision="bfloat16")
    assert seen == [set()] * (FAST.epochs + 1) == [set()] * len(history)
    assert metric_of("ranking", evaluate(model, STREAM, STREAM["T2"], TEST)) in metrics[1:]


def test_a_study_in_bfloat16_has_the_ranks_of_its_weights_in_float32(root):
    """Given the same weights, neither ranks nor digests depend on the precision that they were trained in."""
    study = Study(small_study(precision="bfloat16"), STREAM)
    runs = [study.run(method, 1, ("T1", "T2")) for method in ("Conure", "FineSmax", "PeterRec", "MTL")]
    study.compute(runs)
    full = Study(small_study(), STREAM)
    for run in runs:
        stage, task = run.stages["T2"], STREAM["T2"]
        learner = stage.model()
        model = learner.for_task("T2") if run.method == "Conure" else learner.model
        assert ranks_on_test(model, STREAM, task)["T2"].tolist() == stage.ranks("T2").tolist()
        assert stage.record()["determined_by"]["precision"] == "bfloat16"
        assert stage.id != full.run(run.method, 1, ("T1", "T2")).stages["T2"].id
