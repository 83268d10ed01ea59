"""What the compared methods cost: parameters trained and stored, and backbones to store (Table 2's #Bb)."""

from collections.abc import Iterable

import pandas as pd
import torch

from conure_lib.models.nextitnet import UserModel
from conure_lib.models.ownership import EMBEDDING
from conure_lib.pipeline.stage import Stage
from conure_lib.study.study import Run, Study

PATCHED = ("patched-serial", "patched-parallel")
WHOLE = (
    "scratch",
    "finetune",
    "joint",
)  # every weight changes, so the task needs a network of its own
SHARING = (
    "output-only",
    *PATCHED,
    "retrain",
)  # the backbone that was there before goes on serving its tasks


def backbone_of(stage: Stage) -> str | None:
    """The id of the stage whose backbone serves this one's task; None if nothing that lasts does.

    A first training and an action of ``WHOLE`` make a backbone; one of ``SHARING`` leaves it as it is for the
    tasks before. What a later ``train`` or a ``prune`` leaves is a state that the next stages change.
    """
    if stage.step.action in WHOLE or (stage.step.action == "train" and stage.parent is None):
        return stage.id
    return stage.lineage()[0].id if stage.step.action in SHARING else None


def sizes(study: Study, run: Run) -> dict[str, int]:
    """Parameters by part of a run's network: "backbone", "prunable", "patches" (of one task), and each task's
    output layer by the task's name. Counted on a network of these sizes; nothing that was trained is read."""
    nothing = torch.Generator().manual_seed(0)
    config = next(iter(run.stages.values())).config
    model = UserModel(config.model, study.stream.n_items, nothing)
    counts = {
        "backbone": _number(model.parameters()),
        "prunable": _number(model.kernels().values()),
    }
    counts["prunable"] += (
        model.embedding.numel() if config.pruned(study.order[0]).get(EMBEDDING) else 0
    )
    model.add_patches("serial", nothing)
    counts["patches"] = _number(model.parameters()) - counts["backbone"]
    for task in study.stream.tasks:
        model.add_output(task.name, task.n_labels, task.kind, nothing)
        counts[task.name] = _number(model.outputs[task.name].parameters())
    return counts


def table(study: Study, runs: Iterable[Run]) -> pd.DataFrame:
    """One row a method (and variant), over all tasks that it serves.

    backbones: to store, by ``backbone_of``. trained_first, trained_later: parameters that may change, summed
    over the trainings and retrainings for T1 and for the later tasks. stored: parameters to keep to serve all
    tasks: the backbones, an output layer a task, patches a task, and owner maps (bit_length(tasks) bits a
    prunable weight, 32 of them counted as one parameter). share: of what a whole network per task takes.
    Conure- is a state and no method that serves several tasks: backbones, stored and share are missing.
    """
    rows = []
    for run in {(run.method, run.variant): run for run in runs}.values():
        part = sizes(study, run)
        backbones = {backbone_of(stage) for stage in run.stages.values()}
        actions = [stage.step.action for stage in run.stages.values()]
        stored = len(backbones) * part["backbone"] + sum(part[task] for task in run.stages)
        stored += part["patches"] * sum(action in PATCHED for action in actions)
        if "retrain" in actions:
            stored += round(part["prunable"] * len(run.stages).bit_length() / 32)
        if set(actions) == {"popularity"}:
            backbones, stored = set(), 0
        if None in backbones:
            backbones, stored = None, None
        whole = sum(part["backbone"] + part[task] for task in study.order)
        rows.append(
            {
                "method": run.method,
                "variant": run.variant,
                "backbones": None if backbones is None else len(backbones),
                **_trained(run, study.order[0]),
                "stored": stored,
                "share": None if stored is None else stored / whole,
            }
        )
    return pd.DataFrame(rows).astype({"backbones": "Int64", "stored": "Int64", "share": float})


def _trained(run: Run, first: str) -> dict[str, int]:
    """Over all stages that the run's results need, each once."""
    stages = {one.id: one for stage in run.stages.values() for one in stage.lineage()}.values()
    counts = {"trained_first": 0, "trained_later": 0}
    for one in stages:
        name = "trained_first" if one.step.task == first else "trained_later"
        counts[name] += one.record()["notes"].get("trained_parameters", 0)
    return counts


def _number(parameters: Iterable[torch.Tensor]) -> int:
    return sum(p.numel() for p in parameters)
