"""The search: the same budget for every method, halved by value; what it chose is written."""

import hashlib
import json
from dataclasses import replace

import pandas as pd
import pytest
from helpers import refused, small_stream, small_study

from conure_lib import paths
from conure_lib.config import ModelConfig, TrainConfig
from conure_lib.errors import ConfigError, MissingResultError
from conure_lib.methods.method import SEARCH, LogRange
from conure_lib.pipeline import scheduler
from conure_lib.pipeline.stage import Stage
from conure_lib.study import study as study_module
from conure_lib.study import tuning
from conure_lib.study.profiles import study_config
from conure_lib.study.study import Study
from conure_lib.study.tuning import SEEDS

LATER, NAMES = ["T2", "T3", "T4"], ("SinMo", "MTL", "STL", "PeterRec", "Conure-")
ACTIONS = ["scratch", "joint", "finetune", "patched-serial", "train"]
FOLLOW = {"all-tasks": "scratch", "patched-parallel": "patched-serial"}  # others' settings
STREAM = small_stream()
STREAM = replace(STREAM, tasks=tuple(STREAM[name] for name in ("T1", *LATER)))
BASE = small_study(train={"T1": TrainConfig(epochs=50), "*": TrainConfig(epochs=60)})
PLAN = {"lengths": [], "widths": [4, 8], "epochs": {"T1": 2, "*": 1}}


@pytest.fixture
def settings(root, monkeypatch):
    """Few methods on the small stream; what is in the file, and the settings that it gives."""
    content, config = {"base": {}, "profiles": {}, "search": dict(PLAN)}, [BASE]

    def stream(data):
        length = data.options["length"]
        return STREAM if length == 6 else small_stream(length=length)

    monkeypatch.setattr(tuning, "TUNED", NAMES)
    monkeypatch.setattr(tuning, "Study", lambda config: Study(config, stream(config.data)))
    monkeypatch.setattr(tuning, "study_config", lambda *_, **__: config[-1])
    monkeypatch.setattr(tuning, "read_settings", lambda *_: content)
    return content, config


@pytest.fixture
def searched(settings, monkeypatch):
    """Search without training: a stage's value is what a function says; return found and table."""
    quality = []

    def record(stage):
        values = [9.0, quality[-1](stage), -99.0]  # neither the start nor the last epoch counts
        return {"curve": [{"epoch": n, "validation": v} for n, v in enumerate(values)]}

    monkeypatch.setattr(Stage, "record", record)
    monkeypatch.setattr(tuning, "compute", lambda *_: None)

    def run(function=by_chance, **which):
        quality.append(function)
        found = tuning.search("synthetic", "standard", **which)
        return found, pd.DataFrame(found.rows)

    return run


def own(stage):
    """Return a stage's settings."""
    return stage.config.training(stage.step.task, stage.step.action)


def by_chance(stage):
    """Return a quality without any order, with ties."""
    return int(hashlib.sha256(stage.id.encode()).hexdigest()[:2], 16) % 40 / 40


def check_halving(table):
    """Check from the table alone that the best of each rung, and no other, went on."""
    table = table[(table["rung"] != "length") & (table["action"] != "retrain")]
    names = [name for name in table if name in study_module.TRAINING | study_module.NETWORK]
    table = table.assign(backbone=table.get("backbone", "nextitnet"))
    for key, rows in table.groupby(tuning.KEY, sort=False):
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


def test_every_method_gets_the_same_tries_epochs_and_seeds(searched):
    seen = {}
    _, table = searched(lambda stage: seen.setdefault(stage.id, stage) and by_chance(stage))
    check_halving(table)
    steps = {("T1", "train"), ("T1", "retrain")} | {(t, a) for t in LATER for a in ACTIONS}
    assert set(zip(table["task"], table["action"], strict=True)) == steps
    assert table["stage_id"].is_unique
    for row in table.query("action != 'retrain'").to_dict("records"):
        epochs = PLAN["epochs"].get(row["task"], 1) * (1 if row["rung"] == "first" else 3)
        settings = own(seen[row["stage_id"]])
        assert (settings.epochs, settings.final_rate, row["epochs_run"]) == (epochs, 0, 2)
    for row in table.query("action == 'retrain'").to_dict("records"):
        assert (own(seen[row["stage_id"]]).final_rate, row["rung"]) == (0.1, "full")
    common = table[(table["task"] == "T2") & (table["rung"] == "first")]
    spaces = [rows[list(SEARCH["ranking"])].values.tolist() for _, rows in common.groupby("action")]
    assert spaces == [spaces[0]] * len(NAMES)
    assert table["joint_weight"].notna().equals(table["action"] == "joint")
    by_task = {task: {s.seed for s in seen.values() if s.step.task == task} for task in LATER}
    assert by_task == {"T2": {0}, "T3": {0}, "T4": {*SEEDS}}  # T4 has few users
    assert {stage.parent.seed for stage in seen.values() if stage.parent} == {0}


