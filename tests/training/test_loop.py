"""The training loop: repeatable to the last bit, exact in what it freezes, fair in what it keeps."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import FAST, ROWS, WAYS, lively, rng, small_model, small_stream, state_of
from hypothesis import given
from hypothesis import strategies as st

from conure_lib.config import OPTIMIZERS, T1_LOSSES, TrainConfig
from conure_lib.data.stream import PAD, TRAIN, UNUSED, VALIDATION
from conure_lib.models import padding
from conure_lib.training import batches as batches_module
from conure_lib.training import loop as train
from conure_lib.training import objectives
from conure_lib.training.batches import Batches, Joint, SequenceBatches, shuffled
from conure_lib.training.determinism import seeded
from conure_lib.training.loop import fit

STREAM = small_stream()
ONE_STEP = TrainConfig(epochs=1, batch_size=10_000, learning_rate=0.01, optimizer="sgd")


def fitted(task="T1", config=FAST, seed=1, stream=STREAM, trainable=None, model=None, **hooks):
    """Trains a fresh small model on one task; returns it and its history."""
    model = model or fresh(task, stream)
    trainable = (
        dict.fromkeys(n for n, _ in model.named_parameters()) if trainable is None else trainable
    )
    return model, fit(model, stream, stream[task], config, trainable, seed, **hooks)


def fresh(task="T1", stream=STREAM):
    model = small_model(stream.n_items)
    model.add_output(task, stream[task].n_labels, stream[task].kind, rng(5))
    return model


def trained_once(task, config):
    """All parameters before and after a single step."""
    model = fresh(task)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    fitted(task, config, model=model)
    return before, dict(model.named_parameters())


CASES = [
    ("T1", FAST),
    ("T1", replace(FAST, loss="sampled-softmax", negatives=0.3)),
    ("T2", FAST),
    ("T4", replace(FAST, l2=0.1)),
]
CASES = [(task, replace(config, optimizer=name)) for name in OPTIMIZERS for task, config in CASES]
CASES += [(task, replace(FAST, **ROWS)) for task in ("T1", "T2")]


@pytest.mark.parametrize(("task", "config"), CASES)
def test_the_same_seed_gives_the_same_bits(task, config):
    (one, first), (two, second), (other, third) = (fitted(task, config, seed) for seed in (1, 1, 2))
    assert state_of(one) == state_of(two)
    assert repr(first) == repr(second)
    assert state_of(other) != state_of(one)
    assert repr(third) != repr(first)


def test_seeds_for_different_purposes_are_independent():
    states = [
        seeded(*p).initial_seed()
        for p in ((1, "T1"), (1, "T2"), (2, "T1"), (1, "T1", 1), (1, "T1", 2))
    ]
    assert len(set(states)) == 5
    assert seeded(1, "T1", 2).initial_seed() == states[-1]


@pytest.mark.parametrize("task", ["T1", "T2", "T4"])
def test_a_share_of_the_training_data_is_all_that_is_seen(task, monkeypatch):
    """Every epoch visits the same rows; validation is that of the whole task."""
    seen, make, own = [], shuffled, STREAM[task]

    def spy(rows, *rest):
        seen.append(make(rows, *rest))
        return seen[-1]

    monkeypatch.setattr(batches_module, "shuffled", spy)
    validated, validation = [], train._validation
    monkeypatch.setattr(
        train, "_validation", lambda made: validated.append(made.task) or validation(made)
    )
    fitted(task, replace(FAST, share=0.25))
    expected = own.thinned(0.25).rows(TRAIN)
    assert len(seen) == FAST.epochs
    assert all(sorted(rows.tolist()) == expected.tolist() for rows in seen)
    assert [t.rows(VALIDATION).tolist() for t in validated] == [own.rows(VALIDATION).tolist()]


def mirrored(stream, task, share):
    """The stream with other items or labels wherever a share of the task's training part leaves them out."""
    first, own = stream.tasks[0], stream[task]
    unused = own.thinned(share).rows(UNUSED)
    sequences, labels = stream.sequences.copy(), own.labels.copy()
    labels[unused] = own.n_labels - 1 - labels[unused]
    if own is first:
        known = sequences[unused] != PAD
        sequences[unused] = np.where(known, stream.n_items + 1 - sequences[unused], PAD)
    tasks = tuple(replace(own, labels=labels) if t is own else t for t in stream.tasks)
    return replace(stream, sequences=sequences, tasks=tasks)


