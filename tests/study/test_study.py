"""Stages: ids that change with what matters, results that do not depend on how they were computed or killed."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import files_below, small_stream, small_study

from conure_lib import paths
from conure_lib.config import DataConfig, ModelConfig, TrainConfig
from conure_lib.data.stream import TEST, TaskStream
from conure_lib.errors import ConfigError, DamagedResultError, MissingResultError
from conure_lib.methods import METHODS
from conure_lib.methods.conure import conure_chain
from conure_lib.methods.method import Step
from conure_lib.pipeline import executors
from conure_lib.pipeline import stage as stages
from conure_lib.pipeline.stage import CHECKPOINT, ENVIRONMENT, RANKS, RECORD, Stage
from conure_lib.pipeline.store import publish
from conure_lib.study import study as experiment
from conure_lib.study.profiles import study_config
from conure_lib.study.study import Study, missing
from conure_lib.training.determinism import torch_threads
from conure_lib.training.evaluation import metric_of

STREAM = small_stream()
ORDER = tuple(t.name for t in STREAM.tasks)
CHAIN = conure_chain(ORDER)
STEPS = {f"{t}.{a}": step for t, steps in CHAIN.items() for a, step in steps.items()}
STEPS |= {
    "T2.finetune": Step("finetune", "T2", STEPS["T1.train"]),
    "T2.popularity": Step("popularity", "T2"),
}
STEPS |= {
    f"T2.{a}": Step(a, "T2", STEPS["T1.train"]) for a in ("patched-serial", "patched-parallel")
}
STEPS |= {"T2.joint": Step("joint", "T2")}
ALONE = {"T2.finetune", "T2.joint", "T2.patched-serial", "T2.patched-parallel"}

# --- ids -------------------------------------------------------------------------------------------------


def ids(study=None, digest="d" * 64, seed=1):
    return {
        name: Stage(step, study or small_study(), digest, seed).id for name, step in STEPS.items()
    }


def changed(than=None, **arguments):
    """Which stages have another id than in the small study (or in another)."""
    before, after = ids(than), ids(**arguments)
    return {name for name in STEPS if before[name] != after[name]}


def after(name):
    """A stage and all that stand upon it."""
    found = {name}
    for other, step in STEPS.items():
        while step.parent and step.parent != STEPS[name]:
            step = step.parent
        found |= {other} if step.parent else set()
    return found


EVERYTHING = set(STEPS)
TRAINED = EVERYTHING - {"T2.popularity"}
OTHER = {
    "epochs": 3,
    "learning_rate": 0.5,
    "batch_size": 7,
    "patience": 5,
    "labels_per_user": 9,
    "loss": "softmax",
    "negatives": 0.7,
    "rho": 0.9,
    "l2": 0.7,
    "optimizer": "sgd",
    "table_updates": "rows",
    "share": 0.25,
    "joint_weight": 0.5,
}


@pytest.mark.parametrize("name", [f.name for f in fields(TrainConfig)])
def test_ids_change_with_every_training_setting(name):
    settings = TrainConfig(epochs=2, loss="sampled-softmax")
    other, train = replace(settings, **{name: OTHER[name]}), {"T1": settings, "*": settings}
    than = small_study(train=train)
    of_t1 = after("T1.train") | {"T2.joint"}
    assert changed(than, study=small_study(train={**train, "T1": other})) == of_t1 == TRAINED
    assert (
        changed(than, study=small_study(train={**train, "*": other})) == after("T2.train") | ALONE
    )
    assert (
        changed(than, study=small_study(train={**train, "T2": other})) == after("T2.train") | ALONE
    )
    assert changed(than, study=small_study(train={**train, "T5": other})) == after("T5.train")
    for alone in ALONE:  # each method has settings of its own
        assert changed(than, study=small_study(train={**train, alone: other})) == {alone}
    for task in ("T1", "T2", "T6"):  # whose retraining follows
        own = changed(than, study=small_study(train={**train, f"{task}.train": other}))
        assert own == (of_t1 if task == "T1" else after(f"{task}.train"))
    retrain = {"epochs": 1} | {name: OTHER[name]}
    assert changed(than, study=small_study(train=train, retrain=retrain)) == after("T1.retrain")


def test_ids_change_with_the_rate_of_retraining():
    assert changed(study=small_study(retrain_rate=0.5)) == after("T1.retrain")


def test_ids_change_with_ratios():
    prune = small_study().prune
    assert changed(study=small_study(prune={**prune, "T1": 0.5})) == after("T1.prune")
    assert changed(study=small_study(prune={**prune, "T6": 0.5})) == {"T6.prune", "T6.retrain"}


def test_ids_change_with_ratios_of_the_embedding():
    """From the first pruning on, as T1 then leaves the embedding to others; T1's training is shared."""
    assert changed(study=small_study(prune_embedding={"*": 0.5})) == after("T1.prune")
    than = small_study(prune_embedding={"*": 0.5})
    assert changed(than, study=small_study(prune_embedding={"*": 0.5, "T1": 0.5})) == set()
    assert changed(than, study=small_study(prune_embedding={"*": 0.5, "T3": 0.6})) == after(
        "T3.prune"
    )
    assert changed(than, study=small_study(prune_embedding={"*": 0.6, "T1": 0.5})) == after(
        "T2.prune"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            {"study": small_study(model=replace(small_study().model, **{f.name: value}))}
            for f, value in zip(fields(ModelConfig), (9, (2,), True), strict=True)
        ),
        {"study": small_study(threads=2)},
        {"study": small_study(device="cuda")},
        {"study": small_study(precision="bfloat16")},
        {"study": small_study(processes=2)},
    ],
)
def test_ids_change_with_model_threads_device_precision_and_processes(arguments):
    assert changed(**arguments) == TRAINED


