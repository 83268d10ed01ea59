"""The search: the same budget for every method, halved by value; what it chose is written."""

import hashlib
import json
from dataclasses import replace

import pandas as pd
import pytest
from helpers import small_stream, small_study

from conure_lib import paths
from conure_lib.config import DataConfig, ModelConfig, TrainConfig
from conure_lib.errors import ConfigError, MissingResultError
from conure_lib.methods import METHODS
from conure_lib.methods.method import SEARCH, LogRange
from conure_lib.pipeline import scheduler
from conure_lib.pipeline.stage import Stage
from conure_lib.study import tuning
from conure_lib.study.profiles import study_config
from conure_lib.study.study import Study
from conure_lib.study.tuning import SEEDS, TUNED, Search

STREAM = small_stream()
LATER = [task.name for task in STREAM.tasks[1:]]
ACTIONS = [METHODS[name].recipe(("T1", "T2"))["T2"].action for name in TUNED]
BASE = small_study(train={"T1": TrainConfig(epochs=50), "*": TrainConfig(epochs=60)})
PLAN = {"lengths": [], "widths": [4, 8], "epochs": {"T1": 2, "*": 1}}


@pytest.fixture(autouse=True)
def everything_below_root(root):
    """Stages and what the search writes stay in the test's folder."""


@pytest.fixture
def imagined(monkeypatch):
    """Replace training: a stage's validation value is what a function of the test says."""
    quality, seen = {"of": lambda stage: 0.5}, {}

    def record(stage):
        seen[stage.id] = stage
        values = [9.0, quality["of"](stage), -99.0]  # neither the start nor the last epoch counts
        return {"curve": [{"epoch": n, "validation": v} for n, v in enumerate(values)]}

    monkeypatch.setattr(Stage, "record", record)
    monkeypatch.setattr(tuning, "compute", lambda *_: None)
    monkeypatch.setattr(tuning, "missing", lambda stages: stages)

    def by(function):
        quality["of"] = function
        return seen

    return by


@pytest.fixture
def searched(monkeypatch):
    """Search on the small stream with the settings and the plan of this file."""

    def run(config=BASE, stream=STREAM, methods=(), tasks=(), **plan):
        monkeypatch.setattr(tuning, "Study", lambda config: Study(config, stream))
        monkeypatch.setattr(tuning, "study_config", lambda *_, **__: config)
        monkeypatch.setattr(tuning, "read_settings", lambda *_: {"search": PLAN | plan})
        return tuning.search("synthetic", "standard", methods=methods, tasks=tasks)

    return run


def by_chance(stage):
    """Return a quality without any order, with ties."""
    return int(hashlib.sha256(stage.id.encode()).hexdigest()[:2], 16) % 40 / 40


def check_halving(table):
    """Check from the table alone that the best of each rung, and no other, went on."""
    table = table[~table["rung"].isin(["length"]) & (table["action"] != "retrain")]
    names = [name for name in table if name not in (*tuning.HEAD, *tuning.TAIL)]
    for key, rows in table.groupby(["task", "action"], sort=False):
        first, second = (rows[rows["rung"] == rung] for rung in tuning.RUNGS[:2])
        kept, beyond = second[:4], second[4:]
        assert (len(first), len(kept)) == (16, 4), key
        assert len(beyond) == 4 * kept.sort_values("validation", kind="stable").iloc[-1]["at_edge"]
        values = first["validation"].nlargest(4)
        expected = first.loc[values.index, names].fillna("").astype(str)
        found = kept[names].fillna("").astype(str)
        assert sorted(map(tuple, found.values)) == sorted(map(tuple, expected.values)), key
        assert rows["chosen"].sum() == 1
        assert second.loc[second["chosen"].idxmax(), "validation"] == second["validation"].max()


# --- the space -----------------------------------------------------------------------------------


@pytest.mark.numerics
def test_places_on_a_logarithmic_scale():
    rates, shares = LogRange(0.0001, 0.01), LogRange(0.0001, 0.01, zero=True)
    assert [rates.at(place) for place in (0, 0.25, 0.5, 1)] == [0.0001, 0.000316, 0.001, 0.01]
    assert [shares.at(place) for place in (0, 0.124, 0.5625, 1)] == [0.0, 0.0, 0.001, 0.01]
    edges = [0.0001, 0.000158, 0.00016, 0.0063, 0.0064, 0.01]
    assert [rates.edge(number) for number in edges] == [-1, -1, 0, 0, 1, 1]
    assert [shares.edge(number) for number in (0.0, *edges)] == [0, 0, 0, 0, 0, 1, 1]
    assert (rates.past(1, 0.5), rates.past(-1, 0.5)) == (0.0316, 3.16e-05)
    assert rates.wider(-1) == LogRange(0.00001, 0.01)


