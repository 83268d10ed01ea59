"""Files and folders are written in one step or not at all; one rule says where things are."""

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys

import pytest
from helpers import files_below, refused
from safetensors import SafetensorError

from conure_lib import files, paths
from conure_lib.errors import StorageError
from conure_lib.files import atomic_file, atomic_folder, file_lock, read_json, write_json


def test_json_is_read_as_it_was_written_and_within_bounds(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"b": "ä", "a": [1]})
    assert file.read_text(encoding="utf-8") == '{\n "a": [\n  1\n ],\n "b": "ä"\n}\n'
    assert read_json(file) == {"a": [1], "b": "ä"}
    write_json(file, half := {"title": "\ud83d of a character"})
    assert read_json(file) == half
    file.write_bytes(b"\xef\xbb\xbf{}")  # a byte order mark
    assert read_json(file) == {}
    for bad in (b'{"a": 1, "a": 2}', b"[" * 99999, b"\xff", b"{", b" " * (1 << 25)):
        file.write_bytes(bad)
        with refused(ValueError):
            read_json(file)
    with refused(OSError, "a folder"):
        files.read_text(tmp_path)
    assert files.path_problem("no/such/file") == files.path_problem(".") == ""
    assert all(files.path_problem(bad) for bad in ("a" * 5000, "a\0b"))


def test_a_folder_takes_its_name_at_the_end(tmp_path):
    with atomic_folder(tmp_path / "b") as folder:
        (folder / "file").write_text("mine")
    with atomic_folder(tmp_path / "b") as folder:  # somebody else was quicker: theirs stays
        (folder / "file").write_text("late")
    assert files_below(tmp_path) == {"b/file": b"mine"}
    with contextlib.suppress(KeyError), atomic_folder(tmp_path / "b", replace=True) as folder:
        raise KeyError
    assert files_below(tmp_path) == {"b/file": b"mine"}
    with atomic_folder(tmp_path / "b", replace=True) as folder:
        (folder / "other").write_text("new")
    assert files_below(tmp_path) == {"b/other": b"new"}
    (tmp_path / "c").write_text("a file")
    with pytest.raises(OSError, match="c"), atomic_folder(tmp_path / "c"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "c"]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file").write_text("mine")
    calls, rename = iter((True, False, True)), os.replace

    def second_fails(*where):
        if not next(calls):
            raise OSError(5, "Input/output error")
        rename(*where)

    with refused(StorageError, "cannot be written"), atomic_folder(tmp_path / "b", True) as folder:
        (folder / "file").write_text("new")
        monkeypatch.setattr(os, "replace", second_fails)
    assert files_below(tmp_path) == {"b/file": b"mine"}


def test_a_file_takes_its_name_at_the_end(tmp_path):
    target = tmp_path / "t.csv"
    target.write_text("old")
    with contextlib.suppress(KeyError), atomic_file(target) as part:
        part.write_text("half")
        raise KeyError
    assert files_below(tmp_path) == {"t.csv": b"old"}
    with atomic_file(target) as part:
        assert (part.name, target.read_text()) == ("t.csv", "old")
        part.write_text("new")
    assert files_below(tmp_path) == {"t.csv": b"new"}
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("name", ["x" * 255, "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 85])
def test_a_folder_may_have_the_longest_name_that_there_is(tmp_path, name):
    with atomic_folder(tmp_path / name) as folder:
        (folder / "file").write_text("mine")
    assert files_below(tmp_path) == {f"{name}/file": b"mine"}


ERRORS = OSError(28, "No space left on device"), SafetensorError("I/O error: No space left")


@pytest.mark.parametrize("writer", [atomic_folder, atomic_file])
@pytest.mark.parametrize("error", ERRORS)
def test_a_failed_write_names_the_file_and_the_remedy(tmp_path, writer, error):
    target = tmp_path / "b"
    named = refused(StorageError, f"{target} cannot be written (", "No space left", "make room")
    with named, writer(target):
        raise error
    assert list(tmp_path.iterdir()) == []
    target.write_text("")
    with refused(StorageError, f"{target} cannot be written"), writer(target / "c"):
        pass


def test_what_killed_processes_left_is_swept_away_and_nothing_else(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    mine = files.temporary_folder("a", tmp_path)
    dead = tmp_path / mine.name.replace(f"@{os.getpid()}-", f"@{process.pid}-")
    elsewhere = tmp_path / dead.name.replace(platform.node(), "another-machine")
    kept = [elsewhere, tmp_path / "a", tmp_path / ".hidden"]
    for folder in (dead, *kept):
        folder.mkdir()
        (folder / "file").write_text("x")
    files.remove_leftovers(tmp_path)
    assert {*tmp_path.iterdir()} == {mine, *kept}
    files.remove_leftovers(tmp_path / "missing")


def test_the_lock_of_a_killed_process_is_free(tmp_path, python):
    code = """if True:
    import os, signal
    from conure_lib import files, paths
    with files.file_lock(paths.ROOT / "a"):
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run(**python(code, tmp_path)).returncode == -signal.SIGKILL
    with file_lock(tmp_path / "a"), file_lock(tmp_path / "b"):  # others are not in the way
        pass


def test_files_are_as_readable_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_folder(tmp_path / "s") as folder:
            (folder / "a").touch(mode=0o600)
    finally:
        os.umask(before)
    modes = [p.stat().st_mode & 0o777 for p in (tmp_path / "s", tmp_path / "s" / "a")]
    assert modes == [0o750, 0o640]


# --- where things are ----------------------------------------------------------------------------


def test_one_rule_for_where_things_are(tmp_path, python):
    """CONURE_ROOT, else the checkout, else (an installed package) the current folder."""
    code = "from conure_lib import paths; print(paths.ROOT, paths.artifacts('stages'), sep='\\n')"

    def root(cwd, code=code, **environment):
        command = python(code, tmp_path)
        command["env"] |= environment
        return subprocess.check_output(**command, cwd=cwd).splitlines()

    (tmp_path / "b").mkdir()
    assert root(tmp_path, CONURE_ROOT="b") == [f"{tmp_path}/b", f"{tmp_path}/b/artifacts/stages"]
    assert root(tmp_path, CONURE_ROOT="")[0] == str(paths.NOTEBOOKS.parent)
    (copy := tmp_path / "site-packages" / "conure_lib").mkdir(parents=True)
    for name in ("__init__.py", "paths.py"):
        shutil.copy(paths.NOTEBOOKS.parent / "conure_lib" / name, copy)
    found = root(tmp_path / "b", CONURE_ROOT="", PYTHONPATH=str(copy.parent))
    assert found[0] == f"{tmp_path}/b"


def test_runs_write_only_where_git_ignores_it(root):
    ignored = (paths.NOTEBOOKS.parent / ".gitignore").read_text().split()
    assert {"artifacts/", "results/local/", "figures/local/"} <= {*ignored}
    local = [f("smoke", "synthetic", local=True) for f in (paths.results, paths.figures)]
    local += [paths.claims(local=True), paths.benchmarks(local=True)]
    assert all("local" in path.relative_to(root).parts[1] for path in local)