@pytest.mark.parametrize("arguments", [{"digest": "e" * 64}, {"seed": 2}])
def test_ids_change_with_data_and_seed(arguments):
    assert changed(**arguments) == EVERYTHING


def test_the_kinds_of_patches_are_different_stages():
    found = {name: Stage(STEPS[name], small_study(), "d" * 64, 1).spec for name in sorted(ALONE)}
    serial, parallel = found["T2.patched-serial"], found["T2.patched-parallel"]
    assert {key for key in serial if serial[key] != parallel[key]} == {"action"}
    assert [name for name, by in found.items() if "t1_settings" in by] == ["T2.joint"]


def test_settings_of_an_action_that_does_not_exist_are_refused():
    train = {**small_study().train, "T2.finetun": TrainConfig()}
    with pytest.raises(ConfigError, match=r"names actions \['finetun'\]; there are .*'finetune'"):
        Study(small_study(train=train), STREAM)


def test_ids_change_with_the_protocol(monkeypatch):
    before = ids()
    monkeypatch.setattr(stages, "PROTOCOL", stages.PROTOCOL + 1)
    assert all(ids()[name] != before[name] for name in STEPS)


@pytest.mark.parametrize(
    "changes",
    [
        {"profile": "paper"},
        {"seeds": (1, 2, 3)},
        {
            "data": DataConfig("synthetic", {"n_users": 77})
        },  # its content counts, by the stream's digest
        {"train": {**small_study().train, "T9": TrainConfig()}},
        {
            "train": {
                **small_study().train,
                "T9.finetune": TrainConfig(),
                "T3.finetune": TrainConfig(),
            }
        },
        {"train": {**small_study().train, "T2.finetune": small_study().train["*"]}},
        {"train": {**small_study().train, "T2.retrain": TrainConfig()}},
        {"prune_embedding": {}},
        {"device": "cpu"},
        {"precision": "float32"},
        {"processes": 1},
        {"train": {**small_study().train, "T2": small_study().train["*"]}},
        {"train": dict(reversed(small_study().train.items()))},
        {"prune": {**small_study().prune, "T9": 0.1, "*": 0.4}},
    ],
)
def test_ids_change_with_nothing_else(changes):
    assert changed(study=small_study(**changes)) == set()


