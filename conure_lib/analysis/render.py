"""What a finished study leaves in its results folder: tidy tables."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from conure_lib import paths
from conure_lib.analysis.tables import no_forgetting, overall
from conure_lib.files import atomic_file
from conure_lib.study.study import Run, Study


def write_tables(study: Study, runs: Iterable[Run]) -> list[Path]:
    """Write every run's metrics, the overall table and what was kept of earlier tasks."""
    runs = list(runs)
    conure = [run for run in runs if (run.method, run.variant) == ("Conure", "")]
    memory = pd.concat(no_forgetting(run).assign(seed=run.seed) for run in conure)
    plain = overall(study, [run for run in runs if not run.variant])
    tables = {"metrics": study.results(runs), "overall": plain, "no_forgetting": memory}
    return [_write(study, name, table) for name, table in tables.items()]


def write_dials(study: Study, runs: Iterable[Run]) -> Path:
    """Write the metrics of ``experiments.dial_runs`` beside the study's tables."""
    return _write(study, "dials", study.results(runs))


def _write(study: Study, name: str, table: pd.DataFrame) -> Path:
    folder = paths.results(study.config.profile, study.stream.name, study.local)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / f"{name}.csv") as part:
        table.to_csv(part, index=False, float_format="%.6g")
    return folder / f"{name}.csv"