def test_tasks_of_few_users_count_by_the_mean_over_five_seeds(searched, monkeypatch):
    _, table = searched(lambda stage: float(stage.seed), methods=["STL"], tasks=["T4"])
    means = table.groupby("rung")["validation"].agg(set).to_dict()
    assert means == {"first": {0.0}, "second": {sum(SEEDS) / 5}}  # many tries on one seed
    monkeypatch.setattr(tuning, "FEW_USERS", len(STREAM["T4"].labels))
    assert tuning.seeds_of(STREAM["T4"], 2) == (0,)


def test_beyond_an_edge_at_which_the_best_lies_it_is_tried_again(searched):
    def quality(stage):
        rate = own(stage).learning_rate
        return rate if stage.step.action == "finetune" else -own(stage).l2 - rate

    found, table = searched(quality, methods=["STL", "SinMo"], tasks=["T4"])
    check_halving(table)
    (best, *_), further = (rows.to_dict("records") for rows in (table[32:36], table[40:44]))
    assert [row["learning_rate"] for row in further] == [0.04, 0.0711, 0.127, 0.225]
    assert {row["l2"] for row in further} == {best["l2"]}
    assert [row["at_edge"] for row in further] == [False, False, False, True]
    config = found.study.config
    assert config.training("T4", "finetune").learning_rate == 0.225
    lower = config.training("T4", "scratch")
    assert (lower.l2, lower.learning_rate < 1e-4) == (0.0, True)  # no l2 lies beyond 0


def test_everyone_finds_the_own_best_and_others_follow(searched):
    def quality(stage):
        settings, action = own(stage), stage.step.action
        if action == "retrain":
            return -abs(stage.config.retrain_rate - 0.3)
        if stage.step.task == "T1":
            return stage.config.model.width + len(stage.config.model.dilations)
        loss = {"scratch": "bpr", "train": "softmax"}.get(action)
        return (settings.loss == loss) - abs(settings.learning_rate - 0.001)

    found, table = searched(quality)
    check_halving(table)
    config = found.study.config
    assert config.model == ModelConfig(8, (1, 4) * 2)
    assert config.retrain_rate == 0.3
    assert config.training("T3", "scratch").loss == "bpr"
    assert config.training("T2").loss == config.training("T2", "retrain").loss == "softmax"
    assert config.bpr.keys() == {"T2", "T3"}
    tries = table.query("task == 'T2' and action == 'train' and loss == 'bpr'")
    nearest = (tries["learning_rate"] - 0.001).abs().idxmin()
    assert config.bpr["T2"].learning_rate == tries.loc[nearest, "learning_rate"]
    assert (config.bpr["T2"].epochs, config.bpr["T2"].final_rate) == (60, 0.1)
    for task in LATER:
        for action, source in FOLLOW.items():
            assert config.training(task, action) == config.training(task, source)
    assert table["chosen"].sum() == 2 + len(LATER) * len(NAMES)


def test_other_networks_find_their_own_depth_and_rate(searched, settings):
    def quality(stage):
        model = stage.config.model
        layers = {"gru": 1, "sasrec": 4}.get(model.backbone, 0)
        return -abs(own(stage).learning_rate - 0.001 * layers) - abs(model.layers - layers)

    asked = {"gru": {"pooling": "attention"}, "sasrec": {}}
    settings[1].append(replace(BASE, backbones=asked))
    found, table = searched(quality)
    check_halving(table)
    other = table[table["backbone"] != "nextitnet"]
    assert other.groupby("backbone", sort=False).size().to_dict() == {"gru": 20, "sasrec": 20}
    assert set(other["task"]) == {"T1"}
    assert set(other["width"].dropna()) == set()  # NextItNet's
    chosen = found.study.config.backbones
    assert chosen["gru"]["pooling"] == "attention"
    for name, layers in (("gru", 1), ("sasrec", 4)):
        rates = other.query(f"backbone == '{name}' and layers == {layers}")["learning_rate"]
        nearest = rates.loc[(rates - 0.001 * layers).abs().idxmin()]
        assert (chosen[name]["layers"], chosen[name]["learning_rate"]) == (layers, nearest)
    assert found.study.config.model.backbone == "nextitnet"
    written = json.loads((paths.tuning(local=True) / "synthetic.json").read_text())["chosen"]
    assert written["backbones"] == chosen
    alone, again = searched(quality, backbones=["sasrec"])
    assert set(again["backbone"]) == {"sasrec"}
    assert alone.study.config.backbones == asked | {"sasrec": chosen["sasrec"]}
    with refused(ConfigError, "backbone: found 'lstm', expected gru or sasrec"):
        searched(quality, backbones=["lstm"])