def test_ids_are_readable_and_name_the_dataset():
    assert re.fullmatch(r"synthetic\.T2\.train\.s1\.[0-9a-f]{12}", ids()["T2.train"])
    assert ids(small_study(data=DataConfig("ml-100k")))["T1.prune"].startswith(
        "ml-100k.T1.prune.s1."
    )
    assert len(set(ids().values())) == len(STEPS)


def test_an_id_is_pinned(monkeypatch):
    """If this fails, results of before are not found any more: was that meant? (Then pin it anew.)"""
    settings = TrainConfig(
        epochs=3,
        learning_rate=0.01,
        batch_size=16,
        patience=2,
        labels_per_user=4,
        loss="softmax",
        negatives=0.2,
        rho=0.3,
        l2=0.02,
        optimizer="adam",
        table_updates="dense",
        share=1.0,
        joint_weight=0.1,
    )
    study = small_study(
        model=ModelConfig(width=8, dilations=(1, 4), separator=False),
        train={"T1": settings, "*": settings},
        retrain={"epochs": 2},
        prune={"*": 0.7},
        threads=1,
    )
    monkeypatch.setattr(stages, "PROTOCOL", 1)
    assert ids(study)["T2.retrain"] == "synthetic.T2.retrain.s1.8e5786586cb1"


def test_orders_share_what_they_begin_with():
    study = Study(small_study(), STREAM)
    whole, other = study.run("Conure", 1), study.run("Conure", 1, ("T1", "T2", "T6", "T3"))
    assert list(other.stages) == ["T1", "T2", "T6", "T3"]
    same = {task for task in other.stages if other.stages[task].id == whole.stages[task].id}
    assert same == {"T1", "T2"}
    assert whole.id != other.id != study.run("Conure", 2).id
    lineage = [f"{s.step.task}.{s.step.action}" for s in whole.stages["T2"].lineage()]
    assert lineage == ["T1.train", "T1.prune", "T1.retrain", "T2.train", "T2.prune", "T2.retrain"]


def test_an_order_begins_with_the_first_task_and_names_each_task_once():
    study = Study(small_study(), STREAM)
    for order in (("T2", "T1"), ("T1", "T2", "T2"), ("T1", "T9")):
        with pytest.raises(ValueError, match=r"wanted: T1 first, then others of .*each once"):
            study.run("Conure", 1, order)


def test_runs_are_every_method_with_every_seed():
    study = Study(small_study(seeds=(3, 1)), STREAM)
    runs = study.runs(("STL", "Conure"), ("T1", "T3"))
    assert [(run.method, run.seed) for run in runs] == [
        ("STL", 3),
        ("STL", 1),
        ("Conure", 3),
        ("Conure", 1),
    ]
    assert all(list(run.stages) == ["T1", "T3"] for run in runs)
    assert all(stage.seed == run.seed for run in runs for stage in run.stages.values())
    assert {run.variant for run in runs} == {""}
    assert [run.id for run in study.runs(["STL"])] == [study.run("STL", seed).id for seed in (3, 1)]


def test_a_changed_study_shares_what_the_change_does_not_touch():
    study = Study(small_study(), STREAM)
    other = study.changed("pr50", prune={**study.config.prune, "T2": 0.5}, seeds=(1, 2))
    assert (study.variant, other.variant) == ("", "pr50")
    assert study.config == small_study()
    assert other.config == small_study(prune={**study.config.prune, "T2": 0.5}, seeds=(1, 2))
    assert other.stream is study.stream
    assert other.order == study.order
    (mine, its), runs = (s.run("Conure", 1) for s in (study, other)), other.runs(["STL"])
    assert (mine.variant, its.variant) == ("", "pr50")
    assert [run.variant for run in runs] == ["pr50", "pr50"]
    assert [task for task in ORDER if mine.stages[task].id == its.stages[task].id] == ["T1"]
    assert mine.id != its.id
    assert study.run("STL", 1).id == runs[0].id  # the same run under another name
    assert other.changed("again").variant == "again"
    assert other.changed("again").config is not other.config


