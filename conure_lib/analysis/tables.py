"""Tables: scores per test instance, averages late, intervals over users and seeds; and what is committed."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from conure_lib import paths
from conure_lib.analysis.stats import (
    Effect,
    Estimate,
    estimate,
    holm,
    mean_relative_effect,
    over_seeds,
    paired_effect,
)
from conure_lib.data.stream import PAD, TEST, TaskStream
from conure_lib.files import atomic_file
from conure_lib.study.study import Run, Study
from conure_lib.training.evaluation import metric_name, scores_of

ALPHA = 0.05


def paper_table(number: int) -> pd.DataFrame:
    """A table of the paper, as text and numbers; ``?`` marks a digit that the scan lost."""
    found = sorted((paths.NOTEBOOKS.parent / "results" / "paper").glob(f"table{number}_*.csv"))
    if not found:
        raise FileNotFoundError(f"results/paper holds no table{number}_*.csv")
    return pd.read_csv(found[0])


def pick(runs: Iterable[Run], method: str, variant: str | None = None) -> list[Run]:
    """The runs of a method (and of a variant), one a seed. Raises KeyError if there are none."""
    found = [r for r in runs if r.method == method and variant in (None, r.variant)]
    if not found:
        raise KeyError(f"no run of {method!r}, variant {variant!r}")
    return found


def seed_scores(study: Study, runs: list[Run], measure: str) -> np.ndarray:
    """Per seed and test instance the metric: float64 [seeds, n]. measure: a task, or "T1-all"."""
    task = measure.removesuffix("-all")
    kind = study.stream[task].kind
    return np.stack([scores_of(kind, run.stages[task].ranks(measure)) for run in runs])


def scores(study: Study, runs: list[Run], measure: str) -> np.ndarray:
    """Per test instance the metric, averaged over the runs' seeds: float64 [n], in order of the test rows."""
    return seed_scores(study, runs, measure).mean(axis=0)


def test_users(stream: TaskStream, measure: str) -> np.ndarray:
    """The user of each test instance of a measure, in the order of its ranks: what intervals are clustered by.

    measure: a task, or "T1-all", whose instances are all items that follow an item.
    """
    task = stream[measure.removesuffix("-all")]
    rows = task.rows(TEST)
    if measure == task.name:
        return task.users[rows]
    return np.repeat(task.users[rows], (stream.sequences[rows, :-1] != PAD).sum(1))


def overall(
    study: Study, runs: Iterable[Run], measures: Iterable[str] | None = None
) -> pd.DataFrame:
    """Table 2's cells: one row per method, variant and task with mean, 95% interval over users, n and run ids.

    measures: tasks, or "T1-all"; all tasks of the runs unless given.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.method, run.variant), []).append(run)
    rows = []
    for (method, variant), group in groups.items():
        for measure in measures or group[0].stages:
            e = estimate(scores(study, group, measure), test_users(study.stream, measure))
            rows.append(
                {
                    "dataset": study.stream.name,
                    "method": method,
                    "variant": variant,
                    "task": measure,
                    "metric": metric_name(study.stream[measure.removesuffix("-all")].kind),
                    "value": e.mean,
                    "low": e.low,
                    "high": e.high,
                    "n": e.n,
                    "users": e.users,
                    "seeds": len(group),
                    "run_ids": " ".join(run.id for run in group),
                }
            )
    return pd.DataFrame(rows)


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """``overall`` with a row per method (and variant) and a column per task, "value [low, high]"."""
    text = table.assign(
        cell=[str(Estimate(r.value, r.low, r.high, r.n, r.users)) for r in table.itertuples()],
        method=[_name(r.method, r.variant) for r in table.itertuples()],
    )
    wide = text.pivot(index="method", columns="task", values="cell")
    return wide.loc[text["method"].unique(), text["task"].unique()].fillna("")


def metric(run: Run, measure: str) -> float:
    """The run's test metric on a task (or "T1-all")."""
    record = run.stages[measure.removesuffix("-all")].record()
    return next(row["value"] for row in record["metrics"] if row["measure"] == measure)


def markdown(table: pd.DataFrame) -> str:
    """``overall`` as the README shows it: value and half of the 95% interval; n in the head."""
    heads = [
        f"{r.task} ({r.metric}, n = {r.n:,})" for r in table.drop_duplicates("task").itertuples()
    ]
    lines = ["| method | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for method, rows in table.groupby("method", sort=False):
        cells = {r.task: f"{r.value:.4f} ± {(r.high - r.low) / 2:.4f}" for r in rows.itertuples()}
        lines.append(
            f"| {method} | "
            + " | ".join(cells.get(task, "") for task in table["task"].unique())
            + " |"
        )
    return "\n".join(lines)


def compare(
    study: Study,
    pairs: Iterable[tuple[list[Run], list[Run]]],
    measures: Iterable[str] | None = None,
) -> pd.DataFrame:
    """Paired differences ours - theirs: a row per pair and measure, over the same test instances.

    effect with its 95% interval and p: clustered by user, over scores that are averaged over seeds; p_holm:
    corrected over all rows; p_plain: the paper's test, over instances; p_seeds: a paired t-test over the seeds'
    means (nan for one seed); relative: effect / mean of theirs. clear: ``is_clear``.
    """
    rows = []
    for ours, theirs in pairs:
        shared = [task for task in ours[0].stages if task in theirs[0].stages]
        for measure in measures or shared:
            per_seed = [seed_scores(study, runs, measure) for runs in (ours, theirs)]
            mine, other = (s.mean(axis=0) for s in per_seed)
            effect: Effect = paired_effect(mine, other, test_users(study.stream, measure))
            seeds = over_seeds(np.subtract(*(s.mean(axis=1) for s in per_seed)))
            reference = float(other.mean())
            rows.append(
                {
                    "task": measure,
                    "ours": _name(ours[0].method, ours[0].variant),
                    "theirs": _name(theirs[0].method, theirs[0].variant),
                    "effect": effect.mean,
                    "low": effect.low,
                    "high": effect.high,
                    "relative": effect.mean / reference if reference else float("nan"),
                    "p": effect.p,
                    "p_plain": effect.p_plain,
                    "p_seeds": seeds.p,
                    "n": effect.n,
                    "seeds": len(ours),
                    "run_ids": " ".join(run.id for run in (*ours, *theirs)),
                }
            )
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(table["p"].to_numpy()))
    table["clear"] = [is_clear(r.p_holm, r.p_seeds) for r in table.itertuples()]
    return table


