"""Tidy tables of results: scores averaged over seeds, intervals over users, paired comparisons.

A measure is a task, or "T1-all": T1 at all positions instead of the last one.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from conure_lib import paths
from conure_lib.analysis import stats
from conure_lib.data.stream import PAD, TEST, TaskStream
from conure_lib.pipeline.stage import Stage
from conure_lib.study.study import Run, Study
from conure_lib.training.evaluation import metric_name, scores_of

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
    stages = (one for last in run.stages.values() for one in last.lineage())
    return list({stage.id: stage for stage in stages}.values())


def seed_scores(study: Study, runs: list[Run], measure: str) -> np.ndarray:
    """Return the metric per seed and test instance: float64 of shape (seeds, n)."""
    task = measure.removesuffix("-all")
    kind = study.stream[task].kind
    return np.stack([scores_of(kind, run.stages[task].ranks(measure)) for run in runs])


def scores(study: Study, runs: list[Run], measure: str) -> np.ndarray:
    """Return the metric per test instance, averaged over the runs' seeds: float64 (n,)."""
    return seed_scores(study, runs, measure).mean(axis=0)


def test_users(stream: TaskStream, measure: str) -> np.ndarray:
    """Return the user of each test instance of a measure, in the order of its ranks."""
    task = stream[measure.removesuffix("-all")]
    rows = task.rows(TEST)
    positions = (stream.sequences[rows, :-1] != PAD).sum(1) if measure != task.name else 1
    return np.repeat(task.users[rows], positions)


test_users.__test__ = False  # its name looks like a test to pytest


def metric(run: Run, measure: str) -> float:
    """Return the run's test metric."""
    record = run.stages[measure.removesuffix("-all")].record()
    return next(row["value"] for row in record["metrics"] if row["measure"] == measure)


def overall(
    study: Study, runs: Iterable[Run], measures: Iterable[str] | None = None
) -> pd.DataFrame:
    """Return the cells of Table 2: the mean over seeds of each run's test metric.

    One row per method, variant and measure (the tasks of the runs unless given); the 95% interval
    of ``value`` is over users.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.method, run.variant), []).append(run)
    rows = []
    for (method, variant), group in groups.items():
        for measure in measures or group[0].stages:
            e = stats.estimate(scores(study, group, measure), test_users(study.stream, measure))
            row = {"dataset": study.stream.name, "method": method, "variant": variant}
            row |= {"task": measure, "metric": _unit(study, measure), "value": e.mean}
            row |= {"low": e.low, "high": e.high, "n": e.n, "users": e.users}
            rows.append(row | {"seeds": len(group), "run_ids": " ".join(r.id for r in group)})
    return pd.DataFrame(rows)


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``overall`` as text: one row per method, one column per task, with intervals."""
    cells: dict[str, dict[str, str]] = {}
    for r in table.fillna({"variant": ""}).itertuples():
        row = cells.setdefault(_name(r), {})
        row[f"{r.task} ({r.metric}, n = {r.n:,})"] = stats.with_interval(r.value, r.low, r.high)
    return pd.DataFrame.from_dict(cells, orient="index").rename_axis("method").fillna("")


def compare(study: Study, pairs: Pairs, measures: Iterable[str] | None = None) -> pd.DataFrame:
    """Return paired differences ours - theirs over the same test instances.

    Parameters
    ----------
    pairs : list of (ours, theirs)
        The runs of one method with all its seeds, and those of another one.
    measures : iterable of str, optional
        The tasks that both have unless given.

    Returns
    -------
    DataFrame
        One row per pair and measure. ``effect``, its 95% interval and ``p`` are clustered by user;
        ``p_holm`` is corrected over all rows, ``p_plain`` the paper's test over instances,
        ``p_seeds`` that over the means of seeds; ``relative`` is to the mean of theirs.
    """
    rows, scales = [], []
    for (ours, theirs), measure in _measured(pairs, measures):
        mine, other = (seed_scores(study, runs, measure) for runs in (ours, theirs))
        users = test_users(study.stream, measure)
        effect = stats.paired_effect(mine.mean(axis=0), other.mean(axis=0), users)
        of_seeds = mine.mean(axis=1) - other.mean(axis=1)
        rows.append(_row(ours, theirs, measure, _unit(study, measure), effect, of_seeds))
        scales.append(other.mean() or np.nan)
    table = _family(rows)
    columns = ["relative", "relative_low", "relative_high"]
    table[columns] = table[["effect", "low", "high"]].div(scales, axis=0)
    return table


