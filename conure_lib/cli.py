"""The command ``conure``: a thin layer over the library."""

import argparse
import contextlib
import json
import sys
from pathlib import Path

import pandas as pd

from . import claims, paths, site, tuning
from .bench.compare import run_compare
from .bench.inference import run_inference
from .bench.measure import BenchError
from .bench.run import run_bench
from .bench.scale import run_scale
from .config import ConfigError, DataConfig
from .data import BUILDERS, DataError, load, synthetic
from .experiment import Run, Study, publish
from .experiments import EXPERIMENTS, dial_runs, dials
from .notebooks import NotebookError, all_notebooks, refresh, run_all
from .profiles import PROFILES, study_config
from .report import write_dials, write_tables
from .site import SiteError
from .stages import MissingResult

MISTAKES = (ConfigError, DataError, NotebookError, MissingResult, BenchError, SiteError)


def study(args: argparse.Namespace) -> int:
    """Computes the graph of stages, writes the tables, then executes every notebook."""
    study = Study(study_config(args.dataset, args.profile, tuple(args.seeds) if args.seeds else None))
    runs = _all_runs(study)
    study.compute(runs, args.workers, args.reuse)
    worlds = _worlds(study)
    for point, own in worlds:
        point.compute(own, args.workers, args.reuse)
    dialled = [run for _, own in worlds for run in own]
    if args.profile != "smoke":
        publish(stage for run in (*runs, *dialled) for stage in run.stages.values())
    for path in (*write_tables(study, runs), *([write_dials(study, dialled)] if dialled else [])):
        print(f"wrote {_short(path)}")
    parameters = {"DATASET": args.dataset, "PROFILE": args.profile, "SEEDS": list(study.config.seeds)}
    folder = paths.executed(args.profile, args.dataset)
    rows = run_all(parameters, folder)
    print(pd.DataFrame(rows).to_string(index=False))
    print(f"executed notebooks: {_short(folder)}; figures: {_short(paths.figures(args.profile, args.dataset))}")
    return 1 if any(row["error"] for row in rows) else 0


def figures(args: argparse.Namespace) -> int:
    """Redraws the figures by running the notebooks on results that exist; computes nothing new."""
    study = Study(study_config(args.dataset, args.profile, tuple(args.seeds) if args.seeds else None))
    for point, runs in ((study, _all_runs(study)), *_worlds(study)):
        point.require(runs)
    parameters = {"DATASET": args.dataset, "PROFILE": args.profile, "SEEDS": list(study.config.seeds)}
    rows = run_all(parameters, paths.executed(args.profile, args.dataset))
    print(pd.DataFrame(rows).to_string(index=False))
    return 1 if any(row["error"] for row in rows) else 0


def verdicts(args: argparse.Namespace) -> int:
    """Decides every claim from the committed results of a profile; trains nothing."""
    for dataset in args.datasets or PROFILES[args.profile]:
        table = claims.ledger(Study(study_config(dataset, args.profile)))
        print(table[["claim", "dataset", "verdict", "effect", "ci_low", "ci_high", "p_corrected"]].to_string())
        path = claims.write(table)
    print(f"wrote {_short(path)}")
    return 0


def tune(args: argparse.Namespace) -> int:
    """Searches hyper-parameters on the tuning seed's validation data; the library takes what it chooses."""
    found = tuning.search(args.dataset, args.profile, args.workers)
    table = found.table()
    print(table[table["chosen"]].drop(columns="stage_id").to_string(index=False))
    for path in tuning.write(found, args.dataset):
        print(f"wrote {_short(path)}")
    return 0


def data(args: argparse.Namespace) -> int:
    """Prepares a dataset (fetching it where that is allowed) and describes its tasks."""
    options = dict(_option(pair) for pair in args.option)
    stream = load(DataConfig(args.dataset, options))
    print(pd.DataFrame(stream.describe()).to_string(index=False))
    print(f"digest {stream.digest()}")
    return 0


