"""A study: a stream with settings, its runs of methods, and where their results are."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import pandas as pd

from conure_lib.config import ModelConfig, StudyConfig, TrainConfig, content_id
from conure_lib.data.registry import load
from conure_lib.data.stream import TaskStream
from conure_lib.errors import ConfigError, MissingResultError
from conure_lib.methods import ACTIONS, METHODS
from conure_lib.methods.method import Step
from conure_lib.models import BACKBONES
from conure_lib.pipeline import provenance
from conure_lib.pipeline.estimate import estimate
from conure_lib.pipeline.scheduler import compute
from conure_lib.pipeline.stage import Stage, with_ancestors
from conure_lib.pipeline.store import CommittedStore, LocalStore
from conure_lib.study.profiles import PARAMETERS, RESULTS, demand_known, injected, study_config

TRAINING, NETWORK = ({field.name for field in fields(one)} for one in (TrainConfig, ModelConfig))


@dataclass(frozen=True)
class Run:
    """One method on one stream with one seed: by task, the stage whose results are the method's.

    variant: what an experiment changed, "" for the study's own settings and order of tasks.
    """

    method: str
    seed: int
    stages: dict[str, Stage]
    variant: str = ""

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits: a hash of the method and the stages' ids."""
        return content_id([self.method, *(stage.id for stage in self.stages.values())])

    @property
    def last(self) -> Stage:
        """The stage of the last task: its model has learned all of them if they share one."""
        return list(self.stages.values())[-1]


