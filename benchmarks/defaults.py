"""How far the defaults of ``conure run`` come on the study's datasets, beside searched settings.

``python -m benchmarks.defaults ml-100k --seed 1`` learns all tasks of a dataset with the settings
that a plan without any has, on the study's own test folds, and compares each task with the searched
Conure and with popularity on the same folds. The searched ones are read from committed results.
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from benchmarks.common import write
from conure_lib.analysis import tables
from conure_lib.files import write_json
from conure_lib.study.study import Study, load_study
from conure_lib.user_models.plan import Plan, read_plan

ENOUGH = 0.9  # of the searched result


def defaults(study: Study, seeds: list[int], workers: int) -> pd.DataFrame:
    """Return one row per task: the score by default settings, searched, and by popularity."""
    plan, runs, searched = bare_plan(study), [], study.runs(["Conure"])
    for seed in seeds:
        own = Study(plan.study_config(seed), stream=study.stream, growing=True)
        own.compute(runs_of := own.runs(["Conure", "Popularity"]), workers)
        runs += runs_of
    chosen, popular = (tables.pick(runs, name) for name in ("Conure", "Popularity"))
    rows = []
    for task in study.order:
        by = {"default": chosen, "searched": searched, "popularity": popular}
        row = {name: tables.scores(study, some, task).mean() for name, some in by.items()}
        rows.append({"dataset": study.stream.name, "task": task, "seeds": len(seeds), **row})
    table = pd.DataFrame(rows)
    table["share"] = table["default"] / table["searched"]
    return table.assign(
        enough=(table["share"] >= ENOUGH), above=table["default"] >= table["popularity"]
    )


def bare_plan(study: Study) -> Plan:
    """Return a plan of the study's tasks that sets nothing; there are no tables behind it."""
    later = [{"name": t.name, "kind": t.kind, "file": "-"} for t in study.stream.tasks[1:]]
    with tempfile.TemporaryDirectory() as folder:
        write_json(file := Path(folder) / "defaults.json", {"events": "-", "tasks": later})
        return read_plan(file)


def main() -> None:
    """Measure one dataset and write ``defaults-DATASET.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument(
        "--seed", type=int, action="append", help="all that are published, unless given"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--publish", action="store_true", help="replace the committed measurement")
    parser.set_defaults(quick=False)
    options = parser.parse_args()
    study = load_study(options.dataset, "standard", options.seed)
    table = defaults(study, list(study.config.seeds), options.workers)
    print(table.to_string(float_format="{:.4f}".format))
    write(f"defaults-{options.dataset}", {"rows": table.to_dict("records")}, options)


if __name__ == "__main__":
    main()