def compare_means(study: Study, pairs: Pairs, tasks: Iterable[str]) -> pd.DataFrame:
    """Return, as ``compare``, one row per pair: the mean over tasks of relative differences."""
    rows, tasks = [], list(tasks)
    for ours, theirs in pairs:
        per_task = [[seed_scores(study, runs, task) for runs in (ours, theirs)] for task in tasks]
        effect = stats.mean_relative_effect(
            (mine.mean(axis=0), other.mean(axis=0), test_users(study.stream, task))
            for task, (mine, other) in zip(tasks, per_task, strict=True)
        )
        of_seeds = np.mean([(m.mean(1) - o.mean(1)) / o.mean() for m, o in per_task], axis=0)
        rows.append(_row(ours, theirs, " ".join(tasks), "relative", effect, of_seeds))
    return _family(rows)


def seed_effects(study: Study, pairs: Pairs, measures: Iterable[str] | None = None) -> pd.DataFrame:
    """Return the differences of single seeds, ``relative`` to the mean of theirs over all seeds."""
    rows = []
    for (ours, theirs), measure in _measured(pairs, measures):
        mine, other = (np.array([metric(r, measure) for r in runs]) for runs in (ours, theirs))
        names = {"ours": _name(ours[0]), "theirs": _name(theirs[0]), "task": measure}
        relative = ((mine - other) / (other.mean() or np.nan)).tolist()
        rows += [
            names | {"seed": r.seed, "relative": x} for r, x in zip(ours, relative, strict=True)
        ]
    return pd.DataFrame(rows)


def is_clear(p_holm: float | pd.Series, p_seeds: float | pd.Series) -> bool | pd.Series:
    """Return whether p < 0.05 over users (after Holm's correction) and over seeds (if several)."""
    return np.less(p_holm, ALPHA) & ~np.greater_equal(p_seeds, ALPHA)


def no_forgetting(run: Run) -> pd.DataFrame:
    """Return what later stages of a run of Conure did to each task that was learned before.

    Returns
    -------
    DataFrame
        One row per stage (``after``) and per ``task`` that is finished by then. It ``changed`` if
        its visible weights are not bit by bit those that it was finished with, or if its logits
        before and after the stage differ within one process.
    """
    rows, finished = [], {}
    for stage in lineage(run):
        for task, memory in stage.record()["notes"].get("memory", {}).items():
            weights = finished.setdefault(task, memory["weights_sha256"])
            logits = memory["logits_sha256"]
            changed = memory["weights_sha256"] != weights
            changed |= logits != memory.get("logits_before_sha256", logits)
            head = {"after": f"{stage.step.task} {stage.step.action}", "task": task, **memory}
            rows.append(head | {"changed": changed, "stage_id": stage.id})
    return pd.DataFrame(rows)


def capacity(run: Run) -> pd.DataFrame:
    """Return ``weights`` and ``share`` of each ``owner`` (task, or "free") after the last task."""
    owned = pd.DataFrame(list(run.stages.values())[-1].record()["notes"]["owned"])
    table = owned.groupby("owner", sort=False)["weights"].sum().reset_index()
    return table.assign(share=table["weights"] / table["weights"].sum())


