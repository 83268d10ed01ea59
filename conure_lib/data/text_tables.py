"""Reads text files safely: members of zips, files in folders, lines and their fields; all within bounds."""

import hashlib
import io
import lzma
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pyarrow as pa
from pyarrow import csv

from conure_lib.errors import DataError

LIMIT = 2 << 30  # bytes; the largest file read here (ratings.csv of MovieLens 32M) has 0.9e9
BLOCK = 1 << 20
RATIO = 100  # a member that grows more is no table: those read here shrink to a quarter or so
MEND = "correct the line, or get the file again"
BAD_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
)
"""What zipfile raises for zips that are damaged, encrypted, or packed in a way that it does not know."""


def read_member(archive: Path, member: str, *, limit: int = LIMIT) -> bytes:
    """One member of a zip by its exact name, into memory: the zip never decides where anything is written.

    Raises DataError for a broken zip, a member that is not there exactly once, one beyond ``limit`` bytes, one
    that grows more than ``RATIO`` times, or one with a line beyond ``BLOCK`` bytes.
    """
    name = f"{archive}, {member}"
    try:
        with zipfile.ZipFile(archive) as pack:
            entries = [entry for entry in pack.infolist() if entry.filename == member]
            if len(entries) != 1:
                some = ", ".join(pack.namelist()[:8])
                raise DataError(
                    f"{archive}: found {len(entries)} members named {member!r} (it holds {some}, ...), "
                    "wanted exactly one; take the official zip, or unpack yours and pass the folder as path"
                )
            size, packed = (
                entries[0].file_size,
                entries[0].compress_size,
            )  # zipfile gives no more than it declares
            if size > limit:
                raise DataError(
                    f"{name}: found more than {limit} bytes, wanted at most that; get it again"
                )
            if size > max(BLOCK, RATIO * packed):
                found = f"{size} bytes out of {packed}"
                raise DataError(
                    f"{name}: found {found}, wanted at most {RATIO} times as many; get it again"
                )
            with pack.open(entries[0]) as stream:
                return read_within(stream, name, limit)
    except DataError:
        raise
    except BAD_ZIP as error:
        found = f"{type(error).__name__} ({error})"
        raise DataError(f"{name}: found {found}, wanted a sound zip; get it again") from error


def read_within(stream: BinaryIO, name: str, limit: float = math.inf) -> bytes:
    """All bytes of a text, read block by block: what is no text of lines is given up after a block.

    Raises DataError for more than ``limit`` bytes, or a line beyond ``BLOCK`` bytes.
    """
    held = io.BytesIO()  # hands its bytes over without a copy
    while block := stream.read(min(BLOCK, limit + 1 - held.tell())):
        held.write(block)
        if held.tell() > limit:
            raise DataError(
                f"{name}: found more than {limit} bytes, wanted at most that; get it again"
            )
        if len(block) == BLOCK and b"\n" not in block:
            line = held.getvalue().count(b"\n") + 1
            raise bad_line(name, line, "length", f"more than {BLOCK} bytes", "a shorter line")
    return held.getvalue()


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
            if file.exists():
                raise DataError(f"{file}: found a folder or a device, wanted a file; put it there")
            beside = (
                sorted(p.name for p in file.parent.iterdir())[:8] if file.parent.is_dir() else []
            )
            raise DataError(
                f"{file}: found no such file (beside it: {beside}), wanted a file; put it there"
            )
        try:
            with file.open("rb") as stream:
                raw, name = read_within(stream, str(file)), str(file)
        except OSError as error:
            raise DataError(
                f"{file}: found {error.strerror}, wanted a readable file; put it there"
            ) from error
    return plain_text(raw, name), name, hashlib.sha256(raw).hexdigest()


def plain_text(raw: bytes, file: str) -> bytes:
    """Checks what all text formats here share and drops a UTF-8 byte order mark; CRLF line ends may stay.

    Raises DataError for an empty file, bytes beyond ASCII, or a last line without its end (a file cut off).
    """
    text = raw.removeprefix(b"\xef\xbb\xbf")
    if not re.search(rb"[^\r\n]", text):  # strip would copy a file of any size
        raise DataError(
            f"{file}, line 1: found an empty file, wanted at least one line; get the file again"
        )
    if not text.isascii():
        at = next(i for i in range(0, len(text), BLOCK) if not text[i : i + BLOCK].isascii())
        at += next(i for i, byte in enumerate(text[at : at + BLOCK]) if byte > 127)
        line = text.count(b"\n", 0, at) + 1
        raise bad_line(
            file, line, "encoding", f"byte 0x{text[at]:02x}", "ASCII text", "save it as UTF-8"
        )
    if not text.endswith(b"\n"):
        tail = text[text.rfind(b"\n") + 1 :].decode("ascii")
        mend = "get the file again, or end the line if it is whole"
        raise bad_line(
            file, text.count(b"\n") + 1, "line end", tail, "a line end: the file is cut off", mend
        )
    return text


def bad_line(
    file: str, line: int, field: str, found: object, wanted: str, mend: str = MEND
) -> DataError:
    """The error for one bad value in a text file, in the form that all loaders share."""
    shown = repr(found)
    shown = shown if len(shown) <= 80 else f"{shown[:80]}..."
    return DataError(f"{file}, line {line}, {field}: found {shown}, wanted {wanted}; {mend}")


def only_numbers(text: bytes, separator: bytes, header: str = "") -> bool:
    """Whether below the header there are only digits, points, separators and line ends.

    pyarrow's readers also take spaces around numbers, exponents and hexadecimal ones.
    """
    known = b"0123456789.\r\n" + separator
    return len(text.translate(None, known)) == len(header.encode().translate(None, known))


def csv_options(separator: str, types: Mapping[str, pa.DataType], skip_rows: int = 0) -> dict:
    """Arguments for pyarrow's CSV readers: no header, quotes or nulls; row i is line i after the skipped."""
    return {
        "read_options": csv.ReadOptions(column_names=list(types), skip_rows=skip_rows),
        "parse_options": csv.ParseOptions(
            delimiter=separator, quote_char=False, ignore_empty_lines=False
        ),
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
