"""The campaign of bad inputs in its short form, and the figures of the long one that the README quotes."""

import json
import re
from dataclasses import fields
from inspect import signature

import pytest
from robustness import bad_commands, bad_settings, fuzz
from robustness.cases import Case, Fault, answer, try_case
from robustness.mutations import PROPERTIES, hunt, shares
from robustness.table import all_accepted, all_cases, try_accepted
from test_house import ROOT

from conure_lib.cli import parser
from conure_lib.config import DataConfig, ModelConfig, StudyConfig, TrainConfig
from conure_lib.data.registry import DATASETS, options_of
from conure_lib.errors import ConfigError

CASES, ACCEPTED = list(all_cases()), list(all_accepted())
SHORT = 100  # inputs by chance


@pytest.mark.parametrize("target", sorted({case.target for case in CASES}))
def test_every_bad_input_is_answered_with_one_clear_error_and_nothing_is_written(target):
    marks = [try_case(case)[0] for case in CASES if case.target == target]
    assert len(set(marks)) == len(marks), "an input stands in the table twice"


@pytest.mark.parametrize(("name", "odd", "plain"), ACCEPTED, ids=[name for name, _, _ in ACCEPTED])
def test_what_only_looks_odd_gives_the_same_stream(name, odd, plain):
    try_accepted(name, odd, plain)


@pytest.mark.parametrize("target", PROPERTIES)
def test_inputs_by_chance_are_taken_whole_or_refused(target):
    seen = hunt(target, shares(SHORT)[target])
    assert seen.total() >= shares(SHORT)[target]


def test_every_field_option_command_and_flag_is_tried():
    tried = {(kind, name) for kind, name, _ in [*bad_settings.BAD, *bad_settings.MORE_FIELDS]}
    kinds = (DataConfig, ModelConfig, TrainConfig, StudyConfig)
    assert tried == {(kind, field.name) for kind in kinds for field in fields(kind)}
    options = {option for name in DATASETS for option in options_of(name)}
    named = {case.name.split(" = ")[0] for case in CASES if case.target.startswith("options of ")}
    assert options <= named
    given_ = [arguments for arguments, _ in bad_commands.COMMANDS]
    commands = next(iter(parser()._subparsers._group_actions)).choices
    for name, sub in commands.items():
        mine = [word for arguments in given_ if arguments[:1] == (name,) for word in arguments]
        flags = {
            flag for action in sub._actions for flag in action.option_strings if action.nargs != 0
        }
        assert mine or name == "completion", f"conure {name} is not tried"
        assert flags <= {word.split("=")[0] for word in mine}, f"conure {name}"


def test_the_table_is_as_large_as_promised():
    assert len(CASES) > 200
    assert len({str(case) for case in CASES}) == len(CASES)


def bad(value="found 1, wanted 2", wrong=ConfigError, write=False):
    def prepare(root):
        def call():
            if write:
                (root / "half").write_text("x")
            if wrong is not None:
                raise wrong(value)

        return call

    return Case("the judge", "of itself", prepare, ("wanted 2",))


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (bad(wrong=None), "accepted"),
        (bad(wrong=KeyError), "KeyError"),
        (bad(wrong=ValueError), "ValueError"),
        (bad("found 1"), "not in 'found 1'"),
        (bad("found 1,\nwanted 2"), "not one clear sentence"),
        (bad("x" * 3000 + "wanted 2"), "not one clear sentence"),
        (bad(write=True), "written"),
    ],
)
def test_the_judge_sees_what_it_must_not_let_pass(case, said):
    with pytest.raises(Fault, match=re.escape(said)):
        try_case(case)


def test_the_judge_lets_a_clear_error_pass():
    assert len(try_case(bad())[0]) == 64


@pytest.mark.parametrize("arguments", [["data", "list"], ["completion", "bash"]])
def test_a_command_that_is_right_is_no_mistake(arguments):
    assert not answer(arguments).refused


def test_the_figures_in_the_readme_are_those_of_the_campaign():
    found = json.loads(fuzz.FIGURES.read_text(encoding="utf-8"))
    assert found["faults"] == 0
    assert found["dirty"] is False
    assert found["bad_inputs"] == sum(found["by_target"].values()) > 200
    said = re.search(
        r"([\d,]+) distinct bad inputs and ([\d,]+) by chance", (ROOT / "README.md").read_text()
    )
    assert [int(number.replace(",", "")) for number in said.groups()] == [
        found["bad_inputs"],
        found["by_chance"],
    ]
