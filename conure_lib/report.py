"""Tables: a method's scores per test instance, averages late, intervals over users; and what is committed."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from . import paths
from .data.stream import PAD, TEST, TaskStream
from .evaluate import scores_of
from .experiment import Run, Study
from .stages import metric_name
from .stats import Effect, Estimate, estimate, holm, paired_effect


def paper_table(number: int) -> pd.DataFrame:
    """A table of the paper, as text and numbers; ``?`` marks a digit that the scan lost."""
    found = sorted((paths.NOTEBOOKS.parent / "results" / "paper").glob(f"table{number}_*.csv"))
    if not found:
        raise FileNotFoundError(f"results/paper holds no table{number}_*.csv")
    return pd.read_csv(found[0])


def method_scores(study: Study, method: str, task: str) -> np.ndarray:
    """Per test instance the metric, averaged over the study's seeds: float64 [n], in order of the test rows."""
    kind = study.stream[task].kind
    runs = [study.run(method, seed) for seed in study.config.seeds]
    return np.mean([scores_of(kind, run.stages[task].ranks(task)) for run in runs], axis=0)


def test_users(stream: TaskStream, measure: str) -> np.ndarray:
    """The user of each test instance of a measure, in the order of its ranks: what intervals are clustered by.

    measure: a task, or "T1-all", whose instances are all items that follow an item.
    """
    task = stream[measure.removesuffix("-all")]
    rows = task.rows(TEST)
    if measure == task.name:
        return task.users[rows]
    return np.repeat(task.users[rows], (stream.sequences[rows, :-1] != PAD).sum(1))


def overall(study: Study, methods: Iterable[str], tasks: Iterable[str] | None = None) -> pd.DataFrame:
    """Table 2's cells: one row per method and task with mean, 95% interval over users, n and run ids."""
    rows = []
    for method in methods:
        runs = [study.run(method, seed) for seed in study.config.seeds]
        for task in tasks or runs[0].stages:
            e = estimate(method_scores(study, method, task), test_users(study.stream, task))
            rows.append({
                "dataset": study.stream.name, "method": method, "task": task,
                "metric": metric_name(study.stream[task].kind), "value": e.mean, "low": e.low, "high": e.high,
                "n": e.n, "users": e.users, "seeds": len(runs), "run_ids": " ".join(run.id for run in runs),
            })  # fmt: skip
    return pd.DataFrame(rows)


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """``overall`` with a row per method and a column per task, "value [low, high]"."""
    text = table.assign(cell=[str(Estimate(r.value, r.low, r.high, r.n, r.users)) for r in table.itertuples()])
    wide = text.pivot(index="method", columns="task", values="cell")
    return wide.loc[table["method"].unique(), table["task"].unique()].fillna("")


def metric(run: Run, task: str) -> float:
    """The run's test metric on a task."""
    return next(row["value"] for row in run.stages[task].record()["metrics"] if row["measure"] == task)


def markdown(table: pd.DataFrame) -> str:
    """``overall`` as the README shows it: value and half of the 95% interval; n in the head."""
    heads = [f"{r.task} ({r.metric}, n = {r.n:,})" for r in table.drop_duplicates("task").itertuples()]
    lines = ["| method | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for method, rows in table.groupby("method", sort=False):
        cells = {r.task: f"{r.value:.4f} ± {(r.high - r.low) / 2:.4f}" for r in rows.itertuples()}
        lines.append(f"| {method} | " + " | ".join(cells.get(task, "") for task in table["task"].unique()) + " |")
    return "\n".join(lines)


def compare(study: Study, ours: str, theirs: str, tasks: Iterable[str] | None = None) -> pd.DataFrame:
    """Paired differences ours - theirs per task, over the same test instances, clustered by user."""
    rows = []
    for task in tasks or study.order:
        scores = (method_scores(study, method, task) for method in (ours, theirs))
        effect: Effect = paired_effect(*scores, test_users(study.stream, task))
        rows.append({"task": task, "ours": ours, "theirs": theirs, "effect": effect.mean, "low": effect.low,
                     "high": effect.high, "p": effect.p, "p_plain": effect.p_plain, "n": effect.n})  # fmt: skip
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(table["p"].to_numpy()))
    return table


def no_forgetting(run: Run) -> pd.DataFrame:
    """One row per stage after which, and per task learned before: its test metric and the digest of its logits.

    run: a Conure run. Equal digests mean that the task's logits are equal to the last bit.
    """
    rows = []
    for later, stage in run.stages.items():
        for one in stage.lineage()[-3:]:
            for task, memory in one.record()["notes"]["memory"].items():
                rows.append({"after": f"{later} {one.step.action}", "task": task, **memory, "stage_id": one.id})
    return pd.DataFrame(rows)


def capacity(run: Run) -> pd.DataFrame:
    """Share of all prunable weights that each task owns after the last one; "free" is what is left."""
    last = list(run.stages.values())[-1]
    owned = pd.DataFrame(last.record()["notes"]["owned"]).groupby("owner", sort=False)["weights"].sum()
    return (owned / owned.sum()).rename("share").reset_index()


def write_tables(study: Study, runs: Iterable[Run]) -> list[Path]:
    """The tidy results under results/<profile>/<dataset>/: every run's metrics, and the overall table."""
    runs = list(runs)
    folder = paths.tables(study.config.profile, study.stream.name)
    folder.mkdir(parents=True, exist_ok=True)
    methods = list(dict.fromkeys(run.method for run in runs))
    written = {"metrics": study.results(runs), "overall": overall(study, methods)}
    conure = [no_forgetting(run).assign(seed=run.seed) for run in runs if run.method == "Conure"]
    if conure:
        written["no_forgetting"] = pd.concat(conure)
    for name, table in written.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    return [folder / f"{name}.csv" for name in written]
