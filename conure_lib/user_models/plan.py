"""A plan: a YAML or JSON file that says which of a user's own tables are which task."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from torch import nn

from conure_lib.config import DataConfig, ModelConfig, StudyConfig, TrainConfig, explain
from conure_lib.data.assemble import LabelTable
from conure_lib.data.options import AssemblyOptions
from conure_lib.data.sources.tables import from_tables
from conure_lib.data.stream import TaskStream
from conure_lib.errors import ConfigError, DataError
from conure_lib.files import read_json, read_text
from conure_lib.models.ownership import MAX_TASKS

PLAN_IN_FOLDER = "tasks.json"
SUFFIXES = (".yaml", ".yml", ".json")

# For small data, some hundred to some ten thousand users: a narrow network of two blocks, which
# sees 31 events back; small batches, so that there are enough steps; many epochs, of which early
# stopping takes what it needs. T1 keeps 30% of the weights, each later task 20% of what is free:
# after six tasks 23% are still free.
MODEL = ModelConfig(width=32, dilations=(1, 4))
SEQUENCE = TrainConfig(epochs=30, learning_rate=0.01, batch_size=64, patience=3)
RANKING = replace(SEQUENCE, learning_rate=0.005, batch_size=128, labels_per_user=4)
CLASSIFICATION = replace(SEQUENCE, learning_rate=0.005, patience=4)
TRAIN = {"sequence": SEQUENCE, "ranking": RANKING, "classification": CLASSIFICATION}
RETRAIN, PRUNE = {"epochs": 5}, {"T1": 0.7, "*": 0.8}


def _not_taken_by_torch(name: str) -> str:
    if hasattr(nn.ModuleDict(), name):
        raise ValueError(f"found {name!r}, which PyTorch uses itself; expected another name")
    return name


TaskName = Annotated[str, Field(pattern=r"^[A-Za-z]\w{0,59}$"), AfterValidator(_not_taken_by_torch)]
PlanName = Annotated[str, Field(pattern=r"^\w[\w.-]{0,59}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PlannedTask(_Entry):
    """One later task of a plan; its labels are in ``file`` (columns user and label)."""

    name: TaskName
    kind: Literal["ranking", "classification"]
    file: str
    title: str | None = None
    columns: dict[Literal["user", "label"], str] = {}


class Plan(_Entry):
    """What a plan file says, checked; ``read_plan`` makes one.

    Attributes
    ----------
    name
        What the run is called; the file's name (that of a ``tasks.json``'s folder) unless given.
    events, title, tasks
        T1: columns user, item and, unless its rows are in order, time; later tasks in their order.
    columns, options
        What the tables call user, item, time, label; how the stream is made (``from_tables``).
    model, train, retrain, prune
        What differs from the defaults: fields of ``ModelConfig``; of ``TrainConfig`` per task; of
        ``TrainConfig`` when retraining; the share of weights to give back per task. ``"*"`` means
        every task that is not named.
    retrain_rate
        The learning rate of retraining relative to that of training.

    Examples
    --------
    >>> read_plan("my_stream.yaml").stream().describe()  # doctest: +SKIP
    """

    name: PlanName
    events: str
    tasks: Annotated[list[PlannedTask], Field(max_length=MAX_TASKS - 1)]
    title: str = "events in time order"
    columns: dict[Literal["user", "item", "time", "label"], str] = {}
    options: AssemblyOptions = {}
    model: dict[str, Any] = {}
    train: dict[str, dict[str, Any]] = {}
    retrain: dict[str, Any] = {}
    retrain_rate: float = 0.3
    prune: dict[str, float] = {}
    _file: Path = PrivateAttr()

    @field_validator("train", "prune")
    @classmethod
    def _known_tasks(cls, settings: dict, info: ValidationInfo) -> dict:
        known = ["T1", *(task.name for task in info.data.get("tasks", ())), "*"]
        if unknown := [task for task in settings if task not in known]:
            raise ValueError(f"found {unknown[0]!r}, expected some of {', '.join(known)}")
        return settings

    def tables(self) -> list[Path]:
        """Return the paths of the events and of each task's labels, seen from the plan's folder."""
        return [self._file.parent / file for file in (self.events, *(t.file for t in self.tasks))]

    def stream(self) -> TaskStream:
        """Read the tables and return their stream; raises DataError that names file and column."""
        events, *files = self.tables()
        labels = [
            LabelTable(task.name, task.kind, task.title or task.name, file, task.columns)
            for task, file in zip(self.tasks, files, strict=True)
        ]
        columns = self.columns
        return from_tables(events, labels, title=self.title, columns=columns, **self.options)

    def study_config(self, seed: int = 1, device: str = "cpu") -> StudyConfig:
        """Return the settings of training; raises ConfigError for one that cannot be used."""
        kinds = {"T1": "sequence"} | {task.name: task.kind for task in self.tasks}
        train = {"*": RANKING}
        for task, kind in kinds.items():
            given = self.train.get("*", {}) | self.train.get(task, {})
            train[task] = self._changed(TRAIN[kind], given, f"train of {task}")
        self._changed(RANKING, self.retrain, "retrain")
        model = self._changed(MODEL, self.model, "model")
        try:
            return StudyConfig(
                profile="own",
                data=DataConfig("own-tables"),
                model=model,
                train=train,
                retrain=RETRAIN | self.retrain,
                retrain_rate=self.retrain_rate,
                prune=self.prune if "*" in self.prune else PRUNE | self.prune,
                seeds=(seed,),
                device=device,
            )
        except ConfigError as error:
            raise ConfigError(f"{self._file}: {error}") from error

    def _changed(self, settings: Any, given: dict, place: str) -> Any:
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        try:
            return replace(settings, **values)
        except ConfigError as error:
            raise ConfigError(f"{self._file}, {place}: {error}") from error


def read_plan(path: str | Path) -> Plan:
    """Read and check a plan; its tables are not read yet.

    Parameters
    ----------
    path
        A ``.yaml``, ``.yml`` or ``.json`` file, or a folder that holds ``tasks.json``.

    Raises
    ------
    DataError, ConfigError
        For what is no plan, and for a setting of training that cannot be used. One line: file,
        field, what was found and what is expected.
    """
    file = Path(path)
    try:
        file = file / PLAN_IN_FOLDER if file.is_dir() else file
        name = file.resolve().parent.name if file.name == PLAN_IN_FOLDER else file.stem
        if file.suffix not in SUFFIXES:
            raise ValueError("another kind of file")
        yaml = YAML(typ="safe", pure=True)
        content = read_json(file) if file.suffix == ".json" else yaml.load(read_text(file))
        plan = Plan.model_validate(
            {"name": name} | content if isinstance(content, dict) else content
        )
    except ValidationError as error:
        raise DataError(explain(error, str(file))) from error
    except (OSError, ValueError, YAMLError, RuntimeError) as error:
        found = " ".join(str(getattr(error, "strerror", None) or error).split())
        expected = f"expected a plan in UTF-8 ({', '.join(SUFFIXES)})"
        raise DataError(f"{str(file)[:200]}: found {found}, {expected}") from error
    plan._file = file
    plan.study_config()
    return plan
