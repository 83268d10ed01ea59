"""Strict reading of the official text formats: zip members, lines and fields, all within bounds.

pyarrow parses; only where it fails, or a value is out of range, the first bad line is looked for and named.
"""

import hashlib
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn

import pyarrow as pa
from pyarrow import csv

from conure_lib.errors import DataError

MAX_BYTES = 2 << 30  # the largest file read here (ratings.csv of MovieLens 32M) has 0.9e9
BLOCK = 1 << 20  # also the longest line
MAX_RATIO = 100  # a member that grows more is no table: those read here shrink to a quarter or so
FIX = "correct the line, or get the file again"
BAD_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    OSError,
    ValueError,
)
"""What zipfile raises for zips that are damaged, encrypted, or packed in a way that it does not know."""


def read_member(archive: Path, member: str) -> bytes:
    """Read one member of a zip by its exact name: the zip never decides where anything is written.

    Raises DataError for a broken zip, a member that is not there exactly once, that is too large, that grows
    more than ``MAX_RATIO`` times, or that has a line beyond ``BLOCK`` bytes.
    """
    name = f"{archive}, {member}"
    try:
        with zipfile.ZipFile(archive) as pack:
            entries = [entry for entry in pack.infolist() if entry.filename == member]
            if len(entries) != 1:
                raise DataError(
                    f"{archive}: found {len(entries)} members named {member!r} (it holds "
                    f"{', '.join(pack.namelist()[:8])}, ...), expected exactly one; take the official zip, or "
                    "unpack yours and pass the folder as path"
                )
            size, packed = entries[0].file_size, entries[0].compress_size
            if size > max(BLOCK, MAX_RATIO * packed):
                found = f"{size} bytes out of {packed}"
                raise DataError(
                    f"{name}: found {found}, expected at most {MAX_RATIO} times as many"
                )
            with pack.open(entries[0]) as stream:  # gives no more bytes than it declares
                return _read_within(stream, name)
    except DataError:
        raise
    except BAD_ZIP as error:
        found = f"{type(error).__name__} ({error})"
        raise DataError(f"{name}: found {found}, expected a sound zip; get it again") from error


def read_source(where: Path, member: str) -> tuple[bytes, str, str]:
    """Read a text: ``member`` of a zip, its base name in a folder, or ``where`` itself if that is a file.

    Returns its checked text (see ``_plain_text``), its name for messages, and the sha256 of its bytes.
    """
    base = PurePosixPath(member).name
    if where.suffix == ".zip" and where.is_file():
        raw, name = read_member(where, member), f"{where}: {base}"
    else:
        file = where / base if where.is_dir() else where
        if not file.is_file():
            beside = sorted(p.name for p in file.parent.glob("*"))[:8]
            raise DataError(
                f"{file}: found no such file (beside it: {beside}), expected a file; put it there"
            )
        try:
            with file.open("rb") as stream:
                raw, name = _read_within(stream, str(file)), str(file)
        except OSError as error:
            raise DataError(f"{file}: found {error.strerror}, expected a readable file") from error
    return _plain_text(raw, name), name, hashlib.sha256(raw).hexdigest()


def _read_within(stream: BinaryIO, name: str) -> bytes:
    """Read all bytes, block by block: what is no text of lines is given up after a block."""
    held = io.BytesIO()  # hands its bytes over without a copy
    while block := stream.read(BLOCK):
        held.write(block)
        if held.tell() > MAX_BYTES:
            raise DataError(f"{name}: found more than {MAX_BYTES} bytes, expected at most that")
        if len(block) == BLOCK and b"\n" not in block:
            line = held.getvalue().count(b"\n") + 1
            raise bad_line(name, line, "length", f"more than {BLOCK} bytes", "a shorter line")
    return held.getvalue()


