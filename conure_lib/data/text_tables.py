"""Strict reading of official text formats out of a zip, a folder or a file: bad lines are named."""

import hashlib
import lzma
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from conure_lib.config import shown
from conure_lib.errors import DataError

MAX_BYTES = 2 << 30  # the largest file read here (ratings.csv of MovieLens 32M) has 0.9e9
UNSOUND = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
UNSOUND += (UnicodeDecodeError,)  # of a member's name
MAX_RATIO = 100  # a zip member that grows more is no table: those read here shrink to a quarter
FIX = "correct the line, or get the file again"


def read_member(archive: Path, member: str) -> bytes:
    """Read a member of a zip by its exact name, if it is sound and of a plausible size."""
    name = f"{archive}, {member}"
    try:
        with zipfile.ZipFile(archive) as pack:
            if (times := pack.namelist().count(member)) != 1:
                held = f"{times} times among {', '.join(pack.namelist()[:8])}, ..."
                raise DataError(f"{name}: found it {held}, expected it once in the official zip")
            size, packed = pack.getinfo(member).file_size, pack.getinfo(member).compress_size
            if size > min(MAX_BYTES, max(1 << 20, MAX_RATIO * packed)):
                raise DataError(f"{name}: found {size} bytes out of {packed}, expected a text file")
            return pack.read(member)  # zipfile gives no more bytes than the entry declares
    except UNSOUND as error:
        raise DataError(f"{name}: found {error!r}, expected a sound zip; get it again") from error


def read_source(where: Path, member: str) -> tuple[bytes, str, str]:
    """Read ``member`` of a zip, its base name in a folder, or ``where`` itself if that is a file.

    Returns the text (lines ended, no byte order mark), its name in messages, its sha256.
    """
    base = PurePosixPath(member).name
    file = where / base if where.is_dir() or not (where.suffix or where.exists()) else where
    try:
        if not file.is_file():
            beside = sorted(path.name for path in file.parent.glob("*"))[:8]
            raise DataError(f"{file}: found no such file beside {beside}; put it there")
        if file.suffix == ".zip":
            raw, name = read_member(file, member), f"{file}: {base}"
        elif (size := file.stat().st_size) > MAX_BYTES:
            raise DataError(f"{file}: found {size} bytes, expected at most {MAX_BYTES}")
        else:
            raw, name = file.read_bytes(), str(file)
    except OSError as error:
        raise DataError(f"{file}: found {error.strerror}, expected a readable file") from error
    if (at := raw.find(0)) >= 0:  # UTF-16, or no text at all: given up before copies are made
        raise bad_line(name, raw.count(b"\n", 0, at) + 1, "a NUL byte", "UTF-8 text")
    text = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    return text.removesuffix(b"\n") + b"\n", name, hashlib.sha256(raw).hexdigest()


def bad_line(file: str, line: int, found: object, expected: str, fix: str = FIX) -> DataError:
    """Return the error for one bad line of a text file, in the form that all formats share."""
    return DataError(f"{file}, line {line}: found {shown(found)}, expected {expected}; {fix}")


def lines_of(text: bytes) -> pa.Array:
    """Return the lines of a text as bytes, without their ends; an empty text has one."""
    return pc.split_pattern(pa.array([text.removesuffix(b"\n")], pa.large_binary()), "\n").values


def demand_pattern(lines: pa.Array, pattern: str, file: str, expected: str, first: int = 1) -> None:
    """Raise DataError for the first line that a regular expression does not match entirely."""
    bad = pc.index(pc.match_substring_regex(lines, f"^(?:{pattern})$"), False).as_py()
    if bad >= 0:
        raise bad_line(file, first + bad, lines[bad].as_py().decode("latin-1"), expected)
