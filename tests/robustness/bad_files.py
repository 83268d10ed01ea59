"""Bad source files: every loader's, and everything that can be wrong with a file whatever is in it."""

# ruff: noqa: E501 (the tables hold a case a line)

import os
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from data import test_custom, test_movielens, test_ttl
from data.test_movielens import csv_text, ml_1m, ml_100k

from conure_lib.config import DataConfig
from conure_lib.data.registry import load
from conure_lib.data.sources import tables

from .cases import Attempt, Case

GIGABYTE = 1 << 30
RATINGS = "found a folder or a device"


def loaded(dataset: str, path: str | Path = "files", **options: object) -> Attempt:
    """The call that reads the dataset from a path below the working folder."""
    return lambda: load(DataConfig(dataset, {"path": str(path), **options}))


def _csv(folder: Path) -> None:
    (folder / "ratings.csv").write_text(csv_text())


def _ttl(folder: Path) -> None:
    test_ttl.write(folder)


SOURCES: dict[str, tuple[Callable[[Path], object], str, dict]] = {
    "ml-100k": (ml_100k, "u.data", test_movielens.SMALL),
    "ml-1m": (ml_1m, "ratings.dat", test_movielens.SMALL),
    "ml-latest-small": (_csv, "ratings.csv", test_movielens.SMALL),
    "ml-25m": (_csv, "ratings.csv", test_movielens.SMALL),
    "ml-32m": (_csv, "ratings.csv", test_movielens.SMALL),
    "ttl": (_ttl, test_ttl.NAMES["T1"], {"length": test_ttl.LENGTH}),
}
"""Loader of text files -> who writes a small good world, which file is then damaged, and the options."""


def damaged(
    dataset: str, damage: Callable[[Path], object], file: str = ""
) -> Callable[[Path], Attempt]:
    """Writes a good world, damages one file of it, and loads."""

    def prepare(root: Path) -> Attempt:
        write, usual, options = SOURCES[dataset]
        (root / "files").mkdir()
        write(root / "files")
        damage(root / "files" / (file or usual))
        return loaded(dataset, **options)

    return prepare


