"""Good inputs of every kind, written once and copied for each try; and what reads each of them."""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from unittest import mock

import pandas as pd
import yaml
from helpers import small_stream
from small_service import plan_of, write_service

from conure_lib import paths
from conure_lib.config import DataConfig
from conure_lib.data.cache import MANIFEST, STORED, load_stream, save_stream
from conure_lib.data.registry import load
from conure_lib.data.sources.ttl import TASKS
from conure_lib.data.stream import TaskStream, check
from conure_lib.pipeline.scheduler import scheduler_address
from conure_lib.pipeline.store import (
    ENVIRONMENT,
    RANKS,
    RECORD,
    CommittedStore,
    LocalStore,
    write_evidence,
)
from conure_lib.study.profiles import study_config
from conure_lib.study.study import Study
from conure_lib.user_models.plan import Plan, read_plan
from conure_lib.user_models.train import run

from .judge import Attempt, sandbox

SMALL = {"length": 3, "min_events": 2}
CSV = "userId,movieId,rating,timestamp"
SEQUENCES = ["0,0,70,500", "0,70,500,3", *(f"{n},3,70,500" for n in range(1001, 1009))]
TAILS = {"T1": [""] * 10, "T2": [",,9,8", ",,9", *[",,8"] * 8], "T4": [f",,{n}" for n in range(10)]}
PLAN = plan_of(prune={"T1": 0.5}, retrain_rate=0.5)
EMBED = [
    "embed",
    "--model",
    "run",
    "--task",
    "T2",
    "--data",
    "mine/plays.csv",
    "--out",
    "v.parquet",
]
EXPORT = ["export", "--model", "run", "--task", "T2", "--out", "t2"]


@dataclass(frozen=True)
class Sample:
    """A file that can be damaged, and what reads it. place: words of which a refusal has one."""

    file: str
    attempt: Attempt
    place: tuple[str, ...] = ()
    is_valid: Callable[[object], bool] = lambda value: True
    is_text: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """What a refusal names: the file, or the folder that it is a part of."""
        return (Path(self.file).name, *self.place)


def is_stream(value: object) -> bool:
    """Tell whether a value is a consistent task stream."""
    return isinstance(value, TaskStream) and check(value) is value


def loaded(dataset: str, path: str, **options: object) -> TaskStream:
    """Load a dataset from a path below the working folder."""
    return load(DataConfig(dataset, {"path": path, **options}))


def read_settings(file: str) -> object:
    """Read a file as if it were the committed settings of ml-100k."""
    with mock.patch.object(paths, "settings", return_value=Path(file)):
        return study_config("ml-100k", "standard")


def ratings(separator: str, stars: Callable[[float], str] = "{:.0f}".format) -> str:
    """Write ten users with three ratings below 4 stars, one of 4 and one of 5."""
    rows = []
    for user in range(1, 11):
        pairs = [(101, 2), (103, 1), (102, 3), (200 + user % 2, 4), (300 + user % 3, 5)]
        rows += [(user, item, stars(value), item % 7) for item, value in pairs]
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def texts() -> dict[str, str]:
    """Return the official text formats: file -> content."""
    users, found = (
        range(1, 11),
        {"ml-100k/u.data": ratings("\t"), "ml-1m/ratings.dat": ratings("::")},
    )
    jobs = [(u, 15 + 5 * u, "FM"[u % 2], "writer" if u > 5 else "none", "T8H1N") for u in users]
    found["ml-100k/u.user"] = "".join("|".join(map(str, row)) + "\n" for row in jobs)
    ages = [(u, "FM"[u % 2], (1, 18, 25)[u % 3], u % 3 + 18, "55455") for u in users]
    found["ml-1m/users.dat"] = "".join("::".join(map(str, row)) + "\n" for row in ages)
    found["ml-25m/ratings.csv"] = f"{CSV}\n{ratings(',', str)}"
    for task, tails in TAILS.items():
        lines = (f"{row}{tail}\n" for row, tail in zip(SEQUENCES, tails, strict=True))
        found[f"ttl/{TASKS[task][0]}"] = "".join(lines)
    return found


