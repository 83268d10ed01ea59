"""The hunt for inputs that are answered wrongly, in its short form; and that the judge sees them."""

import re

import pytest
from robustness import fuzz
from robustness.judge import Fault, judge, sandbox
from robustness.samples import samples

from conure_lib.errors import ConfigError

SHORT = 6  # inputs by chance of each kind
EVERY = 11  # of all pairs of a file and a damage: one of each damage, several of each file


def test_damaged_files_are_refused_or_read_in_full():
    for name, damage in fuzz.damages()[::EVERY]:
        try:
            fuzz.damage_file(name, damage)
        except Fault as fault:
            pytest.fail(f"{name}, {damage}: {fault}")


def test_every_damage_and_every_file_is_tried():
    tried = fuzz.damages()
    assert {damage for _, damage in tried[::EVERY]} == {damage for _, damage in tried}
    assert {name for name, _ in tried[::EVERY]} == set(samples())


@pytest.mark.parametrize("name", fuzz.PROPERTIES)
def test_inputs_by_chance_are_taken_in_full_or_refused(name):
    assert fuzz.hunt(name, SHORT).total() >= SHORT


@pytest.mark.parametrize(
    ("error", "writes", "said"),
    [
        (None, False, "accepted"),
        (KeyError("x"), False, "KeyError"),
        (ValueError("found 1, expected 2"), False, "ValueError"),
        (OSError("found 1, expected 2"), False, "an error of no file"),
        (ConfigError("found 1"), False, "not one helpful line"),
        (ConfigError("found 1,\nexpected 2"), False, "not one helpful line"),
        (ConfigError("x" * 3000 + "expected 2"), False, "not one helpful line"),
        (ConfigError("other: found 1, expected 2"), False, "is named"),
        (ConfigError("file: found 1, expected 2"), True, "changed"),
    ],
)
def test_the_judge_sees_what_it_must_not_let_pass(error, writes, said):
    def attempt():
        if writes:
            (root / "half").write_text("x")
        if error:
            raise error

    with sandbox() as root, pytest.raises(Fault, match=re.escape(said)):
        judge(attempt, ("file",), must_refuse=True)


def test_the_judge_lets_one_helpful_line_pass():
    def attempt():
        raise ConfigError("file: found 1, expected 2")

    with sandbox():
        assert judge(attempt, ("file",), must_refuse=True).refused
        assert not judge(["data", "list"]).refused