class Study:
    """A stream, settings, and the runs of every method asked for.

    Parameters
    ----------
    config, stream, store
        The settings; the stream, else that of ``config.data``; where results are, else one's own.
    growing
        Whether tasks may be appended to the stream later: a stage then depends on the stream up to
        its task alone, so that what is learned already is found again.
    """

    def __init__(
        self,
        config: StudyConfig,
        stream: TaskStream | None = None,
        store: LocalStore | CommittedStore | None = None,
        growing: bool = False,
    ) -> None:
        for key in config.train:
            demand_known("action of train", key.partition(".")[2] or "train", ACTIONS)
        demand_known("backbone", config.model.backbone, BACKBONES)
        self.config, self.variant = config, ""
        self.stream = load(config.data) if stream is None else stream
        length, field = self.stream.sequences.shape[1], config.model.receptive_field
        if field < length:
            found = f"found {config.model.dilations}, which read {field} of {length} items"
            raise ConfigError(f"dilations: {found}; expected to read all")
        self.store = LocalStore() if store is None else store
        self.order = tuple(task.name for task in self.stream.tasks)
        self._digest = self.stream.digest()
        self.by_task = {t: self.stream.until(t).digest() for t in self.order} if growing else {}

    @property
    def local(self) -> bool:
        """Whether the results are one's own, not the committed evidence."""
        return isinstance(self.store, LocalStore)

    def changed(self, variant: str, **changes: object) -> "Study":
        """Return this study with other fields of StudyConfig; its runs bear the variant's name."""
        other = copy.copy(self)
        other.config, other.variant = replace(self.config, **changes), variant
        return other

    def with_settings(self, step: Step, **settings: Any) -> "Study":
        """Return the study with other settings: of a step, of the network, or of StudyConfig."""
        config = self.config
        model = replace(config.model, **{n: settings.pop(n) for n in NETWORK & settings.keys()})
        if own := {n: settings.pop(n) for n in TRAINING & settings.keys()}:
            train = replace(config.training(step.task, step.action), **own)
            settings["train"] = {**config.train, f"{step.task}.{step.action}": train}
        return self.changed("", model=model, **settings)

    def stage(self, step: Step, seed: int) -> Stage:
        """Return a step of this study with one seed; nothing is computed."""
        digest = self.by_task.get(step.task, self._digest)
        return Stage(step, self.config, digest, seed, self.by_task, self.store)

    def run(self, method: str, seed: int, order: tuple[str, ...] | None = None) -> Run:
        """Return a method (a key of ``METHODS``) with any seed; nothing is computed.

        order: of the tasks, the stream's unless given: its first, then any of the others.
        """
        demand_known("method", method, METHODS)
        order, first = order or self.order, self.order[0]
        if order[0] != first or not {*order} <= {*self.order} or len({*order}) < len(order):
            expected = f"{first} first, then others of {self.order}, each once"
            raise ConfigError(f"order: found {order}, expected {expected}")
        fits = self.stream.groups is not None or not METHODS[method].groups
        steps = METHODS[method].recipe(order) if fits else {}
        stages = {task: self.stage(step, seed) for task, step in steps.items()}
        return Run(method, seed, stages, self.variant)

    def runs(self, methods: Iterable[str], order: tuple[str, ...] | None = None) -> list[Run]:
        """Return a run for each method with something to learn and each of the study's seeds."""
        every = [self.run(method, seed, order) for method in methods for seed in self.config.seeds]
        return [run for run in every if run.stages]

    def compute(self, runs: Iterable[Run], workers: int = 1, cluster: str | None = None) -> None:
        """Compute what is missing of these runs (see ``compute_all``)."""
        compute_all([(self, runs)], workers, cluster)

    def estimate(self, runs: Iterable[Run]) -> pd.DataFrame:
        """Estimate what is missing of these runs (see ``pipeline.estimate``)."""
        return estimate((s for run in runs for s in run.stages.values()), self.stream)

    def require(self, runs: Iterable[Run]) -> None:
        """Raise MissingResultError unless all are there, of one kind where they begin alike."""
        stages = with_ancestors(stage for run in runs for stage in run.stages.values())
        kinds = provenance.mixed((one, one.environment()) for one in stages)
        if kinds and not self.by_task:
            found = "found results of " + " and ".join(f"{k} ({e})" for k, e in kinds.items())
            raise MissingResultError(f"{found}; make study computes all on one")

    def ready(self, runs: Iterable[Run]) -> None:
        """Compute one's own results if the profile is small; else check that they are there."""
        if self.local and self.config.profile in ("smoke", "quick"):
            self.compute(runs)
        else:
            self.require(runs)

    def results(self, runs: Iterable[Run]) -> pd.DataFrame:
        """Return tidy results: one row per run, task and measure; n counts test instances."""
        rows, head = [], {"dataset": self.stream.name, "profile": self.config.profile}
        for run in runs:
            head |= {"method": run.method, "variant": run.variant}
            for task, stage in run.stages.items():
                where = head | {"task": task, "seed": run.seed}
                ids = {"run_id": run.id, "stage_id": stage.id}
                ids["commit"] = stage.environment()["commit"]
                rows += [where | measured | ids for measured in stage.record()["metrics"]]
        return pd.DataFrame(rows)


def compute_all(
    groups: Iterable[tuple[Study, Iterable[Run]]], workers: int = 1, cluster: str | None = None
) -> None:
    """Compute what is missing of runs of several studies (see ``pipeline.scheduler.compute``)."""
    asked = []
    for study, runs in groups:
        if not study.local:
            raise ConfigError('committed results are read-only; load_study(..., results="local")')
        asked.append(([s for run in runs for s in run.stages.values()], study.stream))
    compute(asked, workers, cluster)


def load_study(
    dataset: str,
    profile: str,
    seeds: Iterable[int] | None = None,
    results: str = "committed",
) -> Study:
    """Return a study of the paper's experiments: what notebooks call first.

    Parameters
    ----------
    dataset, profile, seeds
        See ``study_config``; of committed results all seeds that are published unless given.
    results
        "committed" reads the evidence of a published profile and never trains. "local" reads one's
        own run; profiles smoke and quick compute what is missing (``Study.ready``).
    """
    for name in sorted(injected()):
        demand_known("parameter", name, PARAMETERS)
    demand_known("results", results, RESULTS)
    config = study_config(dataset, profile, seeds)
    if results == "local":
        return Study(config)
    store = CommittedStore(profile, dataset)
    config = replace(config, device=store.device)
    config = replace(config, seeds=store.seeds) if seeds is None else config
    return Study(config, store=store)
