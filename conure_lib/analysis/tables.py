"""Tidy tables of results: scores of all seeds' folds, intervals over users, paired comparisons.

A measure is a task ("T2": filtered, without the labels that the user is known to have),
"T2-literal" (all labels compete), "T1-all" (T1 at all positions instead of the last), or "T1-after"
(what later tasks have left of it: of STL after T2, of one network for all tasks after the last).
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress

import numpy as np
import pandas as pd

from conure_lib import paths
from conure_lib.analysis import stats
from conure_lib.data.stream import FOLD_SEEDS, PAD, TEST
from conure_lib.methods import METHODS
from conure_lib.pipeline.stage import Stage, with_ancestors
from conure_lib.study.study import Run, Study
from conure_lib.training.evaluation import METRICS, metric_name, scores_of

ALPHA = 0.05
Pairs = list[tuple[list[Run], list[Run]]]


def paper_table(number: int) -> pd.DataFrame:
    """Return a table of the paper as text and numbers; ``?`` marks a digit that the scan lost."""
    (path,) = (paths.NOTEBOOKS.parent / "results" / "paper").glob(f"table{number}_*.csv")
    return pd.read_csv(path)


def pick(runs: Iterable[Run], method: str, variant: str | None = None) -> list[Run]:
    """Return the runs of a method (and of a variant), one per seed; KeyError if there are none."""
    found = [r for r in runs if r.method == method and variant in (None, r.variant)]
    if not found:
        raise KeyError(f"no run of {method!r}, variant {variant!r}")
    return found


def lineage(run: Run) -> list[Stage]:
    """Return every stage that the run's results need, once, in the order of training."""
    return with_ancestors(run.stages.values())


def task_of(measure: str) -> str:
    """Return the task that a measure is of."""
    return measure.partition("-")[0]


def instances(
    study: Study, runs: Iterable[Run], measure: str, metric: str = METRICS[0]
) -> pd.DataFrame:
    """Return seed, user and score of every test instance: each seed tests a fold of its own."""
    frames = []
    for run in runs:
        stream = study.stream.fold(run.seed)
        task = stream[task_of(measure)]
        rows, times = task.rows(TEST), 1
        if "-all" in measure:
            times = (stream.sequences[rows, :-1] != PAD).sum(1)
        score = scores_of(task.kind, _stage_of(run, measure).ranks(measure), metric)
        users = np.repeat(task.users[rows], times)
        frames.append(pd.DataFrame({"seed": run.seed, "user": users, "score": score}))
    return pd.concat(frames, ignore_index=True)


def scores(study: Study, runs: list[Run], measure: str, metric: str = METRICS[0]) -> np.ndarray:
    """Return the metric per test instance, seed after seed."""
    return instances(study, runs, measure, metric)["score"].to_numpy()


def test_users(study: Study, runs: list[Run], measure: str) -> np.ndarray:
    """Return the users of the instances of ``scores``."""
    return instances(study, runs, measure)["user"].to_numpy()


def overall(
    study: Study,
    runs: Iterable[Run],
    measures: Iterable[str] | None = None,
    metric: str = METRICS[0],
) -> pd.DataFrame:
    """Return the cells of Table 2: the mean over all test instances of the runs' seeds.

    One row per method, variant and measure (its tasks unless given) that it has; the 95% interval
    of ``value`` is over users.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.method, run.variant), []).append(run)
    rows = []
    for (method, variant), group in groups.items():
        head = {"dataset": study.stream.name, "method": method, "variant": variant}
        ids = {"seeds": len(group), "run_ids": " ".join(run.id for run in group)}
        for measure in measures or group[0].stages:
            if task_of(measure) in group[0].stages:
                pooled = instances(study, group, measure, metric)
                e = stats.estimate(pooled["score"], pooled["user"])
                unit = metric_name(study.stream[task_of(measure)].kind, metric)
                row = {"task": measure, "metric": unit, "value": e.mean, "low": e.low}
                row |= {"high": e.high, "n": e.n, "users": e.users}
                rows.append(head | row | ids)
    return pd.DataFrame(rows)


def side_by_side(table: pd.DataFrame, against: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return ``overall`` as text: one row per method, one column per task, with intervals.

    against: ``floors`` of the same study: how far the best of the paper's methods is from each.
    """
    cells, heads = {}, {}
    for r in table.fillna({"variant": ""}).itertuples():
        heads[r.task] = f"{r.task} ({r.metric}, n = {r.n:,})"
        cell = stats.with_interval(r.value, r.low, r.high)
        cells.setdefault(_name(r), {})[heads[r.task]] = cell
    for r in against.itertuples() if against is not None else ():
        cell = stats.with_interval(r.relative, r.relative_low, r.relative_high, "relative")
        cell += "" if r.clear else " (not clear)"
        if r.task in heads:
            row = f"best of the paper's methods against {r.theirs}"
            cells.setdefault(row, {})[heads[r.task]] = cell
    return pd.DataFrame.from_dict(cells, orient="index").rename_axis("method").fillna("")


