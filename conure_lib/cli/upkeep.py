"""Commands for the shell and the disk: clean, completion."""

import argparse
import shutil
from pathlib import Path

from conure_lib import paths
from conure_lib.cli.common import add_command, add_json, print_json, short
from conure_lib.errors import ConfigError

CACHES = {"stages": paths.stages, "streams": paths.streams, "downloads": paths.downloads}
UNIT = 1024.0


def clean(args: argparse.Namespace) -> int:
    """Removes caches below artifacts/: what can be computed (stages, streams) or fetched (downloads) again.

    Not while a study or a run is at work, which needs its stages. results/, figures/ and what conure run wrote
    stay.
    """
    chosen = list(CACHES) if "all" in args.what else list(dict.fromkeys(args.what))
    folders = [CACHES[name]() for name in chosen]
    for folder in folders:
        if folder.is_symlink():
            raise ConfigError(
                f"{folder} is a link; wanted: a folder below artifacts/; empty it by hand"
            )
    rows = [{"cache": name, **_size(folder)} for name, folder in zip(chosen, folders, strict=True)]
    for folder in folders:
        if folder.is_dir() and not args.dry_run:
            shutil.rmtree(folder)
    if args.json:
        print_json({"removed": not args.dry_run, "caches": rows})
        return 0
    for row, folder in zip(rows, folders, strict=True):
        said = "would remove" if args.dry_run else "removed"
        print(f"{said} {short(folder)}: {row['files']} files, {row['bytes'] / UNIT**2:.1f} MiB")
    return 0


def completion(args: argparse.Namespace) -> int:
    """Prints a script that completes commands and options in a shell.

    The script is made once from the parsers, so that the tabulator key waits for no import of PyTorch.
    """
    import shtab  # used here only

    print(shtab.complete(args.parser(), shell=args.shell))
    return 0


def add_commands(commands: argparse._SubParsersAction, parser) -> None:
    """One sub-command per function above. parser: makes the command line that ``completion`` completes."""
    examples = ("conure clean --dry-run", "conure clean --what streams", "conure clean --what all")
    sub = add_command(commands, clean, "clean", *examples)
    sub.add_argument(
        "--what",
        nargs="+",
        default=["stages", "streams"],
        choices=(*CACHES, "all"),
        help="default: stages streams",
    )
    sub.add_argument("--dry-run", action="store_true", help="only say what would go")
    add_json(sub, "the sizes")
    sub = add_command(
        commands,
        completion,
        "completion",
        'eval "$(conure completion bash)"  # now, in this shell',
        "conure completion bash > ~/.local/share/bash-completion/completions/conure  # for good",
        "conure completion zsh > ~/.zfunc/_conure  # a folder of $fpath",
    )
    sub.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    sub.set_defaults(parser=parser)


def _size(folder: Path) -> dict:
    files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    return {"files": len(files), "bytes": sum(file.stat().st_size for file in files)}
