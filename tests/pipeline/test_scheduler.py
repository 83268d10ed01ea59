"""The same bytes however a graph is computed or killed; failures are named and stop little."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest.mock import Mock

import psutil
import pytest
from distributed import LocalCluster
from helpers import files_below, refused, small_stream, small_study

from conure_lib import paths
from conure_lib.errors import ClusterError, ConfigError, StorageError
from conure_lib.methods import METHODS
from conure_lib.pipeline import scheduler
from conure_lib.pipeline import stage as stages
from conure_lib.pipeline.store import DESCRIPTION, ENVIRONMENT, RANKS, RECORD, WEIGHTS, LocalStore
from conure_lib.study.study import Study, compute_all

STREAM = small_stream()
SHORT = ("T1", "T2", "T4")
STAGES = 42  # of all methods on three tasks


def runs_of(study):
    """All methods on three tasks, as in ``undisturbed``."""
    return [study.run(method, 1, SHORT) for method in METHODS]


@pytest.fixture
def computed(monkeypatch):
    """Names of the stages that are computed from now on."""
    names = []

    def spy(stage, stream):
        names.append(f"{stage.step.task}.{stage.step.action}")
        stages.compute_stage(stage, stream)

    monkeypatch.setattr(scheduler, "compute_stage", spy)
    return names


def test_equal_steps_are_computed_once_and_parents_first(root, computed):
    study = Study(small_study(), STREAM)
    study.compute(runs_of(study))
    chain = [f"{task}.{action}" for task in SHORT for action in ("train", "prune", "retrain")]
    assert len(computed) == len(set(computed)) == STAGES
    assert [name for name in computed if name in chain] == chain


def test_what_is_done_is_not_computed_again(study, computed):
    times = [{p: p.stat().st_mtime_ns for p in paths.artifacts("stages").rglob("*")}]
    for workers in (1, 2):
        study.compute(runs_of(study), workers)
        times.append({p: p.stat().st_mtime_ns for p in paths.artifacts("stages").rglob("*")})
    assert computed == []
    assert times[0] == times[1] == times[2]


@pytest.mark.parametrize("damage", ["cut", "gone"])
@pytest.mark.parametrize("name", [RECORD, RANKS, ENVIRONMENT, DESCRIPTION, WEIGHTS])
def test_what_is_damaged_is_named_and_computed_again(
    study, computed, expected, capsys, name, damage
):
    """T1.prune: between others that are sound, and nobody asks for it."""
    run = study.run("Conure", 1, SHORT)
    file = LocalStore().folder(run.stages["T1"].parent.id) / name
    content = file.read_bytes()
    file.unlink() if damage == "gone" else file.write_bytes(content[:-9])
    study.compute([run])
    assert f"{file.parent} is damaged (" in capsys.readouterr().err
    assert computed == ["T1.prune"]
    assert files_below(paths.artifacts("stages")) == expected


def test_what_a_killed_process_left_is_no_result_and_not_in_the_way(root, undisturbed):
    study = Study(small_study(), STREAM)
    stage = study.run("STL", 1, SHORT).stages["T1"]
    folder, finished = LocalStore().folder(stage.id), undisturbed / "artifacts/stages" / stage.id
    shutil.copytree(finished, folder.with_name(f".{stage.id}.abcd"))
    assert stage.store.read(stage.id) is None
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns(RECORD))
    study.compute([study.run("STL", 1, ("T1",))])
    assert files_below(folder) == files_below(finished)


def test_a_stage_that_another_process_computes_is_awaited_and_taken(root, monkeypatch):
    stage = Study(small_study(), STREAM).run("STL", 1, ("T1",)).stages["T1"]
    slow = Mock(side_effect=lambda *given, record=stages._record: time.sleep(0.2) or record(*given))
    monkeypatch.setattr(stages, "_record", slow)
    with ThreadPoolExecutor() as pool:
        assert [*pool.map(stages.compute_stage, [stage] * 2, [STREAM] * 2)] == [None] * 2
    slow.assert_called_once()
    assert stage.store.read(stage.id)


def expect_failure(**way) -> None:
    """Training of T2 fails in Conure's chain, and only there."""
    config = small_study()
    broken = replace(config.train["*"], optimizer="sgd", learning_rate=9.0, l2=1e9)
    study = Study(replace(config, train={**config.train, "T2.train": broken}), STREAM)
    runs = [study.run(method, 1, SHORT) for method in ("Conure", "STL", "Popularity")]
    broken = next(stage for stage in runs[0].stages["T4"].lineage() if stage.step.task == "T2")
    with pytest.raises(FloatingPointError) as failure:
        study.compute(runs, **way)
    (note,) = failure.value.__notes__
    assert note == f"stage {broken.id} failed (1 failed, 5 that need them not started)"
    done = {path.name.rsplit(".", 2)[0] for path in paths.artifacts("stages").glob("[!.]*")}
    chain = {f"synthetic.T1.{action}" for action in ("train", "prune", "retrain")}
    alone = {f"synthetic.{task}.popularity" for task in SHORT}
    assert done == chain | alone | {"synthetic.T2.finetune", "synthetic.T4.finetune"}


def test_a_stage_that_fails_is_named_and_stops_only_what_needs_it(root, capsys):
    expect_failure()
    shown = capsys.readouterr().err
    assert "8/14" in shown
    assert "some failed" in shown


def test_two_workers_one_of_them_killed_give_the_same_bytes(root, expected, monkeypatch, capsys):
    """The first worker that computes T2 is killed; Dask runs its stage again on another."""
    monkeypatch.setattr(scheduler, "_compute_there", die_once)
    study = Study(small_study(), STREAM)
    study.compute(runs_of(study), workers=2)
    assert (root / "died").exists()
    assert files_below(paths.artifacts("stages")) == expected
    assert [path.name for path in paths.artifacts().iterdir()] == ["stages"]
    assert f"{STAGES}/{STAGES}" in capsys.readouterr().err


