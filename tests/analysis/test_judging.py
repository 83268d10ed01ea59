"""How comparisons become verdicts: three ways each, parts together, all by hand."""

import pytest

from conure_lib.analysis import floors, tables
from conure_lib.analysis.claims import judging
from conure_lib.analysis.claims.judging import compared, judge_effect, judge_margin, together
from conure_lib.analysis.stats import VERDICTS
from tests.analysis.conftest import made_up

R, P, N, C, NOT_TESTED = VERDICTS
SHORT = {"R": R, "P": P, "N": N, "C": C}


def row(low, high, clear=False, seeds=(None, None), n_seeds=6):
    """A comparison with this interval over users; that over seeds is the same unless given."""
    ends = {"low": low, "high": high, "seeds_low": seeds[0], "seeds_high": seeds[1]}
    ends |= {k: ends[k.removeprefix("seeds_")] for k in ends if ends[k] is None}
    return {**ends, "effect": (low + high) / 2, "clear": clear, "p_holm": 0.2, "p_seeds": 0.3} | {
        "seeds": n_seeds
    }


@pytest.mark.parametrize(
    ("given", "smallest", "verdict"),
    [
        (row(0.01, 0.09, True), 0.04, R),
        (row(0.01, 0.03, True), 0.04, P),  # there, but less than half of the paper's
        (row(-0.03, 0.03), 0.04, N),
        (row(-0.09, -0.01, True), 0.04, N),  # clearly the other way
        (row(-0.03, 0.05), 0.04, C),
        (row(0.01, 0.09), 0.04, C),  # not clear over seeds, or after Holm
        (row(-0.03, 0.03, seeds=(-0.03, 0.05)), 0.04, C),  # single trainings do not exclude it
        (row(-0.09, -0.01, True), -0.04, R),
        (row(-0.03, -0.01, True), -0.04, P),
        (row(-0.03, 0.03), -0.04, N),
        (row(0.01, 0.09, True), -0.04, N),
        (row(-0.05, 0.03), -0.04, C),
        (row(-0.03, 0.03, seeds=(float("nan"),) * 2, n_seeds=1), 0.04, C),
    ],
)
def test_an_effect_three_ways(given, smallest, verdict):
    assert judge_effect(given, smallest)[0] == verdict


def test_by_far_asks_the_estimate_and_reasons_are_one_phrase():
    assert judge_effect(row(0.01, 0.09, True), 0.04) == (R, "clear")
    by_far = [judge_effect(row(0.01, high, True), 0.04, by_far=True)[0] for high in (0.06, 0.08)]
    assert by_far == [P, R]
    assert judge_effect(row(0.01, 0.03, True), 0.04)[1] == "clear, but below 4.0%"
    assert judge_effect(row(-0.03, 0.03), -0.04)[1] == "-4.0% is excluded"
    assert judge_effect(row(-0.098, 0.098), 0.04)[1] == "could have shown 14.0%, of interest 4.0%"
    assert judge_effect(row(-0.02, 0.05), 0.04)[1] == "could have shown 5.0%, of interest 4.0%"
    assert judge_effect(row(-0.002, 0.05), 0.04)[1] == "not clear, +4.0% not excluded"
    seeds = row(0.01, 0.09) | {"p_holm": 0.01}
    assert judge_effect(seeds, 0.04)[1] == "not clear over seeds (p = 0.30)"
    one = row(-0.09, 0.09, seeds=(float("nan"),) * 2, n_seeds=1)
    assert judge_effect(one, 0.04)[1] == judge_margin(one, 0.05)[1] == "a single training"
    assert judge_margin(row(-0.09, 0.09), 0.05)[1] == "more than 5% is possible"


@pytest.mark.parametrize(
    ("given", "one_side", "both_sides"),
    [
        (row(-0.04, 0.04), R, R),
        (row(-0.04, 0.06), R, C),
        (row(0.06, 0.08), R, N),
        (row(-0.06, 0.04), C, C),
        (row(-0.08, -0.06), N, N),
        (row(-0.04, 0.04, seeds=(-0.06, 0.06)), C, C),
        (row(-0.08, -0.06, seeds=(-0.08, -0.04)), C, C),
    ],
)
def test_a_margin_three_ways(given, one_side, both_sides):
    assert judge_margin(given, 0.05)[0] == one_side
    assert judge_margin(given, 0.05, two_sided=True)[0] == both_sides


