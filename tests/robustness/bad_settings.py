"""Bad settings: every field of the configuration, every option of a dataset, every parameter of a notebook."""

# ruff: noqa: E501 (the tables hold a case a line)

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

from test_config import BAD, made

from conure_lib import paths
from conure_lib.config import DataConfig, ModelConfig, StudyConfig, TrainConfig
from conure_lib.data.registry import DATASETS, load
from conure_lib.study import notebooks
from conure_lib.study.profiles import study_config

from .cases import Attempt, Case

NAN, INF, HUGE = float("nan"), float("inf"), 10**30
COUNTS = ("epochs", "batch_size", "patience", "labels_per_user")
NUMBERS = ("learning_rate", "share", "negatives", "rho", "l2", "joint_weight")

MORE_FIELDS = [
    *((DataConfig, "dataset", bad) for bad in (None, 5, ["ml-100k"], b"ml-100k")),
    *((DataConfig, "options", bad) for bad in (None, 5, "length=5", ["length"], {1: 2})),
    *((ModelConfig, "width", bad) for bad in (True, HUGE, NAN, INF, [64])),
    *(
        (ModelConfig, "dilations", bad)
        for bad in ((True,), (HUGE,), (NAN,), ((1, 2),), "14", {1: 4})
    ),
    *((ModelConfig, "separator", bad) for bad in (0, NAN, "True")),
    *((TrainConfig, name, bad) for name in COUNTS for bad in (True, HUGE, NAN, INF, [2])),
    *((TrainConfig, name, bad) for name in NUMBERS for bad in (True, HUGE, -INF, [0.1], {})),
    *(
        (TrainConfig, name, bad)
        for name in ("optimizer", "loss", "table_updates")
        for bad in (1, NAN, ["adam"])
    ),
    *((StudyConfig, "profile", bad) for bad in (None, 5, ["quick"])),
    *((StudyConfig, "data", bad) for bad in (None, "ml-100k", {"dataset": "ml-100k"})),
    *((StudyConfig, "model", bad) for bad in (None, 64, {"width": 64})),
    *(
        (StudyConfig, "train", bad)
        for bad in (None, 5, [TrainConfig()], {"T1": {}, "*": {}}, {"T1": None, "*": 1})
    ),
    *((StudyConfig, "retrain", bad) for bad in (None, 5, "epochs", ["epochs"], {1: 2})),
    *(
        (StudyConfig, "prune", bad)
        for bad in (None, 0.5, [0.5], {"*": True}, {"*": HUGE}, {"*": [0.5]}, {1: 0.5})
    ),
    *(
        (StudyConfig, "prune_embedding", bad)
        for bad in (None, 0.5, {"*": True}, {"*": -INF}, {"*": None})
    ),
    *(
        (StudyConfig, "seeds", bad)
        for bad in (None, 5, "12", [1, 2], (True,), (HUGE,), (NAN,), {1, 2})
    ),
    *((StudyConfig, "retrain_rate", bad) for bad in (None, True, HUGE, -INF, [1])),
    *((StudyConfig, "threads", bad) for bad in (None, True, HUGE, NAN, 10_000)),
    *((StudyConfig, "device", bad) for bad in (0, ["cpu"], "cuda:99")),
    *((StudyConfig, "precision", bad) for bad in (32, ["float32"], "float64")),
]
RETRAIN = [
    {"epochs": 0},
    {"epochs": NAN},
    {"learning_rate": "fast"},
    {"loss": "bpr"},
    {"l2": -1},
    {"share": HUGE},
]


def fields() -> Iterator[Case]:
    for kind, name, bad in [*BAD, *MORE_FIELDS]:
        build = partial(
            made if kind in (ModelConfig, TrainConfig, StudyConfig) else _data, kind, **{name: bad}
        )
        said = (f"{kind.__name__}.{name} = ", "wanted: ")
        yield Case(kind.__name__, f"{name} = {bad!r}", lambda root, build=build: build, said)
    for bad in RETRAIN:
        build = partial(made, StudyConfig, retrain=bad)
        said = (f"TrainConfig.{next(iter(bad))} = ", "wanted: ")
        yield Case("StudyConfig", f"retrain = {bad!r}", lambda root, build=build: build, said)


def _data(kind: type, **changes: object) -> DataConfig:
    return kind(**{"dataset": "synthetic", **changes})


