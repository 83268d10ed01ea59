"""The search for hyper-parameters: small, stated, on validation data of the tuning seed, alike for all methods.

One dial is turned after the other, from the base settings on; a value is taken if it is strictly better. T1 goes
first; then each later task, for every method by itself with the same number of tries.
"""

import json
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path

import pandas as pd

from conure_lib import paths
from conure_lib.config import ModelConfig, StudyConfig, TrainConfig
from conure_lib.methods import METHODS
from conure_lib.methods.conure import conure_chain
from conure_lib.methods.method import Step
from conure_lib.study.profiles import study_config
from conure_lib.study.study import Study, compute

TUNING_SEED = 0
MODELS = tuple(ModelConfig(width, (1, 4) * n) for width in (32, 64) for n in (1, 2))
"""Networks tried on T1. Wider ones would take the standard profile beyond some hours on two cores."""
RETRAIN_RATES = (1.0, 0.3, 0.1)
"""Learning rates of retraining T1 relative to training it; the best one serves all tasks."""

T1_DIALS = {"learning_rate": (0.003, 0.01, 0.03), "l2": (0.0, 0.001)}
TUNED = tuple(name for name, method in METHODS.items() if method.search)
"""Methods with settings of their own; Conure retrains from Conure-, parallel patches take the serial ones'."""


class Search:
    """The state of a search: the study with the best settings so far, and a row per setting tried."""

    def __init__(self, config: StudyConfig, workers: int = 1, cluster: str | None = None) -> None:
        self.study = Study(replace(config, seeds=(TUNING_SEED,)))
        self.workers, self.cluster = workers, cluster
        self.rows: list[dict] = []

    def turn(self, turned: dict[Step, tuple[str, list[Study]]]) -> dict[Step, Study]:
        """Trains each step under each of its contenders; the best one by validation, the first among equals.

        turned: per step the name of the dial and the contenders, the study as it is first.
        """
        stages = {
            step: [one.stage(step, TUNING_SEED) for one in studies]
            for step, (_, studies) in turned.items()
        }
        several = [stage for contenders in stages.values() for stage in contenders]
        compute(several, self.study.stream, self.workers, self.cluster)
        best = {}
        for step, (dial, studies) in turned.items():
            rows = [_row(dial, stage) for stage in stages[step]]
            values = [row["validation"] for row in rows]
            best[step] = studies[values.index(max(values))]
            known = {row["stage_id"] for row in self.rows}
            self.rows += [row for row in rows if row["stage_id"] not in known]
        return best

    def first_task(self) -> None:
        """T1: the network, the learning rate, l2; then the rate of retraining."""
        chain = conure_chain(self.study.order)[self.study.order[0]]
        step, name = chain["train"], self.study.order[0]
        others = [m for m in MODELS if m != self.study.config.model]
        models = [self.study, *(self.study.changed("", model=m) for m in others)]
        self.study = self.turn({step: ("model", models)})[step]
        for dial, values in T1_DIALS.items():
            self.study = self.turn({step: (dial, _contenders(self.study, name, dial, values))})[
                step
            ]
        others = [rate for rate in RETRAIN_RATES if rate != self.study.config.retrain_rate]
        rates = [self.study, *(self.study.changed("", retrain_rate=rate) for rate in others)]
        self.study = self.turn({chain["retrain"]: ("retrain_rate", rates)})[chain["retrain"]]

    def later_task(self, name: str) -> None:
        """Every method on one task; the methods do not depend on each other's settings."""
        steps = {METHODS[method].recipe(self.study.order)[name]: method for method in TUNED}
        kind = self.study.stream[name].kind
        best = dict.fromkeys(steps, self.study)
        dials = {step: METHODS[method].search[kind].items() for step, method in steps.items()}
        for turn in zip_longest(*dials.values()):
            turned = {step: dial for step, dial in zip(steps, turn, strict=True) if dial}
            contenders = {
                s: _contenders(best[s], f"{name}.{s.action}", *dial) for s, dial in turned.items()
            }
            best |= self.turn(
                {step: (dial, contenders[step]) for step, (dial, _) in turned.items()}
            )
        chosen = {
            f"{name}.{s.action}": one.config.training(name, s.action) for s, one in best.items()
        }
        chosen[f"{name}.patched-parallel"] = chosen[f"{name}.patched-serial"]
        self.study = self.study.changed("", train={**self.study.config.train, **chosen})

    def table(self) -> pd.DataFrame:
        """One row per setting tried; ``chosen`` marks what the study goes on with."""
        chosen = set()
        for name, steps in conure_chain(self.study.order).items():
            chosen.add(self.study.stage(steps["train"], TUNING_SEED).id)
            chosen.add(self.study.stage(steps["retrain"], TUNING_SEED).id)
            for method in TUNED:
                if name in (recipe := METHODS[method].recipe(self.study.order)):
                    chosen.add(self.study.stage(recipe[name], TUNING_SEED).id)
        table = pd.DataFrame(self.rows)
        return table.assign(chosen=table["stage_id"].isin(chosen))


def search(dataset: str, profile: str, workers: int = 1, cluster: str | None = None) -> Search:
    """Runs the whole search, from the settings before any search on. workers, cluster: see ``Study.compute``."""
    found = Search(study_config(dataset, profile, tuned=False), workers, cluster)
    found.first_task()
    for name in found.study.order[1:]:
        found.later_task(name)
    return found


def write(found: Search, dataset: str) -> list[Path]:
    """What was tried as results/tuning/<dataset>.csv, what was chosen as conure_lib/settings/<dataset>.json."""
    tried, settings = paths.tuning() / f"{dataset}.csv", paths.settings(dataset)
    for path in (tried, settings):
        path.parent.mkdir(parents=True, exist_ok=True)
    found.table().to_csv(tried, index=False, float_format="%.6g")
    config = found.study.config
    train = {key: asdict(one) for key, one in config.train.items() if key == "T1" or "." in key}
    chosen = {"model": asdict(config.model), "retrain_rate": config.retrain_rate, "train": train}
    settings.write_text(json.dumps(chosen, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return [tried, settings]


def _contenders(study: Study, key: str, dial: str, values: tuple[float, ...]) -> list[Study]:
    """The study as it is, then with each other value of the dial for a task or one of its actions."""
    task, _, action = key.partition(".")
    now: TrainConfig = study.config.training(task, action or "train")
    others = [replace(now, **{dial: value}) for value in values if value != getattr(now, dial)]
    return [study, *(study.changed("", train={**study.config.train, key: one}) for one in others)]


def _row(dial: str, stage) -> dict:
    curve = stage.record()["curve"]
    step, config = stage.step, stage.config
    return {
        "task": step.task,
        "action": step.action,
        "dial": dial,
        "width": config.model.width,
        "blocks": len(config.model.dilations),
        **asdict(config.training(step.task, step.action)),
        "validation": max(epoch["validation"] for epoch in curve if epoch["epoch"] > 0),
        "epochs_run": len(curve) - 1,
        "stage_id": stage.id,
    }