def test_points_are_spread_evenly_and_the_same_whatever_a_method_adds():
    space = SEARCH["ranking"]
    points, more = tuning.points(space), tuning.points(space | {"joint_weight": (0.1, 0.5)})
    assert [{n: p[n] for n in space} for p in more] == points
    assert pd.DataFrame(points).groupby(["loss", "rho"]).size().tolist() == [4] * 4
    rates = sorted(point["learning_rate"] for point in points)
    assert rates == [space["learning_rate"].at((2 * n + 1) / 32) for n in range(16)]
    assert [point["l2"] for point in points].count(0.0) == 2
    assert sum(point["joint_weight"] == 0.5 for point in more) == 8


@pytest.mark.parametrize(
    ("length", "dilations"),
    [(7, (1,)), (8, (1, 4)), (31, (1, 4)), (32, (1, 4, 16)), (300, (1, 4, 16, 64))],
)
def test_dilations_see_the_whole_input(length, dilations):
    assert tuning.cycle(length) == dilations


# --- the search ----------------------------------------------------------------------------------


def test_every_method_gets_the_same_tries_and_epochs(imagined, searched):
    seen = imagined(by_chance)
    table = searched().table()
    check_halving(table)
    steps = {("T1", "train"), ("T1", "retrain")} | {(t, a) for t in LATER for a in ACTIONS}
    assert set(zip(table["task"], table["action"], strict=True)) == steps
    assert table["stage_id"].is_unique
    for row in table.query("action != 'retrain'").to_dict("records"):
        short = {"first": 1, "second": 3}.get(row["rung"])
        first, base = (2, 50) if row["task"] == "T1" else (1, 60)
        stage = seen[row["stage_id"]]
        own = stage.config.training(stage.step.task, stage.step.action)
        cut = (short * first, 0.0) if short else (base, 0.1)
        assert (own.epochs, own.final_rate) == cut
        assert row["epochs_run"] == 2
    common = table[(table["task"] == "T2") & (table["rung"] == "first")]
    spaces = [
        group[list(SEARCH["ranking"])].values.tolist() for _, group in common.groupby("action")
    ]
    assert all(space == spaces[0] for space in spaces)
    assert table.query("action == 'joint'")["joint_weight"].notna().all()
    assert table.query("action != 'joint'")["joint_weight"].isna().all()


def test_tasks_of_few_users_count_by_the_mean_over_five_seeds(imagined, searched, monkeypatch):
    seen = imagined(lambda stage: float(stage.seed))
    table = searched().table()
    found = {task: {s.seed for s in seen.values() if s.step.task == task} for task in LATER}
    assert found == {"T2": {0}, "T3": {0}, **{t: {*SEEDS} for t in ("T4", "T5", "T6")}}
    values = table.groupby("task")["validation"].agg(["min", "max"])
    assert values.loc["T4"].tolist() == [0, sum(SEEDS) / 5]  # many tries on one seed, then on five
    assert (values.loc["T2"] == 0).all()
    monkeypatch.setattr(tuning, "FEW_USERS", len(STREAM["T4"].labels))
    assert tuning.seeds_of(STREAM["T4"], 2) == (0,)


def test_beyond_an_edge_at_which_the_best_lies_it_is_tried_again(imagined, searched):
    def quality(stage):
        own = stage.config.training(stage.step.task, stage.step.action)
        return own.learning_rate if stage.step.action == "finetune" else -own.l2 - own.learning_rate

    imagined(quality)
    found = searched()
    table = found.table()
    check_halving(table)
    stl = table[(table["task"] == "T4") & (table["action"] == "finetune")]
    (best, *_, last), further = stl[stl["rung"] == "second"][:4].to_dict("records"), stl[20:24]
    assert further["learning_rate"].tolist() == [0.04, 0.0711, 0.127, 0.225]
    assert set(further["l2"]) == {best["l2"]}
    assert further["at_edge"].tolist() == [False, False, False, True]
    config = found.study.config
    assert config.training("T4", "finetune").learning_rate == 0.225
    assert last["learning_rate"] < best["learning_rate"] <= 0.03
    lower = config.training("T4", "scratch")
    assert (lower.l2, lower.learning_rate < 1e-4) == (0.0, True)  # no l2 lies beyond 0


