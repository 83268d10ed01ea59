"""The rules of the house: pins that agree, imports that run one way, safe loading, thin notebooks."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import conure_lib

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "conure_lib"

TORCH = "2.13.0"
MAX_LINES = 250
TARGETS = (
    *("help", "setup", "study", "test", "lint", "format"),
    *(
        "bench",
        "bench-study",
        "bench-data",
        "bench-scale",
        "bench-compare",
        "figures",
        "verdicts",
        "lock",
        "clean",
    ),
    *("site", "site-test", "readme", "fuzz", "faults"),
)

ORDER = (
    *("paths", "files", "whole", "config", "numerics", "profiles"),
    *("data", "layers", "model", "ownership", "losses", "objectives"),
    *("padding", "evaluate", "parallel", "optim", "steps", "train", "actions", "methods"),
    *("provenance", "records", "stages", "cache"),
    *(
        "executors",
        "cluster",
        "experiment",
        "own_data",
        "handover",
        "experiments",
        "tuning",
        "stats",
        "report",
    ),
    *("costs", "claims", "figures", "bench"),
    *("quotes", "notebooks", "site", "cli"),
)
"""Each module of the library imports only modules that stand before it here."""

WITHIN = {
    "claims": ("registry", "memory", "pruning", "methods", "orders"),
    "figures": (
        "style",
        "data",
        "forgetting",
        "overall",
        "pruning",
        "transfer",
        "convergence",
        "diagrams",
        "ledger",
    ),
    "data": (
        *(
            "stream",
            "assemble",
            "texts",
            "fetch",
            "complete_journey",
            "movielens_files",
            "movielens",
            "ttl",
        ),
        *("plans", "custom", "latest", "synthetic", "store", "catalogue"),
    ),
    "bench": (
        *("worlds", "plain", "flops", "parts", "tricks", "measure", "breakdown", "point"),
        *(
            "facts",
            "inference",
            "study",
            "streams",
            "once",
            "drawing",
            "run",
            "scale",
            "compare",
            "estimate",
        ),
    ),
    "site": ("sources", "verdicts", "curves", "convert", "api", "prose", "build"),
    "cli": ("common", "studies", "datasets", "own", "upkeep", "entry", "__main__"),
}
"""The same inside each sub-package; its __init__ comes after all of them."""

READS_WHAT_IT_WROTE = {"conure_lib.handover": ["torch.export.load"]}
"""The one use of a loader that is not safe: on a program that the same call has just written, to check it."""

UNSAFE_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
}
UNSAFE_NAMES = {
    "eval",
    "exec",
    "builtins.eval",
    "builtins.exec",
    "numpy.loads",
    "pandas.eval",
    "pandas.read_pickle",
    "torch.export.load",
    "torch.load",
    "torch.hub.load",
    "torch.jit.load",
    "torch.serialization.load",
}


def ranks() -> dict[str, int]:
    names = ["conure_lib"]
    for module in ORDER:
        names += [f"conure_lib.{module}.{part}" for part in WITHIN.get(module, ())]
        names.append(f"conure_lib.{module}")
    return {name: place for place, name in enumerate(names)}


RANKS = ranks()


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted(LIBRARY.rglob("*.py"))
MODULES = {module_name(path): path for path in FILES}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def library_imports(source: str, module: str, is_package: bool) -> set[str]:
    """The modules of this library that a module imports, wherever in the file it does so."""
    package = module if is_package else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (
                package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            )
            origin = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                found.add(inner if inner in RANKS or inner in MODULES else origin)
    return {name for name in found if name.split(".")[0] == "conure_lib"}


def wrong_way(imported: set[str], module: str) -> list[str]:
    return sorted(name for name in imported if RANKS.get(name, len(RANKS)) >= RANKS[module])


def unsafe_uses(source: str) -> list[str]:
    """What in this code would run code that it reads: pickles, torch.load, eval, exec (under any alias)."""
    tree = ast.parse(source)
    names, found = {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
                if top in UNSAFE_MODULES:
                    found.append(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            if node.module.split(".")[0] in UNSAFE_MODULES:
                found.append(node.module)

    def dotted(node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{dotted(node.value)}.{node.attr}"
        return "?"

    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and dotted(node) in UNSAFE_NAMES:
            found.append(dotted(node))
        elif (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and ast.unparse(node.value) != "False"
        ):
            found.append("allow_pickle")
    return found


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def direct() -> dict[str, Requirement]:
    declared = project()
    lines = [*declared["dependencies"], *declared["optional-dependencies"]["test"]]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def pins(lines: list[str]) -> dict[str, str]:
    """Name to version; any line that is not exactly `name==version` fails, and so does a name met twice."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!]+)", line)
        assert match, f"not a plain pin: {line!r}"
        name = canonicalize_name(match[1])
        assert name not in found, f"pinned twice: {name}"
        found[name] = match[2]
    return found


def lock() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return pins([line for line in lines if line.strip() and not line.startswith("#")])


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code(path: Path) -> str:
    """The code of a notebook; magics and shell lines become `pass`."""
    sources = ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "code"]
    return re.sub(r"(?m)^([ \t]*)[%!].*$", r"\1pass", "\n".join(sources))


def test_the_version_is_one():
    assert conure_lib.__version__ == project()["version"]


def test_the_lock_pins_every_direct_dependency_within_its_bounds():
    locked = lock()
    for name, requirement in direct().items():
        assert name in locked, f"{name} is missing from requirements.lock (make lock)"
        assert requirement.specifier.contains(locked[name]), (
            f"{requirement} does not admit {locked[name]}"
        )


