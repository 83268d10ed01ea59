"""Commands of the study: study, verdicts, reproduce, tune, publish, notebooks; and clean."""

import shutil
from typing import Annotated

from typer import Option, Typer

from conure_lib import paths
from conure_lib.cli import common
from conure_lib.cli.common import AsJson, Cluster, Count, Dataset, Profile, Seeds
from conure_lib.errors import ConfigError

app = Typer()
CACHES = {"stages": paths.stages, "streams": paths.streams, "downloads": paths.downloads}
What = Annotated[list[str] | None, Option(help=f"Of {', '.join(CACHES)}; may be repeated.")]
Results = Annotated[str, Option(metavar="local|committed", help="Your own, or the reported ones.")]
Datasets = Annotated[list[str] | None, Option("--dataset", help="May be repeated; else all.")]


@app.command()
def study(
    dataset: Dataset = "complete-journey",
    profile: Profile = "quick",
    seeds: Seeds = None,
    workers: Count = 1,
    cluster: Cluster = None,
    results: Results = "local",
) -> int:
    """Train what is missing of a study, write its tables, draw its figures by its notebooks.

    Writes ROOT/artifacts/stages, ROOT/results/local and ROOT/figures/local. On committed results it
    trains nothing and only draws.
    """
    from conure_lib.analysis.render import render
    from conure_lib.study.experiments import all_runs
    from conure_lib.study.notebooks import all_notebooks
    from conure_lib.study.study import load_study

    all_notebooks()  # where there are none, nothing is trained in vain
    asked = load_study(dataset, profile, seeds or None, results)
    for one, runs in all_runs(asked):
        if asked.local:
            one.compute(runs, workers, cluster)
        one.require(runs)
    if asked.local:
        common.print_written(*render(asked))
    return _draw(asked, local=True)


@app.command()
def verdicts(
    profile: Profile = "standard", datasets: Datasets = None, results: Results = "committed"
) -> None:
    """Decide every claim from results that exist. Writes ROOT/results/local/claims.csv."""
    from conure_lib.analysis import claims
    from conure_lib.study.profiles import PROFILES
    from conure_lib.study.study import load_study

    columns = ["claim", "dataset", "verdict", "effect", "ci_low", "ci_high", "p_corrected"]
    for dataset in datasets or PROFILES.get(profile, [""]):
        table = claims.ledger(load_study(dataset, profile, None, results))
        common.print_table(table[columns])
        claims.save(table, paths.claims(local=True))
    common.print_written(paths.claims(local=True))


@app.command()
def reproduce(
    dataset: Dataset = "complete-journey",
    profile: Profile = "standard",
    seed: int = 1,
    workers: Count = 1,
) -> int:
    """Recompute one seed of the committed results and compare all measures and verdicts.

    On the same kind of processor the bits must be the same; on another, measures must lie within
    the spread of the seeds.
    """
    from conure_lib.analysis import reproduce as again

    measures = again.reproduce(dataset, profile, seed, workers)
    common.print_table(measures)
    common.print_table(again.verdicts(dataset, profile, seed))
    return int((measures["outcome"] == again.DIFFERENT).any())


@app.command()
def tune(
    dataset: Dataset = "complete-journey",
    profile: Profile = "quick",
    workers: Count = 1,
    cluster: Cluster = None,
) -> None:
    """Search hyper-parameters on validation data of the tuning seed.

    Writes ROOT/results/local/tuning; copy the JSON file to conure_lib/study/settings to use it.
    """
    from conure_lib.study import tuning

    found = tuning.search(dataset, profile, workers, cluster)
    common.print_table(found.table().query("chosen").drop(columns="stage_id"))
    common.print_written(*tuning.write(found))


@app.command()
def publish(
    dataset: Dataset = "complete-journey", profile: Profile = "standard", render_only: bool = False
) -> int:
    """Make a finished study of your own the committed results: alone this command changes them.

    Refuses a dirty checkout, missing stages, and stages of several kinds of processors.
    --render-only: the stages are published already; write tables, notebooks and figures.
    """
    from conure_lib.analysis.render import render
    from conure_lib.pipeline import store
    from conure_lib.study.experiments import all_runs
    from conure_lib.study.study import load_study

    if not render_only:
        pairs = all_runs(load_study(dataset, profile, None, "local"))
        runs = [run for _, group in pairs for run in group]
        common.print_written(*store.publish(s for run in runs for s in run.stages.values()))
    asked = load_study(dataset, profile)
    common.print_written(*render(asked))
    code = _draw(asked, local=False)
    drawn, figures = (paths.figures(profile, dataset, local) for local in (True, False))
    shutil.copytree(drawn, figures, ignore=shutil.ignore_patterns("*.pdf"), dirs_exist_ok=True)
    return code


@app.command()
def notebooks() -> None:
    """Execute the notebooks with their defaults and keep the outputs that the tests compare."""
    from conure_lib.study.notebooks import all_notebooks, refresh

    for notebook in all_notebooks():
        refresh(notebook)
        common.print_written(notebook)


@app.command()
def clean(what: What = None, dry_run: bool = False, as_json: AsJson = False) -> None:
    """Remove what can be computed (stages, streams) or fetched again, below ROOT/artifacts.

    Not while a study or a run is at work. Results, figures and the models of conure run stay.
    --dry-run: only say what would go.
    """
    names = dict.fromkeys(what or ("stages", "streams"))
    if unknown := set(names) - set(CACHES):
        raise ConfigError(f"--what: found {min(unknown)!r}, expected some of {', '.join(CACHES)}")
    folders = {name: CACHES[name]() for name in names}
    if linked := [folder for folder in folders.values() if folder.is_symlink()]:
        raise ConfigError(f"{linked[0]}: found a link, expected a folder; empty it by hand")
    rows = []
    for name, folder in folders.items():
        sizes = [file.lstat().st_size for file in folder.rglob("*") if not file.is_dir()]
        rows.append({"cache": name, "files": len(sizes), "bytes": sum(sizes)})
        if folder.is_dir() and not dry_run:
            shutil.rmtree(folder)
    if as_json:
        return common.print_json({"removed": not dry_run, "caches": rows})
    for row in rows:
        size, verb = row["bytes"] / 2**20, "would remove" if dry_run else "removed"
        print(f"{verb} {folders[row['cache']]}: {row['files']} files, {size:.1f} MiB")


def _draw(asked, local: bool) -> int:
    """Execute the notebooks on a study; return the exit code, which is 1 if one of them failed."""
    from conure_lib.study.notebooks import run_all

    config, results = asked.config, "local" if asked.local else "committed"
    where = config.profile, config.data.dataset
    parameters = {"DATASET": where[1], "PROFILE": where[0], "SEEDS": list(config.seeds)}
    folder = paths.results(*where, local) / "notebooks"
    rows = run_all(parameters | {"RESULTS": results}, folder)
    common.print_table(rows)
    common.print_written(folder, paths.figures(*where, local=True))
    return 1 if any(row["error"] for row in rows) else 0
