"""The experiments: what each consists of and what they share, computed on a tiny study."""

from dataclasses import replace

import pytest
from helpers import small_stream, small_study

from conure_lib import paths
from conure_lib.analysis import tables
from conure_lib.config import ModelConfig
from conure_lib.data.stream import TRAIN
from conure_lib.methods import COMPARED
from conure_lib.study import experiments
from conure_lib.study.experiments import (
    EMBEDDING_RATIOS,
    EXPERIMENTS,
    FEW_BLOCKS,
    RATIOS,
    SHOWN_RATIOS,
    percent,
    smaller,
)
from conure_lib.study.study import Study

STREAM = small_stream()
ORDER = tuple(t.name for t in STREAM.tasks)
MODEL = ModelConfig(width=8, dilations=(1, 2))
CONURE, TRAINED, PRUNED = "Conure", "Conure-", "Conure, not retrained"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A tiny study with all its experiments, computed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", tmp_path_factory.mktemp("root"))
        made = Study(small_study(model=MODEL), STREAM)
        made.compute([run for experiment in EXPERIMENTS.values() for run in experiment(made)])
        yield made


def without(task):
    """Return the study of a stream that lacks a task; nothing of it is computed."""
    tasks = tuple(t for t in STREAM.tasks if t.name != task)
    return Study(small_study(model=MODEL), replace(STREAM, tasks=tasks))


def variants(runs):
    """Return variant -> its methods, in order."""
    found = {}
    for run in runs:
        found.setdefault(run.variant, []).append(run.method)
    return found


def one(runs, method, variant, task=None):
    named = [run for run in runs if (run.method, run.variant) == (method, variant)]
    (run,) = (run for run in named if task is None or task in run.stages)
    return run


def stage_ids(run):
    return {task: stage.id for task, stage in run.stages.items()}


def owned(stage, tensor):
    """Return how many weights of a tensor the stage's task owns."""
    rows = stage.record()["notes"]["owned"]
    task = stage.step.task
    return next(r["weights"] for r in rows if (r["tensor"], r["owner"]) == (tensor, task))


# --- all of them ---------------------------------------------------------------------------------


def test_experiments_are_in_the_order_of_the_notebooks():
    names = "baselines overparameterization unpruned convergence transfer paper-loss"
    names += " task-orders pruning-ratios embedding-pruning sizes continual-learners"
    assert list(EXPERIMENTS) == names.split()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_results_for_every_seed_and_forgets_nothing(name, study):
    if not (runs := EXPERIMENTS[name](study)):
        assert name == "sizes"  # without seeds of its own
        return
    study.require(runs)
    rows = study.results(runs)
    assert list(dict.fromkeys(rows["variant"])) == list(variants(runs))
    assert set(rows["method"]) == {run.method for run in runs}
    assert rows["value"].between(0, 1).all()
    names = [(run.method, run.variant, run.seed, tuple(run.stages)) for run in runs]
    assert len(set(names)) == len(names)
    chains = runs if name != "unpruned" else []  # whose stages are of as many lineages
    for run in (run for run in chains if run.method == CONURE):
        assert not tables.no_forgetting(run)["changed"].any()
    more = EXPERIMENTS[name](Study(small_study(model=MODEL, seeds=(1, 5)), STREAM))
    assert [run.id for run in more if run.seed == 1] == [run.id for run in runs]
    assert len(more) == 2 * len(runs)


def test_t1_is_trained_once_for_all_experiments(study):
    of_model = {}
    for experiment in EXPERIMENTS.values():
        stages = (
            s for run in experiment(study) for last in run.stages.values() for s in last.lineage()
        )
        for stage in stages:
            if (stage.step.task, stage.step.action) == ("T1", "train"):
                of_model.setdefault(stage.config.model, set()).add(stage.id)
    assert {model: len(ids) for model, ids in of_model.items()} == {MODEL: 1, smaller(MODEL): 1}


# --- each of them --------------------------------------------------------------------------------


def test_baselines_are_every_compared_method_on_every_task(study):
    runs = experiments.baselines(study)
    assert variants(runs) == {"": [name for name in COMPARED if name != "Group popularity"]}
    for run in runs:
        later = run.method in ("MTL", "Linear", "Linear (window)")
        assert tuple(run.stages) == ORDER[later:]


def test_overparameterization_prunes_two_networks_after_the_same_training(study):
    runs = experiments.overparameterization(study)
    assert variants(runs) == {
        f"{name} {ratio}": [TRAINED, *more]
        for name in ("normal", "small")
        for ratio, more in {
            "pr0": [CONURE],
            "pr30": [PRUNED],
            "pr50": [PRUNED],
            "pr70": [PRUNED, CONURE],
        }.items()
    }
    assert {tuple(run.stages) for run in runs} == {("T1",)}
    for name, model in (("normal", MODEL), ("small", ModelConfig(width=4, dilations=(1, 2)))):
        assert len({one(runs, TRAINED, f"{name} {percent(r)}").id for r in SHOWN_RATIOS}) == 1
        for ratio in SHOWN_RATIOS:
            stage = one(runs, PRUNED, f"{name} {percent(ratio)}").stages["T1"]
            size = 3 * model.width**2
            assert stage.config.model == model
            assert owned(stage, "blocks.0.kernel1") == size - round(ratio * size)
        whole = one(runs, CONURE, f"{name} pr0").stages["T1"]
        assert owned(whole, "blocks.0.kernel1") == size
        retrained = one(runs, CONURE, f"{name} pr70").stages["T1"]
        assert retrained.parent.id == one(runs, PRUNED, f"{name} pr70").stages["T1"].id