def test_everyone_finds_the_own_best_and_others_follow(imagined, searched):
    def quality(stage):
        own, action = stage.config.training(stage.step.task, stage.step.action), stage.step.action
        if action == "retrain":
            return -abs(stage.config.retrain_rate - 0.3)
        if stage.step.task == "T1":
            return stage.config.model.width + len(stage.config.model.dilations)
        loss = {"scratch": "bpr", "train": "softmax"}.get(action)
        return (own.loss == loss) - abs(own.learning_rate - 0.001)

    imagined(quality)
    found = searched(batch=1)
    check_halving(found.table())
    config = found.study.config
    assert config.model == ModelConfig(8, (1, 1))
    assert config.retrain_rate == 0.3
    assert config.training("T3", "scratch").loss == "bpr"
    assert config.training("T2").loss == config.training("T2", "retrain").loss == "softmax"
    assert config.bpr.keys() == {"T2", "T3"}
    tries = found.table().query("task == 'T2' and action == 'train' and loss == 'bpr'")
    nearest = (tries["learning_rate"] - 0.001).abs().idxmin()
    assert config.bpr["T2"].learning_rate == tries.loc[nearest, "learning_rate"]
    assert (config.bpr["T2"].epochs, config.bpr["T2"].final_rate) == (60, 0.1)
    for task in LATER:
        assert config.training(task, "patched-parallel") == config.training(task, "patched-serial")
    chosen = set(found.table().query("chosen")["stage_id"])
    assert len(chosen) == 2 + len(LATER) * len(TUNED)


def test_a_training_that_diverges_is_the_worst(imagined, searched, monkeypatch, capsys):
    imagined(by_chance)
    record = Stage.record

    def diverged(stage):
        own = stage.config.training(stage.step.task, stage.step.action)
        if stage.step.task == "T2" and own.learning_rate > 0.001:
            raise MissingResultError("none")
        return record(stage)

    def compute(*_):
        raise FloatingPointError("the loss is nan")

    monkeypatch.setattr(Stage, "record", diverged)
    monkeypatch.setattr(tuning, "compute", compute)
    found = searched(methods=["STL"])
    rows = found.table().query("task == 'T2' and rung == 'first'")
    assert (rows["validation"] == -float("inf")).tolist() == (
        rows["learning_rate"] > 0.001
    ).tolist()
    assert found.study.config.training("T2", "finetune").learning_rate <= 0.001
    assert "the loss is nan" in capsys.readouterr().err


def test_the_length_is_that_which_serves_the_ranking_tasks(imagined, monkeypatch):
    gains = {("T2", 6): 0.1, ("T2", 8): 0.08, ("T2", 10): 0.04}
    gains |= {("T3", 6): 0.01, ("T3", 8): 0.03, ("T3", 10): 0.04}
    seen = imagined(lambda s: gains[s.step.task, s.config.data.options["length"]])
    config = replace(BASE, data=DataConfig("synthetic", BASE.data.options | {"length": 7}))
    found = Search(config, PLAN | {"lengths": [6, 8, 10]}, ("STL",), (), 1, None)
    found.length()
    table = found.table()
    assert table["length"].tolist() == [6, 6, 8, 8, 10, 10]
    assert table.query("chosen")["length"].tolist() == [8, 8]  # 0.8 and 0.75 of the best
    assert found.study.config == replace(
        config,
        data=replace(config.data, options=config.data.options | {"length": 8}),
        model=replace(config.model, dilations=(1, 4)),
    )
    assert found.study.stream.sequences.shape[1] == 8
    for stage in seen.values():
        epochs = [
            one.config.training(one.step.task, one.step.action).epochs for one in stage.lineage()
        ]
        assert epochs == [6, 3]


