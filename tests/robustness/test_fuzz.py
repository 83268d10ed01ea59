"""The hunt for wrongly answered inputs in its short form."""

import pytest
from robustness import fuzz
from robustness.judge import Fault
from robustness.samples import samples

SHORT = 6  # inputs by chance of each kind
EVERY = 13  # of all pairs of a file and a damage: every damage once, every file several times


def test_damaged_files_are_refused_or_read_in_full():
    tried = fuzz.damages()[::EVERY]
    for name, damage in tried:
        try:
            fuzz.damage_file(name, damage)
        except Fault as fault:
            pytest.fail(f"{name}, {damage}: {fault}")
    assert {name for name, _ in tried} == set(samples())
    assert {damage for _, damage in tried} == {damage for _, damage in fuzz.damages()}


@pytest.mark.parametrize("name", fuzz.PROPERTIES)
def test_inputs_by_chance_are_taken_in_full_or_refused(name):
    assert fuzz.hunt(name, SHORT).total() >= SHORT
