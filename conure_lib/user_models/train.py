"""From a plan of one's own tables to a trained user model: settings, study, and the folder with what came of it.

A task that is appended to the plan is learned on top of what is there: the stages of a stream that grows depend
on the stream up to their task (``Study(growing=True)``), so those of the earlier tasks keep their ids, are found in the
cache and are not trained again. (The other way, going on from a saved model, would need a second kind of run
whose result depends on a folder instead of on data and settings.)
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

from conure_lib import paths
from conure_lib.config import DataConfig, ModelConfig, StudyConfig, TrainConfig
from conure_lib.data.sources.plan import TASKS_FILE, Plan, from_plan
from conure_lib.data.sources.tables import readable
from conure_lib.data.stream import Names, TaskStream
from conure_lib.errors import ConfigError, VerificationError
from conure_lib.files import atomic_folder, path_problem
from conure_lib.methods import COMPARED
from conure_lib.models.ownership import MAX_TASKS
from conure_lib.pipeline.stage import Stage
from conure_lib.study.study import Run, Study

MODEL = ModelConfig(width=32, dilations=(1, 4))
TRAIN = {
    "sequence": TrainConfig(epochs=30, learning_rate=0.01, batch_size=64, patience=3),
    "ranking": TrainConfig(
        epochs=30, learning_rate=0.005, batch_size=128, patience=3, labels_per_user=4
    ),
    "classification": TrainConfig(epochs=30, learning_rate=0.005, batch_size=64, patience=4),
}
RETRAIN, RETRAIN_RATE = {"epochs": 5}, 0.3
PRUNE = {"T1": 0.7, "*": 0.8}
"""Defaults for small data, some hundred to some ten thousand users. A narrow network of two blocks (it sees 31
events back) and small batches, so that there are enough steps; many epochs, of which early stopping takes what
it needs; a gentler retraining, which starts from a trained network. T1 keeps 30% of the weights, each later task
20% of what is free: after six tasks 23% are still free. Large data want a wider network and larger batches."""

MODEL_FILES = ("model.json", "model.safetensors")
STREAM, METRICS = "stream.json", "metrics.json"
NAMES = "names.{}.parquet"  # of the items, and of each task's labels


def study_of(plan: Plan, seed: int, device: str = "cpu") -> Study:
    """The plan's stream with the plan's settings. Raises ConfigError or DataError that name file and field."""
    config = settings(plan, seed, device)
    return Study(config, from_plan(plan), growing=True)


def settings(plan: Plan, seed: int, device: str = "cpu") -> StudyConfig:
    """The defaults, changed by the plan's model, train, retrain, retrain_rate and prune (by task, or "*")."""
    given = plan.content
    kinds = {"T1": "sequence"} | {task["name"]: task["kind"] for task in given["tasks"]}
    for number, task in enumerate(given["tasks"]):
        if hasattr(nn.ModuleDict(), task["name"]):
            place = plan.where(f"tasks[{number}].name")
            raise ConfigError(
                f"{place}: {task['name']!r} is a word of PyTorch's own; rename the task"
            )
    if len(kinds) > MAX_TASKS:
        found = f"found {len(given['tasks'])} tasks; wanted at most {MAX_TASKS - 1} beside T1"
        raise ConfigError(f"{plan.where('tasks')}: {found}")
    for section in ("train", "prune"):
        for task in given.get(section, {}):
            if task not in (*kinds, "*"):
                where = plan.where(f"{section}.{task}")
                raise ConfigError(
                    f"{where}: no task {task!r}; wanted: one of {', '.join(kinds)}, or '*'"
                )
    asked = given.get("train", {})
    train = {"*": TRAIN["ranking"]}
    for task, kind in kinds.items():
        for key in ("*", task) if task != "T1" else ("T1",):
            train[task] = changed(
                plan, train.get(task, TRAIN[kind]), asked.get(key, {}), f"train.{key}"
            )
    changed(plan, TRAIN["ranking"], given.get("retrain", {}), "retrain")
    try:
        return StudyConfig(
            profile="own",
            data=DataConfig("custom", {"path": str(plan.file)}),
            model=changed(plan, MODEL, given.get("model", {}), "model"),
            train=train,
            retrain={**RETRAIN, **given.get("retrain", {})},
            retrain_rate=given.get("retrain_rate", RETRAIN_RATE),
            prune={**PRUNE, **given.get("prune", {})},
            seeds=(seed,),
            device=device,
        )
    except ConfigError as error:
        field = str(error).partition(".")[2].split(" ")[0]
        raise ConfigError(f"{plan.where(field if field in given else '')}: {error}") from error


def changed(plan: Plan, settings: Any, given: object, place: str) -> Any:
    """A settings object with the fields that the plan gives at ``place``; raises ConfigError for a bad one."""
    known = [field.name for field in fields(settings)]
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{plan.where(place)}: found {given!r}; wanted: some of {', '.join(known)}"
        )
    for name, value in given.items():
        where = plan.where(f"{place}.{name}")
        if name not in known:
            raise ConfigError(
                f"{where}: found an unknown setting; wanted: some of {', '.join(known)}"
            )
        if isinstance(value, bool) and not isinstance(getattr(settings, name), bool):
            raise ConfigError(
                f"{where}: found {value}; wanted: a value like {getattr(settings, name)!r}"
            )
        try:
            settings = replace(
                settings, **{name: tuple(value) if isinstance(value, list) else value}
            )
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
    return settings


def name_of(plan: Plan) -> str:
    """What the run is called: the plan's ``name``, else its file's or, for tasks.json, its folder's."""
    file = plan.file.resolve()
    name = plan.content.get("name", file.parent.name if file.name == TASKS_FILE else file.stem)
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError(
            f"{plan.where('name')}: {name!r} cannot name a folder; wanted: letters, digits, _ . -"
        )
    return name


