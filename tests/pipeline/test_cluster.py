"""A study on a Dask cluster of real processes: the same bytes, killed workers included; misfits are named."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import files_below, small_stream, small_study
from test_executors import SHORT, expect_failure

from conure_lib import paths
from conure_lib.cli import main
from conure_lib.errors import ClusterError, ConfigError
from conure_lib.methods import METHODS
from conure_lib.pipeline import cluster
from conure_lib.study import study as experiment
from conure_lib.study.study import Study

STREAM = small_stream()
STAGES = 24  # of all methods on three tasks

DIES = """
import os, signal
from conure_lib import stages

def dying(stage, outcome, stream, folder):  # in the middle of a stage, while its files are written
    (folder / stages.RECORD).write_text("{")
    os.kill(os.getpid(), signal.SIGKILL)

stages._write = dying
"""
NO_LIBRARY = "import sys\nsys.modules['conure_lib'] = None\n"


class Processes:
    """A scheduler and workers that share one CONURE_ROOT."""

    def __init__(self, folder: Path, python) -> None:
        self.folder, self.root, self.python = folder, folder / "root", python
        self.file, self.started = folder / "scheduler.json", []

    def start(
        self, what: str, *arguments: object, root: Path | None = None, **variables: str
    ) -> subprocess.Popen:
        command = self.python("", root or self.root)
        command["args"] = [sys.executable, "-m", "dask", what, *map(str, arguments)]
        command["env"] |= variables
        log = (self.folder / f"{what}{len(self.started)}.log").open("w")
        self.started.append(subprocess.Popen(**command, stdout=log, stderr=log))
        return self.started[-1]

    def scheduler(self, **variables: str) -> None:
        here = (
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            self.file,
        )
        self.start("scheduler", *here, **variables)
        self.until(lambda: self.file.is_file())

    def worker(
        self, *arguments: object, root: Path | None = None, preload: str = ""
    ) -> subprocess.Popen:
        """A worker that the scheduler knows of; preload: code that runs in it first."""
        before = len(self.workers())
        extra = []
        if preload:
            extra = ["--preload", self.folder / f"preload{len(self.started)}.py"]
            extra[1].write_text(preload)
        alone = (
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--local-directory",
            self.folder / "spill",
        )
        process = self.start(
            "worker", "--scheduler-file", self.file, *alone, *extra, *arguments, root=root
        )
        self.until(lambda: len(self.workers()) > before)
        return process

    def workers(self) -> list[str]:
        with cluster.Client(
            scheduler_file=str(self.file), timeout=30, set_as_default=False
        ) as client:
            return list(client.scheduler_info(n_workers=-1)["workers"])

    def until(self, ready) -> None:
        deadline = time.monotonic() + 120
        while not ready():
            assert time.monotonic() < deadline, [p.read_text() for p in self.folder.glob("*.log")]
            assert all(p.poll() in (None, -signal.SIGKILL) for p in self.started)
            time.sleep(0.1)

    def stop(self, processes: list[subprocess.Popen] | None = None) -> None:
        for process in processes or self.started[::-1]:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


@pytest.fixture(scope="module")
def dask(tmp_path_factory, python):
    """A scheduler and two workers for the whole module."""
    processes = Processes(tmp_path_factory.mktemp("dask"), python)
    try:
        processes.scheduler()
        for _ in range(2):
            processes.worker()
        yield processes
    finally:
        processes.stop()


@pytest.fixture
def here(dask, monkeypatch):
    """Outputs go where the workers' go, into an empty folder."""
    monkeypatch.setattr(paths, "ROOT", dask.root)
    shutil.rmtree(dask.root, ignore_errors=True)
    dask.root.mkdir()
    return dask


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """What the study leaves when it is computed serially."""
    root = tmp_path_factory.mktemp("serial")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", root)
        study, runs = study_and_runs()
        study.compute(runs)
    return files_below(root / "artifacts" / "stages")


def study_and_runs():
    study = Study(small_study(), STREAM)
    return study, [study.run(method, 1, SHORT) for method in METHODS]


def finished(root):
    return {
        name: data
        for name, data in files_below(root / "artifacts" / "stages").items()
        if name[0] != "."
    }


def address(file):
    return json.loads(file.read_text())["address"]


def test_the_records_are_those_of_a_serial_run(here, serial, capsys):
    study, runs = study_and_runs()
    study.compute(runs, cluster=str(here.file))
    assert files_below(paths.stages()) == serial
    assert [path.name for path in paths.artifacts().iterdir()] == [
        "stages"
    ]  # what they shared is gone
    shown = capsys.readouterr().err
    assert f"{STAGES}/{STAGES}" in shown
    assert re.search(r"<\d\d:\d\d, .*[012] running, 0 failed", shown)


