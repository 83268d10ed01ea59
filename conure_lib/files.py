"""Small text files, read within bounds: what is too large, no UTF-8 or no JSON is refused."""

import json
from pathlib import Path

SMALL = 1 << 24  # bytes; descriptions, plans and records have some kilobytes


def read_text(path: Path) -> str:
    """The UTF-8 text of a small file, without a byte order mark.

    Raises OSError, or ValueError that says what was found instead.
    """
    if path.exists() and not path.is_file():  # a pipe would make us wait for its writer
        raise ValueError("a folder, a pipe or a device")
    if (size := path.stat().st_size) > SMALL:
        raise ValueError(f"{size} bytes, more than {SMALL}")
    return path.read_text(encoding="utf-8-sig")


def read_json(path: Path) -> object:
    """The content of a small JSON file. Raises OSError, or ValueError, also for a key that occurs twice."""
    try:
        return json.loads(read_text(path), object_pairs_hook=_each_once)
    except RecursionError as error:
        raise ValueError("lists or objects nested too deeply") from error


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return content


def fault_of(path: str | Path) -> str:
    """Why no file can be at a path (a name too long or with a NUL, a link to itself, ...); "" if one can."""
    try:
        Path(path).resolve(strict=True)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, RuntimeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""