COMPUTE_THERE = scheduler._compute_there


def die_once(stage, *arguments):
    if stage.step.task == "T2":
        with contextlib.suppress(FileExistsError):
            (paths.ROOT / "died").touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
    COMPUTE_THERE(stage, *arguments)


def test_workers_that_cannot_start_are_one_line(root, monkeypatch):
    """As where /dev/shm is read-only."""
    refuse = Mock(side_effect=OSError(30, "Read-only file system"))
    monkeypatch.setattr(scheduler.dask, "LocalCluster", refuse)
    study = Study(small_study(), STREAM)
    with refused(ClusterError, "2 workers cannot start here ", "Read-only", "/dev/shm"):
        study.compute(runs_of(study), workers=2)


@pytest.fixture(scope="module")
def cluster(shared_root):
    """A cluster with one worker for the whole module; the study's outputs go where its go."""
    with running(shared_root) as started:
        yield started


def running(root, threads=1):
    options = {"n_workers": 1, "threads_per_worker": threads, "dashboard_address": ":0"}
    return LocalCluster(env={"CONURE_ROOT": str(root)}, **options)


def test_a_cluster_gives_the_same_bytes(cluster, expected, tmp_path):
    study, file = Study(small_study(), STREAM), tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": cluster.scheduler_address}))
    study.compute(runs_of(study)[:3], cluster=cluster.scheduler_address)
    study.compute(runs_of(study), cluster=str(file))
    assert files_below(paths.artifacts("stages")) == expected


def test_studies_of_several_streams_are_one_graph(cluster, tmp_path, monkeypatch):
    streams, order = (STREAM, small_stream(relatedness=0.0)), ("T1", "T3")

    def groups():
        studies = [Study(small_study(), stream) for stream in streams]
        return [(one, one.runs(["Popularity", "STL"], order)) for one in studies]

    compute_all(groups(), cluster=cluster.scheduler_address)
    together = files_below(paths.artifacts("stages"))
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    for study, runs in groups():
        study.compute(runs)
    apart = files_below(paths.artifacts("stages"))
    assert len(apart) >= 2 * 4  # stages
    assert apart.items() <= together.items()


def test_a_stage_that_fails_on_a_cluster_is_named(cluster):
    shutil.rmtree(paths.artifacts("stages"), ignore_errors=True)
    expect_failure(cluster=cluster.scheduler_address)


def test_a_worker_that_does_not_fit_is_named(root):
    """More than one thread here; versions, code and kind of processor are compared the same way."""
    study = Study(small_study(), STREAM)
    named = refused(ClusterError, "worker tcp", " on ", ", threads: found 2, expected 1")
    with running(root, threads=2) as misfit, named:
        study.compute(runs_of(study), cluster=misfit.scheduler_address)


def test_a_cluster_without_workers_is_named(root, monkeypatch):
    monkeypatch.setattr(scheduler, "WORKER_SECONDS", 0.5)
    study, empty = Study(small_study(), STREAM), {"n_workers": 0, "dashboard_address": ":0"}
    with LocalCluster(**empty) as cluster, refused(ClusterError, "no worker has come within"):
        study.compute(runs_of(study), cluster=cluster.scheduler_address)


def test_a_scheduler_that_ends_is_named(root):
    """While the study waits for it."""
    study = Study(small_study(), STREAM)
    with running(root) as ends, ThreadPoolExecutor() as pool:

        def end():
            while not list(paths.artifacts().glob(".stream*/stream0")):
                time.sleep(0.01)
            ends.close()

        pool.submit(end)
        with refused(ClusterError, "lost the Dask scheduler; the same command"):
            study.compute(runs_of(study), cluster=ends.scheduler_address)


def test_a_full_disk_is_no_lost_scheduler(root, monkeypatch):
    def full(stream, folder):
        raise StorageError(f"{folder}: no space left")

    monkeypatch.setattr(scheduler, "save_stream", full)
    study = Study(small_study(), STREAM)
    with pytest.raises(StorageError, match="no space left"):
        study.compute(runs_of(study), workers=2)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"address": "tcp://127.0.0.1:9"}'])
def test_no_scheduler_is_one_line(root, monkeypatch, content):
    monkeypatch.setattr(scheduler, "CONNECT_SECONDS", 1.0)
    (root / "scheduler.json").write_text(content)
    study = Study(small_study(), STREAM)
    for where in (root / "scheduler.json", "nowhere.json"):
        with refused(ConfigError, f"cluster: found no Dask scheduler at {where} ", "expected tcp"):
            study.compute(runs_of(study), cluster=str(where))


STUDY = """
from conure_lib.study.study import load_study
if __name__ == "__main__":
    study = load_study("synthetic", "smoke", results="local")
    study.compute(study.runs(["Conure", "STL"], ("T1", "T2")), workers=2)
"""


def finished(root):
    return [*(root / "artifacts" / "stages").glob("[!.]*")]


@pytest.mark.slow
def test_workers_end_with_a_killed_study(tmp_path, python):
    (tmp_path / "study.py").write_text(STUDY)
    command = python("", tmp_path) | {"args": [sys.executable, str(tmp_path / "study.py")]}
    process = subprocess.Popen(**command)
    while len(finished(tmp_path)) < 2 and process.poll() is None:
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert len(children) >= 2
    _, left = psutil.wait_procs(children, timeout=30)
    for child in left:
        child.kill()
    assert left == []
    subprocess.run(**command, check=True)
    assert [p.name for p in (tmp_path / "artifacts").glob(".*")] in ([], [".locks"])
