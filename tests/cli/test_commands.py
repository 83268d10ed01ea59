"""Commands: help, what a mistake or a failure says, datasets, the study, cleaning, completion."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from helpers import small_study
from small_service import TASKS, plan_of, write_plan, write_service

from conure_lib import paths
from conure_lib.cli import app, main
from conure_lib.cli.common import data_config
from conure_lib.cli.study import _draw
from conure_lib.data.registry import DATASETS
from conure_lib.errors import ConfigError, TransferError, VerificationError
from conure_lib.study import notebooks
from conure_lib.study.profiles import REPORTED
from conure_lib.study.study import Study


def commands_of(command, words=()):
    """Every command without sub-commands: its words -> itself."""
    if not hasattr(command, "commands"):
        return {words: command}
    inner = command.commands.items()
    return {k: v for name, one in inner for k, v in commands_of(one, (*words, name)).items()}


@pytest.fixture
def refusal(capsys):
    """Run a command that ends with an exit code; return its one line on stderr."""

    def run(command, code=2):
        assert main(shlex.split(command)) == code
        error = capsys.readouterr().err
        assert error.startswith("conure: ")
        assert error.count("\n") == 1
        return error

    return run


def test_there_are_the_commands_that_are_documented_and_each_says_what_it_does(capsys):
    commands = commands_of(typer.main.get_command(app))
    names = "demo run export embed study verdicts reproduce tune publish notebooks clean"
    data = {("data", name) for name in ("list", "fetch", "describe")}
    assert set(commands) == data | {(name,) for name in names.split()}
    for words in ((), ("data",), *commands):
        assert main([*words, "--help"]) == 0
        assert "Usage: " + " ".join(("conure", *words)) in capsys.readouterr().out
    assert main(["--help"]) == 0
    about, _, shown = capsys.readouterr().out.partition("examples:\n")
    about = " ".join(about.split())
    for said in ("ROOT is CONURE_ROOT, else", "ROOT/artifacts", "ROOT/results/local"):
        assert said in about
    assert "exit codes: 0 done; 1 a notebook, a check, a download, a training, a worker" in shown
    examples = re.findall(r"conure (\w+) ([^>#\n]+)", shown)
    assert len(examples) == 5
    for name, arguments in examples:
        commands[name,].make_context(name, shlex.split(arguments))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("", "Missing command. See: conure --help"),
        ("nope", "No such command 'nope'. See: conure --help"),
        ("run", "Missing option '--tasks'. See: conure run --help"),
        ("run --tasks a.yaml --seed x", "Invalid value for '--seed': "),
        ("run --tasks nowhere.yaml", "nowhere.yaml: found No such file or directory, exp"),
        ("data describe nope", "dataset: found 'nope', expected one of"),
        ("data describe synthetic --option a", "--option: found 'a', expected NAME="),
        ("data describe my.yaml --option length=9", "--option: found it with a plan, expected"),
        ("study --profile papers", "profile"),
        ("clean --what results", "'results' is not one of 'stages', 'streams', 'dow"),
        ("study --dataset synthetic --profile smoke", "found no notebooks, expected those of a"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(command, said, root, refusal, monkeypatch):
    monkeypatch.setattr(paths, "NOTEBOOKS", root / "notebooks")  # as away from a checkout
    assert said in refusal(command)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "stopped; the same command continues where it was"),
        (ConfigError("two\nlines\x1b[2J"), 2, r"two lines\x1b[2J"),
        (VerificationError("x" * 9999), 1, "x" * 750 + " ... "),
        (FloatingPointError("the loss became nan"), 1, "the loss became nan"),
        (FileNotFoundError(2, "No such file", "a.csv"), 2, "a.csv: found No such file, expected"),
        (MemoryError("8 GiB"), 2, "found too little memory (8 GiB), expected smaller sizes"),
    ],
)
def test_what_ends_a_command_is_one_line_and_an_exit_code(raised, code, said, refusal, monkeypatch):
    def fail(*_):
        raise raised

    monkeypatch.setattr("conure_lib.data.registry.is_at_hand", fail)
    assert refusal("data list", code).startswith(f"conure: {said}")


def test_a_read_only_shared_memory_is_no_matter_where_it_is_not_used(monkeypatch, recwarn):
    said = "[Errno 30] Read-only file system.  joblib will operate in serial mode"
    warn = lambda _: warnings.warn(said, stacklevel=1) or False  # noqa: E731
    monkeypatch.setattr("conure_lib.data.registry.is_at_hand", warn)
    assert main(["data", "list"]) == 0
    assert recwarn.list == []


def test_verdicts_leave_out_datasets_without_results(root, capsys):
    assert main(["verdicts"]) == 0
    said = capsys.readouterr().err
    assert all(f"left out {name}: no committed results in {root}" in said for name in REPORTED)
    assert said.count("left out") == len(REPORTED)


def test_datasets_are_listed_with_their_terms_fetched_and_described(root, capsys):
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown and source.terms in shown for name, source in DATASETS.items())
    assert main(["data", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(DATASETS)
    assert {row["name"] for row in rows if row["at_hand"]} >= {"synthetic"}
    small = ["synthetic", "--option", "n_users=60", "--option", "n_items=64"]
    assert main(["data", "fetch", *small]) == 0
    shown = capsys.readouterr().out
    assert "terms: none" in shown
    assert f"in {root / 'artifacts' / 'streams'}" in shown
    assert main(["data", "describe", *small, "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["n_users"], about["n_items"], len(about["tasks"])) == (60, 64, 6)
    assert about["digest"] in shown
    (root / "synthetic").mkdir()  # hides no dataset
    assert main(["data", "describe", *small]) == 0
    given = data_config("ml-100k", ["path=2024", "length=7"])
    assert given.options == {"path": "2024", "length": 7}


def test_an_installed_package_works_anywhere_in_any_locale_and_with_a_relative_root(root):
    installed = root / "site-packages"  # not in a checkout
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(paths.__file__).parent, installed / "conure_lib", ignore=ignored)

    def run(folder, *arguments, options=(), **more):
        ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        command = [sys.executable, *options, "-m", "conure_lib.cli", *arguments]
        env = os.environ | ascii_only | {"PYTHONPATH": str(installed)} | more
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, check=False)

    folder = write_service(root / "mine")
    write_plan(folder / "plan.yaml", plan_of([TASKS[0] | {"title": "gehört ♫"}]))
    command = ["run", "--tasks", "plan.yaml", "--method", "Popularity"]
    shown = run(folder, *command, CONURE_ROOT="below").stdout.decode("utf-8")
    model = folder / "below" / "artifacts" / "models" / "plan-Popularity"
    assert shown.endswith(f"wrote {model}\n")  # the folder's, not one of the package
    assert "gehört ♫" in shown
    assert "gehört ♫" in (model / "metrics.json").read_text(encoding="utf-8")
    mistake = run(root, "data", "describe", "nope", options=["-OO"])
    assert (mistake.returncode, mistake.stderr.count(b"\n")) == (2, 1)


def test_a_study_computes_and_draws_only_into_what_git_ignores(root, monkeypatch, capsys):
    def patch(name, function):
        monkeypatch.setattr(f"conure_lib.{name}", function)

    asked = []
    local = paths.results("smoke", "synthetic", local=True)
    patch("study.study.load_study", lambda *given: asked.append(given) or Study(small_study()))
    patch("study.experiments.all_runs", lambda study: [(study, study.runs(["Popularity"]))])
    patch("analysis.render.render", lambda study: [local / "metrics.csv"])
    row = {"notebook": "00_data", "seconds": 1.0, "error": ""}
    patch("study.notebooks.run_all", lambda *arguments: asked.append(arguments) or [row])
    command = shlex.split("study --dataset synthetic --profile smoke --seed 1 --seed 2")
    assert main(command) == 0
    parameters = {"DATASET": "synthetic", "PROFILE": "smoke", "SEEDS": [1], "RESULTS": "local"}
    drawn = (parameters, local / "notebooks", 1, notebooks.fitting(Study(small_study())))
    assert asked == [("synthetic", "smoke", [1, 2], "local"), drawn]
    assert f"wrote {local / 'metrics.csv'}" in capsys.readouterr().out
    assert [path.name for path in root.iterdir()] == ["artifacts"]
    row["error"] = "it failed"
    assert main(command) == 1
    patch("study.experiments.all_runs", lambda study: [(study, study.runs(["STL"], ("T1", "T2")))])
    monkeypatch.setattr("os.environ", dict(os.environ))
    options = ["--dry-run", "--option", "n_users=60", "--device", "cpu", "--results", "committed"]
    assert main([*command, *options]) == 0
    assert os.environ["CONURE_OPTIONS"] == '{"n_users": 60}'
    shown = capsys.readouterr().out
    assert re.findall(r"(?m)^ *(T1|T2|all) ", shown) == ["T1", "T2", "all"]
    assert asked[-1] == asked[0]


def test_cleaning_takes_caches_and_nothing_else_and_follows_no_link(root, capsys, refusal):
    kept = [root / "results" / "standard" / "a", paths.artifacts("models") / "mine" / "model.json"]
    caches = {name: paths.artifacts(name) for name in ("stages", "streams", "downloads")}
    for file in (*kept, *(folder / "one" / "file" for folder in caches.values())):
        file.parent.mkdir(parents=True)
        file.write_text("12345")
    assert main(["clean", "--dry-run", "--json"]) == 0
    sizes = [{"cache": name, "files": 1, "bytes": 5} for name in ("stages", "streams")]
    assert json.loads(capsys.readouterr().out) == {"removed": False, "caches": sizes}
    assert all(folder.is_dir() for folder in caches.values())
    for command, left in (([], [False, False, True]), (["--what", "downloads"], [False] * 3)):
        assert main(["clean", *command]) == 0
        assert [folder.is_dir() for folder in caches.values()] == left
    assert all(file.is_file() for file in kept)
    paths.artifacts("stages").symlink_to(root / "results")
    assert "found a link, expected a folder" in refusal("clean")
    assert (root / "results").is_dir()


@pytest.mark.parametrize(
    ("words", "found"), [("conure ", "export"), ("conure run --m", "--method")]
)
def test_the_shell_completes_commands_and_options_without_waiting_for_pytorch(words, found):
    asked = {"_CONURE_COMPLETE": "complete_bash", "COMP_WORDS": words}
    env = {**os.environ, **asked, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    code = "import sys; from conure_lib.cli import main\ntry: main([])\n"
    code += "finally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert found in done.stdout.split()
    assert done.stdout.endswith("False\n")


def test_publishing_takes_what_it_has_drawn_and_no_figures_of_ones_own(root, monkeypatch):
    study = Study(small_study(), store=SimpleNamespace(read=None))
    mine = paths.figures("smoke", "synthetic", local=True) / "table.csv"
    before = paths.drawn("figures", "smoke", "synthetic", local=False) / "before.csv"
    for file in (mine, before):
        file.parent.mkdir(parents=True)
        file.write_text("older")
    os.utime(before, (1, 1))

    def run_all(*arguments):
        before.with_name("now.csv").write_text("newer")
        return [{"notebook": "00_data", "seconds": 1.0, "error": ""}]

    monkeypatch.setattr("conure_lib.study.notebooks.run_all", run_all)
    assert _draw(study, publishes=True) == 0
    published = paths.figures("smoke", "synthetic", local=False)
    assert [file.name for file in published.iterdir()] == ["now.csv"]
    assert mine.read_text() == "older"


def test_verdicts_leave_out_what_cannot_be_fetched_unless_it_is_asked_for(
    root, monkeypatch, capsys, refusal
):
    def out_of_reach(*given):
        raise TransferError("no way to example.org")

    folder = paths.results("standard", "ml-100k", local=False)
    folder.mkdir(parents=True)
    (folder / "seed-1.parquet").write_bytes(b"")
    monkeypatch.setattr("conure_lib.study.study.load_study", out_of_reach)
    assert main(["verdicts"]) == 0
    assert "left out ml-100k: no way to example.org" in capsys.readouterr().err
    assert "no way" in refusal("verdicts --dataset ml-100k", code=1)
