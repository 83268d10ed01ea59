"""Studies survive kills and damage: the campaign of ``make faults`` in a short form, and what it once found."""

import json
from collections import Counter

import pytest
from robustness import faults

from conure_lib import paths


@pytest.mark.slow
def test_a_short_campaign_of_kills_and_damage(tmp_path):
    report = faults.short_campaign().run(tmp_path)
    assert report["killed"]["kills"] == len(faults.SHORT_KILLS)
    assert report["killed"]["bytes_lost"] == 0
    assert {row["outcome"] for row in report["scenarios"]} <= {"survived", "not possible here"}


def test_the_readme_gives_the_campaigns_figures():
    report = json.loads(faults.REPORT.read_text())
    killed = report["killed"]
    assert killed["kills"] == len(faults.KILLS) >= 30
    assert killed["kills"] == sum(killed["by_phase"].values()) == sum(killed["by_victim"].values())
    assert set(killed["by_phase"]) == set(faults.PHASES)
    assert killed["bytes_lost"] == killed["computed_again_finished"] == 0
    assert [row["scenario"] for row in report["scenarios"]] == list(faults.SCENARIOS)
    readme = (faults.REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert faults.sentence(report) in readme


def test_the_campaign_kills_in_every_phase_and_every_kind_of_process():
    assert len(faults.KILLS) >= 30
    assert {phase for phase, _ in faults.KILLS} == set(faults.PHASES)
    assert Counter(victim for _, victim in faults.KILLS).keys() == {
        "group",
        "study",
        "worker",
        "kernel",
    }


def world(folder, content):
    stage = folder / "artifacts" / "stages" / "a"
    stage.mkdir(parents=True)
    (stage / faults.RECORD).write_text(content)
    digest = faults.hashlib.sha256(content.encode()).hexdigest()
    about = {"commit": "c", "record": digest, "time": folder.name}
    (stage / faults.ENVIRONMENT).write_text(json.dumps(about))
    return faults.World(folder)


def test_the_comparison_sees_a_lost_a_changed_and_a_spare_file(tmp_path):
    wanted, same = world(tmp_path / "wanted", "{}"), world(tmp_path / "same", "{}")
    found = faults.compare(same, wanted, "artifacts")
    assert (found["files"], found["bytes_lost"]) == (2, 0)
    with pytest.raises(faults.Fault, match=r"byte for byte.*record\.json"):
        faults.compare(world(tmp_path / "other", "{ }"), wanted, "artifacts")
    (same.root / "artifacts" / "stages" / ".left").write_text("x")
    with pytest.raises(faults.Fault, match=r"no other file.*\.left"):
        faults.compare(same, wanted, "artifacts")
    (same.root / "artifacts" / "stages" / "a" / faults.RECORD).unlink()
    with pytest.raises((faults.Fault, OSError)):
        faults.compare(same, wanted, "artifacts")


def test_a_scenario_that_is_not_possible_here_says_why(tmp_path, monkeypatch):
    def refused(*_):
        raise faults.NotPossible("mount: permission denied")

    monkeypatch.setitem(faults.SCENARIOS, "full disk", refused)
    found = faults.Campaign().outcome("full disk", tmp_path, faults.World(paths.ROOT))
    assert found == {"outcome": "not possible here", "reason": "mount: permission denied"}