def content(edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(edit(file.read_bytes()))


def instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Something else in the file's place."""

    def damage(file: Path) -> None:
        file.unlink()
        make(file)

    return damage


def sparse(size: int, head: bytes = b"", filler: bytes = b"\0") -> Callable[[Path], object]:
    """A file of any size that takes no room on disk: after the head it reads as NULs."""

    def make(file: Path) -> None:
        with file.open("wb") as stream:
            stream.write(head)
            stream.truncate(size)

    return make


def _last(raw: bytes) -> bytes:
    """The line that others are made of."""
    return raw.splitlines(keepends=True)[-1]


def _without_end(raw: bytes) -> bytes:
    return raw[: raw.rfind(b"\n")]


def _grow(raw: bytes) -> bytes:
    return raw + b"1" * (3 << 20) + b"\n"


WHATEVER: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "empty": (content(lambda raw: b""), ("line 1", "empty file", "at least one line")),
    "a byte order mark alone": (content(lambda raw: b"\xef\xbb\xbf"), ("line 1", "empty file")),
    "line ends alone": (content(lambda raw: b"\r\n\r\n\n"), ("line 1", "empty file")),
    "UTF-16": (
        content(lambda raw: raw.decode("latin-1").encode("utf-16")),
        ("encoding", "0xff", "ASCII text"),
    ),
    "UTF-16 without a mark": (
        content(lambda raw: raw.decode("latin-1").encode("utf-16-le")),
        ("\\x00", "wanted"),
    ),
    "UTF-32": (
        content(lambda raw: raw.decode("latin-1").encode("utf-32")),
        ("line 1", "encoding", "0xff"),
    ),
    "Latin-1": (
        content(lambda raw: raw + b"\xe9" + _last(raw)),
        ("encoding", "0xe9", "save it as UTF-8"),
    ),
    "two encodings": (
        content(lambda raw: "é\n".encode() + raw + b"\xe9\n"),
        ("line 1", "0xc3", "ASCII text"),
    ),
    "a NUL": (content(lambda raw: raw + b"\0" + _last(raw)), ("\\x00", "wanted")),
    "letters for digits": (
        content(lambda raw: raw + _last(raw).replace(b"1", b"l")),
        ("l", "wanted"),
    ),
    "a blank line at the end": (content(lambda raw: raw + b"\n"), ("line", "wanted")),
    "line ends of an old Mac": (
        content(lambda raw: raw.replace(b"\n", b"\r")),
        ("line 1", "wanted"),
    ),
    "cut off": (content(_without_end), ("line end", "a line end: the file is cut off")),
    "the last line twice": (content(lambda raw: raw + _last(raw)), ("line", "each", "once")),
    "a field more": (content(lambda raw: raw + _last(raw).rstrip() + b"::7\t7,7\n"), ("wanted",)),
    "spaces": (content(lambda raw: raw + b" " + _last(raw)), ("' ", "a whole number")),
    "quotes": (content(lambda raw: raw + b'"' + _last(raw).rstrip() + b'"\n'), ('"', "wanted")),
    "beyond int64": (
        content(lambda raw: raw + b"9" * 25 + _last(raw)),
        ("9999999", "a whole number"),
    ),
    "a minus": (content(lambda raw: raw + b"-" + _last(raw)), ("'-", "a whole number")),
    "hexadecimal": (content(lambda raw: raw + b"0x" + _last(raw)), ("'0x", "a whole number")),
    "a sign": (content(lambda raw: raw + b"+" + _last(raw)), ("'+", "a whole number")),
    "an exponent": (content(lambda raw: raw + b"1e" + _last(raw)), ("'1e", "a whole number")),
    "nan": (content(lambda raw: raw + b"nan" + _last(raw)), ("'nan", "a whole number")),
    "inf": (content(lambda raw: raw + b"inf" + _last(raw)), ("'inf", "a whole number")),
    "HTML": (
        content(lambda raw: b"<!DOCTYPE html>\n<html>404</html>\n"),
        ("line 1", "found", "wanted"),
    ),
    "a line of 3 MiB": (content(_grow), ("length", "more than 1048576 bytes", "a shorter line")),
    "a line of a gigabyte": (
        instead(sparse(GIGABYTE)),
        ("line 1, length", "more than 1048576", "a shorter line"),
    ),
    "a folder": (instead(Path.mkdir), (RATINGS, "wanted a file")),
    "a pipe": (instead(os.mkfifo), (RATINGS, "wanted a file")),
    "a device": (instead(lambda file: file.symlink_to("/dev/zero")), (RATINGS, "wanted a file")),
    "unreadable": (
        instead(lambda file: file.symlink_to("/proc/self/mem")),
        ("found", "a readable file"),
    ),
    "missing": (Path.unlink, ("found no such file", "put it there")),
    "a link to nothing": (
        instead(lambda file: file.symlink_to("nowhere")),
        ("found no such file", "put it there"),
    ),
    "a link to itself": (
        instead(lambda file: file.symlink_to(file.name)),
        ("found no such file", "put it there"),
    ),
}
"""What can be wrong with any text file, and words of the answer."""
ONE_FOR_ALL = (
    "ml-100k",
    "ml-1m",
    "ml-latest-small",
    "ttl",
)  # the other loaders read as ml-latest-small does


def text_files() -> Iterator[Case]:
    for dataset in ONE_FOR_ALL:
        file = SOURCES[dataset][1]
        for name, (damage, said) in WHATEVER.items():
            yield Case(dataset, name, damaged(dataset, damage), (file, *said))
    head = b"userId,movieId,rating,timestamp\n1,101,3.0,7\n"
    made = instead(sparse(GIGABYTE, head))
    yield Case(
        "ml-25m",
        "a gigabyte after good lines",
        damaged("ml-25m", made),
        ("line 3, length", "a shorter line"),
    )


