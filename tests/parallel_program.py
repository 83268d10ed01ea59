"""What one process and several do for tests/test_parallel.py: python -m torch.distributed.run ... FOLDER."""

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from helpers import FAST, ROWS, STEPS, learner_of, lively, rng, small_model, small_stream
from safetensors.torch import save_file

from conure_lib import parallel
from conure_lib.actions import logits_digest
from conure_lib.data.stream import TRAIN
from conure_lib.ownership import ContinualModel
from conure_lib.train import fit

STREAM = small_stream()
FIRST = {"softmax": FAST, "sampled": STEPS["sampled"][1], "rows": replace(FAST, **ROWS)}
ALONE = {name: replace(FIRST[name], batch_size=len(STREAM["T1"].rows(TRAIN)) - 1) for name in ("softmax", "rows")}
"""Settings of T1; ALONE: the last batch of an epoch is a single sequence, of which one process gets nothing."""


def learn() -> tuple[dict[str, torch.Tensor], dict]:
    """Parameters and owner maps by name; the losses of all epochs, and digests of old tasks' logits."""
    tensors, notes = {}, {}
    for kind, (task, config) in STEPS.items():
        model, trainable, joint = learner_of(kind, STREAM)
        curve = fit(lively(model), STREAM, STREAM[task], config, trainable, 1, joint=joint)
        keep(tensors, notes, kind, model, curve)
    for name, config in ALONE.items():
        model, trainable, _ = learner_of("sequence", STREAM)
        keep(tensors, notes, f"alone {name}", model, fit(model, STREAM, STREAM["T1"], config, trainable, 1))
    for name, config in FIRST.items():
        chain(tensors, notes, name, {"T1": config, "T2": replace(FAST, l2=0.02), "T4": FAST})
    return tensors, notes


def chain(tensors: dict, notes: dict, name: str, settings: dict) -> None:
    """Conure's five stages on T1, a ranking task, and a classification task."""
    learner = ContinualModel(small_model(STREAM.n_items))
    memory = notes[f"memory {name}"] = {task: [] for task in settings}
    for task, config in settings.items():
        own = STREAM[task]
        learner.start(task, own.n_labels, own.kind, rng(5))
        curve = fit(learner.model, STREAM, own, config, learner.trainable(), 1)
        learner.prune(0.7)
        with learner.only_owned() as model:
            curve += fit(model, STREAM, own, replace(config, epochs=1), learner.trainable(), 1)
        learner.finish()
        keep(tensors, notes, f"{name} {task}", learner.model, curve)
        tensors |= {f"{name} {task} owner {n}": owner.clone() for n, owner in learner.owners.items()}
        for old in learner.tasks:
            memory[old].append(logits_digest(learner.for_task(old), STREAM, old))


def keep(tensors: dict, notes: dict, name: str, model: torch.nn.Module, curve: list) -> None:
    tensors |= {f"{name} {n}": p.detach().clone() for n, p in model.named_parameters()}
    notes[name] = [[epoch.loss, epoch.validation] for epoch in curve if epoch.number]


def unlike_models_are_noticed() -> bool:
    with contextlib.suppress(RuntimeError):
        parallel.demand_alike([torch.full((3,), float(torch.distributed.get_rank()))])
        return False
    return True


if __name__ == "__main__":
    torch.set_num_threads(1)
    with parallel.joined():
        tensors, notes = learn()
        notes["noticed"] = unlike_models_are_noticed()
        folder, number = Path(sys.argv[1]), torch.distributed.get_rank()
    save_file(tensors, folder / f"{number}.safetensors")
    (folder / f"{number}.json").write_text(json.dumps(notes))
