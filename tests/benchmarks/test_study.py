"""What a whole study costs: measured on parts of it that are like the whole, counted as its records say."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import rng, small_stream, small_study

from conure_lib import paths
from conure_lib.bench import study as bench
from conure_lib.bench.measure import seconds
from conure_lib.data.stream import TRAIN, VALIDATION, Task
from conure_lib.errors import MissingResultError
from conure_lib.study.study import Study
from conure_lib.training.batches import shuffled


@pytest.fixture(scope="module")
def stream():
    return small_stream()


@pytest.fixture
def computed(root, stream, monkeypatch):
    """A study whose only experiment compares three methods; everything in it is computed."""
    study = Study(small_study(), stream)
    experiments = {"baselines": lambda s: s.runs(("STL", "SinMo", "FineSmax", "Conure"))}
    monkeypatch.setattr(bench, "EXPERIMENTS", experiments)
    study.compute(experiments["baselines"](study))
    return study


@pytest.mark.parametrize("together", [None, 1, 2])
def test_a_part_of_a_task_has_whole_groups_and_leaves_other_parts_alone(stream, together):
    task = stream["T2"]
    part = bench.some(task, TRAIN, 40, together)
    chosen, whole = part.rows(TRAIN), task.rows(TRAIN)
    counts = [np.bincount(task.users[rows], minlength=stream.n_users) for rows in (chosen, whole)]
    assert 40 <= len(chosen) < len(whole)
    left = counts[0] % (together or len(whole))
    assert all(
        (left == 0) | (counts[0] == counts[1]) | (left == counts[1] % (together or len(whole)))
    )
    assert np.array_equal(part.rows(VALIDATION), task.rows(VALIDATION))
    assert np.array_equal(bench.some(task, TRAIN, 10**9, together).split, task.split)


def test_a_batch_of_the_part_has_as_many_users_as_one_of_the_whole():
    """A part with all instances of a few users would have them share batches that they do not share."""
    users = np.arange(400).repeat(24)
    task = Task(
        "T2", "ranking", "labels", users, users % 7, 7, np.full(len(users), TRAIN, np.uint8)
    )
    batches = []
    for one in (task, bench.some(task, TRAIN, 6 * 256, 8)):
        rows = one.rows(TRAIN)
        order = shuffled(rows, one.users[rows], 8, rng())
        sizes = [
            len(np.unique(one.users[batch]))
            for batch in np.split(order, range(256, len(order), 256))
        ]
        batches.append(np.mean(sizes[:6]))
    assert batches[1] == pytest.approx(batches[0], rel=0.1)


def test_kinds_count_what_the_records_say(computed):
    every = bench.all_stages(computed)
    assert len({stage.id for stage in every}) == len(every)
    kinds = bench.kinds_of(every)
    assert {(k.one.step.task, k.one.step.action) for k in kinds} == {
        *((f"T{t}", action) for t in range(1, 7) for action in ("train", "retrain")),
        *((f"T{t}", action) for t in range(2, 7) for action in ("scratch", "finetune")),
    }
    for kind in kinds:
        wanted = kind.one.step.task, kind.one.step.action
        those = [stage for stage in every if (stage.step.task, stage.step.action) == wanted]
        epochs = sum(len(stage.record()["curve"]) - 1 for stage in those)
        assert (kind.stages, kind.passes, kind.validations) == (
            len(those),
            epochs,
            epochs + len(those),
        )


def test_a_share_of_the_training_part_counts_as_that_share(root, stream, monkeypatch):
    study = Study(small_study(), stream)
    few = {**study.config.train, "T2.train": replace(study.config.training("T2"), share=0.5)}
    runs = study.changed("few", train=few).runs(("Conure-",), ("T1", "T2"))
    study.compute(runs)
    kind = next(
        k
        for k in bench.kinds_of(s for r in runs for s in r.stages.values())
        if k.one.step.task == "T2"
    )
    assert kind.passes == 0.5 * (len(kind.one.record()["curve"]) - 1)


def test_every_kind_runs_and_ours_trains_what_the_stage_may(computed):
    for kind in bench.kinds_of(bench.all_stages(computed)):
        with bench.calls_of(computed.stream, kind) as (calls, scale):
            assert set(calls) == {
                f"{who} {what}" for who in bench.WHO for what in ("learns", "ranks")
            }
            assert all(seconds(call) > 0 for call in calls.values())
            assert all(value >= 1 for value in scale.values())
        with bench.prepared(computed.stream, kind.one) as (model, trainable):
            everything, step = all(mask is None for mask in trainable.values()), kind.one.step
            may_all = step.action in ("scratch", "finetune") or (step.task, step.action) == (
                "T1",
                "train",
            )
            assert everything == may_all
            assert f"outputs.{step.task}.weight" in dict(model.named_parameters())


def test_the_total_is_the_sum_of_the_kinds(computed, monkeypatch):
    """With clocks that say: 1 s ours, 4 s port, 2 s lean for every call, the ratios are 4 and 2."""
    clock = {"ours": 1.0, "port": 4.0, "lean": 2.0}

    def told(calls, least, *_):
        return [{name: clock[name.split()[0]] for name in calls}] * least

    monkeypatch.setattr(bench, "interleaved", told)
    found = bench.measured(computed, rounds=3)
    assert (found["port"]["ratio"], found["lean"]["ratio"]) == (4, 2)
    assert found["ours_s"] == pytest.approx(
        sum(kind["ours_s"] for kind in found["kinds"]), rel=0.01
    )
    assert 0.5 < found["covered"] < 1  # FineSmax is not


def test_the_command_writes_what_it_prints(computed, monkeypatch, capsys):
    monkeypatch.setattr(bench, "study_config", lambda *_: computed.config)
    monkeypatch.setattr(bench, "Study", lambda config: computed)
    monkeypatch.setattr(bench, "BUDGET", 0.0)
    result = bench.run_study(2, ["synthetic"], "smoke")
    assert json.loads((paths.bench(quick=True) / "study.json").read_text()) == result
    found = result["datasets"]["synthetic"]
    assert f"port {found['port']['ratio']:.2f}x" in capsys.readouterr().out


def test_a_study_without_results_names_the_command(root, stream):
    with pytest.raises(MissingResultError, match="make study"):
        bench.measured(Study(small_study(), stream), rounds=1)
