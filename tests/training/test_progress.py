"""A training killed between two epochs goes on to the same bytes; a short one leaves nothing."""

from dataclasses import replace

import pytest
from helpers import FAST, WAYS, files_below, small_stream, small_study

from conure_lib import paths
from conure_lib.methods.method import Step
from conure_lib.pipeline import provenance
from conure_lib.pipeline.stage import Stage, compute_stage
from conure_lib.training import progress
from conure_lib.training.batches import Batches

STREAM = small_stream()
TWO_PHASES = replace(FAST, epochs=3, final_rate=0.1, patience=3)


class KilledError(Exception):
    """In place of a killed process."""


def compute(task="T1", kill_at=0, **settings):
    """Compute a stage, maybe killed while it validates for the n-th time; count validations."""
    train = replace(TWO_PHASES, **settings)
    stage = Stage(Step("train", task), small_study(train={"T1": train, "*": train}), "d", 1)
    calls, validation = [], Batches.validation

    def counted(batches):
        calls.append(1)
        if len(calls) == kill_at:
            raise KilledError
        return validation(batches)

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(Batches, "validation", counted)
        if kill_at:
            with pytest.raises(KilledError):
                compute_stage(stage, STREAM)
        else:
            compute_stage(stage, STREAM)
    return stage, len(calls)


def partial():
    return [*paths.artifacts("stages").glob(".*.partial")]


def folder_of(stage):
    return files_below(stage.store.folder(stage.id))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kill_at", [3, 4, 5, 7])  # after epochs 1, 2, 3 (phase 1's last) and 5
def test_a_killed_training_goes_on_to_the_same_bytes(way, kill_at, root, monkeypatch):
    monkeypatch.setattr(progress, "CHECKPOINT_SECONDS", 0.0)
    settings = WAYS[way] | {"dropout": 0.3}
    stage, total = compute(**settings)
    expected = folder_of(stage)
    assert (total, partial()) == (7, [])
    for one in paths.artifacts("stages").iterdir():
        one.rename(root / one.name) if one.name == stage.id else None
    compute(kill_at=kill_at, **settings)
    assert len(partial()) == 1
    again, rest = compute(**settings)
    assert rest == total - kill_at + 1  # no epoch is trained twice, but for the one that was killed
    assert folder_of(again) == expected
    assert partial() == []


@pytest.mark.parametrize("damage", ["bytes", "cut", "version", "code"])
def test_what_is_damaged_or_of_other_versions_is_not_used(damage, root, monkeypatch, capsys):
    monkeypatch.setattr(progress, "CHECKPOINT_SECONDS", 0.0)
    compute("T2", kill_at=4)
    (file,) = partial()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    if damage == "version":
        newer = provenance.versions() | {"torch": "9"}
        monkeypatch.setattr(provenance, "versions", lambda: newer)
    elif damage == "code":
        monkeypatch.setattr(provenance, "SOURCE", "other")
    else:
        file.write_bytes(content if damage == "bytes" else content[:100])
    assert compute("T2")[1] == 7
    assert (f"{file}: " in capsys.readouterr().err) == (damage in ("bytes", "cut"))
    assert partial() == []


def test_a_short_training_leaves_nothing(root):
    compute(kill_at=4)
    assert partial() == []
    assert compute()[1] == 7