def official_files() -> Iterator[Case]:
    """The rows of the loaders' own tests."""

    def text(edit: Callable[[str], str], encoding: str = "utf-8") -> Callable[[Path], object]:
        return lambda file: file.write_bytes(edit(file.read_text(encoding)).encode(encoding))

    for number, (edit, *said) in enumerate(test_movielens.CSV_CASES):
        yield Case("ml-32m", f"row {number}", damaged("ml-32m", text(edit)), ("ratings.csv", *said))
    for number, (write, file, edit, *said) in enumerate(test_movielens.SIX_CASES):
        dataset, encoding = ("ml-100k", "utf-8") if write is ml_100k else ("ml-1m", "latin-1")
        yield Case(
            dataset, f"row {number}", damaged(dataset, text(edit, encoding), file), (file, *said)
        )
    for number, (task, changed, *said) in enumerate(test_ttl.CASES):
        file = test_ttl.NAMES[task]
        write = lambda path, changed=changed: path.write_bytes(changed.encode())  # noqa: E731
        yield Case("ttl", f"row {number}", damaged("ttl", write, file), (file, *said))


def zipped(
    file: Path, *members: tuple[str | zipfile.ZipInfo, bytes], how: int = zipfile.ZIP_DEFLATED
) -> Path:
    with zipfile.ZipFile(file, "w", how) as pack:
        for name, raw in members:
            pack.writestr(name, raw, how)
    return file


def _patched(file: Path, *fields: tuple[int, int, str, int]) -> None:
    """Overwrites fields of the member's headers: offset in the local one, in the central one, format, value."""
    raw = bytearray(file.read_bytes())
    central = raw.rfind(b"PK\x01\x02")
    for local, other, form, value in fields:
        struct.pack_into(form, raw, local, value)
        struct.pack_into(form, raw, central + other, value)
    file.write_bytes(raw)


def _link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def _broken(file: Path, member: str, how: int) -> None:
    """Packed well, then flipped inside the packed bytes."""
    zipped(file, (member, csv_text().encode() * 9), how=how)
    raw = bytearray(file.read_bytes())
    start = 30 + len(member)
    raw[start + 12 : start + 40] = b"\xff" * 28
    file.write_bytes(raw)


