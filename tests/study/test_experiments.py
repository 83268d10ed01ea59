"""The experiments: what each consists of and what they share, computed on a tiny study."""

from dataclasses import replace

import pytest
from helpers import FAST, refused, small_stream, small_study

from conure_lib.analysis import tables
from conure_lib.config import DataConfig, ModelConfig
from conure_lib.errors import ConfigError
from conure_lib.methods import COMPARED, CONTINUAL, FLOORS
from conure_lib.methods.method import Step
from conure_lib.study import experiments
from conure_lib.study.experiments import EXPERIMENTS, RATIOS, SHOWN_RATIOS, all_runs, percent
from conure_lib.study.study import Study, load_study

STREAM = small_stream()
ORDER = tuple(t.name for t in STREAM.tasks)
MODEL = ModelConfig(width=8, dilations=(1, 2))
ONCE = replace(FAST, epochs=1)
CONFIG = small_study(model=MODEL, train={"T1": ONCE, "*": ONCE})
FEW = {"seeds": (1, 2, 3), "few_seeds": (2, 3, 4)}
CONURE, TRAINED, PRUNED = "Conure", "Conure-", "Conure, not retrained"
BOTH, THREE, NO_T2 = [TRAINED, CONURE], ("T1", "T2", "T3"), ("T1", "T3")
SHOWN = {"pr0": BOTH, "pr30": [TRAINED, PRUNED], "pr50": [TRAINED, PRUNED]}
SHOWN |= {"pr70": [TRAINED, PRUNED, CONURE]}
EXPECTED = {
    "baselines": {"": [name for name in COMPARED if name != "Group popularity"]},
    "overparameterization": {
        f"{name} {ratio}": SHOWN[ratio] for name in ("normal", "small") for ratio in SHOWN
    },
    "unpruned": {"unpruned": [CONURE]},
    "convergence": {"common rate": ["SinMo", "STL", "PeterRec", TRAINED]},
    "transfer": {
        f"{name} {data}": [*BOTH, floor]
        for data in ("all", "20%")
        for name, floor in {"T2": "Linear + T2", "noT2": "Linear"}.items()
    },
    "paper-loss": {"BPR": BOTH, "BPR noT2": BOTH},
    "task-orders": {"Order1": BOTH, "Order2": BOTH, "Order3": BOTH},
    "pruning-ratios": {percent(r): [*BOTH, PRUNED] * 2 for r in RATIOS},
    "embedding-pruning": {"kernels": BOTH, "kernels and embedding": BOTH},
    "sizes": {},  # without seeds of its own
    "continual-learners": {"": [*CONTINUAL]},
    "automatic-pruning": {},  # the same
}
"""Experiment -> variant -> methods, in order."""


@pytest.fixture(scope="module")
def study(shared_root):
    """A tiny study with all its experiments, computed once."""
    made = Study(CONFIG, STREAM)
    made.compute(every_run(made))
    return made


def every_run(study):
    return [run for experiment in EXPERIMENTS.values() for run in experiment(study)]


def without(task):
    """Return the study of a stream that lacks a task; nothing of it is computed."""
    tasks = tuple(t for t in STREAM.tasks if t.name != task)
    return Study(CONFIG, replace(STREAM, tasks=tasks))


def one(runs, method, variant, task=None):
    """Return the one run of a method and a variant, or its stage of a task."""
    named = [run for run in runs if (run.method, run.variant) == (method, variant)]
    (run,) = (run for run in named if task is None or task in run.stages)
    return run.stages[task] if task else run


def stage_ids(run):
    return {task: stage.id for task, stage in run.stages.items()}


def every_stage(runs):
    return [stage for run in runs for last in run.stages.values() for stage in last.lineage()]


def owned(stage, tensor):
    """Return how many weights of a tensor the stage's task owns."""
    rows = stage.record()["notes"]["owned"]
    named = (tensor, stage.step.task)
    return next(r["weights"] for r in rows if (r["tensor"], r["owner"]) == named)


def test_names_are_in_the_order_of_the_notebooks_and_ratios_written_as_in_the_paper():
    assert list(EXPERIMENTS) == list(EXPECTED)
    assert [percent(r) for r in (0.1, 0.7, 0.95, 0.29)] == ["pr10", "pr70", "pr95", "pr29"]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_experiment_has_results_for_every_seed_and_forgets_nothing(name, study):
    runs, variants = EXPERIMENTS[name](study), {}
    for run in runs:
        variants.setdefault(run.variant, []).append(run.method)
    assert variants == EXPECTED[name]
    study.require(runs)
    rows = study.results(runs)
    assert rows.empty or rows["value"].between(0, 1).all()
    if name != "unpruned":  # whose stages are of as many lineages
        for run in (run for run in runs if run.method == CONURE):
            assert not tables.no_forgetting(run)["changed"].any()
    more = EXPERIMENTS[name](Study(replace(CONFIG, seeds=(1, 5)), STREAM))
    assert [run.id for run in more if run.seed == 1] == [run.id for run in runs]
    assert len(more) == 2 * len(runs)


