"""Serving: masked once or every time, the logits are the same bits; the file is what the rule of C20 reads."""

import json

import numpy as np
import pytest
import torch
from helpers import bytes_of, small_stream, small_study

from conure_lib import cli, paths
from conure_lib.analysis.claims import CLAIMS
from conure_lib.bench import facts, inference, run
from conure_lib.bench.worlds import TOY
from conure_lib.study.study import Study


def test_both_ways_of_masking_give_a_network_of_the_same_bits():
    with torch.no_grad():
        learner = facts.six_tasks(TOY.a)
        for task in learner.tasks:
            served, wanted = inference.Masked(learner, task).model(), learner.for_task(task)
            for name, parameter in wanted.named_parameters():
                assert bytes_of(parameter) == bytes_of(served.get_parameter(name)), (task, name)
            for name in learner.owners:
                assert (wanted.get_parameter(name) == 0).any()


def test_a_request_gives_a_users_scores_of_all_labels_and_masks_anew():
    with torch.no_grad():
        calls, equal = inference.requests(TOY.a)
        assert equal
        assert set(calls) == {"plain", "materialised", "masked"}
        for call in calls.values():
            assert [tuple(scores.shape) for scores in call()] == [
                (TOY.a.users, TOY.a.labels)
            ] * inference.REQUESTS
        learner = facts.six_tasks(TOY.a)
        masked = inference.Masked(learner, "T2")
        before = masked.model().blocks[0].kernel1.clone()
        learner.model.blocks[0].kernel1.mul_(
            2
        )  # what all tasks share has changed: the next request sees it
        assert torch.equal(masked.model().blocks[0].kernel1, 2 * before)


def test_the_median_and_its_interval():
    found = inference.median_ratio([1.0, 1.2, 0.9, 1.1, 5.0])
    assert found["median"] == 1.1
    assert 0.9 <= found["low"] <= 1.1 <= found["high"] <= 5.0
    assert inference.median_ratio([2.0] * 15) == {"median": 2.0, "low": 2.0, "high": 2.0}
    rng = np.random.default_rng(0)
    wide, narrow = (inference.median_ratio(list(rng.normal(1, 0.1, n))) for n in (15, 150))
    assert narrow["high"] - narrow["low"] < wide["high"] - wide["low"]


def test_ratios_within_a_round_decide(root, monkeypatch):
    """Rounds in which everything is slow by the same factor change nothing."""
    slow = np.linspace(1, 3, 16)
    rounds = [{"plain": s, "materialised": 1.02 * s, "masked": 1.02 * 1.2 * s} for s in slow]
    asked = []
    monkeypatch.setattr(
        inference, "interleaved", lambda calls, least, *_: asked.append(least) or rounds
    )
    result = inference.run_inference(rounds=5, threads=1, quick=True)
    assert asked == [inference.LEAST_ROUNDS] == [15]
    assert result["rounds"] == 16
    assert result["materialised"] == {"median": 1.02, "low": 1.02, "high": 1.02}
    assert result["masked"] == {"median": 1.2, "low": 1.2, "high": 1.2}


def test_the_command_writes_what_the_claim_reads(root, monkeypatch, capsys):
    monkeypatch.setattr(inference, "MOST_ROUNDS", 15)
    study = Study(small_study(), small_stream())
    assert CLAIMS["C20"].decide(study).verdict == "NOT TESTED"
    assert cli.main(["bench", "inference", "--quick", "--threads", "1"]) == 0
    path = paths.bench(quick=True) / "inference.json"
    assert path.is_relative_to(root / "artifacts")
    written = json.loads(path.read_text())
    assert written["equal_bits"] is True
    assert (written["rounds"], written["threads"], written["size"]["users"]) == (15, 1, TOY.a.users)
    assert {"commit", "machine", "cores"} <= set(written["environment"])
    for name in ("materialised", "masked"):
        assert 0 < written[name]["low"] <= written[name]["median"] <= written[name]["high"]
    found = CLAIMS["C20"].decide(study)
    assert found.n == 15
    assert found.effect == pytest.approx(written["materialised"]["median"] - 1)
    assert "ms without owners" in capsys.readouterr().out
    assert run.run_inference is inference.run_inference
