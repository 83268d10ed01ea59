"""The search for hyper-parameters, on validation data of seeds that no report uses.

First the length of the input, then T1's network and rate, the rate of retraining, and each later
task. Every method tries as many joint settings of the same space (``methods.method.SEARCH``, and
what is its own), cut short alike by successive halving: ``TRIES`` for few epochs, the best ``KEPT``
for three times as many, after which the best is chosen. Where it lies at the edge of a range,
some more go beyond it. Every try is a stage, so that a search that was interrupted goes on.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import qmc
from tqdm.auto import tqdm

from conure_lib import paths
from conure_lib.config import StudyConfig, TrainConfig, spec
from conure_lib.data.stream import Task, TaskStream
from conure_lib.errors import ConfigError, MissingResultError
from conure_lib.files import write_json
from conure_lib.methods import METHODS
from conure_lib.methods.conure import conure_chain
from conure_lib.methods.method import SEARCH, LogRange, SearchSpace, Step
from conure_lib.pipeline.scheduler import compute, missing
from conure_lib.pipeline.stage import Stage
from conure_lib.study.profiles import demand_known, read_settings, study_config
from conure_lib.study.study import Study

SEEDS = (0, 7, 8, 9, 10)
"""Of a search. A task of few users takes all after the first rung, any other the first alone: the
value is the mean over them.
Training blocks, initialisation and order differ; the validation blocks are 0 and 1 for all, since
others would be blocks that the report tests."""
FEW_USERS = 2000
TRIES, KEPT = 16, 4
RUNGS = ("first", "second", "full")  # the second has three times the epochs of the first
BEYOND = (0.125, 0.375, 0.625, 0.875)  # decades from an edge to further tries
RETRAIN_RATES = (1.0, 0.3, 0.1)  # relative to that of training; T1's best one serves all tasks
TUNED = tuple(name for name, method in METHODS.items() if method.search is not None)
"""Methods with settings of their own; others take those of another method, or have none."""
TRAINING = tuple(field.name for field in fields(TrainConfig))
HEAD = ("task", "action", "rung")
TAIL = ("validation", "epochs_run", "at_edge", "chosen", "stage_id")


@dataclass
class Try:
    """Settings of a step out of a space, the study that has them, and how far they came."""

    step: Step
    settings: dict[str, Any]
    study: Study
    space: SearchSpace
    rung: int = -1
    row: dict[str, Any] | None = None  # of the table, of the last rung

    @property
    def edges(self) -> dict[str, int]:
        """The settings at the lower (-1) or upper (1) edge of their ranges."""
        ranges = {name: r for name, r in self.space.items() if isinstance(r, LogRange)}
        sides = {name: r.edge(self.settings[name]) for name, r in ranges.items()}
        return {name: side for name, side in sides.items() if side}

    def beyond(self) -> list["Try"]:
        """Return tries beyond the edges at which this one lies, everything else being equal."""
        wider = {name: self.space[name].wider(side) for name, side in self.edges.items()}
        tries = []
        for decades in BEYOND if wider else ():
            moved = {n: self.space[n].past(side, decades) for n, side in self.edges.items()}
            study = with_settings(self.study, self.step, **moved)
            tries.append(Try(self.step, self.settings | moved, study, self.space | wider))
        return tries


class Search:
    """The state of a search: the study with the best settings so far, and a row per try and rung.

    plan: of the settings file: "lengths" and "widths" to try, "epochs" of the first rung by task,
    with "*" for tasks that are not named. names: of the methods to search; tasks: for these alone,
    all unless given.
    """

    def __init__(
        self,
        config: StudyConfig,
        plan: Mapping,
        names: tuple[str, ...],
        tasks: tuple[str, ...] = (),
        *where: int | str | None,
    ) -> None:
        self.study, self.plan, self.names, self.where = Study(config), plan, names, where
        self.rows: list[dict[str, Any]] = []
        first, *others = self.study.stream.tasks
        for name in tasks:
            demand_known("task", name, self.study.order)
        self.later = [task for task in others if not tasks or task.name in tasks]
        self.network = names == TUNED and (not tasks or first.name in tasks)
        by_rung = enumerate((TRIES, KEPT))
        seeds = [n * len(seeds_of(task, rung)) for rung, n in by_rung for task in self.later]
        tries = len(names) * sum(seeds)
        if self.network:
            ranking = [task for task in others if task.kind == "ranking"]
            tries += len(plan["lengths"]) * len(ranking)
            tries += TRIES + KEPT + len(RETRAIN_RATES)
        self.bar = tqdm(total=tries, desc="search", unit="try", smoothing=0)

    def epochs(self, task: str, rung: int) -> dict[str, Any]:
        """Return the settings that cut a training short; none in the last rung."""
        first = self.plan["epochs"].get(task, self.plan["epochs"]["*"])
        return {"epochs": first * 3**rung, "final_rate": 0.0} if RUNGS[rung] != "full" else {}

    def measure(self, tries: list[Try], rung: int) -> None:
        """Train each try; its value is the best on validation data, -inf if it diverges."""
        stages = []
        for one in tries:
            study = with_settings(one.study, one.step, **self.epochs(one.step.task, rung))
            seeds = seeds_of(study.stream[one.step.task], rung)
            stages.append([study.stage(one.step, seed) for seed in seeds])
        if tries:
            self.compute([s for several in stages for s in several], tries[0].study.stream)
        for one, several in zip(tries, stages, strict=True):
            curves = [validation_curve(stage) for stage in several]
            row = {"task": one.step.task, "action": one.step.action, "rung": RUNGS[rung]}
            row |= one.settings
            row["validation"] = float(np.mean([max(curve, default=-np.inf) for curve in curves]))
            row["epochs_run"] = float(np.mean([len(curve) for curve in curves]))
            row |= {"at_edge": bool(one.edges), "chosen": False, "stage_id": several[0].id}
            one.rung, one.row = rung, row
            self.rows.append(row)

    def compute(self, stages: list[Stage], stream: TaskStream) -> None:
        """Compute what is missing; the bar tells how long the rest of the search will take."""
        ids = {one.id for one in stages}
        found = len(ids - {one.id for one in missing(stages)})
        self.bar.initial += found  # so that these do not count for how long one takes
        self.bar.update(found)
        try:
            workers, cluster = self.where
            compute(stages, stream, workers, cluster, lambda one: self.bar.update(one.id in ids))
        except FloatingPointError as error:
            print(f"conure: {error} (tries that diverge count as the worst)", file=sys.stderr)

    def halve(self, spaces: Mapping[Step, SearchSpace]) -> list[Try]:
        """Search all steps by successive halving, those of a rung at once; return all tries."""
        tries = [
            Try(step, point, with_settings(self.study, step, **point), space)
            for step, space in spaces.items()
            for point in points(space)
        ]
        self.measure(tries, 0)
        self.measure(kept := best(tries, KEPT), 1)
        further = [new for one in best(kept) for new in one.beyond()]
        stream = self.study.stream
        self.bar.total += sum(len(seeds_of(stream[one.step.task], 1)) for one in further)
        self.measure(further, 1)
        return tries + further

    def length(self) -> None:
        """Choose how many items the networks read: what serves the ranking tasks best under STL.

        T1's own values are not comparable: a longer window has other positions to predict.
        """
        config, tried = self.study.config, []
        for length in self.plan["lengths"]:
            data = replace(config.data, options={**config.data.options, "length": length})
            model = replace(config.model, dilations=cycle(length))
            first = replace(config.train["T1"], **self.epochs("T1", 1))
            train = {**config.train, "T1": first}
            one = Study(replace(config, data=data, model=model, train=train))
            steps = METHODS["STL"].recipe(one.order)
            ranking = [task.name for task in one.stream.tasks if task.kind == "ranking"]
            tried.append([Try(steps[name], {"length": length}, one, {}) for name in ranking])
            self.measure(tried[-1], 1)
        if tried:
            values = np.array([[one.row["validation"] for one in tries] for tries in tried])
            relative = (values / values.max(axis=0)).mean(axis=1)  # every task counts alike
            for number, tries in enumerate(tried):
                for one in tries:
                    one.row |= {"rung": "length", "chosen": number == relative.argmax()}
            found = tried[relative.argmax()][0].study.config
            self.study = Study(replace(config, data=found.data, model=found.model))

    def first_task(self) -> None:
        """Search T1's width, depth and learning rate, then the rate at which all retrain."""
        once = cycle(self.study.stream.sequences.shape[1])
        space = {"width": tuple(self.plan["widths"]), "dilations": (once, 2 * once)}
        space["learning_rate"] = SEARCH["sequence"]["learning_rate"]
        steps = conure_chain(self.study.order)[self.study.order[0]]
        self.choose(best(self.halve({steps["train"]: space})))
        tries = [
            Try(steps["retrain"], {"retrain_rate": r}, self.study.changed("", retrain_rate=r), {})
            for r in RETRAIN_RATES
        ]
        self.measure(tries, 2)
        self.choose(best(tries))

    def later_task(self, task: str) -> None:
        """Search for every method on one task; methods do not depend on each other's settings."""
        kind, steps = self.study.stream[task].kind, {}
        for name, method in METHODS.items():
            if method.search is not None or method.settings_of:
                steps[name] = method.recipe(self.study.order)[task]
        tries = self.halve({steps[n]: SEARCH[kind] | METHODS[n].search for n in self.names})
        self.choose(best(tries))
        train = dict(self.study.config.train)
        for name, step in steps.items():
            follows = step.action not in ("prune", "retrain")  # whose settings follow by themselves
            if follows and (source := METHODS[name].settings_of) in self.names:
                train[f"{task}.{step.action}"] = train[f"{task}.{steps[source].action}"]
        bpr = [t for t in tries if t.step.action == "train" and t.settings.get("loss") == "bpr"]
        kept = {**self.study.config.bpr}
        kept |= {one.step.task: one.study.config.training(task) for one in best(bpr)}
        self.study = self.study.changed("", train=train, bpr=kept)

    def choose(self, tries: Iterable[Try]) -> None:
        """Go on with these settings."""
        for one in tries:
            one.row["chosen"] = True
            self.study = with_settings(self.study, one.step, **one.settings)

    def table(self) -> pd.DataFrame:
        """Return a row per try and rung: what it varied, its value, whether it was chosen."""
        table = pd.DataFrame(self.rows)
        varied = [name for name in table if name not in (*HEAD, *TAIL)]
        return table[[*HEAD, *varied, *TAIL]]