def test_t1_is_trained_once_for_all_experiments(study):
    stages = {s.id: s for s in every_stage(every_run(study)) if s.step == Step("train", "T1")}
    models = [stage.config.model for stage in stages.values()]
    assert models == [MODEL, experiments.smaller(MODEL)]


def test_overparameterization_prunes_two_networks_after_the_same_training(study):
    runs = experiments.overparameterization(study)
    assert {tuple(run.stages) for run in runs} == {("T1",)}
    for name, model in (("normal", MODEL), ("small", ModelConfig(width=4, dilations=(1, 2)))):
        size = 3 * model.width**2
        for ratio in SHOWN_RATIOS:
            pruned = one(runs, PRUNED, variant := f"{name} {percent(ratio)}", "T1")
            assert pruned.config.model == model
            assert owned(pruned, "blocks.0.kernel1") == size - round(ratio * size)
            assert pruned.parent.id == one(runs, TRAINED, variant, "T1").id
        assert owned(one(runs, CONURE, f"{name} pr0", "T1"), "blocks.0.kernel1") == size
        assert one(runs, CONURE, variant, "T1").parent.id == pruned.id


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
    assert experiments.smaller(model) == half


def test_unpruned_is_retrained_whole_after_tasks_that_were_pruned_as_usual(study):
    (run,), usual = experiments.unpruned(study), study.run(CONURE, 1)
    assert tuple(run.stages) == ORDER
    for task in ORDER[1:]:
        pruned, retrained = run.stages[task].lineage()[-2:]
        assert retrained.step == usual.stages[task].step
        assert pruned.parent.id == usual.stages[task].parent.parent.id
        notes = pruned.record()["notes"]["owned"]
        assert [row["weights"] for row in notes if row["owner"] == "free"] == [0] * 4


def test_speeds_are_compared_at_one_rate_after_the_usual_stages(study):
    for run in experiments.convergence(study):
        assert tuple(run.stages) == ("T2", "T3")
        for task, stage in run.stages.items():
            usual = study.run(run.method, 1).stages[task]
            assert stage.spec["settings"].get("learning_rate", 0.001) == 0.001
            assert stage.id != usual.id
            assert (stage.parent and stage.parent.id) == (usual.parent and usual.parent.id)


def test_sizes_are_for_the_seeds_that_the_settings_name():
    runs = experiments.sizes(Study(replace(CONFIG, seeds=(1, 2), few_seeds=(2, 3)), STREAM))
    assert {run.seed for run in runs} == {2}
    kinds = {"": [*BOTH, "STL", "PeterRec"], " noT2": BOTH, " unpruned": [CONURE]}
    assert [(run.variant, run.method, run.stages["T3"].config.model) for run in runs] == [
        (f"width {width}{kind}", method, ModelConfig(width, MODEL.dilations))
        for width in (32, 64, 128)
        for kind, methods in kinds.items()
        for method in methods
    ]
    whole, usual = (one(runs, CONURE, f"width 32{name}") for name in (" unpruned", ""))
    assert tuple(whole.stages) == ("T2", "T3")
    assert whole.stages["T3"].parent.parent.id == usual.stages["T3"].parent.parent.id


def test_transfer_leaves_out_t2_or_most_of_t3s_data(study):
    runs = experiments.transfer(study)
    names = list(EXPECTED["transfer"])
    ids = {name: stage_ids(one(runs, CONURE, name)) for name in names}
    assert [tuple(ids[name]) for name in names] == [THREE, NO_T2] * 2
    assert len({ids[name]["T1"] for name in names}) == 1
    assert ids["T2 all"]["T2"] == ids["T2 20%"]["T2"]
    assert len({ids[name]["T3"] for name in names}) == 4
    assert ids["T2 all"].items() <= stage_ids(study.run(CONURE, 1)).items()
    assert study.results(runs).query("measure == 'T3'")["n"].nunique() == 1  # the same test part
    share = experiments.FEW_BLOCKS / 15  # of the 15 blocks of a fold's training part
    for name in ("T2 20%", "noT2 20%"):
        lineage = one(runs, CONURE, name, "T3").lineage()
        few = [s.step for s in lineage if s.spec["settings"].get("share") == share]
        assert [(step.task, step.action) for step in few] == [("T3", "train"), ("T3", "retrain")]
        assert one(runs, EXPECTED["transfer"][name][2], name, "T3").spec["share"] == share


