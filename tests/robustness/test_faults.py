"""Work survives kills and damage: the campaign of ``make robustness`` in its short form."""

import pytest
from robustness import faults
from robustness.judge import Fault


@pytest.mark.slow
def test_a_run_survives_a_kill_and_damage(tmp_path):
    found = faults.campaign(tmp_path, is_short=True)
    assert found["compared"] > 10
    assert sum(found["kills"].values()) == len(faults.SHORT_KILLS)


def test_the_comparison_sees_a_lost_a_changed_and_a_spare_file(tmp_path):
    one, other = (faults.Place(tmp_path / name, tmp_path) for name in ("one", "other"))
    for place in (one, other):
        (place.root / "artifacts").mkdir(parents=True)
        (place.root / "artifacts" / "a").write_text("a")
    assert faults.compare(one, other) == 1
    for change in (lambda file: file.write_text("b"), lambda file: file.unlink()):
        change(other.root / "artifacts" / "a")
        for pair in ((one, other), (other, one)):
            with pytest.raises(Fault, match=r"byte for byte.*artifacts/a"):
                faults.compare(*pair)
