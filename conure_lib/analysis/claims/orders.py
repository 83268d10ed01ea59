"""Claims on transfer between tasks and on their order: C14, C15, C16 (Tables 3 and 4)."""

from dataclasses import replace
from functools import partial

from conure_lib.analysis import tables
from conure_lib.analysis.claims.registry import MARGIN, Finding, claim, decided
from conure_lib.study.experiments import ORDERS, task_orders, transfer
from conure_lib.study.study import Run, Study

ORDERED = ("T2", "T3", "T6")


@claim("C14", "T2", "T3")
def t2_helps_t3(study: Study) -> Finding:
    """Compare T3 after T1 and T2 with right after T1, on all and on few training data (Table 3)."""
    pick = partial(tables.pick, transfer(study), "Conure-")
    pairs = [(pick(f"T2 {data}"), pick(f"noT2 {data}")) for data in ("all", "20%")]
    table = tables.compare(study, pairs, ["T3"])
    ahead = table["effect"] > 0
    clear = ahead & table["clear"]
    return decided(clear.all(), clear.any() or ahead.all(), table.iloc[0])


@claim("C15", *ORDERED)
def the_order_hardly_matters(study: Study) -> Finding:
    """Compare Conure in orders 2 and 3 with order 1, over T2, T3 and T6 (Table 4)."""
    runs = task_orders(study)
    first, *others = (tables.pick(runs, "Conure", name) for name in ORDERS)
    pairs = [(other, first) for other in others]
    table = tables.compare_means(study, pairs, ORDERED)
    single = tables.compare(study, pairs, ORDERED)
    within = (table["low"] > -MARGIN).all() and (table["high"] < MARGIN).all()
    means = (table["effect"].abs() < MARGIN).all() and not single["clear"].any()
    return decided(within, means, table.loc[table["effect"].abs().idxmax()])


@claim("C16", *ORDERED)
def last_is_best(study: Study) -> Finding:
    """Compare T6 and T3 learned last with the other orders (Table 4)."""
    runs = task_orders(study)
    life = [_only(tables.pick(runs, "Conure", name), "T6") for name in ORDERS]
    likes = [_only(tables.pick(runs, "Conure-", name), "T3") for name in ORDERS]
    pairs = [(life[0], life[1]), (life[0], life[2]), (likes[1], likes[0]), (likes[2], likes[0])]
    table = tables.compare(study, pairs)
    ahead = (table["effect"] > 0).all()
    clear = ahead and table["clear"].iloc[:2].all()
    return decided(clear, ahead, table.loc[table["effect"].iloc[:2].idxmin()])


def _only(runs: list[Run], task: str) -> list[Run]:
    """Return the runs with the stage of one task alone."""
    return [replace(run, stages={task: run.stages[task]}) for run in runs]