def test_the_papers_loss_is_bpr_with_the_best_settings_found_for_it(study):
    searched = replace(ONCE, learning_rate=0.3, loss="bpr")
    runs = experiments.paper_loss(study.changed("", bpr={"T3": searched}))
    assert [tuple(run.stages) for run in runs] == [THREE] * 2 + [NO_T2] * 2
    assert {run.stages["T1"].id for run in runs[1::2]} == {study.run(CONURE, 1).stages["T1"].id}
    for stage in every_stage(runs):
        settings = stage.spec["settings"]
        if stage.step.action != "prune" and stage.step.task != "T1":
            assert settings["loss"] == "bpr"
        if stage.step.action == "train" and stage.step.task != "T1":
            assert settings["learning_rate"] == {"T2": 0.01, "T3": 0.3}[stage.step.task]


def test_task_orders_are_the_papers(study):
    runs = experiments.task_orders(study)
    first, second, third = (stage_ids(one(runs, CONURE, f"Order{n}")) for n in (1, 2, 3))
    orders = [ORDER, ("T1", "T2", "T6", "T3"), ("T1", "T6", "T2", "T3")]
    assert [tuple(ids) for ids in (first, second, third)] == orders
    assert first == stage_ids(study.run(CONURE, 1))
    assert first["T2"] == second["T2"] != third["T2"]
    assert len({first["T6"], second["T6"], third["T6"]}) == 3
    assert [experiments.task_orders(without(task)) for task in ("T3", "T6")] == [[], []]


def test_pruning_ratios_prune_one_task_after_the_same_training(study):
    runs = experiments.pruning_ratios(study)
    free = dict.fromkeys(("T2", "T6"), 3 * 8 * 8)
    for task, ratio in study.config.prune.items():
        free = {t: round(ratio * n) if task != "*" and task < t else n for t, n in free.items()}
    for task, left in free.items():
        trained = {one(runs, TRAINED, percent(ratio), task).id for ratio in RATIOS}
        for ratio in RATIOS:
            pruned = one(runs, PRUNED, percent(ratio), task)
            assert owned(pruned, "blocks.1.kernel2") == left - round(ratio * left)
            assert {pruned.parent.id} == trained
            assert one(runs, CONURE, percent(ratio), task).parent.id == pruned.id
        usual = percent(study.config.prune[task])
        assert one(runs, CONURE, usual, task).id == study.run(CONURE, 1).stages[task].id
    fewer = experiments.pruning_ratios(without("T6"))
    assert [tuple(run.stages) for run in fewer] == [("T2",)] * 3 * len(RATIOS)


def test_the_embedding_is_pruned_beside_the_kernels(study):
    runs = experiments.embedding_pruning(study)
    kernels, both = (one(runs, CONURE, name) for name in EXPECTED["embedding-pruning"])
    assert stage_ids(kernels).items() <= stage_ids(study.run(CONURE, 1)).items()
    assert tuple(both.stages) == THREE
    lineages = (run.stages["T3"].lineage() for run in (kernels, both))
    same = [a.id == b.id for a, b in zip(*lineages, strict=True)]
    assert same == [True] + [False] * 8  # T1's training is shared, what it gives back is not
    free = 65 * 8
    for task, stage in both.stages.items():
        left = round(experiments.EMBEDDING_RATIOS[task] * free)
        assert owned(stage, "embedding") == free - left
        kernel = "blocks.0.kernel1"
        assert owned(stage, kernel) == owned(kernels.stages[task], kernel)
        free = left


DIALS = [f"relatedness {share}" for share in ("0", "0.25", "0.5", "0.75", "1")]
DIALS += ["contradiction 0.5", "contradiction 1", "noise"]