SHARES = ("structure", "taste", "signal", "relatedness", "profile_signal", "half_full")
SIZES = ("n_users", "n_items", "n_labels", "length")
OPTIONS = [
    *(
        ("synthetic", name, bad)
        for name in SHARES
        for bad in (-0.1, 1.1, NAN, INF, HUGE, "half", None, True)
    ),
    *(
        ("synthetic", name, bad)
        for name in SIZES
        for bad in (-1, 0, 5, 1.5, HUGE, "many", None, [9], True)
    ),
    *(
        ("synthetic", name, bad)
        for name in ("clicks", "likes")
        for bad in (0, -1, NAN, INF, 1e300, HUGE, "few")
    ),
    *(
        ("synthetic", name, bad)
        for name in ("seed", "split_seed")
        for bad in (-1, HUGE, 0.5, "1", None)
    ),
    *(("synthetic", "split", bad) for bad in ("", "50/50", 5, None, ["80/5/15"])),
    *(("synthetic", "contradiction", bad) for bad in (1, "yes", None)),
    *((name, "users", 5) for name in DATASETS),
    *((name, "split", "1/1/1") for name in ("complete-journey",)),
    *(
        ("complete-journey", name, bad)
        for name in ("length", "min_events", "min_count")
        for bad in ("5", None, 2.5)
    ),
    *(
        ("ml-1m", name, bad)
        for name in ("min_item_count", "min_label_count")
        for bad in ("1", None, [1])
    ),
    *(("ml-100k", "allow_wheel", bad) for bad in (1, "yes")),
    *(("ml-25m", "t2_reading", bad) for bad in (4, "", ["above-4"], {})),
    *((name, "path", bad) for name in ("ml-1m", "ttl", "custom") for bad in (5, ["a"], True)),
    *(
        ("ttl", "files", bad)
        for bad in (5, "T1", ["T1"], {"T1": 5, "T2": "x"}, {"T1": "x"}, {"T9": "x"})
    ),
    *(("ttl", name, bad) for name in ("duplicates", "unknown_users") for bad in ("keep", 5)),
    *(("custom", name, bad) for name in ("name", "unknown_users") for bad in (5, None)),
]
NEEDED = {"ttl": {"path": "."}, "custom": {"path": "."}}
BAD_PATH_TO_FILES = {"length": (-1, 0, 1, HUGE), "min_label_count": (0, -5)}


def options() -> Iterator[Case]:
    """Values that a builder must not take, from Python; the same come from ``--option`` as JSON."""
    for dataset, name, bad in OPTIONS:

        def prepare(root: Path, dataset=dataset, name=name, bad=bad) -> Attempt:
            return lambda: load(DataConfig(dataset, {**NEEDED.get(dataset, {}), name: bad}))

        yield Case(f"options of {dataset}", f"{name} = {bad!r}", prepare, (name,))
    for name, values in BAD_PATH_TO_FILES.items():
        for bad in values:
            call = partial(load, DataConfig("ttl", {"path": ".", name: bad}))
            yield Case(
                "options of ttl",
                f"{name} = {bad!r}",
                lambda root, call=call: call,
                ("ttl", name, "from"),
            )
    for bad in ("mars", "", "ML-100K", "../ml-100k"):
        call = partial(load, DataConfig(bad))
        yield Case(
            "options",
            f"dataset {bad!r}",
            lambda root, call=call: call,
            (repr(bad), "known are synthetic"),
        )


GOOD = {"DATASET": "synthetic", "PROFILE": "smoke", "SEEDS": None}
PARAMETERS = [
    *(("DATASET", bad) for bad in (None, 5, "", "mars", ["synthetic"], {}, "SYNTHETIC", True)),
    *(("PROFILE", bad) for bad in (None, 5, "", "huge", ["smoke"], "Smoke", NAN)),
    *(
        ("SEEDS", bad)
        for bad in (
            1,
            "1",
            [],
            [1, 1],
            [-1],
            [1.5],
            ["1"],
            [True],
            [HUGE],
            {1},
            {"1": 2},
            [[1]],
            NAN,
        )
    ),
]
UNKNOWN = ("SEED", "dataset", "", "DATASET ", "__import__")


