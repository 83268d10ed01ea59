"""The project's rules: declared and pinned packages, layers, safe loading, thin notebooks."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import conure_lib
from conure_lib.study.profiles import PROFILES

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TORCH = "2.13.0"
OWN = {"conure_lib", "benchmarks", "docs"}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FILES = sorted(path for folder in OWN for path in (ROOT / folder).rglob("*.py"))
PARAMETERS = {
    "DATASET": "complete-journey",
    "PROFILE": "standard",
    "SEEDS": None,
    "RESULTS": "committed",
}

ALLOWED = {"export.py": ["torch.export.load"], "plan.py": ["yaml.load"]}
"""A program that the same call has just written, and YAML by a subclass of SafeLoader."""
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
    *("eval", "exec", "builtins.eval", "builtins.exec", "numpy.loads", "pandas.eval"),
    *("pandas.read_pickle", "torch.export.load", "torch.load", "torch.hub.load", "torch.jit.load"),
    *("torch.serialization.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
}


def unsafe_uses(source: str) -> list[str]:
    """What in this code would run code that it reads (pickle, torch.load, eval, any alias)."""
    tree = ast.parse(source)
    names, found = {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
                found += [alias.name] if top in UNSAFE_MODULES else []
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
            found += [node.module] if node.module.split(".")[0] in UNSAFE_MODULES else []

    def dotted(node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            return f"{dotted(node.value)}.{node.attr}"
        return names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"

    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and dotted(node) in UNSAFE_NAMES:
            found.append(dotted(node))
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found += [] if ast.unparse(node.value) == "False" else ["allow_pickle"]
    return found


def imported(source: str) -> set[str]:
    """The top-level packages that a module imports, wherever in the file it does so."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= set() if node.level else {node.module.split(".")[0]}
    return found


def requirements(*extras: str) -> dict[str, Requirement]:
    declared = PROJECT["project"]
    lines = [*declared["dependencies"]]
    for extra in extras:
        lines += declared["optional-dependencies"][extra]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def pins(lines: list[str]) -> dict[str, str]:
    """Name to version; fails for a line that is not `name==version`, and for a name met twice."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!]+)", line)
        assert match, f"not a plain pin: {line!r}"
        assert canonicalize_name(match[1]) not in found, f"pinned twice: {match[1]}"
        found[canonicalize_name(match[1])] = match[2]
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
    assert conure_lib.__version__ == PROJECT["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == conure_lib.__version__


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("conure_lib", ()), ("benchmarks", ()), ("docs", ("docs",)), ("tests", ("test", "docs"))],
)
def test_every_imported_package_is_declared(folder, extras):
    declared, provider = requirements(*extras), packages_distributions()
    ours = (
        {"tests"}
        | OWN
        | {path.stem for path in (ROOT / "tests").rglob("*") if path.suffix in ("", ".py")}
    )
    for path in sorted((ROOT / folder).rglob("*.py")):
        for name in (
            imported(path.read_text(encoding="utf-8")) - set(sys.stdlib_module_names) - ours
        ):
            known = {canonicalize_name(d) for d in provider.get(name, [name])}
            assert known & set(declared), f"{path}: {name} is not declared in pyproject.toml"


def test_the_lock_pins_every_direct_dependency_within_its_bounds():
    locked = lock()
    for name, requirement in requirements("test", "docs").items():
        assert name in locked, f"{name} is missing from requirements.lock (make lock)"
        assert requirement.specifier.contains(locked[name]), f"{requirement}: found {locked[name]}"


def test_environment_yml_pins_the_direct_dependencies_as_the_lock_does():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert (environment["channels"], conda) == (["conda-forge"], ["python=3.11", "pip"])
    locked = lock()
    assert pins(pip["pip"]) == {name: locked[name] for name in requirements("test", "docs")}


def test_torch_is_pinned_to_one_version_everywhere():
    for name in ("pyproject.toml", "requirements.lock", "environment.yml", "Makefile"):
        text = (ROOT / name).read_text(encoding="utf-8")
        found = re.findall(r"\b(?:py)?torch\s*[=<>~!]=*\s*[0-9][\w.+*]*", text)
        assert {re.sub(r"\s", "", pin) for pin in found} == {f"torch=={TORCH}"}, name


def test_folders_import_only_from_those_below_them():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-timing"]
    done = subprocess.run(command[:2], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_library_knows_nothing_of_what_lies_beside_it():
    for path in (ROOT / "conure_lib").rglob("*.py"):
        assert imported(path.read_text(encoding="utf-8")).isdisjoint(
            {"benchmarks", "docs", "tests"}
        )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_loading_never_runs_code(path):
    found = set(unsafe_uses(path.read_text(encoding="utf-8")))
    assert found <= set(ALLOWED.get(path.name, []))


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("import pickle", 1),
        ("from pickle import loads", 1),
        ("import torch as t\nt.load('x')", 1),
        ("from torch import load as read\nread('x')", 1),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", 1),
        ("eval('1')", 1),
        ("import yaml\nyaml.load('x', Loader)", 1),
        ("import pandas as pd\npd.read_pickle('x')", 1),
        ("model.eval()\nimport json\njson.load(f)", 0),
        ("from safetensors.torch import load\nload(b'')", 0),
        ("import numpy as np\nnp.load('x', allow_pickle=False)", 0),
    ],
)
def test_the_check_of_loading_sees_what_runs_code(source, count):
    assert len(unsafe_uses(source)) == count


def test_every_make_target_has_a_help_line_and_none_is_a_file():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    rules = dict(re.findall(r"(?m)^([a-z][\w-]*):(?!=)(.*)$", text))
    assert [name for name, rest in rules.items() if not re.search(r"## \S", rest)] == []
    assert set(re.search(r"(?m)^\.PHONY:(.*)$", text)[1].split()) == set(rules)
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    texts = "".join(path.read_text(encoding="utf-8") for path in documents)
    assert set(re.findall(r"(?m)(?:^|`)make ([a-z-]+)", texts)) <= set(rules)


def test_continuous_integration_runs_make_test():
    assert "make test" in (ROOT / ".ci/run").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_take_the_parameters_and_define_nothing(path):
    tagged = [cell for cell in cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    assert [cell["cell_type"] for cell in tagged] == ["code"]
    if not path.stem.startswith("90"):
        found = [node for node in ast.parse("".join(tagged[0]["source"])).body]
        values = {node.targets[0].id: ast.literal_eval(node.value) for node in found}
        assert set(values) == set(PARAMETERS)
        assert values["PROFILE"] in PROFILES
        assert values | {"DATASET": "complete-journey"} == PARAMETERS
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = [node.name for node in ast.walk(ast.parse(code(path))) if isinstance(node, kinds)]
    assert defined == [], "functions and classes belong in conure_lib"
    assert unsafe_uses(code(path)) == []
