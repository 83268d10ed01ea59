"""PeterRec and MTL: what is patched, what learns along, what stands still."""

from dataclasses import replace

import pytest
import torch
from helpers import (
    FAST,
    lively,
    random_sequences,
    rng,
    small_model,
    small_stream,
    small_study,
    state_of,
)

from conure_lib.methods import ACTIONS
from conure_lib.methods.actions import Context
from conure_lib.methods.mtl import joint
from conure_lib.models.checkpoint import load_model, save_model
from conure_lib.models.layers import PATCH_REDUCTION, Patch
from conure_lib.models.ownership import ContinualModel
from conure_lib.training.batches import Batches, Joint
from conure_lib.training.determinism import seeded

STREAM = small_stream()


def context(task, action, study=None, parent=None):
    return Context(study or small_study(), STREAM, STREAM[task], 1, parent, action)


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
    outcome = ACTIONS[f"patched-{kind}"](context(task, f"patched-{kind}", parent=parent))
    assert outcome.model.model.patch_kind == kind
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
    assert again.patch_kind == "parallel"
    assert state_of(again) == state_of(model)


def test_mtl_trains_both_tasks_from_random_weights():
    outcome = joint(context("T2", "joint"))
    fresh = small_model(seed=0)
    trained = {n: p for n, p in outcome.model.model.named_parameters()}
    assert set(trained) >= {
        "outputs.T1.weight",
        "outputs.T2.weight",
        *dict(fresh.named_parameters()),
    }
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
    sequences = torch.from_numpy(
        STREAM.sequences[STREAM.input_rows[sorted(set(users.tolist()))]]
    ).long()
    known = (sequences[:, :-1] != 0).t()
    layer = model.outputs["T1"]
    scores = layer(model.hidden(sequences[:, :-1])[known])
    t1 = torch.nn.functional.cross_entropy(scores, sequences[:, 1:].t()[known] - 1)

    def loss(weight):
        joint = None if weight is None else Joint(STREAM["T1"], FAST, weight)
        batches = Batches(model, STREAM, STREAM[task], config, 1, joint)
        (batch,) = batches.epoch(1)
        return sum(batches.losses(batch))

    for weight in (0.1, 1.0):
        torch.testing.assert_close(loss(weight), loss(None) + weight * t1)


def test_row_updates_of_t1_do_not_disturb_mtl():
    rows = replace(FAST, loss="sampled-softmax", table_updates="rows")
    study = small_study()
    outcome = joint(context("T2", "joint", replace(study, train={**study.train, "T1": rows})))
    assert len(outcome.curve) > 1


def test_t1_counts_as_much_as_the_settings_of_mtl_say():
    study = small_study()

    def trained(**train):
        outcome = joint(context("T2", "joint", replace(study, train={**study.train, **train})))
        return state_of(outcome.model.model)

    usual = study.train["*"]
    heavy = replace(usual, joint_weight=1.0)
    assert trained(**{"T2.joint": heavy}) == trained(T2=heavy) != trained()
    assert trained(**{"T2.finetune": heavy, "T1": replace(FAST, joint_weight=1.0)}) == trained()


def finetuned(task, parent):
    return ACTIONS["finetune"](context(task, "finetune", parent=parent))


def test_what_becomes_of_t1_is_recorded_at_the_second_task_only():
    second, third = finetuned("T2", t1_model()), finetuned("T3", t1_model())
    assert list(second.ranks) == ["T2", "T1-after", "T1-all-after"]
    assert len(second.notes["forgetting"]["metric_by_epoch"]) == len(second.curve)
    assert list(third.ranks) == ["T3"]
    assert set(third.notes) == {"trained_parameters"}
    assert third.notes["trained_parameters"] == second.notes["trained_parameters"]


def test_recording_what_becomes_of_t1_changes_no_training():
    """The second task of this stream, as if it were not."""
    watched = finetuned("T2", t1_model())
    third = replace(STREAM, tasks=tuple(STREAM[name] for name in ("T1", "T3", "T2")))
    plain = ACTIONS["finetune"](replace(context("T2", "finetune", parent=t1_model()), stream=third))
    assert "forgetting" not in plain.notes
    assert state_of(plain.model.model) == state_of(watched.model.model)
    assert repr(plain.curve) == repr(watched.curve)


@pytest.mark.parametrize(
    "action", ["finetune", "output-only", "scratch", "patched-serial", "patched-parallel"]
)
def test_an_action_trains_with_its_own_settings(action):
    study = small_study()
    longer = replace(study.train["*"], epochs=4, patience=4)
    others = {f"T2.{other}": replace(longer, epochs=1) for other in ACTIONS if other != action}
    study = replace(study, train={**study.train, **others, f"T2.{action}": longer})
    parent = None if action == "scratch" else t1_model()
    assert len(ACTIONS[action](context("T2", action, study, parent)).curve) == 5
