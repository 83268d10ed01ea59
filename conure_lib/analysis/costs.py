"""What the compared methods cost: parameters trained and stored, and backbones (Table 2's #Bb)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch

from conure_lib.analysis.tables import lineage
from conure_lib.methods import METHODS
from conure_lib.models import new_model
from conure_lib.models.ownership import EMBEDDING
from conure_lib.study.study import Run, Study


def table(study: Study, runs: Iterable[Run]) -> pd.DataFrame:
    """Return one row per network's method and variant: what it stores and trains over all tasks.

    ``backbones`` and parameters ``stored`` serve all tasks (missing for a state that serves its
    newest only). They follow from the method's record; an owner map takes bit_length(tasks) bits
    per prunable weight, and what continual learners keep beside is in their notes. ``share``: of
    one network per task. ``trained_first``, ``trained_later``: over the trainings of T1 and others.
    """
    rows = []
    of_networks = (run for run in runs if not METHODS[run.method].floor)
    for run in {(run.method, run.variant): run for run in of_networks}.values():
        method, size, tasks = METHODS[run.method], sizes(study, run), len(run.stages)
        trained = {True: 0, False: 0}
        for stage in lineage(run):
            number = stage.record()["notes"].get("trained_parameters", 0)
            trained[stage.step.task == study.order[0]] += number
        count = {"own": tasks, "shared": 1}.get(method.backbone, np.nan)
        parts = [count * size["backbone"], *(size[task] for task in run.stages)]
        parts.append(method.patches * (tasks - 1) * size["patches"])
        parts.append(round(method.owner_maps * tasks.bit_length() * size["prunable"] / 32))
        stored = sum(parts) + sum(run.last.record()["notes"].get("kept", {}).values())
        alone = sum(size["backbone"] + size[task] for task in study.order)
        row = {"method": run.method, "variant": run.variant, "backbones": count}
        row |= {"trained_first": trained[True], "trained_later": trained[False]}
        rows.append(row | {"stored": stored, "share": stored / alone})
    return pd.DataFrame(rows).astype({"backbones": "Int64", "stored": "Int64"})


def sizes(study: Study, run: Run) -> dict[str, int]:
    """Return the parameters of each part of a network like the run's: parts, and tasks' outputs."""
    config, generator = run.last.config, torch.Generator().manual_seed(0)
    blocks = config.model.blocks
    if config.grow_below or config.grow_margin:
        blocks = run.last.record()["notes"].get("blocks", blocks)
    model = new_model(config.model.resized(blocks), study.stream.n_items, generator)
    counts = {"backbone": _size(model.parameters()), "prunable": _size(model.kernels().values())}
    if config.pruned(study.order[0]).get(EMBEDDING):
        counts["prunable"] += model.embedding.numel()
    model.add_patches("serial", generator)
    counts["patches"] = _size(model.parameters()) - counts["backbone"]
    for task in study.stream.tasks:
        model.add_output(task.name, np.ones(task.n_labels), generator)
        counts[task.name] = _size(model.outputs[task.name].parameters())
    return counts


def _size(parameters: Iterable[torch.Tensor]) -> int:
    return sum(p.numel() for p in parameters)
