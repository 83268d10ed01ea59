"""From a plan to a trained user model, with the check that nothing was forgotten.

A stage depends on the stream up to its own task: those of earlier tasks are found, not retrained.
"""

import shutil
from itertools import groupby
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from conure_lib import paths
from conure_lib.data.stream import TEST, TaskStream
from conure_lib.errors import ConfigError, StorageError, VerificationError
from conure_lib.files import atomic_folder, file_digest, read_json, write_json
from conure_lib.methods import METHODS
from conure_lib.methods.actions import logits_digest, weights_digest
from conure_lib.pipeline.provenance import kind, kind_here
from conure_lib.pipeline.stage import with_ancestors
from conure_lib.study.profiles import demand_known
from conure_lib.study.study import Run, Study
from conure_lib.training.determinism import limited_threads
from conure_lib.training.evaluation import deciding
from conure_lib.user_models.export import METRICS, NAMES, STREAM, replaceable
from conure_lib.user_models.plan import Plan

FLOORS = {"popularity": "Popularity", "linear": "Linear"}  # column -> method
LOW_FREE_SHARE = 0.05  # a share of free weights below which a run says so


def run(
    plan: Plan,
    folder: str | Path | None = None,
    seed: int = 1,
    workers: int = 1,
    method: str = "Conure",
    device: str = "cpu",
    anew: bool = False,
) -> dict:
    """Train what is not trained yet and write the model's folder.

    It holds the stream in words (stream.json), the ids of items and labels (names.*.parquet),
    metrics.json and, for Conure, the model after the last task (model.safetensors, model.json).
    All that can be checked is checked before the first stage.

    Parameters
    ----------
    plan, folder
        From ``read_plan``; new, empty, or an earlier run's of the same method, which is replaced;
        artifacts/models/NAME unless given, or NAME-METHOD.
    seed, workers, method, device
        Seed of all that is random; stages computed side by side; another key of ``METHODS`` is
        measured only and leaves no model; "cpu" or "cuda".
    anew
        Whether a model in the folder may be replaced by one that answers otherwise for its tasks.

    Returns
    -------
    dict
        ``tasks`` (metric on the test part, the floors', epochs, owned weights), ``unchanged``
        (tasks: see there), ``notes`` (rows dropped, warnings), ``environment``, ``folder``.
    """
    demand_known("--method", method, METHODS)
    config, is_conure = plan.study_config(seed, device), method == "Conure"
    name = plan.name if is_conure else f"{plan.name}-{method}"
    folder = folder or paths.artifacts("models") / name
    maker = f"conure run with {method}"
    folder = replaceable(folder, lambda old: _made_by(old) == method, maker)
    here = kind_here(device)  # raises if there is no such device
    study = Study(config, stream=plan.stream().fold(seed), growing=True)
    stream, chosen = study.stream, study.run(method, seed)
    if not chosen.stages:
        raise ConfigError(f"--method: found {method!r}, expected one that fits these tasks")
    if not len(stream.tasks[0].rows(TEST)):
        raise ConfigError(f"--seed: found {seed}, expected that of a fold with a test part, 1 to 6")
    floors = {column: study.run(floor, seed) for column, floor in FLOORS.items()}
    _check_disk(study, chosen, folder)
    protects = is_conure and not anew
    if protects:
        _demand_kept(folder, chosen, here)
    study.compute([chosen, *floors.values()], workers)
    rows = [_row(stream, task, chosen, floors) for task in chosen.stages]
    same, notes = unchanged(chosen, stream) if is_conure else [], stream.notes()
    kinds = {task: kind(stage.environment()) for task, stage in chosen.stages.items()}
    by_kind = groupby(kinds, kinds.get)
    if len(several := [f"{', '.join(tasks)} on {name}" for name, tasks in by_kind]) > 1:
        notes += [f"several kinds of processors: {'; '.join(several)}"]
    if same:
        notes += [f"after the last task, {', '.join(same)} answer as when learned, bit by bit"]
    notes += forgotten(chosen, stream) + warnings(rows, plan.grow_below)
    results = {"name": plan.name, "method": method, "seed": seed, "unchanged": same}
    results |= {"tasks": rows, "notes": notes, "environment": chosen.last.environment()}
    results["kinds"] = kinds
    facts = {name: stream.info[name] for name in ("length", "min_events", "seed")}
    facts |= {"columns": plan.columns, "digests": study.by_task, "tasks": stream.describe()}
    facts |= {"n_users": stream.n_users, "n_items": stream.n_items, "info": stream.info}
    if protects:  # another run may have been quicker
        _demand_kept(folder, chosen, here)
    with atomic_folder(folder, replace=True) as part:
        if is_conure:
            chosen.last.model().save(part)
        for what, ids in {"items": stream.names.items, **stream.names.labels}.items():
            pq.write_table(pa.table({"id": pa.array(ids)}), part / NAMES.format(what))
        write_json(part / STREAM, facts)
        results["digests"] = {f.name: file_digest(f) for f in sorted(part.iterdir())}
        write_json(part / METRICS, results)
    return results | {"folder": str(folder)}


