"""Owner maps by hand: what is pruned, seen, trained, restored; and by chance: old tasks never change."""

import pytest
import torch
from helpers import (
    KINDS,
    RATIOS,
    begin,
    bytes_of,
    disturb,
    learn,
    logits,
    random_sequences,
    rng,
    small_model,
    state_of,
)
from helpers import learner_of_tasks as learner_of
from hypothesis import given
from hypothesis import strategies as st

from conure_lib.errors import PhaseError
from conure_lib.models.ownership import MAX_TASKS, Phase

TTL_SHARES = (0.30, 0.14, 0.056, 0.1008, 0.04032, 0.036288)
KERNELS = ("blocks.0.kernel1", "blocks.0.kernel2")


def put(learner, name, values):
    weight = dict(learner.model.named_parameters())[name]
    with torch.no_grad():
        weight.copy_(torch.tensor(values, dtype=torch.float32).view_as(weight))


def owner_of(learner, name):
    return learner.owners[name].flatten().tolist()


def masks_of(learner):
    return {
        n: None if m is None else m.flatten().int().tolist() for n, m in learner.trainable().items()
    }


@pytest.mark.parametrize("width", [5, 8, 16])
def test_shares_after_ttls_six_tasks(width):
    learner = learner_of(width=width, dilations=(1, 4))
    for task, ratio in RATIOS.items():
        begin(learner, task)
        learner.prune(ratio)
        learner.finish()
    weights = 3 * width * width
    assert len(learner.owners) == 4
    for owner in learner.owners.values():
        for number, share in enumerate(TTL_SHARES, start=1):
            assert abs(int((owner == number).sum()) - share * weights) <= 1
    rows = learner.owned_shares()
    assert len(rows) == 4 * 7
    for row in rows:
        assert row["weights"] == int(
            (learner.owners[row["tensor"]] == ["free", *RATIOS].index(row["owner"])).sum()
        )
        assert row["share"] == row["weights"] / weights
    free = sum(row["share"] for row in rows if row["owner"] == "free") / 4
    assert free == pytest.approx(1 - sum(TTL_SHARES), abs=3 / weights)


def test_pruning_by_hand():
    learner = learner_of()
    one, two = KERNELS
    put(
        learner, one, [1, -9, 2, 3, -3, 3, 0, 8, -7, 3, 5, -6]
    )  # 9 8 7 6 5, then four times 3: the first is kept
    put(learner, two, list(range(12)))
    begin(learner, "T1")
    learner.prune(0.5)
    assert owner_of(learner, one) == [0, 1, 0, 1, 0, 0, 0, 1, 1, 0, 1, 1]
    assert owner_of(learner, two) == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    learner.finish()
    begin(learner, "T2")
    learner.prune(
        0.5
    )  # of the free 1 2 -3 3 0 3: the largest three; larger ones of T1 do not count
    assert owner_of(learner, one) == [0, 1, 0, 1, 2, 2, 0, 1, 1, 2, 1, 1]
    assert owner_of(learner, two) == [0, 0, 0, 2, 2, 2, 1, 1, 1, 1, 1, 1]


def test_pruning_changes_no_weight():
    learner = learner_of(width=4)
    begin(learner, "T1")
    before = state_of(learner.model)
    learner.prune(0.7)
    assert state_of(learner.model) == before


