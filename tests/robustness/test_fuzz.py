"""Damages of every kind of file, and inputs by chance; in full by ``make robustness``.

Property everywhere (``judge``): one line says what is wrong and nothing is changed, or it works.
"""

import contextlib
import json
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml
from helpers import SMALL as SIZES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from robustness.damage import HARMLESS, MAYBE, NEVER, VALUES, grafted, hostile_zip, mutated, pick
from robustness.judge import IN_FULL, judge, sandbox
from robustness.samples import EMBED, EXPORT, SMALL, is_stream, loaded, samples, write_samples
from safetensors.torch import load_file, save_file

from conure_lib.config import DataConfig
from conure_lib.data.options import DEFAULTS
from conure_lib.data.registry import DATASETS, load
from conure_lib.data.sources.tables import from_tables
from conure_lib.study.profiles import study_config

EXAMPLES = 430 if IN_FULL else 6  # inputs by chance of each kind
EVERY = 1 if IN_FULL else 13  # of all pairs of a file and a damage: each damage once, files often
DIGESTED = "artifacts/stages/", "run/"  # folders whose files are compared with their digests
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


def damage_file(name: str, damage: str) -> None:
    """Damage one sample in a known way."""
    sample, kinds = samples()[name], NEVER | MAYBE | HARMLESS
    with sandbox() as root:
        write_samples(root)
        is_harmless = damage in HARMLESS and not name.startswith(DIGESTED)
        plain = sample.attempt() if is_harmless and callable(sample.attempt) else None
        kinds[damage](root / name)
        names = (Path(name).name, *sample.place)
        refused, value = judge(sample.attempt, names, sample.is_valid, damage in NEVER)
        assert not (is_harmless and refused), value
        assert not is_stream(plain) or plain.digest() == value.digest()


def test_damaged_files_are_refused_or_read_in_full(subtests):
    every = [(name, damage) for name in samples() for damage in NEVER | MAYBE]
    texts = [name for name, sample in samples().items() if sample.is_text]
    every += [(name, damage) for name in texts for damage in HARMLESS]
    for name, damage in every[::EVERY]:
        with subtests.test(f"{name}, {damage}"):
            damage_file(name, damage)
    for number, kinds in enumerate(zip(*every, strict=True)):
        assert {pair[number] for pair in every[::EVERY]} == set(kinds)


def files(data: st.DataObject, root: Path) -> None:
    """A sample with a few other bytes; or, in JSON or YAML, other values, more keys or fewer."""
    sample = samples()[pick(data, *sorted(samples()))]
    raw = (root / sample.file).read_bytes()
    if sample.file.endswith(("json", "yaml")) and pick(data, True, False):
        write = yaml.safe_dump if sample.file.endswith("yaml") else json.dumps
        raw = write(grafted(data, yaml.safe_load(raw))).encode("utf-8", "surrogatepass")
    else:
        raw = mutated(data, raw)
    (root / sample.file).write_bytes(raw)
    judge(sample.attempt, (), sample.is_valid)


def zips(data: st.DataObject, root: Path) -> None:
    """A hostile zip in place of the official one."""
    dataset, file = pick(data, ("ml-25m", "ratings.csv"), ("ml-100k", "u.data"))
    content = (root / dataset / file).read_bytes()
    hostile_zip(data, root / f"{dataset}.zip", f"{dataset}/{file}", content)
    judge(lambda: loaded(dataset, f"{dataset}.zip", **SMALL), (), is_stream)


def tables(data: st.DataObject, root: Path) -> None:
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
    judge(lambda: from_tables(*given, **options), (), is_stream)


def tensors(data: st.DataObject, root: Path) -> None:
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
    judge(EXPORT.split())


def options(data: st.DataObject, root: Path) -> None:
    """An option of a dataset with any value; sizes of synthetic that are right are small."""
    dataset = pick(data, "synthetic", "synthetic", *(DATASETS.keys() - {"complete-journey"}))
    known = [*signature(DATASETS[dataset].build).parameters, *DEFAULTS, "nothing"]
    given = {"path": dataset.replace("32m", "25m")}
    if dataset == "synthetic":
        given = dict(SIZES)
    name = pick(data, *known)
    given[name] = data.draw(st.sampled_from(PLACES) if name == "path" else VALUES)
    judge(lambda: load(DataConfig(dataset, given)), (), is_stream)


def parameters(data: st.DataObject, root: Path) -> None:
    """Parameters of notebooks with any value."""
    given = {"dataset": "synthetic", "profile": "smoke", "seeds": [1, 2]}
    given[pick(data, *given)] = data.draw(VALUES)
    judge(lambda: study_config(**given))


def arguments(data: st.DataObject, root: Path) -> None:
    """A command with any arguments, right and wrong ones, and places that cannot be used."""
    more = data.draw(st.lists(st.sampled_from(WORDS), max_size=3))
    attempts = [[*pick(data, *STARTS).split(), *more], [*pick(data, *UNFINISHED).split(), "--nope"]]
    attempts.append([*pick(data, *OPEN).split(), pick(data, *PLACES[1:])])
    judge(pick(data, *attempts))


@pytest.mark.parametrize("attempt", [files, zips, tables, tensors, options, parameters, arguments])
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_inputs_by_chance_are_taken_in_full_or_refused(attempt, data):
    with sandbox() as root:
        write_samples(root)
        attempt(data, root)
