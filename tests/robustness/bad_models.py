"""Bad files of the library's own: saved models, what lies beside them, prepared streams, stages' records."""

# ruff: noqa: E501 (the tables hold a case a line)

import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from helpers import rng, small_model, small_stream, small_study
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from small_service import tables

from conure_lib.data.cache import MANIFEST, STORED, load_stream, save_stream
from conure_lib.data.stream import TaskStream
from conure_lib.models.ownership import ContinualModel
from conure_lib.pipeline.stage import Stage, compute_stage
from conure_lib.pipeline.store import ENVIRONMENT, RANKS
from conure_lib.study.study import Study

from .bad_files import GIGABYTE, instead, sparse
from .cases import Attempt, Case

Damage = Callable[[Path], object]
WEIGHTS, DESCRIPTION, STREAM, ITEMS = (
    "model.safetensors",
    "model.json",
    "stream.json",
    "names.items.parquet",
)
KERNEL, OWNER = "blocks.0.kernel1", "owner.blocks.0.kernel1"
N_ITEMS = 12


def learner() -> ContinualModel:
    """Two tasks learned by a tiny network."""
    made = ContinualModel(small_model(n_items=N_ITEMS))
    for task, kind in (("T1", "sequence"), ("T2", "ranking")):
        made.start(task, N_ITEMS, kind, rng())
        made.prune(0.5)
        made.finish()
    return made


def write_run(folder: Path) -> Path:
    """What ``conure run`` leaves, as far as other commands read it."""
    learner().save(folder)
    (folder / STREAM).write_text(json.dumps({"info": {"length": 5, "min_events": 2}}))
    names = pd.DataFrame({"id": [f"s{number:02}" for number in range(N_ITEMS)]})
    names.to_parquet(folder / ITEMS, index=False)
    return folder


def tensors(change: Callable[[dict], object]) -> Damage:
    def damage(folder: Path) -> None:
        held = load_file(folder / WEIGHTS)
        change(held)
        save_file(held, folder / WEIGHTS)

    return damage


def description(change: Callable[[dict], object], file: str = DESCRIPTION) -> Damage:
    def damage(folder: Path) -> None:
        about = json.loads((folder / file).read_text())
        change(about)
        (folder / file).write_text(json.dumps(about))

    return damage


def raw(file: str, edit: Callable[[bytes], bytes]) -> Damage:
    return lambda folder: (folder / file).write_bytes(edit((folder / file).read_bytes()))


def header(length: int | None = None, text: bytes | None = None) -> Damage:
    """A safetensors file whose first eight bytes or header say something else."""

    def edit(content: bytes) -> bytes:
        size = struct.unpack("<Q", content[:8])[0]
        head = content[8 : 8 + size] if text is None else text
        return (
            struct.pack("<Q", len(head) if length is None else length) + head + content[8 + size :]
        )

    return raw(WEIGHTS, edit)


def _entry(**changes: object) -> bytes:
    good = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    return json.dumps({"embedding": {**good, **changes}}).encode()


