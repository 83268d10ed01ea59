"""What holds for every backbone: causality, padding, plain references, blocks that add nothing."""

import pytest
import torch
from helpers import NETWORKS, begin, learner_of, lively, random_sequences, rng, small_model
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from conure_lib.config import ModelConfig
from conure_lib.errors import ConfigError
from conure_lib.models import new_model

pytestmark = pytest.mark.numerics
ITEMS, WIDTH = 12, 4
EVERY = pytest.mark.parametrize("network", NETWORKS)
OTHERS = [name for name in NETWORKS if name != "nextitnet"]  # NextItNet: test_nextitnet


def network_of(name, **options):
    return lively(small_model(ITEMS, WIDTH, (1, 4), **NETWORKS[name], **options)).double()


@EVERY
def test_a_later_item_changes_no_earlier_position(network):
    model, before = network_of(network), random_sequences(5, 9, ITEMS)
    for at in (0, 4, 8):
        after = before.clone()
        after[:, at] = before[:, at] % ITEMS + 1
        old, new = model.hidden(before), model.hidden(after)
        assert torch.equal(old[:at], new[:at])
        assert not torch.isclose(old[-1], new[-1]).all(1).any()


@pytest.mark.parametrize("network", OTHERS)
@pytest.mark.parametrize("separator", [False, True])
def test_it_does_not_matter_how_far_a_user_is_padded(network, separator):
    model, sequences = network_of(network, separator=separator), random_sequences(5, 9, ITEMS)
    sequences[:, :2] = 0
    known, expected = (sequences != 0).t(), model.hidden(sequences)
    vectors = model.user_vectors(sequences)
    assert not separator or not torch.isclose(vectors, expected[-1]).all(1).any()
    for more in (0, 6):
        longer = F.pad(sequences, (more, 0))
        for prefix in (0, 2 + more):
            hidden = model.hidden(longer, prefix)
            assert len(hidden) == 9 + more - prefix
            assert_close(hidden[-7:][known[-7:]], expected[-7:][known[-7:]], rtol=0, atol=1e-12)
            assert_close(model.user_vectors(longer, prefix), vectors, rtol=0, atol=1e-12)
            assert torch.equal(model.last_hidden(longer, prefix), hidden[-1])


@torch.no_grad()
def plain_gru(model, items):
    """Return the GRU's states of one sequence without padding, by torch.nn.GRU."""
    h = model.embedding[items]
    for block in model.blocks:
        gru = nn.GRU(WIDTH, WIDTH).double()
        for parameter in gru.parameters():
            parameter.zero_()
        gru.weight_ih_l0.copy_(block.kernel_input.t())
        gru.weight_hh_l0.copy_(block.kernel_state.t())
        h = h + gru(block.norm1(h))[0]
    return h


@torch.no_grad()
def plain_pooling(model, items):
    """Return attention over the states, position by position (DUPN)."""
    h, pooled = plain_gru(model, items), []
    for t in range(len(h)):
        scores = h[: t + 1] @ (h[t] @ model.kernel_pooling) / WIDTH**0.5
        pooled.append(torch.softmax(scores, 0) @ h[: t + 1])
    return torch.stack(pooled)


@torch.no_grad()
def plain_sasrec(model, items):
    """Return SASRec's outputs of one sequence without padding, by torch.nn's encoder layers."""
    back = [min(b, len(model.positions) - 1) for b in range(len(items))]
    h = (model.embedding[items] + model.positions[back].flip(0))[None]
    for block in model.blocks:
        options = {"activation": "relu", "batch_first": True, "norm_first": True}
        layer = nn.TransformerEncoderLayer(WIDTH, 2, WIDTH, 0.0, layer_norm_eps=1e-8, **options)
        layer.double()
        for parameter in layer.parameters():
            parameter.zero_()
        layer.self_attn.in_proj_weight.copy_(block.kernel_qkv.t())
        layer.self_attn.out_proj.weight.copy_(block.kernel_out.t())
        layer.linear1.weight.copy_(block.kernel_1.t())
        layer.linear2.weight.copy_(block.kernel_2.t())
        layer.norm1.load_state_dict(block.norm1.state_dict())
        layer.norm2.load_state_dict(block.norm2.state_dict())
        mask = nn.Transformer.generate_square_subsequent_mask(len(items), dtype=torch.float64)
        h = layer(h, mask)
    return model.norm(h)[0]