def run(
    plan: Plan,
    folder: Path,
    seed: int = 1,
    workers: int = 1,
    method: str = "Conure",
    device: str = "cpu",
) -> dict:
    """Trains what is not trained yet, writes the folder, and returns what its metrics.json holds.

    The folder: for Conure the model after the last task (model.safetensors, model.json, as
    ``ContinualModel.save``), the stream in words (stream.json), the ids of items and labels (names.*.parquet),
    metrics.json. It replaces what an earlier run wrote there, whole. The stages are below artifacts/stages.
    Raises ConfigError or DataError before anything is written, VerificationError if an earlier task's logits differ.
    """
    study = study_of(plan, seed, device)
    folder = free_folder(folder)
    chosen, floor = study.run(method, seed), study.run("Popularity", seed)
    study.compute([chosen, floor], workers)
    last = list(chosen.stages.values())[-1]
    results = {
        "name": name_of(plan),
        "method": method,
        "seed": seed,
        "tasks": [summary(study, task, stage, floor) for task, stage in chosen.stages.items()],
        "unchanged": unchanged(chosen) if method == "Conure" else [],
        "environment": last.environment(),
    }
    with atomic_folder(folder) as part:
        if method == "Conure":
            last.model().save(part)
        (part / METRICS).write_text(_json(results))
        (part / STREAM).write_text(_json(description(study.stream, study.by_task)))
        save_names(study.stream.names, part)
        shutil.rmtree(folder, ignore_errors=True)
    return results


def summary(study: Study, task: str, stage: Stage, floor: Run) -> dict:
    """A task's row: metric on the test part with the floor, epochs, and who owns how many weights by then."""
    record, popular = stage.record(), floor.stages[task].record()["metrics"][0]
    measured = next(row for row in record["metrics"] if row["measure"] == task)
    epochs = {}
    for one in stage.lineage():
        curve = one.record()["curve"] if one.step.task == task else []
        if curve:
            best = max((epoch["epoch"] for epoch in curve if epoch["best"]), default=0)
            epochs[one.step.action] = {
                "best": best,
                "of": len(curve) - 1,
                "validation": curve[best]["validation"],
            }
    owned = record["notes"].get("owned", [])
    weights = {who: sum(r["weights"] for r in owned if r["owner"] == who) for who in (task, "free")}
    total = sum(row["weights"] for row in owned)
    return {
        "task": task,
        "what": study.stream[task].title,
        "metric": measured["metric"],
        "value": measured["value"],
        "n": measured["n"],
        "popularity": popular["value"],
        "epochs": epochs,
        "owned": weights[task] if total else None,
        "owned_share": weights[task] / total if total else None,
        "free_share": weights["free"] / total if total else None,
        "stage": stage.id,
    }


def unchanged(chosen: Run) -> list[str]:
    """The tasks whose logits are, after the last task, bit for bit those that they had when they were learned.

    Raises VerificationError if that is not all of them.
    """
    now = list(chosen.stages.values())[-1].record()["notes"]["memory"]
    for task, stage in chosen.stages.items():
        then = stage.record()["notes"]["memory"][task]
        if now[task]["logits_sha256"] != then["logits_sha256"]:
            raise VerificationError(
                f"the logits of {task} are not what they were when it was learned ({stage.id})"
            )
    return list(chosen.stages)


def description(stream: TaskStream, digests: Mapping[str, str]) -> dict:
    """The stream in words; digests: of the data up to each task."""
    return {
        "digests": dict(digests),
        "n_users": stream.n_users,
        "n_items": stream.n_items,
        "tasks": stream.describe(),
        "info": stream.info,
    }


def save_names(names: Names, folder: Path) -> None:
    """Ids of items and labels, as in the tables, in the order of their numbers; users' ids are not kept."""
    for what, ids in {"items": names.items, **names.labels}.items():
        pq.write_table(pa.table({"id": pa.array(ids)}), folder / NAMES.format(what))


def read_names(folder: Path, what: str) -> np.ndarray | None:
    """The ids of "items" or of a task's labels; None if the folder does not hold them. Raises DataError."""
    file = folder / NAMES.format(what)
    if not file.is_file():
        return None
    with readable(file):
        return pq.read_table(file, columns=["id"])["id"].to_pandas().to_numpy()


def default_folder(plan: Plan, method: str) -> Path:
    """Where ``conure run`` writes unless told otherwise: artifacts/models/NAME, or NAME-METHOD."""
    return paths.models() / (name_of(plan) if method == "Conure" else f"{name_of(plan)}-{method}")


def free_folder(folder: Path, others: tuple[str, ...] = ()) -> Path:
    """The folder itself: of a link its target, which is what is replaced.

    Raises ConfigError unless it is new, empty, or holds only what is written there anyway.
    """
    if found := path_problem(folder):
        raise ConfigError(
            f"{str(folder)[:80]!r}: found {found}; wanted: a folder to write to (--out)"
        )
    folder = folder.resolve()
    above = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not above.is_dir():
        raise ConfigError(f"{above} is a file; wanted: a folder to write to (--out)")
    ours = {*MODEL_FILES, STREAM, METRICS, *others}
    names = sorted(file.name for file in folder.iterdir()) if folder.exists() else []
    foreign = [
        name
        for name in names
        if name not in ours and not re.fullmatch(r"names\.\w+\.parquet", name)
    ]
    if foreign:
        raise ConfigError(
            f"{folder} holds {foreign[0]!r}; wanted: a new folder, or an earlier run's (--out)"
        )
    return folder


def known_methods() -> list[str]:
    """What ``run`` can train: the compared methods that leave a result on each task."""
    return list(COMPARED)


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