HEADERS: dict[str, Damage] = {
    "a header of 2^63 bytes": header(2**63),
    "a header of 2^64 - 1 bytes": header(2**64 - 1),
    "a header of a gigabyte": header(GIGABYTE),
    "a header of nothing": header(0),
    "a header longer than the file": header(10**7),
    "a header that ends early": header(20),
    "a header of NULs": header(text=bytes(64)),
    "a header of lists": header(text=b"[" * 50_000),
    "a header that is a list": header(text=b"[]"),
    "an unknown type": header(text=_entry(dtype="F33")),
    "a negative size": header(text=_entry(shape=[-1])),
    "a size beyond int64": header(text=_entry(shape=[2**64])),
    "sizes that overflow": header(text=_entry(shape=[2**33, 2**33])),
    "offsets behind the end": header(text=_entry(data_offsets=[0, 10**12], shape=[25 * 10**10])),
    "offsets backwards": header(text=_entry(data_offsets=[4, 0])),
    "no shape": header(text=b'{"embedding": {}}'),
    "an empty file": raw(WEIGHTS, lambda content: b""),
    "seven bytes": raw(WEIGHTS, lambda content: content[:7]),
    "cut off in the header": raw(WEIGHTS, lambda content: content[:90]),
    "cut off in the weights": raw(WEIGHTS, lambda content: content[:-7]),
    "bytes behind the end": raw(WEIGHTS, lambda content: content + b"1234567"),
    "a gigabyte of NULs": lambda folder: instead(sparse(GIGABYTE))(folder / WEIGHTS),
    "a pickle": raw(WEIGHTS, lambda content: b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00."),
    "a zip": raw(WEIGHTS, lambda content: b"PK\x03\x04" + content),
    "missing": lambda folder: (folder / WEIGHTS).unlink(),
    "a folder": lambda folder: instead(Path.mkdir)(folder / WEIGHTS),
}
BAD_TENSORS: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "no embedding": (
        tensors(lambda t: t.pop("embedding")),
        ("embedding: found nothing", "wanted torch.float32"),
    ),
    "no kernel": (
        tensors(lambda t: t.pop(KERNEL)),
        (f"{KERNEL}: found nothing", "wanted torch.float32"),
    ),
    "no output layer": (
        tensors(lambda t: t.pop("outputs.T2.weight")),
        ("outputs.T2.weight: found nothing",),
    ),
    "no bias": (tensors(lambda t: t.pop("outputs.T1.bias")), ("outputs.T1.bias: found nothing",)),
    "no LayerNorm": (
        tensors(lambda t: t.pop("blocks.0.norm1.weight")),
        ("norm1.weight: found nothing",),
    ),
    "no owner map": (
        tensors(lambda t: t.pop(OWNER)),
        ("found ValueError", "an owner map per kernel"),
    ),
    "no owner map at all": (
        tensors(lambda t: [t.pop(name) for name in list(t) if name.startswith("owner.")]),
        ("owner maps of [] only", "an owner map per kernel"),
    ),
    "an embedding too small": (
        tensors(lambda t: t.update(embedding=t["embedding"][:-1].clone())),
        ("embedding: found torch.float32 (12, 8); wanted torch.float32 (13, 8)",),
    ),
    "an embedding too wide": (
        tensors(lambda t: t.update(embedding=torch.zeros(13, 9))),
        ("(13, 9); wanted",),
    ),
    "an embedding turned": (
        tensors(lambda t: t.update(embedding=t["embedding"].t().contiguous())),
        ("(8, 13)",),
    ),
    "a kernel of one tap": (
        tensors(lambda t: t.update({KERNEL: t[KERNEL][:1].clone()})),
        (KERNEL, "(1, 8, 8)"),
    ),
    "a flat kernel": (
        tensors(lambda t: t.update({KERNEL: t[KERNEL].flatten()})),
        (KERNEL, "(192,)"),
    ),
    "a scalar": (
        tensors(lambda t: t.update({KERNEL: torch.tensor(1.0)})),
        (KERNEL, "found torch.float32 ()"),
    ),
    "half precision": (
        tensors(lambda t: t.update({KERNEL: t[KERNEL].half()})),
        (KERNEL, "torch.float16"),
    ),
    "bfloat16": (
        tensors(lambda t: t.update({KERNEL: t[KERNEL].bfloat16()})),
        (KERNEL, "torch.bfloat16"),
    ),
    "double precision": (
        tensors(lambda t: t.update({KERNEL: t[KERNEL].double()})),
        (KERNEL, "torch.float64"),
    ),
    "whole numbers": (
        tensors(lambda t: t.update({KERNEL: t[KERNEL].long()})),
        (KERNEL, "torch.int64"),
    ),
    "booleans": (tensors(lambda t: t.update({KERNEL: t[KERNEL] > 0})), (KERNEL, "torch.bool")),
    "nan": (
        tensors(lambda t: t[KERNEL].view(-1)[3:4].fill_(float("nan"))),
        (KERNEL, "found nan or inf", "numbers"),
    ),
    "inf": (
        tensors(lambda t: t["embedding"].view(-1)[:1].fill_(float("inf"))),
        ("embedding", "found nan or inf"),
    ),
    "a stray tensor": (
        tensors(lambda t: t.update(stray=torch.zeros(3))),
        ("stray", "an owner map per kernel"),
    ),
    "an owner of nobody": (
        tensors(lambda t: t.update({"owner.nobody": t[OWNER].clone()})),
        ("nobody", "wanted"),
    ),
    "an owner out of range": (
        tensors(lambda t: t.update({OWNER: torch.full_like(t[OWNER], 255)})),
        (OWNER, "found owner 3", "wanted up to 2"),
    ),
    "owners cut": (
        tensors(lambda t: t.update({OWNER: t[OWNER][:, :-1].clone()})),
        ("bit planes", "torch.uint8"),
    ),
    "owners in one plane": (
        tensors(lambda t: t.update({OWNER: t[OWNER][:1].clone()})),
        ("bit planes", "torch.uint8"),
    ),
    "owners as float": (
        tensors(lambda t: t.update({OWNER: t[OWNER].float()})),
        ("bit planes torch.float32",),
    ),
}
SAID: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "empty": (raw(DESCRIPTION, lambda content: b""), ("found", "wanted model.json")),
    "cut off": (raw(DESCRIPTION, lambda content: content[:-20]), ("found", "wanted model.json")),
    "UTF-16": (
        raw(DESCRIPTION, lambda content: content.decode().encode("utf-16")),
        ("found", "wanted model.json"),
    ),
    "a list": (raw(DESCRIPTION, lambda content: b"[]"), (DESCRIPTION, "wanted what was written")),
    "a word": (
        raw(DESCRIPTION, lambda content: b'"model"'),
        (DESCRIPTION, "wanted what was written"),
    ),
    "nested too deeply": (
        raw(DESCRIPTION, lambda content: b"[" * 10**6),
        ("nested too deeply", "wanted model.json"),
    ),
    "a key twice": (
        raw(DESCRIPTION, lambda content: b'{"format": 1, "format": 1}'),
        ("'format' twice", "wanted"),
    ),
    "a gigabyte": (
        lambda f: instead(sparse(GIGABYTE))(f / DESCRIPTION),
        ("bytes, more than", "wanted model.json"),
    ),
    "a folder": (
        lambda f: instead(Path.mkdir)(f / DESCRIPTION),
        ("a folder, a pipe", "wanted model.json"),
    ),
    "a pipe": (
        lambda f: instead(os.mkfifo)(f / DESCRIPTION),
        ("a folder, a pipe", "wanted model.json"),
    ),
    "missing": (lambda f: (f / DESCRIPTION).unlink(), ("No such file", "wanted model.json")),
    "another format": (
        description(lambda a: a.update(format=99)),
        ("format 99", "this version reads 1"),
    ),
    "no items": (description(lambda a: a.pop("n_items")), ("'n_items'", "wanted what was written")),
    "items as words": (
        description(lambda a: a.update(n_items="12")),
        (DESCRIPTION, "found TypeError"),
    ),
    "items as a fraction": (
        description(lambda a: a.update(n_items=12.5)),
        (DESCRIPTION, "found TypeError"),
    ),
    "fewer items": (
        description(lambda a: a.update(n_items=11)),
        ("embedding: found", "wanted torch.float32 (12, 8)"),
    ),
    "negative items": (
        description(lambda a: a.update(n_items=-5)),
        (DESCRIPTION, "found RuntimeError"),
    ),
    "a trillion items": (
        description(lambda a: a.update(n_items=10**12)),
        ("embedding: found", "(1000000000001, 8)"),
    ),
    "items beyond int64": (
        description(lambda a: a.update(n_items=10**30)),
        (DESCRIPTION, "wanted what was written"),
    ),
    "a width of 0": (
        description(lambda a: a["model"].update(width=0)),
        ("ModelConfig.width = 0", "wanted"),
    ),
    "a width of 2^16": (
        description(lambda a: a["model"].update(width=2**16)),
        ("embedding: found", "(13, 65536)"),
    ),
    "a width of nan": (
        description(lambda a: a["model"].update(width=float("nan"))),
        ("width = nan", "wanted"),
    ),
    "a width as words": (
        description(lambda a: a["model"].update(width="8")),
        ("width = '8'", "wanted"),
    ),
    "no dilations": (
        description(lambda a: a["model"].update(dilations=[])),
        ("dilations = ()", "wanted"),
    ),
    "a million blocks": (
        description(lambda a: a["model"].update(dilations=[1] * 10**6)),
        ("1000000 blocks", "wanted"),
    ),
    "two blocks": (
        description(lambda a: a["model"].update(dilations=[1, 1])),
        ("blocks.1.", "found nothing"),
    ),
    "a colour": (
        description(lambda a: a["model"].update(colour=1)),
        ("colour", "wanted what was written"),
    ),
    "no outputs": (
        description(lambda a: a.update(outputs=None)),
        (DESCRIPTION, "wanted what was written"),
    ),
    "outputs as a list": (description(lambda a: a.update(outputs=["T1"])), (DESCRIPTION, "wanted")),
    "labels as words": (
        description(lambda a: a["outputs"]["T2"].update(n_labels="x")),
        (DESCRIPTION, "TypeError"),
    ),
    "a trillion labels": (
        description(lambda a: a["outputs"]["T2"].update(n_labels=10**12)),
        ("outputs.T2.weight",),
    ),
    "negative labels": (
        description(lambda a: a["outputs"]["T2"].update(n_labels=-1)),
        (DESCRIPTION, "RuntimeError"),
    ),
    "a word of PyTorch": (
        description(lambda a: a["outputs"].update(train={"n_labels": 2, "bias": True})),
        ("train",),
    ),
    "unknown patches": (
        description(lambda a: a.update(patches="sideways")),
        ("patches 'sideways'", "wanted"),
    ),
    "patches that are not there": (
        description(lambda a: a.update(patches="serial")),
        ("patch1", "found nothing"),
    ),
    "no state": (description(lambda a: a.pop("continual")), ("'continual'", "wanted the tasks")),
    "an unknown phase": (
        description(lambda a: a["continual"].update(phase="asleep")),
        ("'asleep'", "wanted"),
    ),
    "an unknown task": (
        description(lambda a: a["continual"].update(tasks=["T1", "T7"])),
        ("'T7'", "an output layer"),
    ),
    "a task twice": (
        description(lambda a: a["continual"].update(tasks=["T1", "T1"])),
        ("2 tasks, 1 of them distinct", "wanted"),
    ),
    "tasks as a number": (
        description(lambda a: a["continual"].update(tasks=2)),
        ("TypeError", "wanted the tasks"),
    ),
    "300 tasks": (
        description(lambda a: a["continual"].update(tasks=[f"T{n}" for n in range(300)])),
        ("wanted",),
    ),
}
BESIDE: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "no JSON": (raw(STREAM, lambda content: b"{"), (f"{STREAM}: found Expecting", "wanted JSON")),
    "a list": (raw(STREAM, lambda content: b"[]"), (f"{STREAM}: found []", "wanted an object")),
    "no info": (
        raw(STREAM, lambda content: b"{}"),
        (f"{STREAM}, info.length: found None", "what conure run wrote"),
    ),
    "info as a list": (
        raw(STREAM, lambda content: b'{"info": []}'),
        ("info.length: found None", "wanted"),
    ),
    "a length of words": (
        description(lambda a: a["info"].update(length="5"), STREAM),
        ("info.length: found '5'",),
    ),
    "a negative length": (
        description(lambda a: a["info"].update(length=-5), STREAM),
        ("info.length: found -5",),
    ),
    "a huge length": (
        description(lambda a: a["info"].update(length=10**12), STREAM),
        ("found 1000000000000",),
    ),
    "a length of nan": (
        description(lambda a: a["info"].update(length=float("nan")), STREAM),
        ("found nan", "wanted"),
    ),
    "no least number": (
        description(lambda a: a["info"].pop("min_events"), STREAM),
        ("info.min_events: found None",),
    ),
    "Latin-1": (
        raw(STREAM, lambda content: b'{"info": "\xe9"}'),
        (f"{STREAM}: found 'utf-8'", "wanted JSON"),
    ),
    "a gigabyte": (
        lambda f: instead(sparse(GIGABYTE))(f / STREAM),
        ("bytes, more than", "wanted JSON"),
    ),
    "no names": (
        lambda f: (f / ITEMS).unlink(),
        (f"found no ids of items ({ITEMS}", "a folder that conure run wrote"),
    ),
    "broken names": (
        raw(ITEMS, lambda content: b"PAR1"),
        (f"{ITEMS}: found", "wanted a readable table"),
    ),
    "names cut off": (
        raw(ITEMS, lambda content: content[:-30]),
        (f"{ITEMS}: found", "wanted a readable table"),
    ),
    "another column": (
        lambda f: pd.DataFrame({"name": ["a"]}).to_parquet(f / ITEMS),
        (f"{ITEMS}: found", "wanted"),
    ),
    "too few names": (
        lambda f: pd.DataFrame({"id": ["a"]}).to_parquet(f / ITEMS),
        ("found 1 ids", "the model's 12"),
    ),
    "too many names": (
        lambda f: pd.DataFrame({"id": range(99)}).to_parquet(f / ITEMS),
        ("found 99 ids", "model's 12"),
    ),
    "names of numbers": (
        lambda f: pd.DataFrame({"id": range(12)}).to_parquet(f / ITEMS),
        ("conversion error to int64", "wanted"),
    ),
}