@pytest.mark.parametrize(
    ("parts", "all_of_them", "two", "worst"),
    [
        ("RRR", R, R, R),
        ("RRC", P, R, C),
        ("RRN", P, P, N),
        ("RCC", P, P, C),
        ("PCC", P, P, C),
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


# --- claims by their comparisons ------------------------------------------------------------------

UNLEARNED = "T1 not learned"
BETTER, WORSE = {"ours": "STL", "theirs": "SinMo", "smallest": 0.1}, [2, 2, 2]


def by_action(task, action, seed):
    """STL twice as good as SinMo on T2, the same on T4; FineSmax's T2 depends on the fold."""
    ranks = {"T2": {"finetune": [1, 1, 1], "output-only": [1, 1, 1 + seed % 2]}}.get(task, {})
    return {task: ranks.get(action, WORSE if task == "T2" else [1, 1, 1])}


@pytest.fixture
def study(monkeypatch):
    """Every task counts as learned but T1."""
    monkeypatch.setattr(floors, "learned", lambda study: {"T1": False, "T2": True, "T4": True})
    return made_up(by_action)


def decide(study, *comparisons, **text):
    return compared(study, {"comparisons": [BETTER | one for one in comparisons], **text})


def test_a_finding_holds_the_numbers_of_its_first_part(study):
    found = decide(study, {"tasks": ["T2", "T4", "T5"], "paper": 0.2})
    assert (found.verdict, found.reason) == (R, "clear")
    assert (found.effect, found.paper, found.smallest) == (0.5, 0.2, 0.1)
    assert (found.n, found.seeds, len(found.run_ids.split())) == (36, 6, 12)
    assert (found.p, found.detectable) == (0, 0)


def test_a_task_that_nobody_has_learned_does_not_count(study):
    found = decide(study, {"tasks": ["T1", "T2"]})
    assert (found.verdict, found.reason, found.effect) == (R, "clear (without T1)", 1)
    found = decide(study, {"tasks": ["T1"]})
    assert (found.verdict, found.n, found.seeds) == (C, 0, 6)
    assert found.reason == UNLEARNED
    assert decide(study, {"tasks": ["T9"]}).verdict == NOT_TESTED


@pytest.mark.parametrize(
    ("main", "apart", "verdict", "reason"),
    [
        ("T2", "T4", P, "main: clear; apart: +10.0% is excluded"),
        ("T2", "T1", R, f"main: clear; apart: {UNLEARNED}"),
        ("T4", "T4", N, "+10.0% is excluded"),
        ("T1", "T4", N, f"main: {UNLEARNED}; apart: +10.0% is excluded"),
        ("T1", "T2", P, f"main: {UNLEARNED}; apart: clear"),
        ("T2", "T9", R, "clear"),
    ],
)
def test_tasks_judged_apart_count_only_where_they_can_tell(study, main, apart, verdict, reason):
    parts = {"name": "main", "tasks": [main]}, {"name": "apart", "tasks": [apart], "apart": True}
    found = decide(study, *parts)
    assert (found.verdict, found.reason) == (verdict, reason)


def test_effects_are_one_family_and_margins_no_part_of_it(study, monkeypatch):
    family, families = tables.family, []
    monkeypatch.setattr(tables, "family", lambda rows: families.append(len(rows)) or family(rows))
    margin = {"ours": "FineSmax", "theirs": "STL", "tasks": ["T2"], "margin": 0.2}
    text = {"comparisons": [BETTER | {"tasks": ["T2"]}, margin, BETTER | {"tasks": ["T4"]}]}
    assert compared(study, text).verdict == P
    assert families == [2]


def test_a_margin_has_the_p_value_of_staying_within_it(study):
    # FineSmax is 1/12 behind STL: every second fold's third instance has rank 2.
    one = {"ours": "FineSmax", "theirs": "STL", "tasks": ["T2"], "margin": 0.2}
    found = compared(study, {"comparisons": [one]})
    assert (found.verdict, found.effect) == (R, pytest.approx(-1 / 12))
    error = (found.ci_high - found.ci_low) / (2 * 1.959964)
    (reference,) = [judging.beyond(0, -1.959964, 1.959964, -(0.2 - 1 / 12) / error)]
    assert found.p == pytest.approx(reference)


@pytest.mark.parametrize(("first", "verdict"), [(1, R), (6, N), (None, N)])
def test_quickly_is_within_five_epochs_for_every_seed(study, monkeypatch, first, verdict):
    def curve(task, action, seed):
        slow = action == "scratch"
        points = [{"epoch": e, "validation": 0.5 * (e >= (first or 99))} for e in range(9)]
        same = [{"epoch": e, "validation": 0.52} for e in range(2)]
        return by_action(task, action, seed) | {"curve": points if slow else same}

    text = {"quick": {"ours": "SinMo", "theirs": "STL", "task": "T2"}}
    found = decide(made_up(curve), {"tasks": ["T2"], "name": "better"}, **text)
    assert found.verdict == together([R, verdict])
    seen = f"reached after at most {first}" if first else "not reached"
    assert found.reason == f"better: clear; epochs: {seen}"
