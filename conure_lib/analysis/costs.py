"""What the compared methods cost: parameters trained and stored, and backbones (Table 2's #Bb)."""

from collections.abc import Iterable

import pandas as pd
import torch

from conure_lib.methods import METHODS
from conure_lib.models.nextitnet import UserModel
from conure_lib.models.ownership import EMBEDDING
from conure_lib.study.study import Run, Study


def table(study: Study, runs: Iterable[Run]) -> pd.DataFrame:
    """Return what each method stores and trains over all tasks that it serves.

    What is stored follows from the method's record (``Method.backbone``, ``patches``,
    ``owner_maps``). An owner map takes bit_length(tasks) bits per prunable weight, 32 of which
    count as one parameter.

    Returns
    -------
    DataFrame
        One row per method and variant: ``backbones`` and parameters ``stored`` to serve all tasks
        (missing for a state that serves its newest task only), ``share`` of what one network per
        task takes, ``trained_first`` and ``trained_later``, parameters that may change, summed over
        the trainings of T1 and of the later tasks.
    """
    rows = []
    for run in {(run.method, run.variant): run for run in runs}.values():
        method, size = METHODS[run.method], sizes(study, run)
        count = {"own": len(run.stages), "shared": 1, "none": 0}.get(method.backbone)
        stored = None if count is None else count * size["backbone"]
        if count:
            stored += sum(size[task] for task in run.stages)
            stored += method.patches * (len(run.stages) - 1) * size["patches"]
            bits = method.owner_maps * len(run.stages).bit_length()
            stored += round(size["prunable"] * bits / 32)
        alone = sum(size["backbone"] + size[task] for task in study.order)
        row = {"method": run.method, "variant": run.variant, "backbones": count}
        row |= _trained(run, study.order[0]) | {"stored": stored}
        rows.append(row | {"share": None if stored is None else stored / alone})
    return pd.DataFrame(rows).astype({"backbones": "Int64", "stored": "Int64", "share": float})


def sizes(study: Study, run: Run) -> dict[str, int]:
    """Return the number of parameters of each part of a run's network.

    Parts are "backbone", "prunable", "patches" (of one task), and each task's output layer by its
    name. They are counted on a new network; nothing that was trained is read.
    """
    generator = torch.Generator().manual_seed(0)
    config = next(iter(run.stages.values())).config
    model = UserModel(config.model, study.stream.n_items, generator)
    counts = {
        "backbone": _number(model.parameters()),
        "prunable": _number(model.kernels().values()),
    }
    if config.pruned(study.order[0]).get(EMBEDDING):
        counts["prunable"] += model.embedding.numel()
    model.add_patches("serial", generator)
    counts["patches"] = _number(model.parameters()) - counts["backbone"]
    for task in study.stream.tasks:
        model.add_output(task.name, task.n_labels, task.kind, generator)
        counts[task.name] = _number(model.outputs[task.name].parameters())
    return counts


def _trained(run: Run, first: str) -> dict[str, int]:
    """Return how many parameters the stages trained that the run's results need, each once."""
    stages = {one.id: one for stage in run.stages.values() for one in stage.lineage()}.values()
    counts = {"trained_first": 0, "trained_later": 0}
    for one in stages:
        key = "trained_first" if one.step.task == first else "trained_later"
        counts[key] += one.record()["notes"].get("trained_parameters", 0)
    return counts


def _number(parameters: Iterable[torch.Tensor]) -> int:
    return sum(p.numel() for p in parameters)