EMBED = [
    "embed",
    "--model",
    "run",
    "--task",
    "T2",
    "--data",
    "mine/plays.csv",
    "--out",
    "vectors.parquet",
]
EXPORT = ["export", "--model", "run", "--task", "T2", "--out", "t2"]


def saved_models() -> Iterator[Case]:
    """Damaged models meet ``conure export``; what lies beside them is read by ``conure embed``."""
    headers = {
        name: (damage, ("cannot be read as a saved model: found", "wanted"))
        for name, damage in HEADERS.items()
    }
    for target, table, arguments in (
        ("model.safetensors: header", headers, EXPORT),
        ("model.safetensors: tensors", BAD_TENSORS, EXPORT),
        ("model.json", SAID, EXPORT),
        ("beside a model", BESIDE, EMBED),
    ):
        for name, (damage, said) in table.items():

            def prepare(root: Path, damage=damage, arguments=arguments) -> Attempt:
                if arguments is EMBED:
                    tables(root / "mine")
                damage(write_run(root / "run"))
                return list(arguments)

            yield Case(target, name, prepare, said)


def _arrays(change: Callable[[dict], object]) -> Damage:
    def damage(folder: Path) -> None:
        arrays = {name: array.copy() for name, array in load_arrays(folder / STORED).items()}
        change(arrays)
        save_arrays(arrays, folder / STORED)

    return damage


