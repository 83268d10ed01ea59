"""``conure data``: which datasets there are, bring one here, describe its tasks."""

import argparse

from conure_lib.cli.common import (
    Parser,
    add_command,
    add_json,
    add_options,
    options,
    print_json,
    print_table,
    short,
)
from conure_lib.config import DataConfig
from conure_lib.data.registry import DATASETS, at_hand, load, stored_at


def list_datasets(args: argparse.Namespace) -> int:
    """Lists the datasets: what they are, whose terms they have, and whether they are at hand."""
    ready = {config.dataset for config in at_hand()}
    rows = [
        {
            "name": name,
            "what": source.what,
            "from": source.origin,
            "terms": source.terms,
            "at_hand": name in ready,
        }
        for name, source in DATASETS.items()
    ]
    if args.json:
        print_json(rows)
        return 0
    for row in rows:
        print(f"{row['name']:<17} {row['what']}")
        print(f"{'':<17} from: {row['from']}{' (at hand)' if row['at_hand'] else ''}")
        print(f"{'':<17} terms: {row['terms']}")
    return 0


def fetch(args: argparse.Namespace) -> int:
    """Brings a dataset here and prepares it: downloads are verified, terms are shown."""
    config = DataConfig(args.dataset, options(args))
    stream = load(config)
    print(
        f"{stream.name}: {stream.n_users} users, {stream.n_items} items, {len(stream.tasks)} tasks"
    )
    print(f"terms: {DATASETS[args.dataset].terms}")
    print(f"digest {stream.digest()}, in {short(stored_at(config))}")
    return 0


def describe(args: argparse.Namespace) -> int:
    """Describes a dataset's tasks (prepares it first, and fetches it where that is allowed)."""
    stream = load(DataConfig(args.dataset, options(args)))
    if args.json:
        about = {"name": stream.name, "digest": stream.digest(), "n_users": stream.n_users}
        about |= {"n_items": stream.n_items, "tasks": stream.describe(), "info": stream.info}
        print_json(about)
        return 0
    print_table(stream.describe())
    print(f"digest {stream.digest()}")
    return 0


def add_commands(commands: argparse._SubParsersAction) -> None:
    """``data`` with one sub-command per function above."""
    data = commands.add_parser(
        "data",
        help="lists, fetches and describes datasets",
        description="Lists, fetches and describes datasets.",
        epilog="examples:\n  conure data list\n  conure data describe synthetic",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    inner = data.add_subparsers(required=True, metavar="COMMAND")
    add_json(
        add_command(inner, list_datasets, "list", "conure data list", "conure data list --json"),
        "the list",
    )
    sub = add_command(
        inner,
        fetch,
        "fetch",
        "conure data fetch ml-25m",
        "CONURE_ALLOW_WHEEL=1 conure data fetch ml-100k",
        "conure data fetch ttl --option path=FOLDER",
    )
    _which(sub)
    sub = add_command(
        inner,
        describe,
        "describe",
        "conure data describe complete-journey",
        "conure data describe synthetic --option n_users=500 --json",
        "conure data describe custom --option path=my_stream.yaml",
    )
    _which(sub)
    add_json(sub, "the description")


def _which(sub: Parser) -> None:
    sub.add_argument(
        "dataset", metavar="NAME", choices=sorted(DATASETS), help=", ".join(sorted(DATASETS))
    )
    add_options(sub)