@pytest.mark.parametrize("task", ["T1", "T2", "T4"])
def test_what_a_share_leaves_out_plays_no_part(task):
    few, other = replace(FAST, share=0.25), mirrored(STREAM, task, 0.25)
    (one, first), (two, second) = fitted(task, few), fitted(task, few, stream=other)
    assert state_of(one) == state_of(two)
    assert repr(first) == repr(second)
    assert state_of(fitted(task)[0]) != state_of(
        fitted(task, stream=other)[0]
    )  # without the share it does


def test_the_global_random_state_plays_no_part():
    outcomes = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        outcomes.append(state_of(fitted("T2")[0]))
    assert outcomes[0] == outcomes[1]


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
    values = iter(validation)
    monkeypatch.setattr(train, "_validation", lambda _: lambda: next(values))
    seen = {}
    config = replace(FAST, epochs=3, patience=patience)
    model, history = fitted("T2", config, on_epoch=lambda m, n: seen.update({n: state_of(m)}))
    assert [e.number for e in history] == list(range(last + 1)) == sorted(seen)
    assert [e.validation for e in history] == list(validation[: last + 1])
    assert max(e.number for e in history if e.best) == kept
    assert state_of(model) == seen[kept]
    assert len(set(map(repr, seen.values()))) == last + 1  # every epoch changed something
    assert np.isnan(history[0].loss)
    assert not history[0].best


def test_the_validation_metric_is_that_of_the_parameters_kept():
    model, history = fitted("T2", replace(FAST, epochs=6, patience=6))
    best = max(e.validation for e in history[1:])
    task = STREAM["T2"]
    assert train._validation(Batches(model, STREAM, task, FAST, 1))() == best
    assert next(e for e in history if e.best and e.validation == best).number == max(
        e.number for e in history if e.best
    )


@pytest.mark.parametrize("task", ["T1", "T2", "T4"])
def test_l2_acts_on_the_output_embedding_only(task):
    before, plain = trained_once(task, ONE_STEP)
    _, shrunk = trained_once(task, replace(ONE_STEP, l2=0.5))
    weight = f"outputs.{task}.weight"
    for name in before:
        if name == weight:
            expected = plain[name] - ONE_STEP.learning_rate * 0.5 * before[name]
            torch.testing.assert_close(shrunk[name], expected, rtol=1e-5, atol=1e-9)
            assert not torch.equal(shrunk[name], plain[name])
        else:
            assert torch.equal(shrunk[name], plain[name]), name
            assert not torch.equal(plain[name], before[name]) or "norm" in name, name


def test_a_step_follows_the_gradient_of_the_mean_loss():
    before, after = trained_once("T4", ONE_STEP)
    model, task = fresh("T4"), STREAM["T4"]
    rows = task.rows(TRAIN)
    vectors = model.hidden(torch.from_numpy(STREAM.sequences[task.users[rows]]).long())[-1]
    loss = torch.nn.functional.cross_entropy(
        model.outputs["T4"](vectors), torch.from_numpy(task.labels[rows])
    )
    loss.backward()
    for name, parameter in model.named_parameters():
        moved = (before[name] - after[name]) / ONE_STEP.learning_rate
        torch.testing.assert_close(moved, parameter.grad, rtol=1e-2, atol=2e-4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("task", ["T1", "T2", "T4"])
def test_frozen_entries_keep_their_bits(task, way):
    model = fresh(task)
    kernel, layer = "blocks.0.kernel1", f"outputs.{task}.weight"
    mask = torch.rand(3, 8, 8, generator=rng()) < 0.4
    with torch.no_grad():  # zeros of both signs must stay what they are
        model.blocks[0].kernel1.view(-1)[:40] = torch.tensor([0.0, 1.0]).repeat(20)
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


def test_updates_by_rows_are_adam_on_the_rows_used():
    config = replace(ONE_STEP, loss="sampled-softmax", negatives=0.3, learning_rate=9.0)
    before, plain = trained_once("T1", config)
    _, after = trained_once(
        "T1", replace(config, optimizer="adam", table_updates="rows", learning_rate=0.01)
    )
    for (
        name
    ) in before:  # Adam's first step is the gradient's sign but for eps, which SparseAdam scales
        gradient = (before[name] - plain[name]) / 9.0
        eps = 1e-8 * (1000**0.5 if name in ("embedding", "outputs.T1.weight") else 1)
        expected = before[name] - 0.01 * gradient / (gradient.abs() + eps)
        torch.testing.assert_close(after[name], expected, rtol=0, atol=5e-4)

    model, _ = fitted("T1", replace(FAST, **ROWS, batch_size=8))
    assert model.sparse_embedding is False
    unseen = STREAM.item_counts() == 0
    assert unseen.any()
    assert torch.equal(model.embedding[1:][unseen], before["embedding"][1:][unseen])


def with_decay(config, parameters):
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.01)


