"""The search for hyper-parameters: small, stated, on validation data of the tuning seed.

One hyper-parameter after the other is varied, and a value taken if it is strictly better: for T1,
then for each later task and method by itself, with as many settings tried (``Method.search``).
"""

from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from conure_lib import paths
from conure_lib.config import ModelConfig, StudyConfig, spec
from conure_lib.files import read_json, write_json
from conure_lib.methods import METHODS
from conure_lib.methods.conure import conure_chain
from conure_lib.methods.method import Step
from conure_lib.pipeline.scheduler import compute
from conure_lib.pipeline.stage import Stage
from conure_lib.study.profiles import study_config
from conure_lib.study.study import Study

TUNING_SEED = 0
MODELS = tuple(ModelConfig(width, (1, 4) * n) for width in (32, 64) for n in (1, 2))
"""Networks tried on T1; wider ones would take the standard profile many hours on two cores."""
RETRAIN_RATES = (1.0, 0.3, 0.1)  # relative to that of training; T1's best one serves all tasks
T1_SEARCH = {"learning_rate": (0.003, 0.01, 0.03), "l2": (0.0, 0.001)}
TUNED = tuple(name for name, method in METHODS.items() if method.search)
"""Methods with settings of their own; others take those of another method, or have none."""


class Search:
    """The state of a search: the study with the best settings so far, one row per setting tried."""

    def __init__(self, config: StudyConfig, workers: int = 1, cluster: str | None = None) -> None:
        self.study = Study(replace(config, seeds=(TUNING_SEED,)))
        self.where = (workers, cluster)
        self.rows: list[dict[str, Any]] = []

    def best(self, tried: dict[Step, tuple[str, list[Study]]]) -> dict[Step, Study]:
        """Train each step in its studies (and what they vary); return the first of the best."""
        stages = {s: [one.stage(s, TUNING_SEED) for one in tried[s][1]] for s in tried}
        compute([s for several in stages.values() for s in several], self.study.stream, *self.where)
        best = {}
        for step, (name, studies) in tried.items():
            rows = [_row(name, stage) for stage in stages[step]]
            self.rows += rows
            best[step] = studies[max(range(len(rows)), key=lambda i: rows[i]["validation"])]
        return best

    def first_task(self) -> None:
        """Search for T1: the network, the learning rate, l2; then the rate of retraining."""
        task = self.study.order[0]
        train, _, retrain = conure_chain(self.study.order)[task].values()
        for step, key, name, values in (
            (train, "", "model", MODELS),
            *((train, task, name, values) for name, values in T1_SEARCH.items()),
            (retrain, "", "retrain_rate", RETRAIN_RATES),
        ):
            self.study = self.best({step: (name, _varied(self.study, key, name, values))})[step]

    def later_task(self, task: str) -> None:
        """Search for every method on one task; methods do not depend on each other's settings."""
        steps = {name: method.recipe(self.study.order)[task] for name, method in METHODS.items()}
        kind, best = self.study.stream[task].kind, {steps[name]: self.study for name in TUNED}
        for varied in zip_longest(*(METHODS[name].search[kind].items() for name in TUNED)):
            pairs = [(step, one) for step, one in zip(best, varied, strict=True) if one]
            best |= self.best(
                {s: (one[0], _varied(best[s], f"{task}.{s.action}", *one)) for s, one in pairs}
            )
        train = {f"{task}.{s.action}": b.config.training(task, s.action) for s, b in best.items()}
        for name, method in METHODS.items():
            if method.settings_of and steps[name].action not in ("prune", "retrain"):
                source = train[f"{task}.{steps[method.settings_of].action}"]
                train[f"{task}.{steps[name].action}"] = source
        self.study = self.study.changed("", train={**self.study.config.train, **train})

    def table(self) -> pd.DataFrame:
        """Return one row per setting tried; ``chosen`` marks what the study goes on with."""
        runs = [self.study.run(method, TUNING_SEED) for method in (*TUNED, "Conure")]
        chosen = {stage.id for run in runs for stage in run.stages.values()}
        tried = pd.DataFrame(self.rows).drop_duplicates("stage_id", ignore_index=True)
        return tried.assign(chosen=tried["stage_id"].isin(chosen))


def search(dataset: str, profile: str, workers: int = 1, cluster: str | None = None) -> Search:
    """Search from the settings before any search on; the result's ``study`` has those chosen."""
    found = Search(study_config(dataset, profile, tuned=False), workers, cluster)
    found.first_task()
    for task in found.study.order[1:]:
        found.later_task(task)
    return found


def write(found: Search) -> list[Path]:
    """Write what was tried and the new settings, to be copied to ``study/settings``."""
    config, folder = found.study.config, paths.tuning(local=True)
    name = config.data.dataset
    folder.mkdir(parents=True, exist_ok=True)
    found.table().to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    train = {key: spec(one) for key, one in config.train.items() if key == "T1" or "." in key}
    chosen = {"model": spec(config.model), "retrain_rate": config.retrain_rate, "train": train}
    settings = read_json(paths.settings(name, config.profile)) | {"chosen": chosen}
    write_json(folder / f"{name}.json", settings)
    return [folder / f"{name}.csv", folder / f"{name}.json"]


def _varied(study: Study, key: str, name: str, values: tuple[Any, ...]) -> list[Study]:
    """Return the study, then with each other value of a setting of its own or of TASK.ACTION."""
    task, _, action = key.partition(".")
    now = study.config.training(task, action or "train") if key else study.config
    changes = [{name: value} for value in values if value != getattr(now, name)]
    if key:
        train = study.config.train
        changes = [{"train": {**train, key: replace(now, **change)}} for change in changes]
    return [study, *(study.changed("", **change) for change in changes)]


def _row(name: str, stage: Stage) -> dict[str, Any]:
    curve, step, config = stage.record()["curve"], stage.step, stage.config
    size = {"width": config.model.width, "blocks": config.model.blocks}
    row = {"task": step.task, "action": step.action, "varied": name, **size}
    row |= asdict(config.training(step.task, step.action))
    best = max(epoch["validation"] for epoch in curve if epoch["epoch"] > 0)
    return row | {"validation": best, "epochs_run": len(curve) - 1, "stage_id": stage.id}
