"""The search for hyper-parameters, on validation data of seeds that no report uses.

First the length of the input, then T1's network and rate, the rate of retraining, and each later
task. Every method tries as many joint settings of the same space (``methods.method.SEARCH``, and
what is its own), cut short alike by successive halving: ``TRIES`` for few epochs, the best ``KEPT``
for three times as many, after which the best is chosen. Where it lies at the edge of a range,
some more go beyond it. Every try is a stage, so that a search that was interrupted goes on (those
that diverge are tried again). The paper's loss for ranking tasks, BPR, has a row of its own in the
study: its best tries go through the second round as well where another loss is better.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import qmc
from tqdm.auto import tqdm

from conure_lib import paths
from conure_lib.config import dilations_for, spec
from conure_lib.data.stream import Task
from conure_lib.errors import ConfigError, MissingResultError
from conure_lib.files import atomic_file, write_csv, write_json
from conure_lib.methods import METHODS
from conure_lib.methods.conure import conure_chain
from conure_lib.methods.method import SEARCH, LogRange, SearchSpace, Step
from conure_lib.pipeline.scheduler import compute
from conure_lib.pipeline.stage import Stage
from conure_lib.study.profiles import demand_known, read_settings, study_config
from conure_lib.study.study import Study

SEEDS = (0, 7, 8, 9, 10)
"""Of a search: tasks of few users take all after the first rung, others the first alone.

