"""The paper's experiments beside Table 2: which runs each of them consists of. Equal stages are shared."""

from collections.abc import Callable
from dataclasses import replace

from conure_lib.config import ModelConfig
from conure_lib.methods import COMPARED
from conure_lib.study.profiles import EMBEDDING_RATIOS
from conure_lib.study.study import Run, Study

CONURE = ("Conure-", "Conure")
SHOWN_RATIOS = (0.3, 0.5, 0.7)  # Fig. 3
RATIOS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)  # Fig. 7 shows 0.5, 0.8, 0.95
FEW = 0.25  # of the training part (80% of all instances): 20% of all
ORDERS = {"Order1": (), "Order2": ("T1", "T2", "T6", "T3"), "Order3": ("T1", "T6", "T2", "T3")}


def percent(ratio: float) -> str:
    """A pruning ratio as the paper writes it: 0.7 is "pr70"."""
    return f"pr{round(100 * ratio)}"


def baselines(study: Study) -> list[Run]:
    """Table 2, Fig. 2 and Fig. 6: every method on every task."""
    return study.runs(COMPARED)


def overparameterization(study: Study) -> list[Run]:
    """Fig. 3: T1 as trained ("Conure-"), pruned by several ratios, and retrained after the highest.

    Variants are "normal pr30" and so on; "small" is a network of half the width and half the blocks.
    """
    runs, first = [], study.order[:1]
    for name, model in (("normal", study.config.model), ("small", smaller(study.config.model))):
        for ratio in SHOWN_RATIOS:
            prune = {**study.config.prune, first[0]: ratio}
            one = study.changed(f"{name} {percent(ratio)}", model=model, prune=prune)
            last = ("Conure",) if ratio == SHOWN_RATIOS[-1] else ()
            runs += one.runs(("Conure-", "Conure, not retrained", *last), first)
    return runs


def smaller(model: ModelConfig) -> ModelConfig:
    """A network of half the width and half the blocks (Fig. 3 b)."""
    blocks = max(1, len(model.dilations) // 2)
    return replace(model, width=max(1, model.width // 2), dilations=model.dilations[:blocks])


def transfer(study: Study) -> list[Run]:
    """Table 3: T3 after T1 and T2, and right after T1 ("noT2"), on all its training data and on a few."""
    few = {**study.config.train, "T3.train": replace(study.config.training("T3"), share=FEW)}
    runs = []
    for data, train in (("all", study.config.train), ("20%", few)):
        runs += study.changed(f"T2 {data}", train=train).runs(CONURE, ("T1", "T2", "T3"))
        runs += study.changed(f"noT2 {data}", train=train).runs(CONURE, ("T1", "T3"))
    return runs


def task_orders(study: Study) -> list[Run]:
    """Table 4: the order of tasks; none for a stream without T6."""
    if not set(ORDERS["Order2"]) <= set(study.order):
        return []
    return [
        run
        for name, order in ORDERS.items()
        for run in study.changed(name).runs(CONURE, order or study.order)
    ]


def pruning_ratios(study: Study) -> list[Run]:
    """Fig. 7: T2 and T6, each pruned by many ratios after the same training; earlier tasks as in the study."""
    runs = []
    for task in (task for task in ("T2", "T6") if task in study.order):
        for ratio in RATIOS:
            one = study.changed(percent(ratio), prune={**study.config.prune, task: ratio})
            for run in one.runs(
                (*CONURE, "Conure, not retrained"), study.order[: study.order.index(task) + 1]
            ):
                runs.append(replace(run, stages={task: run.stages[task]}))
    return runs


def embedding_pruning(study: Study) -> list[Run]:
    """Table 5: T1 to T3 with the kernels pruned and retrained alone, and together with the embedding."""
    order = ("T1", "T2", "T3")
    both = study.changed("kernels and embedding", prune_embedding=EMBEDDING_RATIOS)
    return study.changed("kernels").runs(CONURE, order) + both.runs(CONURE, order)


EXPERIMENTS: dict[str, Callable[[Study], list[Run]]] = {
    "baselines": baselines,
    "overparameterization": overparameterization,
    "transfer": transfer,
    "task-orders": task_orders,
    "pruning-ratios": pruning_ratios,
    "embedding-pruning": embedding_pruning,
}
"""By name, in the order of the notebooks that argue with them."""

_DIALS = {f"relatedness {share:g}": {"relatedness": share} for share in (0.0, 0.25, 0.5, 0.75, 1.0)}
_DIALS |= {"contradiction": {"contradiction": True}}
_DIALS |= {"noise": dict.fromkeys(("structure", "taste", "signal", "profile_signal"), 0.0)}
AGAINST_NOISE = ("Popularity", "STL", "Conure")


def dials(study: Study) -> dict[str, Study]:
    """Worlds whose truth is known: a synthetic study on a stream of its own per setting of a dial.

    How related clicks (T2) and likes (T3) are, likes that contradict clicks, and pure noise. Raises DataError
    for another dataset.
    """
    points = {}
    for name, dial in _DIALS.items():
        data = replace(study.config.data, options={**study.config.data.options, **dial})
        points[name] = Study(replace(study.config, data=data), store=study.store)
        points[name].variant = name
    return points


def dial_runs(points: dict[str, Study]) -> list[Run]:
    """What is asked of each world: T3 after T1 and T2 ("T2 <world>"), right after T1, and by popularity ("noT2
    <world>"); of noise, whether anything is learned. Each world's runs are computed on its own stream."""
    runs = []
    for name, point in points.items():
        if name == "noise":
            runs += point.runs(AGAINST_NOISE)
            continue
        runs += point.changed(f"T2 {name}").runs(["Conure-"], ("T1", "T2", "T3"))
        runs += point.changed(f"noT2 {name}").runs(["Conure-", "Popularity"], ("T1", "T3"))
    return runs
