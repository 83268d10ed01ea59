"""Two processes train one model: as one process would, within 1e-5, and alike to the last bit among themselves."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import parallel_program
import pytest
import torch
from helpers import STEPS, small_stream, small_study
from safetensors.torch import load_file

from conure_lib import paths
from conure_lib.cli import main
from conure_lib.config import ConfigError
from conure_lib.experiment import Study, missing

WITHIN = 1e-5  # of weights up to about 1 after up to four epochs with a learning rate of 0.01
TESTS = Path(__file__).parent


def torchrun(python, root, *arguments, **options):
    command = python("", root)
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command["args"] = [sys.executable, *start, *map(str, arguments)]
    return subprocess.run(**command, capture_output=True, timeout=300, **options)


@pytest.fixture(scope="module")
def alone():
    return parallel_program.learn()


@pytest.fixture(scope="module")
def together(tmp_path_factory, python):
    folder = tmp_path_factory.mktemp("together")
    done = torchrun(python, folder, TESTS / "parallel_program.py", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_both_processes_hold_the_same_bits(together):
    assert (together / "0.safetensors").read_bytes() == (together / "1.safetensors").read_bytes()
    assert (together / "0.json").read_bytes() == (together / "1.json").read_bytes()


def test_two_processes_train_what_one_does(alone, together):
    """Every kind of step; T1 by full and sampled softmax, dense and by rows; retraining; later tasks."""
    (tensors, notes), found = alone, load_file(together / "0.safetensors")
    curves = json.loads((together / "0.json").read_text())
    assert set(found) == set(tensors)
    largest = max(float((found[name] - tensors[name]).abs().max()) for name in tensors if "owner" not in name)
    assert 0 < largest < WITHIN  # 0: were there two processes at all?
    for name in STEPS:
        np.testing.assert_allclose(curves[name], notes[name], rtol=0, atol=WITHIN)


def test_two_processes_prune_the_same_weights(alone, together):
    found = load_file(together / "0.safetensors")
    owners = [name for name in alone[0] if "owner" in name]
    assert len(owners) == 3 * 3 * 2  # ways of T1, tasks, kernels
    assert all(torch.equal(found[name], alone[0][name]) for name in owners)


@pytest.mark.parametrize("way", parallel_program.FIRST)
def test_old_tasks_answer_to_the_last_bit_as_before(together, way):
    memory = json.loads((together / "1.json").read_text())[f"memory {way}"]
    assert {task: len(digests) for task, digests in memory.items()} == {"T1": 3, "T2": 2, "T4": 1}
    assert all(len(set(digests)) == 1 for digests in memory.values())


def test_processes_that_hold_different_models_are_noticed(together):
    assert json.loads((together / "0.json").read_text())["noticed"]


def test_one_model_of_ones_own_data(tmp_path, python, monkeypatch):
    """``torchrun ... -m conure_lib.cli run``: one report, one folder, metrics as from one, ids of its own."""
    monkeypatch.syspath_prepend(TESTS / "cli")
    from own_world import tables

    monkeypatch.setattr(paths, "ROOT", tmp_path / "one")
    plan = tables(tmp_path / "mine") / "plan.yaml"
    assert main(["run", "--tasks", str(plan)]) == 0
    done = torchrun(python, tmp_path / "two", "-m", "conure_lib.cli", "run", "--tasks", plan)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("answer as when learned, to the bit") == 1
    assert done.stderr.count("12/12") > 0
    found, wanted = (json.loads((tmp_path / name / "artifacts/runs/plan/metrics.json").read_text())
                     for name in ("two", "one"))  # fmt: skip
    for row, other in zip(found["tasks"], wanted["tasks"], strict=True):
        assert row["value"] == pytest.approx(other["value"], abs=0.05)  # a few test users
        assert row["owned"] == other["owned"]
        assert row["stage"] != other["stage"]
    assert found["unchanged"] == ["T1", "T2", "T3"]
    assert not list((tmp_path / "two").rglob(".*"))


def test_a_stage_of_two_processes_is_not_computed_by_one(root):
    study = Study(small_study(processes=2), small_stream())
    run = study.run("Popularity", 1, ("T1",))
    with pytest.raises(ConfigError, match=r"processes = 2, 1 at work; wanted: torchrun --nproc-per-node 2"):
        study.compute([run])
    assert missing(run.stages.values()) == list(run.stages.values())


def test_processes_that_did_not_join_are_refused(root, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    study = Study(small_study(), small_stream())
    with pytest.raises(ConfigError, match="torchrun can start 'run' only"):
        study.compute([study.run("Popularity", 1, ("T1",))])
