"""Stages that fail and workers that die: what does not need them is computed, and the message names them."""

import os
import signal
from dataclasses import replace

import pytest
from helpers import files_below, small_stream, small_study

from conure_lib import paths
from conure_lib.cli import main
from conure_lib.errors import ClusterError
from conure_lib.pipeline import executors
from conure_lib.pipeline.executors import compute_with, heights_of
from conure_lib.study.study import Study

STREAM = small_stream()
SHORT = ("T1", "T2", "T4")


def diverging() -> Study:
    """Training of T2 fails in Conure's chain, and only there."""
    config = small_study()
    broken = replace(config.train["*"], optimizer="sgd", learning_rate=9.0, l2=1e9)
    return Study(replace(config, train={**config.train, "T2.train": broken}), STREAM)


def expect_failure(**way) -> None:
    """Computes what there is to do, in this way; the study and its ids are those of ``diverging``."""
    study = diverging()
    runs = [study.run(method, 1, SHORT) for method in ("Conure", "STL", "Popularity")]
    broken = next(stage for stage in runs[0].stages["T4"].lineage() if stage.step.task == "T2")
    with pytest.raises(FloatingPointError) as failure:
        study.compute(runs, **way)
    (note,) = failure.value.__notes__
    assert note == f"stage {broken.id} failed (1 failed, 5 that need them not started)"
    assert not broken.is_done()
    done = {path.name.rsplit(".", 2)[0] for path in paths.stages().iterdir()}
    chain = {f"synthetic.T1.{action}" for action in ("train", "prune", "retrain")}
    alone = {f"synthetic.{task}.popularity" for task in SHORT} | {
        "synthetic.T2.finetune",
        "synthetic.T4.finetune",
    }
    assert done == chain | alone


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stage_that_fails_is_named_and_stops_only_what_needs_it(root, workers, capsys):
    expect_failure(workers=workers)
    shown = capsys.readouterr().err
    assert "8/14" in shown
    assert f"{workers} running, 0 failed" in shown
    assert "0 running, 1 failed" in shown


def test_the_command_names_the_stage_in_one_line(root, monkeypatch, capsys):
    def fails(stage, stream):
        raise FloatingPointError("the loss became nan")

    monkeypatch.setattr(executors, "compute_stage", fails)
    assert main(["study", "--dataset", "synthetic", "--profile", "smoke"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("conure: the loss became nan; stage synthetic.T1.")
    assert " not started)" in last


def test_long_chains_come_first():
    study = Study(small_study(), STREAM)
    todo = study.run("Conure", 1, SHORT).stages["T4"].lineage() + list(
        study.run("STL", 1, SHORT).stages.values()
    )
    heights = heights_of({stage.id: stage for stage in todo}.values())
    assert sorted(heights.values()) == [1, 1, *range(1, 10)]
    assert heights[todo[0].id] == 9


def die_once(stage, folder):
    """In a worker: the first one is killed while it computes T2."""
    if stage.step.task == "T2":
        try:
            (paths.ROOT / "died").touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    compute_with(stage, folder)


def test_a_killed_local_worker_is_named_and_the_same_command_goes_on(root, monkeypatch):
    study = Study(small_study(), STREAM)
    runs = [study.run(method, 1, SHORT) for method in ("STL", "Popularity")]
    study.compute(runs)
    expected = files_below(paths.stages())
    paths.stages().rename(root / "serial")
    monkeypatch.setattr(executors, "compute_with", die_once)
    with pytest.raises(ClusterError, match=r"in hand were .*synthetic\.T2\..*goes on where it was"):
        study.compute(runs, workers=2)
    assert (root / "died").exists()
    study.compute(runs, workers=2)
    assert files_below(paths.stages()) == expected
    assert [path.name for path in paths.artifacts().iterdir()] == ["stages"]
