"""The references of the benchmarks compute what the library computes, where they should."""

import numpy as np
import pytest
import torch
from helpers import lively, plain_copy, random_sequences, rng, small_model

from benchmarks.cases import Reference
from conure_lib.data.stream import PAD
from conure_lib.training.evaluation import exact_ranks
from conure_lib.training.losses import softmax_loss

SEQUENCES = random_sequences(10, 12, 64)
LABELS = torch.randint(20, (10,), generator=rng())


def pair(task, n_labels):
    """The library's model with one output layer, and the reference with the same weights."""
    model = small_model(64, 8, (1, 4))
    model.add_output(task, np.ones(n_labels), rng())
    lively(model).double()
    reference = Reference(64, 8, (1, 4), n_labels).double()
    reference.load_state_dict(plain_copy(model, task).state_dict())
    return model, reference


def test_the_loss_of_t1_leaves_padding_out():
    model, reference = pair("T1", 64)
    known = (SEQUENCES[:, :-1] != PAD).t()
    assert not known.all()
    layer, vectors = model.outputs["T1"], model.hidden(SEQUENCES[:, :-1])[known]
    ours = softmax_loss(vectors, layer.weight, layer.bias, SEQUENCES[:, 1:].t()[known] - 1)
    torch.testing.assert_close(reference.next_item_loss(SEQUENCES), ours)


@pytest.mark.parametrize("last_only", [False, True])
def test_scores_are_averaged_over_positions_or_those_of_the_last(last_only):
    _, reference = pair("T2", 20)
    every = torch.stack([reference.output(h) for h in reference(SEQUENCES).unbind(1)])
    expected = every[-1] if last_only else every.mean(0)
    torch.testing.assert_close(reference.scores(SEQUENCES, last_only), expected)
    chance = expected.softmax(1)[torch.arange(10), LABELS]
    loss = reference.label_loss(SEQUENCES, LABELS, last_only)
    torch.testing.assert_close(loss, -chance.log().mean())


def test_ranks_are_those_of_the_fast_evaluation_and_a_step_changes_every_parameter():
    model, reference = pair("T2", 20)
    vectors = model.user_vectors(SEQUENCES)
    ours = exact_ranks(model.outputs["T2"], vectors, torch.arange(10), LABELS)
    assert reference.ranks(SEQUENCES, LABELS, last_only=True).tolist() == ours.tolist()
    before = {name: p.detach().clone() for name, p in reference.named_parameters()}
    reference.learn(reference.label_loss(SEQUENCES, LABELS, last_only=False))
    assert not [n for n, p in reference.named_parameters() if torch.equal(p, before[n])]
