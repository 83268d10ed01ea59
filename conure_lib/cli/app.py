"""The command line, and what ends a command: an exit code, and one line if something is wrong."""

import contextlib
import sys
import warnings

import typer

from conure_lib import paths
from conure_lib.cli import data, demo, study
from conure_lib.errors import ConureError

HELP = f"""Continual user representations: a reproducible study, and models of your own tables.

Commands write only to ROOT/artifacts, ROOT/results/local, ROOT/figures/local and where --out says;
publish alone changes committed results, notebooks the notebooks. ROOT is CONURE_ROOT, else the
checkout that the package lies in, else the current folder: now {paths.ROOT}."""
EXAMPLES = """\b
examples:
  conure run --tasks my_stream.yaml
  conure export --model artifacts/models/my_stream --task T2 --out t2
  conure embed --model artifacts/models/my_stream --task T2 --data plays.csv --out vectors.parquet
  conure study  # complete-journey, one seed: a quarter of an hour
  conure study --profile standard --results committed  # draws the reported results

exit codes: 0 done; 1 a notebook, a check, a download, a training, a worker or the disk failed; 2 a
mistake in what was asked for, said in one line; 130 stopped, and the same command continues"""

PLAIN = {"rich_markup_mode": None, "pretty_exceptions_enable": False}
NAMES = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(help=HELP, epilog=EXAMPLES, context_settings=NAMES, **PLAIN)
app.add_typer(demo.app)
app.add_typer(data.app)
app.add_typer(study.app)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code (see ``conure --help``)."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a notebook's or a test's own stream
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    # scikit-learn's joblib, which nothing here uses in parallel, where /dev/shm is read-only
    warnings.filterwarnings("ignore", ".*joblib will operate in serial mode")
    try:
        code = app(arguments, prog_name="conure", standalone_mode=False) or 0
    except typer.TyperException as mistake:
        command = getattr(getattr(mistake, "ctx", None), "command_path", "conure")
        return _say(
            f"{mistake.format_message().replace('Value error, ', '')} See: {command} --help",
            mistake.exit_code,
        )
    except (ConureError, FloatingPointError) as error:  # the latter: training diverged
        return _say(error, getattr(error, "exit_code", 1))
    except MemoryError as error:
        return _say(f"found too little memory ({error}), expected smaller sizes", 2)
    except OSError as error:
        if error.filename is None:
            raise
        return _say(f"{error.filename}: found {error.strerror}, expected a usable path", 2)
    if code == 130:  # what Typer makes of an interruption
        return _say("stopped; the same command continues where it was", code)
    return code


def _say(what: object, code: int) -> int:
    """Print a line that fits a terminal and does not steer it, whatever it quotes."""
    notes = getattr(what, "__notes__", ())  # e.g. in which stage
    line = " ".join("; ".join([str(what), *notes]).split())
    line = line if len(line) <= 1500 else f"{line[:750]} ... {line[-750:]}"
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    print(f"conure: {shown}", file=sys.stderr)
    return code
