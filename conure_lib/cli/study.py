"""Commands of the study: study, verdicts, reproduce, tune, publish, notebooks; and clean."""

import json
import os
import shutil
import sys
import time
from collections.abc import Container
from enum import StrEnum
from typing import Annotated, Literal

from typer import Option, Typer

from conure_lib import paths
from conure_lib.cli.common import AsJson, Count, Options, data_config, report
from conure_lib.errors import ConfigError

app = Typer()
JOURNEY = "complete-journey"
Data = Annotated[str, Option(metavar="NAME", help="See: conure data list.")]
Profile = Literal["smoke", "quick", "standard", "paper"]
Cluster = Annotated[str | None, Option(metavar="ADDRESS|FILE", help="A Dask scheduler to use.")]
Results = Annotated[Literal["local", "committed"], Option(help="Your own, or the reported ones.")]
Device = Annotated[Literal["cpu", "cuda"] | None, Option(help="Else CONURE_DEVICE, else the CPU.")]
Cache = StrEnum("Cache", ["stages", "streams", "downloads"])
Caches = Annotated[list[Cache], Option(help="May be repeated.")]
Seeds = Annotated[list[int] | None, Option(help="May be repeated; else the profile's.")]
Several = Annotated[list[str] | None, Option(help="May be repeated; else all.")]


@app.command()
def study(
    dataset: Data = JOURNEY,
    profile: Profile = "quick",
    seed: Seeds = None,
    workers: Count = 1,
    cluster: Cluster = None,
    results: Results = "local",
    option: Options = None,
    device: Device = None,
    dry_run: bool = False,
) -> int:
    """Train what is missing of a study and write its tables and figures; committed: only draw.

    --option path=FOLDER: where the data is, or another option of the dataset. --dry-run: only
    estimate hours, memory and disk of what is missing, from a few real steps of each kind of stage.
    """
    from conure_lib.analysis.render import render
    from conure_lib.pipeline.estimate import NOTE
    from conure_lib.study import experiments, notebooks, profiles, study

    notebooks.all_notebooks()  # where there are none, nothing is trained in vain
    os.environ["CONURE_ROOT"] = str(paths.ROOT)  # of the notebooks' kernels, which run elsewhere
    if option:
        options = dict(data_config(dataset, option).options)
        options |= {n: os.path.abspath(options[n]) for n in ("path",) if n in options}
        os.environ[profiles.OPTIONS] = json.dumps(options)
    if device:
        os.environ[profiles.DEVICE] = device
    asked = study.load_study(dataset, profile, seed or None, "local" if dry_run else results)
    groups = experiments.all_runs(asked)
    if dry_run:
        for one, runs in groups:
            report(one.estimate(runs), notes=[NOTE])
        return 0
    if asked.local:
        study.compute_all(groups, workers, cluster)
    for one, runs in groups:
        one.require(runs)
    if asked.local:
        report(files=render(asked))
    return _draw(asked, workers=workers)


@app.command()
def verdicts(
    profile: Profile = "standard", dataset: Several = None, results: Results = "committed"
) -> None:
    """Decide every claim from results that exist. Writes ROOT/results/local/claims.csv."""
    from conure_lib.analysis import claims
    from conure_lib.errors import TransferError
    from conure_lib.study import profiles, study

    columns = ["claim", "dataset", "verdict", "reason", "effect", "ci_low", "ci_high"]
    for name in dataset or profiles.REPORTED:
        folder = paths.results(profile, name, local=False)
        if not dataset and results == "committed" and not any(folder.glob("seed-*.parquet")):
            print(f"conure: left out {name}: no committed results in {folder}", file=sys.stderr)
            continue
        try:
            asked = study.load_study(name, profile, None, results)
        except TransferError as error:
            if dataset:
                raise
            print(f"conure: left out {name}: {error}", file=sys.stderr)
            continue
        table = claims.ledger(asked)
        claims.save(table, paths.claims(local=True))
        report(table[columns], [paths.claims(local=True)])


@app.command()
def reproduce(
    dataset: Data = JOURNEY, profile: Profile = "standard", seed: int = 1, workers: Count = 1
) -> int:
    """Recompute a committed seed; compare bits, or with another processor the seeds' spread."""
    from conure_lib.analysis import reproduce as again

    measures = again.reproduce(dataset, profile, seed, workers)
    report(measures)
    report(again.verdicts(dataset, profile, seed))
    return int((measures["outcome"] == again.DIFFERENT).any())