def curves(runs: Iterable[Run]) -> pd.DataFrame:
    """Return learning curves on validation data: one row per run, task and epoch (0: untrained)."""
    rows = []
    for run in runs:
        for task, stage in run.stages.items():
            metrics = {row["measure"]: row["metric"] for row in stage.record()["metrics"]}
            head = {"method": run.method, "variant": run.variant, "seed": run.seed, "task": task}
            head |= {"metric": metrics[task], "stage_id": stage.id}
            rows += [head | point for point in stage.record()["curve"]]
    return pd.DataFrame(rows)


HIDDEN = {"run_ids", "run_id", "stage_id", "rule", "unit", "relative_low", "relative_high"}
NAMES = {
    "value": "value [95% interval]",
    "effect": "difference [95% interval]",
    "relative": "relative difference",
    "p": "p (users)",
    "p_holm": "p (users, Holm)",
    "p_corrected": "p (corrected)",
    "p_plain": "p (instances, as in the paper)",
    "p_seeds": "p (seeds)",
    "backbones": "backbones stored",
    "trained_first": "parameters trained for T1",
    "trained_later": "parameters trained for later tasks",
    "stored": "parameters stored",
}


def show(
    table: pd.DataFrame, columns: Mapping[str, str] | None = None, percent: Iterable[str] = ()
) -> pd.DataFrame:
    """Return a table as text for a reader, without ids and columns that say nothing.

    Parameters
    ----------
    columns : mapping, optional
        Names for columns, beside ``NAMES``.
    percent : iterable of str, optional
        Columns to show in per cent, beside "share" and "relative".
    """
    ends = [end for end in ("low", "high", "ci_low", "ci_high") if end in table]
    constant = {n for n in ("dataset", "profile") if n in table and table[n].nunique() == 1}
    shown = {}
    for name in table.columns.difference({*HIDDEN, *ends, *constant}, sort=False):
        if ends and name in ("value", "effect"):
            units = table.get("unit", pd.Series("", table.index))
            cells = zip(table[name], *(table[end] for end in ends), units, strict=True)
            shown[name] = [stats.with_interval(*cell) for cell in cells]
        elif not str(name).endswith("_sha256"):
            shown[name] = [_cell(x, str(name), name in {"share", *percent}) for x in table[name]]
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
        return str(value) if column in ("seed", "epoch") else f"{value:,}"
    if column == "p" or column.startswith("p_"):
        return "< 0.001" if value < 0.001 else f"{value:.3f}"
    return stats.with_interval(float(value), unit="relative" if column == "relative" else "")


def _unit(study: Study, measure: str) -> str:
    return metric_name(study.stream[measure.removesuffix("-all")].kind)


def _name(run: Run | tuple) -> str:
    return f"{run.method} ({run.variant})" if run.variant else run.method


def _measured(pairs: Pairs, measures: Iterable[str] | None) -> list[tuple]:
    """Return each pair with each measure, by default the tasks that both have."""
    tasks = [[task for task in pair[0][0].stages if task in pair[1][0].stages] for pair in pairs]
    return [(pair, m) for pair, own in zip(pairs, tasks, strict=True) for m in measures or own]


def _row(ours: list[Run], theirs: list[Run], task: str, unit: str, effect, of_seeds) -> dict:
    row = {"ours": _name(ours[0]), "theirs": _name(theirs[0]), "task": task, "unit": unit}
    row |= {"effect": effect.mean, "low": effect.low, "high": effect.high, "p": effect.p}
    row |= {"p_plain": effect.p_plain, "p_seeds": stats.over_seeds(of_seeds).p, "n": effect.n}
    return row | {"seeds": len(ours), "run_ids": " ".join(r.id for r in (*ours, *theirs))}


def _family(rows: list[dict]) -> pd.DataFrame:
    """Return comparisons as one family of tests."""
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", stats.holm(table["p"]))
    return table.assign(clear=is_clear(table["p_holm"], table["p_seeds"]))
