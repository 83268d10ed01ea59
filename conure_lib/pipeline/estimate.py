"""What stages would cost on this machine, from a few real steps of each kind of stage."""

import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from conure_lib import files, paths
from conure_lib.data.stream import BLOCKS, PARTS, TaskStream
from conure_lib.methods import FLOOR_ACTIONS
from conure_lib.pipeline import provenance
from conure_lib.pipeline.scheduler import missing
from conure_lib.pipeline.stage import Stage, compute_stage
from conure_lib.pipeline.store import RANKS, LocalStore
from conure_lib.training.batches import shuffled

STEPS, LEAST = 3, 64  # batches that are trained; instances that are validated and tested
SIZES = ("batch_size", "labels_per_user", "share", "loss", "negatives", "table_updates")
ADDED = ("stages", "fewest_h", "most_h", "disk_gib")  # in the last row
NOTE = """On this machine, one stage at a time. Hours: fewest if no epoch improves, most if all do.
Not counted: floors, searches of pruning ratios, the evaluation of pruned and of earlier tasks."""


def estimate(stages: Iterable[Stage], stream: TaskStream) -> pd.DataFrame:
    """Estimate what is missing of stages: number, hours, peak memory and disk by kind; see NOTE.

    Each kind is computed for one epoch on a few instances, with whose number time grows.
    """
    store = LocalStore(files.temporary_folder("trials", paths.artifacts()))
    stages, groups = list(stages), dict[tuple, list[Stage]]()
    for one in missing(stages, provenance.kind_here(stages[0].config.device)):
        if one.step.action not in FLOOR_ACTIONS:
            groups.setdefault((one.step.task, kind_of(one, stream)), []).append(one)
    trials = {key: brief(group[0], store) for key, group in groups.items()}
    found, rows = dict[tuple, dict[str, float]](), []
    try:
        for number, ((task, kind), trial) in enumerate(tqdm(trials.items(), "trials", leave=False)):
            if number == 0:  # the very first one warms up
                shutil.rmtree(measured(trial, stream)["folder"])
            found[kind] = found.get(kind) or measured(trial, stream)
            rows.append(scaled(found[kind], groups[task, kind], stream))
            needed = {s.id for one in [*trials.values()][number + 1 :] for s in one.lineage()}
            for folder in (f for f in store.root.iterdir() if f.name not in needed):
                shutil.rmtree(folder)
    finally:
        shutil.rmtree(store.root, ignore_errors=True)
    total = {name: sum(row[name] for row in rows) for name in ADDED}
    total["epoch_s"] = sum(row["stages"] * row["epoch_s"] for row in rows)
    total["memory_gib"] = max((row["memory_gib"] for row in rows), default=0.0)
    return pd.DataFrame([*rows, {"task": "all", "action": "", "network": "", **total}])


def kind_of(stage: Stage, stream: TaskStream) -> tuple:
    """Return what the cost of an instance depends on; that of all profiles is the same."""
    step, kind = stage.step, stream[stage.step.task].kind
    training = stage.config.training(step.task, step.action)
    sizes = tuple(getattr(training, name) for name in SIZES)
    what = kind if kind == "classification" else step.task
    return what, step.action, stage.config.model, *sizes


def brief(stage: Stage, store: LocalStore) -> Stage:
    """Return the stage with one epoch."""
    config, once = stage.config, {"epochs": 1, "final_rate": 0.0}
    train = {key: replace(one, **once) for key, one in config.train.items()}
    changes = {"train": train, "retrain": {**config.retrain, **once}, "prune_margin": {}}
    return replace(stage, config=replace(config, **changes), store=store)