def test_each_dial_changes_what_it_names_and_other_methods_run_on_few_seeds(root):
    study = Study(small_study(**FEW, model=MODEL))
    (own, first), *rest, (long, _) = all_runs(study)
    assert (own, len(long.order)) == (study, study.config.long_stream)
    assert {run.id for run in first} == {run.id for run in every_run(study)}
    plain = [(run.method, run.seed) for run in first if not run.variant]
    assert len(plain) == len(set(plain))  # Conure is a baseline and a continual learner
    assert [point.variant for point, _ in rest] == list(experiments.dials(study)) == DIALS
    assert len({point.stream.digest() for point, _ in rest}) == len(DIALS)
    for point, runs in rest:
        assert point.store is study.store
        pairs = zip(study.stream.tasks, point.stream.tasks, strict=True)
        different = {a.name for a, b in pairs if a.labels.tolist() != b.labels.tolist()}
        unlike = {"relatedness 1": set(), "noise": {*study.order}}
        assert different == unlike.get(point.variant, {"T3"})
        usual, more = [(TRAINED, "T2", *THREE), ("Linear + T2", "T2", "T3")], []
        usual += [(m, "noT2", *NO_T2) for m in (TRAINED, "STL", "Popularity")]
        usual += [("Linear", "noT2", "T3"), (TRAINED, "T2 patient", *THREE)]
        if point.variant == "noise":
            usual = [(method, "noise", *ORDER) for method in experiments.AGAINST_NOISE]
        else:
            more = [("EWC", "T2", *THREE), *((m, "noT2", *NO_T2) for m in ("EWC", "PeterRec"))]
        if point.variant == "relatedness 0":
            ways = [f"{history} {way}" for way in WAYS for history in ("T2", "noT2")]
            more += [(TRAINED, way, *(NO_T2 if way[0] == "n" else THREE)) for way in ways[1:]]
            check_remedies({r.variant: r.stages["T3"] for r in runs if r.method == TRAINED})
        expected = [one for one in usual for _ in (1, 2, 3)] + [one for one in more for _ in (2, 3)]
        assert [(run.method, run.variant, *run.stages) for run in runs] == expected
        assert {s.stream_digest for s in every_stage(runs)} == {point.stream.digest()}


WAYS = ("patient", "wide", "grown", "keeps less")


def check_remedies(stages):
    """Each remedy changes what it is called after, with and without T2."""
    for history in ("T2", "noT2"):
        names = [f"{history} {way}".strip() for way in ("", *WAYS)]
        usual, patient, wide, grown, less = (stages[name] for name in names)
        longer = patient.config.training("T3")
        assert (longer.epochs, longer.patience) == (3 * FAST.epochs, 3 * FAST.patience)
        assert patient.parent.id == usual.parent.id
        assert wide.config.model == replace(MODEL, width=2 * MODEL.width)
        assert grown.spec["grow_below"] == 0.95
        assert (less.id == usual.id) == (history == "noT2")
    owned = [s for s in stages["T2 keeps less"].lineage() if s.step.task == "T2"]
    assert [s.spec["settings"]["kernels"] for s in owned if s.step.action == "prune"] == [0.95]


def test_other_datasets_have_no_dials_and_no_ratios_in_common():
    study = Study(replace(CONFIG, **FEW, data=DataConfig("complete-journey")), STREAM)
    assert [point for point, _ in all_runs(study)] == [study]
    assert experiments.automatic_pruning(study) == []


def test_other_networks_take_nextitnets_place_on_few_seeds(root):
    asked = {"gru": {"layers": 1, "learning_rate": 0.5}, "sasrec": {"heads": 2}}
    study = Study(replace(CONFIG, **FEW, backbones=asked), STREAM)
    points = experiments.backbones(study)
    models = {"gru": replace(MODEL, backbone="gru", layers=1)}
    models["sasrec"] = replace(MODEL, backbone="sasrec", heads=2)
    assert {name: point.config.model for name, point in points.items()} == models
    for name, point in points.items():
        runs = experiments.backbone_runs(point)
        assert {run.seed for run in runs} == {2, 3}
        named = {(run.method, run.variant) for run in runs if run.method not in FLOORS}
        expected = {(method, "") for method in ("STL", "PeterRec", TRAINED, CONURE)}
        expected |= {(method, "normal pr70") for method in (TRAINED, PRUNED, CONURE)}
        expected |= {(TRAINED, variant) for variant in EXPECTED["transfer"]}
        assert named == expected | {(CONURE, "unpruned")}
        floors = [run.id for run in study.runs(["Popularity"]) if run.seed > 1]
        assert floors == [run.id for run in runs if run.method == "Popularity"]
        for stage in every_stage(run for run in runs if run.method not in FLOORS):
            assert stage.config.model == models[name]
            if stage.step == Step("train", "T1"):
                rate = asked[name].get("learning_rate", ONCE.learning_rate)
                assert stage.spec["settings"]["learning_rate"] == rate
    assert experiments.backbones(study.changed("", few_seeds=())) == {}
    assert experiments.backbones(study.changed("", backbones={})) == {}
    with refused(ConfigError, "depth: found an unknown field"):
        experiments.backbones(study.changed("", backbones={"gru": {"depth": 2}}))