def test_what_may_train_and_what_is_seen_by_hand():
    learner = learner_of()
    one, two = KERNELS
    put(learner, one, [9, 9, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    begin(learner, "T1")
    parameters = {n for n, _ in learner.model.named_parameters()}
    assert learner.trainable() == dict.fromkeys(parameters)  # T1 trains everything
    learner.prune(0.75)
    own = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    masks = masks_of(learner)
    assert set(masks) == {
        one,
        two,
        "outputs.T1.weight",
        "outputs.T1.bias",
    }  # LayerNorms, embedding stand still
    assert masks[one] == own
    assert masks["outputs.T1.weight"] is None
    assert learner.visible(one, "T1").flatten().int().tolist() == own
    learner.finish()

    begin(learner, "T2")
    masks = masks_of(learner)
    assert set(masks) == {one, two, "outputs.T2.weight"}
    assert masks[one] == [1 - x for x in own]
    assert learner.visible(one, "T1").flatten().int().tolist() == own
    assert learner.visible(one, "T2").all()  # a task in training sees the free weights as well
    put(learner, one, [0, 0, 0, 1, 1, 1, 1, 1, 1, 5, 5, 5])
    learner.prune(0.667)  # keeps 3 of 9
    assert masks_of(learner)[one] == [0] * 9 + [1] * 3
    assert learner.visible(one, "T2").flatten().int().tolist() == [
        1,
        1,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        1,
        1,
        1,
    ]
    assert learner.visible(one, "T1").flatten().int().tolist() == own


def test_a_task_name_that_begins_like_another_is_another():
    learner = learner_of()
    learn(learner, "T1")
    learn(learner, "T")
    begin(learner, "T10")
    assert {n for n in learner.trainable() if n.startswith("outputs")} == {
        "outputs.T10.weight",
        "outputs.T10.bias",
    }


ACTIONS = {
    "start": lambda learner: begin(learner, "T9"),
    "prune": lambda learner: learner.prune(0.5),
    "only_owned": lambda learner: learner.only_owned().__enter__(),
    "finish": lambda learner: learner.finish(),
    "trainable": lambda learner: learner.trainable(),
}
LEGAL = {
    Phase.READY: {"start": Phase.TRAIN},
    Phase.TRAIN: {"prune": Phase.RETRAIN, "trainable": Phase.TRAIN},
    Phase.RETRAIN: {"only_owned": Phase.RETRAIN, "finish": Phase.READY, "trainable": Phase.RETRAIN},
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("phase", Phase)
def test_transitions(phase, action):
    learner = learner_of()
    learn(learner, "T1")
    if phase is not Phase.READY:
        begin(learner, "T2")
    if phase is Phase.RETRAIN:
        learner.prune(0.5)
    assert learner.phase is phase
    if action in LEGAL[phase]:
        ACTIONS[action](learner)
        assert learner.phase is LEGAL[phase][action]
    else:
        before, owners = (
            state_of(learner.model),
            {n: bytes_of(o) for n, o in learner.owners.items()},
        )
        with pytest.raises(PhaseError):
            ACTIONS[action](learner)
        assert (learner.phase, state_of(learner.model)) == (phase, before)
        assert {n: bytes_of(o) for n, o in learner.owners.items()} == owners


def test_starts_that_are_refused():
    learner = learner_of()
    learn(learner, "T1")
    with pytest.raises(PhaseError, match="T1 is learned already"):
        begin(learner, "T1")
    begin(learner, "T2")
    learner.prune(0.001)  # rounds to nothing: all that was free is taken
    learner.finish()
    with pytest.raises(PhaseError, match="no free weight is left for T3"):
        begin(learner, "T3")
    assert learner.tasks == ["T1", "T2"]
    assert "T3" not in learner.model.outputs


def test_no_more_tasks_than_a_byte_can_number():
    learner = learner_of()
    learner.tasks = [f"T{n}" for n in range(MAX_TASKS)]
    with pytest.raises(PhaseError, match="255"):
        begin(learner, "one too many")


@pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.5, float("nan")])
def test_ratios_that_are_refused(ratio):
    learner = learner_of()
    begin(learner, "T1")
    with pytest.raises(ValueError, match="pruning ratio"):
        learner.prune(ratio)
    assert learner.phase is Phase.TRAIN


@pytest.mark.parametrize(
    "question", [lambda m: m.for_task("T2"), lambda m: m.visible(KERNELS[0], "T2")]
)
def test_an_unknown_task_is_a_key_error(question):
    learner = learner_of()
    learn(learner, "T1")
    with pytest.raises(KeyError, match=r"T2.*learned are T1"):
        question(learner)


@pytest.mark.parametrize("fails", [False, True])
def test_free_values_come_back_bit_for_bit(fails):
    learner = learner_of(width=4)
    learn(learner, "T1")
    begin(learner, "T2")
    with torch.no_grad():
        learner.model.blocks[0].kernel1.mul_(
            (torch.rand(3, 4, 4, generator=rng()) < 0.8).float() * -1
        )  # -0.0 too
    learner.prune(0.5)
    weights = {n: p.detach().clone() for n, p in learner.model.named_parameters()}
    free = {n: o == 0 for n, o in learner.owners.items()}
    try:
        with learner.only_owned() as model:
            for name, parameter in model.named_parameters():
                if name in free:
                    assert not parameter[free[name]].any()
                    assert torch.equal(parameter[~free[name]], weights[name][~free[name]])
            disturb(learner)
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    for name, parameter in learner.model.named_parameters():
        if name in free:
            own = learner.owners[name] == 2
            assert bytes_of(parameter[~own]) == bytes_of(weights[name][~own])
            assert not torch.equal(parameter[own], weights[name][own])


def test_values_set_aside_are_plain_zeros():
    """With minus zero an SGD step of nothing would flip the sign bit of a frozen weight."""
    learner = learner_of(width=4)
    begin(learner, "T1")
    learner.prune(0.5)
    with learner.only_owned() as model:
        for name, weight in model.kernels().items():
            assert not torch.signbit(weight[learner.owners[name] == 0]).any()


def test_for_task_is_the_masked_forward():
    learner = learner_of(width=4, dilations=(1, 2))
    for task in ("T1", "T2", "T4"):
        learn(learner, task)
    sequences = random_sequences(6, 7, 8)
    stored = state_of(learner.model)
    for number, task in enumerate(("T1", "T2", "T4"), start=1):
        by_hand = small_model(8, 4, (1, 2))
        by_hand.add_output(task, 5, KINDS[task], rng())
        parameters = dict(learner.model.named_parameters())
        with torch.no_grad():
            for name, parameter in by_hand.named_parameters():
                parameter.copy_(parameters[name])
                if name in learner.owners:
                    owner = learner.owners[name]
                    parameter[(owner == 0) | (owner > number)] = 0.0
        model = learner.for_task(task)
        assert list(model.outputs) == [task]
        assert not any(p.requires_grad for p in model.parameters())
        assert torch.equal(logits(model, task, sequences), logits(by_hand, task, sequences))
        with torch.no_grad():
            next(model.parameters()).add_(1)  # a copy: the learner does not follow
    assert state_of(learner.model) == stored


def test_for_task_while_it_trains_sees_all_weights():
    learner = learner_of(width=4)
    learn(learner, "T1")
    begin(learner, "T2")
    disturb(learner)
    sequences = random_sequences(6, 7, 8)
    assert torch.equal(
        logits(learner.for_task("T2"), "T2", sequences), logits(learner.model, "T2", sequences)
    )
    learner.prune(0.5)
    with learner.only_owned() as model:
        assert torch.equal(
            logits(learner.for_task("T2"), "T2", sequences), logits(model, "T2", sequences)
        )


LATER_OR_FROM_THE_START = pytest.mark.parametrize(
    "prunable", [None, ("embedding", *KERNELS)], ids=["at the first pruning", "from the start"]
)


@LATER_OR_FROM_THE_START
def test_the_embedding_can_be_pruned_as_well(prunable):
    learner = learner_of(width=4, prunable=prunable)
    learn(learner, "T1", 0.7, embedding=0.3)
    assert set(learner.owners) == {"embedding", *KERNELS}
    assert learner.owners["embedding"].shape == (9, 4)
    assert int((learner.owners["embedding"] == 1).sum()) == 9 * 4 - round(0.3 * 36)
    begin(learner, "T2")
    assert torch.equal(learner.trainable()["embedding"], learner.owners["embedding"] == 0)
    sequences = random_sequences(6, 7, 8)
    before = logits(learner.for_task("T1"), "T1", sequences)
    disturb(learner)
    learner.prune(0.8, 0.5)
    assert torch.equal(logits(learner.for_task("T1"), "T1", sequences), before)
    assert not torch.equal(logits(learner.model, "T1", sequences), before)


@LATER_OR_FROM_THE_START
def test_kernels_and_embedding_are_pruned_by_ratios_of_their_own(prunable):
    learner = learner_of(width=4, prunable=prunable, dilations=(1, 4))
    free = {"embedding": 9 * 4} | dict.fromkeys(learner.model.kernels(), 3 * 4 * 4)
    for number, (kernels, embedding) in enumerate([(0.7, 0.3), (0.8, 0.9), (0.9, 0.5)], start=1):
        begin(learner, f"A{number}")
        learner.prune(kernels, embedding)
        learner.finish()
        for name in learner.owners.keys() & free:
            left = round((embedding if name == "embedding" else kernels) * free[name])
            assert int((learner.owners[name] == number).sum()) == free[name] - left
            assert int((learner.owners[name] == 0).sum()) == left
            free[name] = left
    assert {row["tensor"] for row in learner.owned_shares()} == set(learner.owners)


def test_what_the_first_task_may_train_does_not_depend_on_pruning_the_embedding_later():
    learner = learner_of(width=4)
    begin(learner, "T1")
    assert learner.trainable()["embedding"] is None
    learner.prune(0.5, 0.25)
    assert torch.equal(learner.trainable()["embedding"], learner.owners["embedding"] == 1)
    assert torch.equal(learner.visible("embedding", "T1"), learner.owners["embedding"] == 1)
    before = learner.model.embedding.detach().clone()
    with learner.only_owned() as model:
        assert not model.embedding[learner.owners["embedding"] == 0].any()
    assert torch.equal(learner.model.embedding, before)


def test_the_embedding_is_pruned_with_the_first_task_or_never():
    learner = learner_of(width=4)
    learn(learner, "T1")
    begin(learner, "T2")
    assert_refused(learner, "the embedding belongs to T1, which did not prune it", 0.5, 0.5)
    learner.prune(0.5)
    assert "embedding" not in learner.owners


@LATER_OR_FROM_THE_START
def test_a_prunable_embedding_needs_a_ratio_every_time(prunable):
    learner = learner_of(width=4, prunable=prunable)
    begin(learner, "T1")
    if prunable:
        assert_refused(learner, "of embedding: found None", 0.5)
    learner.prune(0.5, 0.5)
    learner.finish()
    begin(learner, "T2")
    assert_refused(learner, "of embedding: found None", 0.5)
    learner.prune(0.5, 0.5)


@LATER_OR_FROM_THE_START
@pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.5, float("nan")])
def test_a_refused_pruning_changes_nothing(ratio, prunable):
    learner = learner_of(width=4, prunable=prunable)
    begin(learner, "T1")
    assert_refused(learner, "of embedding: found", 0.5, ratio)
    assert_refused(learner, "of blocks.0.kernel1: found", ratio, 0.5)
    assert (("embedding" in learner.owners), learner.phase) == (prunable is not None, Phase.TRAIN)


