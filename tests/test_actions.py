"""PeterRec and MTL: what is patched, what learns along, what stands still."""

from dataclasses import replace

import pytest
import torch
from helpers import FAST, lively, random_sequences, rng, small_model, small_stream, small_study, state_of

from conure_lib.actions import Context, joint, patched
from conure_lib.layers import PATCH_REDUCTION, Patch
from conure_lib.model import load_model, save_model
from conure_lib.ownership import ContinualModel
from conure_lib.steps import Joint, seeded, steps_of

STREAM = small_stream()


def context(task, study=None, parent=None):
    return Context(study or small_study(), STREAM, STREAM[task], 1, parent)


def t1_model():
    model = lively(small_model())
    model.add_output("T1", 64, "sequence", rng())
    return ContinualModel(model, ())


@pytest.mark.parametrize("kind", ["serial", "parallel"])
def test_a_patched_network_starts_as_the_network_it_patches(kind):
    model = lively(small_model(dilations=(1, 4)))
    sequences = random_sequences(9, 7, 64)
    before = model.hidden(sequences)
    model.add_patches(kind, rng())
    assert torch.equal(before, model.hidden(sequences))
    lively(model.blocks[1].patch2)
    after = model.hidden(sequences)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after[-1], model.last_hidden(sequences), rtol=0, atol=1e-5)


def test_a_patch_by_hand():
    patch = Patch(16, "serial", rng())
    assert patch.down.shape == (16, 16 // PATCH_REDUCTION)
    lively(patch)
    z = torch.randn(3, 16, generator=rng(2))
    narrow = torch.clamp(z @ patch.down + patch.down_bias, min=0)
    torch.testing.assert_close(patch(z), narrow @ patch.up + patch.up_bias)


@pytest.mark.parametrize("kind", ["serial", "parallel"])
@pytest.mark.parametrize("task", ["T2", "T4"])
def test_peterrec_trains_patches_and_output_and_nothing_else(kind, task):
    parent = t1_model()
    before = state_of(parent.model)
    outcome = patched(context(task, small_study(patch=kind), parent))
    after = state_of(outcome.model.model)
    assert all(after[name] == before[name] for name in before)
    new = {name for name in after if name not in before}
    assert new == {n for n in after if "patch" in n or n.startswith(f"outputs.{task}.")}
    sizes = {n: p.numel() for n, p in outcome.model.model.named_parameters()}
    assert outcome.notes["trained_parameters"] == sum(sizes[n] for n in new)


def test_a_patched_model_survives_a_file(tmp_path):
    model = small_model()
    model.add_patches("parallel", rng())
    lively(model)
    save_model(model, tmp_path)
    again, _, _ = load_model(tmp_path)
    assert again.patch_kind() == "parallel"
    assert state_of(again) == state_of(model)


def test_mtl_trains_both_tasks_from_random_weights():
    outcome = joint(context("T2"))
    fresh = small_model(seed=0)
    trained = {n: p for n, p in outcome.model.model.named_parameters()}
    assert set(trained) >= {"outputs.T1.weight", "outputs.T2.weight", *dict(fresh.named_parameters())}
    start = seeded(1, "T1", "output")
    untouched = small_model()
    untouched.add_output("T1", 64, "sequence", start)
    assert not torch.equal(trained["outputs.T1.weight"], untouched.outputs["T1"].weight)
    assert list(outcome.ranks) == ["T2"]


@pytest.mark.parametrize("task", ["T2", "T4"])
def test_the_joint_loss_is_the_sum_of_its_parts(task):
    config = replace(FAST, batch_size=1000, labels_per_user=1)
    model = lively(small_model())
    for t in STREAM.tasks:
        model.add_output(t.name, t.n_labels, t.kind, rng())
    users = STREAM[task].users[STREAM[task].rows(0)]
    sequences = torch.from_numpy(STREAM.sequences[STREAM.input_rows[sorted(set(users.tolist()))]]).long()
    known = (sequences[:, :-1] != 0).t()
    layer = model.outputs["T1"]
    scores = layer(model.hidden(sequences[:, :-1])[known])
    t1 = torch.nn.functional.cross_entropy(scores, sequences[:, 1:].t()[known] - 1)

    def loss(weight):
        together = None if weight is None else Joint(STREAM["T1"], FAST, weight)
        ((losses, _),) = steps_of(model, STREAM, STREAM[task], config, 1, False, together)(1)
        return sum(losses)

    for weight in (0.1, 1.0):
        torch.testing.assert_close(loss(weight), loss(None) + weight * t1)


def test_row_updates_of_t1_do_not_disturb_mtl():
    rows = replace(FAST, loss="sampled-softmax", table_updates="rows")
    study = small_study()
    outcome = joint(context("T2", replace(study, train={**study.train, "T1": rows})))
    assert len(outcome.curve) > 1
