"""The check of a GPU runs on the CPU at toy sizes, and says what failed or was left out."""

import json

import pytest
import torch

from benchmarks import gpu_check
from benchmarks.gpu_check import SECTIONS, TOY

OWN = {name: section for name, section in SECTIONS.items() if name != "tests"}


@pytest.mark.slow
def test_every_section_runs_at_toy_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "SECTIONS", OWN)
    assert gpu_check.run(TOY, "cpu", tmp_path / "new" / "gpu.json")
    found = json.loads((tmp_path / "new" / "gpu.json").read_text())["sections"]
    assert found.keys() == OWN.keys()
    assert found["no forgetting, the same bytes twice"]["files"] == 6 * 5  # of six stages
    assert len(found["steps"]["rows"]) == 6
    assert min(row["ms"] for row in found["steps"]["rows"]) > 0
    epoch = found["epoch of T1, ML-25M"]
    assert epoch["steps"] == TOY.epoch / TOY.first_batch
    seconds = epoch["measured_s"] / epoch["measured_steps"] * epoch["steps"]
    assert epoch["epoch_s"] == pytest.approx(seconds)


def test_what_fails_or_has_no_time_is_said_and_the_rest_runs(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no kernel image")

    sections = {"one": broken, "two": lambda *_: {"ok": True}}
    monkeypatch.setattr(gpu_check, "SECTIONS", sections)
    file = tmp_path / "gpu.json"
    assert not gpu_check.run(TOY, "cpu", file)
    one, two = json.loads(file.read_text())["sections"].values()
    assert (one["error"], two["ok"]) == ("RuntimeError: no kernel image", True)
    assert not gpu_check.run(TOY, "cpu", file, budget=-1.0)
    errors = [one["error"] for one in json.loads(file.read_text())["sections"].values()]
    assert errors == ["no time was left"] * 2


def test_a_difference_beyond_the_tolerance_is_found(monkeypatch):
    assert gpu_check.check_against_cpu(TOY, "cpu")["ok"]
    vectors = iter([torch.ones(2), torch.ones(2), torch.ones(2), torch.full((2,), 1.01)])
    monkeypatch.setattr(gpu_check, "user_vectors", lambda *_: next(vectors))
    found = gpu_check.check_against_cpu(TOY, "cpu")
    assert (found["ok"], found["differences"]["T2"]["vectors"]) == (False, pytest.approx(0.01))