def search(
    dataset: str,
    profile: str,
    workers: int = 1,
    cluster: str | None = None,
    methods: Iterable[str] = (),
    tasks: Iterable[str] = (),
) -> Search:
    """Search from the settings before any search on; the result's ``study`` has those chosen.

    methods, tasks: search for these alone (T1: also for the network), and go on with what was
    chosen before for all others. What is found is written after each task.
    """
    for name in methods:
        demand_known("method", name, TUNED)
    path = paths.settings(dataset, profile)
    config = study_config(dataset, profile, tuned=bool(methods or tasks))
    if (plan := read_settings(dataset, profile).get("search")) is None:
        raise ConfigError(f"{path}: found no 'search', expected lengths, widths and epochs to try")
    found = Search(config, plan, tuple(methods) or TUNED, tuple(tasks), workers, cluster)
    with found.bar:
        if found.network:
            found.length()
            found.first_task()
            write(found)
        for task in found.later:
            found.later_task(task.name)
            write(found)
    return found


def write(found: Search) -> list[Path]:
    """Write all tries and the new settings, to be copied to ``study/settings``."""
    config, folder = found.study.config, paths.tuning(local=True)
    name, table = config.data.dataset, found.table()
    partial = found.names != TUNED or len(found.later) < len(found.study.order) - 1
    if (partial or not found.network) and (before := paths.tuning() / f"{name}.csv").is_file():
        old, new = pd.read_csv(before), set(zip(table["task"], table["action"], strict=True))
        kept = [key not in new for key in zip(old["task"], old["action"], strict=True)]
        table = pd.concat([old[kept], table], ignore_index=True)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    chosen = {"data": {"dataset": name, "options": dict(config.data.options)}}
    chosen |= {"model": spec(config.model), "retrain_rate": config.retrain_rate}
    chosen["train"] = {key: spec(one) for key, one in config.train.items() if "." in key}
    chosen["bpr"] = {task: spec(one) for task, one in config.bpr.items()}
    settings = read_settings(name, config.profile) | {"chosen": chosen}
    write_json(folder / f"{name}.json", settings)
    return [folder / f"{name}.csv", folder / f"{name}.json"]


