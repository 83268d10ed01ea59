"""Commands for one's own tables: run, export, embed."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Option, Typer

from conure_lib.cli import common
from conure_lib.cli.common import AsJson, Count, File, Name, Options, parse_options
from conure_lib.errors import ConfigError

PLAN = """Train one user model on the tasks of your own tables, one after the other.

The plan says which table is which task (YAML or JSON; the files are Parquet or CSV):

\b
  events: plays.parquet                # columns user, item and, unless sorted, time: task T1
  tasks:                               # columns user, label
    - {name: T2, kind: ranking, file: likes.csv}
    - {name: T3, kind: classification, file: ages.csv}
  columns: {user: customer, time: ts}  # all from here on may be left out
  options: {length: 30, min_events: 5}
  model: {width: 32, dilations: [1, 4]}
  train: {T1: {epochs: 20}, "*": {learning_rate: 0.001}}
  prune: {T1: 0.7, "*": 0.8}           # shares given back to later tasks

"*" means every task that is not named. Append a task and run again: what is learned already is
found, not trained again, and stays as it was to the last bit. A stopped run continues where it was.
"""
app = Typer()
RunFolder = Annotated[Path | None, Option(help="Unless given: ROOT/artifacts/models/NAME.")]
Method = Annotated[str, Option(help="Another one is measured only; it leaves no model.")]
Format = Literal["safetensors", "torch-export"]
Length = Annotated[int | None, Option(min=1, max=2**16, help="Items per sequence of the program.")]


@app.command(help=PLAN)
def run(
    tasks: File,
    out: RunFolder = None,
    seed: int = 1,
    workers: Count = 1,
    method: Method = "Conure",
    device: str = "cpu",
    as_json: AsJson = False,
) -> None:
    """Train what is new in a plan, and show each task's result beside that of popularity."""
    from conure_lib.user_models import train
    from conure_lib.user_models.plan import read_plan

    plan = read_plan(tasks)
    folder = out or train.default_folder(plan, method)
    results = train.run(plan, folder, seed, workers, method, device)
    if as_json:
        return common.print_json(results | {"folder": str(folder.absolute())})
    common.print_table([_row(task) for task in results["tasks"]])
    for note in results["notes"]:
        print(note)
    if results["unchanged"]:
        learned = ", ".join(results["unchanged"])
        print(f"after the last task, {learned} answer as when they were learned, to the last bit")
    common.print_written(folder)


def _row(task: dict) -> dict:
    row = {name: task[name] for name in ("task", "what", "metric", "value", "popularity", "n")}
    row |= {name: f"{row[name]:.4f}" for name in ("value", "popularity")}
    epochs = [f"{action} {at['best']} of {at['of']}" for action, at in task["epochs"].items()]
    row |= {"best epoch": ", ".join(epochs) or "none"}
    if task["owned"] is not None:
        row |= {"weights owned": f"{task['owned']:,} ({task['owned_share']:.0%})"}
        row |= {"free then": f"{task['free_share']:.0%}"}
    return row


@app.command()
def export(
    model: File,
    task: Name,
    out: File,
    format: Format = "safetensors",
    length: Length = None,
    as_json: AsJson = False,
) -> None:
    """Write the plain model of one task as a folder, and check that it gives the same outputs.

    --model is what conure run wrote, or a stage's folder; torch-export adds program.pt2.
    """
    from conure_lib.training.determinism import torch_threads
    from conure_lib.user_models import export as exporting

    with torch_threads(1):
        saved = exporting.open_saved(model, task)
        made = exporting.export(saved, out, format == "torch-export", length)
    if as_json:
        return common.print_json(made)
    for file, difference in made["largest_difference"].items():
        equal = "equal to the last bit" if difference == 0 else f"within {difference:.1e}"
        print(f"{file}: outputs {equal}")
    common.print_written(*(Path(made["folder"], file) for file in made["files"]))


@app.command()
def embed(
    model: File,
    task: Name,
    data: Name,
    out: File,
    threads: Count = 1,
    option: Options = None,
    as_json: AsJson = False,
) -> None:
    """Write one vector per user, as a task of a trained model sees them, to a Parquet file.

    --data is a table of events, a plan, or the name of a dataset, whose users are 0, 1, ...
    """
    from conure_lib.config import DataConfig
    from conure_lib.data.registry import DATASETS, load
    from conure_lib.training.determinism import torch_threads
    from conure_lib.user_models import export as exporting
    from conure_lib.user_models.plan import SUFFIXES, read_plan

    saved, options, source = exporting.open_saved(model, task), parse_options(option), Path(data)
    if data in DATASETS:
        source = load(DataConfig(data, options))
    elif options:
        raise ConfigError(f"--option: found it with {data!r}, expected the name of a dataset")
    elif source.suffix in SUFFIXES or source.is_dir():
        source = read_plan(source).tables()[0]
    with torch_threads(threads):
        done = exporting.embed(saved, source, out)
    if as_json:
        return common.print_json(done | {"file": str(out.absolute())})
    left_out = f"{done['left_out']} users with too few events, {done['unknown_events']} events"
    print(f"{done['users']} users; left out: {left_out} of unknown items")
    for note in done["notes"]:
        print(note)
    common.print_written(out)