@pytest.mark.parametrize(
    ("model", "half"),
    [
        (ModelConfig(64, (1, 4) * 4), ModelConfig(32, (1, 4) * 2)),
        (ModelConfig(64, (1, 4)), ModelConfig(32, (1, 4))),  # with half of them it would see less
        (ModelConfig(7, (1, 1, 1), separator=True), ModelConfig(3, (1,), separator=True)),
        (ModelConfig(8, backbone="gru", layers=4), ModelConfig(4, backbone="gru", layers=2)),
        (ModelConfig(1, (3,)), ModelConfig(1, (3,))),  # there is nothing smaller
    ],
)
def test_a_smaller_network_has_half_the_width_and_half_the_blocks_if_they_do(model, half):
    assert smaller(model) == half


def test_unpruned_is_retrained_whole_after_tasks_that_were_pruned_as_usual(study):
    (run,) = experiments.unpruned(study)
    assert (run.method, run.variant, tuple(run.stages)) == (CONURE, "unpruned", ORDER)
    usual = study.run(CONURE, 1)
    for task, before in zip(ORDER[1:], ORDER, strict=False):
        pruned, retrained = run.stages[task].lineage()[-2:]
        assert retrained.step == usual.stages[task].step
        assert pruned.parent.id == usual.stages[task].parent.parent.id
        assert usual.stages[before].id in {stage.id for stage in run.stages[task].lineage()}
        notes = pruned.record()["notes"]["owned"]
        assert [row["weights"] for row in notes if row["owner"] == "free"] == [0] * 4


def test_speeds_are_compared_at_one_rate_after_the_usual_stages(study):
    runs = experiments.convergence(study)
    assert variants(runs) == {"common rate": ["SinMo", "STL", "PeterRec", TRAINED]}
    for run in runs:
        assert tuple(run.stages) == ("T2", "T3")
        for task, stage in run.stages.items():
            usual = study.run(run.method, 1).stages[task]
            assert stage.spec["settings"].get("learning_rate", 0.001) == 0.001
            assert stage.id != usual.id
            if stage.parent:
                assert stage.parent.id == usual.parent.id


def test_sizes_are_for_the_seeds_that_the_settings_name(study):
    config = small_study(model=MODEL, seeds=(1, 2), size_seeds=(2, 3))
    runs = experiments.sizes(Study(config, STREAM))
    assert {run.seed for run in runs} == {2}
    names = {run.variant: run.stages["T3"].config.model for run in runs}
    expected = {
        f"width {w}{more}" for w in (32, 64, 128, 256) for more in ("", " noT2", " unpruned")
    }
    assert set(names) == expected
    assert names["width 64 noT2"] == ModelConfig(64, MODEL.dilations)
    assert names["width 256 unpruned"] == ModelConfig(256, (1, 2) * 4)  # 16 convolutions
    whole = one(runs, CONURE, "width 32 unpruned").stages
    usual = one(runs, CONURE, "width 32").stages
    assert tuple(whole) == ("T2", "T3")
    assert whole["T3"].parent.parent.id == usual["T3"].parent.parent.id


def test_transfer_leaves_out_t2_or_most_of_t3s_data(study):
    runs = experiments.transfer(study)
    names = ["T2 all", "noT2 all", "T2 20%", "noT2 20%"]
    linear = {name: "Linear" if "noT2" in name else "Linear + T2" for name in names}
    assert variants(runs) == {name: [TRAINED, CONURE, linear[name]] for name in names}
    ids = {name: stage_ids(one(runs, CONURE, name)) for name in names}
    assert [list(ids[name]) for name in names] == [["T1", "T2", "T3"], ["T1", "T3"]] * 2
    assert len({ids[name]["T1"] for name in names}) == 1
    assert ids["T2 all"]["T2"] == ids["T2 20%"]["T2"]
    assert len({ids[name]["T3"] for name in names}) == 4
    all_tasks = stage_ids(study.run(CONURE, 1))
    assert ids["T2 all"] == {task: all_tasks[task] for task in ids["T2 all"]}
    assert study.results(runs).query("measure == 'T3'")["n"].nunique() == 1  # the same test part
    share = FEW_BLOCKS / 15  # of the 15 blocks of a fold's training part
    for name in ("T2 20%", "noT2 20%"):
        few = set()
        for stage in one(runs, CONURE, name).stages["T3"].lineage():
            if stage.spec["settings"].get("share") == share:
                few.add(f"{stage.step.task}.{stage.step.action}")
        assert few == {"T3.train", "T3.retrain"}
    used = len(STREAM["T3"].thinned(share).rows(TRAIN))
    assert used == round(share * len(STREAM["T3"].rows(TRAIN)))


