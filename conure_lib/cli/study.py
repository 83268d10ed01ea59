"""Commands of the study: study, verdicts, reproduce; for maintainers tune, publish, notebooks; clean."""

import shutil
from typing import Annotated, Literal

from typer import Option, Typer

from conure_lib import paths
from conure_lib.cli.common import (
    AsJson,
    Cluster,
    Dataset,
    Profile,
    Seed,
    Seeds,
    Workers,
    examples,
    parse_names,
    parse_seeds,
    print_json,
    print_table,
    print_written,
)
from conure_lib.errors import ConfigError

app = Typer()
CACHES = {"stages": paths.stages, "streams": paths.streams, "downloads": paths.downloads}
What = Annotated[str, Option(metavar="NAME,...", help=f"Of {', '.join(CACHES)}; or all.")]
Results = Annotated[
    Literal["local", "committed"], Option(help="committed: train nothing, draw the reported ones.")
]
Datasets = Annotated[str, Option(metavar="NAME,...", help="Those with results unless given.")]
RenderOnly = Annotated[bool, Option("--render-only", help="The stages are published already.")]
DryRun = Annotated[bool, Option("--dry-run", help="Only say what would go.")]


@app.command(
    epilog=examples(
        "conure study  # complete-journey, one seed: a quarter of an hour",
        "conure study --dataset ml-100k --profile standard --seeds 1,2 --workers 2",
        "conure study --profile standard --cluster tcp://scheduler:8786",
        "conure study --profile standard --results committed",
    )
)
def study(
    dataset: Dataset = "complete-journey",
    profile: Profile = "quick",
    seeds: Seeds = "",
    workers: Workers = 1,
    cluster: Cluster = None,
    results: Results = "local",
) -> int:
    """Train what is missing of a study, write its tables, then draw its figures by executing every notebook.

    Writes ROOT/artifacts/stages, ROOT/results/local and ROOT/figures/local; committed results stay as they are.
    """
    from conure_lib.analysis.render import render
    from conure_lib.study.experiments import all_runs
    from conure_lib.study.study import load_study

    asked = load_study(dataset, profile, parse_seeds(seeds), results)
    for one, runs in all_runs(asked):
        if asked.local:
            one.compute(runs, workers, cluster)
        one.require(runs)
    if asked.local:
        print_written(*render(asked))
    return _execute_notebooks(dataset, profile, asked.config.seeds, results, local=True)


@app.command(epilog=examples("conure verdicts --datasets ml-100k,complete-journey"))
def verdicts(
    profile: Profile = "standard", datasets: Datasets = "", results: Results = "committed"
) -> None:
    """Decide every claim from results that exist; train nothing. Writes ROOT/results/local/claims.csv."""
    from conure_lib.analysis import claims
    from conure_lib.study.study import load_study

    folder = paths.results(profile, "", results == "local")
    reported = sorted(path.name for path in folder.glob("*") if path.is_dir())
    chosen = parse_names(datasets) or reported
    if not chosen:
        raise ConfigError(f"{folder}: found no results, expected some; run conure study first")
    columns = ["claim", "dataset", "verdict", "effect", "ci_low", "ci_high", "p_corrected"]
    for dataset in chosen:
        table = claims.ledger(load_study(dataset, profile, None, results))
        print_table(table[columns])
        claims.save(table, paths.claims(local=True))
    print_written(paths.claims(local=True))


@app.command(epilog=examples("conure reproduce --dataset complete-journey --seed 1 --workers 2"))
def reproduce(
    dataset: Dataset = "complete-journey",
    profile: Profile = "standard",
    seed: Seed = 1,
    workers: Workers = 1,
) -> None:
    """Recompute one seed of the committed results and compare measure by measure, verdict by verdict.

    On the same kind of processor the bits must be the same, on another the measures within the spread of the seeds.
    """
    from conure_lib.analysis.reproduce import reproduce as compare

    print_table(compare(dataset, profile, seed, workers))