def measured(trial: Stage, stream: TaskStream) -> dict[str, object]:
    """Compute a trial and what it starts from; return its cost, most of it per instance."""
    for one in trial.lineage()[:-1]:
        compute_stage(one, few_instances(stream, one))
    few, device = few_instances(stream, trial), trial.config.device
    peak_gib(device, reset=True)
    compute_stage(trial, few)
    folder, took, task = trial.store.folder(trial.id), trial.environment(), few[trial.step.task]
    n_train, n_validation, n_test = (len(task.rows(part)) for part in PARTS.values())
    first, epoch = took["epochs_s"] or (0.0, 0.0)  # the first is a validation
    of_users = first > epoch  # it computed the vectors of all users, once
    return {
        "folder": folder,
        "train_s": max(epoch - first, 0.0) / n_train,
        "validation_s": min(epoch, first) / n_validation,
        "first_s": first / (few.n_users if of_users else n_validation),
        "of_users": of_users,
        "once_s": took["wall_s"] - first - epoch,
        "memory_gib": peak_gib(device),
        "disk": sum(file.stat().st_size for file in folder.iterdir()),
        "ranks": (folder / RANKS).stat().st_size / n_test,
    }


def scaled(found: dict, stages: list[Stage], stream: TaskStream) -> dict[str, object]:
    """Return what stages of a kind take on the whole stream."""
    config, step, number = stages[0].config, stages[0].step, len(stages)
    training, task = config.training(step.task, step.action), stream[step.task]
    n_train, n_validation, n_test = (len(task.rows(part)) for part in PARTS.values())
    epoch = n_train * found["train_s"] + n_validation * found["validation_s"]
    first = found["first_s"] * (stream.n_users if found["of_users"] else n_validation)
    once = found["once_s"] + first * (1 + n_test / n_validation)  # the test part costs as much
    phases = 2 if training.final_rate else 1
    least, most = (phases * n for n in (min(training.patience, training.epochs), training.epochs))
    arrays = stream.sequences.nbytes + 4 * stream.n_users * config.model.width  # users' vectors
    return {
        "task": step.task,
        "action": step.action,
        "network": f"{config.model.width} x {config.model.blocks}",
        "stages": number,
        "epoch_s": epoch,
        "fewest_h": number * (once + least * epoch) / 3600,
        "most_h": number * (once + most * epoch) / 3600,
        "memory_gib": found["memory_gib"] + arrays / 2**30,
        "disk_gib": number * (found["disk"] + n_test * found["ranks"]) / 2**30,
    }


def few_instances(stream: TaskStream, stage: Stage) -> TaskStream:
    """Return a stream of few users that has batches as the whole one: enough for a few steps."""
    stream, step = stream.fold(stage.seed), stage.step
    task, training = stream[step.task], stage.config.training(step.task, step.action)
    wanted, together = STEPS * training.batch_size / training.share, training.labels_per_user
    generator, drawn = torch.Generator().manual_seed(0), []
    for part in PARTS.values():
        rows = task.rows(part)
        order = shuffled(rows, task.users[rows], together, generator)
        drawn.append(order[: round(wanted)])
        wanted, together = LEAST, len(task.users)  # users are evaluated once for all their labels
    drawn = np.concatenate(drawn)
    users, tasks = np.unique(task.users[drawn]), []
    for one in stream.tasks:
        rows = np.flatnonzero(np.isin(one.users, users))
        blocks = one.blocks[rows]
        if one is task:
            blocks = np.where(np.isin(rows, drawn), blocks, BLOCKS).astype(np.uint8)
        own = {"labels": one.labels[rows], "blocks": blocks}
        tasks.append(replace(one, users=np.searchsorted(users, one.users[rows]), **own))
    mine = np.flatnonzero(np.isin(stream.tasks[0].users, users))
    inputs = np.searchsorted(mine, stream.input_rows[users])
    few = {"sequences": stream.sequences[mine], "input_rows": inputs, "tasks": tuple(tasks)}
    return replace(stream, **few, groups=None)


def peak_gib(device: str, reset: bool = False) -> float:
    """Return the most memory held on the GPU, or by this process (Linux; elsewhere not known)."""
    if device == "cuda":
        _ = reset and torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated() / 2**30
    with suppress(OSError):
        _ = reset and Path("/proc/self/clear_refs").write_text("5")
        return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 2**20
    return float("nan")
