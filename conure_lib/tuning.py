"""The search for hyper-parameters: small, stated, on validation data of the tuning seed, one for all methods."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from . import paths
from .config import StudyConfig, TrainConfig
from .experiment import Study, compute
from .methods import Step, conure_chain
from .stages import Stage

TUNING_SEED = 0
GRIDS: dict[str, list[dict]] = {
    "sequence": [{"learning_rate": rate} for rate in (0.003, 0.01, 0.02)],
    "ranking": [{"learning_rate": rate, "l2": l2} for rate in (0.0003, 0.001) for l2 in (0.001, 0.01)],
    "classification": [{"learning_rate": rate} for rate in (0.0003, 0.001, 0.003)],
}
"""What is tried for each kind of task, on top of the profile's settings for that task."""
RETRAIN_RATES = (1.0, 0.3, 0.1)
"""Learning rate of retraining T1 relative to training it; the best one serves all tasks."""

TRIED_WITH = ("output-only", "scratch", "finetune")
"""Methods after T1 whose mean validation metric decides: FineSmax, SinMo and STL; one setting serves all."""


def search(config: StudyConfig, workers: int = 1) -> pd.DataFrame:
    """Tries every setting of the grids: T1 first, then each later task after the best T1.

    config: the profile's study; its seeds are not used. Returns one row per task, setting and action with the
    best validation metric, the number of epochs and the stage id; ``chosen`` marks the best mean per task.
    """
    study = Study(replace(config, seeds=(TUNING_SEED,)))
    tables = []
    for task in study.stream.tasks:
        if task.kind == "sequence":
            steps = [Step("train", task.name)]
        else:
            first = Step("train", study.order[0])
            steps = [Step(a, task.name, None if a == "scratch" else first) for a in TRIED_WITH]
        candidates = [replace(study.config.training(task.name), **extra) for extra in GRIDS[task.kind]]
        tried = [
            (number, stage)
            for number, settings in enumerate(candidates)
            for stage in _stages(study, task.name, settings, steps)
        ]
        compute([stage for _, stage in tried], study.stream, workers)
        table = pd.DataFrame([_row(number, stage) for number, stage in tried])
        best = int(table.groupby("number")["validation"].mean().idxmax())
        study = _with_settings(study, task.name, candidates[best])
        tables.append(table.assign(chosen=table["number"] == best))
        if task.kind == "sequence":
            study, table = _search_retrain_rate(study, workers)
            tables.append(table)
    return pd.concat(tables, ignore_index=True).drop(columns="number")


def write(table: pd.DataFrame, dataset: str) -> Path:
    """results/tuning/<dataset>.csv"""
    target = paths.tuning() / f"{dataset}.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(target, index=False, float_format="%.6g")
    return target


def _search_retrain_rate(study: Study, workers: int) -> tuple[Study, pd.DataFrame]:
    """The study with the rate whose retrained T1 is best on validation data, and the table of what was tried."""
    step = conure_chain(study.order)[study.order[0]]["retrain"]
    changed = [Study(replace(study.config, retrain_rate=rate), study.stream) for rate in RETRAIN_RATES]
    stages = [one.stage(step, TUNING_SEED) for one in changed]
    compute(stages, study.stream, workers)
    table = pd.DataFrame([_row(number, stage) for number, stage in enumerate(stages)])
    best = int(table["validation"].idxmax())
    return changed[best], table.assign(chosen=table["number"] == best)


def _stages(study: Study, task: str, settings: TrainConfig, steps: Iterable[Step]) -> list[Stage]:
    changed = _with_settings(study, task, settings)
    return [changed.stage(step, TUNING_SEED) for step in steps]


def _with_settings(study: Study, task: str, settings: TrainConfig) -> Study:
    return Study(replace(study.config, train={**study.config.train, task: settings}), study.stream)


def _row(number: int, stage: Stage) -> dict:
    curve = stage.record()["curve"]
    return {
        "number": number,
        "task": stage.step.task,
        "action": stage.step.action,
        **asdict(stage.study.training(stage.step.task, retrain=stage.step.action == "retrain")),
        "validation": max(epoch["validation"] for epoch in curve if epoch["epoch"] > 0),
        "epochs_run": len(curve) - 1,
        "stage_id": stage.id,
    }
