"""The search for hyper-parameters: small, stated, on validation data of the tuning seed.

One hyper-parameter after the other is varied, from the base settings on; a value is taken if it is
strictly better. T1 goes first; then each later task, for every method by itself with the same
number of settings tried (``Method.search``).
"""

from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from conure_lib import paths
from conure_lib.config import ModelConfig, StudyConfig, TrainConfig, spec
from conure_lib.files import read_json, write_json
from conure_lib.methods import METHODS
from conure_lib.methods.conure import conure_chain
from conure_lib.methods.method import Step
from conure_lib.pipeline.scheduler import compute
from conure_lib.pipeline.stage import Stage
from conure_lib.study.profiles import settings_file, study_config
from conure_lib.study.study import Study

TUNING_SEED = 0
MODELS = tuple(ModelConfig(width, (1, 4) * n) for width in (32, 64) for n in (1, 2))
"""Networks tried on T1; wider ones would take the standard profile many hours on two cores."""
RETRAIN_RATES = (1.0, 0.3, 0.1)
"""Learning rates of retraining T1 relative to training it; the best one serves all tasks."""
T1_SEARCH = {"learning_rate": (0.003, 0.01, 0.03), "l2": (0.0, 0.001)}
TUNED = tuple(name for name, method in METHODS.items() if method.search)
"""Methods with settings of their own; others take those of another method, or have none."""


class Search:
    """The state of a search: the study with the best settings so far, one row per setting tried."""

    def __init__(self, config: StudyConfig, workers: int = 1, cluster: str | None = None) -> None:
        self.study = Study(replace(config, seeds=(TUNING_SEED,)))
        self.workers, self.cluster = workers, cluster
        self.rows: list[dict[str, Any]] = []

    def try_all(self, tried: dict[Step, tuple[str, list[Study]]]) -> dict[Step, Study]:
        """Train each step in each of its candidate studies; return the best by validation.

        ``tried`` holds per step the name of what is varied, and the candidates; the first one is
        the study as it is, which stays among equals.
        """
        stages = {
            s: [one.stage(s, TUNING_SEED) for one in found] for s, (_, found) in tried.items()
        }
        everywhere = [stage for candidates in stages.values() for stage in candidates]
        compute(everywhere, self.study.stream, self.workers, self.cluster)
        best = {}
        for step, (name, studies) in tried.items():
            rows = [_row(name, stage) for stage in stages[step]]
            values = [row["validation"] for row in rows]
            best[step] = studies[values.index(max(values))]
            known = {row["stage_id"] for row in self.rows}
            self.rows += [row for row in rows if row["stage_id"] not in known]
        return best

    def first_task(self) -> None:
        """Search for T1: the network, the learning rate, l2; then the rate of retraining."""
        task = self.study.order[0]
        chain = conure_chain(self.study.order)[task]
        step = chain["train"]
        self.study = self.try_all({step: ("model", self._changed("model", MODELS))})[step]
        for name, values in T1_SEARCH.items():
            self.study = self.try_all({step: (name, _varied(self.study, task, name, values))})[step]
        step, rates = chain["retrain"], self._changed("retrain_rate", RETRAIN_RATES)
        self.study = self.try_all({step: ("retrain_rate", rates)})[step]

    def later_task(self, task: str) -> None:
        """Search for every method on one task; methods do not depend on each other's settings."""
        steps = {METHODS[method].recipe(self.study.order)[task]: method for method in TUNED}
        kind = self.study.stream[task].kind
        best = dict.fromkeys(steps, self.study)
        spaces = [METHODS[method].search[kind].items() for method in steps.values()]
        for varied in zip_longest(*spaces):
            best |= self.try_all(
                {
                    step: (one[0], _varied(best[step], f"{task}.{step.action}", *one))
                    for step, one in zip(steps, varied, strict=True)
                    if one
                }
            )
        actions = {method: step.action for step, method in steps.items()}
        chosen = {s.action: one.config.training(task, s.action) for s, one in best.items()}
        for method in METHODS.values():
            own = method.recipe(self.study.order)[task].action
            if method.settings_of and own not in ("prune", "retrain"):
                chosen[own] = chosen[actions[method.settings_of]]
        train = {f"{task}.{action}": settings for action, settings in chosen.items()}
        self.study = self.study.changed("", train={**self.study.config.train, **train})

    def table(self) -> pd.DataFrame:
        """Return one row per setting tried; ``chosen`` marks what the study goes on with."""
        recipes = [METHODS[method].recipe(self.study.order) for method in (*TUNED, "Conure")]
        steps = {step for recipe in recipes for step in recipe.values()}
        chosen = {self.study.stage(step, TUNING_SEED).id for step in steps}
        table = pd.DataFrame(self.rows)
        return table.assign(chosen=table["stage_id"].isin(chosen))

    def _changed(self, field: str, values: tuple[Any, ...]) -> list[Study]:
        """Return the study as it is, then with each other value of one of its own settings."""
        others = [value for value in values if value != getattr(self.study.config, field)]
        return [self.study, *(self.study.changed("", **{field: value}) for value in others)]


def search(dataset: str, profile: str, workers: int = 1, cluster: str | None = None) -> Search:
    """Run the whole search, from the settings before any search on.

    Parameters
    ----------
    dataset, profile : str
        Keys of ``PROFILES``.
    workers, cluster
        See ``Study.compute``.

    Returns
    -------
    Search
        ``study`` has the settings chosen, ``table()`` says what was tried.
    """
    found = Search(study_config(dataset, profile, tuned=False), workers, cluster)
    found.first_task()
    for task in found.study.order[1:]:
        found.later_task(task)
    return found


def write(found: Search) -> list[Path]:
    """Write what was tried (CSV) and the new settings (JSON) to results/local/tuning.

    They count once the JSON file replaces the one in ``conure_lib/study/settings``.
    """
    config = found.study.config
    name = config.data.dataset
    folder = paths.tuning(local=True)
    folder.mkdir(parents=True, exist_ok=True)
    found.table().to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    train = {key: spec(one) for key, one in config.train.items() if key == "T1" or "." in key}
    model = {"width": config.model.width, "dilations": config.model.dilations}
    chosen = {"model": model, "retrain_rate": config.retrain_rate, "train": train}
    settings = read_json(settings_file(name, config.profile)) | {"chosen": chosen}
    write_json(folder / f"{name}.json", settings)
    return [folder / f"{name}.csv", folder / f"{name}.json"]


def _varied(study: Study, key: str, name: str, values: tuple[float, ...]) -> list[Study]:
    """Return the study as it is, then with each other value of a setting of "TASK.ACTION"."""
    task, _, action = key.partition(".")
    now: TrainConfig = study.config.training(task, action or "train")
    others = [replace(now, **{name: value}) for value in values if value != getattr(now, name)]
    return [study, *(study.changed("", train={**study.config.train, key: one}) for one in others)]


def _row(name: str, stage: Stage) -> dict[str, Any]:
    curve = stage.record()["curve"]
    step, config = stage.step, stage.config
    return {
        "task": step.task,
        "action": step.action,
        "varied": name,
        "width": config.model.width,
        "blocks": len(config.model.dilations),
        **asdict(config.training(step.task, step.action)),
        "validation": max(epoch["validation"] for epoch in curve if epoch["epoch"] > 0),
        "epochs_run": len(curve) - 1,
        "stage_id": stage.id,
    }