def with_l2_decay(config, parameters):
    return torch.optim.Adam(parameters, lr=config.learning_rate, weight_decay=0.01)


def with_old_state(make):
    """An optimiser that took a step while everything could move, as one kept from an earlier task."""

    def optimizer(config, parameters):
        made = make(parameters)
        values = [p.detach().clone() for p in parameters]
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        made.step()
        with torch.no_grad():
            for parameter, value in zip(parameters, values, strict=True):
                parameter.copy_(value)
        return made

    return optimizer


@pytest.mark.parametrize(
    "optimizer",
    [
        with_decay,
        with_l2_decay,
        with_old_state(lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
        with_old_state(lambda p: torch.optim.Adam(p, lr=0.01)),
    ],
    ids=["AdamW", "Adam with decay", "momentum from before", "Adam from before"],
)
def test_optimisers_that_do_not_freeze_exactly_are_found_out(optimizer, monkeypatch):
    model = fresh("T2")
    trainable = {
        "blocks.0.kernel1": torch.rand(3, 8, 8, generator=rng()) < 0.4,
        "outputs.T2.weight": None,
    }
    fitted("T2", model=model, trainable=trainable)  # the library's own passes
    monkeypatch.setattr(
        train, "fresh_optimizers", lambda config, parameters, _: [optimizer(config, parameters)]
    )
    with pytest.raises(RuntimeError, match=r"frozen entries of blocks\.0\.kernel1"):
        fitted("T2", model=fresh("T2"), trainable=trainable)


def test_a_single_flipped_bit_of_a_frozen_tensor_is_found_out():
    model = fresh("T2")

    def meddle(changed, number):
        if number == 1:
            with torch.no_grad():
                changed.blocks[0].norm1.bias[3] = -0.0

    with pytest.raises(RuntimeError, match=r"norm1\.bias"):
        fitted("T2", model=model, trainable={"outputs.T2.weight": None}, on_epoch=meddle)


def test_an_infinite_loss_is_an_error(monkeypatch):
    monkeypatch.setattr(objectives, "bpr_loss", lambda vectors, *_: vectors.sum() * float("inf"))
    with pytest.raises(FloatingPointError, match="T2: the loss is (inf|nan)"):
        fitted("T2")


@pytest.mark.parametrize("task", ["T2", "T4"])
def test_vectors_of_a_frozen_backbone_may_be_kept(task, monkeypatch):
    """FineSmax computes each user's vector once; the result is that of computing it at every step."""
    own = {n: None for n, _ in fresh(task).named_parameters() if n.startswith("outputs.")}
    quick, history = fitted(task, trainable=own)
    monkeypatch.setattr(train, "OutputBatches", Batches)
    slow, again = fitted(task, trainable=own)
    for one, other in zip(quick.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose([e.loss for e in history], [e.loss for e in again], rtol=1e-4)


@given(
    users=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    per_user=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_an_order_holds_every_row_once_and_users_side_by_side(users, per_user, seed):
    users = np.array(users)
    rows = (
        np.flatnonzero(np.arange(len(users)) % 3 > 0) if len(users) > 3 else np.arange(len(users))
    )
    of = users[rows]
    order = shuffled(rows, of, per_user, rng(seed))
    assert sorted(order) == sorted(rows)
    runs = [(user, len(list(run))) for user, run in itertools.groupby(users[order])]
    for user in set(of):
        groups = [
            n for u, n in runs if u == user
        ]  # a user's groups may meet by chance, never break
        assert sum(-(-n // per_user) for n in groups) == -(-int((of == user).sum()) // per_user)


@pytest.mark.parametrize("per_user", [1, 3])
@pytest.mark.parametrize("task", ["T1", "T2", "T4"])
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


@pytest.mark.parametrize("separator", [False, True])
@pytest.mark.parametrize("task", ["T2", "T4"])
def test_a_joint_task_reads_the_vector_that_it_reads_alone(task, separator):
    model = small_model(separator=separator)
    for t in STREAM.tasks:
        model.add_output(t.name, t.n_labels, t.kind, rng())
    lively(model)
    both = (
        Batches(model, STREAM, STREAM[task], FAST, 1, joint)
        for joint in (None, Joint(STREAM["T1"], FAST, 0.0))
    )
    alone, together = (sum(batches.losses(batches.epoch(1)[0])) for batches in both)
    torch.testing.assert_close(alone, together)


def test_the_mean_loss_weighs_every_instance_the_same(monkeypatch):
    seen = []

    def loss(vectors, *_):
        seen.append(len(vectors))
        return vectors.sum() * 0 + len(seen)

    monkeypatch.setattr(objectives, "bpr_loss", loss)
    _, history = fitted("T2", replace(FAST, epochs=1, batch_size=50))
    assert len(set(seen)) > 1  # the last batch is smaller
    assert history[1].loss == pytest.approx(np.average(range(1, len(seen) + 1), weights=seen))


@pytest.mark.parametrize("loss", T1_LOSSES)
def test_a_strong_structure_is_learned(loss):
    stream = small_stream(structure=0.9, n_users=300, length=10)
    config = TrainConfig(
        epochs=12, learning_rate=0.02, batch_size=32, loss=loss, negatives=0.3, patience=12
    )
    _, history = fitted("T1", config, stream=stream)
    losses = [e.loss for e in history[1:]]
    assert losses[-1] < 0.6 * losses[0]
    assert history[-1].validation > 10 * history[0].validation


def test_padding_is_no_training_example():
    """T1 learns every item after an item, and nothing of what stands before the first."""
    stream = small_stream(half_full=0.9, length=9)
    task, model = stream["T1"], fresh()
    batches = SequenceBatches(model, stream, task, ONE_STEP, 1)
    (batch,) = batches.epoch(1)
    hidden = model.hidden(
        torch.from_numpy(stream.sequences).long()
    )  # causal: later items change nothing
    expected = []
    for row in task.rows(TRAIN):
        for at in range(1, 9):
            if stream.sequences[row, at - 1]:
                scores = model.outputs["T1"](hidden[at - 1, row])
                expected.append(scores.logsumexp(0) - scores[int(stream.sequences[row, at]) - 1])
    assert batches.size(batch) == len(expected) < 8 * len(task.rows(TRAIN))
    assert sum(batches.losses(batch)).item() == pytest.approx(
        torch.stack(expected).mean().item(), rel=1e-5
    )


WAYS_TO_LEARN = {
    "T1": ("T1", {}, False),
    "T1, sampled": ("T1", {"loss": "sampled-softmax", "negatives": 0.3}, False),
    "T1, by rows": ("T1", ROWS, False),
    "ranking": ("T2", {}, False),
    "classification": ("T4", {}, False),
    "joint": ("T2", {}, True),
    "joint, sampled": ("T4", {"loss": "sampled-softmax"}, True),
}


@pytest.mark.parametrize("separator", [False, True])
@pytest.mark.parametrize("way", WAYS_TO_LEARN)
def test_pieces_and_groups_change_nothing(way, separator, monkeypatch):
    """Losses and gradients in float64 are those of whole batches with all their padding."""
    name, changes, together = WAYS_TO_LEARN[way]
    config = replace(FAST, batch_size=24, labels_per_user=1, **changes)
    stream = small_stream(half_full=0.8, length=9)
    model = small_model(separator=separator)
    for t in stream.tasks:
        model.add_output(t.name, t.n_labels, t.kind, rng())
    lively(model).double()
    model.sparse_embedding = config.table_updates == "rows"
    joint = Joint(stream["T1"], config, 0.5) if together else None
    everything = dict.fromkeys(n for n, _ in model.named_parameters())
    seen = []

    def learn():
        batches = train.batches_of(model, stream, stream[name], config, everything, 1, joint)
        for batch in batches.epoch(1):
            model.zero_grad(set_to_none=True)
            total, number = 0.0, 0
            for loss in batches.losses(batch):
                loss.backward()
                total, number = total + loss.item(), number + 1
            slopes = [None if p.grad is None else p.grad.to_dense() for p in model.parameters()]
            yield total, batches.size(batch), slopes
            seen.append(number)

    monkeypatch.setattr(padding, "MAX_BUCKETS", 1)
    whole = list(learn())
    assert set(seen) == {1}
    monkeypatch.setattr(padding, "MAX_BUCKETS", 8)
    monkeypatch.setattr(padding, "MIN_SAVED", 1)
    monkeypatch.setattr(padding, "MIN_MICRO_BATCH", 7)
    monkeypatch.setattr(padding, "CACHED_ELEMENTS", 1)
    for (one, n, slopes), (other, m, others) in zip(learn(), whole, strict=True):
        assert n == m
        assert one == pytest.approx(other, rel=1e-10)
        for a, b in zip(slopes, others, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    assert max(seen) > 2
