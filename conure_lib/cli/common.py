"""What the commands share: options, and what they print."""

import contextlib
import json
from pathlib import Path
from typing import Annotated

from typer import Option

from conure_lib.config import DataConfig
from conure_lib.errors import ConfigError

AsJson = Annotated[bool, Option("--json", help="JSON on stdout, and nothing else there.")]
Options = Annotated[list[str] | None, Option("--option", metavar="NAME=VALUE")]
Count = Annotated[int, Option(min=1, max=1024)]


def data_config(dataset: str, pairs: list[str] | None) -> DataConfig:
    """Return a dataset with ``--option`` pairs; a value that reads as JSON is one, else text."""
    options = {}
    for name, found, value in (pair.partition("=") for pair in pairs or ()):
        if not found:
            raise ConfigError(f"--option: found {name!r}, expected NAME=VALUE")
        options[name] = value
        with contextlib.suppress(ValueError, RecursionError):
            options |= {name: json.loads(value)} if name != "path" else {}  # a folder may be "2024"
    return DataConfig(dataset, options)


def report(rows=None, files=(), notes=(), content=None, as_json=False) -> None:
    """Print all of a command's result as JSON, or its table, notes, and what was written."""
    import pandas as pd

    if as_json:
        return print(json.dumps(content, indent=1, ensure_ascii=False))
    if rows is not None:
        shown = {"float_format": "{:.4g}".format, "na_rep": ""}
        print(pd.DataFrame(rows).to_string(index=False, **shown))
    for line in (*notes, *(f"wrote {Path(file).absolute()}" for file in files)):
        print(line)