def zips(dataset: str, member: str) -> dict[str, tuple[Callable[[Path], object], tuple[str, ...]]]:
    """Hostile archives in the place of the official one, whose ratings are ``member``."""
    good = csv_text().encode()
    none = (f"found 0 members named '{member}'", "wanted exactly one")
    size, flags, method = (22, 24, "<I"), (6, 8, "<H"), (8, 10, "<H")
    return {
        "path traversal": (lambda f: zipped(f, (f"../../{member}", good)), none),
        "an absolute name": (lambda f: zipped(f, (f"/{member}", good)), none),
        "a name with backslashes": (lambda f: zipped(f, (member.replace("/", "\\"), good)), none),
        "a name that steers the terminal": (
            lambda f: zipped(f, ("\x1b[2Jratings.csv", good)),
            none,
        ),
        "an empty zip": (lambda f: zipped(f), none),
        "no folder inside": (lambda f: zipped(f, (member.rpartition("/")[2], good)), none),
        "a folder of that name": (lambda f: zipped(f, (f"{member}/", b"")), none),
        "a symbolic link": (
            lambda f: zipped(f, (_link(member), b"/etc/passwd")),
            ("line 1", "/etc/passwd"),
        ),
        "twice": (
            lambda f: _twice(f, member, good),
            (f"found 2 members named '{member}'", "exactly one"),
        ),
        "encrypted": (
            lambda f: _patched(zipped(f, (member, good)), (*flags, 1)),
            ("encrypted", "a sound zip"),
        ),
        "an unknown method": (
            lambda f: _patched(zipped(f, (member, good)), (*method, 99)),
            ("a sound zip",),
        ),
        "a bomb of lines": (
            lambda f: _bomb(f, member, b"\n" * (1 << 20)),
            ("bytes out of", "at most 100 times"),
        ),
        "a bomb of NULs": (
            lambda f: _bomb(f, member, bytes(1 << 20)),
            ("bytes out of", "at most 100 times"),
        ),
        "a bomb by its own word": (
            lambda f: _patched(zipped(f, (member, good)), (*size, 0xFFFFFFFE)),
            ("more than",),
        ),
        "a bomb that lies": (
            lambda f: _patched(_bomb(f, member, b"\n" * (1 << 20)), (*size, 99)),
            ("a sound zip",),
        ),
        "a zip in the zip": (
            lambda f: zipped(f, (member, zipped(f, ("a", good)).read_bytes())),
            ("wanted",),
        ),
        "no zip": (lambda f: f.write_bytes(good), ("BadZipFile", "a sound zip")),
        "nothing": (lambda f: f.write_bytes(b""), ("BadZipFile", "a sound zip")),
        "cut off": (
            lambda f: f.write_bytes(zipped(f, (member, good)).read_bytes()[:-30]),
            ("a sound zip",),
        ),
        "a wrong checksum": (
            lambda f: _patched(zipped(f, (member, good)), (14, 16, "<I", 7)),
            ("CRC", "sound zip"),
        ),
        "broken deflate": (
            lambda f: _broken(f, member, zipfile.ZIP_DEFLATED),
            ("found", "a sound zip"),
        ),
        "broken bzip2": (lambda f: _broken(f, member, zipfile.ZIP_BZIP2), ("found", "a sound zip")),
        "broken lzma": (lambda f: _broken(f, member, zipfile.ZIP_LZMA), ("found", "a sound zip")),
        "a gigabyte": (sparse(GIGABYTE), ("BadZipFile", "a sound zip")),
    }


def _twice(file: Path, member: str, raw: bytes) -> None:
    other = member[:-1] + "?"
    zipped(file, (member, raw), (other, raw))
    file.write_bytes(file.read_bytes().replace(other.encode(), member.encode()))


def _bomb(file: Path, member: str, block: bytes, blocks: int = 64) -> Path:
    """One member that grows a thousandfold."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as pack, pack.open(member, "w") as stream:
        for _ in range(blocks):
            stream.write(block)
    return file


def archives() -> Iterator[Case]:
    for dataset, member in (("ml-25m", "ml-25m/ratings.csv"), ("ml-100k", "ml-100k/u.user")):
        for name, (make, said) in zips(dataset, member).items():

            def prepare(root: Path, make=make, dataset=dataset) -> Attempt:
                make(root / "official.zip")
                return loaded(dataset, "official.zip", **SOURCES[dataset][2])

            yield Case(f"zip of {dataset}", name, prepare, ("official.zip", *said))


def places() -> Iterator[Case]:
    """Paths at which there is nothing that can be read."""
    wanted = {
        "no such": ("nowhere", "found no such"),
        "too long": ("x" * 5000, "File name too long"),
        "with a NUL": ("a\0b", "null"),
        "below a file": ("file/below", "Not a directory"),
        "a link to itself": ("loop", "loop"),
    }
    for dataset in SOURCES:
        for name, (path, said) in wanted.items():

            def prepare(root: Path, path=path, dataset=dataset) -> Attempt:
                (root / "file").write_text("x")
                (root / "loop").symlink_to("loop")
                return loaded(dataset, path)

            yield Case(f"path of {dataset}", name, prepare, (said,))


def own_tables() -> Iterator[Case]:
    """Tables and plans of one's own."""
    for number, (plan, *said) in enumerate(test_custom.FOLDERS):

        def prepare(root: Path, plan=plan) -> Attempt:
            path = test_custom.folder(root / "mine", plan)
            test_custom.likes().to_csv(root / "outside.csv", index=False)
            (path / "link.csv").symlink_to(root / "outside.csv")
            (path / "broken.parquet").write_bytes(b"PAR1 not really")
            (path / "ragged.csv").write_text("user,label\nu1\n")
            return loaded("custom", "mine", **test_custom.OPTIONS)

        yield Case("custom: plan", f"row {number}", prepare, tuple(said))
    for number, (call, *said) in enumerate(test_custom.TABLES):
        yield Case(
            "custom: from_tables", f"row {number}", lambda root, call=call: call, tuple(said)
        )
    for name, (file, raw, said) in TABLE_FILES.items():

        def write(root: Path, file=file, raw=raw) -> Attempt:
            plan = test_custom.plan(**({"events": file} if file.startswith("events") else {}))
            path = test_custom.folder(root / "mine", plan)
            make = raw if callable(raw) else lambda target: target.write_bytes(raw)
            (path / file).unlink()
            make(path / file)
            return loaded("custom", "mine", **test_custom.OPTIONS)

        yield Case("custom: table", name, write, said)


