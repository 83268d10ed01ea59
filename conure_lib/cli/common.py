"""What the sub-commands share: parsers whose errors are one line, options, tables or JSON on stdout."""

import argparse
import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from conure_lib import paths
from conure_lib.config import MAX_INT
from conure_lib.errors import ConfigError
from conure_lib.pipeline.scheduler import scheduler_address

MAX_CHARACTERS = 1500  # of a message
Command = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """argparse's parser, but a mistake is one line on stderr (and exit code 2) instead of the whole usage."""

    def error(self, message: str) -> None:
        """One line on stderr that names the mistake, then exit code 2."""
        self.exit(2, f"{self.prog}: {one_line(message)}; see {self.prog} --help\n")


def one_line(message: object) -> str:
    """A message that fits a terminal and does not steer it, whatever names and values of files it quotes."""
    line = " ".join(str(message).split())
    if len(line) > MAX_CHARACTERS:
        half = MAX_CHARACTERS // 2
        line = f"{line[:half]} ... {line[-half:]}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def add_command(
    commands: argparse._SubParsersAction, function: Command, name: str, *examples: str
) -> Parser:
    """A sub-command that calls ``function``; its help is the function's docstring and ends with the examples."""
    sub = commands.add_parser(
        name,
        help=function.__doc__.splitlines()[0],
        description=function.__doc__,
        epilog="\n".join(("examples:", *(f"  {example}" for example in examples))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.set_defaults(function=function)
    return sub


def add_json(sub: Parser, what: str) -> None:
    """The switch ``--json``; what: that it prints."""
    sub.add_argument(
        "--json", action="store_true", help=f"{what} as JSON on stdout, and nothing else there"
    )


def add_options(sub: Parser) -> None:
    """The repeatable ``--option NAME=VALUE``; see ``options``."""
    sub.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the builder",
    )


def options(args: argparse.Namespace) -> dict:
    """The ``--option`` pairs; a value that reads as JSON (a number, true, null) is taken as such, else as text."""
    return dict(_option(pair) for pair in args.option)


def whole(low: int, high: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number between these bounds."""

    def number(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", text) or not low <= int(text) <= high:
            shown = text if len(text) <= 40 else f"{text[:40]}..."
            raise argparse.ArgumentTypeError(
                f"found {shown!r}, wanted a whole number from {low} to {high}"
            )
        return int(text)

    return number


def amount(text: str) -> float:
    """The type of an argument that is a number above 0, and no more than a billion."""
    if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,10})?", text) or not 0 < float(text) <= 1e9:
        raise argparse.ArgumentTypeError(
            f"found {text[:40]!r}, wanted a number above 0, such as 0.04"
        )
    return float(text)


def scheduler(text: str) -> str:
    """The type of an argument that is a Dask scheduler's address or scheduler file: the address."""
    try:
        return scheduler_address(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


count, seed = whole(1, 1024), whole(0, MAX_INT)


def print_json(value: object) -> None:
    """A value as JSON on stdout."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def print_table(rows: list[dict]) -> None:
    """Rows as a table of aligned columns on stdout."""
    print(pd.DataFrame(rows).to_string(index=False))


def short(path: Path) -> str:
    """A path as seen from the root of the study, if it lies below it."""
    return str(path.relative_to(paths.ROOT)) if path.is_relative_to(paths.ROOT) else str(path)


def _option(pair: str) -> tuple[str, object]:
    name, found, value = pair.partition("=")
    if not found:
        raise ConfigError(f"--option {pair!r}; wanted: NAME=VALUE")
    with contextlib.suppress(ValueError, RecursionError):
        return name, json.loads(value)
    return name, value