def test_a_training_that_diverges_is_the_worst(searched, monkeypatch, capsys):
    def quality(stage):
        if own(stage).learning_rate > 0.001:
            raise MissingResultError("none")
        return by_chance(stage)

    def compute(*_):
        raise FloatingPointError("the loss is nan")

    monkeypatch.setattr(tuning, "compute", compute)
    found, table = searched(quality, methods=["STL"], tasks=["T2"])
    diverged = table["learning_rate"] > 0.001
    assert (table["validation"] == -float("inf")).equals(diverged)
    assert found.study.config.training("T2", "finetune").learning_rate <= 0.001
    assert "the loss is nan" in capsys.readouterr().err


def test_the_length_is_that_which_serves_the_ranking_tasks(searched, settings):
    gains = {"T2": {6: 0.1, 8: 0.08, 10: 0.04}, "T3": {6: 0.01, 8: 0.03, 10: 0.04}}
    seen = []

    def quality(stage):
        seen.append(stage)
        return gains[stage.step.task][stage.config.data.options["length"]]

    gains |= dict.fromkeys(("T1", "T4"), dict.fromkeys((6, 8, 10), 0.5))
    settings[0]["search"]["lengths"] = [6, 8, 10]
    found, table = searched(quality)
    tried = table[table["rung"] == "length"]
    assert tried["length"].tolist() == [6, 6, 8, 8, 10, 10]
    assert tried.query("chosen")["length"].tolist() == [8, 8]  # 0.8 and 0.75 of the best
    data = replace(BASE.data, options=BASE.data.options | {"length": 8})
    assert (found.study.config.data, found.study.stream.sequences.shape[1]) == (data, 8)
    assert table["dilations"].dropna().unique().tolist() == [(1, 4), (1, 4, 1, 4)]
    for stage in seen[:6]:
        assert [own(one).epochs for one in stage.lineage()] == [6, 3]


def test_what_is_written_becomes_the_librarys_settings_by_copying(searched, settings, monkeypatch):
    found, table = searched()
    folder = paths.tuning(local=True)
    tried, written = pd.read_csv(folder / "synthetic.csv"), folder / "synthetic.json"
    assert tried["chosen"].dtype == bool
    assert tried["stage_id"].tolist() == table["stage_id"].tolist()
    content = json.loads(written.read_text())
    keys = {f"{task}.{action}" for task in LATER for action in (*ACTIONS, *FOLLOW)}
    assert set(content["chosen"]["train"]) == {"T1.train"} | keys
    smoke = json.loads(paths.settings("synthetic").read_text())
    written.write_text(json.dumps(smoke | {"chosen": content["chosen"]}))
    monkeypatch.setattr(paths, "settings", lambda dataset, _: written)
    config = study_config("synthetic", "standard")
    for name in ("data", "model", "retrain_rate", "bpr"):
        assert getattr(config, name) == getattr(found.study.config, name), name
    for task in LATER:
        assert config.training(task, "joint") == found.study.config.training(task, "joint")


@pytest.mark.parametrize("which", [{"methods": ["STL"]}, {"tasks": ["T3"]}])
def test_a_search_in_part_keeps_what_was_found_for_the_rest(which, searched, settings, monkeypatch):
    found, before = searched()
    of_length = before.query("action == 'finetune' and rung == 'second'")  # STL chose it, too
    of_length = of_length.assign(rung="length", stage_id="length " + of_length["stage_id"])
    before = pd.concat([of_length, before], ignore_index=True)
    folder, old = paths.tuning(local=True), paths.tuning(local=True).with_name("old")
    folder.rename(old)
    before.to_csv(old / "synthetic.csv", index=False)
    monkeypatch.setattr(paths, "tuning", lambda local=False: folder if local else old)
    settings[1].append(found.study.config)
    one, again = searched(lambda _: 1.0, **which)
    assert set(again["task"]) == {*which.get("tasks", LATER)}
    assert set(again["action"]) == ({"finetune"} if "methods" in which else {*ACTIONS})
    both = pd.read_csv(folder / "synthetic.csv")
    is_new = both["validation"].eq(1.0) & both["stage_id"].isin(again["stage_id"])
    assert both[is_new]["stage_id"].tolist() == again["stage_id"].tolist()
    kept = before["task"].isin(again["task"]) & before["action"].isin(again["action"])
    kept &= before["rung"] != "length"
    assert both[~is_new]["stage_id"].tolist() == before[~kept]["stage_id"].tolist()
    former = settings[1][-1].training("T2", "joint")
    assert one.study.config.training("T2", "joint") == former


