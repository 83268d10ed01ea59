"""How comparisons become verdicts: three ways each, parts together, all by hand."""

from dataclasses import replace

import numpy as np
import pytest

from conure_lib.analysis import floors
from conure_lib.analysis.claims import CLAIMS
from conure_lib.analysis.claims.judging import beyond, compared, judge, together
from conure_lib.analysis.stats import NAN, VERDICTS, Estimate, detectable, wider
from tests.analysis.conftest import made_up

R, P, N, C, NOT_TESTED = VERDICTS
SHORT = {"R": R, "P": P, "N": N, "C": C}
SINGLE = {"seeds_low": NAN, "seeds_high": NAN, "seeds": 1}
ABOVE, FAR, BELOW = {"smallest": 0.04}, {"smallest": 0.04, "by_far": True}, {"smallest": -0.04}
NOT_BEHIND, SIMILAR = {"margin": 0.05}, {"margin": 0.05, "two_sided": True}


def row(low, high, clear=False, **more):
    """A comparison with this interval over users; that over seeds is the same unless given."""
    found = {"effect": (low + high) / 2, "p": 0.1, "p_holm": 0.2, "p_seeds": 0.3, "clear": clear}
    found |= {"n": 9, "seeds": 6, "run_ids": ""} | more
    seeds = Estimate(0, more.get("seeds_low", low), more.get("seeds_high", high))
    return found | wider(Estimate(0, low, high), seeds)


@pytest.mark.parametrize(
    ("given", "rule", "verdict", "reason"),
    [
        (row(0.01, 0.09, True), ABOVE, R, "clear"),
        (
            row(0.03, 0.06, p=0.03, p_seeds=0.03, p_holm=0.06),
            ABOVE,
            C,
            "not clear after Holm's correction (p = 0.060)",
        ),
        (row(0.01, 0.03, True), ABOVE, P, "clear, but smaller than 4.0%"),
        (row(0.01, 0.06, True), FAR, P, "clear, but smaller than 4.0%"),
        (row(0.01, 0.08, True), FAR, R, "clear"),
        (row(-0.03, 0.03), ABOVE, N, "an effect of +4.0% is excluded"),
        (
            row(-0.09, -0.01, True),
            ABOVE,
            N,
            "an effect of +4.0% is excluded",
        ),  # clearly the other way
        (row(-0.02, 0.05), ABOVE, C, "too few data: 5.0% would show, of interest is 4.0%"),
        (row(-0.002, 0.05), ABOVE, C, "not clear, but +4.0% is possible"),
        (row(0.01, 0.09, p_holm=0.01), ABOVE, C, "not clear over seeds (p = 0.300)"),
        (row(-0.06, 0.05, p_holm=0.01), ABOVE, C, "of the other sign, but +4.0% is possible"),
        (
            row(-0.03, 0.03, seeds_high=0.05),
            ABOVE,
            C,
            "too few data: 5.7% would show, of interest is 4.0%",
        ),
        (row(-0.03, 0.03, **SINGLE), ABOVE, C, "a single training"),
        (row(-0.09, -0.01, True), BELOW, R, "clear"),
        (row(-0.03, -0.01, True), BELOW, P, "clear, but smaller than 4.0%"),
        (row(-0.03, 0.03), BELOW, N, "an effect of -4.0% is excluded"),
        (row(0.01, 0.09, True), BELOW, N, "an effect of -4.0% is excluded"),
        (row(-0.05, 0.03), BELOW, C, "too few data: 5.7% would show, of interest is 4.0%"),
        (row(-0.04, 0.06), NOT_BEHIND, R, "at most 5% worse"),
        (row(0.06, 0.08), NOT_BEHIND, R, "at most 5% worse"),
        (row(-0.06, 0.04), NOT_BEHIND, C, "over 5% worse is possible"),
        (row(-0.08, -0.06), NOT_BEHIND, N, "worse by over 5%"),
        (row(-0.04, 0.04, seeds_low=-0.06), NOT_BEHIND, C, "over 5% worse is possible"),
        (row(-0.08, -0.06, seeds_high=-0.04), NOT_BEHIND, C, "over 5% worse is possible"),
        (row(-0.04, 0.04, **SINGLE), NOT_BEHIND, C, "a single training"),
        (row(-0.04, 0.04), SIMILAR, R, "within 5%"),
        (row(-0.04, 0.06), SIMILAR, C, "over 5% apart is possible"),
        (row(-0.08, -0.06), SIMILAR, N, "beyond 5%"),
        (row(0.06, 0.08), SIMILAR, N, "beyond 5%"),
    ],
)
def test_an_effect_and_a_margin_three_ways(given, rule, verdict, reason):
    found = judge(given, rule)
    assert (found.verdict, found.reason) == (verdict, reason)


def test_the_p_value_is_of_the_effect_or_of_staying_within_the_margin():
    given = row(-0.03, 0.05, seeds_low=-0.04, seeds_high=0.06)
    effect, one_side, both = (judge(given, rule) for rule in (ABOVE, NOT_BEHIND, SIMILAR))
    assert (effect.p, effect.p_corrected, effect.p_seeds, effect.smallest) == (0.1, 0.2, 0.3, 0.04)
    assert one_side.p == beyond(0.01, -0.03, 0.05, -0.05)
    assert one_side.p_seeds == beyond(0.01, -0.04, 0.06, -0.05, 6)
    assert both.p == beyond(-0.01, -0.05, 0.03, -0.05) > one_side.p
    assert np.isnan([one_side.p_corrected, both.p_corrected]).all()
    assert (one_side.smallest, both.smallest) == (-0.05, 0.05)


