"""What a study would cost follows from a few instances of each kind of stage."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import small_stream, small_study

from conure_lib import paths
from conure_lib.config import ModelConfig
from conure_lib.data.stream import BLOCKS, PARTS, TRAIN, check
from conure_lib.methods import FLOOR_ACTIONS
from conure_lib.pipeline import estimate as estimating
from conure_lib.pipeline.store import RANKS
from conure_lib.study.study import Study

STREAM = small_stream(n_users=300, half_full=0.5)


def study():
    return Study(small_study(), STREAM)


def test_every_missing_stage_is_counted_once_and_only_trials_are_computed(root):
    one = study()
    runs = one.runs(["Linear", "STL", "Conure"])
    table = one.estimate(runs)
    stages = {s.id: s for run in runs for last in run.stages.values() for s in last.lineage()}
    trained = [s for s in stages.values() if s.step.action not in FLOOR_ACTIONS]
    by_kind = table.iloc[:-1].set_index(["task", "action"])["stages"]
    assert by_kind.to_dict() == {(s.step.task, s.step.action): 1 for s in trained}
    assert table.iloc[-1]["stages"] == len(trained)
    assert (table.iloc[:-1]["fewest_h"] <= table.iloc[:-1]["most_h"]).all()
    assert [*paths.artifacts().iterdir()] == []  # nothing of it stays
    one.compute(one.runs(["Conure"], ("T1", "T2")))
    assert set(one.estimate(runs)["task"]) == {"T2", "T3", "T4", "T5", "T6", "all"}


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("task", ["T1", "T2", "T5"])
def test_a_trial_has_a_few_batches_like_those_of_the_whole(task, share, monkeypatch):
    monkeypatch.setattr(estimating, "MEASURED_INSTANCES", 10)
    config = small_study()
    train = {name: replace(one, share=share) for name, one in config.train.items()}
    stage = Study(replace(config, train=train), STREAM).run("STL", 1).stages[task]
    few = check(estimating.few_instances(STREAM, stage))
    sizes = [len(few[task].rows(part)) for part in PARTS.values()]
    assert sizes == [min(3 * 32 / share, len(STREAM[task].rows(TRAIN))), 10, 10]
    rows = {row.tobytes() for row in STREAM.sequences}
    assert {row.tobytes() for row in few.sequences} <= rows
    assert few.n_users == len(few.sequences) < STREAM.n_users
    trained = few[task].users[few[task].rows(TRAIN)]
    whole = STREAM[task].users[STREAM[task].rows(TRAIN)]
    most = [np.bincount(users).max() for users in (trained, whole)]
    assert most[0] <= most[1]


@pytest.mark.parametrize("epochs", [[4.0, 10.0], [10.0, 4.0], []])
def test_hours_by_hand(epochs, root, monkeypatch):
    """By a trial on a third of the training and test parts and a half of the validation part."""
    config = small_study(retrain={"epochs": 9, "patience": 4, "final_rate": 0.1})
    stage = Study(config, STREAM).run("Conure", 1).stages["T4"]  # 225, 30 and 45 instances
    blocks = STREAM["T4"].blocks.copy()
    for part, n in zip(PARTS.values(), (75, 15, 15), strict=True):
        blocks[STREAM["T4"].rows(part)[n:]] = BLOCKS
    tasks = (*STREAM.tasks[:3], replace(STREAM["T4"], blocks=blocks))
    few = replace(STREAM, tasks=tasks, input_rows=STREAM.input_rows[:100])  # a third of the users
    took = {"wall_s": 60 + sum(epochs), "epochs_s": epochs}
    monkeypatch.setattr(estimating, "few_instances", lambda *_: few)
    monkeypatch.setattr(estimating, "compute_stage", lambda *_: None)
    monkeypatch.setattr(estimating, "peak_gib", lambda *_, **__: 1.0)
    monkeypatch.setattr(type(stage), "environment", lambda _: took)
    folder = stage.store.folder(stage.id)
    folder.mkdir(parents=True)
    (folder / RANKS).write_bytes(b"1" * 2**10)
    row = estimating.measured(stage, stage, STREAM)
    epoch = {4.0: 6 * 3 + 4 * 2, 10.0: 4 * 2}[epochs[0]] if epochs else 0.0
    first = {4.0: 4 * 2, 10.0: 10 * 3}[epochs[0]] if epochs else 0.0
    assert row["epoch_s"] == epoch
    assert row["fewest_h"] == pytest.approx((60 + first * 2.5 + (1 + 2 * 4) * epoch) / 3600)
    assert row["most_h"] == pytest.approx((60 + first * 2.5 + 2 * 9 * epoch) / 3600)
    assert row["disk_gib"] == pytest.approx(4 * 2**10 / 2**30)
    assert row["memory_gib"] == pytest.approx(1 + (300 * 6 * 4 + 300 * 8 * 4) / 2**30)


def test_stages_that_cost_the_same_are_one_kind():
    one = study()
    other = one.changed("pr50", prune={**one.config.prune, "T2": 0.5})
    smaller = one.changed("small", model=ModelConfig(4, (1,)))
    longer = {**one.config.retrain, "epochs": 99}
    studies = (one, other, smaller, one.changed("patient", retrain=longer))
    kinds = [estimating.kind_of(s.run("Conure", 1).stages["T3"]) for s in studies]
    assert kinds[0] == kinds[1]
    assert len(set(kinds)) == 3
