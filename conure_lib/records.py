"""A stage's record and the files that it vouches for, verified before anybody believes them."""

import hashlib
from pathlib import Path

from .files import read_json

RECORD = "record.json"
FIELDS = {"determined_by", "metrics", "curve", "notes", "digests"}


class DamagedResult(ValueError):
    """A stage's file that is damaged. The message names it, what was found and wanted, and the mend."""

    def __init__(self, file: Path, found: object, wanted: object) -> None:
        mend = "delete the folder to recompute it"
        super().__init__(f"{file} is damaged: found {found}, wanted {wanted}; {mend}")


def verified(folder: Path, *names: str) -> dict:
    """The record in a stage's folder, once the named files have the digests it gives. Raises DamagedResult."""
    record = read_record(folder / RECORD, FIELDS)
    for name in names:
        if not isinstance(record["digests"], dict) or name not in record["digests"]:
            raise DamagedResult(folder / RECORD, "no digest", f"that of {name}")
        found = file_digest(folder / name) if (folder / name).is_file() else "no such file"
        if found != record["digests"][name]:
            raise DamagedResult(folder / name, found, record["digests"][name])
    return record


def read_record(file: Path, fields: set[str]) -> dict:
    """The content of a stage's JSON file. Raises DamagedResult unless it has these fields."""
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise DamagedResult(file, error, "JSON") from error
    if not isinstance(content, dict) or not fields <= content.keys():
        found = sorted(content) if isinstance(content, dict) else content
        raise DamagedResult(file, found, f"an object with {', '.join(sorted(fields))}")
    return content


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