def bench(args: argparse.Namespace) -> int:
    """Measures speed: run (all against plain references), inference, scale (sizes), compare BASE (a commit)."""
    if (args.base is not None) != (args.what == "compare"):
        raise ConfigError("conure bench compare needs the commit to compare with; the others take none")
    if args.what == "compare":
        run_compare(args.base, args.rounds, args.threads, args.quick)
        return 0
    if args.what == "scale":
        run_scale(args.threads, args.quick)
    elif args.what == "inference":
        run_inference(args.rounds, args.threads, args.quick)
    else:
        run_bench(args.rounds, args.threads, args.quick)
    print(f"wrote {_short(paths.bench(args.quick))}")
    return 0


def pages(args: argparse.Namespace) -> int:
    """Writes the report as static pages out of what is committed or computed; runs nothing."""
    print(f"wrote {_short(site.build(args.out))}")
    return 0


def notebooks(args: argparse.Namespace) -> int:
    """Executes the notebooks with their defaults and keeps the outputs that the tests compare."""
    for notebook in all_notebooks():
        print(notebook.name)
        refresh(notebook)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line: one sub-command per function above."""
    main = argparse.ArgumentParser("conure", description="Continual user representations: a reproducible study.")
    commands = main.add_subparsers(required=True, metavar="COMMAND")

    def command(function, name: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=function.__doc__.splitlines()[0], description=function.__doc__)
        sub.set_defaults(function=function)
        return sub

    for function, name in ((study, "study"), (figures, "figures"), (tune, "tune")):
        sub = command(function, name)
        sub.add_argument("--dataset", default="complete-journey", choices=sorted(BUILDERS))
        sub.add_argument("--profile", default="quick", choices=list(PROFILES))
        if name != "tune":
            sub.add_argument("--seeds", type=int, nargs="+", help="instead of the profile's seeds")
        if name == "study":
            sub.add_argument("--reuse", action="store_true", help="committed results count as computed")
        if name != "figures":
            sub.add_argument("--workers", type=int, default=1, help="stages computed side by side (default 1)")
    sub = command(verdicts, "verdicts")
    sub.add_argument("--profile", default="standard", choices=list(PROFILES))
    sub.add_argument("--datasets", nargs="+", choices=sorted(BUILDERS), help="all of the profile unless given")
    sub = command(data, "data")
    sub.add_argument("dataset", choices=sorted(BUILDERS))
    sub.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the builder"
    )
    sub = command(bench, "bench")
    sub.add_argument("what", nargs="?", default="run", choices=("run", "inference", "scale", "compare"))
    sub.add_argument("base", nargs="?", metavar="BASE", help="the commit that compare measures against")
    sub.add_argument("--rounds", type=_positive, default=5, help="interleaved rounds at least (default 5)")
    sub.add_argument("--threads", type=_positive, default=2, help="of PyTorch (default 2)")
    sub.add_argument("--quick", action="store_true", help="toy sizes, whose numbers mean nothing")
    sub = command(pages, "site")
    sub.add_argument("--out", type=Path, metavar="FOLDER", help="instead of artifacts/site")
    command(notebooks, "notebooks")
    return main


def main(argv: list[str] | None = None) -> int:
    """Exit code 0: done; 1: a notebook failed; 2: a mistake in what was asked for, in one line."""
    args = parser().parse_args(argv)
    try:
        return args.function(args)
    except MISTAKES as mistake:
        print(f"conure: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("conure: stopped; the same command goes on where it was", file=sys.stderr)
        return 130


def _all_runs(study: Study) -> list[Run]:
    return [run for experiment in EXPERIMENTS.values() for run in experiment(study)]


def _worlds(study: Study) -> list[tuple[Study, list[Run]]]:
    """The synthetic study's other worlds and their runs (notebook 09); each has a stream of its own."""
    points = dials(study) if study.config.data.dataset == synthetic.NAME else {}
    return [(point, dial_runs({name: point})) for name, point in points.items()]


def _option(pair: str) -> tuple[str, object]:
    """NAME=VALUE; a value that reads as JSON (a number, true, null) is taken as such, else as text."""
    name, found, value = pair.partition("=")
    if not found:
        raise ConfigError(f"--option {pair!r}; wanted: NAME=VALUE")
    with contextlib.suppress(ValueError):
        return name, json.loads(value)
    return name, value


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _short(path: Path) -> str:
    return str(path.relative_to(paths.ROOT)) if path.is_relative_to(paths.ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main())