def _parquet(table: pa.Table | pd.DataFrame) -> Callable[[Path], object]:
    made = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table)
    return lambda file: pq.write_table(made, file)


def _column(kind: pa.DataType, values: list, name: str = "item") -> Callable[[Path], object]:
    """The events with a column of another type."""
    table = pa.Table.from_pandas(test_custom.events())
    place = table.schema.names.index(name)
    return _parquet(table.set_column(place, name, pa.array(values * 30, kind)))


def _cut(file: Path) -> None:
    test_custom.events().to_parquet(file)
    file.write_bytes(file.read_bytes()[:-40])


def _doubled() -> pa.Table:
    table = pa.Table.from_pandas(test_custom.events())
    return table.append_column("user", table["item"])


HUGE = "user,item,time\n" + "".join(
    f"{2**63 + user},i{item},{item}\n" for user in range(9) for item in range(3)
)
TABLE_FILES: dict[str, tuple[str, bytes | Callable[[Path], object], tuple[str, ...]]] = {
    "an empty CSV file": ("events.csv", b"", ("events.csv", "found", "a readable table")),
    "a header alone": ("events.csv", b"user,item,time\n", ("T1 is empty", "wanted one at least")),
    "no header": (
        "events.csv",
        b"u1,a,1\nu1,b,2\n",
        ("found columns ['u1', 'a', '1']", "wanted ['user', 'item']"),
    ),
    "a column twice": (
        "events.csv",
        b"user,item,item\nu1,a,b\n",
        ("column 'item' twice", "wanted it once"),
    ),
    "a column twice in Parquet": (
        "events.parquet",
        _parquet(_doubled()),
        ("events.parquet: found Multiple matches", "user"),
    ),
    "UTF-16": (
        "events.csv",
        "user,item\nu1,a\n".encode("utf-16"),
        ("events.csv", "found", "wanted"),
    ),
    "UTF-16 without a mark": (
        "events.csv",
        "user,item\nu1,a\n".encode("utf-16-le"),
        ("found", "a readable table"),
    ),
    "Latin-1": (
        "events.csv",
        b"user,item\nu1,caf\xe9\nu1,a\n",
        ("column 'item'", "found bytes", "text in UTF-8"),
    ),
    "Latin-1 names": (
        "events.csv",
        b"user,item,\xe9t\xe9\nu1,a,1\n",
        ("events.csv", "found", "wanted"),
    ),
    "two encodings": (
        "events.csv",
        b"user,item\nu1,\xc3\xa9\nu1,\xe9\n",
        ("column 'item'", "text in UTF-8"),
    ),
    "semicolons": (
        "events.csv",
        b"user;item;time\nu1;a;1\n",
        ("found columns ['user;item;time']", "wanted ['user'"),
    ),
    "a quote without end": (
        "events.csv",
        b'user,item\nu1,"a\n',
        ("T1 is empty", "wanted one at least"),
    ),
    "too few fields": (
        "events.csv",
        b"user,item,time\nu1,a\n",
        ("Expected 3 columns, got 2", "a readable table"),
    ),
    "beyond int64": (
        "events.csv",
        HUGE.encode(),
        ("column 'user'", "found 9.2", "wanted ids that a number can hold"),
    ),
    "infinity as an id": (
        "events.csv",
        b"user,item\ninf,1\ninf,2\n",
        ("column 'user'", "found inf", "wanted ids"),
    ),
    "nan as an id": (
        "events.csv",
        b"user,item\nnan,1\n1.5,2\n",
        ("column 'user', row 0", "no value", "drop the row"),
    ),
    "words as times": (
        "events.csv",
        b"user,item,time\nu1,a,noon\n",
        ("'time'", "noon", "numbers or dates"),
    ),
    "some words as times": (
        "events.csv",
        b"user,item,time\nu1,a,1\nu1,b,x\n",
        ("'time'", "numbers or dates"),
    ),
    "no time": (
        "events.csv",
        b"user,item,time\nu1,a,1\nu1,b,\n",
        ("'time', row 1", "no value", "fill it"),
    ),
    "a line of a gigabyte": (
        "events.csv",
        sparse(GIGABYTE, b"user,item\nu1,"),
        ("events.csv", "a readable table"),
    ),
    "a gigabyte of NULs": (
        "events.csv",
        sparse(GIGABYTE),
        ("events.csv", "found", "a readable table"),
    ),
    "a folder": ("events.csv", Path.mkdir, ("events.csv", "no such file", "wanted a table")),
    "a pipe": ("events.csv", os.mkfifo, ("events.csv", "no such file", "wanted a table")),
    "unreadable": (
        "events.csv",
        lambda f: f.symlink_to("/proc/self/mem"),
        ("found", "inside the folder"),
    ),
    "an empty Parquet file": (
        "events.parquet",
        b"",
        ("events.parquet", "found", "a readable table"),
    ),
    "CSV called Parquet": (
        "events.parquet",
        b"user,item\nu1,a\n",
        ("events.parquet", "a readable table"),
    ),
    "Parquet cut off": ("events.parquet", _cut, ("events.parquet", "a readable table")),
    "a gigabyte called Parquet": (
        "events.parquet",
        sparse(GIGABYTE),
        ("events.parquet", "a readable table"),
    ),
    "lists as items": (
        "events.parquet",
        _column(pa.list_(pa.int64()), [[1, 2]]),
        ("'item'", "one type"),
    ),
    "objects as items": (
        "events.parquet",
        _column(pa.struct({"a": pa.int64()}), [{"a": 1}]),
        ("'item'", "one type"),
    ),
    "nulls as items": ("events.parquet", _column(pa.null(), [None]), ("'item', row 0", "no value")),
    "infinite times": (
        "events.parquet",
        _column(pa.float64(), [np.inf], "time"),
        ("'time'", "wanted"),
    ),
    "booleans as times": (
        "events.parquet",
        _column(pa.bool_(), [True], "time"),
        ("'time'", "numbers or dates"),
    ),
    "a label twice": (
        "likes.csv",
        b"user,label\nu0,x\nu0,x\nu1,y\n",
        ("'u0' has label 'x' twice", "keep one"),
    ),
    "numbers for names": (
        "likes.csv",
        b"user,label\n1,x\n2,y\n",
        ("task T2, column 'user'", "wanted the type of the"),
    ),
    "one label only": (
        "likes.csv",
        b"user,label\n" + b"".join(b"u%d,x\n" % n for n in range(10)),
        ("1 distinct label", "at least 2"),
    ),
    "two labels of a class": (
        "ages.parquet",
        _parquet(pd.DataFrame({"user": ["u1", "u1"], "label": [1, 2]})),
        ("user 'u1' in several rows", "wanted one label per user"),
    ),
}
"""A table that replaces a good one of the same name, and words of the answer."""