def test_results_name_the_variant(root):
    study = Study(small_study(), STREAM)
    named = study.changed("another name").run("Popularity", 1, ("T1",))
    plain = study.run("Popularity", 1, ("T1",))
    study.compute([plain, named])
    rows = study.results([plain, named])
    assert rows["variant"].tolist() == [""] * (len(rows) // 2) + ["another name"] * (len(rows) // 2)
    assert rows["stage_id"].nunique() == 1


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="'Magic' is unknown; known are Popularity"):
        Study(small_study(), STREAM).run("Magic", 1)


# --- computing -------------------------------------------------------------------------------------------

SHORT = ("T1", "T2", "T4")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The small study, all methods on three tasks, computed serially without a break."""
    root = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", root)
        study = Study(small_study(), STREAM)
        study.compute(runs_of(study))
    return root


def runs_of(study):
    return [study.run(method, 1, SHORT) for method in METHODS]


@pytest.fixture
def study(root, undisturbed):
    """The same study in a copy of its folder, which the test may damage."""
    shutil.copytree(undisturbed, root, dirs_exist_ok=True)
    return Study(small_study(), STREAM)


@pytest.fixture
def computed(monkeypatch):
    """Names of the stages that are computed from now on."""
    names = []

    def spy(stage, stream):
        names.append(f"{stage.step.task}.{stage.step.action}")
        stages.compute_stage(stage, stream)

    monkeypatch.setattr(executors, "compute_stage", spy)
    return names


def test_equal_steps_are_computed_once(root, computed):
    study = Study(small_study(), STREAM)
    study.compute(runs_of(study))
    chain = [f"{task}.{action}" for task in SHORT for action in ("train", "prune", "retrain")]
    others = ("scratch", "output-only", "joint", "finetune", "patched-serial", "patched-parallel")
    alone = [f"{task}.{action}" for action in others for task in SHORT[1:]]
    assert sorted(computed) == sorted(chain + alone + [f"{task}.popularity" for task in SHORT])
    assert [name for name in computed if name in chain] == chain  # parents first


def test_what_is_done_is_not_computed_again(study, computed):
    before = {p: p.stat().st_mtime_ns for p in paths.stages().rglob("*")}
    study.compute(runs_of(study))
    study.compute(runs_of(study), workers=2)
    assert computed == []
    assert {p: p.stat().st_mtime_ns for p in paths.stages().rglob("*")} == before


def test_the_global_thread_count_is_put_back(root):
    study = Study(small_study(threads=2), STREAM)
    study.compute([study.run("Popularity", 1, ("T1",))])
    assert torch.get_num_threads() == 1
    with contextlib.suppress(KeyError), torch_threads(2):
        assert torch.get_num_threads() == 2
        raise KeyError
    assert torch.get_num_threads() == 1


def test_two_processes_give_the_same_bytes(root, undisturbed):
    study = Study(small_study(), STREAM)
    study.compute(runs_of(study), workers=2)
    assert files_below(paths.stages()) == files_below(undisturbed / "artifacts" / "stages")
    assert [p for p in paths.stages().iterdir() if p.name.startswith(".")] == []


def test_workers_map_the_stream_and_nothing_sends_it(root, monkeypatch):
    def sent(_):
        raise AssertionError("the stream went through the pipe")

    monkeypatch.setattr(TaskStream, "__reduce__", sent)
    study = Study(small_study(), STREAM)
    run = study.run("Popularity", 1, SHORT)
    study.compute([run], workers=2)
    assert all(stage.is_done() for stage in run.stages.values())
    assert [p.name for p in paths.artifacts().iterdir()] == ["stages"]  # what they shared is gone


def lose(stage, *names):
    """Removes files of a stage's local folder, or the folder."""
    for name in names:
        (stage.folder / name).unlink()
    if not names:
        shutil.rmtree(stage.folder)


