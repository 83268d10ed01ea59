"""The references compute what they claim, and the same as our network where they should."""

import pytest
import torch
from helpers import lively, random_sequences, rng, small_model

from conure_lib.data.stream import PAD
from conure_lib.models.reference import Plain
from conure_lib.training.evaluation import exact_ranks
from conure_lib.training.losses import softmax_loss

ITEMS, WIDTH, DILATIONS, LABELS, LENGTH = 64, 8, (1, 4), 20, 12


@pytest.fixture
def sequences():
    return random_sequences(10, LENGTH, ITEMS)


@pytest.fixture
def pair():
    """Our model with one output layer, and the reference with the same weights."""

    def make(task: str, kind: str, labels: int):
        model = small_model(ITEMS, WIDTH, DILATIONS)
        model.add_output(task, labels, kind, rng())
        lively(model)
        plain = Plain(ITEMS, WIDTH, DILATIONS, labels)
        layer = model.outputs[task]
        norms = [norm for block in model.blocks for norm in (block.norm1, block.norm2)]
        with torch.no_grad():
            plain.embedding.weight.copy_(model.embedding)
            for conv, kernel in zip(plain.convs, model.kernels().values(), strict=True):
                conv.weight.copy_(kernel.permute(2, 1, 0))
                conv.bias.zero_()
            for norm, ours in zip(plain.norms, norms, strict=True):
                norm.load_state_dict(ours.state_dict())
            plain.output.weight.copy_(layer.weight)
            plain.output.bias.zero_() if layer.bias is None else plain.output.bias.copy_(layer.bias)
        return model, plain

    return make


def test_hidden_vectors_are_ours(pair, sequences):
    model, plain = pair("T2", "ranking", LABELS)
    torch.testing.assert_close(
        plain(sequences), model.hidden(sequences).transpose(0, 1), atol=1e-4, rtol=1e-4
    )


def test_the_loss_of_t1_is_ours_and_leaves_padding_out(pair, sequences):
    model, plain = pair("T1", "sequence", ITEMS)
    known = (sequences[:, :-1] != PAD).t()
    assert not known.all()
    layer = model.outputs["T1"]
    vectors, targets = model.hidden(sequences[:, :-1])[known], sequences[:, 1:].t()[known] - 1
    ours = softmax_loss(vectors, layer.weight, layer.bias, targets)
    torch.testing.assert_close(plain.next_item_loss(sequences), ours, atol=1e-4, rtol=1e-4)


def test_the_port_averages_over_positions_and_lean_takes_the_last(pair, sequences):
    _, plain = pair("T2", "ranking", LABELS)
    labels = torch.randint(LABELS, (len(sequences),), generator=rng())
    every = torch.stack([plain.output(h) for h in plain(sequences).unbind(1)])
    assert not torch.allclose(every.mean(0), every[-1], atol=1e-2)
    for lean, wanted in ((False, every.mean(0)), (True, every[-1])):
        torch.testing.assert_close(plain.scores(sequences, lean), wanted, atol=1e-5, rtol=1e-5)
        chance = wanted.softmax(1)[torch.arange(len(labels)), labels]
        torch.testing.assert_close(plain.label_loss(sequences, labels, lean), -chance.log().mean())


def test_ranks_are_ours_where_the_scores_are(pair, sequences):
    model, plain = pair("T2", "ranking", LABELS)
    labels = torch.randint(LABELS, (len(sequences),), generator=rng())
    with torch.no_grad():
        vectors = model.user_vectors(sequences)
        ours = exact_ranks(model.outputs["T2"], vectors, torch.arange(len(labels)), labels)
    places = plain.ranks(sequences, labels, lean=True)
    assert places.where(places <= 5, 0).tolist() == ours.tolist()
    assert (ours > 0).any()
    assert plain.ranks(sequences, labels, lean=False).shape == labels.shape


def test_a_step_changes_every_parameter(pair, sequences):
    _, plain = pair("T2", "ranking", LABELS)
    before = {name: p.detach().clone() for name, p in plain.named_parameters()}
    plain.learn(
        plain.label_loss(sequences, torch.zeros(len(sequences), dtype=torch.long), lean=False)
    )
    for name, parameter in plain.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    assert type(plain.adam) is torch.optim.Adam