def python_tables() -> Iterator[Case]:
    """What only Python can give."""
    events, likes = test_custom.events(), test_custom.likes()
    labels = {"T2": ("ranking", likes)}
    made = partial(tables.from_tables, **test_custom.OPTIONS)
    twice = pd.concat([events, events["user"]], axis=1)
    odd = {
        "a column twice": (lambda: made(twice, labels), ("column 'user' twice", "wanted it once")),
        "lists as users": (
            lambda: made(events.assign(user=[[1]] * 30), labels),
            ("column 'user'", "one type"),
        ),
        "objects as users": (
            lambda: made(events.assign(user=[{}] * 30), labels),
            ("column 'user'", "one type"),
        ),
        "a repeated task": (
            lambda: made(events, [test_custom.LabelTable("T2", "ranking", "", likes)] * 2),
            ("task names repeat",),
        ),
        "a window of one": (
            lambda: tables.from_tables(events, labels, length=1),
            ("length=1", "from 2 to 65536"),
        ),
        "a window of True": (
            lambda: tables.from_tables(events, labels, length=True),
            ("length=True", "a whole"),
        ),
        "half a window": (
            lambda: tables.from_tables(events, labels, length=2.5),
            ("length=2.5", "a whole number"),
        ),
        "a huge window": (
            lambda: tables.from_tables(events, labels, length=10**30),
            ("from 2 to 65536",),
        ),
        "few events": (
            lambda: tables.from_tables(events, labels, min_events=0),
            ("min_events=0", "from 2 to"),
        ),
        "no count": (
            lambda: tables.from_tables(events, labels, min_item_count=0),
            ("min_item_count=0", "from 1"),
        ),
        "a negative count": (
            lambda: tables.from_tables(events, labels, min_label_count=-1),
            ("=-1", "from 1"),
        ),
        "a negative seed": (
            lambda: made(events, labels, split_seed=-1),
            ("split_seed=-1", "from 0"),
        ),
        "an unknown split": (
            lambda: made(events, labels, split="1/1"),
            ("'1/1'", "use one of 80/5/15"),
        ),
        "an unknown way": (
            lambda: made(events, labels, unknown_users="ask"),
            ("'ask'", "use 'error' or 'drop'"),
        ),
    }
    for name, (call, said) in odd.items():
        yield Case("custom: from_tables", name, lambda root, call=call: call, said)


