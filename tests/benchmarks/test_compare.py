"""Comparing two commits: by turns, in a worktree that goes away, with clear words for what cannot be done."""

import json
import signal
import subprocess

import pytest

from conure_lib import cli
from conure_lib.bench import compare, once
from conure_lib.bench.measure import BenchError

ONCE = """
import json, sys, conure_lib
names = [a for a in sys.argv[1:] if a.startswith("part")]
seconds = {seconds}
answer = {{"seconds": {{n: seconds[n] for n in names}}}} if names else {{"parts": list(seconds)}}
print(json.dumps({{"library": conure_lib.__file__}} | answer))
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository whose first commit (tag old) has no protocol; ``base`` has, and so has its working tree."""

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        done = subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    def version(seconds: dict) -> None:
        (tmp_path / "conure_lib" / "bench" / "once.py").write_text(ONCE.format(seconds=seconds))

    (tmp_path / "conure_lib" / "bench").mkdir(parents=True)
    for folder in ("conure_lib", "conure_lib/bench"):
        (tmp_path / folder / "__init__.py").touch()
    git("init", "--quiet")
    for tag in ("old", "base"):
        if tag == "base":
            version({"part 1": 0.2, "part 2": 0.3, "part gone": 1.0})
        git("add", ".")
        git("commit", "--quiet", "-m", tag)
        git("tag", tag)
    version({"part 2": 0.1, "part 1": 0.4, "part new": 1.0})
    monkeypatch.setattr(compare, "LIBRARY", tmp_path)
    yield git
    assert len(git("worktree", "list").splitlines()) == 1


def test_ratios_of_the_parts_that_both_have(repository, capsys):
    table = compare.run_compare("base", rounds=2, threads=1)
    assert [row["part"] for row in table] == ["part 2", "part 1"]
    assert [row["ratio"] for row in table] == pytest.approx([3.0, 0.5])
    assert [row["base_ms"] for row in table] == pytest.approx([300, 200])
    shown = capsys.readouterr().out
    assert "not in base: part new" in shown
    assert "not in now: part gone" in shown


@pytest.mark.parametrize(
    ("base", "message"),
    [("nonsense", "is no commit"), ("old", "is older than"), ("--help", "is no commit")],
)
def test_a_base_that_cannot_be_measured(repository, base, message, capsys):
    with pytest.raises(BenchError, match=message):
        compare.run_compare(base, rounds=1, threads=1)
    if not base.startswith("-"):
        assert cli.main(["bench", "compare", base]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["compare"], ["run", "base"], ["scale", "base"]])
def test_only_a_comparison_takes_a_commit(arguments, capsys):
    assert cli.main(["bench", *arguments]) == 2
    assert "commit" in capsys.readouterr().err


@pytest.mark.parametrize("rounds", ["0", "-1", "x"])
def test_rounds_are_a_positive_number(rounds, capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "--rounds", rounds])
    assert "--rounds" in capsys.readouterr().err


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_the_worktree_goes_away_when_the_comparison_is_stopped(repository, signal_number):
    interrupt = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job ignores it
    before, trees = signal.getsignal(signal.SIGTERM), []

    def stopped() -> None:
        with compare.worktree("base") as tree:
            trees.append((tree, (tree / compare.PROTOCOL).is_file()))
            signal.raise_signal(signal_number)

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        stopped()
    signal.signal(signal.SIGINT, interrupt)
    ((tree, was_there),) = trees
    assert was_there
    assert not tree.exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_library_than_the_one_asked_for_is_noticed(repository, monkeypatch):
    monkeypatch.setattr(
        compare, "child", lambda *args, tree: {"library": "/elsewhere/conure_lib/__init__.py"}
    )
    with pytest.raises(BenchError, match="elsewhere"):
        compare.run_compare("base", rounds=1, threads=1)


def test_one_sides_answers(capsys):
    once.main(["--quick", "--threads", "1"])
    names = json.loads(capsys.readouterr().out)["parts"]
    once.main(["--quick", "--threads", "1", names[0], names[-1]])
    seconds = json.loads(capsys.readouterr().out)["seconds"]
    assert list(seconds) == [names[0], names[-1]]
    assert all(value > 0 for value in seconds.values())
    with pytest.raises(SystemExit):
        once.main(["--quick", "(c) nothing"])
    assert "(c) nothing" in capsys.readouterr().err
