"""The paper's experiments: which runs each of them consists of. Equal stages are shared."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from conure_lib.config import ModelConfig
from conure_lib.data.stream import TRAIN
from conure_lib.methods import COMPARED, CONTINUAL, FLOORS, METHODS
from conure_lib.methods.method import Step
from conure_lib.study.profiles import demand_known
from conure_lib.study.study import Run, Study

CONURE = ("Conure-", "Conure")
SHOWN_RATIOS = (0.3, 0.5, 0.7)  # Fig. 3, which has 0 here as well: unpruned and retrained
RATIOS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)  # Fig. 7 shows 0.5, 0.8, 0.95
COMMON_RATE = 0.001  # at which speeds are compared: each method's own rate would decide
FIXED_RATIOS, MARGIN = (0.5, 0.8), 0.02  # the paper suggests to search between these two
WIDTHS = (32, 64, 128)  # the paper's 256 takes longer than all else: see docs/paper-scale.md
FEW_BLOCKS = 4  # of 20: 20% of all instances
UP_TO_T3, NO_T2 = ("T1", "T2", "T3"), ("T1", "T3")
EMBEDDING_RATIOS = {"T1": 0.3, "T2": 0.8, "T3": 0.8, "*": 0.8}  # Table 5
ORDERS = {"Order1": (), "Order2": ("T1", "T2", "T6", "T3"), "Order3": ("T1", "T6", "T2", "T3")}


def percent(ratio: float) -> str:
    """Return a pruning ratio as the paper writes it: 0.7 is "pr70"."""
    return f"pr{round(100 * ratio)}"


def points_of(study: Study, experiment: str, usual: Iterable) -> tuple:
    """Return the points at which an experiment varies something, or those of the settings.

    Of points with names these have to be among the usual ones.
    """
    usual = tuple(usual)
    points = study.config.points.get(experiment, usual)
    for name in (name for name in points if isinstance(name, str)):
        demand_known(f"points of {experiment}", name, usual)
    return points


def baselines(study: Study) -> list[Run]:
    """Return the runs of Table 2, Fig. 2 and Fig. 6: every compared method on every task."""
    return study.runs(study.config.methods or COMPARED)


def continual_learners(study: Study) -> list[Run]:
    """Return the runs that go on with one network: what becomes of each task as others follow."""
    return study.runs(points_of(study, "continual-learners", CONTINUAL))


def unpruned(study: Study, tasks: Iterable[str] = (), variant: str = "unpruned") -> list[Run]:
    """Return Conure's runs with each task (or some) unpruned: what retraining alone brings."""
    prune = study.config.prune
    studies = {t: study.changed(variant, prune={**prune, t: 0.0}) for t in tasks or study.order}
    return composed(["Conure"], studies)


def composed(methods: Iterable[str], studies: dict[str, Study]) -> list[Run]:
    """Return a run per method and seed that takes the stage of each task from a study of its own.

    The tasks before it are those of that study, too. The variant's name is that of the first study.
    """
    first, runs = next(iter(studies.values())), []
    for run in first.runs(methods):
        own = {t: one.run(run.method, run.seed).stages[t] for t, one in studies.items()}
        runs.append(replace(run, stages=own))
    return runs


def overparameterization(study: Study) -> list[Run]:
    """Return the runs of Fig. 3: T1 in variants "normal pr0", "normal pr30", "small pr30", ..."""
    runs, first = [], study.order[:1]
    for name, model in (("normal", study.config.model), ("small", smaller(study.config.model))):
        for ratio in (0.0, *SHOWN_RATIOS):
            prune = {**study.config.prune, first[0]: ratio}
            one = study.changed(f"{name} {percent(ratio)}", model=model, prune=prune)
            methods = ["Conure-", *(["Conure, not retrained"] if ratio else [])]
            methods += ["Conure"] if ratio in (0.0, SHOWN_RATIOS[-1]) else []
            runs += one.runs(methods, first)
    return runs


