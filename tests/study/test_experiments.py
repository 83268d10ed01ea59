"""The experiments: what each consists of and what they share, computed on a tiny study."""

from dataclasses import replace

import pytest
from helpers import small_stream, small_study

from conure_lib import paths
from conure_lib.analysis import tables
from conure_lib.config import ModelConfig
from conure_lib.data.stream import TEST, TRAIN
from conure_lib.methods import COMPARED
from conure_lib.study import experiments
from conure_lib.study.experiments import (
    EMBEDDING_RATIOS,
    EXPERIMENTS,
    FEW,
    ORDERS,
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


@pytest.fixture(params=EXPERIMENTS)
def runs(request, study):
    return EXPERIMENTS[request.param](study)


def without(task, **changes):
    """The study of a stream that lacks a task; nothing of it is computed."""
    tasks = tuple(t for t in STREAM.tasks if t.name != task)
    return Study(small_study(model=MODEL, **changes), replace(STREAM, tasks=tasks))


def variants(runs):
    """Variant -> its methods, in order."""
    found = {}
    for run in runs:
        found.setdefault(run.variant, []).append(run.method)
    return found


def one(runs, method, variant, task=None):
    (run,) = (
        r for r in runs if (r.method, r.variant) == (method, variant) and task in (None, *r.stages)
    )
    return run


def stage_ids(run):
    return {task: stage.id for task, stage in run.stages.items()}


def owned(stage, tensor):
    """How many weights of a tensor the stage's task owns."""
    rows = stage.record()["notes"]["owned"]
    return next(
        r["weights"] for r in rows if (r["tensor"], r["owner"]) == (tensor, stage.step.task)
    )


# --- all of them -----------------------------------------------------------------------------------------


def test_experiments_stand_in_the_order_of_the_notebooks():
    assert list(EXPERIMENTS) == [
        *("baselines", "overparameterization", "transfer"),
        *("task-orders", "pruning-ratios", "embedding-pruning"),
    ]


def test_every_experiment_has_results(runs, study):
    study.require(runs)
    rows = study.results(runs)
    assert list(dict.fromkeys(rows["variant"])) == list(variants(runs))
    assert set(rows["method"]) == {run.method for run in runs}
    assert rows["value"].between(0, 1).all()


def test_no_two_runs_of_an_experiment_bear_the_same_name(runs):
    names = [(run.method, run.variant, run.seed, tuple(run.stages)) for run in runs]
    assert len(set(names)) == len(names)


def test_every_run_is_there_for_every_seed(study):
    more = Study(small_study(model=MODEL, seeds=(1, 5)), STREAM)
    for experiment in EXPERIMENTS.values():
        mine = [run for run in experiment(more) if run.seed == 1]
        assert [run.id for run in mine] == [run.id for run in experiment(study)]
        assert len(experiment(more)) == 2 * len(mine)


def test_t1_is_trained_once_for_all_experiments(study):
    of_model = {}
    for experiment in EXPERIMENTS.values():
        for run in experiment(study):
            lines = [one for stage in run.stages.values() for one in stage.lineage()]
            for stage in lines:
                if (stage.step.task, stage.step.action) == ("T1", "train"):
                    of_model.setdefault(stage.config.model, set()).add(stage.id)
    assert {model: len(ids) for model, ids in of_model.items()} == {MODEL: 1, smaller(MODEL): 1}


def test_no_experiment_forgets(runs):
    """Whatever is pruned in whatever order: a finished task's logits are equal to the last bit ever after."""
    for run in (run for run in runs if run.method == CONURE):
        table = tables.no_forgetting(run)
        assert (table.groupby("task")["logits_sha256"].nunique() == 1).all(), run


# --- each of them ----------------------------------------------------------------------------------------


def test_baselines_are_every_compared_method_on_every_task(study):
    runs = experiments.baselines(study)
    assert variants(runs) == {"": list(COMPARED)}
    assert all(
        set(run.stages) == set(ORDER) - ({"T1"} if run.method == "MTL" else set()) for run in runs
    )


def test_overparameterization_prunes_two_networks_after_the_same_training(study):
    runs = experiments.overparameterization(study)
    assert variants(runs) == {
        f"{name} {ratio}": [TRAINED, PRUNED, *last]
        for name in ("normal", "small")
        for ratio, last in (("pr30", ()), ("pr50", ()), ("pr70", (CONURE,)))
    }
    assert {tuple(run.stages) for run in runs} == {("T1",)}
    for name, model in (("normal", MODEL), ("small", ModelConfig(width=4, dilations=(1,)))):
        assert len({one(runs, TRAINED, f"{name} {percent(r)}").id for r in SHOWN_RATIOS}) == 1
        for ratio in SHOWN_RATIOS:
            stage = one(runs, PRUNED, f"{name} {percent(ratio)}").stages["T1"]
            size = 3 * model.width**2
            assert stage.config.model == model
            assert owned(stage, "blocks.0.kernel1") == size - round(ratio * size)
        retrained = one(runs, CONURE, f"{name} pr70").stages["T1"]
        assert retrained.parent.id == one(runs, PRUNED, f"{name} pr70").stages["T1"].id


@pytest.mark.parametrize(
    ("model", "half"),
    [
        (ModelConfig(64, (1, 4) * 4), ModelConfig(32, (1, 4) * 2)),
        (ModelConfig(64, (1, 4)), ModelConfig(32, (1,))),
        (ModelConfig(7, (1, 2, 4), separator=True), ModelConfig(3, (1,), separator=True)),
        (ModelConfig(1, (3,)), ModelConfig(1, (3,))),  # there is nothing smaller
    ],
)
def test_a_smaller_network_has_half_the_width_and_half_the_blocks(model, half):
    assert smaller(model) == half


def test_transfer_leaves_out_t2_or_most_of_t3s_data(study):
    runs = experiments.transfer(study)
    names = ["T2 all", "noT2 all", "T2 20%", "noT2 20%"]
    assert variants(runs) == {name: [TRAINED, CONURE] for name in names}
    assert pytest.approx(0.2) == 0.8 * FEW
    ids = {name: stage_ids(one(runs, CONURE, name)) for name in names}
    assert [list(ids[name]) for name in names] == [["T1", "T2", "T3"], ["T1", "T3"]] * 2
    assert len({ids[name]["T1"] for name in names}) == 1
    assert ids["T2 all"]["T2"] == ids["T2 20%"]["T2"]
    assert len({ids[name]["T3"] for name in names}) == 4
    assert ids["T2 all"] == {
        t: i for t, i in stage_ids(study.run(CONURE, 1)).items() if t in ids["T2 all"]
    }
    rows = study.results(runs).query("measure == 'T3'")
    assert set(rows["n"]) == {len(STREAM["T3"].rows(TEST))}  # the test part is always the same


def test_on_few_data_t3_is_trained_and_retrained_on_few(study):
    runs = experiments.transfer(study)
    for name in ("T2 20%", "noT2 20%"):
        stage = one(runs, CONURE, name).stages["T3"]
        shares = {
            f"{s.step.task}.{s.step.action}": s.spec["settings"].get("share")
            for s in stage.lineage()
        }
        assert {key for key, share in shares.items() if share == FEW} == {"T3.train", "T3.retrain"}
        assert set(shares.values()) == {FEW, None}  # elsewhere all
    used = len(STREAM["T3"].thinned(FEW).rows(TRAIN))
    assert used == round(FEW * len(STREAM["T3"].rows(TRAIN)))


def test_task_orders_are_the_papers(study):
    runs = experiments.task_orders(study)
    assert variants(runs) == {name: [TRAINED, CONURE] for name in ("Order1", "Order2", "Order3")}
    found = {name: tuple(one(runs, CONURE, name).stages) for name in ORDERS}
    assert found == {
        "Order1": ORDER,
        "Order2": ("T1", "T2", "T6", "T3"),
        "Order3": ("T1", "T6", "T2", "T3"),
    }
    assert one(runs, CONURE, "Order1").id == study.run(CONURE, 1).id
    first, second, third = (stage_ids(one(runs, CONURE, name)) for name in ORDERS)
    assert first["T2"] == second["T2"] != third["T2"]
    assert len({order["T6"] for order in (first, second, third)}) == 3


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
        own = {
            (m, r): one(runs, m, percent(r), task)
            for m in (TRAINED, PRUNED, CONURE)
            for r in RATIOS
        }
        assert len({own[TRAINED, ratio].id for ratio in RATIOS}) == 1
        assert len({own[PRUNED, ratio].id for ratio in RATIOS}) == len(RATIOS)
        for ratio in RATIOS:
            pruned, retrained = (own[method, ratio].stages[task] for method in (PRUNED, CONURE))
            assert owned(pruned, "blocks.1.kernel2") == left - round(ratio * left)
            assert retrained.parent.id == pruned.id
            assert pruned.parent.id == own[TRAINED, ratio].stages[task].id
        usual = percent(study.config.prune[task])
        assert (
            one(runs, CONURE, usual, task).stages[task].id == study.run(CONURE, 1).stages[task].id
        )


def test_without_t6_pruning_ratios_are_those_of_t2():
    runs = experiments.pruning_ratios(without("T6"))
    assert {tuple(run.stages) for run in runs} == {("T2",)}
    assert len(runs) == 3 * len(RATIOS)


def test_the_embedding_is_pruned_beside_the_kernels(study):
    runs = experiments.embedding_pruning(study)
    assert variants(runs) == {
        name: [TRAINED, CONURE] for name in ("kernels", "kernels and embedding")
    }
    assert {tuple(run.stages) for run in runs} == {("T1", "T2", "T3")}
    kernels, both = (one(runs, CONURE, name) for name in ("kernels", "kernels and embedding"))
    whole = stage_ids(study.run(CONURE, 1))
    assert stage_ids(kernels) == {task: whole[task] for task in kernels.stages}
    same = [
        a.id == b.id
        for a, b in zip(kernels.stages["T3"].lineage(), both.stages["T3"].lineage(), strict=True)
    ]
    assert same == [True] + [False] * 8  # T1's training is shared, what it gives back is not
    free = 65 * 8
    for task, ratio in EMBEDDING_RATIOS.items():
        if task != "*":
            left = round(ratio * free)
            assert owned(both.stages[task], "embedding") == free - left
            free = left
    for task, stage in both.stages.items():  # the kernels as ever
        assert owned(stage, "blocks.0.kernel1") == owned(kernels.stages[task], "blocks.0.kernel1")


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.1, "pr10"), (0.7, "pr70"), (0.95, "pr95"), (0.29, "pr29")]
)
def test_a_ratio_is_written_as_in_the_paper(ratio, text):
    assert percent(ratio) == text
