"""The guarantee that nothing is forgotten, stage by stage and to the last bit; controls; the recipes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import (
    FAST,
    RATIOS,
    WAYS,
    bytes_of,
    logits,
    rng,
    small_model,
    small_stream,
    small_study,
    state_of,
)

from conure_lib.config import ModelConfig, TrainConfig
from conure_lib.data.stream import TEST
from conure_lib.methods import actions
from conure_lib.methods import ACTIONS, COMPARED, METHODS
from conure_lib.methods.actions import Context
from conure_lib.methods.conure import conure_chain
from conure_lib.methods.method import Step
from conure_lib.methods.stl import weight_change
from conure_lib.models.ownership import ContinualModel
from conure_lib.study.experiments import EMBEDDING_RATIOS
from conure_lib.study.study import Study
from conure_lib.training import loop as train
from conure_lib.training.evaluation import metric_of, popularity_ranks, scores_of
from conure_lib.training.loop import fit

STREAM = small_stream()
ORDER = tuple(t.name for t in STREAM.tasks)
SEQUENCES = torch.from_numpy(STREAM.sequences).long()
KERNELS = ("blocks.0.kernel1", "blocks.0.kernel2")


class Memory:
    """The logits of every finished task, compared byte by byte whenever asked."""

    def __init__(self, device="cpu"):
        self.sequences, self.known, self.compared = SEQUENCES.to(device), {}, 0

    def keep(self, learner, task):
        self.known[task] = bytes_of(logits(learner.for_task(task), task, self.sequences))

    def check(self, learner, when):
        for task, expected in self.known.items():
            found = bytes_of(logits(learner.for_task(task), task, self.sequences))
            assert found == expected, f"{task} changed: {when}"
            self.compared += 1


def learn_all(learner, memory, teach, order=ORDER, embedding=None):
    """All stages of all tasks; ``teach(model, task, trainable, retrain)`` is the training."""
    for name in order:
        task = STREAM[name]
        learner.start(name, task.n_labels, task.kind, rng(7))
        memory.check(learner, f"{name} started")
        teach(learner.model, task, learner.trainable(), False)
        memory.check(learner, f"{name} trained")
        learner.prune(
            kernels=RATIOS[name], embedding=embedding and embedding.get(name, embedding["*"])
        )
        memory.check(learner, f"{name} pruned")
        with learner.only_owned() as model:
            teach(model, task, learner.trainable(), True)
            memory.check(learner, f"{name} retrained, free weights aside")
        memory.check(learner, f"{name} retrained")
        learner.finish()
        memory.keep(learner, name)


PRUNED = {
    "kernels": (None, None),
    "embedding from the start": (("embedding", *KERNELS), EMBEDDING_RATIOS),
    "embedding from the first pruning on": (None, EMBEDDING_RATIOS),
}
"""What has owner maps: the argument ``prunable``, and the embedding's ratios."""
NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("order", [ORDER, ("T1", "T6", "T3", "T2")])
@pytest.mark.parametrize("pruned", PRUNED)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NO_CUDA)])
def test_old_tasks_never_change(way, order, pruned, device):
    moved, (prunable, embedding) = [], PRUNED[pruned]

    def teach(model, task, trainable, retrain):
        before = state_of(model)
        settings = replace(FAST, epochs=1 + retrain, **WAYS[way])
        fit(model, STREAM, task, settings, trainable, 1)
        moved.append({n for n, value in state_of(model).items() if value != before[n]})

    learner, memory = ContinualModel(small_model(), prunable).to(device), Memory(device)
    learn_all(learner, memory, teach, order, embedding)
    assert memory.compared == 5 * sum(range(len(order)))
    assert len(memory.known) == len(order)
    assert set(learner.owners) == {*KERNELS, *(["embedding"] if embedding else [])}
    for names, name in zip(
        moved, np.repeat(order, 2), strict=True
    ):  # and yet every stage learned something
        learning = {*learner.owners, f"outputs.{name}.weight"}
        assert names >= learning
        assert name == "T1" or names <= learning | {f"outputs.{name}.bias"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("embedding", [{}, EMBEDDING_RATIOS], ids=["kernels", "with embedding"])
def test_old_tasks_never_change_in_a_computed_study(way, embedding, root):
    """The same through stages: every record repeats the old tasks' digests, every checkpoint their logits."""
    settings = replace(FAST, **WAYS[way])
    changes = {
        "train": {"T1": settings, "*": settings},
        "prune_embedding": embedding,
    }
    study = Study(small_study(**changes), STREAM)
    chain = [
        study.stage(step, 1) for steps in conure_chain(ORDER).values() for step in steps.values()
    ]
    study.compute([study.run("Conure", 1)])
    memory, digests, metrics = Memory(), {}, {}
    for stage in chain:
        learner, notes = stage.model(), stage.record()["notes"]
        memory.check(learner, stage.id)
        if stage.step.action == "retrain":
            memory.keep(learner, stage.step.task)
        for task, noted in notes["memory"].items():
            assert digests.setdefault(task, noted["logits_sha256"]) == noted["logits_sha256"], (
                task,
                stage.id,
            )
            assert metrics.setdefault(task, noted["metric"]) == noted["metric"]
    assert set(learner.owners) == {*KERNELS, *(["embedding"] if embedding else [])}
    assert list(digests) == list(memory.known) == list(ORDER)
    assert memory.compared == 3 * 15
    finals = {stage.step.task: stage for stage in chain if stage.step.action == "retrain"}
    for (
        task,
        stage,
    ) in finals.items():  # what is reported for a task is what it still has at the end
        assert metrics[task] == stage.record()["metrics"][0]["value"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A small study with all its methods, computed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("conure_lib.paths.ROOT", tmp_path_factory.mktemp("root"))
        made = Study(small_study(), STREAM)
        made.compute(made.runs(METHODS))
        yield made


def states(study, method):
    stages = study.run(method, 1).stages
    return {task: dict(stage.model().model.named_parameters()) for task, stage in stages.items()}


def test_unprotected_fine_tuning_forgets(study):
    """What the guarantee would look like if it failed: the same comparison on STL finds a change."""
    stages = study.run("STL", 1).stages
    before, after = (stages[task].model().model for task in ("T1", "T2"))
    assert bytes_of(logits(before, "T1", SEQUENCES)) != bytes_of(logits(after, "T1", SEQUENCES))
    notes = stages["T2"].record()["notes"]["forgetting"]
    test = stages["T1"].record()["metrics"][0]["value"]
    assert notes["metric_by_epoch"][0] == test
    assert len(notes["metric_by_epoch"]) == len(stages["T2"].record()["curve"])
    assert metric_of("sequence", stages["T2"].ranks("T1-after")) in notes["metric_by_epoch"][1:]


def test_every_measure_has_the_metric_of_its_task(study):
    rows = study.results([study.run("STL", 1)])
    for row in rows.itertuples():
        measured = row.measure[:2]
        assert row.metric == ("accuracy" if measured in ("T4", "T5", "T6") else "MRR@5"), row
        stage = study.run("STL", 1).stages[row.task]
        assert row.value == pytest.approx(
            scores_of(STREAM[measured].kind, stage.ranks(row.measure)).mean()
        )
    assert set(rows["measure"]) >= {"T1", "T1-all", "T2", "T6"}


def test_what_each_method_trains(study):
    t1 = states(study, "STL")["T1"]
    backbone = [n for n in t1 if not n.startswith("outputs")]

    def moved(one, other):
        return {n for n in backbone if not torch.equal(one[n], other[n])}

    for task in ORDER[1:]:
        fine, stl, alone, mtl = (
            states(study, m)[task] for m in ("FineSmax", "STL", "SinMo", "MTL")
        )
        assert moved(fine, t1) == set()
        both = [states(study, m)[task] for m in ("PeterRec", "PeterRec-parallel")]
        for patched in both:
            assert moved(patched, t1) == set()
            assert torch.equal(patched["outputs.T1.weight"], t1["outputs.T1.weight"])
            assert all(patched[f"blocks.0.patch{n}.up"].any() for n in (1, 2))
        assert not torch.equal(*(patched["blocks.0.patch1.up"] for patched in both))
        assert moved(mtl, t1) == set(backbone)
        assert not torch.equal(mtl["outputs.T1.weight"], t1["outputs.T1.weight"])
        assert moved(stl, t1) == set(backbone)
        assert moved(alone, t1) == set(backbone)
        assert torch.equal(stl["outputs.T1.weight"], t1["outputs.T1.weight"])
        assert "outputs.T1.weight" not in alone
    conure = states(study, "Conure-")
    assert moved(conure["T2"], conure["T1"]) == set(KERNELS)
    runs = {m: study.run(m, 1) for m in METHODS if m != "Popularity"}
    notes = {m: run.stages["T2"].record()["notes"]["trained_parameters"] for m, run in runs.items()}
    layer, size = 16 * 8, 65 * 8 + 4 * 8 + 2 * 192
    assert notes["SinMo"] == notes["STL"] == layer + size
    assert notes["FineSmax"] == layer
    assert notes["PeterRec"] == notes["PeterRec-parallel"] == layer + 2 * (8 + 8 + 1 + 8)
    assert notes["MTL"] == layer + size + 64 * 8 + 64
    assert notes["Conure-"] == layer + 2 * round(0.7 * 192)
    assert notes["Conure"] == layer + 2 * (134 - round(0.8 * 134))


def test_methods_share_t1_and_start_from_it(study):
    from_t1 = ("FineSmax", "STL", "PeterRec", "PeterRec-parallel")
    ids = {m: study.run(m, 1).stages["T1"].id for m in ("SinMo", *from_t1, "Conure-")}
    assert len(set(ids.values())) == 1
    for method in from_t1:
        assert all(
            s.parent.id == ids["STL"] for t, s in study.run(method, 1).stages.items() if t != "T1"
        )
    assert study.run("SinMo", 1).stages["T2"].parent is None
    assert study.run("MTL", 1).stages["T2"].parent is None
    assert "T1" not in study.run("MTL", 1).stages


def test_pruned_and_retrained_results_are_those_of_the_owned_weights(study):
    for steps in conure_chain(ORDER).values():
        pruned, again = (study.stage(steps[action], 1) for action in ("prune", "retrain"))
        for stage in (pruned, again):
            model, task = stage.model().for_task(stage.step.task), STREAM[stage.step.task]
            assert (
                actions.ranks_on_test(model, STREAM, task)[task.name].tolist()
                == stage.ranks(task.name).tolist()
            )
        assert pruned.record()["curve"] == []
        assert len(again.record()["curve"]) == 2
        config = study.config.training(task.name)
        batches = train.batches_of(
            pruned.model().for_task(task.name), STREAM, task, config, {"embedding": None}, 1
        )
        start = train._validation(batches)()
        assert (
            again.record()["curve"][0]["validation"] == start
        )  # retraining starts where pruning ended


def test_retraining_starts_from_the_pruned_weights(study):
    """Free weights keep the values that training left in them, through pruning and retraining."""
    learners = [study.stage(step, 1).model() for step in conure_chain(ORDER)["T1"].values()]
    for name in KERNELS:
        trained, pruned, again = (
            dict(learner.model.named_parameters())[name] for learner in learners
        )
        free = learners[1].owners[name] == 0
        assert torch.equal(trained, pruned)
        assert torch.equal(again[free], trained[free])
        assert not torch.equal(again[~free], trained[~free])
        assert trained[free].any()


def test_a_pruned_embedding_has_its_share_and_is_retrained(root):
    """Through actions and stages: exact counts, free rows set aside, only the task's own entries learn."""
    study = Study(small_study(prune_embedding=EMBEDDING_RATIOS), STREAM)
    study.compute([study.run("Conure", 1, ("T1", "T2"))])
    chain = conure_chain(("T1", "T2"))
    free = n = 65 * 8
    for number, (task, ratio) in enumerate([("T1", 0.3), ("T2", 0.8)], start=1):
        trained, pruned, again = (study.stage(step, 1).model() for step in chain[task].values())
        left = round(ratio * free)
        owner = pruned.owners["embedding"]
        assert int((owner == number).sum()) == free - left
        assert torch.equal(again.owners["embedding"], owner)
        before, after, end = (one.model.embedding for one in (trained, pruned, again))
        assert torch.equal(before, after)
        assert torch.equal(end[owner != number], after[owner != number])
        assert not torch.equal(end[owner == number], after[owner == number])
        notes = study.stage(chain[task]["prune"], 1).record()["notes"]["owned"]
        (share,) = (row for row in notes if (row["tensor"], row["owner"]) == ("embedding", task))
        assert (share["weights"], share["share"]) == (free - left, (free - left) / n)
        free = left


def test_conure_stages_in_order():
    chain = conure_chain(("T1", "T5"))
    steps, step = [], chain["T5"]["retrain"]
    while step:
        steps.insert(0, (step.action, step.task))
        step = step.parent
    assert steps == [
        (action, task) for task in ("T1", "T5") for action in ("train", "prune", "retrain")
    ]
    assert METHODS["Conure"].recipe(("T1", "T5")) == {t: s["retrain"] for t, s in chain.items()}
    assert METHODS["Conure-"].recipe(("T1", "T5")) == {t: s["train"] for t, s in chain.items()}
    assert METHODS["Conure, not retrained"].recipe(("T1", "T5")) == {
        t: s["prune"] for t, s in chain.items()
    }


def test_what_is_compared_is_every_method_and_no_state_of_one():
    assert set(METHODS) - set(COMPARED) == {"Conure, not retrained"}
    assert [m for m in METHODS if m in COMPARED] == list(COMPARED)
    actions_used = {m: METHODS[m].recipe(("T1", "T5"))["T5"].action for m in COMPARED}
    assert len(set(actions_used.values())) == len(COMPARED)
    assert (actions_used["PeterRec"], actions_used["PeterRec-parallel"]) == (
        "patched-serial",
        "patched-parallel",
    )
    assert {*actions_used.values(), "prune"} == set(ACTIONS)


def test_change_of_weights_by_hand():
    before = {"one": torch.full((3, 1, 12), 2.0), "two": torch.arange(1.0, 37).reshape(3, 1, 12)}
    after = {"one": before["one"] * 1.1, "two": before["two"].clone()}
    after["two"][0, 0, :9] *= -2.0  # 9 of 72 by 300%
    after["two"][1, 0, :9] *= 1.5
    found = weight_change(before, after)
    assert found["share_moved_over_20_percent"] == pytest.approx(18 / 72)
    assert found["share_moved_over_100_percent"] == pytest.approx(9 / 72)
    assert found["median_relative_change"] == pytest.approx(0.1, abs=1e-6)
    assert found["kernel"] == "two"
    assert found["kernel_before"] == list(range(1, 37))
    assert found["kernel_after"][:2] == [-2, -4]


# --- controls --------------------------------------------------------------------------------------------

LEARN = TrainConfig(epochs=8, learning_rate=0.02, batch_size=64, labels_per_user=4, patience=8)
PAD_MODEL = ModelConfig(width=16, dilations=(1,))


def outcome(action, task, stream, config=LEARN, parent=None):
    study = small_study(model=PAD_MODEL, train={"T1": config, "*": config})
    return ACTIONS[action](Context(study, stream, stream[task], 1, parent, action))


def test_a_strong_structure_is_found():
    """The positive control: five times what popularity gives."""
    stream = small_stream(n_users=800, length=12, structure=0.8)
    found = metric_of("sequence", outcome("train", "T1", stream).ranks["T1"])
    floor = metric_of("sequence", popularity_ranks(stream, stream["T1"], TEST))
    assert 0.5 < found <= 1
    assert found > 5 * floor


@pytest.fixture(scope="module")
def noise():
    """Pure noise: 64 items, so that every item is as likely as any other."""
    return small_stream(
        n_users=1200, length=8, clicks=3, structure=0, taste=0, signal=0, profile_signal=0
    )


def above_chance(task, stream):
    """Measures whose test metric is more than four standard errors above that of a random order of labels."""
    ranks = outcome("train" if task == "T1" else "scratch", task, stream).ranks
    kind, n_labels = stream[task].kind, stream[task].n_labels
    possible = np.arange(1, n_labels + 1)
    gains = scores_of(kind, possible)
    bounds = {m: gains.mean() + 4 * gains.std() / len(r) ** 0.5 for m, r in ranks.items()}
    return [m for m, r in ranks.items() if metric_of(kind, r) > bounds[m]]


@pytest.mark.parametrize("task", ORDER)
def test_in_noise_nothing_is_found(task, noise):
    """The negative control."""
    assert above_chance(task, noise) == []


@pytest.mark.parametrize("task", ORDER)
def test_the_same_training_and_bound_find_a_signal(task):
    dials = {"structure": 0.5, "taste": 0.9} if task == "T1" else {"structure": 0.0, "taste": 0.9}
    stream = small_stream(n_users=1200, length=8, clicks=3, signal=0.9, profile_signal=0.9, **dials)
    assert task in above_chance(task, stream)


def test_a_step_without_parent_begins_anew():
    assert Step("scratch", "T2").parent is None
    one, other = (outcome("scratch", "T2", STREAM, replace(LEARN, epochs=1)) for _ in range(2))
    assert state_of(one.model.model) == state_of(other.model.model)


def test_a_pruning_notes_who_owns_a_slice_of_the_last_kernel():
    learner, noted = None, []
    for task in ("T1", "T2"):
        for action in ("train", "prune", "retrain"):
            made = ACTIONS[action](
                Context(small_study(), STREAM, STREAM[task], 1, learner, action=action)
            )
            learner = made.model
            noted += [made.notes["owners_sample"]] if action == "prune" else []
            assert ("owners_sample" in made.notes) == (action == "prune")
    first, second = (np.array(note["owners"]).reshape(note["shape"]) for note in noted)
    assert {note["kernel"] for note in noted} == {KERNELS[-1]}
    assert first.shape == (3, 6, 8)  # all 8 output channels of the small network
    assert (second == learner.owners[KERNELS[-1]][:, :6, :12].numpy()).all()
    assert set(first.flat) == {0, 1}
    assert ((first == 1) == (second == 1)).all()  # what T1 owns stays T1's
    assert (second == 2).any()