@app.command()
def tune(
    dataset: Data = JOURNEY,
    profile: Profile = "standard",
    method: Several = None,
    task: Several = None,
    backbone: Several = None,
    workers: Count = 1,
    cluster: Cluster = None,
) -> None:
    """Search hyper-parameters; copy the JSON file to conure_lib/study/settings to use them."""
    from conure_lib.study import tuning

    asked = method or (), task or (), backbone or ()
    found = tuning.search(dataset, profile, workers, cluster, *asked)
    report([row for row in found.rows if row["chosen"]], tuning.write(found))


@app.command()
def publish(
    dataset: Data = JOURNEY,
    profile: Profile = "standard",
    seed: Seeds = None,
    render_only: bool = False,
) -> int:
    """Turn your own finished seeds into committed results; conure_lib/ must have no changes.

    --render-only: the stages are published already; write tables, notebooks and figures.
    """
    from conure_lib.analysis.render import render
    from conure_lib.data.registry import DATASETS
    from conure_lib.pipeline import store
    from conure_lib.study import experiments, study
    from conure_lib.study.profiles import REPORTED

    if not render_only:
        own = study.load_study(dataset, profile, seed or None, "local")
        runs = [run for _, group in experiments.all_runs(own) for run in group]
        report(files=store.publish(s for run in runs for s in run.stages.values()))
        if 1 in own.config.seeds and DATASETS[dataset].model_is_published:
            report(files=store.publish_model(own.run("Conure", 1).last))
    asked = study.load_study(dataset, profile)
    report(files=render(asked))
    code = _draw(asked, publishes=True)
    others = (name for name in REPORTED if name != dataset)
    for other in (name for name in others if paths.results(profile, name, False).is_dir()):
        code |= _draw(study.load_study(other, profile), publishes=True, only=["08_verdicts"])
    return code


def _draw(asked, publishes: bool = False, workers=1, only: Container[str] = ()) -> int:
    """Execute notebooks on a study; return the exit code, which is 1 if one of them failed.

    publishes: what is made of committed results replaces the committed copies and figures.
    """
    from conure_lib.study.notebooks import fitting, run_all

    config, results = asked.config, "local" if asked.local else "committed"
    profile, dataset, seeds = config.profile, config.data.dataset, list(config.seeds)
    given = {"DATASET": dataset, "PROFILE": profile, "SEEDS": seeds, "RESULTS": results}
    places = (paths.drawn(kind, profile, dataset, asked.local) for kind in ("results", "figures"))
    folder, figures = places
    copies = paths.results(profile, dataset, False) if publishes else folder
    started = time.time_ns()
    rows = run_all(given, copies / "notebooks", workers, only or fitting(asked))
    if publishes:
        drawn, figures = figures, paths.figures(profile, dataset, False)
        figures.mkdir(parents=True, exist_ok=True)
        for file in (f for f in drawn.glob("*") if f.stat().st_mtime_ns >= started):
            shutil.copyfile(file, figures / file.name)
    report(rows, [copies / "notebooks", figures])
    return int(any(row["error"] for row in rows))


@app.command()
def notebooks() -> None:
    """Execute the notebooks with their defaults and keep the outputs that the tests compare."""
    from conure_lib.study.notebooks import all_notebooks, refresh

    for notebook in all_notebooks():
        refresh(notebook)
        report(files=[notebook])


@app.command()
def clean(
    what: Caches = ("stages", "streams"), dry_run: bool = False, as_json: AsJson = False
) -> None:
    """Remove what can be computed or fetched again, below ROOT/artifacts; results and models stay.

    Not while a study or a run is at work. --dry-run only says what would go.
    """
    folders = {name: paths.artifacts(name) for name in what}
    if linked := [folder for folder in folders.values() if folder.is_symlink()]:
        raise ConfigError(f"{linked[0]}: found a link, expected a folder; empty it by hand")
    rows = []
    for name, folder in folders.items():
        sizes = [file.lstat().st_size for file in folder.rglob("*") if not file.is_dir()]
        rows.append({"cache": name, "files": len(sizes), "bytes": sum(sizes)})
        if folder.is_dir() and not dry_run:
            shutil.rmtree(folder)
    note = f"{'would be' if dry_run else 'were'} removed below {paths.artifacts()}"
    report(rows, (), [note], {"removed": not dry_run, "caches": rows}, as_json)