@pytest.mark.parametrize(
    ("parts", "all_of_them", "two", "worst"),
    [
        ("RRR", R, R, R),
        ("RRC", P, R, P),
        ("RRN", P, P, N),
        ("RCC", P, P, P),
        ("PCC", P, P, P),
        ("PN", P, P, N),
        ("NC", N, N, N),
        ("CC", C, C, C),
    ],
)
def test_parts_together(parts, all_of_them, two, worst):
    verdicts = [SHORT[letter] for letter in parts]
    assert together(verdicts) == all_of_them
    assert together(verdicts, needs=2) == two
    assert together(verdicts, worst=True) == worst


BETTER = {"ours": "STL", "theirs": "SinMo", "smallest": 0.1}


def by_action(task, action, seed):
    """STL twice as good as SinMo on T2, the same on T4; FineSmax's T2 depends on the fold."""
    ranks = {"finetune": [1, 1, 1], "output-only": [1, 1, 1 + seed % 2]}
    return {task: ranks.get(action, [2, 2, 2]) if task == "T2" else [1, 1, 1]}


@pytest.fixture
def study(monkeypatch):
    """Every task counts as learned but T1."""
    monkeypatch.setattr(floors, "learned", lambda study: {"T1": False, "T2": True, "T4": True})
    return made_up(by_action)


def decide(study, *comparisons, **text):
    return compared(study, replace(CLAIMS["C24"], comparisons=comparisons, **text))


@pytest.mark.parametrize(
    ("main", "apart", "verdict", "reason"),
    [
        (["T2"], [], R, "clear"),
        (["T1", "T2"], [], R, "clear (without T1)"),
        (["T1"], [], C, "T1 not learned"),
        (["T9"], [], NOT_TESTED, "there is no such task"),
        (["T2"], ["T4"], P, "main: clear; apart: an effect of +10.0% is excluded"),
        (["T2"], ["T1"], R, "main: clear; apart: left out, T1 not learned"),
        (["T4"], ["T4"], N, "an effect of +10.0% is excluded"),
        (["T1"], ["T4"], N, "main: T1 not learned; apart: an effect of +10.0% is excluded"),
        (["T1"], ["T2"], P, "main: T1 not learned; apart: clear"),
        (
            ["T4"],
            ["T2"],
            P,
            "main: an effect of +10.0% is excluded; apart: clear; partly by the profiles alone",
        ),
        (["T2"], ["T9"], R, "clear"),
    ],
)
def test_tasks_count_if_learned_and_those_apart_if_they_can_tell(
    study, main, apart, verdict, reason
):
    aside = BETTER | {"name": "apart", "tasks": apart, "apart": True}
    found = decide(study, BETTER | {"name": "main", "tasks": main}, aside)
    assert (found.verdict, found.reason) == (verdict, reason)


def test_a_finding_holds_the_numbers_of_its_first_part(study):
    first = BETTER | {"name": "both", "tasks": ["T2", "T4", "T5"], "paper": 0.2}
    found = decide(study, first, BETTER | {"name": "T4", "tasks": ["T4"]})
    assert (found.effect, found.paper, found.smallest) == (0.5, 0.2, 0.1)
    assert (found.n, found.seeds, len(found.run_ids.split())) == (36, 6, 12)
    assert (found.p, found.detectable) == (0, 0)
    assert (found.verdict, found.effect_verdict) == (P, R)  # T4 alone is refuted


def test_the_wider_interval_counts_and_what_would_show_is_on_the_claimed_side():
    found = judge(row(-0.03, 0.01, seeds_low=-0.02, seeds_high=0.05), BELOW)
    assert (found.ci_low, found.ci_high) == (-0.03, 0.05)
    assert found.detectable == -detectable(-0.03, 0.05)


def test_effects_are_one_family_and_margins_no_part_of_it(study):
    effect = {"ours": "FineSmax", "theirs": "STL", "tasks": ["T2"], "smallest": -0.01}
    margin = {"name": "m", "ours": "STL", "theirs": "SinMo", "tasks": ["T4"], "margin": 0.1}
    alone = decide(study, effect, margin)
    both = decide(study, effect, BETTER | {"name": "T4", "tasks": ["T4"]})
    assert alone.p_corrected == alone.p == both.p
    assert both.p_corrected == 2 * both.p


@pytest.mark.parametrize(("first", "verdict"), [(0, P), (1, R), (6, P), (99, P)])
def test_quickly_is_within_five_epochs_for_every_seed(study, first, verdict):
    def curve(task, action, seed):
        level, start = (0.5, first) if action == "scratch" else (0.52, 0)
        points = [{"epoch": e, "validation": level * (e >= start)} for e in range(9)]
        return by_action(task, action, seed) | {"curve": points}

    quick = {"ours": "SinMo", "theirs": "STL", "task": "T2"}
    found = decide(made_up(curve), BETTER | {"tasks": ["T2"], "name": "better"}, quick=quick)
    seen = f"{6 * (first <= 5)} of 6 seeds within 5" if first else "no seed had anything to regain"
    assert (found.verdict, found.reason) == (verdict, f"better: clear; epochs: {seen}")
