"""Continual learners: losses, penalties and masks by hand; who forgets, who does not."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import (
    FAST,
    ROWS,
    done,
    lively,
    rng,
    small_model,
    small_stream,
    small_study,
    state_of,
    with_outputs,
)

from conure_lib.config import ModelConfig, TrainConfig
from conure_lib.data.stream import TEST, TRAIN
from conure_lib.methods import CONTINUAL, METHODS, ewc, replay, teracon
from conure_lib.methods.actions import Context
from conure_lib.methods.continual import AllTasks, training_part, validation_score
from conure_lib.methods.joint import Union
from conure_lib.methods.lwf import distillation
from conure_lib.methods.teracon import (
    MAX_SCALE,
    Mask,
    Serving,
    add_masks,
    remove_masks,
    sampled_share,
)
from conure_lib.study.study import Study
from conure_lib.training.evaluation import evaluate, evaluate_all_positions, metric_of

pytestmark = pytest.mark.numerics
STREAM = small_stream()
SHORT = ("T1", "T2", "T4")
LEARNERS = tuple(name for name in CONTINUAL if name != "Conure")


def test_the_learners_t1_is_that_of_the_other_methods():
    train = {"T1.train": replace(FAST, learning_rate=0.02), "T1": FAST, "*": FAST}
    own, usual = (done(name, "T1", STREAM, small_study(train=train)) for name in ("start", "train"))
    assert state_of(own.model.model) == state_of(usual.model.model)
    assert own.ranks["T1-all"].tolist() == usual.ranks["T1-all"].tolist()


# --- EWC ---


def test_fisher_information_by_hand():
    """Scores (wx, 0): the information of w is x^2 p (1 - p), which at p = 1/2 no draw changes."""
    w, b = (torch.zeros((), requires_grad=True) for _ in range(2))
    answers = (torch.stack([w * x + b, torch.zeros(())]) for x in (1.0, 2.0, 3.0))
    of_w, of_b = ewc.fisher(answers, [w, b], rng())
    assert float(of_w) == pytest.approx((1 + 4 + 9) / 3 / 4)
    assert float(of_b) == pytest.approx(1 / 4)
    p = torch.tensor(0.8)
    w = torch.log(p / (1 - p)).requires_grad_()
    drawn = ewc.fisher((torch.stack([2 * w / 2, w * 0]) for _ in range(4000)), [w], rng())
    assert float(drawn[0]) == pytest.approx(0.16, rel=0.1)


def test_the_penalty_pulls_by_information_and_distance():
    now = torch.tensor([1.0, 2.0], requires_grad=True)
    held = [(now, torch.tensor([0.0, 2.5]), torch.tensor([3.0, 4.0]))]
    held.append((now, torch.tensor([1.0, 0.0]), torch.tensor([9.0, 0.5])))
    penalty = ewc.penalty(held)
    assert penalty.item() == pytest.approx((3 * 1 + 4 * 0.25 + 9 * 0 + 0.5 * 4) / 2)
    penalty.backward()
    assert now.grad.tolist() == pytest.approx([3 * 1, 4 * -0.5 + 0.5 * 2])


# --- LwF ---


def test_distillation_by_hand():
    before, now = torch.tensor([[0.0, np.log(3)]]).float(), torch.zeros(1, 2, requires_grad=True)
    loss = distillation(before, now, 1.0)
    assert float(loss) == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5))
    loss.backward()
    assert now.grad.tolist()[0] == pytest.approx([0.25, -0.25])  # today's chances less those before
    root = np.sqrt(3)
    soft = np.array([1, root]) / (1 + root)
    expected = 4 * (soft * np.log(soft / 0.5)).sum()
    assert float(distillation(before, now, 2.0)) == pytest.approx(expected, rel=1e-5)
    assert float(distillation(before, before, 2.0)) == 0


# --- replay ---


@pytest.mark.parametrize("task", ["T1", "T2", "T4"])
@pytest.mark.parametrize("most", [1, 5, 1000])
def test_memory_is_of_training_instances_the_same_ever_after(task, most):
    """At most as many as asked for, and a tenth of the task's."""
    study = small_study(train={"T1": FAST, "*": replace(FAST, memory=most)})
    size = min(most, round(len(STREAM[task].rows(TRAIN)) / 10))
    kept = [
        replay.memory(Context(study, STREAM, STREAM[now], 1, None, "replay"), STREAM[task])
        for now in ("T3", "T5")
    ]
    assert kept[0].tolist() == kept[1].tolist()
    assert len(set(kept[0])) == size
    assert set(kept[0]) <= set(STREAM[task].rows(TRAIN))