def wanting(stages_asked):
    return [f"{s.step.task}.{s.step.action}" for s in missing(stages_asked)]


def test_a_lost_checkpoint_is_missed_only_by_a_child_without_result(study, computed, undisturbed):
    chain = {
        f"{t}.{a}": study.stage(s, 1)
        for t, steps in conure_chain(SHORT).items()
        for a, s in steps.items()
    }
    chain["T2.finetune"] = study.stage(STEPS["T2.finetune"], 1)
    lose(chain["T1.prune"])
    lose(chain["T1.retrain"], CHECKPOINT)
    assert wanting([chain["T4.retrain"], chain["T2.finetune"]]) == []
    assert wanting([chain["T1.prune"]]) == ["T1.prune"]
    lose(chain["T2.finetune"])
    assert wanting([chain["T2.finetune"], chain["T4.retrain"]]) == [
        "T2.finetune"
    ]  # T1.train is all it needs
    lose(chain["T2.train"])
    lost = [chain["T2.train"], chain["T2.finetune"]]
    assert wanting(lost) == ["T1.prune", "T1.retrain", "T2.train", "T2.finetune"]
    experiment.compute(lost, STREAM)
    assert computed == ["T1.prune", "T1.retrain", "T2.train", "T2.finetune"]
    assert files_below(paths.stages()) == files_below(undisturbed / "artifacts" / "stages")


def test_published_records_count_as_done(study, computed, root):
    runs = runs_of(study)
    expected = study.results(runs)
    publish(stage for run in runs for stage in run.stages.values())
    shutil.rmtree(paths.artifacts())
    files = files_below(paths.published())
    assert {Path(name).name for name in files} == {
        RECORD,
        RANKS,
    }  # and the environment; never a checkpoint
    assert len(files) == 2 * 24
    assert wanting([stage for run in runs for stage in run.stages.values()]) == []
    study.compute(runs)
    study.require(runs)
    assert computed == []
    pd.testing.assert_frame_equal(study.results(runs), expected)
    with pytest.raises(
        MissingResultError, match=r"no checkpoint of synthetic\.T4\.retrain.*make study"
    ):
        runs[-1].stages["T4"].model()
    # a result that is new needs its parents' checkpoints: those are computed, and only those
    assert wanting([study.stage(Step("finetune", "T6", STEPS["T1.train"]), 1)]) == [
        "T1.train",
        "T6.finetune",
    ]


def test_without_reuse_a_committed_record_does_not_count(study, computed, root):
    stages_asked = [study.run("STL", 1, ("T1", "T2")).stages["T1"]]
    study.compute([study.run("STL", 1, ("T1",))])
    publish(stages_asked)
    shutil.rmtree(paths.stages())
    assert missing(stages_asked) == []
    assert missing(stages_asked, reuse=False) == stages_asked


def test_publishing_replaces_a_record_that_says_something_else(study, root):
    (stage,) = study.run("STL", 1, ("T1",)).stages.values()
    study.compute([study.run("STL", 1, ("T1",))])
    publish([stage])
    published = paths.published() / "synthetic" / stage.id
    (published / RECORD).write_text("{}")
    publish([stage])
    assert (published / RECORD).read_bytes() == (stage.folder / RECORD).read_bytes()


def test_publishing_takes_ancestors_along_and_nothing_twice(study):
    last = study.stage(STEPS["T4.retrain"], 1)  # of the order T1, T2, T3, T4: not computed here
    assert not last.is_done()
    run = study.run("Conure", 1, SHORT)
    publish([run.stages["T2"]])
    names = sorted(p.name.rsplit(".", 2)[0] for p in (paths.published() / "synthetic").iterdir())
    assert names == sorted(
        f"synthetic.{t}.{a}" for t in SHORT[:2] for a in ("train", "prune", "retrain")
    )
    before = {p: p.stat().st_mtime_ns for p in paths.published().rglob("*")}
    publish([run.stages["T2"]])
    assert {p: p.stat().st_mtime_ns for p in paths.published().rglob("*")} == before