def _made_by(folder: Path) -> str:
    """Return the method of the run that wrote a folder; KeyError for what no run wrote."""
    found = read_json(folder / METRICS)
    return [found[name] for name in ("environment", "tasks", "method")][-1]


def _demand_kept(folder: Path, chosen: Run, here: str) -> None:
    """Raise ConfigError if a folder has a model that answers otherwise for one of its tasks."""
    if lost := ", ".join(_lost(folder, chosen, here)):
        why = "tables, settings, seed, device or version changed, or artifacts/stages is empty"
        said = f"found a model whose {lost} would change or be gone ({why})"
        raise ConfigError(f"{folder}: {said}; name another --out to keep it, or say --anew")


def _lost(folder: Path, chosen: Run, here: str) -> list[str]:
    """Return the tasks of the model in a folder that would be gone, or learned anew otherwise."""
    if not (folder / METRICS).is_file():
        return []
    old, stages = read_json(folder / METRICS), {s.id: s for s in chosen.stages.values()}
    kinds, last = old.get("kinds", {}), kind(old["environment"])
    there = {name for name, stage in stages.items() if stage.store.folder(name).is_dir()}
    return [
        row["task"]
        for row in old["tasks"]  # equal ids are equal bytes on one kind of processor
        if row["stage"] not in (stages if kinds.get(row["task"], last) == here else there)
    ]


def _row(stream: TaskStream, task: str, chosen: Run, floors: dict[str, Run]) -> dict:
    """Return a task's row: its metric and the floors', epochs, and who owns how many weights."""
    stage, epochs = chosen.stages[task], {}
    measured, notes = _measured(chosen, task), stage.record()["notes"]
    for one in stage.lineage():
        if one.step.task == task and (curve := one.record()["curve"]):
            best = [epoch for epoch in curve if epoch["best"] or epoch is curve[0]][-1]
            at = {"best": best["epoch"], "validation": best["validation"], "of": len(curve) - 1}
            epochs[one.step.action] = at | {"capped": one.record()["capped"]}
    row = {"task": task, "what": stream[task].title, "metric": measured["metric"]}
    row |= {"value": measured["value"]}
    row |= {column: _measured(floor, task).get("value") for column, floor in floors.items()}
    row |= {"n": measured["n"], "epochs": epochs, "blocks": notes.get("blocks")}
    row |= {"owned": None, "owned_share": None, "free_share": None, "stage": stage.id}
    if owned := notes.get("owned"):
        weights = pd.DataFrame(owned).groupby("owner")["weights"].sum()
        row |= {"owned": int(weights[task]), "owned_share": weights[task] / weights.sum()}
        row |= {"free_share": weights["free"] / weights.sum()}
    return row


