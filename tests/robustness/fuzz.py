"""``make robustness``, first half: every damage of every kind of file, and inputs by chance.

    PYTHONPATH=tests python -m robustness.fuzz [--examples N] [--out FILE]

Property everywhere (``judge``): one line says what is wrong and nothing is changed, or it works.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
import typer
import yaml
from helpers import small_study
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from conure_lib.cli import app
from conure_lib.config import DataConfig, ModelConfig, StudyConfig, TrainConfig
from conure_lib.data.options import DEFAULTS
from conure_lib.data.registry import DATASETS, load
from conure_lib.data.sources.tables import from_tables
from conure_lib.study.notebooks import all_notebooks, check_parameters
from conure_lib.study.profiles import study_config

from .damage import FLOATS, HARMLESS, HUGE, MAYBE, NEVER, NUMBERS, VALUES, WORDS
from .damage import grafted, hostile_zip, mutated
from .judge import Fault, judge, sandbox
from .samples import EMBED, EXPORT, SMALL, is_stream, loaded, samples, write_samples

EXAMPLES = 3000
OUT = Path("artifacts/robustness/fuzz.json")
PLACES = ["nowhere", "x" * 5000, "a\0b", "full/thesis.txt/below", "loop", "", "full", "/dev/zero"]
CONFIGS = (DataConfig, ModelConfig, TrainConfig, StudyConfig)
FIELDS = [(kind, field.name) for kind in CONFIGS for field in fields(kind)]
QUICK = ("data", "embed", "export", "clean", "verdicts", "reproduce")
"""Commands that neither train nor run notebooks nor publish, however they are completed."""
FLAGS = "option json model task data out format length threads seed dataset profile what datasets"
WRONG = (
    "|-|--|synthetic|ml-1m|run|mine/plan.yaml|mine/plays.csv|mine|full|nowhere|loop|T2|T9|-1|0|nan"
)
WRONG += (
    "|n_users=60|n_users=-1|n_users=[[|path=nowhere|v.parquet|\x1b[2J|\udcff|a\nb|../x|1e999|paper"
)


def damage_file(name: str, damage: str) -> bool:
    """Damage one sample in a known way; return whether it was refused. Raises Fault."""
    sample, kinds = samples()[name], NEVER | MAYBE | HARMLESS
    with sandbox() as root:
        write_samples(root)
        plain = sample.attempt() if damage in HARMLESS and callable(sample.attempt) else None
        kinds[damage](root / sample.file)
        got = judge(sample.attempt, sample.names, sample.is_valid, damage in NEVER)
        if damage in HARMLESS and got.refused:
            raise Fault(f"refused: {got.value}")
        if is_stream(plain) and plain.digest() != got.value.digest():
            raise Fault("another stream than that of the plain file")
    return got.refused


def damages() -> list[tuple[str, str]]:
    """Return every sample with every damage that it can have."""
    found = [(name, damage) for name in samples() for damage in NEVER | MAYBE]
    texts = [name for name, sample in samples().items() if sample.is_text]
    return found + [(name, damage) for name in texts for damage in HARMLESS]


def bytes_of_files(data: st.DataObject) -> bool:
    """Try a sample with a few other bytes, lines or fields."""
    sample = samples()[data.draw(st.sampled_from(sorted(samples())))]
    with sandbox() as root:
        write_samples(root)
        file = root / sample.file
        file.write_bytes(mutated(data, file.read_bytes(), sample.is_text))
        return judge(sample.attempt, (), sample.is_valid).refused


def values_in_files(data: st.DataObject) -> bool:
    """Try a sample in JSON or YAML with other values, more keys or fewer."""
    found = {name: s for name, s in samples().items() if s.file.endswith(("json", "yaml"))}
    sample = found[data.draw(st.sampled_from(sorted(found)))]
    with sandbox() as root:
        write_samples(root)
        file = root / sample.file
        content = grafted(data, yaml.safe_load(file.read_text()))
        write = yaml.safe_dump if file.suffix == ".yaml" else json.dumps
        file.write_bytes(write(content).encode("utf-8", "surrogatepass"))
        return judge(sample.attempt, (), sample.is_valid).refused


def zips(data: st.DataObject) -> bool:
    """Try a hostile zip in place of the official one."""
    dataset = data.draw(st.sampled_from(["ml-25m", "ml-100k"]))
    with sandbox() as root:
        write_samples(root)
        member = "ratings.csv" if dataset == "ml-25m" else "u.data"
        content = (root / dataset / member).read_bytes()
        hostile_zip(data, root / f"{dataset}.zip", f"{dataset}/{member}", content)
        return judge(lambda: loaded(dataset, f"{dataset}.zip", **SMALL), (), is_stream).refused


COLUMNS = {
    "lists": pa.array([[1]] * 30), "structs": pa.array([{"a": 1}] * 30), "null": pa.nulls(30),
    "bytes": pa.array([b"\xff"] * 30), "bool": pa.array([True] * 30), "inf": pa.array([np.inf] * 30),
    "beyond int64": pa.array([2**63 + n for n in range(30)], pa.uint64()), "words": pa.array(["x"] * 30),
    "missing": pa.array([None, *range(29)]), "dates": pa.array(pd.date_range("2024", periods=30)),
    "mixed": pd.Series([1, "a"] * 15), "objects": pd.Series([object()] * 30),
}  # fmt: skip


def tables(data: st.DataObject) -> bool:
    """Try own tables with columns of other types, twice, gone or renamed; and other options."""
    events = pd.DataFrame(
        {"user": [f"u{n % 10}" for n in range(30)], "item": [*range(30)], "time": 1}
    )
    labels = pd.DataFrame({"user": [f"u{n}" for n in range(10)], "label": [*"ab"] * 5})
    table = data.draw(st.sampled_from([events, labels]))
    column = data.draw(st.sampled_from([*table.columns]))
    way = data.draw(st.sampled_from(["type", "twice", "gone", "renamed", "options", "kind"]))
    options, kind = dict(SMALL), data.draw(st.sampled_from(["ranking", "classification", "x", 5]))
    if way == "type":
        content = COLUMNS[data.draw(st.sampled_from(sorted(COLUMNS)))]
        values = content if isinstance(content, pd.Series) else content.to_pandas()
        table[column] = values[: len(table)]
    elif way == "options":
        options[data.draw(st.sampled_from(sorted(DEFAULTS)))] = data.draw(VALUES)
    elif way == "renamed":
        options["columns"] = {column: data.draw(st.sampled_from(["user", "item", "nowhere", 5]))}
    changed = {
        "twice": pd.concat([table, table[[column]]], axis=1),
        "gone": table.drop(columns=column),
    }
    table = changed.get(way, table)
    events, labels = (table, labels) if "item" in table or "time" in table else (events, table)
    with sandbox():
        given = {"T2": (kind if way == "kind" else "classification", labels)}
        return judge(lambda: from_tables(events, given, **options), (), is_stream).refused


def tensors(data: st.DataObject) -> bool:
    """Try a saved model with a tensor that is gone, strange, of another shape, type or content."""
    with sandbox() as root:
        write_samples(root)
        file = root / "run" / "model.safetensors"
        held = load_file(file)
        name = data.draw(st.sampled_from(sorted(held)))
        one, kinds = (
            held.pop(name),
            (torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool),
        )
        other = [one[:-1], one.flatten(), one[None], one.mT if one.ndim > 1 else one[:0]]
        other += [one.to(kind) for kind in kinds] + [torch.full_like(one, 255), torch.zeros(3)]
        if one.is_floating_point():
            other += [torch.full_like(one, value) for value in (float("nan"), float("inf"), -1e30)]
        place = data.draw(
            st.sampled_from([name, name, name, "owner.nobody", "stray", "outputs.T9.bias"])
        )
        change = data.draw(st.sampled_from([None, *other]))
        save_file(held if change is None else held | {place: change.contiguous()}, file)
        return judge(EXPORT, ("run",)).refused


def headers(data: st.DataObject) -> bool:
    """Try a safetensors file whose header, or its declared length, says something else."""
    sample = samples()[data.draw(st.sampled_from(["model.safetensors", "stream.safetensors"]))]
    with sandbox() as root:
        write_samples(root)
        raw = (root / sample.file).read_bytes()
        size = int.from_bytes(raw[:8], "little")
        header, body = json.loads(raw[8 : 8 + size]), raw[8 + size :]
        entry = header[data.draw(st.sampled_from(sorted(header.keys() - {"__metadata__"})))]
        sizes = [[-1], [2**64], [2**33, 2**33], [], [0, 10**12], [4, 0], "F33", "F16", None]
        entry[data.draw(st.sampled_from([*entry]))] = data.draw(st.sampled_from(sizes))
        text = json.dumps(header).encode()
        sizes = [len(text), len(text), 0, 20, 10**7, HUGE, 2**63, 2**64 - 1]
        length = data.draw(st.sampled_from(sizes)).to_bytes(8, "little")
        (root / sample.file).write_bytes(length + text + body)
        return judge(sample.attempt, (), sample.is_valid).refused


def configs(data: st.DataObject) -> bool:
    """Try a field of the configuration with any value."""
    kind, name = data.draw(st.sampled_from(FIELDS))
    value = {name: data.draw(VALUES | st.tuples(VALUES, VALUES))}
    make = {
        StudyConfig: small_study,
        DataConfig: lambda **given: DataConfig(**{"dataset": "x"} | given),
    }
    with sandbox():
        return judge(lambda: make.get(kind, kind)(**value), (kind.__name__, *CONFIG_NAMES)).refused


CONFIG_NAMES = tuple(kind.__name__ for kind in CONFIGS)


def options(data: st.DataObject) -> bool:
    """Try an option of a dataset with any value; sizes of synthetic that are right are small."""
    dataset = data.draw(st.sampled_from(["synthetic", *DATASETS]))
    known = [name for name in signature(DATASETS[dataset].build).parameters if name != "options"]
    known += [*DEFAULTS, "nothing"] if dataset != "synthetic" else ["nothing"]
    small = {"n_users": 60, "n_items": 64, "n_labels": 16, "length": 6, "clicks": 3.0}
    given = small if dataset == "synthetic" else {"path": dataset.replace("32m", "25m")}
    name = data.draw(st.sampled_from(known))
    value = (
        data.draw(VALUES | st.sampled_from(PLACES))
        if name != "path"
        else data.draw(st.sampled_from(PLACES))
    )
    if dataset == "complete-journey":  # of full size: only what cannot be right
        name, given = ("nothing", {})
    with sandbox() as root:
        write_samples(root)
        (root / "loop").symlink_to("loop")
        return judge(
            lambda: load(DataConfig(dataset, given | {name: value})), (), is_stream
        ).refused


def parameters(data: st.DataObject) -> bool:
    """Try parameters of notebooks and profiles with any value."""
    notebook = data.draw(st.sampled_from(all_notebooks()))
    good = {"DATASET": "synthetic", "PROFILE": "smoke", "SEEDS": [1, 2], "RESULTS": "local"}
    changed = good | {data.draw(st.sampled_from([*good, "SEED", "dataset", ""])): data.draw(VALUES)}
    with sandbox():
        asked = [changed[name] for name in ("DATASET", "PROFILE", "SEEDS")]
        judge(lambda: study_config(*asked))
        return judge(lambda: check_parameters(notebook, changed), (notebook.name,)).refused


def arguments(data: st.DataObject) -> bool:
    """Try a command with any flags and arguments, right and wrong ones."""
    words = st.sampled_from([f"--{flag}" for flag in FLAGS.split()]) | st.sampled_from(
        [*WRONG.split("|"), "x" * 5000, "9" * 30, "path=loop"]
    )
    starts = [
        [],
        ["nope"],
        ["data"],
        ["data", "describe"],
        ["data", "fetch"],
        ["embed"],
        ["export"],
    ]
    starts += [
        EMBED,
        EXPORT,
        EMBED[:-2],
        EXPORT[:-2],
        ["run"],
        ["run", "--tasks"],
        ["study", "--seeds"],
    ]
    starts += [
        ["clean", "--dry-run"],
        ["verdicts", "--profile"],
        ["tune", "--dataset"],
        ["run", "--seed"],
    ]
    start = data.draw(st.sampled_from(starts))
    attempt = [*start, *data.draw(st.lists(words, max_size=3))]
    if start[:1] in (["run"], ["study"], ["tune"], ["verdicts"]):
        attempt.append("--nope")  # never begins to work
    attempt = [word for word in attempt if word != "ml-1m" or "path=nowhere" in attempt]
    with sandbox() as root:
        write_samples(root)
        (root / "loop").symlink_to("loop")
        return judge(attempt).refused


def places(data: st.DataObject) -> bool:
    """Try every option of a command that takes a path with a place that cannot be used."""
    plan, place = "mine/plan.yaml", data.draw(st.sampled_from(PLACES + ["mine/plays.csv"]))
    run = ["run", "--tasks", plan, "--out", place]
    smoke = ["study", "--profile", "smoke", "--dataset", "synthetic", "--cluster", place or "-"]
    put = [["run", "--tasks", place], smoke]
    put += [[*EXPORT[:-1], place], [*EMBED[:-1], place], ["data", "describe", place]] + (
        [run] if place not in ("", "nowhere") else []
    )
    put += [[*EMBED[:5], "--data", place, *EMBED[7:]], ["export", "--model", place, *EXPORT[3:]]]
    attempt = data.draw(st.sampled_from(put))
    with sandbox() as root:
        write_samples(root)
        (root / "loop").symlink_to("loop")
        return judge(attempt, (), lambda _: True).refused


PROPERTIES: dict[str, Callable[[st.DataObject], bool]] = {
    one.__name__.replace("_", " "): one
    for one in (bytes_of_files, values_in_files, zips, tables, tensors, headers, configs)
    + (options, parameters, arguments, places)
}
"""What is tried by chance; each takes its input from ``data`` and returns whether it was refused."""


def hunt(name: str, examples: int) -> Counter:
    """Try that many inputs of a property, always the same ones; return how many were refused."""
    seen: Counter = Counter()

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def property_(data: st.DataObject) -> None:
        seen["refused" if PROPERTIES[name](data) else "taken"] += 1

    property_()
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
            faults.append(f"{name}: {fault}; {getattr(fault, '__notes__', '')}")
    return {"tried": {name: dict(count) for name, count in counts.items()}, "faults": faults}


def main() -> int:
    """Run the campaign; exit code 1 if a fault was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="inputs by chance")
    parser.add_argument("--out", type=Path, default=OUT, help=f"unless {OUT}")
    given = parser.parse_args()
    torch.set_num_threads(1)
    out, started = given.out.absolute(), time.monotonic()
    found = campaign(given.examples) | {"seconds": round(time.monotonic() - started)}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    tried = sum(sum(counts.values()) for counts in found["tried"].values())
    print(f"{tried} inputs, {len(found['faults'])} faults: {out}")
    print(*found["faults"], sep="\n", file=sys.stderr)
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