def test_what_is_written_becomes_the_librarys_settings_by_copying(imagined, searched, monkeypatch):
    imagined(by_chance)
    monkeypatch.setattr(tuning, "paths", paths)
    content = {"base": {}, "profiles": {}, "search": PLAN}
    found = searched()
    monkeypatch.setattr(tuning, "read_settings", lambda *_: content)
    tried, settings = tuning.write(found)
    folder = paths.tuning(local=True)
    assert (tried, settings) == (folder / "synthetic.csv", folder / "synthetic.json")
    table, written = pd.read_csv(tried), json.loads(settings.read_text())
    assert table["chosen"].dtype == bool
    assert table["stage_id"].tolist() == found.table()["stage_id"].tolist()
    assert written.keys() == {*content, "chosen"}
    keys = {f"{task}.{action}" for task in LATER for action in (*ACTIONS, "patched-parallel")}
    assert set(written["chosen"]["train"]) == {"T1.train"} | keys
    smoke = json.loads(paths.settings("synthetic").read_text())
    copied = {**smoke, "chosen": written["chosen"]}
    settings.write_text(json.dumps(copied))
    monkeypatch.setattr(paths, "settings", lambda dataset, _: settings)
    config = study_config("synthetic", "standard")
    for name in ("data", "model", "retrain_rate", "bpr"):
        assert getattr(config, name) == getattr(found.study.config, name), name
    for task in LATER:
        assert config.training(task, "joint") == found.study.config.training(task, "joint")

    monkeypatch.setattr(paths, "tuning", lambda local=False: folder / ("" if local else "old"))
    (folder / "old").mkdir()
    tried.rename(folder / "old/synthetic.csv")
    imagined(lambda stage: 1.0)
    one = searched(found.study.config, methods=["STL"])
    tuning.write(one)
    both = pd.read_csv(tried)
    others = table[table["action"] != "finetune"]["stage_id"].tolist()
    assert both[both["action"] != "finetune"]["stage_id"].tolist() == others
    assert set(both[both["action"] == "finetune"]["validation"]) == {1.0}
    assert one.study.config.training("T2", "joint") == found.study.config.training("T2", "joint")
    two = searched(found.study.config, tasks=["T3"])
    assert set(two.table()["task"]) == {"T3"}
    both = pd.read_csv(tried)
    assert both[both["task"] != "T3"]["stage_id"].tolist() == (
        table[table["task"] != "T3"]["stage_id"].tolist()
    )
    assert set(both[both["task"] == "T3"]["validation"]) == {1.0}


def test_what_cannot_be_searched_is_named(searched, monkeypatch):
    with pytest.raises(ConfigError, match="method: found 'Popularity', expected SinMo or "):
        searched(methods=["Popularity"])
    with pytest.raises(ConfigError, match="task: found 'T9', expected T1 or "):
        searched(tasks=["T9"])
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"smoke\.json: found no 'search', expected lengths"):
        tuning.search("synthetic", "smoke")


def test_a_search_that_trains_can_be_interrupted(searched, monkeypatch):
    short = replace(STREAM, tasks=tuple(STREAM[name] for name in ("T1", "T3", "T4")))
    for name, value in {"TRIES": 2, "KEPT": 2, "SEEDS": (0, 7)}.items():
        monkeypatch.setattr(tuning, name, value)
    monkeypatch.setattr(tuning, "TUNED", ("STL", "Conure-"))
    config = replace(BASE, train=dict.fromkeys(("T1", "*"), TrainConfig(epochs=3)))
    computed, stops_at, compute_stage = [], [9], scheduler.compute_stage

    def counted(stage, stream):
        if len(computed) in stops_at:
            stops_at.clear()
            raise KeyboardInterrupt
        computed.append(stage.id)
        compute_stage(stage, stream)

    monkeypatch.setattr(scheduler, "compute_stage", counted)
    with pytest.raises(KeyboardInterrupt):
        searched(config, short)
    found = searched(config, short)
    assert len(computed) == len(set(computed))
    assert found.bar.n == found.bar.total
    number = len(computed)
    pd.testing.assert_frame_equal(searched(config, short).table(), found.table())
    assert len(computed) == number
    assert set(found.table()["stage_id"]) <= set(computed)


@pytest.mark.parametrize("dataset", [path.stem for path in paths.tuning().glob("*.csv")])
def test_the_committed_settings_are_those_that_the_committed_search_chose(dataset, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", paths.CHECKOUT)
    table, config = (
        pd.read_csv(paths.tuning() / f"{dataset}.csv"),
        study_config(dataset, "standard"),
    )
    check_halving(table)
    for row in table.query("chosen and rung == 'full' and action != 'retrain'").to_dict("records"):
        own = config.training(row["task"], row["action"])
        for name in ("learning_rate", "l2", "loss", "joint_weight"):
            if row[name] == row[name]:
                assert getattr(own, name) == pytest.approx(row[name], rel=1e-5) or name == "loss"
