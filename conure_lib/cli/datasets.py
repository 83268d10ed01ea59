"""``conure data``: list the datasets, fetch one, describe its tasks."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Typer

from conure_lib.cli.common import AsJson, Options, parse_options, print_json, print_table

app = Typer(help="List, fetch and describe datasets.")
Name = Annotated[str, Argument(metavar="NAME")]
NameOrPlan = Annotated[str, Argument(metavar="NAME|PLAN")]


@app.command("list")
def list_datasets(as_json: AsJson = False) -> None:
    """List the datasets: what they are, whose terms they have, and whether they are here."""
    from conure_lib.data.registry import DATASETS, at_hand

    here = {config.dataset for config in at_hand()}
    rows = [
        {"name": name, "what": d.what, "from": d.origin, "terms": d.terms, "at_hand": name in here}
        for name, d in DATASETS.items()
    ]
    if as_json:
        return print_json(rows)
    for row in rows:
        print(f"{row['name']:<17} {row['what']}{' (at hand)' if row['at_hand'] else ''}")
        print(f"{'':<17} from: {row['from']}\n{'':<17} terms: {row['terms']}")


@app.command()
def fetch(dataset: Name, option: Options = None) -> None:
    """Download and prepare a dataset below ROOT/artifacts, verify it, and show its terms."""
    from conure_lib.config import DataConfig
    from conure_lib.data.registry import DATASETS, load, stored_at

    config = DataConfig(dataset, parse_options(option))
    stream, terms = load(config), DATASETS[dataset].terms
    sizes = f"{stream.n_users} users, {stream.n_items} items, {len(stream.tasks)} tasks"
    print(f"{stream.name}: {sizes}\nterms: {terms}")
    print(f"digest {stream.digest()}, in {stored_at(config)}")


@app.command()
def describe(dataset: NameOrPlan, option: Options = None, as_json: AsJson = False) -> None:
    """Describe the tasks of a dataset (fetched where needed) or of a plan of your own tables."""
    from conure_lib.config import DataConfig
    from conure_lib.data.registry import load
    from conure_lib.user_models.plan import SUFFIXES, read_plan

    if Path(dataset).suffix in SUFFIXES:
        stream = read_plan(dataset).stream()
    else:
        stream = load(DataConfig(dataset, parse_options(option)))
    about = {"name": stream.name, "digest": stream.digest(), "n_users": stream.n_users}
    about |= {"n_items": stream.n_items, "tasks": stream.describe(), "info": stream.info}
    if as_json:
        return print_json(about)
    print_table(about["tasks"])
    print(*stream.notes(), f"digest {about['digest']}", sep="\n")