@app.command(epilog=examples("conure tune --dataset ml-100k --profile standard --workers 2"))
def tune(
    dataset: Dataset = "complete-journey",
    profile: Profile = "quick",
    workers: Workers = 1,
    cluster: Cluster = None,
) -> None:
    """Search hyper-parameters on validation data of the tuning seed.

    Writes ROOT/results/local/tuning; copy the JSON file to conure_lib/study/settings to use it.
    """
    from conure_lib.study import tuning

    found = tuning.search(dataset, profile, workers, cluster)
    print_table(found.table().query("chosen").drop(columns="stage_id"))
    print_written(*tuning.write(found))


@app.command(epilog=examples("conure publish --dataset ml-100k --profile standard"))
def publish(
    dataset: Dataset = "complete-journey",
    profile: Profile = "standard",
    render_only: RenderOnly = False,
) -> int:
    """Make a finished study of your own the committed results: the one command that changes them.

    Refuses a dirty checkout, missing stages, and stages of several kinds of processors.
    """
    from conure_lib.analysis.render import render
    from conure_lib.pipeline import store
    from conure_lib.study.experiments import all_runs
    from conure_lib.study.study import load_study

    if not render_only:
        pairs = all_runs(load_study(dataset, profile, None, "local"))
        stages = [s for _, runs in pairs for run in runs for s in run.stages.values()]
        print_written(*store.publish(stages))
    published = load_study(dataset, profile)
    print_written(*render(published))
    seeds = published.config.seeds
    code = _execute_notebooks(dataset, profile, seeds, "committed", local=False)
    drawn, figures = (paths.figures(profile, dataset, local) for local in (True, False))
    shutil.copytree(drawn, figures, ignore=shutil.ignore_patterns("*.pdf"), dirs_exist_ok=True)
    return code


@app.command(epilog=examples("conure notebooks"))
def notebooks() -> None:
    """Execute the notebooks with their defaults and keep the outputs that the tests compare."""
    from conure_lib.study.notebooks import all_notebooks, refresh

    for notebook in all_notebooks():
        refresh(notebook)
        print_written(notebook)


@app.command(epilog=examples("conure clean --dry-run", "conure clean --what streams"))
def clean(what: What = "stages,streams", dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Remove what can be computed (stages, streams) or fetched (downloads) again, below ROOT/artifacts.

    Not while a study or a run is at work. Results, figures and the models of conure run stay.
    """
    names = list(CACHES) if what == "all" else list(dict.fromkeys(parse_names(what)))
    if unknown := set(names) - set(CACHES):
        expected = f"expected some of {', '.join(CACHES)}, or all"
        raise ConfigError(f"--what: found {min(unknown)!r}, {expected}")
    chosen = {name: CACHES[name]() for name in names}
    if linked := [folder for folder in chosen.values() if folder.is_symlink()]:
        raise ConfigError(f"{linked[0]}: found a link, expected a folder; empty it by hand")
    rows = []
    for name, folder in chosen.items():
        sizes = [file.lstat().st_size for file in folder.rglob("*") if not file.is_dir()]
        rows.append({"cache": name, "files": len(sizes), "bytes": sum(sizes)})
        if folder.is_dir() and not dry_run:
            shutil.rmtree(folder)
    if as_json:
        return print_json({"removed": not dry_run, "caches": rows})
    for row in rows:
        size, verb = row["bytes"] / 2**20, "would remove" if dry_run else "removed"
        print(f"{verb} {chosen[row['cache']]}: {row['files']} files, {size:.1f} MiB")


def _execute_notebooks(
    dataset: str, profile: str, seeds: tuple[int, ...], results: str, local: bool
) -> int:
    """Execute the notebooks; return the exit code, which is 1 if one of them failed."""
    from conure_lib.study.notebooks import run_all

    folder = paths.results(profile, dataset, local) / "notebooks"
    parameters = {"DATASET": dataset, "PROFILE": profile, "SEEDS": list(seeds), "RESULTS": results}
    rows = run_all(parameters, folder)
    print_table(rows)
    print_written(folder, paths.figures(profile, dataset, local=True))
    return 1 if any(row["error"] for row in rows) else 0
