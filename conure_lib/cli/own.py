"""Commands for one's own data: run, export, embed."""

import argparse
from pathlib import Path

from conure_lib import paths
from conure_lib.cli.common import (
    Parser,
    add_command,
    add_json,
    add_options,
    count,
    options,
    print_json,
    print_table,
    seed,
    short,
    whole,
)
from conure_lib.config import DEVICES, DataConfig
from conure_lib.data.registry import DATASETS, load
from conure_lib.data.sources.plan import SUFFIXES, read_plan
from conure_lib.data.options import MAX_LENGTH
from conure_lib.errors import ConfigError
from conure_lib.training.determinism import torch_threads
from conure_lib.user_models.export import embed_stream, embed_table, export, open_saved
from conure_lib.user_models.train import default_folder, known_methods, run

PLAN = """
FILE says which table is which task (YAML or JSON; files beside it, Parquet or CSV):

  events: plays.parquet                # columns user, item and, unless sorted, time: task T1
  tasks:                               # columns user, label
    - {name: T2, kind: ranking, file: likes.csv}
    - {name: T3, kind: classification, file: ages.csv}
  options: {length: 30, min_events: 5} # all from here on may be left out
  model: {width: 32, dilations: [1, 4]}
  train: {T1: {epochs: 20}, T2: {learning_rate: 0.001}}
  prune: {T1: 0.7, "*": 0.8}           # shares given back to later tasks

Append a task and run again: what is learned already is found, not trained again, and stays as it was to the
last bit. A killed run goes on where it was.
"""


def run_tasks(args: argparse.Namespace) -> int:
    """Trains one user model on the tasks of your own tables, one after the other."""
    plan = read_plan(args.tasks)
    folder = args.out or default_folder(plan, args.method)
    results = run(plan, folder, args.seed, args.workers, args.method, args.device)
    if args.json:
        print_json(results | {"folder": str(folder)})
        return 0
    print_table([_row(task) for task in results["tasks"]])
    if results["unchanged"]:
        print(
            f"after the last task all of {', '.join(results['unchanged'])} answer as when learned, to the bit"
        )
    print(f"wrote {short(folder)}")
    return 0


def _row(task: dict) -> dict:
    epochs = [f"{action} {at['best']} of {at['of']}" for action, at in task["epochs"].items()]
    row = {
        "task": task["task"],
        "what": task["what"],
        "metric": task["metric"],
        "value": f"{task['value']:.4f}",
    }
    row |= {
        "popularity": f"{task['popularity']:.4f}",
        "n": task["n"],
        "best epoch": ", ".join(epochs) or "none",
    }
    if task["owned"] is not None:
        row["weights owned"] = f"{task['owned']:,} ({task['owned_share']:.0%})"
        row["free then"] = f"{task['free_share']:.0%}"
    return row


def export_task(args: argparse.Namespace) -> int:
    """Writes the plain model of one task for use elsewhere, and checks that it gives the same outputs."""
    with torch_threads(1):
        made = export(
            open_saved(args.model, args.task), args.out, args.format == "torch-export", args.length
        )
    if args.json:
        print_json(made)
        return 0
    for file, difference in made["largest_difference"].items():
        print(
            f"{file}: outputs {'equal to the last bit' if difference == 0 else f'within {difference:.1e}'}"
        )
    print(f"wrote {', '.join(made['files'])} in {short(args.out)}")
    return 0


def embed(args: argparse.Namespace) -> int:
    """Writes one vector a user, as a task of a trained model sees them, to a Parquet file."""
    saved = open_saved(args.model, args.task)
    file = Path(args.data)
    with torch_threads(args.threads):
        if args.data in DATASETS:
            done = embed_stream(saved, load(DataConfig(args.data, options(args))), args.out)
        elif args.option:
            raise ConfigError(f"--option goes with the name of a dataset; {args.data!r} is none")
        elif file.is_dir() or file.suffix in SUFFIXES:
            plan = read_plan(file)
            done = embed_table(saved, plan.tables()[plan.content["events"]], args.out)
        else:
            done = embed_table(saved, file, args.out)
    if args.json:
        print_json(done | {"file": str(args.out)})
        return 0
    print(
        f"{done['users']} users; left out: {done['left_out']} users with too few events that the model knows, "
        f"{done['unknown_events']} events of items that it does not know"
    )
    print(f"wrote {short(args.out)}")
    return 0


def add_commands(commands: argparse._SubParsersAction) -> None:
    """One sub-command per function above."""
    sub = add_command(
        commands,
        run_tasks,
        "run",
        "conure run --tasks my_stream.yaml",
        "conure run --tasks my_stream.yaml --out model --seed 2 --json > results.json",
        "torchrun --nproc-per-node 2 -m conure_lib.cli run --tasks my_stream.yaml  # one model, two processes",
    )
    sub.description += "\n" + PLAN
    sub.add_argument("--tasks", required=True, type=Path, metavar="FILE", help="the plan")
    sub.add_argument(
        "--out", type=Path, metavar="FOLDER", help=f"default: {short(paths.models())}/NAME"
    )
    sub.add_argument(
        "--seed", type=seed, default=1, help="of initialisation, order, negatives (default 1)"
    )
    sub.add_argument(
        "--workers", type=count, default=1, help="stages computed side by side (default 1)"
    )
    sub.add_argument(
        "--method",
        default="Conure",
        choices=known_methods(),
        help="another one is measured only: it leaves no model of all tasks (default Conure)",
    )
    sub.add_argument(
        "--device", default="cpu", choices=DEVICES, help="where to train (default cpu)"
    )
    add_json(sub, "the results")
    sub = add_command(
        commands,
        export_task,
        "export",
        "conure export --model artifacts/runs/my_stream --task T2 --out t2",
        "conure export --model artifacts/runs/my_stream --task T2 --out t2 --format torch-export",
    )
    _which(sub)
    sub.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder")
    sub.add_argument(
        "--format",
        default="safetensors",
        choices=("safetensors", "torch-export"),
        help="torch-export: program.pt2 beside the safetensors and JSON files",
    )
    sub.add_argument(
        "--length",
        type=whole(1, MAX_LENGTH),
        help="items per sequence of the program (default: as trained)",
    )
    add_json(sub, "what was written")
    sub = add_command(
        commands,
        embed,
        "embed",
        "conure embed --model artifacts/runs/my_stream --task T2 --data plays.parquet --out vectors.parquet",
        "conure embed --model artifacts/stages/STAGE --task T1 --data complete-journey --out vectors.parquet",
    )
    _which(sub)
    sub.add_argument(
        "--data",
        required=True,
        metavar="FILE|NAME",
        help="a table of events (user, item, time), a plan, or a dataset, whose users are numbered from 0",
    )
    sub.add_argument("--out", required=True, type=Path, metavar="FILE", help="ends in .parquet")
    sub.add_argument(
        "--threads", type=count, default=1, help="of PyTorch (default 1: as in training)"
    )
    add_options(sub)
    add_json(sub, "the counts")


def _which(sub: Parser) -> None:
    sub.add_argument(
        "--model", required=True, type=Path, metavar="FOLDER", help="what conure run wrote"
    )
    sub.add_argument("--task", required=True, metavar="T")