def compare(study: Study, pairs: Pairs, measures: Iterable[str]) -> pd.DataFrame:
    """Return paired differences ours - theirs over the same test instances.

    One row per pair (the runs of two methods, with the same seeds) and measure: ``effect``, and
    ``relative``, to the mean of theirs (``reference``), each with a 95% interval that covers that
    over users, clustered over the pooled instances of all seeds, and that over seeds. ``p`` is over
    users, ``p_holm`` corrected over all rows, ``p_plain`` the paper's test over instances,
    ``p_seeds`` that over the means of seeds; ``value`` is of ours.
    """
    rows = []
    for ours, theirs in pairs:
        for measure in measures:
            mine, other, users, *by_seed = _paired(study, ours, theirs, measure)
            effect, of_seeds = stats.estimate(mine - other, users), stats.over_seeds(by_seed[0])
            unit = metric_name(study.stream[task_of(measure)].kind)
            row = _row(ours, theirs, measure, unit, effect, of_seeds)
            ratio = of_ratios = stats.Estimate(np.nan)
            if other.any():
                ratio = stats.mean_relative_effect([(mine, other, users)])
                of_ratios = stats.relative_over_seeds([by_seed])
            ends = stats.wider(ratio, of_ratios)
            row |= {"p_plain": stats.over_seeds(mine - other).p, "relative": ratio.mean}
            row |= {"relative_low": ends["low"], "relative_high": ends["high"]}
            rows.append(row | {"value": mine.mean(), "reference": other.mean()})
    return family(rows)


def mean_effect(study: Study, ours: list[Run], theirs: list[Run], tasks: list[str]) -> dict:
    """Return the mean over tasks of relative differences: a row of ``compare`` for ``family``."""
    parts = [_paired(study, ours, theirs, task) for task in tasks]
    effect = stats.mean_relative_effect(part[:3] for part in parts)
    of_seeds = stats.relative_over_seeds(part[3:] for part in parts)
    return _row(ours, theirs, " ".join(tasks), "relative", effect, of_seeds)


BY_METRIC = (("SinMo", "STL"), ("STL", "FineSmax"), ("Conure", "STL"), ("Conure-", "STL"))
BY_METRIC += (("PeterRec", "STL"), ("MTL", "SinMo"))


def by_metric(study: Study) -> pd.DataFrame:
    """Return ``BY_METRIC`` on the ranking tasks by both readings of MRR@5, a row each.

    "filtered" (without known labels) is what verdicts rest on, "literal" (all labels compete) the
    paper's own. Effects are relative, as in ``compare``; none where a method has a score of 0.
    """
    ranking = [task.name for task in study.stream.tasks if task.kind == "ranking"]
    readings = {"filtered": "", "literal": "-literal"}
    names, rows = {*(study.config.methods or METHODS)}, []
    for ours, theirs in (pair for pair in BY_METRIC if {*pair} <= names):
        both = study.runs([ours]), study.runs([theirs])
        for reading, suffix in readings.items():
            with suppress(ZeroDivisionError):
                e = mean_effect(study, *both, [task + suffix for task in ranking])
                numbers = {name: e[name] for name in ("effect", "low", "high", "n")}
                rows.append({"ours": ours, "theirs": theirs, "reading": reading} | numbers)
    return pd.DataFrame(rows, columns=["ours", "theirs", "reading", "effect", "low", "high", "n"])


