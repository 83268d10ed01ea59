"""What can be wrong with a file whatever is in it; changes by chance of bytes, values, zips."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

HUGE = 1 << 28  # bytes, more than any small file of ours may have
Damage = Callable[[Path], object]


def edit(change: Callable[[bytes], bytes]) -> Damage:
    return lambda file: file.write_bytes(change(file.read_bytes()))


def replace(make: Damage) -> Damage:
    return lambda file: (file.unlink(), make(file))


def recode(encoding: str) -> Damage:
    return edit(lambda raw: raw.decode("latin-1").encode(encoding))


NEVER: dict[str, Damage] = {
    "empty": edit(lambda raw: b""),
    "a byte order mark alone": edit(lambda raw: b"\xef\xbb\xbf"),
    "UTF-16": recode("utf-16"),
    "UTF-32": recode("utf-32"),
    "HTML": edit(lambda raw: b"<!DOCTYPE html>\n<html>404 {</html>\n"),
    "a pickle": edit(lambda raw: b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00."),
    "nested too deeply": edit(lambda raw: b"[" * 100_000),
    "a list": edit(lambda raw: b"[]"),
    "null": edit(lambda raw: b"null"),
    "no fields": edit(lambda raw: b"{}"),
    "huge digits": edit(lambda raw: b'{"format": ' + b"9" * 5000 + b"}"),
    "a key twice": edit(lambda raw: b'{"events": 1, "events": 2}'),
    "huge and of NULs": lambda file: (os.truncate(file, 0), os.truncate(file, HUGE)),
    "huge after the content": lambda file: os.truncate(file, HUGE),
    "missing": Path.unlink,
    "a folder": replace(Path.mkdir),
    "a pipe": replace(os.mkfifo),
    "a device": replace(lambda file: file.symlink_to("/dev/zero")),
    "unreadable": replace(lambda file: file.symlink_to("/proc/self/mem")),
    "a link to nothing": replace(lambda file: file.symlink_to("nowhere")),
    "a link to itself": replace(lambda file: file.symlink_to(file.name)),
}
"""No file of the library's can be so: it must be refused."""
MAYBE: dict[str, Damage] = {
    "Latin-1": edit(lambda raw: raw + b"\xe9" + raw[-9:]),
    "two encodings": edit(lambda raw: "é".encode() + raw + b"\xe9"),
    "a NUL": edit(lambda raw: raw + b"\0" + raw[-9:]),
    "cut in the middle": edit(lambda raw: raw[: len(raw) // 2]),
    "cut at the end": edit(lambda raw: raw[:-7]),
    "twice": edit(lambda raw: raw + raw),
    "line ends of an old Mac": edit(lambda raw: raw.replace(b"\n", b"\r")),
    "a blank line at the end": edit(lambda raw: raw + b"\n"),
    "a line of 3 MiB": edit(lambda raw: raw + b"1" * (3 << 20) + b"\n"),
    "letters for digits": edit(lambda raw: raw.replace(b"1", b"l")),
    "other separators": edit(lambda raw: raw.replace(b",", b";")),
}
"""Some kinds of files may be so: they are refused, or read in full."""
HARMLESS: dict[str, Damage] = {
    "a byte order mark": edit(lambda raw: b"\xef\xbb\xbf" + raw),
    "line ends of Windows": edit(lambda raw: raw.replace(b"\n", b"\r\n")),
    "both line ends": edit(lambda raw: raw.replace(b"\n", b"\r\n", 2)),
    "no last line end": edit(lambda raw: raw.removesuffix(b"\n")),
}
"""What every text may have: it is read as if it were not there."""

TOKENS = "|0|-1|nan|inf|1e9|0x10| 1|+1|1.5|'|\"|\0|\t|::|,|,,|\r|\n|é|١|[|{|: |- |&a |*a |!!int |T1"
TOKENS = [*TOKENS.encode().split(b"|"), b"|", b"9" * 25, b"\xff", b"\xef\xbb\xbf"]
WORDS = "|T1|T2|*|ranking|softmax|adam|synthetic|smoke|80/5/15|\0|é|../x|12".split("|")  # noqa: SIM905
NUMBERS = [-(10**30), -1, 0, 1, 2, 3, 5, 8, 64, 2**16 + 1, 2**31, 2**63, 10**30]
NUMBERS += [float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 1e-9, 0.5, 1.0, 1.5, 1e300]
KEYS = st.sampled_from(WORDS)
VALUES = st.recursive(
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | KEYS | st.text(max_size=4),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(KEYS, one, max_size=3),
    max_leaves=5,
)
"""What JSON and YAML hold; no number is right and takes much memory."""


def pick(data: st.DataObject, *values: object) -> object:
    return data.draw(st.sampled_from(values))


def mutated(data: st.DataObject, raw: bytes) -> bytes:
    """Return a content with some bytes, lines or fields that are flipped, cut, twice or foreign."""
    for _ in range(pick(data, 1, 2, 3)):
        mark = pick(data, b"", b"", b"\n", b"::", b",", b"\t", b": ")
        parts = raw.split(mark) if mark else [raw[n : n + 1] for n in range(len(raw))] or [b""]
        at, other = (data.draw(st.integers(0, len(parts) - 1)) for _ in range(2))
        token, one = pick(data, *TOKENS), parts[at]
        flipped = bytes([one[0] ^ (1 << pick(data, *range(8)))]) + one[1:] if one else b"x"
        ways = [], [one] * 2, [token], [token, one], [flipped], [parts[other]], [one, *parts[at:]]
        raw = mark.join([*parts[:at], *pick(data, *ways), *parts[at + 1 :]])
        raw = pick(data, *[raw] * 9, raw[: len(raw) * at // len(parts)])
    return raw


def grafted(data: st.DataObject, content: object) -> object:
    """Return JSON with another value, another key or one key less somewhere in it."""
    if not isinstance(content, dict | list) or not content or not pick(data, *range(4)):
        return data.draw(VALUES)
    keys = list(content) if isinstance(content, dict) else range(len(content))
    key, copy, way = pick(data, *keys), content.copy(), pick(data, *range(9))
    if way == 0:
        del copy[key]
    elif way == 1 and isinstance(copy, dict):
        copy[pick(data, *WORDS)] = data.draw(VALUES)
    else:
        copy[key] = grafted(data, copy[key])
    return copy


def hostile_zip(data: st.DataObject, file: Path, member: str, content: bytes) -> None:
    """Write a zip with an unusual name, packing, repetition or size; maybe a bomb."""
    names = [member] * 3 + [f"../../{member}", f"{member}/", member.upper(), "\x1b[2J"]
    info = zipfile.ZipInfo(pick(data, *names))
    info.external_attr = pick(data, 0, 0o120777 << 16, 0o040777 << 16)  # a link, a folder
    filling = pick(data, *[content] * 4, b"\n" * (1 << 26), bytes(1 << 26), b"/etc/passwd")
    with zipfile.ZipFile(file, "w") as pack:
        for _ in range(pick(data, 1, 1, 1, 0, 2)):
            how = pick(data, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)
            pack.writestr(info, filling, how)