def test_what_was_trained_in_bfloat16_is_not_published(study, root):
    """Not even what stands beside it in the same list."""
    low = study.changed("low", precision="bfloat16")
    runs = [study.run("STL", 1, ("T1",)), low.run("STL", 1, ("T1",))]
    low.compute(runs)
    with pytest.raises(
        ConfigError, match=r"^StudyConfig\.precision = 'bfloat16'; wanted: 'float32'.*T1\.train"
    ):
        publish(stage for run in runs for stage in run.stages.values())
    assert not paths.published().exists()


def test_a_missing_result_says_what_to_do(root):
    study = Study(small_study(profile="standard", seeds=(4,)), STREAM)
    stage = study.run("STL", 4).stages["T2"]
    command = "make study DATASET=synthetic PROFILE=standard SEEDS=4"
    for ask in (stage.record, stage.model, stage.environment, lambda: stage.ranks("T2")):
        with pytest.raises(MissingResultError, match=rf"{re.escape(stage.id)}.*{command}"):
            ask()
    with pytest.raises(MissingResultError, match=command):
        study.require(study.runs(["STL"]))
    with pytest.raises(MissingResultError, match=command):
        study.ready(study.runs(["STL"]))
    with pytest.raises(MissingResultError, match=command):
        study.results(study.runs(["STL"]))


def test_a_small_profile_is_computed_on_demand(root, computed):
    study = Study(small_study(), STREAM)
    study.ready([study.run("Popularity", 1, SHORT)])
    assert len(computed) == 3


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "flipped": lambda path: path.write_bytes(
        path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])
    ),
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_ranks_are_named(study, damage):
    stage = study.run("STL", 1, SHORT).stages["T2"]
    DAMAGE[damage](stage.folder / RANKS)
    for ask in (
        stage.record,
        lambda: stage.ranks("T2"),
        lambda: study.results([study.run("STL", 1, SHORT)]),
    ):
        with pytest.raises(
            ValueError, match=rf"{stage.folder / RANKS} is damaged.*delete the folder"
        ):
            ask()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"digests": {}}', '{"digests": []}']
)
def test_a_damaged_record_is_named(study, content):
    stage = study.run("STL", 1, SHORT).stages["T2"]
    (stage.folder / RECORD).write_text(content)
    with pytest.raises(ValueError, match=rf"{stage.folder / RECORD} is damaged.*delete the folder"):
        stage.record()


def test_a_damaged_checkpoint_is_no_start_for_a_child(study):
    """A single bit: the file can be read, but it is not what was stored."""
    stage = study.run("STL", 1, SHORT).stages["T1"]
    path = stage.folder / "model.safetensors"
    DAMAGE["flipped"](path)
    with pytest.raises(ValueError, match=rf"{path} is damaged.*delete the folder"):
        stage.model()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
@pytest.mark.parametrize("name", [RECORD, RANKS, ENVIRONMENT, CHECKPOINT, "model.safetensors"])
def test_what_is_damaged_in_the_cache_is_named_and_computed_again(
    study, computed, undisturbed, capsys, name, damage
):
    """T1.prune: between others that are whole, and nobody asks for it."""
    run = study.run("Conure", 1, SHORT)
    stage = run.stages["T1"].lineage()[1]
    DAMAGE[damage](stage.folder / name)
    study.compute([run])
    assert str(stage.folder / name) in capsys.readouterr().err
    assert computed == ["T1.prune"]
    assert files_below(paths.stages()) == files_below(undisturbed / "artifacts" / "stages")