def _manifest(change: Callable[[dict], object]) -> Damage:
    return description(change, MANIFEST)


STREAMS: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "no manifest": (lambda f: (f / MANIFEST).unlink(), (f"{MANIFEST}: not the manifest",)),
    "an empty manifest": (
        lambda f: (f / MANIFEST).write_text(""),
        (f"{MANIFEST}: not the manifest",),
    ),
    "a manifest that is a list": (
        lambda f: (f / MANIFEST).write_text("[]"),
        (f"as its {MANIFEST} says",),
    ),
    "a manifest of null": (
        lambda f: (f / MANIFEST).write_text("null"),
        (f"as its {MANIFEST} says",),
    ),
    "a manifest of a gigabyte": (
        lambda f: instead(sparse(GIGABYTE))(f / MANIFEST),
        ("bytes, more than",),
    ),
    "a key twice": (lambda f: (f / MANIFEST).write_text('{"a": 1, "a": 2}'), ("'a' twice",)),
    "tasks as words": (_manifest(lambda m: m.update(tasks="T1")), (f"as its {MANIFEST} says",)),
    "tasks as null": (_manifest(lambda m: m.update(tasks=None)), (f"as its {MANIFEST} says",)),
    "no tasks": (_manifest(lambda m: m.update(tasks=[])), ("digest",)),
    "items as words": (_manifest(lambda m: m.update(n_items="64")), ("found sizes ['64'",)),
    "items as a fraction": (_manifest(lambda m: m.update(n_items=64.0)), ("found sizes [64.0",)),
    "no items": (_manifest(lambda m: m.pop("n_items")), ("n_items",)),
    "labels as null": (_manifest(lambda m: m["tasks"][1].update(labels=None)), ("found sizes",)),
    "a task that is not there": (
        _manifest(lambda m: m["tasks"][1].update(task="T9")),
        ("T9.users",),
    ),
    "another digest": (
        _manifest(lambda m: m.update(digest="0" * 64)),
        ("does not have the digest",),
    ),
    "no digest": (_manifest(lambda m: m.pop("digest")), ("does not have the digest",)),
    "no arrays": (lambda f: (f / STORED).unlink(), (f"{STORED}: not a stream",)),
    "empty arrays": (lambda f: (f / STORED).write_bytes(b""), (f"{STORED}: not a stream",)),
    "arrays of a gigabyte": (
        lambda f: instead(sparse(GIGABYTE))(f / STORED),
        (f"{STORED}: not a stream",),
    ),
    "cut arrays": (raw(STORED, lambda content: content[:-1]), (f"{STORED}: not a stream",)),
    "a flipped bit": (
        raw(STORED, lambda content: content[:-1] + bytes([content[-1] ^ 1])),
        ("does not have the",),
    ),
    "no labels": (_arrays(lambda a: a.pop("T2.labels")), ("T2.labels",)),
    "sequences of int64": (
        _arrays(lambda a: a.update(sequences=a["sequences"].astype("int64"))),
        ("found int64",),
    ),
    "flat sequences": (
        _arrays(lambda a: a.update(sequences=a["sequences"].ravel())),
        ("2 dimensions",),
    ),
    "users as floats": (
        _arrays(lambda a: a.update({"T1.users": a["T1.users"].astype("float32")})),
        ("float32",),
    ),
    "rows as floats": (
        _arrays(lambda a: a.update(input_rows=a["input_rows"].astype("float64"))),
        ("float64",),
    ),
    "a split of int64": (
        _arrays(lambda a: a.update({"T1.split": a["T1.split"].astype("int64")})),
        ("found int64",),
    ),
    "shuffled labels": (_arrays(lambda a: a["T2.labels"].sort()), ("does not have the digest",)),
}
DEFECTS: dict[str, tuple[Callable[[TaskStream], object], tuple[str, ...]]] = {
    "an item out of range": (
        lambda s: s.sequences.__setitem__((0, -1), 10**6),
        ("an item id lies outside 1..64",),
    ),
    "a negative item": (
        lambda s: s.sequences.__setitem__((0, 0), -1),
        ("an item id lies outside 1..64",),
    ),
    "an unknown user": (
        lambda s: s["T4"].users.__setitem__(0, 10**6),
        ("a label of an unknown user",),
    ),
    "a label out of range": (lambda s: s["T4"].labels.__setitem__(0, 99), ("label outside 0..7",)),
    "a negative label": (lambda s: s["T2"].labels.__setitem__(0, -1), ("label outside 0..15",)),
    "rows behind the end": (
        lambda s: s.input_rows.__setitem__(0, 10**6),
        ("points behind the last sequence",),
    ),
    "negative rows": (lambda s: s.input_rows.__setitem__(0, -1), ("a user has no T1 sequence",)),
    "no test part": (lambda s: s["T4"].split.fill(0), ("its validation part is empty",)),
}
"""Arrays that no loader makes, with a manifest that has their digest."""


