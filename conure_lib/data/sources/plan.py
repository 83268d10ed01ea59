"""A plan: a YAML or JSON file that says which of one's own tables are which task, and with what settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import yaml

from conure_lib.data.assemble import LabelTable
from conure_lib.data.sources.tables import from_tables
from conure_lib.data.stream import Kind, TaskStream
from conure_lib.errors import DataError
from conure_lib.files import path_problem, read_json, read_text

TASK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
TASKS_FILE = "tasks.json"  # the plan of a folder
SUFFIXES = (".yaml", ".yml", ".json")
KINDS = [kind for kind in get_args(Kind) if kind != "sequence"]
WANTED: dict[str, type] = {"events": str, "tasks": list}
TASK_WANTED: dict[str, type] = {"name": str, "kind": str, "file": str}
OPTIONAL: dict[str, type] = {
    "title": str,
    "name": str,
    "options": dict,
    "model": dict,
    "train": dict,
    "retrain": dict,
    "retrain_rate": float,
    "prune": dict,
}
WORDS = {str: "a str", list: "a list", dict: "an object", float: "a number"}


@dataclass(frozen=True)
class Plan:
    """A plan as read and checked. content: its fields; lines: the line of each field, where the format tells.

    A field's place is written ``tasks[1].kind``.
    """

    file: Path
    content: Mapping[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)

    def where(self, place: str = "") -> str:
        """File, line and field for a message: ``mine.yaml, line 7, tasks[1].kind``."""
        line = f", line {self.lines[place]}" if place in self.lines else ""
        return f"{self.file}{line}{f', {place}' if place else ''}"

    def table(self, file: str, place: str) -> Path:
        """A table's path; raises DataError when it leads out of the plan's folder, as by ``..`` or a link."""
        folder = self.file.parent
        if found := path_problem(folder / file):
            found = f"{file[:80]!r} ({found})"
            raise DataError(
                f"{self.where(place)}: found {found}, wanted the name of a file; correct it"
            )
        target = (folder / file).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise DataError(
                f"{self.where(place)}: found {file!r}, wanted a file inside the folder; put it there"
            )
        return target

    def tables(self) -> dict[str, Path]:
        """The name of each table in the plan, as it stands there -> its path."""
        named = [("events", self.content["events"])]
        named += [
            (f"tasks[{number}].file", task["file"])
            for number, task in enumerate(self.content["tasks"])
        ]
        return {file: self.table(file, place) for place, file in named}


def read_plan(path: str | Path) -> Plan:
    """The plan in a file (``.yaml``, ``.yml``, ``.json``), or of a folder (its ``tasks.json``).

    Raises DataError that names file, line (YAML), field, what was found and wanted, and the mend.
    """
    file = Path(path)
    if found := path_problem(file):
        raise DataError(
            f"{str(file)[:80]!r}: found {found}, wanted the plan of the tasks; correct the path"
        )
    if file.is_dir():
        file = file / TASKS_FILE
    elif file.suffix not in SUFFIXES:
        raise DataError(
            f"{file}: found neither a folder nor one of {', '.join(SUFFIXES)}, wanted the plan of the tasks; "
            "name it so, or correct the path"
        )
    is_json = file.suffix == ".json"
    try:
        content, lines = (read_json(file), {}) if is_json else _from_yaml(read_text(file), file)
    except FileNotFoundError as error:
        raise DataError(
            f"{file}: found no such file, wanted the plan of the tasks; write it"
        ) from error
    except yaml.MarkedYAMLError as error:
        line, found = (
            (error.problem_mark or error.context_mark).line + 1,
            error.problem or error.context,
        )
        raise DataError(
            f"{file}, line {line}: found {found}, wanted YAML; correct the line"
        ) from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise DataError(
            f"{file}: found {text}, wanted {'JSON' if is_json else 'YAML'} text in UTF-8; correct the file"
        ) from error
    plan = Plan(file, content, lines)
    _check_entry(plan, content, WANTED, OPTIONAL, "")
    for number, entry in enumerate(content["tasks"]):
        _check_entry(plan, entry, TASK_WANTED, {"title": str}, f"tasks[{number}]")
        if not TASK_NAME.fullmatch(entry["name"]):
            raise DataError(
                f"{plan.where(f'tasks[{number}].name')}: found {entry['name']!r}, wanted a letter, then letters, "
                "digits or _, e.g. T2; rename the task"
            )
        if entry["kind"] not in KINDS:
            raise DataError(
                f"{plan.where(f'tasks[{number}].kind')}: task {entry['name']}: found kind {entry['kind']!r}, "
                f"wanted {' or '.join(KINDS)}; correct it"
            )
    return plan


def _check_entry(
    plan: Plan, entry: object, wanted: dict[str, type], optional: dict[str, type], at: str
) -> None:
    """Raises DataError unless an object has the wanted keys, no unknown ones, and values of their types."""
    known, head = wanted | optional, f"{at}." if at else ""
    if not isinstance(entry, dict) or not wanted.keys() <= entry.keys() <= known.keys():
        found, odd = entry, at
        if isinstance(entry, dict):
            unknown = sorted(map(str, entry.keys() - known.keys()))
            found, odd = unknown or sorted(entry), f"{head}{unknown[0]}" if unknown else at
        raise DataError(
            f"{plan.where(odd if odd in plan.lines else at)}: found {found!r}, wanted an object with "
            f"{', '.join(wanted)} (optional: {', '.join(optional)}); correct the entry"
        )
    for key, value in entry.items():
        kinds = (int, float) if known[key] is float else known[key]
        if not isinstance(value, kinds) or isinstance(value, bool):
            place = f"{head}{key}" if plan.lines else f"{at}, {key}" if at else key
            raise DataError(
                f"{plan.where(place)}: found {value!r}, wanted {WORDS[known[key]]}; correct it"
            )


class _Loader(yaml.SafeLoader):
    """Builds strings, numbers, lists and objects only. ``1e-3`` is a number here, as it is in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"),
    list("-+0123456789"),
)


def _from_yaml(text: str, file: Path) -> tuple[Any, dict[str, int]]:
    """The content, and the line of each field. Raises yaml.YAMLError, or DataError for a key met twice."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[str, int] = {}
        if node is not None:
            _note_lines(node, "", lines, file)
        return (None if node is None else loader.construct_document(node)), lines
    finally:
        loader.dispose()


def _note_lines(
    node: yaml.Node, place: str, lines: dict[str, int], file: Path, depth: int = 0
) -> None:
    """Fills ``lines`` for the places that a plan can have; nothing deeper, which aliases could multiply."""
    if depth > 3:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner, line = f"{place}.{key.value}".removeprefix("."), key.start_mark.line + 1
            if inner in lines:
                raise DataError(
                    f"{file}, line {line}, {inner}: found it a second time (first in line {lines[inner]}), "
                    "wanted it once; remove one"
                )
            lines[inner] = line
            _note_lines(value, inner, lines, file, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            lines[f"{place}[{number}]"] = value.start_mark.line + 1
            _note_lines(value, f"{place}[{number}]", lines, file, depth + 1)


def from_plan(plan: Plan) -> TaskStream:
    """Build the stream of a plan."""
    files = plan.tables()
    labels = [
        LabelTable(t["name"], t["kind"], t.get("title", t["name"]), files[t["file"]])
        for t in plan.content["tasks"]
    ]
    options = plan.content.get("options", {})
    title = plan.content.get("title", "events in time order")
    return from_tables(files[plan.content["events"]], labels, title=title, **options)