# --- TERACON ---


def gates_of(mask, task, scale=2.0):
    mask.serving.task, mask.serving.scale = task, scale
    return mask.gates().tolist()


def test_masks_by_hand():
    mask = Mask(["T1"], 2, Serving("T1"), rng())
    with torch.no_grad():
        mask.embedding.copy_(torch.tensor([[0.5, -1.0]]))
    sigmoid = lambda x: 1 / (1 + np.exp(-np.asarray(x)))  # noqa: E731
    assert gates_of(mask, "T1") == pytest.approx(sigmoid([1, -2]))
    mask = Mask(["T1", "T2"], 2, Serving("T1"), rng())
    with torch.no_grad():
        mask.embedding.copy_(torch.tensor([[0.5, -1.0], [0.25, 2.0]]))
        mask.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.0, 1.0]]))
        mask.bias.copy_(torch.tensor([0.1, 0.2]))
    one, two = np.tanh([1, -2]), np.tanh([0.5, 4])
    assert gates_of(mask, "T1") == pytest.approx(sigmoid(2 * (one + (2 - 3) * two + 0.1)))
    assert gates_of(mask, "T2") == pytest.approx(sigmoid(2 * (0.5 * two - one + 0.2)))
    fresh = Mask(["T1", "T2", "T3"], 50, Serving("T2"), rng())
    assert min(gates_of(fresh, "T2", MAX_SCALE)) > 0.9  # a new mask leaves the network as it is


def test_a_mask_gates_what_a_kernel_reads_and_can_be_taken_off():
    model, sequences = lively(small_model()), torch.from_numpy(STREAM.sequences).long()
    kernels = {name: kernel.detach().clone() for name, kernel in model.kernels().items()}
    serving, masks = add_masks(model, ["T1"], rng())
    off = torch.arange(8) % 2 == 0
    with torch.no_grad():
        for mask in masks.values():
            mask.embedding.copy_(torch.where(off, -100.0, 100.0))
    masked, plain = model.last_hidden(sequences), lively(small_model())
    with torch.no_grad():
        for kernel in plain.kernels().values():
            kernel[:, off] = 0
    torch.testing.assert_close(masked, plain.last_hidden(sequences))
    state = remove_masks(model, masks)
    assert state_of(model) == state_of(lively(small_model()))
    assert {*state} == {f"{k}.{n}" for k in kernels for n in ("embedding", "weight", "bias")}
    assert serving.scale == MAX_SCALE


def test_fewer_answers_are_kept_where_masks_are_alike():
    one, other = (Mask(["T1"], 4, Serving("T1", 1.0), rng()) for _ in range(2))
    assert sampled_share([one], [one]) == pytest.approx(1 - 1 / (1 + np.exp(-6)), rel=1e-3)
    with torch.no_grad():
        one.embedding.copy_(torch.tensor([[9.0, 9.0, -99.0, -99.0]]))
        other.embedding.copy_(torch.tensor([[-99.0, -99.0, 9.0, 9.0]]))
    assert sampled_share([one], [other]) == pytest.approx(0.5)


# --- what they share ---


def test_the_validation_value_is_the_mean_change_without_old_tasks_gains(monkeypatch):
    values = {"T1": [0.2, 0.3, 0.1], "T2": [0.5, 0.5, 0.4], "T4": [0.1, 0.2, 0.2]}
    monkeypatch.setattr(
        "conure_lib.methods.continual.validation_score", lambda m, s, task: values[task.name].pop(0)
    )
    model = small_model()
    model.add_output("T4", np.ones(8), rng())
    served, old = [], [STREAM["T1"], STREAM["T2"]]
    batches = AllTasks(model, STREAM, STREAM["T4"], FAST, 1, old=old, serve=served.append)
    found = [batches.validation() for _ in range(3)]
    assert found == pytest.approx([0, (0 + 0 + 1) / 3, (-0.5 - 0.2 + 1) / 3])
    assert served == list(SHORT) * 3


