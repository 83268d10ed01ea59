"""Work survives kills and damage: the campaign of ``make robustness`` in its short form."""

import pytest
from robustness import faults


@pytest.mark.slow
def test_a_run_survives_a_kill_and_damage(tmp_path):
    found = faults.campaign(tmp_path, is_short=True)
    assert found["compared"] > 10
    assert sum(found["kills"].values()) == len(faults.SHORT_KILLS)