def both_readings(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``by_metric`` as text: one row per pair, one column per reading."""
    cells = {}
    for r in table.itertuples():
        cell = stats.with_interval(r.effect, r.low, r.high, "relative")
        cells.setdefault(f"{r.ours} against {r.theirs}", {})[r.reading] = cell
    return pd.DataFrame.from_dict(cells, orient="index").rename_axis("compared").fillna("")


def turned(table: pd.DataFrame) -> str:
    """Return of which pairs of ``by_metric`` the reading turns the sign, or decides what is clear.

    Clear: the interval leaves 0 out.
    """
    pairs, found = table["ours"] + " against " + table["theirs"], []
    for ends in (["effect", "effect"], ["low", "high"]):
        found.append(
            np.sign(table[ends]).sum(axis=1).groupby(pairs, sort=False).agg(["min", "max"])
        )
    opposed = [(one["min"] == -2) & (one["max"] == 2) for one in found]
    once = (found[1].abs().max(axis=1) == 2) & (found[1].abs().min(axis=1) < 2)
    texts = (", ".join(rows.index[rows]) or "none" for rows in (*opposed, once))
    said = "the reading turns the sign of: {}; clearly by both: {}; clear by one reading alone: {}"
    return said.format(*texts)


def family(rows: list[dict]) -> pd.DataFrame:
    """Return comparisons as one family of tests: with Holm's p values, and whether clear."""
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", stats.holm(table["p"]))
    return table.assign(clear=is_clear(table["p_holm"], table["p_seeds"]))


def forest(study: Study, pairs: Iterable[tuple[str, str]], tasks: Iterable[str]) -> pd.DataFrame:
    """Return ``compare`` of methods by name, with the paper's Table 2 in columns TTL and ML."""
    table = compare(study, [tuple(study.runs([name]) for name in pair) for pair in pairs], tasks)
    paper = paper_table(2).drop(columns="n_backbones").melt(["dataset", "method"], var_name="task")
    paper["value"] = paper["value"].astype(str).str.rstrip("?").astype(float)
    paper = paper.pivot(index=["method", "task"], columns="dataset", values="value")
    ours, theirs = (
        paper.reindex(pd.MultiIndex.from_frame(table[[side, "task"]])).set_axis(table.index)
        for side in ("ours", "theirs")
    )
    return table.join(ours / theirs - 1)


def seed_effects(study: Study, pairs: Pairs, measures: Iterable[str]) -> pd.DataFrame:
    """Return the differences of single seeds, ``relative`` to the mean of theirs over all seeds."""
    rows = []
    for ours, theirs in pairs:
        for measure in measures:
            _, other, _, of_seeds, _ = _paired(study, ours, theirs, measure)
            head = {"ours": _name(ours[0]), "theirs": _name(theirs[0]), "task": measure}
            relative = of_seeds / (other.mean() or np.nan)
            rows += [head | {"seed": seed, "relative": x} for seed, x in relative.items()]
    return pd.DataFrame(rows)


def is_clear(p_holm: float | pd.Series, p_seeds: float | pd.Series) -> bool | pd.Series:
    """Return whether p < 0.05 over users, corrected, and over seeds; of a single one it is nan."""
    return np.less(p_holm, ALPHA) & np.less(p_seeds, ALPHA)


def no_forgetting(run: Run) -> pd.DataFrame:
    """Return one row per stage of a run of Conure (``after``) and task that was finished before.

    It ``changed`` if its visible weights are not bit by bit those that it was finished with, or if
    its logits before and after the stage differ within one process.
    """
    rows, finished = [], {}
    for stage in lineage(run):
        for task, memory in stage.record()["notes"].get("memory", {}).items():
            if task not in finished:
                finished[task] = memory["weights_sha256"]
                continue
            changed = memory["weights_sha256"] != finished[task]
            changed |= memory["logits_sha256"] != memory["logits_before_sha256"]
            head = {"after": f"{stage.step.task} {stage.step.action}", "task": task, **memory}
            rows.append(head | {"changed": changed, "stage_id": stage.id})
    columns = ["after", "task", "weights_sha256", "logits_sha256", "logits_before_sha256"]
    return pd.DataFrame(rows, columns=[*columns, "changed", "stage_id"])


def capacity(run: Run) -> pd.DataFrame:
    """Return ``weights`` and ``share`` of each ``owner`` (task, or "free") after the last task."""
    owned = pd.DataFrame(run.last.record()["notes"]["owned"])
    table = owned.groupby("owner", sort=False)["weights"].sum().reset_index()
    return table.assign(share=table["weights"] / table["weights"].sum())


def best_validation(stage: Stage) -> float:
    """Return the best validation value of a training; nan of a stage that trains nothing."""
    trained = (point["validation"] for point in stage.record()["curve"] if point["epoch"])
    return max(trained, default=np.nan)


def epochs_until(stage: Stage, best: float, share: float = 1.0) -> float:
    """Return after how many epochs a training first reached a share of a best validation value.

    inf if never; of a value below 0 (minus cross-entropy) a share of 95% is 1/95% of it.
    """
    bar, curve = best * share if best > 0 else best / share, stage.record()["curve"]
    return min((p["epoch"] for p in curve if p["validation"] >= bar), default=np.inf)


def epochs_to_reach(ours: list[Run], theirs: list[Run], task: str, share: float) -> pd.Series:
    """Return by seed after how many epochs ours reach a share of the best validation of theirs."""
    pairs = [
        (one.stages[task], other.stages[task]) for one, other in zip(ours, theirs, strict=True)
    ]
    found = [epochs_until(one, best_validation(other), share) for one, other in pairs]
    return pd.Series(found, [f"seed {run.seed}" for run in ours])


def curves(runs: Iterable[Run]) -> pd.DataFrame:
    """Return learning curves on validation data: one row per run, task and epoch (0: untrained).

    ``of_best``: the validation value as a share of the best that the training reached.
    """
    rows = []
    for run in runs:
        for task, stage in run.stages.items():
            metrics = {row["measure"]: row["metric"] for row in stage.record()["metrics"]}
            unit = "minus cross-entropy" if metrics[task] == "accuracy" else metrics[task]
            head = {"method": run.method, "variant": run.variant, "seed": run.seed, "task": task}
            head |= {"metric": unit, "stage_id": stage.id}
            best = best_validation(stage) or np.nan  # of next to no data
            points = stage.record()["curve"]
            rows += [head | point | {"of_best": point["validation"] / best} for point in points]
    return pd.DataFrame(rows)


HIDDEN = {"run_ids", "run_id", "stage_id", "rule", "unit", "effect_verdict"}
ENDS = ("low", "high", "ci_low", "ci_high")  # of a table's effect, or else of its value
IN_UNIT = ("value", "effect", "relative", "paper", "smallest", "detectable")
NAMES = {
    "value": "value [95% interval]",
    "effect": "difference [95% interval]",
    "relative": "relative difference [95% interval]",
    "p": "p (users)",
    "p_holm": "p (users, Holm)",
    "p_corrected": "p (users, Holm)",
    "p_plain": "p (instances, as in the paper)",
    "p_seeds": "p (seeds)",
    "p_ledger": "p (users, Benjamini-Hochberg)",
    "seeds": f"seeds of {len(FOLD_SEEDS)}",
    "paper": "the paper's",
    "smallest": "smallest of interest",
    "detectable": "smallest that would show",
    "by_construction": "true by construction",
    "backbones": "backbones stored",
    "trained_first": "parameters trained for T1",
    "trained_later": "parameters trained for later tasks",
    "stored": "parameters stored",
}


def show(
    table: pd.DataFrame, columns: Mapping[str, str] | None = None, percent: Iterable[str] = ()
) -> pd.DataFrame:
    """Return a table as text for a reader, without ids and columns that say nothing.

    columns: names beside ``NAMES``. percent: columns in per cent beside "share" and "relative".
    """
    pd.set_option("display.max_colwidth", None)  # a notebook would cut reasons short
    hidden = HIDDEN.union(ENDS, (n for n in table if str(n).endswith(("_sha256", "_low", "_high"))))
    hidden |= {n for n in ("dataset", "profile") if n in table and table[n].nunique() == 1}
    hidden |= {n for n in ("by_construction",) if n in table and not table[n].any()}
    main, shown = "effect" if "effect" in table else "value", {}
    for name in (name for name in table if name not in hidden):
        if name not in IN_UNIT or not pd.api.types.is_numeric_dtype(table[name]):
            shown[name] = [_cell(x, str(name), name in {"share", *percent}) for x in table[name]]
            continue
        ends = ENDS if name == main else (f"{name}_low", f"{name}_high")
        cells = table[[name, *(end for end in ends if end in table)]].to_numpy()
        units = table["unit"] if "unit" in table else [""] * len(table)
        if name != main:
            units = ["relative" if "relative" in (name, unit) else "" for unit in units]
        named = zip(cells, units, strict=True)
        shown[name] = [stats.with_interval(*cell, unit=unit) for cell, unit in named]
    text = pd.DataFrame(shown, index=table.index).loc[:, lambda t: (t != "").any()]
    text = text.rename(columns=NAMES | dict(columns or {}))
    return text.set_index(text.columns[0]) if isinstance(table.index, pd.RangeIndex) else text


def _cell(value: object, column: str, share: bool) -> str:
    if isinstance(value, str) or pd.isna(value):
        return value if isinstance(value, str) else ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if share:
        return f"{value:.1%}"
    if isinstance(value, int | np.integer):
        if column in ("n", "seeds") and not value:
            return ""  # of what is counted, not tested
        return str(value) if column in ("seed", "epoch") else f"{value:,}"
    if column == "p" or column.startswith("p_"):
        return "< 0.001" if value < 0.001 else f"{value:.3f}"
    return stats.with_interval(float(value))


def _name(run: Run | tuple) -> str:
    return f"{run.method} ({run.variant})" if run.variant else run.method


def _stage_of(run: Run, measure: str) -> Stage:
    """Return the stage that a measure is a result of: "T1-after" of the last one that has it."""
    if not measure.endswith("-after"):
        return run.stages[task_of(measure)]
    found = [(s, row["measure"]) for s in run.stages.values() for row in s.record()["metrics"]]
    return [stage for stage, name in found if name == measure][-1]


def _paired(study: Study, ours: list[Run], theirs: list[Run], measure: str) -> tuple:
    """Return scores of both over the same instances, their users; by seed ours - theirs, theirs."""
    mine = instances(study, ours, measure)
    other = instances(study, theirs, measure.removesuffix("-after"))
    if not mine[["seed", "user"]].equals(other[["seed", "user"]]):
        raise ValueError(f"{_name(ours[0])} and {_name(theirs[0])}: expected the same seeds")
    by_seed = other.assign(mine=mine["score"] - other["score"]).groupby("seed")
    by_seed = by_seed["mine"].mean(), by_seed["score"].mean()
    return *(x.to_numpy() for x in (mine["score"], other["score"], mine["user"])), *by_seed


def _row(ours: list[Run], theirs: list[Run], task: str, unit: str, effect, seeds) -> dict:
    row = {"ours": _name(ours[0]), "theirs": _name(theirs[0]), "task": task, "unit": unit}
    row |= {"effect": effect.mean, "p": effect.p, "p_plain": np.nan, "p_seeds": seeds.p}
    row |= {"n": effect.n, "seeds": seeds.n} | stats.wider(effect, seeds)
    return row | {"run_ids": " ".join(dict.fromkeys(run.id for run in (*ours, *theirs)))}
