"""The methods: their records and recipes, what each of them trains, what stands still."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from helpers import (
    FAST,
    NETWORKS,
    bytes_of,
    done,
    lively,
    logits,
    random_sequences,
    rng,
    small_model,
    small_stream,
    small_study,
    state_of,
    with_outputs,
)

from conure_lib.config import TrainConfig
from conure_lib.data.stream import TEST
from conure_lib.methods import ACTIONS, COMPARED, CONTINUAL, FLOORS, METHODS, actions
from conure_lib.methods.conure import conure_chain, largest_ratio
from conure_lib.methods.stl import vector_change, weight_change
from conure_lib.models.layers import PATCH_REDUCTION, Patch
from conure_lib.models.ownership import ContinualModel
from conure_lib.study.study import Study
from conure_lib.training.batches import Batches, SequenceBatches, WithT1
from conure_lib.training.determinism import seeded
from conure_lib.training.evaluation import cross_entropy, evaluate, metric_of

STREAM = small_stream()
ORDER = tuple(t.name for t in STREAM.tasks)
SEQUENCES = torch.from_numpy(STREAM.sequences).long()
KERNELS = {"blocks.0.kernel1", "blocks.0.kernel2"}


# --- records and recipes ---


def test_every_method_has_an_action_of_its_own():
    assert [m for m in METHODS if m in COMPARED] == list(COMPARED)
    others = {*CONTINUAL[:-1], "Conure, not retrained", "Linear + T2"}
    assert set(METHODS) - set(COMPARED) == others
    actions = [method.recipe(ORDER)["T5"].action for method in METHODS.values()]
    assert sorted([*actions, "start"]) == sorted(ACTIONS)  # of T1, which all learners share
    for name, method in METHODS.items():
        steps = method.recipe(ORDER)
        without = {"MTL": 1, "Linear": 1, "Linear (window)": 1, "Linear + T2": 2}
        assert tuple(steps) == ORDER[without.get(name, 0) :]
        assert all(step.action in ACTIONS and step.task == task for task, step in steps.items())


def test_methods_can_be_told_apart_with_and_without_colours():
    for look in ("color", "marker", "dashes"):
        assert len({getattr(method, look) for method in METHODS.values()}) == len(METHODS), look


def test_every_method_that_trains_is_searched_or_takes_the_settings_of_one_that_is():
    searched = {name for name, method in METHODS.items() if method.search is not None}
    assert {n for name in searched for n in METHODS[name].search} <= {*asdict(TrainConfig())}
    for name in set(METHODS) - searched:
        assert METHODS[name].settings_of in searched or METHODS[name].floor


# --- a study with all methods ---


@pytest.fixture(scope="module")
def study(shared_root):
    """A small study with all its methods, computed once."""
    made = Study(small_study(), STREAM)
    made.compute(made.runs(METHODS))
    return made


def states(study, method):
    stages = study.run(method, 1).stages
    return {task: dict(stage.model().model.named_parameters()) for task, stage in stages.items()}


def test_unprotected_fine_tuning_forgets(study):
    """What the guarantee would look like if it failed: the same comparison finds a change."""
    stages = study.run("STL", 1).stages
    before, after = (stages[task].model().model for task in ("T1", "T2"))
    assert bytes_of(logits(before, "T1", SEQUENCES)) != bytes_of(logits(after, "T1", SEQUENCES))
    notes = stages["T2"].record()["notes"]["forgetting"]
    assert notes["metric_by_epoch"][0] == stages["T1"].record()["metrics"][0]["value"]
    assert len(notes["metric_by_epoch"]) == len(stages["T2"].record()["curve"])
    assert metric_of("sequence", stages["T2"].ranks("T1-after")) in notes["metric_by_epoch"][1:]


def test_what_each_method_trains(study):
    t1 = states(study, "STL")["T1"]
    backbone = {n for n in t1 if not n.startswith("outputs")}
    for method, changed in (
        ("FineSmax", set()),
        ("PeterRec", set()),
        ("PeterRec-parallel", set()),
        ("MTL", backbone),
        ("STL", backbone),
        ("SinMo", backbone),
        ("Conure-", KERNELS),
    ):
        for task, model in states(study, method).items():
            if task != "T1" and (method != "Conure-" or task == "T2"):
                moved = {n for n in backbone if not torch.equal(model[n], t1[n])}
                assert moved == changed, (method, task)
                if method == "SinMo":
                    assert "outputs.T1.weight" not in model
                else:
                    same = torch.equal(model["outputs.T1.weight"], t1["outputs.T1.weight"])
                    assert same == (method not in ("MTL", "Conure-"))
                patches = {n for n in model.keys() - t1.keys() if not n.startswith("outputs")}
                assert all(".patch" in name for name in patches)
                moved = [n for n in patches if n.endswith(".up") and model[n].any()]
                assert bool(patches) == bool(moved) == ("PeterRec" in method)
    records = {m: study.run(m, 1).stages["T2"].record() for m in METHODS if m not in FLOORS}
    notes = {method: record["notes"]["trained_parameters"] for method, record in records.items()}
    names = ("PeterRec", "PeterRec-parallel")
    kinds = [study.run(name, 1).stages["T2"].model().model.patch_kind for name in names]
    assert kinds == ["serial", "parallel"]
    layer, size = 16 * 9, 65 * 8 + 4 * 8 + 2 * 192
    assert notes["SinMo"] == notes["STL"] == layer + size
    assert notes["FineSmax"] == layer
    assert notes["PeterRec"] == notes["PeterRec-parallel"] == layer + 2 * (8 + 8 + 1 + 8)
    assert notes["MTL"] == layer + size + 64 * 8 + 64
    assert notes["Conure-"] == layer + 2 * round(0.7 * 192)
    assert notes["Conure"] == layer + 2 * (134 - round(0.8 * 134))


def test_pruned_and_retrained_results_are_those_of_the_owned_weights(study):
    """And free weights keep the values that training left, through pruning and retraining."""
    for name, steps in conure_chain(ORDER).items():
        task = STREAM[name]
        trained, pruned, again = (study.stage(step, 1) for step in steps.values())
        for stage in (pruned, again):
            found = evaluate(stage.model().for_task(name), STREAM, task, TEST)
            for measure, ranks in found.items():
                assert ranks.tolist() == stage.ranks(measure).tolist()
        assert pruned.record()["curve"] == []
        kind = SequenceBatches if task.kind == "sequence" else Batches
        batches = kind(pruned.model().for_task(name), STREAM, task, FAST, 1)
        assert again.record()["curve"][0]["validation"] == batches.validation()
        owners, number = pruned.model().owners, ORDER.index(name) + 1
        kernels = [stage.model().model.kernels() for stage in (trained, pruned, again)]
        for kernel in KERNELS:
            before, after, end = (one[kernel] for one in kernels)
            own = owners[kernel] == number
            assert torch.equal(before, after)
            assert torch.equal(end[~own], before[~own])
            assert not torch.equal(end[own], before[own])


def test_a_record_notes_cross_entropy_and_phases_that_the_cap_ended(study):
    """The small study's settings: two epochs, patience two, no second phase."""
    stage = study.run("SinMo", 1).stages["T4"]
    record, model = stage.record(), stage.model().model
    assert record["notes"]["cross_entropy"] == cross_entropy(model, STREAM, STREAM["T4"], TEST)
    assert [epoch["phase"] for epoch in record["curve"]] == [1, 1, 1]
    assert record["capped"] == [1]
    assert study.run("Popularity", 1).stages["T2"].record()["capped"] == []
    assert sorted(study.run("SinMo", 1).stages["T2"].record()["notes"]) == ["trained_parameters"]


