"""A stage's record and the files that it vouches for, verified before anybody believes them."""

from pathlib import Path

from conure_lib import paths
from conure_lib.files import file_digest, read_json

RECORD, ENVIRONMENT = "record.json", "environment.json"
FIELDS = {"spec", "metrics", "curve", "notes", "digests"}


class DamagedResultError(ValueError):
    """A stage's file that is damaged. The message names it, what was found and wanted, and the mend."""

    def __init__(self, file: Path, found: object, wanted: object) -> None:
        committed = file.is_relative_to(paths.published())
        mend = "delete the folder to recompute it"
        mend = f"restore it (git checkout -- {file.parent}), or {mend}" if committed else mend
        super().__init__(f"{file} is damaged: found {found}, wanted {wanted}; {mend}")


def load_verified(folder: Path, *names: str) -> dict:
    """The record in a stage's folder, once it and the named files have the digests they were stored with.

    Raises DamagedResultError.
    """
    record = read_record(folder / RECORD, FIELDS)
    digests = record["digests"] if isinstance(record["digests"], dict) else {}
    own = read_record(folder / ENVIRONMENT, {"commit"}).get(
        "record"
    )  # records of before it was kept have none
    if unknown := [name for name in names if name not in digests]:
        raise DamagedResultError(folder / RECORD, "no digest", f"that of {unknown[0]}")
    for name, wanted in (
        ({RECORD: own} if own else {}) | {name: digests[name] for name in names}
    ).items():
        found = file_digest(folder / name) if (folder / name).is_file() else "no such file"
        if found != wanted:
            raise DamagedResultError(folder / name, found, wanted)
    return record


def read_record(file: Path, fields: set[str]) -> dict:
    """The content of a stage's JSON file. Raises DamagedResultError unless it has these fields."""
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise DamagedResultError(file, error, "JSON") from error
    if not isinstance(content, dict) or not fields <= content.keys():
        found = sorted(content) if isinstance(content, dict) else content
        raise DamagedResultError(file, found, f"an object with {', '.join(sorted(fields))}")
    return content
