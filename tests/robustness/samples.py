"""Good inputs of every kind, written once and copied for each try; and what reads each of them."""

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import yaml
from data import test_movielens, test_oulad, test_ttl
from helpers import small_stream
from robustness.judge import Attempt, sandbox
from small_service import plan_of, write_service

from conure_lib.config import DataConfig
from conure_lib.data.registry import load
from conure_lib.data.stream import MANIFEST, STORED, TaskStream, check, load_stream, save_stream
from conure_lib.errors import MissingResultError
from conure_lib.pipeline import store
from conure_lib.study.study import Study
from conure_lib.user_models.plan import read_plan
from conure_lib.user_models.train import run

SMALL = {"length": 3, "min_events": 2}
OULAD = ("studentVle.parquet", "vle.parquet", "studentInfo.parquet")
TEXTS = {
    "ml-100k": (test_movielens.ml_100k, ("u.data", "u.user")),
    "ml-1m": (test_movielens.ml_1m, ("ratings.dat", "users.dat")),
    "ml-25m": (test_movielens.ml_csv, ("ratings.csv",)),
    "oulad": (partial(test_oulad.write, form="parquet"), OULAD),
    "ttl": (test_ttl.write, tuple(test_ttl.NAMES[task] for task in ("T1", "T2", "T4"))),
}
"""Official formats: dataset -> what writes a small one, and the files that are damaged."""
EMBED = "embed --model run --task T2 --data mine/plays.csv --out v.parquet"
EXPORT = "export --model run --task T2 --out t2"


class Sample(NamedTuple):
    """A file that can be damaged, what reads it, and words of which a refusal has one."""

    file: str
    attempt: Attempt
    place: tuple[str, ...] = ()
    is_valid: Callable[[object], bool] = lambda value: True

    @property
    def is_text(self) -> bool:
        return not self.file.endswith((".zip", ".parquet", ".safetensors"))


def is_stream(value: object) -> bool:
    return isinstance(value, TaskStream) and check(value) is value


def loaded(dataset: str, path: str, **options: object) -> TaskStream:
    return load(DataConfig(dataset, {"path": path, **options}))


def read_evidence(stage: str) -> object:
    """Read a committed stage, which is there."""
    if stored := store.CommittedStore("smoke", "own").read(stage):
        return stored
    raise MissingResultError(f"{stage}: found nothing, expected it")


@cache
def _template() -> tuple[tempfile.TemporaryDirectory, str]:
    """Write all samples, what Conure learns from the own tables among them; and the last stage."""
    keep, content = tempfile.TemporaryDirectory(), plan_of(prune={"T1": 0.5}, retrain_rate=0.5)
    with sandbox() as root:
        for dataset, (write, _) in TEXTS.items():
            (root / dataset).mkdir()
            write(root / dataset)
        for dataset in ("ml-25m", "ml-100k"):
            shutil.make_archive(root / dataset, "zip", root, dataset)
        mine = write_service(root / "mine")
        (mine / "plan.yaml").write_text(yaml.safe_dump(content))
        (mine / "plan.json").write_text(json.dumps(content))
        run(plan := read_plan("mine/plan.yaml"), root / "run")
        study = Study(plan.study_config(), stream=plan.stream(), growing=True)
        stages = {s.id: s.store.read(s.id) for s in study.run("Conure", 1).stages.values()}
        store.write_evidence("smoke", "own", 1, stages)
        save_stream(small_stream(), root / "stream")
        (root / "full").mkdir()
        (root / "full" / "thesis.txt").write_text("mine")
        (root / "loop").symlink_to("loop")
        shutil.copytree(root, keep.name, symlinks=True, dirs_exist_ok=True)
    return keep, list(stages)[-1]


def write_samples(root: Path) -> None:
    """Copy all samples into a folder."""
    shutil.copytree(_template()[0].name, root, symlinks=True, dirs_exist_ok=True)


@cache
def samples() -> dict[str, Sample]:
    """Return every kind of file that the library reads, by name."""
    found = []
    for dataset, (_, files) in TEXTS.items():
        options = {"length": test_ttl.LENGTH} if dataset == "ttl" else SMALL
        read = partial(loaded, dataset, dataset, **options)
        found += [Sample(f"{dataset}/{file}", read, ("task T",), is_stream) for file in files]
    for dataset in ("ml-25m", "ml-100k"):
        read = partial(loaded, dataset, f"{dataset}.zip", **SMALL)
        found.append(Sample(f"{dataset}.zip", read, (), is_stream))
    for table in ("plays.csv", "likes.csv", "ages.parquet"):
        read, names = lambda: read_plan("mine/plan.yaml").stream(), ("task T", "T1", "own-tables")
        found.append(Sample(f"mine/{table}", read, names, is_stream))
    for plan in ("mine/plan.yaml", "mine/plan.json"):
        found.append(Sample(plan, ["data", "describe", plan], ("own-tables", "mine/")))
    for file in ("model.json", "model.safetensors", "stream.json", "names.items.parquet"):
        attempt = EXPORT if file.startswith("model") else EMBED
        found.append(Sample(f"run/{file}", attempt.split(), ("run",)))
    local, stage = store.LocalStore(), _template()[1]
    for file in (store.RECORD, store.ENVIRONMENT, store.RANKS, store.WEIGHTS, store.DESCRIPTION):
        read = local.model if file in (store.WEIGHTS, store.DESCRIPTION) else local.read
        found.append(Sample(f"artifacts/stages/{stage}/{file}", partial(read, stage), (stage,)))
    evidence = "results/smoke/own/seed-1.parquet"
    found.append(Sample(evidence, partial(read_evidence, stage), ("results/smoke/own", stage)))
    for file in (MANIFEST, STORED):
        read = partial(load_stream, Path("stream"))
        found.append(Sample(f"stream/{file}", read, ("stream",), is_stream))
    return {sample.file: sample for sample in found}