# --- actions ---


def t1_model():
    model = lively(small_model())
    model.add_output("T1", np.ones(64), rng())
    return ContinualModel(model, ())


@pytest.mark.parametrize("kind", ["serial", "parallel"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_patched_network_starts_as_the_network_it_patches(kind, network):
    model = lively(small_model(dilations=(1, 4), **NETWORKS[network]))
    sequences = random_sequences(9, 7, 64)
    hidden = [model.hidden(sequences)]
    model.add_patches(kind, rng())
    assert torch.equal(hidden[0], model.hidden(sequences))
    patches = [p for name, p in model.blocks[1].named_children() if name.startswith("patch")]
    assert len(patches) == (1 if "gru" in network else 2)
    for patch in patches:
        lively(patch)
        hidden.append(model.hidden(sequences))
        assert not torch.equal(*hidden[-2:])
    last = model.last_hidden(sequences)
    torch.testing.assert_close(hidden[-1][-1], last, rtol=1e-4, atol=1e-4)


def test_a_patch_by_hand():
    patch = lively(Patch(16, "serial", rng()))
    assert patch.down.shape == (16, 16 // PATCH_REDUCTION)
    z = torch.randn(3, 16, generator=rng(2))
    narrow = torch.clamp(z @ patch.down + patch.down_bias, min=0)
    torch.testing.assert_close(patch(z, None), z + narrow @ patch.up + patch.up_bias)


@pytest.mark.parametrize("task", ["T2", "T4"])
def test_the_joint_loss_is_the_sum_of_its_parts(task):
    config = replace(FAST, batch_size=1000, labels_per_user=1)
    model = with_outputs(STREAM).double()
    users = np.unique(STREAM[task].users[STREAM[task].rows(0)])
    sequences = torch.from_numpy(STREAM.sequences[STREAM.input_rows[users]]).long()
    known = (sequences[:, :-1] != 0).t()
    scores = model.outputs["T1"](model.hidden(sequences[:, :-1])[known])
    t1 = torch.nn.functional.cross_entropy(scores, sequences[:, 1:].t()[known] - 1)

    def loss(weight):
        joint = None if weight is None else WithT1(STREAM["T1"], FAST, weight)
        batches = Batches(model, STREAM, STREAM[task], config, 1, joint)
        (batch,) = batches.epoch(1)
        return sum(loss for loss, _ in batches.losses(batch))

    for weight in (0.1, 1.0):
        torch.testing.assert_close(loss(weight), loss(None) + weight * t1)


def test_mtl_trains_both_tasks_with_its_own_settings():
    study = small_study()

    def trained(**train):
        outcome = done("joint", "T2", STREAM, study=replace(study, train={**study.train, **train}))
        assert list(outcome.ranks) == ["T2", "T2-literal"]
        return state_of(outcome.model.model)

    fresh = small_model()
    fresh.add_output("T1", STREAM.label_counts(STREAM["T1"]), seeded(1, "T1", "output"))
    assert trained()["outputs.T1.weight"] != bytes_of(fresh.outputs["T1"].weight)
    heavy = replace(study.train["*"], joint_weight=1.0)
    assert trained(**{"T2.joint": heavy}) == trained(T2=heavy) != trained()
    assert trained(**{"T2.finetune": heavy, "T1": replace(FAST, joint_weight=1.0)}) == trained()
    trained(T1=replace(FAST, loss="sampled-softmax", table_updates="rows"))  # dense in MTL


def test_recording_what_becomes_of_t1_changes_no_training():
    """It is recorded at the second task; in another stream the same task is the third."""
    watched = done("finetune", "T2", STREAM, parent=t1_model())
    assert list(watched.ranks) == ["T2", "T2-literal", "T1-after", "T1-all-after"]
    assert len(watched.notes["forgetting"]["metric_by_epoch"]) == len(watched.curve)
    third = replace(STREAM, tasks=tuple(STREAM[name] for name in ("T1", "T3", "T2")))
    plain = done("finetune", "T2", third, parent=t1_model())
    assert set(plain.notes) == {"trained_parameters"}
    assert list(plain.ranks) == ["T2", "T2-literal"]
    assert state_of(plain.model.model) == state_of(watched.model.model)
    assert repr(plain.curve) == repr(watched.curve)


ALONE = ("finetune", "output-only", "scratch", "patched-serial", "patched-parallel")


@pytest.mark.parametrize("action", ALONE)
def test_an_action_trains_with_its_own_settings(action):
    study = small_study()
    longer = replace(study.train["*"], epochs=4, patience=4)
    others = {f"T2.{other}": replace(longer, epochs=1) for other in ACTIONS if other != action}
    study = replace(study, train={**study.train, **others, f"T2.{action}": longer})
    parent = None if action == "scratch" else t1_model()
    assert len(done(action, "T2", STREAM, study, parent=parent).curve) == 5


@pytest.mark.parametrize(
    ("margin", "worst", "expected"),
    [(0.0, -2.0, 0.4), (0.1, -2.0, 0.55), (0.5, -2.0, 0.95), (0.1, -2.9, 0.05)],
)
def test_the_largest_ratio_by_hand(margin, worst, expected):
    """Of none within the margin the least: with nothing pruned there is no room for later tasks."""
    values = {0.0: -2.0, 0.4: worst, 0.55: worst - 0.2, 0.9: -2.9, 1.0: -3.0}  # up to each ratio

    def value_at(ratio):
        return next(value for last, value in values.items() if ratio <= last)

    ratio, probed = largest_ratio(value_at, margin)
    assert ratio == expected
    assert probed == {probe: value_at(probe) for probe in probed}
    assert {0.0, ratio} <= probed.keys()
    assert ratio == 0.95 or round(ratio + 0.05, 2) in probed
    assert len(probed) <= 6


@pytest.mark.parametrize("margin", [0.0, 0.999])
def test_a_searched_ratio_is_judged_by_retraining(margin):
    """The stage that retrains afterwards finds the value that was probed, to the last bit."""
    study = small_study(prune_margin={"T1": margin}, prune={"*": 0.123})
    pruned = done("prune", "T1", STREAM, study=study, parent=done("train", "T1", STREAM).model)
    ratio, probes = pruned.notes["ratio"], dict(pruned.notes["probes"])
    within = [r for r, value in probes.items() if r and value >= (1 - margin) * probes[0.0]]
    assert ratio == max(within, default=0.05)
    size = len(pruned.model.owners) * 192
    owned = sum(int(owner.sum()) for owner in pruned.model.owners.values())
    assert owned == size - len(pruned.model.owners) * round(ratio * 192)
    again = done("retrain", "T1", STREAM, study=study, parent=pruned.model)
    assert max(epoch.validation for epoch in again.curve[1:]) == probes[ratio]


def test_a_network_grows_before_a_task_if_little_of_it_is_free(root):
    """After T1 70% are free, after T2 56% of the old block; a new one makes that 78%."""
    found = {}
    for below in (0.0, 0.6, 0.75):
        study = Study(small_study(grow_below=below), STREAM)
        run = study.run("Conure", 1, ("T1", "T2", "T3"))
        study.compute([run])
        notes = [stage.record()["notes"] for stage in run.stages.values()]
        found[below] = [one["blocks"] for one in notes]
        digests = {n["memory"]["T1"]["logits_sha256"] for n in notes}
        assert len(digests) == 1
        model = run.stages["T3"].model()
        assert [model.for_task(t).config.blocks for t in model.tasks] == found[below]
    assert found == {0.0: [1, 1, 1], 0.6: [1, 1, 2], 0.75: [1, 2, 3]}


@pytest.mark.parametrize(("margin", "blocks"), [(0.0, 1), (0.05, 2), (0.2, 1)])
def test_a_network_grows_where_a_block_helps_by_more_than_a_margin(monkeypatch, margin, blocks):
    """Values are negative, as cross-entropies are: -2.0 as it is, -1.8 with a block, 10% better."""
    fit, learner = actions.fit, done("train", "T1", STREAM).model
    for action in ("prune", "retrain"):
        learner = done(action, "T1", STREAM, parent=learner).model

    def fit_of_known_value(model, *given, **more):
        history = fit(model, *given, **more)
        value = {1: -2.0, 2: -1.8}[len(model.blocks)]
        return [replace(epoch, validation=value) for epoch in history]

    monkeypatch.setattr(actions, "fit", fit_of_known_value)
    study, before = small_study(grow_margin=margin), state_of(learner.for_task("T1"))
    found = done("train", "T4", STREAM, study=study, parent=learner)
    assert (len(found.model.model.blocks), found.notes["blocks"]) == (blocks, blocks)
    assert {epoch.validation for epoch in found.curve} == {-2.0 if blocks == 1 else -1.8}
    assert state_of(found.model.for_task("T1")) == before
    assert found.model.tasks == ["T1", "T4"]
    first = done("train", "T1", STREAM, study=study)  # which has all weights to itself
    assert len(first.model.model.blocks) == 1


def test_weight_change_by_hand():
    two = torch.arange(1.0, 73).reshape(3, 2, 12)
    before = {"one": torch.full((9, 1, 12), 2.0), "two": two}
    after = {"one": before["one"] * 1.1, "two": two.clone()}
    after["one"][..., :6] = 3.0
    after["two"][0, 1, :9] *= -2.0  # 9 of 36 by 300%
    found = weight_change(before, after)
    assert found.pop("median_relative_change") == pytest.approx(0.1, abs=1e-6)
    shares = {"share_moved_over_20_percent": 63 / 180, "share_moved_over_100_percent": 9 / 180}
    slices = {  # 25% moved, the nearest to 35%: in kernel one 50%, in input 0 none
        f"kernel_{k}": v["two"][:, 1].flatten().tolist()
        for k, v in (("before", before), ("after", after))
    }
    assert found == {**shares, "kernel": "two, input 1", **slices}


def test_the_weights_shown_may_be_those_of_a_plain_matrix():
    matrix = torch.ones(3, 12)  # of a network without taps
    matrix[0], matrix[2, :6] = 3.0, 3.0
    found = weight_change({"flat": torch.ones(3, 12)}, {"flat": matrix})
    assert (found["kernel"], found["share_moved_over_20_percent"]) == ("flat, input 2", 0.5)
    assert found["kernel_after"] == [3.0] * 6 + [1.0] * 6


def test_the_user_vector_shown_is_the_median_one():
    before = torch.eye(3)
    after = torch.tensor([[1.0, 0, 0], [0, -1.0, 0], [0, 1.0, 1.0]])  # cosines 1, -1, 0.71
    found = vector_change(before, after)
    assert found["hidden_cosine"] == pytest.approx(np.sqrt(0.5) / 3)
    assert (found["hidden_before"], found["hidden_after"]) == ([0, 0, 1], [0, 1, 1])


def test_a_pruning_notes_who_owns_a_slice_of_the_last_kernel():
    learner = done("prune", "T1", STREAM, parent=done("train", "T1", STREAM).model)
    kernel, noted = "blocks.0.kernel2", learner.notes["owners_sample"]
    expected = learner.model.owners[kernel][:, :6, :12]
    assert noted == {"kernel": kernel, "shape": [3, 6, 8], "owners": expected.flatten().tolist()}
    assert set(noted["owners"]) == {0, 1}
