"""Owner maps by hand: what is pruned, used, trained, restored; and by random sequences of tasks."""

from contextlib import suppress
from copy import deepcopy

import pytest
import torch
from helpers import (
    KINDS,
    NETWORKS,
    begin,
    bytes_of,
    disturb,
    learn,
    learner_of,
    logits,
    owners_of,
    random_sequences,
    rng,
    small_model,
    state_of,
)
from hypothesis import given
from hypothesis import strategies as st

from conure_lib.errors import PhaseError
from conure_lib.models.ownership import Phase

pytestmark = pytest.mark.numerics
KERNELS = ("blocks.0.kernel1", "blocks.0.kernel2")
ONE, TWO = KERNELS


def set_kernel(learner, name, values):
    weight = learner.model.kernels()[name]
    with torch.no_grad():
        weight.copy_(torch.tensor(values, dtype=torch.float32).view_as(weight))


def flat(mask):
    return mask.flatten().int().tolist()


def test_pruning_by_hand():
    learner = learner_of()
    # The largest are 9 8 7 6 5, then four times 3: the first of these is kept.
    set_kernel(learner, ONE, [1, -9, 2, 3, -3, 3, 0, 8, -7, 3, 5, -6])
    set_kernel(learner, TWO, list(range(12)))
    begin(learner, "T1")
    before = state_of(learner.model)
    learner.prune(0.5)
    assert state_of(learner.model) == before
    assert flat(learner.owners[ONE]) == [0, 1, 0, 1, 0, 0, 0, 1, 1, 0, 1, 1]
    assert flat(learner.owners[TWO]) == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    learner.finish()
    begin(learner, "T2")
    learner.prune(0.5)  # of the free 1 2 -3 3 0 3 the largest three; T1's do not count
    assert flat(learner.owners[ONE]) == [0, 1, 0, 1, 2, 2, 0, 1, 1, 2, 1, 1]
    assert flat(learner.owners[TWO]) == [0, 0, 0, 2, 2, 2, 1, 1, 1, 1, 1, 1]