def smaller(model: ModelConfig) -> ModelConfig:
    """Return a network of half the width and, if they see as far, half the blocks (Fig. 3 b)."""
    half = model.resized(max(1, model.blocks // 2))
    sees_as_far = max(half.dilations) == max(model.dilations)
    return replace(half if sees_as_far else model, width=max(1, model.width // 2))


def transfer(study: Study) -> list[Run]:
    """Return the runs of Table 3: T3 in variants "T2 all", "noT2 all", "T2 20%" and "noT2 20%".

    In each beside Conure's a linear floor with or without T2: how much there is to hand on.
    """
    runs, few = [], dict(study.config.train)
    share = FEW_BLOCKS / np.count_nonzero(study.stream["T3"].parts == TRAIN)  # of the training part
    for method in ("Conure-", "Linear", "Linear + T2"):
        action = METHODS[method].recipe(study.order)["T3"].action
        few[f"T3.{action}"] = replace(study.config.training("T3", action), share=share)
    for data, train in (("all", study.config.train), ("20%", few)):
        for name, order, floor in (("T2", UP_TO_T3, "Linear + T2"), ("noT2", NO_T2, "Linear")):
            one = study.changed(f"{name} {data}", train=train)
            runs += [*one.runs(CONURE, order), *only("T3", one.runs([floor]))]
    return runs


def only(task: str, runs: Iterable[Run]) -> list[Run]:
    """Return runs whose results are those of one task."""
    return [replace(run, stages={task: run.stages[task]}) for run in runs]


def paper_loss(study: Study) -> list[Run]:
    """Return the runs with the paper's loss of ranking tasks: variants "BPR" and "BPR noT2"."""
    train = dict(study.config.train)
    for task in (task for task in UP_TO_T3 if study.stream[task].kind == "ranking"):
        searched = study.config.bpr.get(task, study.config.training(task))
        train[f"{task}.train"] = replace(searched, loss="bpr")
    bpr = study.changed("BPR", train=train)
    return bpr.runs(CONURE, UP_TO_T3) + bpr.changed("BPR noT2").runs(CONURE, NO_T2)


def convergence(study: Study) -> list[Run]:
    """Return the runs of Fig. 6 at one learning rate for all methods: variant "common rate"."""
    methods, studies = ("SinMo", "STL", "PeterRec", "Conure-"), {}
    for task in ("T2", "T3"):
        train = dict(study.config.train)
        for action in (METHODS[method].recipe(study.order)[task].action for method in methods):
            own = study.config.training(task, action)
            train[f"{task}.{action}"] = replace(own, learning_rate=COMMON_RATE)
        studies[task] = study.changed("common rate", train=train)
    return composed(methods, studies)


def sizes(study: Study) -> list[Run]:
    """Return runs of networks from narrow to wide, on the few seeds.

    Variants "width 32" and so on, each also with " noT2" (T3 right after T1) and " unpruned".
    """
    runs, one = [], few(study)
    for width in points_of(study, "sizes", WIDTHS) if one else ():
        name, model = f"width {width}", replace(study.config.model, width=width)
        sized = one.changed(name, model=model)
        runs += sized.runs((*CONURE, "STL", "PeterRec"), UP_TO_T3)
        runs += sized.changed(f"{name} noT2").runs(CONURE, NO_T2)
        runs += unpruned(sized, ("T2", "T3"), f"{name} unpruned")
    return runs


def task_orders(study: Study) -> list[Run]:
    """Return the runs of Table 4, with variants "Order1" to "Order3"; none without T3 or T6."""
    orders = ORDERS if {"T3", "T6"} <= set(study.order) else {}
    return [r for name, order in orders.items() for r in study.changed(name).runs(CONURE, order)]


def pruning_ratios(study: Study) -> list[Run]:
    """Return the runs of Fig. 7: of T2 or of T6 alone, in variants "pr10" and so on."""
    runs = []
    for task in (task for task in ("T2", "T6") if task in study.order):
        order = study.order[: study.order.index(task) + 1]
        for ratio in points_of(study, "pruning-ratios", RATIOS):
            one = study.changed(percent(ratio), prune={**study.config.prune, task: ratio})
            runs += only(task, one.runs((*CONURE, "Conure, not retrained"), order))
    return runs


def embedding_pruning(study: Study) -> list[Run]:
    """Return the runs of Table 5, with variants "kernels" and "kernels and embedding"."""
    both = study.changed("kernels and embedding", prune_embedding=EMBEDDING_RATIOS)
    return study.changed("kernels").runs(CONURE, UP_TO_T3) + both.runs(CONURE, UP_TO_T3)


def automatic_pruning(study: Study) -> list[Run]:
    """Return Conure's runs with one pruning ratio for all tasks, and with ratios that it searches.

    Variants "50%", "80%" and "searched"; generated data, on the few seeds.
    """
    one, changes = few(study), {f"{r:.0%}": {"prune": {"*": r}} for r in FIXED_RATIOS}
    changes |= {"searched": {"prune_margin": {"*": MARGIN}}}
    asked = points_of(study, "automatic-pruning", changes) if one and is_generated(study) else ()
    return [run for name in asked for run in one.changed(name, **changes[name]).runs(["Conure"])]


def few(study: Study) -> Study | None:
    """Return the study on the few seeds of its settings; None without any."""
    seeds = tuple(seed for seed in study.config.seeds if seed in study.config.few_seeds)
    return study.changed(study.variant, seeds=seeds) if seeds else None


def is_generated(study: Study) -> bool:
    """Return whether the truth of the study's data is known."""
    return study.config.data.dataset == "synthetic"


_ARGUED = (baselines, overparameterization, unpruned, convergence, transfer, paper_loss)
_ARGUED += (task_orders, pruning_ratios, embedding_pruning, sizes, continual_learners)
_ARGUED += (automatic_pruning,)
EXPERIMENTS: dict[str, Callable[[Study], list[Run]]] = {
    experiment.__name__.replace("_", "-"): experiment for experiment in _ARGUED
}
"""By name, in the order of the notebooks that argue with them."""

_RELATED = {f"relatedness {r:g}": {"relatedness": r} for r in (0.0, 0.25, 0.5, 0.75, 1.0)}
_OPPOSED = {f"contradiction {r:g}": {"relatedness": r, "contradiction": True} for r in (0.5, 1.0)}
_NOISE = dict.fromkeys(("structure", "taste", "signal", "profile_signal"), 0.0)
_DIALS = {**_RELATED, **_OPPOSED, "noise": _NOISE}
AGAINST_NOISE = ("Popularity", "STL", "Conure")
AGAIN = (*FLOORS, "STL", "PeterRec", *CONURE)  # what C24 needs with other networks
FULL, HELPS = 0.05, 0.01  # free share of the weights; share of the validation value
ALWAYS, LITTLE_KEPT = 0.95, 0.95  # free share that none exceeds; pruning ratio
REMEDIED = ("relatedness 0",)  # where T2 is of no use to T3
PATIENT = 3  # times the usual patience: whether what T2 does to T3 depends on when training stops


def dials(study: Study) -> dict[str, Study]:
    """Return studies of synthetic data whose truth is known, one per setting of the generator."""
    names = points_of(study, "dials", _DIALS) if is_generated(study) else ()
    return {name: generated(study, name, **_DIALS[name]) for name in names}


def generated(study: Study, variant: str, **options: object) -> Study:
    """Return the study on the same dataset with other options."""
    data = study.config.data
    config = replace(study.config, data=replace(data, options={**data.options, **options}))
    return Study(config, store=study.store).changed(variant)


def dial_runs(point: Study) -> list[Run]:
    """Return the runs of one of ``dials``: T3 after T2 and after T1 (variants "T2" and "noT2").

    Floors as in ``transfer``; in the variant "T2 patient" T3 is trained for longer. On the few
    seeds other methods as well, and where T2 is of no use what might help: "T2 wide", "T2 grown",
    "T2 keeps less", and the same without T2.
    """
    if point.variant == "noise":
        return point.runs(AGAINST_NOISE)
    config, usual = point.config, point.config.training("T3")
    longer = replace(usual, patience=PATIENT * usual.patience, epochs=PATIENT * usual.epochs)
    remedies = {
        "patient": {"train": {**config.train, "T3.train": longer}},
        "wide": {"model": replace(config.model, width=2 * config.model.width)},
        "grown": {"grow_below": ALWAYS},
        "keeps less": {"prune": {**config.prune, "T2": LITTLE_KEPT}},
    }
    with_t2, without = point.changed("T2"), point.changed("noT2")
    runs = with_t2.runs(["Conure-"], UP_TO_T3) + only("T3", with_t2.runs(["Linear + T2"]))
    runs += without.runs(["Conure-", "STL", "Popularity"], NO_T2)
    runs += only("T3", without.runs(["Linear"]))
    runs += point.changed("T2 patient", **remedies["patient"]).runs(["Conure-"], UP_TO_T3)
    if not (one := few(point)):
        return runs
    runs += one.changed("T2").runs(["EWC"], UP_TO_T3)
    runs += one.changed("noT2").runs(["EWC", "PeterRec"], NO_T2)
    for name in points_of(point, "remedies", remedies) if point.variant in REMEDIED else ():
        for history, order in (("T2", UP_TO_T3), ("noT2", NO_T2)):
            if (variant := f"{history} {name}") != "T2 patient":  # which is there
                runs += one.changed(variant, **remedies[name]).runs(["Conure-"], order)
    return runs


def backbones(study: Study) -> dict[str, Study]:
    """Return a study for each network that the settings put in NextItNet's place (section 3.2).

    T1's rate and depth are those searched for it; everything else is as searched for NextItNet.
    """
    first, one = Step("train", study.order[0]), few(study)
    asked = study.config.backbones.items() if one else ()
    return {n: one.with_settings(first, backbone=n, methods=AGAIN, **own) for n, own in asked}


def backbone_runs(point: Study) -> list[Run]:
    """Return the runs that C04, C08, C09, C11, C13 and C14 compare (C24)."""
    pruned = [run for run in overparameterization(point) if run.variant == "normal pr70"]
    with_t2 = [run for run in transfer(point) if run.method == "Conure-"]
    return [*baselines(point), *pruned, *unpruned(point), *with_t2]


def growth(study: Study) -> dict[str, Study]:
    """Return the study of a long generated stream and a small network, which is full before long.

    All later tasks take the settings of T4.
    """
    if not (one := few(study)) or not is_generated(study):
        return {}
    config, long = study.config, generated(one, "", splits=study.config.long_stream - 1)
    train = {"T1": config.training("T1"), "*": config.training("T4")}
    tuned = config.training("T4", "finetune")
    train |= {f"{task}.finetune": tuned for task in long.order[1:]}
    prune = {"T1": config.pruned("T1")["kernels"], "*": config.pruned("T4")["kernels"]}
    small = smaller(config.model)
    return {"long stream": long.changed("", model=small, train=train, prune=prune)}


def growth_runs(point: Study) -> list[Run]:
    """Return Conure's runs in variants "fixed", "growing when full" and "growing where it helps".

    Beside them fine-tuning, which has a whole network for each task.
    """
    runs = [*point.runs(["Popularity", "STL"]), *point.changed("fixed").runs(["Conure"])]
    runs += point.changed("growing when full", grow_below=FULL).runs(["Conure"])
    return runs + point.changed("growing where it helps", grow_margin=HELPS).runs(["Conure"])


APART: dict[str, tuple[Callable[[Study], dict[str, Study]], Callable[[Study], list[Run]]]] = {
    "dials": (dials, dial_runs),
    "backbones": (backbones, backbone_runs),
    "growth": (growth, growth_runs),
}
"""Experiments in studies of their own, by name: these studies, and the runs of each of them."""


def own_runs(study: Study) -> list[Run]:
    """Return the runs of ``EXPERIMENTS``, each of them once."""
    found = (run for experiment in EXPERIMENTS.values() for run in experiment(study))
    return list({(run.variant, run.id): run for run in found}.values())


def all_runs(study: Study) -> list[tuple[Study, list[Run]]]:
    """Return the runs of ``EXPERIMENTS``, then of ``APART``, with the study that computes them."""
    apart = [(one, runs(one)) for points, runs in APART.values() for one in points(study).values()]
    return [(study, own_runs(study)), *apart]