def test_the_papers_loss_is_bpr_with_the_best_settings_found_for_it(study):
    searched = replace(study.config.training("T3"), learning_rate=0.3, loss="bpr")
    runs = experiments.paper_loss(study.changed("", bpr={"T3": searched}))
    assert variants(runs) == {name: [TRAINED, CONURE] for name in ("BPR", "BPR noT2")}
    after, before = (one(runs, CONURE, name) for name in ("BPR", "BPR noT2"))
    assert (tuple(after.stages), tuple(before.stages)) == (("T1", "T2", "T3"), ("T1", "T3"))
    assert after.stages["T1"].id == before.stages["T1"].id == study.run(CONURE, 1).stages["T1"].id
    for stage in (
        s for run in (after, before) for last in run.stages.values() for s in last.lineage()
    ):
        if stage.step.action != "prune" and stage.step.task != "T1":
            settings = stage.spec["settings"]
            assert settings["loss"] == "bpr"
            if stage.step.action == "train":
                rate = {"T2": study.config.training("T2").learning_rate, "T3": 0.3}
                assert settings["learning_rate"] == rate[stage.step.task]


def test_task_orders_are_the_papers(study):
    runs = experiments.task_orders(study)
    assert variants(runs) == {name: [TRAINED, CONURE] for name in ("Order1", "Order2", "Order3")}
    orders = [one(runs, CONURE, f"Order{number}") for number in (1, 2, 3)]
    expected = [ORDER, ("T1", "T2", "T6", "T3"), ("T1", "T6", "T2", "T3")]
    assert [tuple(run.stages) for run in orders] == expected
    assert orders[0].id == study.run(CONURE, 1).id
    first, second, third = (stage_ids(run) for run in orders)
    assert first["T2"] == second["T2"] != third["T2"]
    assert len({first["T6"], second["T6"], third["T6"]}) == 3


@pytest.mark.parametrize("missing", ["T6", "T3"])
def test_without_its_tasks_there_are_no_orders(missing):
    assert experiments.task_orders(without(missing)) == []


def test_pruning_ratios_prune_one_task_after_the_same_training(study):
    runs = experiments.pruning_ratios(study)
    assert set(variants(runs)) == {percent(ratio) for ratio in RATIOS}
    assert {tuple(run.stages) for run in runs} == {("T2",), ("T6",)}
    free = dict.fromkeys(("T2", "T6"), 3 * 8 * 8)
    for task, ratio in study.config.prune.items():
        free = {t: round(ratio * n) if task != "*" and task < t else n for t, n in free.items()}
    for task, left in free.items():
        by = {
            method: {r: one(runs, method, percent(r), task).stages[task] for r in RATIOS}
            for method in (TRAINED, PRUNED, CONURE)
        }
        assert len({stage.id for stage in by[TRAINED].values()}) == 1
        assert len({stage.id for stage in by[PRUNED].values()}) == len(RATIOS)
        for ratio in RATIOS:
            pruned = by[PRUNED][ratio]
            assert owned(pruned, "blocks.1.kernel2") == left - round(ratio * left)
            assert by[CONURE][ratio].parent.id == pruned.id
            assert pruned.parent.id == by[TRAINED][ratio].id
        usual = study.run(CONURE, 1).stages[task]
        assert by[CONURE][study.config.prune[task]].id == usual.id
    fewer = experiments.pruning_ratios(without("T6"))
    assert {tuple(run.stages) for run in fewer} == {("T2",)}
    assert len(fewer) == 3 * len(RATIOS)


def test_the_embedding_is_pruned_beside_the_kernels(study):
    runs = experiments.embedding_pruning(study)
    names = ("kernels", "kernels and embedding")
    assert variants(runs) == {name: [TRAINED, CONURE] for name in names}
    assert {tuple(run.stages) for run in runs} == {("T1", "T2", "T3")}
    kernels, both = (one(runs, CONURE, name) for name in names)
    all_tasks = stage_ids(study.run(CONURE, 1))
    assert stage_ids(kernels) == {task: all_tasks[task] for task in kernels.stages}
    lineages = (run.stages["T3"].lineage() for run in (kernels, both))
    same = [a.id == b.id for a, b in zip(*lineages, strict=True)]
    assert same == [True] + [False] * 8  # T1's training is shared, what it gives back is not
    free = 65 * 8
    for task, stage in both.stages.items():
        left = round(EMBEDDING_RATIOS[task] * free)
        assert owned(stage, "embedding") == free - left
        kernel = "blocks.0.kernel1"
        assert owned(stage, kernel) == owned(kernels.stages[task], kernel)
        free = left


def test_a_ratio_is_written_as_in_the_paper():
    assert [percent(r) for r in (0.1, 0.7, 0.95, 0.29)] == ["pr10", "pr70", "pr95", "pr29"]
