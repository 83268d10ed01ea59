"""Inputs by chance: mutated files, random values and arguments. Each is taken whole or refused in one sentence."""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from pathlib import Path

import yaml
from data import test_custom
from helpers import small_stream
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from small_service import plan_of, tables
from test_config import made

from conure_lib.config import DataConfig, ModelConfig, StudyConfig, TrainConfig
from conure_lib.data.cache import MANIFEST, STORED, load_stream, save_stream
from conure_lib.data.registry import load
from conure_lib.data.sources.plan import read_plan
from conure_lib.data.stream import TaskStream, check
from conure_lib.study import notebooks
from conure_lib.user_models.train import study_of

from .bad_files import SOURCES, zipped
from .bad_models import DESCRIPTION, EMBED, EXPORT, ITEMS, STREAM, WEIGHTS, write_run
from .cases import LONGEST_ANSWER, WANTED, Answer, Attempt, Fault, answer, tree, world

Property = Callable[[st.DataObject, Counter], None]

TOKENS = [
    b"",
    b"0",
    b"-1",
    b"nan",
    b"inf",
    b"1e9",
    b"9" * 25,
    b"0x10",
    b" 1",
    b"1.5",
    b'"',
    b"'",
    b"\0",
    b"\t",
    b"::",
    b"|",
    b",",
    b",,",
    b"\r",
    b"\n",
    b"\xff",
    b"\xef\xbb\xbf",
    "é".encode(),
    "١".encode(),
    b"[",
    b"{",
    b": ",
    b"- ",
    b"&a ",
    b"*a ",
    b"!!int ",
    b"null",
    b"true",
    b"T1",
    b"u1",
]
NUMBERS = st.sampled_from([-(10**30), -1, 0, 1, 2, 3, 5, 8, 64, 2**16 + 1, 2**31, 2**63, 10**30])
FLOATS = st.sampled_from(
    [float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 1e-9, 0.5, 1.0, 1.5, 1e300]
)
WORDS = st.sampled_from(
    ["", "T1", "T2", "*", "ranking", "softmax", "adam", "synthetic", "smoke", "80/5/15", "\0", "é"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | FLOATS | WORDS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
"""What JSON and YAML can hold. No number is so near the right ones that it asks for much memory and is right."""


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name, world(Path(name)) as root:
        yield root


def taken_or_refused(
    attempt: Attempt, root: Path, seen: Counter, valid: Callable[[Answer], bool]
) -> None:
    """Raises Fault unless the attempt gives what is valid, or one clear sentence and nothing written."""
    before = tree(root)
    got = answer(attempt)
    if not got.refused:
        if not valid(got):
            raise Fault(f"taken, but not whole: {got.text or got.value!r}")
    elif (
        "\n" in got.text.rstrip("\n")
        or len(got.text) > LONGEST_ANSWER
        or not WANTED.search(got.text)
    ):
        raise Fault(f"not one clear sentence: {got.text[:1000]!r}")
    elif tree(root) != before:
        raise Fault(f"refused, but something was written: {got.text}")
    seen["refused" if got.refused else "taken"] += 1


def a_stream(got: Answer) -> bool:
    return isinstance(got.value, TaskStream) and check(got.value) is got.value


def anything(got: Answer) -> bool:
    """Nothing more to ask: the constructor or the command itself vouches for it."""
    return True


def mutated(data: st.DataObject, raw: bytes, text: bool) -> bytes:
    """A few changes: flipped, cut, doubled and foreign bytes; of text also whole lines and fields."""
    ways = ["flip", "cut", "double", "insert", "zero"] + (
        ["drop", "swap", "field", "token", "repeat"] if text else []
    )
    for _ in range(data.draw(st.integers(1, 3))):
        raw = _once(data, raw or b"\n", data.draw(st.sampled_from(ways)))
    return raw


def _once(data: st.DataObject, raw: bytes, way: str) -> bytes:
    at = data.draw(st.integers(0, len(raw) - 1))
    if way == "flip":
        return raw[:at] + bytes([raw[at] ^ (1 << data.draw(st.integers(0, 7)))]) + raw[at + 1 :]
    if way == "cut":
        return raw[:at]
    if way == "double":
        return raw + raw[at:]
    if way == "insert":
        return raw[:at] + data.draw(st.sampled_from(TOKENS)) + raw[at:]
    if way == "zero":
        return raw[:at] + bytes(8) + raw[at + 8 :]
    lines = raw.splitlines(keepends=True)
    row, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    if way == "drop":
        del lines[row]
    elif way == "swap":
        lines[row], lines[other] = lines[other], lines[row]
    elif way == "repeat":
        lines.insert(other, lines[row])
    else:
        mark = next((m for m in (b"::", b",", b"\t", b"|", b": ") if m in lines[row]), b",")
        parts = lines[row].split(mark)
        part = data.draw(st.integers(0, len(parts) - 1))
        foreign = lines[other].split(mark)
        parts[part] = (
            data.draw(st.sampled_from(TOKENS)) if way == "token" else foreign[part % len(foreign)]
        )
        lines[row] = mark.join(parts)
    return b"".join(lines)


def grafted(data: st.DataObject, content: object) -> object:
    """JSON with another value, or none, somewhere in it."""
    if isinstance(content, dict | list) and content and data.draw(st.integers(0, 3)):
        keys = list(content) if isinstance(content, dict) else range(len(content))
        key = data.draw(st.sampled_from(list(keys)))
        copy = dict(content) if isinstance(content, dict) else list(content)
        if data.draw(st.integers(0, 5)) == 0:
            del copy[key]
        elif data.draw(st.integers(0, 8)) == 0 and isinstance(copy, dict):
            copy[data.draw(WORDS)] = data.draw(VALUES)
        else:
            copy[key] = grafted(data, copy[key])
        return copy
    return data.draw(VALUES)


def text_files(data: st.DataObject, seen: Counter) -> None:
    dataset = data.draw(st.sampled_from(sorted(SOURCES)))
    write, file, options = SOURCES[dataset]
    with folder() as root:
        (root / "files").mkdir()
        write(root / "files")
        names = sorted(p.name for p in (root / "files").iterdir())
        target = root / "files" / data.draw(st.sampled_from([file, *names]))
        target.write_bytes(mutated(data, target.read_bytes(), True))
        config = DataConfig(dataset, {"path": "files", **options})
        taken_or_refused(lambda: load(config), root, seen, a_stream)


def zips(data: st.DataObject, seen: Counter) -> None:
    write, file, options = SOURCES["ml-25m"]
    with folder() as root:
        write(root)
        raw = (root / file).read_bytes()
        (root / file).unlink()
        made = zipped(
            root / "a.zip", (f"ml-25m/{file}", raw), how=data.draw(st.sampled_from([0, 8, 12, 14]))
        )
        made.write_bytes(mutated(data, made.read_bytes(), False))
        config = DataConfig("ml-25m", {"path": "a.zip", **options})
        taken_or_refused(lambda: load(config), root, seen, a_stream)


def own_tables(data: st.DataObject, seen: Counter) -> None:
    events = data.draw(st.sampled_from(["events.csv", "events.parquet"]))
    file = data.draw(st.sampled_from([events, "likes.csv", "ages.parquet"]))
    with folder() as root:
        target = test_custom.folder(root / "mine", test_custom.plan(events=events)) / file
        target.write_bytes(mutated(data, target.read_bytes(), file.endswith(".csv")))
        config = DataConfig("custom", {"path": "mine", **test_custom.OPTIONS})
        taken_or_refused(lambda: load(config), root, seen, a_stream)


def plans(data: st.DataObject, seen: Counter) -> None:
    """Other values and other bytes, in YAML or JSON; what is taken has settings and a stream."""
    with folder() as root:
        mine, content = tables(root / "mine"), plan_of(prune={"T1": 0.5}, retrain_rate=0.5)
        if data.draw(st.booleans()):
            content = grafted(data, content)
        as_yaml = data.draw(st.booleans())
        raw = (yaml.safe_dump(content) if as_yaml else json.dumps(content)).encode(
            "utf-8", "surrogatepass"
        )
        file = mine / ("plan.yaml" if as_yaml else "plan.json")
        file.write_bytes(mutated(data, raw, True) if data.draw(st.booleans()) else raw)
        taken_or_refused(lambda: study_of(read_plan(file), 1).stream, root, seen, a_stream)


def models(data: st.DataObject, seen: Counter) -> None:
    """Mutated bytes or descriptions of a saved model, met by ``conure export`` or ``conure embed``."""
    with folder() as root:
        tables(root / "mine")
        file = write_run(root / "run") / data.draw(
            st.sampled_from([WEIGHTS, DESCRIPTION, STREAM, ITEMS])
        )
        if file.suffix == ".json" and data.draw(st.booleans()):
            file.write_text(json.dumps(grafted(data, json.loads(file.read_text()))))
        else:
            file.write_bytes(mutated(data, file.read_bytes(), file.suffix == ".json"))
        attempt = list(data.draw(st.sampled_from([EXPORT, EMBED])))
        taken_or_refused(attempt, root, seen, lambda got: (root / attempt[-1]).exists())


@cache
def _stored() -> dict[str, bytes]:
    with folder() as root:
        save_stream(small_stream(), root / "stream")
        return {name: (root / "stream" / name).read_bytes() for name in (MANIFEST, STORED)}


def streams(data: st.DataObject, seen: Counter) -> None:
    with folder() as root:
        (root / "stream").mkdir()
        for name, raw in _stored().items():
            (root / "stream" / name).write_bytes(raw)
        file = root / "stream" / data.draw(st.sampled_from([MANIFEST, STORED]))
        if file.name == MANIFEST and data.draw(st.booleans()):
            file.write_text(json.dumps(grafted(data, json.loads(file.read_text()))))
        else:
            file.write_bytes(mutated(data, file.read_bytes(), file.name == MANIFEST))
        taken_or_refused(lambda: load_stream(root / "stream"), root, seen, a_stream)


FIELDS = [
    (kind, field.name)
    for kind in (DataConfig, ModelConfig, TrainConfig, StudyConfig)
    for field in fields(kind)
]


def configs(data: st.DataObject, seen: Counter) -> None:
    kind, name = data.draw(st.sampled_from(FIELDS))
    value = data.draw(VALUES | st.tuples(VALUES, VALUES))
    call = lambda: (
        kind(**{"dataset": "x", name: value}) if kind is DataConfig else made(kind, **{name: value})
    )  # noqa: E731
    with folder() as root:
        taken_or_refused(call, root, seen, anything)


OPTIONS = (
    "n_users",
    "n_items",
    "n_labels",
    "length",
    "clicks",
    "likes",
    "structure",
    "taste",
    "signal",
    "relatedness",
    "contradiction",
    "profile_signal",
    "half_full",
    "seed",
    "split",
    "split_seed",
)
SMALL = {"n_users": 60, "n_items": 64, "n_labels": 16, "length": 6, "clicks": 3.0}


def dials(data: st.DataObject, seen: Counter) -> None:
    """Options of ``synthetic``; sizes that are right are small."""
    values = st.sampled_from([0, 0.25, 0.5, 1, 2, 64, 65.0, True, "20/80"]) | VALUES
    changed = {data.draw(st.sampled_from(OPTIONS)): data.draw(values) for _ in range(2)}
    with folder() as root:
        config = DataConfig("synthetic", {**SMALL, **changed})
        taken_or_refused(lambda: load(config), root, seen, a_stream)


def parameters(data: st.DataObject, seen: Counter) -> None:
    notebook = data.draw(st.sampled_from(notebooks.all_notebooks()))
    good = {"DATASET": "synthetic", "PROFILE": "smoke", "SEEDS": [1, 2]}
    given_ = {**good, data.draw(st.sampled_from([*good, "SEED"])): data.draw(VALUES)}
    with folder() as root:
        taken_or_refused(lambda: notebooks.known_parameters(notebook, given_), root, seen, anything)


FLAGS = [
    "--option",
    "--json",
    "--model",
    "--task",
    "--data",
    "--out",
    "--format",
    "--length",
    "--threads",
    "--seed",
    "--seeds",
    "--workers",
    "--dataset",
    "--profile",
    "--method",
    "--what",
    "--rounds",
    "--none",
]
ARGUMENTS = st.one_of(
    st.sampled_from(
        [
            "",
            "-",
            "--",
            "synthetic",
            "ml-25m",
            "run",
            "mine/plan.yaml",
            "mine/plays.csv",
            "nowhere",
            "T2",
            "-1",
            "0",
            "1.5",
            "nan",
            "9" * 30,
            "n_users=60",
            "n_users=-1",
            "path=nowhere",
            "x" * 5000,
            "v.parquet",
            "\x1b[2J",
            "\udcff",
            "a\nb",
        ]
    ),
    st.text(st.characters(blacklist_characters="\0"), max_size=5),
)
STARTS = st.sampled_from(
    [
        ["data", "describe"],
        ["data", "fetch"],
        ["data"],
        ["embed"],
        EMBED[:-2],
        ["export"],
        EXPORT[:-2],
        ["data", "describe", "synthetic", "--option"],
        [],
        EMBED,
        EXPORT,
        [*EXPORT, "--json", "--length"],
    ]
)
"""Commands that neither train nor measure nor reach out for anything, however they are completed."""


def arguments(data: st.DataObject, seen: Counter) -> None:
    tail = st.lists(st.sampled_from(FLAGS) | ARGUMENTS, max_size=4)
    attempt = [*data.draw(STARTS), *data.draw(tail)]
    if not {"-h", "--help"}.isdisjoint(attempt) or (
        "ml-25m" in attempt and "path=nowhere" not in attempt
    ):
        attempt = ["data"]
    with folder() as root:
        tables(root / "mine")
        write_run(root / "run")
        taken_or_refused(attempt, root, seen, anything)


PROPERTIES: dict[str, tuple[Property, int]] = {
    "text files": (text_files, 5),
    "zips": (zips, 3),
    "own tables": (own_tables, 4),
    "plans": (plans, 4),
    "saved models": (models, 5),
    "prepared streams": (streams, 3),
    "configuration": (configs, 5),
    "dials": (dials, 3),
    "notebook parameters": (parameters, 2),
    "arguments": (arguments, 4),
}
"""Target -> property and its share of the examples."""


def hunt(target: str, examples: int) -> Counter:
    """Tries that many inputs of a target, always the same ones; returns how many were taken and refused."""
    seen: Counter = Counter()
    tried, _ = PROPERTIES[target]

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
        tried(data, seen)

    property_()
    return seen


def shares(examples: int) -> dict[str, int]:
    """How many examples each target gets."""
    parts = sum(share for _, share in PROPERTIES.values())
    return {target: -(-examples * share // parts) for target, (_, share) in PROPERTIES.items()}
