"""Commands of the study itself: study, figures, verdicts, tune, bench, site, readme, notebooks."""

import argparse

import pandas as pd

from conure_lib import paths
from conure_lib.analysis import claims, readme_tables
from conure_lib.analysis.render import write_dials, write_tables
from conure_lib.cli.common import add_command, count, scheduler, seed, short
from conure_lib.data.registry import DATASETS
from conure_lib.data.sources import synthetic
from conure_lib.errors import ConfigError
from conure_lib.study import tuning
from conure_lib.study.experiments import EXPERIMENTS, dial_runs, dials
from conure_lib.study.notebooks import all_notebooks, refresh, run_all
from conure_lib.study.profiles import PROFILES
from conure_lib.study.study import Run, Study, load_study


def study(args: argparse.Namespace) -> int:
    """Computes the graph of stages, writes the tables, then executes every notebook."""
    study = load_study(args.dataset, args.profile, args.seeds, "local")
    runs = _all_runs(study)
    study.compute(runs, args.workers, args.cluster)
    worlds = _worlds(study)
    for point, own in worlds:
        point.compute(own, args.workers, args.cluster)
    dialled = [run for _, own in worlds for run in own]
    for path in (*write_tables(study, runs), *([write_dials(study, dialled)] if dialled else [])):
        print(f"wrote {short(path)}")
    parameters = {
        "DATASET": args.dataset,
        "PROFILE": args.profile,
        "SEEDS": list(study.config.seeds),
    }
    folder = paths.results(args.profile, args.dataset, local=True) / "notebooks"
    rows = run_all(parameters, folder)
    print(pd.DataFrame(rows).to_string(index=False))
    print(
        f"executed notebooks: {short(folder)}; figures: {short(paths.figures(args.profile, args.dataset, local=True))}"
    )
    return 1 if any(row["error"] for row in rows) else 0


def figures(args: argparse.Namespace) -> int:
    """Redraws the figures by running the notebooks on results that exist; computes nothing new."""
    study = load_study(args.dataset, args.profile, args.seeds, "local")
    study.require(_all_runs(study))
    for point, runs in _worlds(study):
        point.require(runs)
    parameters = {
        "DATASET": args.dataset,
        "PROFILE": args.profile,
        "SEEDS": list(study.config.seeds),
    }
    rows = run_all(parameters, paths.results(args.profile, args.dataset, local=True) / "notebooks")
    print(pd.DataFrame(rows).to_string(index=False))
    return 1 if any(row["error"] for row in rows) else 0


def verdicts(args: argparse.Namespace) -> int:
    """Decides every claim from the committed results of a profile; trains nothing."""
    reported = [
        name
        for name in PROFILES[args.profile]
        if paths.results(args.profile, name, local=False).is_dir()
    ]
    chosen = args.datasets or reported
    if not chosen:
        raise ConfigError(
            f"profile {args.profile!r} has no results yet; run: make study PROFILE={args.profile}"
        )
    for dataset in chosen:
        table = claims.ledger(load_study(dataset, args.profile))
        print(
            table[
                ["claim", "dataset", "verdict", "effect", "ci_low", "ci_high", "p_corrected"]
            ].to_string()
        )
        path = paths.claims(local=True)
        claims.save(table, path)
    print(f"wrote {short(path)}")
    return 0


def tune(args: argparse.Namespace) -> int:
    """Searches hyper-parameters on the tuning seed's validation data; the library takes what it chooses."""
    found = tuning.search(args.dataset, args.profile, args.workers, args.cluster)
    table = found.table()
    print(table[table["chosen"]].drop(columns="stage_id").to_string(index=False))
    for path in tuning.write(found):
        print(f"wrote {short(path)}")
    return 0


def readme(args: argparse.Namespace) -> int:
    """Rewrites the tables that README.md quotes, out of the committed results; runs nothing."""
    print(f"wrote {short(readme_tables.write())}")
    return 0


def notebooks(args: argparse.Namespace) -> int:
    """Executes the notebooks with their defaults and keeps the outputs that the tests compare."""
    for notebook in all_notebooks():
        print(notebook.name)
        refresh(notebook)
    return 0


def add_commands(commands: argparse._SubParsersAction) -> None:
    """One sub-command per function above."""
    sub = add_command(
        commands,
        study,
        "study",
        "conure study  # complete-journey, one seed: a quarter of an hour",
        "conure study --dataset ml-100k --profile standard --seeds 1 2 --workers 2",
        "conure study --profile standard --cluster tcp://scheduler:8786",
    )
    _which(sub)
    sub.add_argument("--seeds", type=seed, nargs="+", help="instead of the profile's seeds")
    _workers(sub)
    sub = add_command(
        commands, figures, "figures", "conure figures --dataset ml-100k --profile standard"
    )
    _which(sub)
    sub.add_argument("--seeds", type=seed, nargs="+", help="instead of the profile's seeds")
    sub = add_command(
        commands, tune, "tune", "conure tune --dataset ml-100k --profile standard --workers 2"
    )
    _which(sub)
    _workers(sub)
    sub = add_command(
        commands,
        verdicts,
        "verdicts",
        "conure verdicts",
        "conure verdicts --profile standard --datasets ml-100k",
    )
    sub.add_argument("--profile", default="standard", choices=list(PROFILES))
    sub.add_argument(
        "--datasets", nargs="+", choices=sorted(DATASETS), help="those with results unless given"
    )
    add_command(commands, readme, "readme", "conure readme  # after new results or measurements")
    add_command(commands, notebooks, "notebooks", "conure notebooks")


def _which(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--dataset", default="complete-journey", choices=sorted(DATASETS))
    sub.add_argument("--profile", default="quick", choices=list(PROFILES))


def _workers(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--workers", type=count, default=1, help="stages computed side by side (default 1)"
    )
    sub.add_argument(
        "--cluster",
        type=scheduler,
        metavar="ADDRESS|FILE",
        help="a Dask cluster in place of --workers: tcp://host:port, or its scheduler file",
    )


def _all_runs(study: Study) -> list[Run]:
    return [run for experiment in EXPERIMENTS.values() for run in experiment(study)]


def _worlds(study: Study) -> list[tuple[Study, list[Run]]]:
    """The synthetic study's other worlds and their runs (notebook 09); each has a stream of its own."""
    points = dials(study) if study.config.data.dataset == synthetic.NAME else {}
    return [(point, dial_runs({name: point})) for name, point in points.items()]
