"""The guarantee that nothing is forgotten, stage by stage and to the last bit, and its evidence."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import (
    FAST,
    NETWORKS,
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

from conure_lib.methods.actions import weights_digest
from conure_lib.methods.conure import conure_chain
from conure_lib.models.ownership import ContinualModel
from conure_lib.study.study import Study
from conure_lib.training.loop import fit

pytestmark = pytest.mark.numerics
STREAM = small_stream()
ORDER = tuple(t.name for t in STREAM.tasks)
SEQUENCES = torch.from_numpy(STREAM.sequences).long()
KERNELS = ("blocks.0.kernel1", "blocks.0.kernel2")
EMBEDDING_RATIOS = {"T1": 0.3, "T2": 0.8, "*": 0.5}


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


def learn_all(learner, memory, train, order, embedding, grows):
    """All stages of all tasks; ``train(model, task, trainable, retrain)`` is the training."""
    for name in order:
        task = STREAM[name]
        if grows and learner.tasks:
            learner.grow(rng(8), len(learner.tasks))
            memory.check(learner, f"grown for {name}")
        learner.start(name, STREAM.label_counts(task), rng(7))
        train(learner.model, task, learner.trainable(), False)
        memory.check(learner, f"{name} trained")
        learner.prune(RATIOS[name], embedding and embedding.get(name, embedding["*"]))
        memory.check(learner, f"{name} pruned")
        with learner.only_owned() as model:
            train(model, task, learner.trainable(), True)
            memory.check(learner, f"{name} retrained, free weights at zero")
        learner.finish()
        memory.check(learner, f"{name} finished")
        memory.keep(learner, name)


PRUNED = {
    "kernels": (None, None),
    "embedding from the start": (("embedding", *KERNELS), EMBEDDING_RATIOS),
    "embedding from the first pruning on": (None, EMBEDDING_RATIOS),
}
"""What has owner maps: the argument ``prunable``, and the embedding's ratios."""
OTHER = ("T1", "T6", "T3", "T2")
CASES = [("nextitnet", order, pruned, False) for order in (ORDER, OTHER) for pruned in PRUNED]
CASES += [(network, OTHER, "kernels", False) for network in NETWORKS if network != "nextitnet"]
CASES += [(network, OTHER, "embedding from the first pruning on", True) for network in NETWORKS]
NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("network", "order", "pruned", "grows"), CASES)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NO_CUDA)])
def test_old_tasks_never_change(way, network, order, pruned, grows, device):
    moved, (prunable, embedding) = [], PRUNED[pruned]

    def train(model, task, trainable, retrain):
        before = state_of(model)
        config = replace(FAST, epochs=1 + retrain, final_rate=0.5 * retrain, **WAYS[way])
        fit(model, STREAM, task, config, trainable, 1)
        names = {n for n, value in state_of(model).items() if value != before[n]}
        moved.append(task.name)  # every stage learned, in every tensor with an owner map
        expected = {*learner.owners, f"outputs.{task.name}.weight"} & trainable.keys()
        assert expected >= {*model.kernels(), f"outputs.{task.name}.weight"}
        cut_off = retrain and network == "sasrec"  # its few weights need not lead anywhere
        assert expected <= names or cut_off
        assert names <= trainable.keys()
        assert task.name == "T1" or trainable.keys() <= expected | {f"outputs.{task.name}.bias"}

    model = small_model(**NETWORKS[network] | {"layers": 1})
    learner, memory = ContinualModel(model, prunable).to(device), Memory(device)
    learn_all(learner, memory, train, order, embedding, grows)
    assert memory.compared == (4 + grows) * sum(range(len(order)))
    assert len(memory.known) == len(order)
    assert moved == [*np.repeat(order, 2)]
    assert model.config.blocks == 1 + grows * (1 + 2 + 3)
    assert "embedding" in learner.owners or not embedding


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("embedding", [{}, EMBEDDING_RATIOS], ids=["kernels", "with embedding"])
def test_old_tasks_never_change_in_a_computed_study(way, embedding, root):
    """The same through stages: records repeat the old tasks' digests, checkpoints their logits."""
    config = replace(FAST, final_rate=0.5, **WAYS[way])
    changes = {"train": {"T1": config, "*": config}, "prune_embedding": embedding}
    study = Study(small_study(**changes), STREAM)
    study.compute([study.run("Conure", 1)])
    steps = [step for steps in conure_chain(ORDER).values() for step in steps.values()]
    memory, evidence = Memory(), {}
    for stage in (study.stage(step, 1) for step in steps):
        learner, record = stage.model(), stage.record()
        memory.check(learner, stage.id)
        finished = stage.step.action == "retrain"
        if finished:
            memory.keep(learner, stage.step.task)
            metric = record["metrics"][0]["value"]  # what is reported is what it has ever after
            assert record["notes"]["memory"][stage.step.task]["metric"] == metric
        for task, noted in record["notes"]["memory"].items():
            before = noted.pop("logits_before_sha256", None)
            is_new = finished and task == stage.step.task
            assert before == (None if is_new else noted["logits_sha256"])
            assert evidence.setdefault(task, noted) == noted, (task, stage.id)
            assert noted["weights_sha256"] == weights_digest(learner.for_task(task))
    assert list(evidence) == list(memory.known) == list(ORDER)
    assert memory.compared == 3 * 15


@pytest.mark.parametrize(
    "name", ["embedding", "blocks.0.norm1.weight", *KERNELS, "outputs.T1.bias"]
)
def test_the_digest_of_a_tasks_weights_covers_all_that_it_uses(name):
    learner = ContinualModel(small_model())
    learner.start("T1", np.ones(64), rng())
    learner.prune(0.5)
    learner.finish()
    before, parameter = weights_digest(learner.for_task("T1")), learner.model.get_parameter(name)
    with torch.no_grad():
        used = learner.visible(name, "T1") if name in KERNELS else torch.ones(parameter.shape) > 0
        parameter[~used] += 1
        assert weights_digest(learner.for_task("T1")) == before
        parameter[tuple(used.nonzero()[-1])] *= -1.5
        assert weights_digest(learner.for_task("T1")) != before