def _plain_text(raw: bytes, file: str) -> bytes:
    """Check what all text formats here share; return it without byte order mark, with a last line end."""
    text = raw.removeprefix(b"\xef\xbb\xbf")
    if not re.search(rb"[^\r\n]", text):  # strip would copy a file of any size
        raise bad_line(file, 1, "text", "an empty file", "at least one line", "get the file again")
    if not text.isascii():
        at = next(i for i in range(0, len(text), BLOCK) if not text[i : i + BLOCK].isascii())
        at += next(i for i, byte in enumerate(text[at : at + BLOCK]) if byte > 127)
        line = text.count(b"\n", 0, at) + 1
        raise bad_line(
            file, line, "encoding", f"byte 0x{text[at]:02x}", "ASCII text", "save it as UTF-8"
        )
    return text if text.endswith(b"\n") else text + b"\n"


def bad_line(
    file: str, line: int, field: str, found: object, expected: str, fix: str = FIX
) -> DataError:
    """Return the error for one bad value in a text file, in the form that all formats share."""
    shown = found if isinstance(found, int) else str(found)
    shown = repr(shown) if len(repr(shown)) <= 80 else f"{repr(shown)[:80]}..."
    return DataError(f"{file}, line {line}, {field}: found {shown}, expected {expected}; {fix}")


@dataclass(frozen=True)
class Field:
    """One column of a text format. pattern: regular expression of a valid value; expected: it in words."""

    name: str
    pattern: str
    expected: str
    type: pa.DataType = pa.int32()


@dataclass(frozen=True)
class Layout:
    """A text format: the fields of a line in order, what separates them, the header line ("" = none).

    fix: what to do about a line with another number of fields.
    """

    separator: str
    fields: tuple[Field, ...]
    header: str = ""
    fix: str = FIX

    def check_header(self, text: bytes, file: str) -> None:
        """Raise DataError unless the first line is the header and lines follow."""
        first = text[: text.index(b"\n")].rstrip(b"\r").decode("ascii")
        if self.header and first != self.header:
            raise bad_line(file, 1, "header", first, repr(self.header))
        if self.header and text.count(b"\n") < 2:
            raise bad_line(file, 2, "line", "nothing", "at least one line after the header")

    def records(self, text: bytes, file: str) -> Iterator[tuple[int, list[str]]]:
        """Give line number and values of each line; raise DataError at the first that breaks the format."""
        for line, content in enumerate(io.BytesIO(text), 1):
            if line == 1 and self.header:
                continue
            yield line, self.check(content.decode("ascii").rstrip("\r\n"), file, line)

    def check(self, content: str, file: str, line: int) -> list[str]:
        """Return the values of a line; raise DataError if it breaks the format."""
        values = content.split(self.separator)
        if len(values) != len(self.fields):
            expected = f"{len(self.fields)} separated by {self.separator!r}"
            raise bad_line(file, line, "number of fields", len(values), expected, self.fix)
        for value, field in zip(values, self.fields, strict=True):
            if not re.fullmatch(field.pattern, value):
                raise bad_line(file, line, field.name, value, field.expected)
        return values

    def numbers(self, text: bytes, file: str) -> Iterator[pa.RecordBatch]:
        """Parse lines that hold only numbers, in batches; the caller checks ranges and calls ``reject``."""
        one = self.separator if len(self.separator) == 1 else "\t"
        single = text.replace(self.separator.encode(), one.encode())
        # pyarrow also takes spaces, signs, exponents and hexadecimal numbers
        plain = b"0123456789.\r\n" + one.encode()
        if len(single.translate(None, plain)) != len(self.header.encode().translate(None, plain)):
            self.reject(text, file)
        types = {field.name: field.type for field in self.fields}
        try:
            yield from csv.open_csv(
                pa.BufferReader(single),
                csv.ReadOptions(column_names=list(types), skip_rows=int(bool(self.header))),
                csv.ParseOptions(delimiter=one, quote_char=False, ignore_empty_lines=False),
                csv.ConvertOptions(column_types=types, null_values=[]),
            )
        except pa.ArrowInvalid:
            self.reject(text, file)

    def reject(self, text: bytes, file: str) -> NoReturn:
        """Raise DataError for the first line that breaks the format."""
        for _ in self.records(text, file):
            pass
        raise DataError(f"{file}: found a file that does not parse, expected numbers; {FIX}")
