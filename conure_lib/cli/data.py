"""Commands on data (list, fetch, describe), and those for one's own tables (run, export, embed)."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Option, Typer

from conure_lib.cli.common import AsJson, Count, Options, data_config, report
from conure_lib.config import DataConfig
from conure_lib.errors import ConfigError

PLAN = """Train one user model on the tasks of your own tables, one after the other.

The plan says which table is which task (YAML or JSON; the files are Parquet or CSV):

\b
  events: plays.parquet                # columns user, item and, unless sorted, time: task T1
  tasks:                               # columns user, label
    - {name: T2, kind: ranking, file: likes.csv}
    - {name: T3, kind: classification, file: ages.csv}
  columns: {user: customer, time: ts}  # all from here on may be left out
  options: {length: 100, min_events: 5}
  model: {width: 64}                   # or {backbone: gru}, {backbone: sasrec}
  train: {T1: {epochs: 20}, "*": {patience: 8}}  # "*": every task; a task's own come first
  prune: {T1: 0.7, "*": 0.8}           # shares given back to later tasks; "*": those not named
  grow_below: 0.05                     # with less of the network free, a later task adds a block

Append a task and run again: what is learned already is not trained again, and stays as it was to
the last bit. --out: the model's folder, ROOT/artifacts/models/NAME unless given. --anew: replace a
model there even if its tasks would answer differently. --method: only measure another one."""
app, data = Typer(), Typer(help="List, fetch and describe datasets.")
app.add_typer(data, name="data")
File = Annotated[Path, Option(metavar="PATH")]
Name = Annotated[str, Option(metavar="NAME")]
Length = Annotated[int | None, Option(min=1, max=2**16, help="Items per sequence of the program.")]


@data.command("list")
def list_datasets(as_json: AsJson = False) -> None:
    """List the datasets: what they are, whose terms they have, and whether they are here."""
    from conure_lib.data.registry import DATASETS, is_at_hand

    rows = [
        {"name": name, "what": d.what, "from": d.origin, "terms": d.terms}
        | {"at_hand": is_at_hand(DataConfig(name))}
        for name, d in DATASETS.items()
    ]
    lines = "{name}: {what}\n  from: {from}\n  terms: {terms}\n  at hand: {at_hand}"
    report(None, (), [lines.format(**row) for row in rows], rows, as_json)


@data.command()
def fetch(dataset: str, option: Options = None) -> None:
    """Download and prepare a dataset below ROOT/artifacts, verify it, and show its terms."""
    from conure_lib.data.registry import DATASETS, load, stored_at

    stream, where = load(config := data_config(dataset, option)), stored_at(config)
    sizes = f"{stream.n_users} users, {stream.n_items} items, {len(stream.tasks)} tasks"
    print(f"{stream.name}: {sizes}\nterms: {DATASETS[dataset].terms}")
    print(f"digest {stream.digest()}, in {where}")


@data.command()
def describe(name_or_plan: str, option: Options = None, as_json: AsJson = False) -> None:
    """Describe the tasks of a dataset (fetched where needed) or of a plan of your own tables."""
    from conure_lib.data.registry import DATASETS, load
    from conure_lib.user_models.plan import SUFFIXES, read_plan

    plan = Path(name_or_plan)
    if name_or_plan in DATASETS or not (plan.suffix in SUFFIXES or plan.is_dir()):
        stream = load(data_config(name_or_plan, option))
    elif option:
        raise ConfigError("--option: found it with a plan, expected the name of a dataset")
    else:
        stream = read_plan(plan).stream()
    about = {name: getattr(stream, name) for name in ("name", "n_users", "n_items", "info")}
    about |= {"tasks": stream.describe(), "digest": stream.digest()}
    report(about["tasks"], (), [*stream.notes(), f"digest {about['digest']}"], about, as_json)


@app.command(help=PLAN)
def run(
    tasks: File,
    out: Path | None = None,
    seed: Annotated[int, Option(min=0)] = 1,
    workers: Count = 1,
    method: str = "Conure",
    device: Literal["cpu", "cuda"] = "cpu",
    anew: bool = False,
    as_json: AsJson = False,
) -> None:
    """Train what is new in a plan, and show each task's result beside those of two floors."""
    import pandas as pd

    from conure_lib.user_models.plan import read_plan
    from conure_lib.user_models.train import run as train

    results = train(read_plan(tasks), out, seed, workers, method, device, anew)
    table = pd.DataFrame(results["tasks"]).drop(columns="stage").dropna(axis="columns", how="all")
    table["epochs"] = [
        ", ".join(f"{action} {at['best']} of {at['of']}" for action, at in epochs.items())
        for epochs in table["epochs"]
    ]
    report(table, [results["folder"]], results["notes"], results, as_json)


@app.command()
def export(
    model: File,
    task: Name,
    out: File,
    format: Literal["safetensors", "torch-export"] = "safetensors",
    length: Length = None,
    as_json: AsJson = False,
) -> None:
    """Write the plain model of one task as a folder, and check that it gives the same outputs.

    --model is what conure run wrote, or a stage's folder; torch-export adds program.pt2.
    """
    from conure_lib.user_models.export import export, open_saved

    made = export(open_saved(model, task), out, format == "torch-export", length)
    notes = [f"{file}: outputs differ by {d:.1e}" for file, d in made["largest_difference"].items()]
    report(None, [Path(made["folder"], file) for file in made["files"]], notes, made, as_json)


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
    from conure_lib.data.registry import DATASETS, load
    from conure_lib.training.determinism import limited_threads
    from conure_lib.user_models import export as exporting
    from conure_lib.user_models.plan import SUFFIXES, read_plan

    saved, source = exporting.open_saved(model, task), Path(data)
    if data in DATASETS:
        source = load(data_config(data, option))
    elif option:
        raise ConfigError(f"--option: found it with {data!r}, expected the name of a dataset")
    elif source.suffix in SUFFIXES or source.is_dir():
        source = read_plan(source).tables()[0]
    with limited_threads(threads):
        done = exporting.embed(saved, source, out)
    left_out = f"{done['left_out']} users with too few events, {done['unknown_events']} events"
    notes = [f"{done['users']} users; left out: {left_out} of unknown items", *done["notes"]]
    report(None, [out], notes, done | {"file": str(out.absolute())}, as_json)