def test_a_record_that_says_something_else_is_damaged(study):
    stage = study.run("STL", 1, SHORT).stages["T2"]
    path = stage.folder / RECORD
    value = json.loads(path.read_text())["metrics"][0]["value"]
    path.write_text(path.read_text().replace(str(value), str(value + 0.25)))
    with pytest.raises(
        DamagedResultError, match=rf"{path} is damaged: found \w+, wanted \w+; delete the folder"
    ):
        stage.record()


def test_a_damaged_committed_file_is_named_with_its_mend(study, root):
    run = study.run("STL", 1, SHORT)
    publish(run.stages.values())
    shutil.rmtree(paths.artifacts())
    stage = run.stages["T2"]
    for name in (RANKS, RECORD, ENVIRONMENT):
        path = paths.published() / "synthetic" / stage.id / name
        DAMAGE["cut"](path)
        with pytest.raises(
            DamagedResultError, match=rf"{path} is damaged.*git checkout -- {path.parent}"
        ):
            study.results([run])


@pytest.mark.parametrize("name", [RECORD, RANKS, ENVIRONMENT])
def test_publishing_replaces_a_damaged_copy_and_says_so(study, capsys, name):
    (stage,) = study.run("STL", 1, ("T1",)).stages.values()
    publish([stage])
    path = paths.published() / "synthetic" / stage.id / name
    DAMAGE["cut"](path)
    assert capsys.readouterr().err == ""
    publish([stage])
    assert str(path.parent) in capsys.readouterr().err
    assert path.read_bytes() == (stage.folder / name).read_bytes()