def assert_refused(learner, message, *ratios):
    owners = {n: bytes_of(o) for n, o in learner.owners.items()}
    with pytest.raises(ValueError, match=message):
        learner.prune(*ratios)
    assert learner.phase is Phase.TRAIN
    assert {n: bytes_of(o) for n, o in learner.owners.items()} == owners


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["sequence", "ranking", "classification"]), st.floats(0.05, 0.95)
        ),
        min_size=1,
        max_size=6,
    ),
    embedding=st.sampled_from(["never", "from the start", "at the first pruning"]),
    width=st.integers(1, 4),
)
def test_any_number_order_and_kind_of_tasks(steps, embedding, width):
    learner = learner_of(
        width=width, prunable=("embedding", *KERNELS) if embedding == "from the start" else None
    )
    sequences = random_sequences(5, 6, 8)
    known, taken = {}, {n: torch.zeros_like(o) for n, o in learner.owners.items()}

    def nothing_old_changed():
        for task, expected in known.items():
            assert bytes_of(logits(learner.for_task(task), task, sequences)) == expected
        for name, before in taken.items():
            owner = learner.owners[name]
            assert torch.equal(
                torch.where(before > 0, owner, 0), before
            )  # ownership is exclusive, final

    for number, (kind, ratio) in enumerate(steps):
        task = f"A{number}"
        if not any((o == 0).any() for o in learner.owners.values()):
            with pytest.raises(PhaseError, match="no free weight"):
                begin(learner, task, kind)
            break
        begin(learner, task, kind)
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
    for name, owner in learner.owners.items():
        rows = [row for row in learner.owned_shares() if row["tensor"] == name]
        assert sum(row["weights"] for row in rows) == owner.numel()
        assert sum(row["share"] for row in rows) == pytest.approx(1)