def test_the_settings_may_name_fewer_points_or_others(root):
    points = {"sizes": (4, 8), "pruning-ratios": (0.5,), "automatic-pruning": ("searched",)}
    points |= {"dials": ("relatedness 0",), "remedies": ("wide",)}
    study = Study(small_study(few_seeds=(1,), points=points))
    variants = {n: {run.variant for run in EXPERIMENTS[n](study)} for n in [*points][:3]}
    assert variants["pruning-ratios"] == {"pr50"}
    assert variants["automatic-pruning"] == {"searched"}
    widths = [f"width {width}{kind}" for width in (4, 8) for kind in ("", " noT2", " unpruned")]
    assert variants["sizes"] == {*widths}
    ((name, point),) = experiments.dials(study).items()
    found = {run.variant for run in experiments.dial_runs(point)}
    assert name == "relatedness 0"
    assert found == {"T2", "noT2", "T2 patient", "T2 wide", "noT2 wide"}
    wrong = study.changed("", points={"dials": ("nois",)})
    with refused(ConfigError, "points of dials: found 'nois', expected relatedness 0 or"):
        experiments.dials(wrong)


def test_the_smoke_profile_has_at_least_two_points_of_every_experiment(root):
    study = load_study("synthetic", "smoke", results="local")
    assert {*study.config.points} <= {*EXPERIMENTS, *experiments.APART, "remedies"}
    assert all(len(points) > 1 for points in study.config.points.values())
    assert experiments.backbones(study)  # beside NextItNet
    assert experiments.growth(study)
    usual = study.changed("", points={})
    for name, experiment in EXPERIMENTS.items():
        found, every = ({run.variant for run in experiment(one)} for one in (study, usual))
        assert len(found) >= min(2, len(every)), name


def test_ratios_are_fixed_or_found_on_few_seeds():
    study = Study(replace(CONFIG, **FEW), STREAM)
    runs = experiments.automatic_pruning(study)
    assert {run.seed for run in runs} == {2, 3}
    settings = {run.variant: run.stages["T2"].config for run in runs}
    fixed = {name: settings[name].pruned("T2")["kernels"] for name in ("50%", "80%")}
    assert fixed == {"50%": 0.5, "80%": 0.8}
    margins = {name: config.margin("T1") for name, config in settings.items()}
    assert margins == {"50%": None, "80%": None, "searched": 0.02}


def test_a_long_stream_is_learned_by_networks_that_grow_or_do_not(root):
    four, tuned = replace(ONCE, l2=0.1), replace(ONCE, l2=0.2)
    train = {**CONFIG.train, "T4.train": four, "T4.finetune": tuned, "T2": replace(ONCE, epochs=9)}
    config = replace(CONFIG, **FEW, train=train, long_stream=5, retrain={"epochs": 1})
    study = Study(config)
    ((name, point),) = experiments.growth(study).items()
    assert (name, point.order) == ("long stream", ("T1", "T2", "T3", "T4", "T5"))
    assert {task.kind for task in point.stream.tasks[1:]} == {"classification"}
    assert point.config.model == experiments.smaller(MODEL)
    assert point.stream["T1"].labels.tolist() == study.stream["T1"].labels.tolist()
    assert [point.config.training(t) for t in ("T1", "T2", "T5")] == [ONCE, four, four]
    assert point.config.training("T2", "finetune") == tuned
    ratios = [point.config.pruned(task)["kernels"] for task in ("T1", "T2", "T5")]
    assert ratios == [0.7, 0.8, 0.8]
    runs = experiments.growth_runs(point)
    grown = {r.variant: r.stages["T5"].config for r in runs if r.method == CONURE}
    rules = {name: (config.grow_below, config.grow_margin) for name, config in grown.items()}
    expected = {"fixed": (0, 0), "growing when full": (0.05, 0)}
    assert rules == expected | {"growing where it helps": (0, 0.01)}
    assert {run.method for run in runs if not run.variant} == {"Popularity", "STL"}
    some = [run for run in runs if run.seed == 2 and run.variant != "growing when full"]
    point.compute(some)
    fixed, helped = (one(some, CONURE, v) for v in ("fixed", "growing where it helps"))
    assert fixed.stages["T1"].id == helped.stages["T1"].id
    for run in (fixed, helped):
        memory = tables.no_forgetting(run)
        assert (len(memory), memory["changed"].any()) == (3 * 10, False)
    assert experiments.growth(study.changed("", few_seeds=())) == {}