def test_a_stage_in_hand_elsewhere_is_awaited_and_taken(study, undisturbed, monkeypatch):
    stage = study.run("STL", 1, ("T1",)).stages["T1"]
    lose(stage)
    calls, compute = [], stages._compute

    def slow(*arguments):
        calls.append(1)
        time.sleep(0.2)
        compute(*arguments)

    monkeypatch.setattr(stages, "_compute", slow)
    threads = [
        threading.Thread(target=stages.compute_stage, args=(stage, STREAM)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]
    assert files_below(paths.stages()) == files_below(undisturbed / "artifacts" / "stages")


def test_a_deleted_folder_is_computed_to_the_same_bytes(study, undisturbed):
    runs = runs_of(study)
    for run, task in zip(runs[3:], ("T2", "T1", "T4"), strict=False):
        lose(run.stages[task])
    study.compute(runs)
    assert files_below(paths.stages()) == files_below(undisturbed / "artifacts" / "stages")


def test_records_and_ranks_say_the_same(study):
    rows = study.results(runs_of(study))
    columns = (
        "dataset profile method variant task seed measure metric value n run_id stage_id commit"
    )
    assert set(rows.columns) == set(columns.split())
    assert set(rows["method"]) == set(METHODS)
    assert set(rows["variant"]) == {""}
    for run in runs_of(study):
        for task, stage in run.stages.items():
            record, ranks = stage.record(), stage.ranks(task)
            assert record["spec"] == json.loads(json.dumps(stage.spec))
            assert (ranks.dtype, len(ranks)) == (np.uint8, len(STREAM[task].rows(TEST)))
            own = rows.query(f"stage_id == '{stage.id}' and measure == '{task}'")
            assert set(own["value"]) == {metric_of(STREAM[task].kind, ranks)}
            assert set(own["n"]) == {len(ranks)}
            assert set(record["digests"]) == {p.name for p in stage.folder.iterdir()} - {
                RECORD,
                ENVIRONMENT,
            }
            assert torch.__version__.startswith(
                stage.environment()["packages"]["torch"].partition("+")[0]
            )


def test_temporary_folders_are_no_results(root, undisturbed):
    """What a killed process leaves behind is neither a result nor in the way."""
    study = Study(small_study(), STREAM)
    stage = study.run("STL", 1, SHORT).stages["T1"]
    whole = undisturbed / "artifacts" / "stages" / stage.id
    shutil.copytree(whole, paths.stages() / f".{stage.id}.abcd")
    shutil.copytree(whole, paths.published() / "synthetic" / f".{stage.id}.abcd")
    assert not stage.is_done()
    assert wanting([stage]) == ["T1.train"]
    stage.folder.mkdir()  # nor is a folder without a record
    shutil.copy(whole / RANKS, stage.folder)
    assert not stage.is_done()
    study.compute([study.run("STL", 1, ("T1",))])
    assert files_below(stage.folder) == files_below(whole)


# --- killing ---------------------------------------------------------------------------------------------

STUDY = """
import os, signal, sys
from conure_lib import stages
from conure_lib.experiment import Study
from conure_lib.methods import METHODS
from conure_lib.profiles import study_config
from conure_lib.cache import publish
if len(sys.argv) > 1:  # die while the folder of that stage is being written
    left, write = int(sys.argv[1]), stages.Path.write_text
    def write_text(path, text):
        global left
        left -= path.name == stages.RECORD
        if left < 0:
            write(path, text[: len(text) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(path, text)
    stages.Path.write_text = write_text
study = Study(study_config("synthetic", "smoke"))
study.compute(study.runs(METHODS))
"""


def finished(root):
    folder = root / "artifacts" / "stages"
    return [p for p in folder.iterdir() if not p.name.startswith(".")] if folder.is_dir() else []


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The smoke study computed in one go, here."""
    root = tmp_path_factory.mktemp("smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", root)
        study = Study(study_config("synthetic", "smoke"))
        study.compute(study.runs(METHODS))
    return root


@pytest.mark.slow
def test_a_killed_study_goes_on_where_it_was(tmp_path, python, smoke):
    for count in (1, 3, 6):
        process = subprocess.Popen(**python(STUDY, tmp_path))
        while len(finished(tmp_path)) < count and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert count <= len(finished(tmp_path)) < len(finished(smoke))
    before = {p: p.stat().st_mtime_ns for folder in finished(tmp_path) for p in folder.rglob("*")}
    subprocess.run(**python(STUDY, tmp_path), check=True)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert whole(tmp_path) == whole(smoke)


@pytest.mark.slow
def test_a_study_killed_while_it_writes_goes_on(tmp_path, python, smoke):
    command = python(STUDY, tmp_path)
    command["args"].append("2")
    assert subprocess.run(**command).returncode == -signal.SIGKILL
    (left,) = (tmp_path / "artifacts" / "stages").glob(".*.of-*")
    assert len((left / RECORD).read_text()) > 100  # half a record, in a temporary folder
    assert len(finished(tmp_path)) == 2
    subprocess.run(**python(STUDY, tmp_path), check=True)
    assert whole(tmp_path) == whole(smoke)
    assert not left.exists()


def whole(root):
    """Every file that counts: all but those in temporary folders, and where and when they were computed."""
    return {
        n: c
        for n, c in files_below(root).items()
        if not any(part.startswith(".") for part in Path(n).parts)
    }


@pytest.mark.slow
def test_workers_end_with_a_killed_study(tmp_path, python):
    code = STUDY.replace("study.runs(METHODS)", "study.runs(METHODS), workers=2")
    code = "if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in code.splitlines())
    script = tmp_path / "study.py"
    script.write_text(code)
    command = python("", tmp_path)
    command["args"] = [command["args"][0], str(script)]
    process = subprocess.Popen(**command)
    while len(finished(tmp_path)) < 2 and process.poll() is None:
        time.sleep(0.01)
    children = [
        int(p) for p in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]
    process.kill()
    process.wait()
    assert len(children) >= 2
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [pid for pid in children if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []
    assert list((tmp_path / "artifacts").glob(".stream*"))  # the stream that the workers mapped
    subprocess.run(**command, check=True)
    assert list((tmp_path / "artifacts").rglob(".*")) == []


def alive(pid):
    """Neither gone nor dead and waiting for somebody to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
