"""The training loop: repeatable to the last bit, exact in what it freezes and in what it keeps."""

import itertools
from copy import deepcopy
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from helpers import FAST, ROWS, STEPS, WAYS, rng, small_model, small_stream, state_of, with_outputs
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from conure_lib.config import TrainConfig
from conure_lib.data.stream import TRAIN, VALIDATION
from conure_lib.errors import VerificationError
from conure_lib.models import padding
from conure_lib.training import loop, objectives
from conure_lib.training.batches import Batches, SequenceBatches, WithT1, kind_of, shuffled
from conure_lib.training.determinism import seeded
from conure_lib.training.loop import capped, fit

pytestmark = pytest.mark.numerics
STREAM = small_stream()
ONE_STEP = TrainConfig(1, 0.01, batch_size=10_000, optimizer="sgd", final_rate=0.0)
TASKS = pytest.mark.parametrize("task", ["T1", "T2", "T4"])


def fresh(task="T1", stream=STREAM):
    model = small_model(stream.n_items)
    model.add_output(task, np.ones(stream[task].n_labels), rng(5))
    return model


def fitted(task="T1", config=FAST, seed=1, stream=STREAM, trainable=None, model=None, **hooks):
    """Train a fresh small model on one task; return it and its history."""
    model = model or fresh(task, stream)
    if trainable is None:
        trainable = dict.fromkeys(n for n, _ in model.named_parameters())
    return model, fit(model, stream, stream[task], config, trainable, seed, **hooks)


def trained_once(task, config):
    """All parameters before and after a single step."""
    model = fresh(task)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    fitted(task, config, model=model)
    return before, dict(model.named_parameters())


CASES = [("T1", FAST), ("T2", FAST), ("T4", replace(FAST, l2=0.1)), STEPS["sampled"], STEPS["BPR"]]
CASES = [(task, replace(c, optimizer=o)) for o in ("adam", "sgd") for task, c in CASES]
CASES += [(task, replace(FAST, **ROWS)) for task in ("T1", "T2")]


@pytest.mark.parametrize(("task", "config"), CASES)
def test_the_same_seed_gives_the_same_bits(task, config):
    outcomes = []
    for seed, global_seed in ((1, 1), (1, 2), (2, 1)):
        torch.manual_seed(global_seed)  # which plays no part
        np.random.seed(global_seed)  # noqa: NPY002
        model, history = fitted(task, config, seed)
        outcomes.append((state_of(model), repr(history)))
    one, same, other = outcomes
    assert one == same
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_seeds_for_different_purposes_are_independent():
    purposes = ((1, "T1"), (1, "T2"), (2, "T1"), (1, "T1", 1), (1, "T1", 2))
    states = [seeded(*p).initial_seed() for p in purposes]
    assert len(set(states)) == 5
    assert seeded(1, "T1", 2).initial_seed() == states[-1]


@TASKS
def test_a_share_of_the_training_data_is_all_that_is_used(task):
    """The same as training on the thinned task; validation is that of the whole task."""
    thinned = STREAM[task].thinned(0.25)
    tasks = tuple(thinned if t.name == task else t for t in STREAM.tasks)
    one, first = fitted(task, replace(FAST, share=0.25))
    two, second = fitted(task, stream=replace(STREAM, tasks=tasks))
    assert (state_of(one), repr(first)) == (state_of(two), repr(second))
    assert thinned.rows(VALIDATION).tolist() == STREAM[task].rows(VALIDATION).tolist()


def followed(config, validation, monkeypatch):
    """Train T2 with these validation values; return its history, models by epoch, and the last."""
    values, seen = iter(validation), {}
    monkeypatch.setattr(Batches, "validation", lambda _: next(values))
    model, history = fitted("T2", config, on_epoch=lambda m, n: seen.update({n: deepcopy(m)}))
    assert [epoch.number for epoch in history] == [*seen] == list(range(len(history)))
    assert [epoch.validation for epoch in history] == list(validation[: len(history)])
    assert len({repr(state_of(one)) for one in seen.values()}) == len(seen)  # each epoch changed it
    return history, seen, model


