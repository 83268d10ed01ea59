"""What the commands share: options, and what they print."""

import contextlib
import json
from pathlib import Path
from typing import Annotated

from typer import Option

from conure_lib.errors import ConfigError

MAX_CHARACTERS = 1500  # of a message

AsJson = Annotated[bool, Option("--json", help="JSON on stdout, and nothing else there.")]
Options = Annotated[list[str] | None, Option("--option", metavar="NAME=VALUE")]
File = Annotated[Path, Option(metavar="PATH")]
Name = Annotated[str, Option(metavar="NAME")]
Dataset = Annotated[str, Option(metavar="NAME", help="See: conure data list.")]
Profile = Annotated[str, Option(metavar="NAME", help="smoke, quick or standard.")]
Seeds = Annotated[list[int] | None, Option("--seed", help="May be repeated; else the profile's.")]
Count = Annotated[int, Option(min=1, max=1024)]
Cluster = Annotated[str | None, Option(metavar="ADDRESS|FILE", help="A Dask scheduler to use.")]


def one_line(message: object) -> str:
    """Return a message that fits a terminal and does not steer it, whatever it quotes."""
    line = " ".join(str(message).split())
    if len(line) > MAX_CHARACTERS:
        half = MAX_CHARACTERS // 2
        line = f"{line[:half]} ... {line[-half:]}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def parse_options(pairs: list[str] | None) -> dict:
    """Return ``--option`` pairs; a value that reads as JSON (a number, true) is one, else text."""
    options = {}
    for pair in pairs or ():
        name, found, value = pair.partition("=")
        if not found:
            raise ConfigError(f"--option: found {pair!r}, expected NAME=VALUE")
        options[name] = value
        with contextlib.suppress(ValueError, RecursionError):
            options[name] = json.loads(value)
    return options


def print_json(value: object) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def print_table(rows: object) -> None:
    """Print rows (dictionaries or a DataFrame) as a table of aligned columns."""
    import pandas as pd

    print(pd.DataFrame(rows).to_string(index=False))


def print_written(*files: Path) -> None:
    """Say what was written, with its full path."""
    for file in files:
        print(f"wrote {file.absolute()}")