def test_joint_training_takes_every_batch_of_every_task_with_its_own_penalty():
    model = with_outputs(STREAM)
    configs = {name: replace(FAST, batch_size=9 + i) for i, name in enumerate(SHORT)}
    old, task = [STREAM["T1"], STREAM["T2"]], STREAM["T4"]
    make = lambda **configs: Union(model, STREAM, task, FAST, 1, old=old, configs=configs)  # noqa: E731
    union = make(**configs)
    batches = union.epoch(1)
    for name in SHORT:
        rows = [rows for other, rows in batches if other == name]
        assert max(map(len, rows)) == configs[name].batch_size
        assert sorted(np.concatenate(rows)) == STREAM[name].rows(TRAIN).tolist()
    assert [name for name, _ in batches] != sorted(name for name, _ in batches)
    batch = next(batch for batch in batches if batch[0] == "T2")
    heavy = make(**configs | {"T2": replace(configs["T2"], l2=0.5)})
    plain, more = (sum(loss for loss, _ in one.losses(batch)) for one in (union, heavy))
    weight = model.outputs["T2"].weight
    assert float(more - plain) == pytest.approx(float(weight.square().sum() / 4), rel=1e-4)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_trains_where_tables_are_updated_by_rows(name):
    by_rows = replace(FAST, **ROWS)
    config = small_study(train={"T1": FAST, "*": by_rows})
    steps, parent = METHODS[name].recipe(("T1", "T2", "T3")), None
    for task in ("T1", "T2", "T3"):
        parent = done(steps[task].action, task, STREAM, config, parent).model
    assert {"T1", "T2", "T3"} <= {*parent.model.outputs}


@pytest.mark.parametrize("task", ["T1", "T2"])
def test_of_a_thinned_task_only_what_was_trained_on_is_kept(task):
    share = {f"{task}.{'train' if task == 'T1' else 'replay'}": replace(FAST, share=0.3)}
    study = small_study(train={"T1": FAST, "*": FAST} | share)
    c = Context(study, STREAM, STREAM["T4"], 1, None, "replay")
    trained = STREAM[task].thinned(0.3).rows(TRAIN)
    assert 0 < len(trained) < len(STREAM[task].rows(TRAIN))
    assert training_part(c, STREAM[task]).rows(TRAIN).tolist() == trained.tolist()
    assert {*replay.memory(c, STREAM[task])} <= {*trained}


def test_old_tasks_are_measured_against_what_they_were_with_the_masks_they_learned(monkeypatch):
    """TERACON's masks are new for each task, and cost old tasks something already."""
    references = []

    class Seen(teracon.Annealed):
        def __post_init__(self):
            super().__post_init__()
            references.append(dict(self.before))

    monkeypatch.setattr(teracon, "Annealed", Seen)
    first = done("start", "T1", STREAM).model
    second = done("teracon", "T2", STREAM, parent=first).model
    done("teracon", "T3", STREAM, parent=copy.deepcopy(second))
    serving = put_on(second, ["T1", "T2"])
    for task, before in references[-1].items():
        serving.task = task
        assert validation_score(second.model, STREAM, STREAM[task]) == before
    assert {*references[-1]} == {"T1", "T2"}


def put_on(learner, tasks):
    """Put the masks on again that a learner keeps."""
    serving, masks = add_masks(learner.model, tasks, rng())
    with torch.no_grad():
        for kernel, mask in masks.items():
            for part, parameter in mask.named_parameters():
                parameter.copy_(learner.state[f"{kernel}.{part}"])
    return serving


@pytest.fixture(scope="module")
def study(shared_root):
    made = Study(small_study(), replace(STREAM, tasks=tuple(STREAM[name] for name in SHORT)))
    made.compute(made.runs(LEARNERS))
    return made


