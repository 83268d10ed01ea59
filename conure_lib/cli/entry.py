"""The whole command line and its exit codes."""

import argparse
import sys

from conure_lib.cli import datasets, own, studies, upkeep
from conure_lib.cli.common import Parser, one_line
from conure_lib.errors import (
    ClusterError,
    ConfigError,
    DamagedResultError,
    DataError,
    MissingResultError,
    ModelFileError,
    NotebookError,
    PhaseError,
    StorageError,
    VerificationError,
)

MISTAKES = (
    *(
        ConfigError,
        DataError,
        NotebookError,
        MissingResultError,
        ModelFileError,
        PhaseError,
    ),
)
FAILURES = (VerificationError, ClusterError, DamagedResultError, FloatingPointError, StorageError)
EPILOG = """examples:
  conure data list
  conure run --tasks my_stream.yaml
  conure study --dataset complete-journey --profile quick

exit codes: 0 done; 1 a notebook, a check, a worker or the disk failed; 2 a mistake in what was asked for, said in
one line; 130 stopped, and the same command goes on where it was"""


def parser() -> Parser:
    """The command line with all sub-commands."""
    main = Parser(
        "conure",
        description="Continual user representations: a reproducible study.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = main.add_subparsers(required=True, metavar="COMMAND")
    datasets.add_commands(commands)
    own.add_commands(commands)
    studies.add_commands(commands)
    upkeep.add_commands(commands, parser)
    return main


def main(argv: list[str] | None = None) -> int:
    """Exit code 0: done; 1: a notebook, check, worker or disk failed; 2: a mistake; 130: stopped."""
    args = parser().parse_args(argv)
    try:
        return args.function(args)
    except MISTAKES as mistake:
        return _said(mistake, 2)
    except FAILURES as failure:
        return _said(failure, 1)
    except OSError as error:
        if error.filename is None:
            raise
        return _said(f"{error.filename}: found {error.strerror}; wanted a path that can be used", 2)
    except MemoryError as error:
        return _said(f"found too little memory ({error}); wanted smaller sizes", 2)
    except KeyboardInterrupt:
        return _said("stopped; the same command goes on where it was", 130)


def _said(what: object, code: int) -> int:
    notes = "".join(f"; {note}" for note in getattr(what, "__notes__", ()))  # e.g. in which stage
    print(f"conure: {one_line(f'{what}{notes}')}", file=sys.stderr)
    return code
