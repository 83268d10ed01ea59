"""The project's rules: declared and pinned packages, thin notebooks; ruff holds the others."""

import ast
import json
import os
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, text_of
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import conure_lib

PROJECT = tomllib.loads(text_of("pyproject.toml"))
TORCH = "2.13.0"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETERS = {"DATASET": "complete-journey", "PROFILE": "standard", "SEEDS": None}
PARAMETERS |= {"RESULTS": "committed"}
TEACHING = "91_how_it_works"  # it shows a small network and its training in full, to be changed


def imported(path: Path) -> set[str]:
    """The top-level packages that a module imports, wherever in the file it does so."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= set() if node.level else {node.module.split(".")[0]}
    return found


def requirements(*extras: str) -> dict[str, Requirement]:
    declared = PROJECT["project"]
    more = (line for extra in extras for line in declared["optional-dependencies"][extra])
    lines = [*declared["dependencies"], *more]
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


def test_the_version_is_one():
    assert conure_lib.__version__ == PROJECT["project"]["version"]
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert citation["version"] == conure_lib.__version__
    changes = text_of("CHANGELOG.md")
    latest = re.search(r"(?m)^## \[(.+)\] - (.+)$", changes)
    assert latest.groups() == (citation["version"], f"{citation['date-released']}")
    (author,), (cited,) = PROJECT["project"]["authors"], citation["authors"]
    assert author == cited
    assert cited["name"] in text_of("LICENSE")


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("conure_lib", ()), ("benchmarks", ()), ("docs", ("docs",)), ("tests", ("test", "docs"))],
)
def test_every_imported_package_is_declared(folder, extras):
    declared, provider = requirements(*extras), packages_distributions()
    beside = {"conure_lib"} if folder == "conure_lib" else {"conure_lib", "benchmarks", "docs"}
    if folder == "tests":
        beside |= {"tests", *(path.stem for path in (ROOT / "tests").rglob("*"))}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for name in imported(path) - set(sys.stdlib_module_names) - beside:
            known = {canonicalize_name(d) for d in provider.get(name, [name])}
            assert known & set(declared), f"{path}: {name} is not declared in pyproject.toml"


def test_an_installed_package_has_all_of_its_files():
    package = ROOT / "conure_lib"
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["conure_lib"]
    installed = {file for pattern in patterns for file in package.glob(pattern)}
    files = {file for file in package.rglob("*") if file.is_file() and file.suffix[:3] != ".py"}
    assert installed == files


def test_the_lock_pins_direct_dependencies_within_bounds_and_environment_yml_follows():
    lines = text_of("requirements.lock").splitlines()
    locked = pins([line for line in lines if line.strip() and not line.startswith("#")])
    direct = requirements("test", "docs")
    for name, requirement in direct.items():
        assert name in locked, f"{name} is missing from requirements.lock (make lock)"
        assert requirement.specifier.contains(locked[name]), f"{requirement}: found {locked[name]}"
    environment = yaml.safe_load(text_of("environment.yml"))
    *conda, pip = environment["dependencies"]
    assert (environment["channels"], conda) == (["conda-forge"], ["python=3.11", "pip"])
    assert pins(pip["pip"]) == {name: locked[name] for name in direct}


def test_torch_is_pinned_to_one_version_everywhere():
    for name in ("pyproject.toml", "requirements.lock", "environment.yml", "Makefile"):
        text = text_of(name)
        found = re.findall(r"\b(?:py)?torch\s*[=<>~!]=*\s*[0-9][\w.+*]*", text)
        assert {re.sub(r"\s", "", pin) for pin in found} == {f"torch=={TORCH}"}, name


def test_every_make_target_has_a_help_line_and_none_is_a_file():
    text = text_of("Makefile")
    rules = dict(re.findall(r"(?m)^([a-z][\w-]*):(?!=)(.*)$", text))
    assert [name for name, rest in rules.items() if not re.search(r"## \S", rest)] == []
    assert set(re.search(r"(?m)^\.PHONY:(.*)$", text)[1].split()) == set(rules)
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    texts = "".join(path.read_text(encoding="utf-8") for path in documents)
    assert set(re.findall(r"(?m)(?:^|`)make ([a-z-]+)", texts)) <= set(rules)
    assert "make test" in text_of(".ci/run")


def test_the_published_site_and_the_devcontainer_use_what_there_is():
    """As far as that can be checked without GitHub."""
    makefile = text_of("Makefile")
    workflow = yaml.safe_load(text_of(".github/workflows/site.yml"))
    container = json.loads(text_of(".devcontainer/devcontainer.json"))
    steps = workflow["jobs"]["publish"]["steps"]
    (build,) = [step["run"] for step in steps if "run" in step]
    for command in (build, container["postCreateCommand"]):
        assert re.search(rf"(?m)^{command.removeprefix('make ')}:.*## ", makefile), command
    used = {step["uses"].partition("@")[0]: step.get("with") for step in steps if "uses" in step}
    site = used["actions/upload-pages-artifact"]["path"]
    assert re.search(rf"(?m)^docs:.*\n.*-m sphinx .* {site}$", makefile)
    versions = used["actions/setup-python"]["python-version"], container["image"].partition(":")[2]
    environment = text_of("environment.yml")
    assert all(f"python={version}\n" in environment for version in versions)
    for name in container["customizations"]["codespaces"]["openFiles"]:
        assert (ROOT / name).is_file()
        assert f"`{name}`" in text_of("README.md")  # for Binder


def test_binder_installs_the_lock_and_the_library():
    """As far as that can be checked without mybinder.org."""
    names = "requirements.txt", "runtime.txt", "postBuild"
    packages, runtime, build = (text_of(f".binder/{name}") for name in names)
    container = text_of(".devcontainer/devcontainer.json")
    (index,) = re.findall(r"(?m)^--extra-index-url (.+)$", packages)
    assert f'"{index}"' in container
    assert packages.endswith("\n-r ../requirements.lock\n")
    python = runtime.removeprefix("python-")
    assert f"python={python}" in text_of("environment.yml")
    assert build.splitlines()[-1].endswith("pip install --no-cache-dir --no-deps -e .")
    assert os.access(ROOT / ".binder/postBuild", os.X_OK)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_take_the_parameters_and_define_nothing(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    (tagged,) = (cell for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    assert tagged["cell_type"] == "code"
    found = ast.parse("".join(tagged["source"])).body
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in found}
    assert values.keys() == PARAMETERS.keys()
    assert values | {"DATASET": "complete-journey"} == PARAMETERS
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    code = re.sub(r"(?m)^([ \t]*)[%!].*$", r"\1pass", "\n".join(sources))  # magics, shell lines
    defined = [node.name for node in ast.walk(ast.parse(code)) if isinstance(node, kinds)]
    assert path.stem == TEACHING or defined == [], "functions and classes belong in conure_lib"
