"""Claims on transfer between tasks and on their order: C14, C15, C16 (Tables 3 and 4)."""

from conure_lib.analysis import tables
from conure_lib.analysis.claims.registry import (
    MARGIN,
    NOT_REPRODUCED,
    NOT_TESTED,
    PARTLY,
    REPRODUCED,
    Finding,
    claim,
    from_row,
)
from conure_lib.study.experiments import ORDERS, task_orders, transfer
from conure_lib.study.study import Study

ORDERED = ("T2", "T3", "T6")


@claim(
    "C14",
    "04_transfer",
    "Having learned T2 helps T3, with all training data and with a fifth of the data (p < 0.005).",
    "T3, Conure- after T1 and T2 against right after T1, with all training instances and with 20% of all "
    "instances. REPRODUCED if clearly better in both (Holm over the two); PARTLY if clearly better in one or "
    "ahead in both; else NOT REPRODUCED. Effect: the difference with all training data.",
    "MRR@5",
)
def t2_helps_t3(study: Study) -> Finding:
    """C14 (Table 3): T3 with and without T2 learned before, on all training data and on a fifth."""
    if not {"T2", "T3"} <= set(study.order):
        return Finding(NOT_TESTED)
    runs = transfer(study)
    pairs = [
        (tables.pick(runs, "Conure-", f"T2 {data}"), tables.pick(runs, "Conure-", f"noT2 {data}"))
        for data in ("all", "20%")
    ]
    table = tables.compare(study, pairs, ["T3"])
    ahead = table["effect"] > 0
    clear = ahead & table["clear"]
    verdict = (
        REPRODUCED if clear.all() else PARTLY if clear.any() or ahead.all() else NOT_REPRODUCED
    )
    return from_row(verdict, table.iloc[0])


@claim(
    "C15",
    "05_task_orders",
    "The order of tasks hardly matters.",
    "T2, T3 and T6, Conure in orders 2 and 3 against order 1, mean over tasks of the relative difference. "
    "REPRODUCED if both intervals lie within 5% either way; PARTLY if both means do and no single task "
    "differs clearly (Holm over tasks and orders); else NOT REPRODUCED. Effect: the larger of the two means.",
    "relative",
)
def the_order_hardly_matters(study: Study) -> Finding:
    """C15 (Table 4): Conure in orders 2 and 3 against order 1, over T2, T3 and T6."""
    runs = task_orders(study)
    if not runs:
        return Finding(NOT_TESTED)
    first, *others = (tables.pick(runs, "Conure", name) for name in ORDERS)
    pairs = [(other, first) for other in others]
    table, single = (
        tables.compare_means(study, pairs, ORDERED),
        tables.compare(study, pairs, ORDERED),
    )
    within = (table["low"] > -MARGIN).all() and (table["high"] < MARGIN).all()
    means = (table["effect"].abs() < MARGIN).all() and not single["clear"].any()
    verdict = REPRODUCED if within else PARTLY if means else NOT_REPRODUCED
    return from_row(verdict, table.loc[table["effect"].abs().idxmax()])


@claim(
    "C16",
    "05_task_orders",
    "Life status (T6) is best when learned last; likes (T3) are slightly best when learned last.",
    "T6 of Conure in order 1 against orders 2 and 3, T3 of Conure- in orders 2 and 3 against order 1 (Holm "
    "over the four). REPRODUCED if T6 is clearly better last and T3 ahead last, in both orders; PARTLY if "
    "all four are ahead in the mean; else NOT REPRODUCED. Effect: T6, the smaller of the two differences.",
    "accuracy",
)
def last_is_best(study: Study) -> Finding:
    """C16 (Table 4): T6 and T3 learned last, against the other orders."""
    runs = task_orders(study)
    if not runs:
        return Finding(NOT_TESTED)
    first, *others = (tables.pick(runs, "Conure", name) for name in ORDERS)
    life = [_only(first, "T6"), *(_only(other, "T6") for other in others)]
    first, *others = (tables.pick(runs, "Conure-", name) for name in ORDERS)
    likes = [_only(first, "T3"), *(_only(other, "T3") for other in others)]
    pairs = [(life[0], life[1]), (life[0], life[2]), (likes[1], likes[0]), (likes[2], likes[0])]
    table = tables.compare(study, pairs)
    ahead = table["effect"] > 0
    verdict = PARTLY if ahead.all() else NOT_REPRODUCED
    verdict = REPRODUCED if ahead.all() and table["clear"].iloc[:2].all() else verdict
    return from_row(verdict, table.loc[table["effect"].iloc[:2].idxmin()])


def _only(runs: list, task: str) -> list:
    """The runs with one task's stage alone."""
    return [type(r)(r.method, r.seed, {task: r.stages[task]}, r.variant) for r in runs]