def test_a_worker_killed_in_the_middle_is_survived(here, serial):
    doomed = here.worker(preload=DIES)
    study, runs = study_and_runs()
    study.compute(runs, cluster=address(here.file))
    assert doomed.wait(60) == -signal.SIGKILL
    assert finished(here.root) == serial
    assert any(path.name.startswith(".") for path in paths.stages().iterdir()), (
        "half a stage was left"
    )
    study.compute(runs)
    assert files_below(paths.stages()) == serial  # and is swept


def test_a_stage_that_fails_on_a_worker_is_named(here):
    expect_failure(cluster=str(here.file))


def test_workers_that_die_too_often_are_no_use(tmp_path, python, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path / "root")
    dask = Processes(tmp_path, python)
    try:
        dask.scheduler(DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
        dask.worker(preload=DIES)
        study = Study(small_study(), STREAM)
        with pytest.raises(
            ClusterError, match="1 workers died while they computed a stage"
        ) as failure:
            study.compute([study.run("Popularity", 1, ("T1",))], cluster=str(dask.file))
        assert "T1.popularity" in failure.value.__notes__[0]
    finally:
        dask.stop()


def test_a_scheduler_that_is_killed_is_named(tmp_path, python, monkeypatch):
    """While the study asks it, or waits for workers; those that come later would be welcome."""
    monkeypatch.setattr(paths, "ROOT", tmp_path / "root")
    dask = Processes(tmp_path, python)
    try:
        dask.scheduler()

        def kill():
            dask.until(lambda: list(paths.artifacts().glob(".stream*")))
            dask.stop()

        killer = threading.Thread(target=kill)
        killer.start()
        study, runs = study_and_runs()
        with pytest.raises(
            ClusterError, match=r"^lost the scheduler at .*; the same command goes on"
        ):
            study.compute(runs, cluster=str(dask.file))
        killer.join()
    finally:
        dask.stop()


def test_a_worker_with_another_root_is_named(here, tmp_path, monkeypatch):
    """At the start, and when it comes later."""
    study, runs = study_and_runs()
    stranger = here.worker("--name", "stranger", root=tmp_path)
    try:
        for _ in range(2):
            with pytest.raises(
                ClusterError, match=r"worker tcp://.* does not see this study's stream.*CONURE_R"
            ):
                study.compute(runs, cluster=str(here.file))
            shutil.rmtree(paths.stages(), ignore_errors=True)
            monkeypatch.setattr(cluster, "_demand_alike", lambda *_: None)
    finally:
        here.stop([stranger])


def test_a_worker_without_the_library_is_named(here):
    study, runs = study_and_runs()
    stranger = here.worker(preload=NO_LIBRARY)
    try:
        with pytest.raises(
            ClusterError, match=r"worker tcp://\S+ cannot import conure_lib \(.*ModuleNotFound"
        ):
            study.compute(runs, cluster=str(here.file))
    finally:
        here.stop([stranger])


@pytest.mark.parametrize(
    ("wanted", "threads", "message"),
    [
        ({"torch": "1.0"}, 1, r"^worker tcp://w:1 on \S+ has torch 2\S+; wanted: 1\.0"),
        ({"protocol": "0"}, 1, "has protocol"),
        ({"conure_lib": "0" * 12}, 1, "has conure_lib"),
        ({}, 4, r"has 4 threads; wanted: dask worker --nthreads 1"),
        ({}, 1, "does not see this study's stream"),
    ],
)
def test_a_worker_that_does_not_fit_says_why(root, wanted, threads, message):
    worker = SimpleNamespace(address="tcp://w:1", state=SimpleNamespace(nthreads=threads))
    complaint, kind = cluster._report(cluster.versions() | wanted, ".stream.of-x/stream", worker)
    assert re.search(message, complaint)
    assert kind


# --- mistakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["study", "tune"])
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x:9"])
def test_a_scheduler_that_does_not_answer_is_named(root, monkeypatch, capsys, command, address):
    monkeypatch.setattr(cluster, "CONNECT", 1.0)
    assert (
        main([command, "--dataset", "synthetic", "--profile", "smoke", "--cluster", address]) == 2
    )
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"conure: no Dask scheduler answered at {address} in 1 s")


@pytest.mark.parametrize("content", ["", "{}", "[]"])
def test_a_damaged_scheduler_file_is_named(root, content):
    file = root / "scheduler.json"
    file.write_text(content)
    study, runs = study_and_runs()
    with pytest.raises(ConfigError, match=rf"found '{file}', not a scheduler file \("):
        study.compute(runs, cluster=str(file))


def test_neither_a_file_nor_an_address(root):
    study, runs = study_and_runs()
    with pytest.raises(ConfigError, match=r"found 'nowhere.json', neither a file nor an address"):
        study.compute(runs, cluster="nowhere.json")
    assert list(paths.artifacts().rglob("*")) == []


def test_without_dask_the_extra_is_named(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "conure_lib.cluster")
    study, runs = study_and_runs()
    with pytest.raises(
        ConfigError, match=r"--cluster needs distributed; run: pip install .*\[cluster\]"
    ):
        study.compute(runs, cluster="tcp://127.0.0.1:9")
    assert experiment.missing([runs[0].stages["T1"]])
