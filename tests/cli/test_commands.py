"""Every command's help, the datasets' list, what is cleaned, what the shell completes, how a run is stopped."""

import argparse
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from conure_lib import paths
from conure_lib.cli import entry, main, parser
from conure_lib.cli.common import Parser
from conure_lib.data.registry import DATASETS
from conure_lib.errors import ClusterError, DamagedResultError, StorageError, VerificationError


def commands_of(found: Parser, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], Parser]:
    """Every command without sub-commands: its words -> its parser."""
    inner = [a for a in found._actions if isinstance(a, argparse._SubParsersAction)]
    if not inner:
        return {words: found}
    return {
        k: v
        for name, sub in inner[0].choices.items()
        for k, v in commands_of(sub, (*words, name)).items()
    }


COMMANDS = commands_of(parser())


def test_there_are_the_commands_that_are_documented():
    named = {words[0] for words in COMMANDS}
    assert {
        "data",
        "run",
        "export",
        "embed",
        "study",
        "verdicts",
        "bench",
        "clean",
        "completion",
    } <= named
    assert {words[1] for words in COMMANDS if words[0] == "data"} == {"list", "fetch", "describe"}


@pytest.mark.parametrize("words", [(), ("data",), *COMMANDS], ids=" ".join)
def test_every_help_ends_with_examples_that_can_be_parsed(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    examples = re.findall(r"(?<![/_])\bconure ([^)>|#\n]+)", shown.partition("\nexamples:\n")[2])
    assert examples
    for example in examples:
        arguments = shlex.split(example)
        assert arguments[: len(words)] == list(words)
        parser().parse_args(arguments)


def test_the_exit_codes_are_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert (
        "exit codes: 0 done; 1 a notebook, a check, a worker or the disk failed; 2 a mistake"
        in shown
    )
    assert "130 stopped" in shown


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "conure: stopped; the same command goes on where it was"),
        (VerificationError("two\nlines"), 1, "conure: two lines"),
        (StorageError("a.csv cannot be written"), 1, "conure: a.csv cannot be written"),
        (
            DamagedResultError(Path("ranks"), "x", "y"),
            1,
            "conure: ranks is damaged: found x, wanted y",
        ),
        (ClusterError("a worker died"), 1, "conure: a worker died"),
        (
            FloatingPointError("the loss became nan; lower the learning rate"),
            1,
            "conure: the loss became nan",
        ),
    ],
)
def test_what_ends_a_command_is_one_line_and_an_exit_code(raised, code, said, monkeypatch, capsys):
    def failing():
        made = Parser("conure")

        def function(args):
            raise raised

        made.set_defaults(function=function)
        return made

    monkeypatch.setattr(entry, "parser", failing)
    assert main([]) == code
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert error.count("\n") == 1


def test_all_datasets_are_listed_with_their_terms(root, capsys):
    assert main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown and source.terms in shown for name, source in DATASETS.items())
    assert main(["data", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(DATASETS)
    assert {row["name"] for row in rows if row["at_hand"]} == {"synthetic", "complete-journey"}


def test_a_dataset_is_fetched_with_its_terms_and_described(root, capsys):
    small = ["synthetic", "--option", "n_users=60", "--option", "n_items=64"]
    assert main(["data", "fetch", *small]) == 0
    shown = capsys.readouterr().out
    assert "terms: none" in shown
    folder = root / shown.strip().rpartition(" in ")[2]
    assert json.loads((folder / "manifest.json").read_text())["n_users"] == 60
    assert main(["data", "describe", *small]) == 0
    assert "classification" in capsys.readouterr().out
    assert main(["data", "describe", *small, "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["n_users"], about["n_items"], len(about["tasks"])) == (60, 64, 6)
    assert about["digest"] in shown


def test_cleaning_takes_caches_and_nothing_else(root, capsys):
    kept = [root / "results" / "runs" / "a", root / "artifacts" / "runs" / "mine" / "model.json"]
    caches = {"stages": paths.stages(), "streams": paths.streams(), "downloads": paths.downloads()}
    for file in (*kept, *(folder / "one" / "file" for folder in caches.values())):
        file.parent.mkdir(parents=True)
        file.write_text("12345")
    assert main(["clean", "--dry-run", "--json"]) == 0
    sizes = [{"cache": name, "files": 1, "bytes": 5} for name in ("stages", "streams")]
    assert json.loads(capsys.readouterr().out) == {"removed": False, "caches": sizes}
    assert all(folder.is_dir() for folder in caches.values())
    assert main(["clean", "--dry-run", "--what", "all"]) == 0
    assert capsys.readouterr().out.count("would remove artifacts/") == 3
    assert main(["clean"]) == 0
    assert [name for name, folder in caches.items() if folder.exists()] == ["downloads"]
    assert main(["clean", "--what", "all"]) == 0
    assert not caches["downloads"].exists()
    assert all(file.read_text() == "12345" for file in kept)
    assert "removed artifacts/stages: 0 files" in capsys.readouterr().out


def test_a_cache_that_is_a_link_is_left_alone(root, tmp_path, capsys):
    (tmp_path / "big disk").mkdir()
    (root / "artifacts").mkdir()
    paths.stages().symlink_to(tmp_path / "big disk")
    assert main(["clean"]) == 2
    assert "is a link" in capsys.readouterr().err
    assert (tmp_path / "big disk").is_dir()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("conure ", {"data", "run", "study", "clean"}),
        ("conure data ", {"list", "fetch", "describe"}),
        ("conure export --fo", {"--format"}),
        ("conure completion ", {"bash", "zsh"}),
    ],
)
def test_bash_completes_commands_options_and_choices(words, wanted, tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    typed = words.split(" ")
    ask = f"source {tmp_path / 'script'}; COMP_WORDS=({shlex.join(typed)}); COMP_CWORD={len(typed) - 1}; "
    ask += "_shtab_conure; printf '%s\\n' \"${COMPREPLY[@]}\""
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert wanted <= set(done.stdout.split())


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script_too(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "conure" in capsys.readouterr().out