@pytest.mark.parametrize("name", LEARNERS)
def test_what_is_stored_is_the_network_that_was_tested(study, name):
    """After a reload, with all that a method keeps; the notes say so."""
    stages = study.run(name, 1).stages
    for task, old in (("T2", ["T1"]), ("T4", ["T1", "T2"])):
        stage = stages[task]
        learner, notes = stage.model(), stage.record()["notes"]
        model = learner.model
        assert list(notes["old_tasks"]) == old
        serving = put_on(learner, [*old, task]) if name == "TERACON" else None
        for other in (*old, task):
            if serving:
                serving.task = other
            asked, is_t1 = (model, STREAM, STREAM[other], TEST), other == "T1"
            ranks = evaluate_all_positions(*asked) if is_t1 else evaluate(*asked)[other]
            if other == task:
                assert ranks.tolist() == stage.ranks(task).tolist()
            else:
                ranks = np.where(ranks > 10, 0, ranks)
                measure = "T1-all-after" if is_t1 else f"{other}-after"
                assert ranks.tolist() == stage.ranks(measure).tolist()
                metric = metric_of(STREAM[other].kind, ranks)
                assert notes["old_tasks"][other] == {"metric": metric, "n": len(ranks)}


def test_what_each_learner_keeps_and_trains(study):
    """Width 8, one block: a backbone of 520 + 384 + 32; outputs of 64, 16 and 8 labels."""
    backbone, t1, t2, t4 = 936, 64 * 9, 16 * 9, 8 * 9
    notes = {n: study.run(n, 1).stages["T4"].record()["notes"] for n in LEARNERS}
    every = backbone + t1 + t2 + t4
    masks = 2 * (3 * 8 + 3 * 5 + 3)
    trained = dict.fromkeys(("LwF", "Joint"), every) | {"TERACON": every + masks}
    trained |= dict.fromkeys(("Sequential", "EWC", "Replay"), backbone + t4)
    assert {name: notes[name]["trained_parameters"] for name in LEARNERS} == trained
    instances = [len(STREAM[name].rows(TRAIN)) for name in SHORT]
    smaller = 2 * (2 * 8 + 2 * 3 + 2)
    assert {name: notes[name]["kept"] for name in LEARNERS} == {
        "Sequential": {},
        "EWC": {"fisher and weights": 3 * 2 * backbone},
        "LwF": {"teacher": backbone + t1 + t2},
        "Replay": {"memory": sum(round(n / 10) for n in instances) * 7},
        "Joint": {"instances": sum(instances) * 7},
        "TERACON": {"masks": masks, "teacher": backbone + t1 + t2 + smaller},
    }


CONFIG = TrainConfig(epochs=6, learning_rate=0.01, batch_size=32, labels_per_user=2, patience=6)


@pytest.fixture(scope="module")
def planted():
    """A learned T1 and the study it belongs to."""
    stream = small_stream(n_users=300, structure=0.9, taste=0.9)
    config = small_study(
        model=ModelConfig(width=16, dilations=(1, 2)), train={"T1": CONFIG, "*": CONFIG}
    )
    return config, stream, done("train", "T1", stream, config)


@pytest.mark.parametrize(
    ("name", "retention", "least", "most"),
    [
        ("Sequential", 0, 0, 0.4),
        ("EWC", 1e7, 0.95, 1.05),
        ("Replay", 30.0, 0.6, 1.05),  # a tenth of T1 is kept
        ("EWC", 0, 0, 0.8),
    ],
)
def test_what_is_not_protected_is_forgotten(planted, name, retention, least, most):
    config, stream, t1 = planted
    train = {**config.train, "*": replace(CONFIG, retention=retention)}
    study, parent = replace(config, train=train), copy.deepcopy(t1.model)
    before = validation_score(parent.model, stream, stream["T1"])
    action = METHODS[name].recipe(SHORT)["T2"].action
    for task in ("T2", "T3"):
        parent = done(action, task, stream, study, parent).model
    assert least <= validation_score(parent.model, stream, stream["T1"]) / before <= most