def test_what_may_train_and_what_is_used_by_hand():
    learner = learner_of()
    set_kernel(learner, ONE, [9, 9, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    begin(learner, "T1")
    everything = dict.fromkeys(name for name, _ in learner.model.named_parameters())
    assert learner.trainable() == everything
    learner.prune(0.75)
    owned = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    masks = learner.trainable()  # LayerNorms and embedding are frozen
    assert set(masks) == {ONE, TWO, "outputs.T1.weight", "outputs.T1.bias"}
    assert masks["outputs.T1.weight"] is None
    assert flat(masks[ONE]) == flat(learner.visible(ONE, "T1")) == owned
    learner.finish()

    begin(learner, "T2")
    masks = learner.trainable()
    assert set(masks) == {ONE, TWO, "outputs.T2.weight", "outputs.T2.bias"}
    assert flat(masks[ONE]) == [1 - x for x in owned]
    assert flat(learner.visible(ONE, "T1")) == owned
    assert learner.visible(ONE, "T2").all()  # a task in training uses the free weights as well
    set_kernel(learner, ONE, [0, 0, 0, 1, 1, 1, 1, 1, 1, 5, 5, 5])
    learner.prune(0.667)  # keeps 3 of 9
    assert flat(learner.trainable()[ONE]) == [0] * 9 + [1] * 3
    assert flat(learner.visible(ONE, "T2")) == [1] * 3 + [0] * 6 + [1] * 3
    assert flat(learner.visible(ONE, "T1")) == owned


ACTIONS = {
    "grow": lambda learner: learner.grow(rng()),
    "start": lambda learner: begin(learner, "T9"),
    "prune": lambda learner: learner.prune(0.5),
    "only_owned": lambda learner: learner.only_owned().__enter__(),
    "finish": lambda learner: learner.finish(),
    "trainable": lambda learner: learner.trainable(),
}
LEGAL = {
    Phase.READY: {"grow": Phase.READY, "start": Phase.TRAIN},
    Phase.TRAIN: {"prune": Phase.RETRAIN, "trainable": Phase.TRAIN},
    Phase.RETRAIN: {"only_owned": Phase.RETRAIN, "finish": Phase.READY, "trainable": Phase.RETRAIN},
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("phase", Phase)
def test_transitions(phase, action):
    learner = learner_of(("T1",))
    if phase is not Phase.READY:
        begin(learner, "T2")
    if phase is Phase.RETRAIN:
        learner.prune(0.5)
    assert learner.phase is phase
    if action in LEGAL[phase]:
        ACTIONS[action](learner)
        assert learner.phase is LEGAL[phase][action]
        return
    before = state_of(learner.model), owners_of(learner)
    with pytest.raises(PhaseError):
        ACTIONS[action](learner)
    assert (learner.phase, state_of(learner.model), owners_of(learner)) == (phase, *before)


def test_starts_that_are_refused():
    learner = learner_of(("T1",))
    with pytest.raises(PhaseError, match="T1 is learned already"):
        begin(learner, "T1")
    learn(learner, "T2", 0.0)  # all that was free is taken
    with pytest.raises(PhaseError, match="no free weight is left for T3"):
        begin(learner, "T3")
    assert learner.tasks == ["T1", "T2"]
    assert "T3" not in learner.model.outputs


def test_more_tasks_than_an_owner_can_name_are_refused():
    learner = learner_of()
    for number in range(1, 255):
        learn(learner, f"A{number}", 0.99)  # which keeps none of 12
    learner.grow(rng())
    learn(learner, "A255")
    with pytest.raises(PhaseError, match=r"^an owner map holds at most 255 tasks$"):
        begin(learner, "A256")
    assert all(255 in owner for owner in learner.owners.values())
    assert [learner.for_task(f"A{n}").config.blocks for n in (254, 255)] == [1, 2]


def test_an_unknown_task_is_a_key_error():
    with pytest.raises(KeyError, match=r"T2.*learned are T1"):
        learner_of(("T1",)).for_task("T2")


@pytest.mark.parametrize("fails", [False, True])
def test_free_values_come_back_bit_for_bit(fails):
    learner = learner_of(("T1",), width=4)
    begin(learner, "T2")
    with torch.no_grad():  # -0.0 too
        zeros = (torch.rand(3, 4, 4, generator=rng()) < 0.8).float()
        learner.model.blocks[0].kernel1.mul_(zeros * -1)
    learner.prune(0.5)
    before = {n: p.detach().clone() for n, p in learner.model.kernels().items()}
    free = {n: o == 0 for n, o in learner.owners.items()}
    with suppress(KeyboardInterrupt), learner.only_owned() as model:
        for name, kernel in model.kernels().items():
            assert not kernel[free[name]].any()
            # With minus zero an SGD step of nothing would flip a frozen weight's sign bit.
            assert not torch.signbit(kernel[free[name]]).any()
            assert torch.equal(kernel[~free[name]], before[name][~free[name]])
        disturb(learner)
        if fails:
            raise KeyboardInterrupt
    for name, kernel in learner.model.kernels().items():
        owned = learner.owners[name] == 2
        assert bytes_of(kernel[~owned]) == bytes_of(before[name][~owned])
        assert not torch.equal(kernel[owned], before[name][owned])


def test_for_task_is_the_masked_forward_pass():
    learner = learner_of(KINDS, width=4, dilations=(1, 2))
    sequences, stored = random_sequences(6, 7, 8), state_of(learner.model)
    for number, task in enumerate(KINDS, start=1):
        by_hand = deepcopy(learner.model)
        with torch.no_grad():
            for name, owner in learner.owners.items():
                by_hand.get_parameter(name)[(owner == 0) | (owner > number)] = 0.0
        model = learner.for_task(task)
        assert list(model.outputs) == [task]
        assert not any(p.requires_grad for p in model.parameters())
        assert torch.equal(logits(model, task, sequences), logits(by_hand, task, sequences))
        with torch.no_grad():
            next(model.parameters()).add_(1)  # a copy: the learner does not follow
    assert state_of(learner.model) == stored


EITHER_WAY = pytest.mark.parametrize(
    "prunable", [None, ("embedding", *KERNELS)], ids=["at the first pruning", "from the start"]
)


@EITHER_WAY
def test_the_embedding_can_be_pruned_by_shares_of_its_own(prunable):
    learner = learner_of(width=4, prunable=prunable)
    free = {"embedding": 9 * 4} | dict.fromkeys(learner.model.kernels(), 3 * 4 * 4)
    for number, (kernels, embedding) in enumerate([(0.7, 0.3), (0.8, 0.9), (0.9, 0.5)], start=1):
        begin(learner, f"A{number}")
        if number > 1:
            assert torch.equal(learner.trainable()["embedding"], learner.owners["embedding"] == 0)
        disturb(learner)
        learner.prune(kernels, embedding)
        learner.finish()
        assert learner.owners.keys() == free.keys()
        for name in free:
            left = round((embedding if name == "embedding" else kernels) * free[name])
            assert int((learner.owners[name] == number).sum()) == free[name] - left
            assert int((learner.owners[name] == 0).sum()) == left
            free[name] = left


def assert_refused(learner, message, *ratios):
    before = owners_of(learner)
    with pytest.raises(ValueError, match=message):
        learner.prune(*ratios)
    assert (learner.phase, owners_of(learner)) == (Phase.TRAIN, before)


@EITHER_WAY
@pytest.mark.parametrize("ratio", [1, -0.1, 1.5, float("nan")])
def test_a_refused_pruning_changes_nothing(ratio, prunable):
    learner = learner_of(width=4, prunable=prunable)
    begin(learner, "T1")
    said = f"of embedding: found {ratio}, expected at least 0, below 1"
    assert_refused(learner, said, 0.5, ratio)
    assert_refused(learner, "of blocks.0.kernel1: found", ratio, 0.5)
    if prunable:
        assert_refused(learner, "of embedding: found None", 0.5)
    learner.prune(0.5, 0.5)
    learner.finish()
    begin(learner, "T2")
    assert_refused(learner, "of embedding: found None", 0.5)


def test_the_embedding_is_pruned_with_the_first_task_or_never():
    learner = learner_of(("T1",), width=4)
    begin(learner, "T2")
    assert_refused(learner, "T1 owns the embedding: it did not prune it", 0.5, 0.5)


@given(
    tasks=st.lists(st.tuples(st.floats(0.05, 0.95), st.integers(0, 2)), min_size=1, max_size=6),
    embedding=st.sampled_from(["never", "from the start", "at the first pruning"]),
    width=st.sampled_from([2, 4]),
    network=st.sampled_from(sorted(NETWORKS)),
)
def test_any_number_of_tasks(tasks, embedding, width, network):
    options = NETWORKS[network] | {"layers": 1}
    kernels = small_model(8, width, **options).kernels()
    prunable = ("embedding", *kernels) if embedding == "from the start" else None
    learner = learner_of(width=width, prunable=prunable, **options)
    sequences = random_sequences(5, 6, 8)
    known, taken = {}, {n: torch.zeros_like(o) for n, o in learner.owners.items()}

    def nothing_old_changed():
        for task, expected in known.items():
            assert bytes_of(logits(learner.for_task(task), task, sequences)) == expected
        for name, before in taken.items():  # ownership is exclusive and final
            assert torch.equal(torch.where(before > 0, learner.owners[name], 0), before)

    for number, (ratio, blocks) in enumerate(tasks):
        task = f"A{number}"
        learner.grow(rng(number), blocks)
        nothing_old_changed()
        if not any((o == 0).any() for o in learner.owners.values()):
            with pytest.raises(PhaseError, match="no free weight"):
                begin(learner, task)
            break
        begin(learner, task)
        disturb(learner)
        nothing_old_changed()
        learner.prune(ratio, None if embedding == "never" else 1 - ratio)
        nothing_old_changed()
        with learner.only_owned():
            disturb(learner)
            nothing_old_changed()
        learner.finish()
        nothing_old_changed()
        known[task] = bytes_of(logits(learner.for_task(task), task, sequences))
        taken = {n: o.clone() for n, o in learner.owners.items()}
    rows, labels = learner.owned_shares(), ["free", *learner.tasks]
    assert len(rows) == len(learner.owners) * len(labels)
    for row in rows:
        owner = learner.owners[row["tensor"]]
        assert row["weights"] == int((owner == labels.index(row["owner"])).sum())
        assert row["share"] == row["weights"] / owner.numel()