def _measured(run: Run, task: str) -> dict:
    """Return a run's test result on a task, nothing if it has none, as the linear floor on T1."""
    found = run.stages[task].record()["metrics"] if task in run.stages else ()
    return next((row for row in found if row["measure"] == task), {})


def forgotten(chosen: Run, stream: TaskStream) -> list[str]:
    """Say what the last task left of old ones, whose rows are as learned, if a method measures it.

    Of T1 all positions count, where the row has the last alone.
    """
    said = []
    for task, now in chosen.last.record()["notes"].get("old_tasks", {}).items():
        measure, learned = deciding(stream[task]), chosen.stages[task].record()["metrics"]
        then = next(row["value"] for row in learned if row["measure"] == measure)
        said.append(f"{measure} {now['metric']:.4g} ({then:.4g} when learned)")
    return [f"after the last task: {', '.join(said)}"] if said else []


def warnings(rows: list[dict], grow_below: float) -> list[str]:
    """Say in a line each: tasks below a floor, too few epochs, a network that is nearly full."""
    found = {"below a floor": [], "still rising when the epochs were over": []}
    below, rising = found.values()
    for row in rows:
        above = [f"{name} {row[name]:.4g}" for name in FLOORS if (row[name] or 0) > row["value"]]
        below += [f"{row['task']} ({row['value']:.4g}; {', '.join(above)})"] if above else []
        rising += [f"{name} of {row['task']}" for name, at in row["epochs"].items() if at["capped"]]
    notes = [f"warning: {what}: {', '.join(tasks)}" for what, tasks in found.items() if tasks]
    free = rows[-1].get("free_share")
    if free is not None and free < max(LOW_FREE_SHARE, grow_below):
        later = "prune more, or raise grow_below (all tasks after T1 are then learned anew)"
        later = "the next one adds a block" if free < grow_below else later
        notes += [f"warning: {free:.1%} of the weights are free for later tasks: {later}"]
    return notes


@limited_threads(1)
def unchanged(chosen: Run, stream: TaskStream) -> list[str]:
    """Return the run's tasks; raise VerificationError if the last model is another one for a task.

    Judged by owners and weights, bit by bit from the checkpoints, and by logits computed here by
    one process: it does not matter where a task was learned.
    """
    now = chosen.last.model()
    for number, (task, stage) in enumerate(chosen.stages.items(), start=1):
        then = stage.model()
        old, new = then.for_task(task), now.for_task(task)
        owners = {name: o.masked_fill(o > number, 0) for name, o in now.owners.items()}
        same = {
            "owners": all(torch.equal(owner, owners[name]) for name, owner in then.owners.items()),
            "weights": weights_digest(old) == weights_digest(new),
            "logits": logits_digest(old, stream, task) == logits_digest(new, stream, task),
        }
        if changed := [what for what, is_same in same.items() if not is_same]:
            found = f"found other {' and '.join(changed)} of {task} than when it was learned"
            raise VerificationError(f"{stage.id}: {found}")
    return list(chosen.stages)


def _check_disk(study: Study, chosen: Run, out: Path) -> None:
    """Raise StorageError if checkpoints and model to come cannot fit on their disks."""
    width, blocks = study.config.model.width, study.config.model.blocks
    labels = study.stream.n_items + sum(task.n_labels for task in study.stream.tasks)
    weights = labels * (width + 1) + blocks * 6 * width * (width + 1)
    stages = with_ancestors(chosen.stages.values())
    missing = sum(not stage.store.folder(stage.id).is_dir() for stage in stages)
    for target, files in ((paths.artifacts("stages"), missing + 1), (out, 1)):
        needed = (5 * weights + 2**20) * files >> 20  # four bytes and an owner per weight
        folder = next(path for path in (target, *target.parents) if path.exists())
        if (free := shutil.disk_usage(folder).free >> 20) < needed:
            expected = f"expected {needed} MiB for {missing} stages and the model; make room"
            raise StorageError(f"{folder}: found {free} MiB free, {expected} or write elsewhere")