def test_environment_yml_pins_the_direct_dependencies_as_the_lock_does():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == "conure"
    assert environment["channels"] == ["conda-forge"]
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    locked = lock()
    assert pins(pip["pip"]) == {name: locked[name] for name in direct()}


def test_torch_is_pinned_to_one_version_everywhere():
    must = ["pyproject.toml", "requirements.lock", "environment.yml", "Makefile"]
    for name in [*must, "README.md", "CHANGELOG.md", ".ci/run"]:
        path = ROOT / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        found = re.findall(r"\b(?:py)?torch\s*[=<>~!]=*\s*[0-9][\w.+*]*", text)
        assert found or name not in must, f"{name} does not pin torch"
        assert {re.sub(r"\s", "", pin) for pin in found} <= {f"torch=={TORCH}"}, name


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_one_way(module):
    assert module in RANKS, (
        f"{module} has no place yet: add it to ORDER or WITHIN in tests/test_house.py"
    )
    path = MODULES[module]
    imported = library_imports(path.read_text(encoding="utf-8"), module, path.name == "__init__.py")
    unplaced = sorted(imported - set(RANKS))
    assert not unplaced, (
        f"{module} imports {unplaced}: add them to ORDER or WITHIN in tests/test_house.py"
    )
    assert not wrong_way(imported, module), f"{module} imports what stands after it in the order"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_library_files_are_short_and_load_safely(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MAX_LINES, f"more than {MAX_LINES} lines: split it"
    assert unsafe_uses(source) == READS_WHAT_IT_WROTE.get(module_name(path), [])


@pytest.mark.parametrize(
    ("source", "module", "wrong"),
    [
        ("from .paths import ROOT\nimport conure_lib.config", "conure_lib.model", []),
        ("from . import paths, train", "conure_lib.model", ["conure_lib.train"]),
        ("def f():\n    from conure_lib import cli", "conure_lib.report", ["conure_lib.cli"]),
        ("from . import __version__", "conure_lib.cli", []),
        ("from .stream import Task\nfrom ..paths import ROOT", "conure_lib.data.store", []),
        ("from .store import read", "conure_lib.data.stream", ["conure_lib.data.store"]),
        ("from . import Task", "conure_lib.data.stream", ["conure_lib.data"]),
        ("from ..model import Model", "conure_lib.data.store", ["conure_lib.model"]),
        ("from .data.stream import Task\nfrom .data import Task", "conure_lib.model", []),
    ],
)
def test_the_import_check_sees_imports_of_every_form(source, module, wrong):
    assert wrong_way(library_imports(source, module, is_package=False), module) == wrong


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("import pickle", 1),
        ("from pickle import loads", 1),
        ("import torch as t\nt.load('x')", 1),
        ("from torch import load as read\nread('x')", 1),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", 1),
        ("eval('1')", 1),
        ("import pandas as pd\npd.read_pickle('x')", 1),
        ("model.eval()\nimport json\njson.load(f)", 0),
        ("from safetensors.torch import load\nload(b'')", 0),
        ("import numpy as np\nnp.load('x', allow_pickle=False)", 0),
    ],
)
def test_the_loading_check_sees_what_runs_code(source, count):
    assert len(unsafe_uses(source)) == count


def test_every_make_target_has_a_help_line():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    rules = dict(re.findall(r"(?m)^([a-z][\w-]*):(?!=)(.*)$", text))
    assert set(rules) == set(TARGETS)
    assert [name for name, rest in rules.items() if not re.search(r"## \S", rest)] == []
    assert set(re.search(r"(?m)^\.PHONY:(.*)$", text)[1].split()) == set(TARGETS)


def test_the_readme_names_the_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make study" in text
    assert "make test" in text


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_take_parameters_and_define_nothing(path):
    tagged = [cell for cell in cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    assert [cell["cell_type"] for cell in tagged] == ["code"], (
        "one code cell is tagged 'parameters'"
    )
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = [node.name for node in ast.walk(ast.parse(code(path))) if isinstance(node, kinds)]
    assert defined == [], "functions and classes belong in conure_lib"
    assert unsafe_uses(code(path)) == []


def test_the_readme_names_modules_that_are_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("| module | what it holds |")[2].partition("\n\n")[0]
    rows = re.findall(r"(?m)^\| (`.+?) \|", section)
    named = [name.rstrip("/") for row in rows for name in re.findall(r"`([\w/]+)`", row)]
    assert sorted(named) == sorted(ORDER), "the README lists every module once"


def undocumented(source: str) -> list[str]:
    """The public functions, classes and methods of a module that have no docstring; "module" for its own."""
    tree = ast.parse(source)
    missing = [] if ast.get_docstring(tree) else ["module"]

    def look(parent: ast.Module | ast.ClassDef, head: str) -> None:
        for node in parent.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                missing.extend([] if ast.get_docstring(node) else [head + node.name])
                if isinstance(node, ast.ClassDef):
                    look(node, f"{head}{node.name}.")

    look(tree, "")
    return missing


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_everything_public_has_a_docstring(path):
    assert undocumented(path.read_text(encoding="utf-8")) == []


def test_the_docstring_check_sees_modules_functions_classes_and_methods():
    source = (
        '"""Says."""\ndef a(): ...\ndef _b(): ...\nclass C:\n    """Says."""\n    def d(self): ...'
    )
    assert undocumented(source) == ["a", "C.d"]
    assert undocumented("x = 1") == ["module"]
