"""What the commands share: options, and what they print."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from typer import Option

from conure_lib.config import DataConfig
from conure_lib.errors import ConfigError

JOURNEY = "complete-journey"
AsJson = Annotated[bool, Option("--json", help="JSON on stdout, and nothing else there.")]
Options = Annotated[list[str] | None, Option("--option", metavar="NAME=VALUE")]
File = Annotated[Path, Option(metavar="PATH")]
Name = Annotated[str, Option(metavar="NAME")]
Dataset = Annotated[str, Option(metavar="NAME", help="See: conure data list.")]
Profile = Literal["smoke", "quick", "standard"]
Seeds = Annotated[list[int] | None, Option("--seed", help="May be repeated; else the profile's.")]
Count = Annotated[int, Option(min=1, max=1024)]
Cluster = Annotated[str | None, Option(metavar="ADDRESS|FILE", help="A Dask scheduler to use.")]
Results = Annotated[Literal["local", "committed"], Option(help="Your own, or the reported ones.")]


def data_config(dataset: str, pairs: list[str] | None) -> DataConfig:
    """Return a dataset with ``--option`` pairs; a value that reads as JSON is one, else text."""
    options = {}
    for name, found, value in (pair.partition("=") for pair in pairs or ()):
        if not found:
            raise ConfigError(f"--option: found {name!r}, expected NAME=VALUE")
        options[name] = value
        with contextlib.suppress(ValueError, RecursionError):
            options[name] = json.loads(value)
    return DataConfig(dataset, options)


def print_json(value: object) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def print_table(rows: object) -> None:
    """Print rows (dictionaries or a DataFrame) as a table of aligned columns."""
    import pandas as pd

    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.4g}".format))


def print_written(*files: Path, notes: Iterable[str] = ()) -> None:
    """Print notes, and what was written, with its full path, a line each."""
    for line in (*notes, *(f"wrote {file.absolute()}" for file in files)):
        print(line)