@cache
def _template() -> tuple[tempfile.TemporaryDirectory, Plan, list[str]]:
    """Write all samples; what Conure learns from the own tables among them."""
    keep = tempfile.TemporaryDirectory()
    with sandbox() as root:
        for name, text in texts().items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text)
        for dataset in ("ml-25m", "ml-100k"):
            with zipfile.ZipFile(root / f"{dataset}.zip", "w", zipfile.ZIP_DEFLATED) as pack:
                for file in sorted((root / dataset).iterdir()):
                    pack.write(file, f"{dataset}/{file.name}")
        mine = write_service(root / "mine")
        pd.read_csv(mine / "plays.csv").to_parquet(mine / "plays.parquet", index=False)
        for suffix, write in ((".yaml", yaml.safe_dump), (".json", json.dumps)):
            (mine / f"plan{suffix}").write_text(write(PLAN))
            (mine / f"columns{suffix}").write_text(write(PLAN | {"events": "plays.parquet"}))
        run(plan := read_plan("mine/plan.yaml"), root / "run")
        study = Study(plan.study_config(), stream=plan.stream(), growing=True)
        stages = {s.id: s.store.read(s.id) for s in study.run("Conure", 1).stages.values()}
        write_evidence("smoke", "own", 1, stages)
        save_stream(small_stream(), root / "stream")
        shutil.copy(paths.settings("ml-100k"), root / "settings.json")
        (root / "scheduler.json").write_text('{"address": "tcp://127.0.0.1:8786"}')
        (root / "full").mkdir()
        (root / "full" / "thesis.txt").write_text("mine")
        shutil.copytree(root, keep.name, dirs_exist_ok=True)
    return keep, plan, list(stages)


def write_samples(root: Path) -> None:
    """Copy all samples into a folder."""
    shutil.copytree(_template()[0].name, root, dirs_exist_ok=True)


@cache
def samples() -> dict[str, Sample]:
    """Return every kind of file that the library reads, by name."""
    found, stage = {}, _template()[2][-1]
    official = {"ml-100k": SMALL, "ml-1m": SMALL, "ml-25m": SMALL, "ttl": {"length": 4}}
    official["ttl"]["files"] = {task: TASKS[task][0] for task in TAILS}
    for file in texts():
        dataset = file.partition("/")[0]
        found[file] = Sample(file, partial(loaded, dataset, dataset, **official[dataset]))
    for dataset in ("ml-25m", "ml-100k"):
        file, read = f"{dataset}.zip", partial(loaded, dataset, f"{dataset}.zip", **SMALL)
        found[file] = Sample(file, read, is_text=False)
    found = {
        name: Sample(s.file, s.attempt, s.place, is_stream, s.is_text) for name, s in found.items()
    }
    for plan, tables in (("plan.yaml", ("plays.csv", "likes.csv", "ages.parquet")),):
        for table in (*tables, "plays.parquet"):
            used = "columns.json" if table == "plays.parquet" else plan
            read = partial(lambda name: read_plan(name).stream(), f"mine/{used}")
            places = (f"task {'T3' if table == 'ages.parquet' else 'T2'}", "T1", "own-tables")
            is_text = table.endswith("csv")
            found[table] = Sample(f"mine/{table}", read, places, is_stream, is_text)
    for plan in ("plan.yaml", "plan.json"):
        describe = ["data", "describe", f"mine/{plan}"]
        found[plan] = Sample(f"mine/{plan}", describe, ("own-tables", "mine/"))
    found["model.json"] = Sample("run/model.json", EXPORT, ("run",))
    found["model.safetensors"] = Sample("run/model.safetensors", EXPORT, ("run",), is_text=False)
    found["stream.json"] = Sample("run/stream.json", EMBED, ("run",))
    found["names"] = Sample("run/names.items.parquet", EMBED, ("run",), is_text=False)
    for file in (RECORD, ENVIRONMENT, RANKS, "model.safetensors", "model.json"):
        read = LocalStore().read if file in (RECORD, RANKS, ENVIRONMENT) else LocalStore().model
        path = f"artifacts/stages/{stage}/{file}"
        is_text = file.endswith("json")
        found[f"stage {file}"] = Sample(path, partial(read, stage), (stage,), is_text=is_text)
    evidence = "results/smoke/own/seed-1.parquet"
    found["evidence"] = Sample(
        evidence,
        lambda: CommittedStore("smoke", "own").read(stage),
        ("results/smoke/own",),
        is_text=False,
    )
    for file in (MANIFEST, STORED):
        read = partial(load_stream, Path("stream"))
        found[file] = Sample(f"stream/{file}", read, ("stream",), is_stream, file == MANIFEST)
    found["settings"] = Sample("settings.json", partial(read_settings, "settings.json"))
    found["scheduler"] = Sample("scheduler.json", partial(scheduler_address, "scheduler.json"))
    return found
