"""What a finished study leaves in its results folder: tidy tables and the verdicts."""

from pathlib import Path

import pandas as pd

from conure_lib import paths
from conure_lib.analysis import claims, continual
from conure_lib.analysis.floors import capped, floors, learned
from conure_lib.analysis.tables import by_metric, no_forgetting, overall
from conure_lib.files import write_csv
from conure_lib.study.experiments import APART, continual_learners, own_runs
from conure_lib.study.study import Study
from conure_lib.training.evaluation import METRICS


def render(study: Study) -> list[Path]:
    """Write tables and verdicts, of one's own run to results/local, else beside the evidence."""
    runs = own_runs(study)
    memory = [no_forgetting(run).assign(seed=run.seed) for run in study.runs(["Conure"])]
    plain = [run for run in runs if not run.variant]
    ranking = [task.name for task in study.stream.tasks if task.kind != "classification"]
    others = [overall(study, plain, [f"{task}-literal" for task in ranking[1:]])]
    others += [overall(study, plain, ranking, metric) for metric in METRICS[1:]]
    tables = {
        "metrics": study.results(runs),
        "no_forgetting": pd.concat(memory),
        "overall": overall(study, plain),
        "other_metrics": pd.concat(others),
        "floors": floors(study),
        "by_metric": by_metric(study),
        "capped": capped(runs),
    }
    if len(learners := dict.fromkeys(run.method for run in continual_learners(study))) > 1:
        counted = [task for task, is_learned in learned(study).items() if is_learned] or study.order
        tables["continual"] = continual.against_conure(study, learners, counted)
    for name, (points, runs_of) in APART.items():
        if apart := [p.results(runs_of(p)).assign(point=n) for n, p in points(study).items()]:
            tables[name] = pd.concat(apart)
    folder = paths.results(study.config.profile, study.stream.name, study.local)
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    ledger = paths.claims(study.local)
    claims.save(claims.ledger(study), ledger)
    return [*(folder / f"{name}.csv" for name in tables), ledger]