def compare_means(
    study: Study, pairs: Iterable[tuple[list[Run], list[Run]]], tasks: Iterable[str]
) -> pd.DataFrame:
    """As ``compare``, with one row a pair: the mean over tasks of the relative difference to theirs."""
    rows, tasks = [], list(tasks)
    for ours, theirs in pairs:
        per_task = [[seed_scores(study, runs, task) for runs in (ours, theirs)] for task in tasks]
        parts = [
            (mine.mean(axis=0), other.mean(axis=0), test_users(study.stream, task))
            for task, (mine, other) in zip(tasks, per_task, strict=True)
        ]
        effect = mean_relative_effect(parts)
        relative = [(m.mean(axis=1) - o.mean(axis=1)) / o.mean() for m, o in per_task]
        rows.append(
            {
                "tasks": " ".join(tasks),
                "ours": _name(ours[0].method, ours[0].variant),
                "theirs": _name(theirs[0].method, theirs[0].variant),
                "effect": effect.mean,
                "low": effect.low,
                "high": effect.high,
                "p": effect.p,
                "p_seeds": over_seeds(np.mean(relative, axis=0)).p,
                "n": effect.n,
                "seeds": len(ours),
                "run_ids": " ".join(run.id for run in (*ours, *theirs)),
            }
        )
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(table["p"].to_numpy()))
    table["clear"] = [is_clear(r.p_holm, r.p_seeds) for r in table.itertuples()]
    return table


def is_clear(p_holm: float, p_seeds: float) -> bool:
    """A difference that neither the choice of test users nor the chance of training explains.

    Over users after Holm's correction and over seeds p is below 0.05; a single seed has no p and is not asked.
    """
    return p_holm < ALPHA and not p_seeds >= ALPHA


def no_forgetting(run: Run) -> pd.DataFrame:
    """One row per stage after which, and per task learned before: its test metric and the digest of its logits.

    run: a Conure run. Equal digests mean that the task's logits are equal to the last bit.
    """
    rows = []
    for later, stage in run.stages.items():
        for one in stage.lineage()[-3:]:
            for task, memory in one.record()["notes"]["memory"].items():
                rows.append(
                    {
                        "after": f"{later} {one.step.action}",
                        "task": task,
                        **memory,
                        "stage_id": one.id,
                    }
                )
    return pd.DataFrame(rows)


def capacity(run: Run) -> pd.DataFrame:
    """How many prunable weights each task owns after the last one, and their share; "free" is what is left."""
    last = list(run.stages.values())[-1]
    owned = (
        pd.DataFrame(last.record()["notes"]["owned"]).groupby("owner", sort=False)["weights"].sum()
    )
    return pd.DataFrame({"weights": owned, "share": owned / owned.sum()}).reset_index()


def curves(runs: Iterable[Run]) -> pd.DataFrame:
    """Tidy learning curves: method, variant, seed, task, epoch (0: before training), validation, best, loss.

    metric: of the column validation, which is on the validation part (T1: at all positions).
    """
    rows = []
    for run in runs:
        for task, stage in run.stages.items():
            record = stage.record()
            metrics = {row["measure"]: row["metric"] for row in record["metrics"]}
            head = {"method": run.method, "variant": run.variant, "seed": run.seed, "task": task}
            head["metric"] = metrics[task]
            rows += [head | point | {"stage_id": stage.id} for point in record["curve"]]
    return pd.DataFrame(rows)


def write_tables(study: Study, runs: Iterable[Run]) -> list[Path]:
    """The tidy results under results/<profile>/<dataset>/: every run's metrics, and the overall table."""
    runs = list(runs)
    folder = paths.tables(study.config.profile, study.stream.name)
    folder.mkdir(parents=True, exist_ok=True)
    written = {
        "metrics": study.results(runs),
        "overall": overall(study, [r for r in runs if not r.variant]),
    }
    conure = [run for run in runs if (run.method, run.variant) == ("Conure", "")]
    written["no_forgetting"] = pd.concat(no_forgetting(run).assign(seed=run.seed) for run in conure)
    for name, table in written.items():
        with atomic_file(folder / f"{name}.csv") as part:
            table.to_csv(part, index=False, float_format="%.6g")
    return [folder / f"{name}.csv" for name in written]


def _name(method: str, variant: str) -> str:
    return f"{method} ({variant})" if variant else method


def write_dials(study: Study, runs: Iterable[Run]) -> Path:
    """The metrics of the synthetic worlds' runs (``experiments.dial_runs``), beside the study's tables."""
    folder = paths.tables(study.config.profile, study.stream.name)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / "dials.csv") as part:
        study.results(runs).to_csv(part, index=False, float_format="%.6g")
    return folder / "dials.csv"