They have the same validation blocks, which no seed of a report tests, and all go on from what the
first seed has learned before. What they train on are blocks that other seeds test.
"""
FEW_USERS = 2000
TRIES, KEPT = 16, 4
KEY = ["task", "action", "backbone"]  # what a try is of
RUNGS = ("first", "second", "full")  # the second has three times the epochs of the first
BEYOND = (0.125, 0.375, 0.625, 0.875)  # decades from an edge to further tries
RETRAIN_RATES = (1.0, 0.3, 0.1)  # relative to that of training; T1's best one serves all tasks
LAYERS = (1, 2, 4)  # of a network in NextItNet's place, whose blocks have as many weights
TUNED = tuple(name for name, method in METHODS.items() if method.search is not None)
"""Methods with settings of their own; others take those of another method, or have none."""


@dataclass
class Try:
    """Settings of a step out of a space, and how far they came."""

    step: Step
    settings: dict[str, Any] = field(default_factory=dict)
    space: SearchSpace = field(default_factory=dict)
    rung: int = -1
    row: dict[str, Any] = field(default_factory=dict)  # of the table, of the last rung

    @property
    def edges(self) -> dict[str, int]:
        """The settings at the lower (-1) or upper (1) edge of their ranges."""
        ranges = {name: r for name, r in self.space.items() if isinstance(r, LogRange)}
        return {n: side for n, r in ranges.items() if (side := r.edge(self.settings[n]))}

    def beyond(self) -> list["Try"]:
        """Return tries beyond the edges at which this one lies, everything else being equal."""
        ends = [(name, self.space[name], side) for name, side in self.edges.items()]
        space = self.space | {name: of.wider(side) for name, of, side in ends}
        moved = [{n: of.past(side, d) for n, of, side in ends} for d in BEYOND if ends]
        return [Try(self.step, self.settings | settings, space) for settings in moved]


@dataclass
class Search:
    """The state of a search: the study with the best settings so far, and a row per try and rung.

    plan: of the settings file: "lengths" and "widths" to try, "epochs" of the first rung by task,
    with "*" for tasks that are not named. names: of the methods to search; goes_on: from what was
    chosen before; workers, cluster: see ``pipeline.scheduler.compute``.
    """

    study: Study
    plan: Mapping[str, Any]
    names: tuple[str, ...]
    goes_on: bool
    workers: int
    cluster: str | None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def epochs(self, task: str, rung: int) -> dict[str, Any]:
        """Return the settings that cut a training short; none in the last rung."""
        first = self.plan["epochs"].get(task, self.plan["epochs"]["*"])
        return {"epochs": first * 3**rung, "final_rate": 0.0} if RUNGS[rung] != "full" else {}

    def measure(self, tries: list[Try], rung: int) -> None:
        """Train each try; its value is the best on validation data, -inf if it diverges."""
        stages = []
        for one in tries:
            task = one.step.task
            study = self.study.with_settings(one.step, **one.settings | self.epochs(task, rung))
            of_seeds = (study.stage(one.step, s) for s in seeds_of(study.stream[task], rung))
            stages.append([replace(stage, parents_seed=SEEDS[0]) for stage in of_seeds])
        every = [stage for by_seed in stages for stage in by_seed]
        try:
            compute([(every, self.study.stream)], self.workers, self.cluster)
        except FloatingPointError as error:
            print(f"conure: {error} (tries that diverge count as the worst)", file=sys.stderr)
        for one, by_seed in zip(tries, stages, strict=True):
            curves = [validation_curve(stage) for stage in by_seed]
            value = np.mean([max(curve, default=-np.inf) for curve in curves])
            row = {"task": one.step.task, "action": one.step.action, "rung": RUNGS[rung]}
            row |= {"validation": value, "epochs_run": np.mean([len(curve) for curve in curves])}
            row |= {"at_edge": bool(one.edges), "chosen": False, "stage_id": by_seed[0].id}
            row |= {"backbone": by_seed[0].config.model.backbone}
            one.rung, one.row = rung, row | one.settings
            self.rows.append(one.row)

    def halve(self, spaces: Mapping[Step, SearchSpace]) -> list[Try]:
        """Search all steps by successive halving, those of a rung at once; return all tries."""
        tries = [Try(step, one, space) for step, space in spaces.items() for one in points(space)]
        self.measure(tries, 0)
        self.measure(kept := best(tries, KEPT), 1)
        further = [new for one in best(kept) for new in one.beyond()]
        self.measure(further, 1)
        return tries + further

    def length(self) -> None:
        """Choose how many items the networks read: what serves the ranking tasks best under STL.

        T1's own values are not comparable: a longer window has other positions to predict.
        """
        config, steps = self.study.config, METHODS["STL"].recipe(self.study.order)
        ranking = [steps[task.name] for task in self.study.stream.tasks if task.kind == "ranking"]
        studies, values = {}, {}
        for length in self.plan["lengths"]:
            data = replace(config.data, options={**config.data.options, "length": length})
            model = replace(config.model, dilations=dilations_for(length))
            studies[length] = Study(replace(config, data=data, model=model))
            first = self.study.order[0]
            self.study = studies[length].with_settings(steps[first], **self.epochs(first, 1))
            self.measure(tries := [Try(step) for step in ranking], 1)
            values[length] = [one.row["validation"] for one in tries]
            for one in tries:
                one.row |= {"rung": "length", "length": length}
        table = pd.DataFrame(values)
        best = table.div(table.max(axis=1), axis=0).mean().idxmax()  # every task counts alike
        for row in self.rows:
            row["chosen"] = row["length"] == best
        self.study = studies[best]

    def first_task(self) -> None:
        """Search the length, T1's width, depth and learning rate, and the rate of retraining."""
        if self.plan["lengths"]:
            self.length()
        once = dilations_for(self.study.stream.sequences.shape[1])
        space = {"width": tuple(self.plan["widths"]), "dilations": (once, 2 * once)}
        space["learning_rate"] = SEARCH["sequence"]["learning_rate"]
        steps = conure_chain(self.study.order)[self.study.order[0]]
        self.choose(best(self.halve({steps["train"]: space})))
        tries = [Try(steps["retrain"], {"retrain_rate": rate}) for rate in RETRAIN_RATES]
        self.measure(tries, 2)
        self.choose(best(tries))

    def backbone(self, name: str) -> None:
        """Search T1's depth and learning rate of another network, all else as for NextItNet."""
        own, step = self.study.config.backbones[name], Step("train", self.study.order[0])
        space = {"learning_rate": SEARCH["sequence"]["learning_rate"], "layers": LAYERS}
        space |= {key: (value,) for key, value in own.items() if key not in space}
        (chosen,) = best(self.halve({step: space | {"backbone": (name,)}}))
        chosen.row["chosen"] = True
        found = {key: chosen.settings[key] for key in space}
        backbones = {**self.study.config.backbones, name: found}
        self.study = self.study.changed("", backbones=backbones)

    def later_task(self, task: str) -> None:
        """Search for every method on one task; methods do not depend on each other's settings."""
        kind = self.study.stream[task].kind
        steps = {name: m.recipe(self.study.order).get(task) for name, m in METHODS.items()}
        tries = self.halve({steps[name]: METHODS[name].space(kind) for name in self.names})
        self.choose(best(tries))
        train, bpr = dict(self.study.config.train), dict(self.study.config.bpr)
        for name in (n for n, method in METHODS.items() if method.settings_of in self.names):
            if (action := steps[name].action) not in ("prune", "retrain"):  # these always follow
                source = steps[METHODS[name].settings_of]
                train[f"{task}.{action}"] = train[f"{task}.{source.action}"]
        with_bpr = [t for t in tries if (t.step.action, t.settings.get("loss")) == ("train", "bpr")]
        self.measure(again := [one for one in best(with_bpr, KEPT) if one.rung == 0], 1)
        for one in again:
            one.row["rung"] = "BPR"  # of as many epochs as the second
        for one in best(with_bpr):
            own = self.study.with_settings(one.step, **one.settings)
            bpr[task] = own.config.training(task)
        self.study = self.study.changed("", train=train, bpr=bpr)

    def choose(self, tries: Iterable[Try]) -> None:
        """Go on with these settings."""
        for one in tries:
            one.row["chosen"] = True
            self.study = self.study.with_settings(one.step, **one.settings)