@pytest.mark.parametrize(
    ("validation", "patience", "kept", "last"),
    [
        ((0.9, 0.1, 0.2, 0.3), 1, 3, 3),  # the untrained state never counts
        ((0.0, 0.3, 0.2, 0.1), 9, 1, 3),
        ((0.0, 0.3, 0.2, 0.1), 2, 1, 3),
        ((0.0, 0.3, 0.2, 0.4), 1, 1, 2),
        ((0.0, 0.2, 0.2, 0.2), 2, 1, 3),  # equal is not better
        ((0.0, 0.1, 0.3, 0.2), 1, 2, 3),
        ((0.0, 0.0, 0.0, 0.0), 3, 1, 3),
    ],
)
def test_the_best_epochs_parameters_stay(validation, patience, kept, last, monkeypatch):
    config = replace(FAST, epochs=3, patience=patience)
    history, seen, model = followed(config, validation, monkeypatch)
    assert len(history) == last + 1
    assert max(e.number for e in history if e.best) == kept
    assert state_of(model) == state_of(seen[kept])
    assert np.isnan(history[0].loss)
    assert not history[0].best


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(
    ("validation", "kept", "phases", "ended"),
    [
        # (epoch 0, phase one ..., phase two ...) with at most three epochs each and patience 2
        ((0.0, 0.5, 0.2, 0.1, 0.3, 0.2), 1, (1, 1, 1, 2, 2), []),
        ((0.0, 0.1, 0.2, 0.1, 0.3, 0.2, 0.1), 4, (1, 1, 1, 2, 2, 2), [1]),
        ((0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 6, (1, 1, 1, 2, 2, 2), [1, 2]),
        ((0.0, 0.3, 0.2, 0.2, 0.2, 0.4, 0.3), 5, (1, 1, 1, 2, 2, 2), [2]),
    ],
)
def test_a_second_phase_goes_on_from_the_best_epoch_at_a_lower_rate(
    validation, kept, phases, ended, optimizer, monkeypatch
):
    config = replace(FAST, epochs=3, patience=2, final_rate=0.25, optimizer=optimizer)
    history, seen, model = followed(config, validation, monkeypatch)
    assert tuple(epoch.phase for epoch in history[1:]) == phases
    assert max(epoch.number for epoch in history if epoch.best) == kept
    assert capped(history, 2) == ended
    assert state_of(model) == state_of(seen[kept])
    # Phase two starts with an epoch at that rate, of the next order, from phase one's best epoch.
    begun = phases.count(1)
    start = seen[max(epoch.number for epoch in history[: begun + 1] if epoch.best)]
    batches = Batches(start, STREAM, STREAM["T2"], replace(config, learning_rate=0.0025), 1)
    everything = dict.fromkeys(n for n, _ in start.named_parameters())
    next(loop.epochs(batches, everything, first=begun + 1))
    assert state_of(start) == state_of(seen[begun + 1])


def test_an_extra_loss_adds_its_gradient_once_a_step():
    """A penalty on all weights, as of EWC; and what a batch is told of: its instances."""
    seen, (before, plain) = [], trained_once("T2", ONE_STEP)

    def penalty(model, batch):
        seen.append(batch)
        return sum((p**2).sum() for p in model.parameters()) / 2

    model = fresh("T2")
    _, history = fitted("T2", ONE_STEP, model=model, extra=penalty)
    for name, parameter in model.named_parameters():
        expected = plain[name] - ONE_STEP.learning_rate * before[name]
        torch.testing.assert_close(parameter, expected, rtol=1e-5, atol=1e-7)
    (batch,) = seen
    assert sorted(batch) == STREAM["T2"].rows(TRAIN).tolist()
    _, without = fitted("T2", ONE_STEP)
    size = sum((p**2).sum().item() for p in before.values()) / 2
    assert history[1].loss == pytest.approx(without[1].loss + size, rel=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_dropout_zeroes_entries_of_vectors_anew_and_keeps_their_mean(rate, monkeypatch):
    layer, config = fresh("T2").outputs["T2"], replace(FAST, dropout=rate)
    objective = objectives.Objective(layer, STREAM, STREAM["T2"], config, seeded(1, "dropout"))
    monkeypatch.setattr(objectives, "softmax_loss", lambda vectors, *_: vectors)
    one, other = (objective(torch.ones(4000, 8), None, None) for _ in range(2))
    assert set(one.unique().tolist()) == ({0.0, 2.0} if rate else {1.0})
    assert (one == 0).float().mean().item() == pytest.approx(rate, abs=0.02)
    assert torch.equal(one, other) == (rate == 0)


@TASKS
def test_l2_acts_on_the_output_embedding_only(task):
    before, plain = trained_once(task, ONE_STEP)
    _, shrunk = trained_once(task, replace(ONE_STEP, l2=0.5))
    weight = f"outputs.{task}.weight"
    expected = plain[weight] - ONE_STEP.learning_rate * 0.5 * before[weight]
    torch.testing.assert_close(shrunk[weight], expected, rtol=1e-5, atol=1e-8)
    assert not torch.equal(shrunk[weight], plain[weight])
    assert all(torch.equal(shrunk[name], plain[name]) for name in before if name != weight)


def test_a_step_follows_the_gradient_of_the_mean_loss():
    before, after = trained_once("T4", ONE_STEP)
    model, task = fresh("T4"), STREAM["T4"]
    rows = task.rows(TRAIN)
    vectors = model.hidden(torch.from_numpy(STREAM.sequences[task.users[rows]]).long())[-1]
    F.cross_entropy(model.outputs["T4"](vectors), torch.from_numpy(task.labels[rows])).backward()
    for name, parameter in model.named_parameters():
        moved = (before[name] - after[name]) / ONE_STEP.learning_rate
        torch.testing.assert_close(moved, parameter.grad, rtol=1e-2, atol=5e-4)


def test_updates_by_rows_are_adam_on_the_rows_used():
    config = replace(ONE_STEP, loss="sampled-softmax", negatives=0.3, learning_rate=9.0)
    before, plain = trained_once("T1", config)
    by_rows = {"optimizer": "adam", "table_updates": "rows", "learning_rate": 0.01}
    _, after = trained_once("T1", replace(config, **by_rows))
    for name in before:  # Adam's first step is the gradient's sign but for eps
        gradient = (before[name] - plain[name]) / 9.0
        eps = 1e-8 * (1000**0.5 if name in ("embedding", "outputs.T1.weight") else 1)
        expected = before[name] - 0.01 * gradient / (gradient.abs() + eps)
        torch.testing.assert_close(after[name], expected, rtol=0, atol=1e-3)

    model, _ = fitted("T1", replace(FAST, **ROWS, batch_size=8, share=0.2))
    assert model.sparse_embedding is False
    rows = STREAM["T1"].thinned(0.2).rows(TRAIN)
    unseen = ~np.isin(np.arange(1, STREAM.n_items + 1), STREAM.sequences[rows])
    assert unseen.any()
    assert torch.equal(model.embedding[1:][unseen], before["embedding"][1:][unseen])


# --- freezing is exact ---


@pytest.mark.parametrize("way", WAYS)
@TASKS
def test_frozen_entries_keep_their_bits(task, way):
    model = fresh(task)
    kernel, layer = "blocks.0.kernel1", f"outputs.{task}.weight"
    mask = torch.rand(3, 8, 8, generator=rng()) < 0.4
    with torch.no_grad():  # zeros of both signs must stay what they are
        model.blocks[0].kernel1.view(-1)[:40] = torch.tensor([0.0, -0.0]).repeat(20)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    config = replace(FAST, epochs=3, **WAYS[way])
    fitted(task, config, model=model, trainable={kernel: mask, layer: None})
    for name, parameter in model.named_parameters():
        moved = before[name].view(torch.int32) != parameter.view(torch.int32)
        if name == kernel:
            assert not moved[~mask].any()
            assert moved[mask].float().mean() > 0.8
        elif name == layer:
            assert moved.float().mean() > 0.8
        else:
            assert not moved.any(), name
    assert not any(p.requires_grad for p in model.parameters())


def with_old_state(make):
    """An optimiser that took a step while everything could move, as one kept from before."""

    def optimizer(parameters):
        made, values = make(parameters), [p.detach().clone() for p in parameters]
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        made.step()
        with torch.no_grad():
            for parameter, value in zip(parameters, values, strict=True):
                parameter.copy_(value)
        return made

    return optimizer


INEXACT = {
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
    "Adam with decay": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.01),
    "momentum kept": with_old_state(lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
    "Adam kept": with_old_state(lambda p: torch.optim.Adam(p, lr=0.01)),
}


@pytest.mark.parametrize("optimizer", INEXACT)
def test_optimisers_that_do_not_freeze_exactly_are_found(optimizer, monkeypatch):
    mask = torch.rand(3, 8, 8, generator=rng()) < 0.4
    trainable = {"blocks.0.kernel1": mask, "outputs.T2.weight": None}
    fitted("T2", trainable=trainable)  # the library's own passes
    monkeypatch.setattr(loop, "fresh_optimizers", lambda _, rate, p, __: [INEXACT[optimizer](p)])
    with pytest.raises(VerificationError, match=r"frozen entries of blocks\.0\.kernel1"):
        fitted("T2", trainable=trainable)


def test_a_single_flipped_bit_of_a_frozen_tensor_is_found():
    def flip(model, number):
        if number == 1:
            with torch.no_grad():
                model.blocks[0].norm1.bias[3] = -0.0

    with pytest.raises(VerificationError, match=r"norm1\.bias"):
        fitted("T2", trainable={"outputs.T2.weight": None}, on_epoch=flip)


# --- losses of batches ---


def test_an_infinite_loss_is_an_error(monkeypatch):
    monkeypatch.setattr(objectives, "softmax_loss", lambda vectors, *_: vectors.sum() * np.inf)
    with pytest.raises(FloatingPointError, match=r"T2: the loss is (inf|nan)"):
        fitted("T2")


@pytest.mark.parametrize("task", ["T2", "T4"])
def test_vectors_of_a_frozen_backbone_may_be_kept(task):
    """FineSmax computes each user's vector once: the same as computing it at every step."""
    own = {n: None for n, _ in fresh(task).named_parameters() if n.startswith("outputs.")}
    quick, history = fitted(task, trainable=own)
    slow, again = fitted(task, trainable=own, kind=Batches)
    for one, other in zip(quick.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose([e.loss for e in history], [e.loss for e in again], rtol=1e-3)


@given(
    users=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    per_user=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_an_order_holds_every_row_once_and_users_side_by_side(users, per_user, seed):
    users, rows = np.array(users), np.arange(len(users))
    rows = rows[rows % 3 > 0] if len(rows) > 3 else rows
    of = users[rows]
    order = shuffled(rows, of, per_user, rng(seed))
    assert sorted(order) == sorted(rows)
    runs = [(user, len(list(run))) for user, run in itertools.groupby(users[order])]
    for user in set(of):  # a user's groups may meet by chance, never break
        groups = [n for u, n in runs if u == user]
        assert sum(-(-n // per_user) for n in groups) == -(-int((of == user).sum()) // per_user)


@pytest.mark.parametrize("per_user", [1, 3])
@TASKS
def test_an_epoch_visits_every_training_row_once(task, per_user):
    config = replace(FAST, batch_size=7, labels_per_user=per_user)
    batches = Batches(fresh(task), STREAM, STREAM[task], config, 1)
    first, second, again = (np.concatenate(batches.epoch(n)).tolist() for n in (1, 2, 1))
    assert sorted(first) == sorted(second) == STREAM[task].rows(TRAIN).tolist()
    assert first == again
    assert first != second
    sizes = [len(batch) for batch in batches.epoch(1)]
    assert len(sizes) == -(-len(first) // 7)
    assert set(sizes[:-1]) == {7}


def test_the_mean_loss_weighs_every_instance_the_same(monkeypatch):
    seen = []

    def loss(vectors, *_):
        seen.append(len(vectors))
        return vectors.sum() * 0 + len(seen)

    monkeypatch.setattr(objectives, "softmax_loss", loss)
    _, history = fitted("T2", replace(FAST, epochs=1, batch_size=50))
    assert len(set(seen)) > 1  # the last batch is smaller
    assert history[1].loss == pytest.approx(np.average(range(1, len(seen) + 1), weights=seen))


def test_padding_is_no_training_example():
    """T1 learns every item after an item, and nothing of what precedes the first."""
    stream = small_stream(half_full=0.9, length=9)
    task, model = stream["T1"], fresh().double()
    batches = SequenceBatches(model, stream, task, ONE_STEP, 1)
    (batch,) = batches.epoch(1)
    hidden = model.hidden(torch.from_numpy(stream.sequences).long())
    expected = []
    for row, at in itertools.product(task.rows(TRAIN), range(1, 9)):
        if stream.sequences[row, at - 1]:
            scores = model.outputs["T1"](hidden[at - 1, row])
            expected.append(scores.logsumexp(0) - scores[int(stream.sequences[row, at]) - 1])
    losses, n_terms = zip(*batches.losses(batch), strict=True)
    assert sum(n_terms) == len(expected) < 8 * len(task.rows(TRAIN))
    torch.testing.assert_close(sum(losses), torch.stack(expected).mean())


@pytest.mark.parametrize("separator", [False, True])
@pytest.mark.parametrize("kind", [*STEPS, "joint, sampled"])
def test_micro_batches_and_buckets_change_nothing(kind, separator, monkeypatch):
    """Losses and gradients in float64 are those of whole batches with all their padding."""
    name, config = STEPS[kind.removesuffix(", sampled")]
    if kind.endswith("sampled"):
        config = replace(config, loss="sampled-softmax")
    config = replace(config, batch_size=24, labels_per_user=1)
    stream = small_stream(half_full=0.8, length=9)
    model = with_outputs(stream, separator=separator).double()
    model.sparse_embedding = config.table_updates == "rows"
    joint = WithT1(stream["T1"], config, 0.5) if kind.startswith("joint") else None
    trainable, seen = dict.fromkeys(n for n, _ in model.named_parameters()), []

    def steps():
        batches = kind_of(stream[name], trainable)(model, stream, stream[name], config, 1, joint)
        for batch in batches.epoch(1):
            model.zero_grad(set_to_none=True)
            losses = []
            for loss, _ in batches.losses(batch):
                loss.backward()
                losses.append(loss.item())
            slopes = [None if p.grad is None else p.grad.to_dense() for p in model.parameters()]
            yield sum(losses), slopes
            seen.append(len(losses))

    monkeypatch.setattr(padding, "MAX_BUCKETS", 1)
    whole = list(steps())
    assert set(seen) == {1}
    for limit, value in (("MAX_BUCKETS", 8), ("MIN_SAVED", 1), ("MIN_MICRO_BATCH", 7)):
        monkeypatch.setattr(padding, limit, value)
    monkeypatch.setattr(padding, "CACHED_ELEMENTS", 1)
    for (one, slopes), (other, others) in zip(steps(), whole, strict=True):
        assert one == pytest.approx(other, rel=1e-10)
        for a, b in zip(slopes, others, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    assert max(seen) > 2


@pytest.mark.parametrize(("long", "bars"), [(100, 0), (-1, 1)])
def test_an_epoch_has_a_bar_only_if_it_takes_long(long, bars, monkeypatch):
    """A thousand bars that are not drawn would fill the queue of a notebook's messages."""
    monkeypatch.setattr(loop, "LONG_EPOCH", long)
    monkeypatch.setattr(loop, "tqdm", made := Mock())
    assert list(loop.with_bar(["a", "b", "c"], "T1")) == ["a", "b", "c"]
    assert made.call_count == bars
    assert made.return_value.update.call_count == 3 * bars
    assert made.return_value.close.call_count == bars
