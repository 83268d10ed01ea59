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
from conure_lib.data.stream import BLOCKS, PARTS, TEST, VALIDATION, TaskStream
from conure_lib.methods import FLOOR_ACTIONS
from conure_lib.pipeline import provenance
from conure_lib.pipeline.scheduler import missing
from conure_lib.pipeline.stage import Stage, compute_stage
from conure_lib.pipeline.store import RANKS, LocalStore
from conure_lib.training.batches import shuffled

STEPS = 3  # batches that are trained
MEASURED_INSTANCES = 64  # that are validated and tested
SIZES = ("batch_size", "labels_per_user", "share", "loss", "negatives", "table_updates")
SIZES += ("epochs", "patience", "final_rate")  # of a step, then of how many
ADDED = ("stages", "fewest_h", "most_h", "disk_gib")  # in the last row
NOTE = """On this machine, one stage at a time. Hours: fewest if only the first epoch improves,
most if all do. Not counted: floors, searches of pruning ratios, the evaluation of pruned and of
earlier tasks."""


def estimate(stages: Iterable[Stage], stream: TaskStream) -> pd.DataFrame:
    """Estimate what is missing of stages: number, hours, peak memory and disk by kind; see NOTE.

    Each kind is computed for one epoch on a few instances, with whose number time grows.
    """
    stages, kinds, rows = list(stages), dict[tuple, list[Stage]](), []
    for one in missing(stages, provenance.kind_here(stages[0].config.device)):
        if one.step.action not in FLOOR_ACTIONS:
            kinds.setdefault(kind_of(one), []).append(one)
    store = LocalStore(files.temporary_folder("trials", paths.artifacts()))
    trials = [(brief(group[0], store), group[0]) for group in kinds.values()]
    try:
        for number, pair in enumerate(tqdm([*trials[:1], *trials], "trials", leave=False)):
            rows.append(measured(*pair, stream))
            needed = {s.id for trial, _ in trials[number:] for s in trial.lineage()}
            for folder in store.root.iterdir():
                if number == 0 or folder.name not in needed:  # the very first trial warms up
                    shutil.rmtree(folder)
    finally:
        shutil.rmtree(store.root, ignore_errors=True)
    for row, group in zip(rows := rows[1:], kinds.values(), strict=True):
        row |= {name: len(group) * row[name] for name in ADDED}
    total = {"task": "all", "action": "", "network": ""}
    total |= {name: sum(row[name] for row in rows) for name in ADDED}
    total["epoch_s"] = sum(row["stages"] * row["epoch_s"] for row in rows)
    total["memory_gib"] = max((row["memory_gib"] for row in rows), default=0.0)
    return pd.DataFrame([*rows, total])


def kind_of(stage: Stage) -> tuple:
    """Return what the cost of a stage depends on, beside the data."""
    step, config = stage.step, stage.config
    training = config.training(step.task, step.action)
    return step.task, step.action, config.model, *(getattr(training, name) for name in SIZES)


def brief(stage: Stage, store: LocalStore) -> Stage:
    """Return the stage with one epoch."""
    config, once = stage.config, {"epochs": 1, "final_rate": 0.0}
    train = {key: replace(one, **once) for key, one in config.train.items()}
    changes = {"train": train, "retrain": {**config.retrain, **once}, "prune_margin": {}}
    return replace(stage, config=replace(config, **changes), store=store)


def measured(trial: Stage, stage: Stage, stream: TaskStream) -> dict[str, object]:
    """Compute a trial and what it starts from; return what the stage takes on the whole stream."""
    for one in trial.lineage()[:-1]:
        compute_stage(one, few_instances(stream, one))
    few, config, step = few_instances(stream, trial), stage.config, stage.step
    peak_gib(config.device, reset=True)
    compute_stage(trial, few)
    memory, took = peak_gib(config.device), trial.environment()
    written = {file.name: file.stat().st_size for file in trial.store.folder(trial.id).iterdir()}
    n = {part: len(stream[step.task].rows(part)) for part in PARTS.values()}
    train, validation, test = (n[part] / len(few[step.task].rows(part)) for part in n)
    first, epoch = took["epochs_s"] or (0.0, 0.0)  # the first is a validation
    of_users = first > epoch  # it computed the vectors of all users, once
    evaluation = stream.n_users / few.n_users if of_users else validation
    each = max(epoch - first, 0.0) * train + min(epoch, first) * validation
    once = took["wall_s"] - first - epoch + first * evaluation * (1 + n[TEST] / n[VALIDATION])
    training = config.training(step.task, step.action)
    phases, most = 2 if training.final_rate else 1, training.epochs
    fewest = min(training.patience, most) * phases
    fewest += training.patience < most  # the first epoch of all counts as better
    arrays = stream.sequences.nbytes + 4 * stream.n_users * config.model.width  # users' vectors
    return {
        "task": step.task,
        "action": step.action,
        "network": f"{config.model.width} x {config.model.blocks}",
        "stages": 1,
        "epoch_s": each,
        "fewest_h": (once + fewest * each) / 3600,
        "most_h": (once + phases * most * each) / 3600,
        "memory_gib": memory + arrays / 2**30,
        "disk_gib": (sum(written.values()) + test * written[RANKS]) / 2**30,
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
        # Users are evaluated once for all their labels.
        wanted, together = MEASURED_INSTANCES, len(task.users)
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
