"""``make robustness``, first half: every damage of every kind of file, and inputs by chance.

Property everywhere (``judge``): one line says what is wrong and nothing is changed, or it works.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Callable
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
import yaml
from helpers import SMALL as SIZES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from conure_lib.config import DataConfig
from conure_lib.data.options import DEFAULTS
from conure_lib.data.registry import DATASETS, load
from conure_lib.data.sources.tables import from_tables
from conure_lib.study.profiles import study_config

from .damage import HARMLESS, MAYBE, NEVER, VALUES, grafted, hostile_zip, mutated, pick
from .judge import Fault, judge, sandbox
from .samples import EMBED, EXPORT, SMALL, is_stream, loaded, samples, write_samples

PLACES = "nowhere", "x" * 5000, "a\0b", "full/thesis.txt/below", "loop", "full", "/dev/zero"
WORDS = ["", "-", "--", "synthetic", "run", "mine/plan.yaml", "mine/plays.csv", "mine", "T2", "T9"]
WORDS += ["-1", "0", "nan", "n_users=60", "n_users=-1", "n_users=[[", "path=loop", "v.parquet"]
WORDS += ["\x1b[2J", "\udcff", "a\nb", "../x", "1e999", "--option", "--json", "--model", "--task"]
WORDS += ["--data", "--out", "--format", "--length", "--threads", "--seed", "--dataset", "--nope"]
WORDS += ["--what", "x" * 5000, "9" * 30]
STARTS = ["", "nope", "data", "data describe", "data fetch", "clean --dry-run", EMBED, EXPORT]
STARTS += [command.rpartition(" --")[0] for command in (EMBED, EXPORT)]
UNFINISHED = ["run", "run --tasks mine/plan.yaml --seed", "study --seeds", "tune --dataset"]
"""Commands that would begin to work if they were right."""
OPEN = ["run --tasks", "run --tasks mine/plan.yaml --out", "data describe"]
OPEN += ["export --task T2 --out t2 --model", "export --model run --task T2 --out"]
OPEN += ["embed --model run --task T2 --data mine/plays.csv --out"]
OPEN += ["embed --model run --task T2 --out v.parquet --data"]
"""Commands that lack a place at the end."""


def damages() -> list[tuple[str, str]]:
    """Return every sample with every damage that it can have."""
    found = [(name, damage) for name in samples() for damage in NEVER | MAYBE]
    texts = [name for name, sample in samples().items() if sample.is_text]
    return found + [(name, damage) for name in texts for damage in HARMLESS]


def damage_file(name: str, damage: str) -> bool:
    """Damage one sample in a known way; return whether it was refused. Raises Fault."""
    sample, kinds = samples()[name], NEVER | MAYBE | HARMLESS
    with sandbox() as root:
        write_samples(root)
        is_harmless = damage in HARMLESS and "stages" not in name  # whose digests are checked
        plain = sample.attempt() if is_harmless and callable(sample.attempt) else None
        kinds[damage](root / name)
        names = (Path(name).name, *sample.place)
        got = judge(sample.attempt, names, sample.is_valid, damage in NEVER)
        if is_harmless and got.refused:
            raise Fault(f"refused: {got.value}")
        if is_stream(plain) and plain.digest() != got.value.digest():
            raise Fault("another stream than that of the plain file")
    return got.refused


def files(data: st.DataObject, root: Path) -> bool:
    """A sample with a few other bytes; or, in JSON or YAML, other values, more keys or fewer."""
    sample = samples()[pick(data, *sorted(samples()))]
    raw = (root / sample.file).read_bytes()
    if sample.file.endswith(("json", "yaml")) and pick(data, True, False):
        write = yaml.safe_dump if sample.file.endswith("yaml") else json.dumps
        raw = write(grafted(data, yaml.safe_load(raw))).encode("utf-8", "surrogatepass")
    else:
        raw = mutated(data, raw)
    (root / sample.file).write_bytes(raw)
    return judge(sample.attempt, (), sample.is_valid).refused


def zips(data: st.DataObject, root: Path) -> bool:
    """A hostile zip in place of the official one."""
    dataset, file = pick(data, ("ml-25m", "ratings.csv"), ("ml-100k", "u.data"))
    content = (root / dataset / file).read_bytes()
    hostile_zip(data, root / f"{dataset}.zip", f"{dataset}/{file}", content)
    return judge(lambda: loaded(dataset, f"{dataset}.zip", **SMALL), (), is_stream).refused


def tables(data: st.DataObject, root: Path) -> bool:
    """Own tables with a column of another type, twice, gone or renamed; other kinds."""
    rows, options, kind = range(30), dict(SMALL), "classification"
    events = pd.DataFrame({"user": [f"u{n % 10}" for n in rows], "item": [*rows], "time": 1})
    labels = pd.DataFrame({"user": [f"u{n}" for n in range(10)], "label": [*"ab"] * 5})
    table = pick(data, events, labels)
    is_events, column = table is events, pick(data, *table.columns)
    match pick(data, "type", "type", "twice", "gone", "renamed", "kind"):
        case "type":
            one = pick(data, [[1]], [{"a": 1}], [None], [b"\xff"], [True], [np.inf], [2**63], ["x"])
            other = pick(data, [1, "a"], [None, 1], [pd.Timestamp("2024")], [""], [np.nan, "a"])
            values = pick(data, one, other, [object()]) * len(table)
            table = table.assign(**{column: pd.Series(values[: len(table)])})
        case "twice":
            table = pd.concat([table, table[[column]]], axis=1)
        case "gone":
            table = table.drop(columns=column)
        case "renamed":
            options["columns"] = {column: pick(data, "user", "item", "nowhere", 5)}
        case "kind":
            kind = pick(data, "ranking", "sequence", 5, None)
    if pick(data, True, False):
        with contextlib.suppress(pa.ArrowException, ValueError):  # no Parquet file can hold it
            table.to_parquet(root / "own.parquet")
            table = root / "own.parquet"
    given = (table, {"T2": (kind, labels)}) if is_events else (events, {"T2": (kind, table)})
    return judge(lambda: from_tables(*given, **options), (), is_stream).refused


def tensors(data: st.DataObject, root: Path) -> bool:
    """A saved model with a tensor that is gone, strange, of another shape, type or content."""
    held = load_file(file := root / "run" / "model.safetensors")
    one = held.pop(name := pick(data, *sorted(held)))
    kinds = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)
    other = [one[:-1], one.flatten(), one[None], torch.zeros(()), torch.full_like(one, 255)]
    other += [one.T if one.ndim == 2 else one[:0], *(one.to(kind) for kind in kinds)]
    if one.is_floating_point():
        other += [torch.full_like(one, value) for value in (float("nan"), float("inf"), -1e30)]
    place = data.draw(st.sampled_from([name] * 3 + ["owner.nobody", "stray", "outputs.T9.bias"]))
    change = pick(data, None, *other)
    save_file(held if change is None else held | {place: change.clone().contiguous()}, file)
    return judge(EXPORT.split()).refused


def options(data: st.DataObject, root: Path) -> bool:
    """An option of a dataset with any value; sizes of synthetic that are right are small."""
    dataset = pick(data, "synthetic", "synthetic", *(DATASETS.keys() - {"complete-journey"}))
    known = [*signature(DATASETS[dataset].build).parameters, *DEFAULTS, "nothing"]
    given = {"path": dataset.replace("32m", "25m")}
    if dataset == "synthetic":
        given = dict(SIZES)
    name = pick(data, *known)
    given[name] = data.draw(st.sampled_from(PLACES) if name == "path" else VALUES)
    return judge(lambda: load(DataConfig(dataset, given)), (), is_stream).refused


def parameters(data: st.DataObject, root: Path) -> bool:
    """Parameters of notebooks with any value."""
    given = {"dataset": "synthetic", "profile": "smoke", "seeds": [1, 2]}
    given[pick(data, *given)] = data.draw(VALUES)
    return judge(lambda: study_config(**given)).refused


def arguments(data: st.DataObject, root: Path) -> bool:
    """A command with any arguments, right and wrong ones, and places that cannot be used."""
    more = data.draw(st.lists(st.sampled_from(WORDS), max_size=3))
    attempts = [[*pick(data, *STARTS).split(), *more], [*pick(data, *UNFINISHED).split(), "--nope"]]
    attempts.append([*pick(data, *OPEN).split(), pick(data, *PLACES[1:])])
    return judge(pick(data, *attempts)).refused


PROPERTIES: dict[str, Callable[[st.DataObject, Path], bool]] = {
    one.__name__: one for one in (files, zips, tables, tensors, options, parameters, arguments)
}
"""What is tried by chance in a folder with all samples; each returns whether it was refused."""


def hunt(name: str, examples: int) -> Counter:
    """Try that many inputs, always the same ones; return how many were taken and refused."""
    seen, quiet = Counter(), {"database": None, "suppress_health_check": list(HealthCheck)}

    @settings(max_examples=examples, deadline=None, derandomize=True, **quiet)
    @given(st.data())
    def try_one(data: st.DataObject) -> None:
        with sandbox() as root:
            write_samples(root)
            seen["refused" if PROPERTIES[name](data, root) else "taken"] += 1

    try_one()
    return seen


def campaign(examples: int) -> dict:
    """Try everything; return counts and all faults that were found."""
    faults, counts = [], {"damages": Counter()}
    for name, damage in tqdm(damages(), desc="damages"):
        try:
            counts["damages"]["refused" if damage_file(name, damage) else "taken"] += 1
        except Exception as fault:  # whatever goes wrong is what the campaign is for
            faults.append(f"{name}, {damage}: {fault}")
    for name in tqdm(PROPERTIES, desc="by chance"):
        try:
            counts[name] = hunt(name, -(-examples // len(PROPERTIES)))
        except Exception as fault:
            found = getattr(fault, "exceptions", [fault])
            faults += [f"{name}: {one}; {getattr(one, '__notes__', '')}" for one in found]
    return {"tried": {name: dict(count) for name, count in counts.items()}, "faults": faults}
