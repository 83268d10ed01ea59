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


@pytest.mark.parametrize(
    ("error", "writes", "said"),
    [
        (None, False, "accepted"),
        (ValueError("found 1, expected 2"), False, "ValueError"),
        (OSError("found 1, expected 2"), False, "OSError"),
        (ConfigError("found 1"), False, "not one helpful line"),
        (ConfigError("found 1,\nexpected 2"), False, "not one helpful line"),
        (ConfigError("x" * 3000 + "expected 2"), False, "not one helpful line"),
        (ConfigError("other: found 1, expected 2"), False, "is named"),
        (ConfigError("file: found 1, expected 2"), True, "changed"),
        (ConfigError("file: found 1, expected 2"), False, ""),
    ],
)
def test_the_judge_sees_what_it_must_not_let_pass(error, writes, said):
    def attempt():
        if writes:
            (root / "half").write_text("x")
        if error:
            raise error

    with sandbox() as root:
        if not said:
            assert judge(attempt, ("file",), must_refuse=True).refused
            return
        with pytest.raises(Fault, match=re.escape(said)):
            judge(attempt, ("file",), must_refuse=True)