def search(
    dataset: str,
    profile: str,
    workers: int = 1,
    cluster: str | None = None,
    methods: Sequence[str] = (),
    tasks: Sequence[str] = (),
    backbones: Sequence[str] = (),
) -> Search:
    """Search from the settings before any search on; the result's ``study`` has those chosen.

    methods, tasks, backbones: search for these alone (T1: also for the network, whose settings
    serve all methods; backbones: those of the settings, after all tasks unless named), and go on
    with what was chosen before for all others. What is found is written after each task.
    """
    names, goes_on = tuple(methods) or TUNED, bool(methods or tasks or backbones)
    for name in names:
        demand_known("method", name, TUNED)
    config = study_config(dataset, profile, tuned=goes_on)
    if (plan := read_settings(dataset, profile).get("search")) is None:
        path = paths.settings(dataset, profile)
        raise ConfigError(f"{path}: found no 'search', expected lengths, widths and epochs to try")
    study = Study(config)
    for task in tasks:
        demand_known("task", task, study.order)
    for name in backbones:
        demand_known("backbone", name, config.backbones)
    found, first = Search(study, plan, names, goes_on, workers, cluster), study.order[0]
    others = backbones or (() if goes_on else config.backbones)
    every = () if backbones and not (methods or tasks) else study.order
    asked = [task for task in study.order if task in (tasks or every)]
    asked = [task for task in asked if task != first or names == TUNED]
    if not asked and not others:
        said = f"method: found {names[0]} for {first}, expected all, whose network it is"
        raise ConfigError(said)
    for task in tqdm((*asked, *others), desc="search", unit="task"):
        search_one = found.backbone if task in others else found.later_task
        found.first_task() if task == first else search_one(task)
        write(found)
    return found


def write(found: Search) -> list[Path]:
    """Write all tries and the new settings, to be copied to ``study/settings``."""
    config, table = found.study.config, pd.DataFrame(found.rows)
    name, folder = config.data.dataset, paths.tuning(local=True)
    files = [folder / f"{name}.csv", folder / f"{name}.json"]
    if found.goes_on and (before := paths.tuning() / f"{name}.csv").is_file():
        old = pd.read_csv(before)
        old["backbone"] = old.get("backbone", config.model.backbone)  # once it was not said
        searched = set(_keys(table))
        kept = [key not in searched for key in _keys(old)]
        table = pd.concat([old[kept], table], ignore_index=True)
    write_csv(files[0], table)
    chosen = {"data": {"dataset": name, "options": dict(config.data.options)}}
    chosen |= {"model": spec(config.model), "retrain_rate": config.retrain_rate}
    chosen["train"] = {key: spec(one) for key, one in config.train.items() if "." in key}
    chosen["bpr"] = {task: spec(one) for task, one in config.bpr.items()}
    chosen |= {"backbones": {**config.backbones}} if config.backbones else {}
    with atomic_file(files[1]) as part:
        write_json(part, read_settings(name, config.profile) | {"chosen": chosen})
    return files


def _keys(table: pd.DataFrame) -> Iterator[tuple]:
    """Return what each try is of: those that choose the length are no part of STL's search."""
    of_length = table["rung"] == "length"
    return table[KEY].assign(length=of_length).itertuples(index=False, name=None)


def seeds_of(task: Task, rung: int) -> tuple[int, ...]:
    """Return the seeds on which a task is searched: the many tries of the first rung on one."""
    few = task.kind == "classification" and len(task.labels) < FEW_USERS
    return SEEDS if few and rung else SEEDS[:1]


def points(space: SearchSpace) -> list[dict[str, Any]]:
    """Return the settings to try: the same even spread over the space for every method."""
    units = qmc.Sobol(len(space), scramble=False).random(TRIES) + 0.5 / TRIES
    return [
        {
            name: values.at(u) if isinstance(values, LogRange) else values[int(u * len(values))]
            for (name, values), u in zip(space.items(), point.tolist(), strict=True)
        }
        for point in units
    ]


def best(tries: Iterable[Try], number: int = 1) -> list[Try]:
    """Return the best tries of each step, those that came further first."""
    found: dict[Step, list[Try]] = {}
    for one in sorted(tries, key=lambda one: (one.rung, one.row["validation"]), reverse=True):
        found.setdefault(one.step, []).append(one)
    return [one for group in found.values() for one in group[:number]]


def validation_curve(stage: Stage) -> list[float]:
    """Return the values after each epoch; none of a training that diverged."""
    try:
        return [e["validation"] for e in stage.record()["curve"] if e["epoch"] > 0]
    except MissingResultError:
        return []