PLAIN = {"gru": plain_gru, "gru, attention": plain_pooling, "sasrec": plain_sasrec}


@pytest.mark.parametrize("network", OTHERS)
def test_hidden_vectors_are_those_of_the_plain_network(network):
    model, sequences = network_of(network), random_sequences(6, 9, ITEMS)
    hidden = model.hidden(sequences)
    for number, items in enumerate(sequences):
        known = items != 0
        expected = PLAIN[network](model, items[known])
        assert_close(hidden[known, number], expected, rtol=1e-9, atol=1e-11)


@EVERY
def test_outputs_do_not_depend_on_what_is_frozen(network):
    model = lively(small_model(ITEMS, WIDTH, (1, 4), **NETWORKS[network]))
    for size in (2, 7, 64):
        sequences, found = random_sequences(size, 5, ITEMS), []
        for trainable in (True, False):
            model.requires_grad_(trainable)
            with torch.no_grad():
                found.append(model.user_vectors(sequences))
        assert torch.equal(*found)


@EVERY
def test_a_block_with_kernels_of_zero_adds_exactly_nothing(network):
    model, sequences = network_of(network), random_sequences(5, 9, ITEMS)
    before, blocks = model.hidden(sequences), len(model.blocks)
    model.resize(blocks + 2, rng())
    model.double()
    new = {n for n, _ in model.named_parameters() if n.startswith(("blocks.2.", "blocks.3."))}
    assert len(model.blocks) == model.config.blocks == 4
    for name in new:
        with torch.no_grad():
            model.get_parameter(name).fill_(0.0 if name in model.kernels() else -7.5)
    assert torch.equal(model.hidden(sequences), before)
    model.resize(blocks)
    assert not new & dict(model.named_parameters()).keys()
    assert torch.equal(model.hidden(sequences), before)


@EVERY
def test_new_blocks_belong_to_the_tasks_that_come_after(network):
    learner = learner_of(("T1",), 4, **NETWORKS[network])
    blocks, full = learner.model.config.blocks, learner.free_share()
    learner.grow(rng(), 2)
    prefixes = tuple(f"blocks.{number}." for number in (blocks, blocks + 1))
    new = {n: p for n, p in learner.model.named_parameters() if n.startswith(prefixes)}
    kernels = new.keys() & learner.model.kernels().keys()
    norms = new.keys() - kernels
    assert len(norms) >= 4
    assert full < learner.free_share() < 1
    begin(learner, "T2")
    assert all(learner.trainable()[name].all() for name in new)
    learner.prune(0.5)
    assert all((learner.owners[name] == 2).all() for name in norms)  # no share of them is free
    assert all(0 < (learner.owners[name] == 0).sum() < new[name].numel() for name in kernels)
    learner.finish()
    begin(learner, "T3")
    assert new.keys() & learner.trainable().keys() == kernels
    depths = [learner.for_task(task).config.blocks for task in learner.tasks]
    assert depths == [blocks, blocks + 2, blocks + 2]


def test_dilations_go_on_as_they_repeat():
    for given, blocks, expected in (
        ((1, 4), 4, (1, 4, 1, 4)),
        ((1, 4, 1), 4, (1, 4, 1, 4)),
        ((2,), 3, (2, 2, 2)),
        ((1, 2, 3), 4, (1, 2, 3, 1)),
        ((1, 4, 1, 4), 1, (1,)),
    ):
        assert ModelConfig(8, given).resized(blocks) == ModelConfig(8, expected)
    assert ModelConfig(backbone="gru", layers=1).resized(3) == ModelConfig(backbone="gru", layers=3)


def test_networks_that_there_are_not_are_refused():
    with pytest.raises(ConfigError, match="backbone: found 'rnn', expected nextitnet or gru or"):
        new_model(ModelConfig(backbone="rnn"), ITEMS, rng())
    with pytest.raises(ConfigError, match="heads: found 3, expected a divisor of 8"):
        ModelConfig(8, heads=3)