def streams() -> Iterator[Case]:
    for name, (damage, said) in STREAMS.items():

        def prepare(root: Path, damage=damage) -> Attempt:
            save_stream(small_stream(), root / "stream")
            damage(root / "stream")
            return lambda: load_stream(root / "stream")

        yield Case("prepared stream", name, prepare, said)
    for name, (change, said) in DEFECTS.items():

        def prepare(root: Path, change=change) -> Attempt:
            change(stream := small_stream())
            save_stream(stream, root / "stream")
            return lambda: load_stream(root / "stream")

        yield Case("prepared stream", name, prepare, ("synthetic: ", *said))


RECORDS: dict[str, tuple[str, Damage, tuple[str, ...]]] = {
    **{
        f"record {text!r}": (
            "record.json",
            raw("record.json", lambda _, text=text: text.encode()),
            ("wanted",),
        )
        for text in (
            "",
            "{",
            "[]",
            "null",
            "{}",
            "\0",
            "[" * 10_000,
            '{"digests": 5}',
            '{"a": 1, "a": 2}',
        )
    },
    "no digest of the ranks": (
        "record.json",
        description(lambda a: a["digests"].clear(), "record.json"),
        ("found no digest", f"wanted that of {RANKS}"),
    ),
    "digests as a list": (
        "record.json",
        description(lambda a: a.update(digests=[]), "record.json"),
        ("found no digest", f"wanted that of {RANKS}"),
    ),
    "no metrics": (
        "record.json",
        description(lambda a: a.pop("metrics"), "record.json"),
        ("wanted an object with",),
    ),
    "a record of a gigabyte": (
        "record.json",
        lambda f: instead(sparse(GIGABYTE))(f / "record.json"),
        ("more than",),
    ),
    "no ranks": (RANKS, lambda f: (f / RANKS).unlink(), ("found no such file",)),
    "empty ranks": (RANKS, raw(RANKS, lambda content: b""), ("found e3b0c442", "wanted")),
    "ranks with a flipped bit": (
        RANKS,
        raw(RANKS, lambda c: c[:-9] + bytes([c[-9] ^ 1]) + c[-8:]),
        ("wanted",),
    ),
    "an empty environment": (ENVIRONMENT, raw(ENVIRONMENT, lambda content: b""), ("wanted JSON",)),
    "an environment of null": (
        ENVIRONMENT,
        raw(ENVIRONMENT, lambda content: b"null"),
        ("wanted an object with",),
    ),
    "no commit": (
        ENVIRONMENT,
        description(lambda a: a.pop("commit"), ENVIRONMENT),
        ("an object with commit",),
    ),
}


def records() -> Iterator[Case]:
    for name, (file, damage, said) in RECORDS.items():

        def prepare(root: Path, damage=damage) -> Attempt:
            stream = small_stream()
            stage: Stage = Study(small_study(), stream).run("Popularity", 1).stages["T2"]
            compute_stage(stage, stream)
            damage(stage.folder)
            return lambda: _read(stage)

        yield Case(
            "record of a stage",
            name,
            prepare,
            (f"{file} is damaged: found", *said, "delete the folder"),
        )


def _read(stage: Stage) -> np.ndarray:
    stage.environment()
    return stage.ranks("T2")


def cases() -> Iterator[Case]:
    for part in (saved_models, streams, records):
        yield from part()
