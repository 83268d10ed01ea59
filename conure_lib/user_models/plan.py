"""A plan: a YAML or JSON file that says which of a user's own tables are which task."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PrivateAttr, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from torch import nn

from conure_lib.config import (
    DataConfig,
    ModelConfig,
    Ratio,
    StudyConfig,
    TrainConfig,
    dilations_for,
    explain,
)
from conure_lib.data.assemble import LabelTable
from conure_lib.data.options import AssemblyOptions
from conure_lib.data.sources.tables import DEFAULTS, from_tables
from conure_lib.data.stream import TaskStream
from conure_lib.errors import ConfigError, DataError
from conure_lib.files import read_json, read_text
from conure_lib.models.ownership import MAX_TASKS

PLAN_IN_FOLDER = "tasks.json"
SUFFIXES = (".yaml", ".yml", ".json")

# What the study's protocol learned on streams of some hundred to some ten thousand users. Early
# stopping decides how long; MRR@5 on a small validation part is noisy: with less patience it ended
# a ranking task of ml-100k at 0.051 instead of 0.055. After six tasks 23% of the weights are free.
SEQUENCE = TrainConfig(epochs=60, learning_rate=0.003, batch_size=32, patience=5)
CLASSIFICATION = replace(SEQUENCE, learning_rate=0.0003, dropout=0.5)
_WIDE = {"batch_size": 512, "labels_per_user": 32}
RANKING = replace(CLASSIFICATION, learning_rate=0.001, patience=10, **_WIDE)
TRAIN = {"sequence": SEQUENCE, "ranking": RANKING, "classification": CLASSIFICATION}
RETRAIN, PRUNE = {"final_rate": 0.0}, {"T1": 0.7, "*": 0.8}
TaskName = Annotated[str, Field(pattern=r"^[A-Za-z]\w{0,59}$")]
PlanName = Annotated[str, Field(pattern=r"^\w[\w.-]{0,59}$")]


class PlannedTask(BaseModel, extra="forbid", strict=True, frozen=True):
    """One later task of a plan; its labels are in ``file`` (columns user and label)."""

    name: TaskName
    kind: Literal["ranking", "classification"]
    file: str
    title: str | None = None
    columns: dict[Literal["user", "label"], str] = {}


class Plan(BaseModel, extra="forbid", strict=True, frozen=True):
    """What a plan file says, checked; ``read_plan`` makes one."""

    name: PlanName  # of the run: the file's, or that of the folder of a tasks.json, unless given
    events: str  # T1: columns user, item and, unless its rows are in order, time
    tasks: Annotated[list[PlannedTask], Field(max_length=MAX_TASKS - 1)]  # later ones, in order
    title: str = "events in time order"
    columns: dict[Literal["user", "item", "time", "label"], str] = {}  # what the tables call them
    options: AssemblyOptions = {}
    model: dict[str, Any] = {}  # of ModelConfig; dilations that cover the length unless given
    train: dict[str, dict[str, Any]] = {}  # of TrainConfig; "*": every task, whose own come first
    retrain: dict[str, Any] = {}
    retrain_rate: float = 0.1  # learning rate of retraining relative to that of training
    prune: dict[str, Ratio] = {}  # share of weights to give back by task; "*": any not named
    grow_below: Ratio = 0.05  # free share of weights below which a later task adds a block
    _file: Path = PrivateAttr()

    def tables(self) -> list[Path]:
        """Return the paths of the events and of each task's labels, seen from the plan's folder."""
        return [self._file.parent / file for file in (self.events, *(t.file for t in self.tasks))]

    def stream(self) -> TaskStream:
        """Read the tables and return their stream; raises DataError that names file and column."""
        (events, *files), columns = self.tables(), self.columns
        tasks = zip(self.tasks, files, strict=True)
        labels = [LabelTable(t.name, t.kind, t.title or t.name, f, t.columns) for t, f in tasks]
        return from_tables(events, labels, title=self.title, columns=columns, **self.options)

    def study_config(self, seed: int = 1, device: str = "cpu") -> StudyConfig:
        """Return the settings of training; raises ConfigError for one that cannot be used."""
        kinds = {"T1": "sequence"} | {task.name: task.kind for task in self.tasks}
        train, where = {"*": RANKING}, self._file
        try:
            if taken := [task for task in kinds if hasattr(nn.ModuleDict(), task)]:
                raise ConfigError(f"tasks: found name {taken[0]!r}, which PyTorch uses itself")
            names = ["T1", "items", *(task.name for task in self.tasks)]
            if len({name.casefold() for name in names}) < len(names):
                found = "a name twice (maybe but for its case), or 'T1' or 'items'"
                raise ConfigError(f"tasks: found {found}, expected other names of files")
            if "free" in kinds:
                raise ConfigError("tasks: found name 'free', which stands for weights of no task")
            for name, given in {"train": self.train, "prune": self.prune}.items():
                if unknown := given.keys() - {*kinds, "*"}:
                    expected = f"expected some of {', '.join(kinds)}, *"
                    raise ConfigError(f"{name}: found {min(unknown)!r}, {expected}")
            for task, kind in kinds.items():
                where = f"{self._file}, train of {task}"
                given = self.train.get("*", {}) | self.train.get(task, {})
                train[task] = replace(TRAIN[kind], **given)
            where = f"{self._file}, retrain"
            replace(RANKING, **self.retrain)
            where = f"{self._file}, model"
            sizes = {k: tuple(v) if isinstance(v, list) else v for k, v in self.model.items()}
            covering = {"dilations": dilations_for((DEFAULTS | self.options)["length"])}
            model, where = ModelConfig(**covering | sizes), self._file
            prune = self.prune if "*" in self.prune else PRUNE | self.prune
            full = [task for task in [*kinds][:-1] if prune.get(task, prune["*"]) == 0]
            if full and not self.grow_below:
                expected = "expected more than 0 while tasks follow, or a grow_below above 0"
                raise ConfigError(f"prune of {full[0]}: found 0, {expected}")
            given = {"retrain": RETRAIN | self.retrain, "retrain_rate": self.retrain_rate}
            given |= {"prune": prune, "grow_below": self.grow_below}
            given |= {"seeds": (seed,), "device": device}
            return StudyConfig("own", DataConfig("own-tables"), model, train, **given)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error


def read_plan(path: str | Path) -> Plan:
    """Read and check a plan: a YAML or JSON file, or a folder with tasks.json; not its tables yet.

    DataError for what is no plan, ConfigError for a setting of training that cannot be used.
    """
    file = Path(path)
    try:
        file = file / PLAN_IN_FOLDER if file.is_dir() else file
        name = file.resolve().parent.name if file.name == PLAN_IN_FOLDER else file.stem
        if file.suffix not in SUFFIXES:
            raise ValueError("another kind of file")
        yaml = YAML(typ="safe", pure=True)
        content = read_json(file) if file.suffix == ".json" else yaml.load(read_text(file))
        name = re.sub(r"[^\w.-]+", "_", name).lstrip(".-")[:60]  # as a plan's name may be
        content = {"name": name} | content if isinstance(content, dict) else content
        plan = Plan.model_validate(content)
    except ValidationError as error:
        raise DataError(explain(error, str(file))) from error
    except (OSError, ValueError, LookupError, YAMLError, RuntimeError) as error:
        found = " ".join(str(getattr(error, "strerror", None) or error).split())
        expected = f"expected a plan in UTF-8 ({', '.join(SUFFIXES)})"
        raise DataError(f"{str(file)[:200]}: found {found}, {expected}") from error
    plan._file = file
    plan.study_config()
    return plan