def cases() -> Iterator[Case]:
    for part in (text_files, official_files, archives, places, own_tables, python_tables):
        yield from part()


def accepted() -> Iterator[tuple[str, Callable[[Path], Attempt], Callable[[Path], Attempt]]]:
    """What looks odd and is right: name, the odd input, the plain one; both give the same stream."""
    odd = {
        "a byte order mark": content(lambda raw: b"\xef\xbb\xbf" + raw),
        "line ends of Windows": content(lambda raw: raw.replace(b"\n", b"\r\n")),
        "both": content(lambda raw: b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n")),
        "both line ends": content(lambda raw: raw.replace(b"\n", b"\r\n", 3)),
    }
    plain = content(lambda raw: raw)
    for dataset in SOURCES:
        for name, damage in odd.items():
            yield f"{dataset}: {name}", damaged(dataset, damage), damaged(dataset, plain)
    for file, also in (
        ("events.csv", {"events": "events.csv"}),
        ("likes.csv", {}),
        ("tasks.json", {}),
    ):
        for name, damage in odd.items():

            def prepare(root: Path, damage=damage, file=file, also=also) -> Attempt:
                damage(test_custom.folder(root / "mine", test_custom.plan(**also)) / file)
                return loaded("custom", "mine", **test_custom.OPTIONS)

            yield f"custom, {file}: {name}", prepare, partial(prepare, damage=plain)