def parameters() -> Iterator[Case]:
    """Of every notebook, which the batch runner refuses before it runs the first one."""
    stems = [notebook.stem for notebook in notebooks.all_notebooks()]
    for number, (name, bad) in enumerate(PARAMETERS):
        stem = stems[number % len(stems)] if name != "DATASET" else stems[0]

        def prepare(root: Path, stem=stem, name=name, bad=bad) -> Attempt:
            dataset = {"DATASET": notebooks.ONLY_FOR.get(stem, "synthetic")}
            return lambda: notebooks.run_all({**GOOD, **dataset, name: bad}, root / "out", [stem])

        yield Case("notebooks", f"{name} = {bad!r}", prepare, (f"{stem}.ipynb", name, "wanted: "))
    for name in UNKNOWN:
        call = lambda root, name=name: partial(notebooks.run_all, {**GOOD, name: 1}, root / "out")  # noqa: E731
        yield Case(
            "notebooks",
            f"parameter {name!r}",
            call,
            ("00_data.ipynb has no parameter", "it has ['DATASET'"),
        )
    for stem in ("99_none", "", "00_data.ipynb", "../notebooks/00_data"):
        call = lambda root, stem=stem: partial(notebooks.run_all, GOOD, root / "out", [stem])  # noqa: E731
        yield Case("notebooks", f"notebook {stem!r}", call, ("no notebook", "there are ['00_data'"))


def profiles() -> Iterator[Case]:
    """What notebooks and commands ask the committed settings for."""
    asked = {
        "profile None": ("synthetic", None),
        "profile [quick]": ("synthetic", ["quick"]),
        "profile huge": ("synthetic", "huge"),
        "dataset None": (None, "smoke"),
        "dataset []": ([], "smoke"),
        "dataset mars": ("mars", "quick"),
        "a dataset without settings": ("ttl", "standard"),
    }
    for name, given in asked.items():
        call = partial(study_config, *given)
        yield Case("profiles", name, lambda root, call=call: call, ("profile",))
    for seeds in (5, [], "12", [1, 1], [-1], [0.5], [None], {"a": 1}):
        call = partial(study_config, "synthetic", "smoke", seeds)
        said = ("StudyConfig.seeds = ", "wanted: a tuple of distinct integers")
        yield Case("profiles", f"seeds {seeds!r}", lambda root, call=call: call, said)


def _chosen(**changes: object) -> str:
    good = json.loads(paths.settings("ml-100k").read_text())
    return json.dumps({key: value for key, value in {**good, **changes}.items() if value != "gone"})


SETTINGS = {
    "empty": "",
    "no JSON": "{",
    "a list": "[]",
    "null": "null",
    "NUL": "\0",
    "no model": _chosen(model="gone"),
    "no train": _chosen(train="gone"),
    "no rate": _chosen(retrain_rate="gone"),
    "a model of words": _chosen(model="64"),
    "an unknown size": _chosen(model={"width": 64, "dilations": [1], "depth": 2}),
    "no dilations": _chosen(model={"width": 64}),
    "a width of 0": _chosen(model={"width": 0, "dilations": [1]}),
    "a width of nan": _chosen(model={"width": NAN, "dilations": [1]}),
    "dilations that are a number": _chosen(model={"width": 64, "dilations": 4}),
    "a rate of 0": _chosen(retrain_rate=0),
    "a rate of nan": _chosen(retrain_rate=NAN),
    "train as a list": _chosen(train=[1]),
    "an unknown setting": _chosen(train={"T1": {"epoch": 1}}),
    "no epochs": _chosen(train={"T1": {"epochs": 0}}),
    "a setting of null": _chosen(train={"T1": None}),
    "nested too deeply": "[" * 100_000,
    "a key twice": '{"model": {}, "model": {}}',
    "huge digits": '{"model": ' + "9" * 5000 + "}",
}


def settings() -> Iterator[Case]:
    """The JSON that ``conure tune`` writes."""
    for name, text in SETTINGS.items():

        def prepare(root: Path, text=text) -> Attempt:
            file = root / "ml-100k.json"
            file.write_text(text)

            def call() -> StudyConfig:
                with mock.patch.object(paths, "settings", return_value=file):
                    return study_config("ml-100k", "standard")

            return call

        yield Case(
            "settings JSON",
            name,
            prepare,
            ("ml-100k.json: found ", "wanted: what conure tune writes"),
        )


def cases() -> Iterator[Case]:
    for part in (fields, options, parameters, profiles, settings):
        yield from part()
