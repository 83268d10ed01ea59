"""The hunt for wrongly answered inputs in its short form; and that the judge sees them."""

import re

import pytest
from robustness import fuzz
from robustness.judge import Fault, judge, sandbox
from robustness.samples import samples

from conure_lib.errors import ConfigError

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


JUDGED = {
    "accepted": None,
    "ValueError": ValueError("found 1, expected 2"),
    "OSError": OSError("found 1, expected 2"),
    "not one helpful line": ConfigError("found 1"),
    "not one helpful line: 'found 1,": ConfigError("found 1,\nexpected 2"),
    "not one helpful line: 'x": ConfigError("x" * 3000 + "expected 2"),
    "is named": ConfigError("other: found 1, expected 2"),
    "changed": ConfigError("file: found 1, expected 2"),
}


@pytest.mark.parametrize("said", JUDGED)
def test_the_judge_sees_what_it_must_not_let_pass(said):
    def attempt():
        (root / "half").write_text("x")
        if JUDGED[said]:
            raise JUDGED[said]

    with sandbox() as root, pytest.raises(Fault, match=re.escape(said)):
        judge(attempt, ("file",), must_refuse=True)