def seeds_of(task: Task, rung: int) -> tuple[int, ...]:
    """Return the seeds on which a task is searched: the many tries of the first rung on one."""
    few = task.kind == "classification" and len(task.labels) < FEW_USERS
    return SEEDS if few and rung else SEEDS[:1]


def cycle(length: int) -> tuple[int, ...]:
    """Return the dilations 1, 4, 16, ... with which NextItNet sees so many items."""
    dilations: tuple[int, ...] = (1,)
    while 1 + 6 * sum(dilations) < length:
        dilations += (4 * dilations[-1],)
    return dilations


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


def with_settings(study: Study, step: Step, **settings: Any) -> Study:
    """Return the study with other settings: of a step, of the network, or of the study itself."""
    config, key = study.config, f"{step.task}.{step.action}"
    model = {n: settings.pop(n) for n in ("width", "dilations") if n in settings}
    own = {n: settings.pop(n) for n in TRAINING if n in settings}
    changes = settings | {"model": replace(config.model, **model)}
    if own:
        train = replace(config.training(step.task, step.action), **own)
        changes["train"] = {**config.train, key: train}
    return study.changed("", **changes)


def best(tries: Iterable[Try], number: int = 1) -> list[Try]:
    """Return the best tries of each step, those that came further first."""
    found: dict[Step, list[Try]] = {}
    order = sorted(tries, key=lambda one: (one.rung, one.row["validation"]), reverse=True)
    for one in order:
        found.setdefault(one.step, []).append(one)
    return [one for group in found.values() for one in group[:number]]


def validation_curve(stage: Stage) -> list[float]:
    """Return the values after each epoch; none of a training that diverged."""
    try:
        return [e["validation"] for e in stage.record()["curve"] if e["epoch"] > 0]
    except MissingResultError:
        return []