def test_what_cannot_be_searched_is_named(settings, monkeypatch):
    for which, *said in (
        ({"methods": ["Popularity"]}, "method: found 'Popularity', expected SinMo or "),
        ({"tasks": ["T9"]}, "task: found 'T9', expected T1 or "),
        ({"tasks": ["T1"], "methods": ["STL"]}, "method: found STL for T1, expected all"),
    ):
        with refused(ConfigError, *said):
            tuning.search("synthetic", "standard", **which)
    del settings[0]["search"]
    with refused(ConfigError, "synthetic.json: found no 'search', expected lengths"):
        tuning.search("synthetic", "standard")


def test_a_dataset_that_there_is_not_is_named(root):
    with refused(ConfigError, "dataset of the profile standard: found 'nope', expected complete"):
        tuning.search("nope", "standard")
    assert list(root.iterdir()) == []


def test_a_search_that_trains_can_be_interrupted(settings, monkeypatch):
    for name, value in {"TRIES": 2, "KEPT": 2, "SEEDS": (0, 7), "TUNED": ("STL",)}.items():
        monkeypatch.setattr(tuning, name, value)
    short = dict.fromkeys(("T1", "*"), TrainConfig(epochs=3))
    settings[1].append(replace(BASE, train=short))
    computed, stops_at, compute_stage = [], [9], scheduler.compute_stage

    def counted(stage, stream):
        if len(computed) in stops_at:
            stops_at.clear()
            raise KeyboardInterrupt
        computed.append(stage.id)
        compute_stage(stage, stream)

    monkeypatch.setattr(scheduler, "compute_stage", counted)
    with pytest.raises(KeyboardInterrupt):
        tuning.search("synthetic", "standard")
    found = tuning.search("synthetic", "standard")
    assert len(computed) == len(set(computed))
    number = len(computed)
    assert tuning.search("synthetic", "standard").rows == found.rows
    assert len(computed) == number
    assert {row["stage_id"] for row in found.rows} <= set(computed)


@pytest.mark.parametrize("dataset", [path.stem for path in paths.tuning().glob("*.csv")])
def test_the_committed_settings_are_those_that_the_committed_search_chose(dataset):
    table = pd.read_csv(paths.tuning() / f"{dataset}.csv")
    check_halving(table)
    config = study_config(dataset, "standard")
    if "backbone" in table:
        others = table[table["backbone"] != "nextitnet"]
        for row in others[others["chosen"]].to_dict("records"):
            own = config.backbones[row["backbone"]]
            assert (own["learning_rate"], own["layers"]) == (row["learning_rate"], row["layers"])
        table = table.drop(others.index)
    rows = table.query("chosen and rung == 'second'").to_dict("records")
    searched = table.query("rung == 'first'").groupby("task", sort=False)["action"].agg(set)
    every = {"finetune", "scratch", "output-only", "joint", "patched-serial", "sequential", "train"}
    learners = {"ewc", "lwf", "replay", "teracon"}
    assert len(learners) + len(every) == len(tuning.TUNED)
    for task, actions in searched.items():
        assert actions - learners == ({"train"} if task == "T1" else every)
    later = [actions & learners for task, actions in searched.items() if task != "T1"]
    assert later == later[:1] * len(later)  # those that protect old tasks may follow, on all tasks
    assert len(rows) == searched.map(len).sum()
    assert config.model.width == rows[0]["width"]
    for row in rows:
        settings = config.training(row["task"], row["action"])
        names = {"learning_rate", "l2", "loss", "joint_weight", "retention"} & row.keys()
        for name in (name for name in names if pd.notna(row[name])):
            expected = row[name] if name == "loss" else pytest.approx(row[name])
            assert getattr(settings, name) == expected
