"""Each rule does what its text says: verdicts of hand-made results whose right answer is plain."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import small_stream, small_study

from conure_lib import paths
from conure_lib.analysis import claims, tables
from conure_lib.analysis.claims import CLAIMS
from conure_lib.analysis.stats import VERDICTS
from conure_lib.pipeline.stage import Stage
from conure_lib.study.profiles import PROFILES, study_config
from conure_lib.study.study import Study

R, P, N, NOT_TESTED = VERDICTS
NAMES = [f"C{number:02}" for number in range(1, 22)]
LATER = ("T2", "T3", "T4", "T5", "T6")
ALL = ("T1", *LATER)
STREAM = small_stream()


def cases(name, text):
    """Return (name, "BBa", R) of "BBa R, ...": capitals are clear, a is ahead, b behind."""
    pairs = (pair.split() for pair in text.split(", "))
    return [(name, entries, {"R": R, "P": P, "N": N}[v]) for entries, v in pairs]


def entry(letter, size=0.1, half=0.2):
    """Return (effect, half of the interval, clear) of a letter."""
    return (size if letter in "aA" else -size, half, letter.isupper())


@pytest.fixture
def study():
    return Study(small_study(seeds=(1, 2)), STREAM)


@pytest.fixture
def given(monkeypatch):
    """Let comparisons give hand-made results: (effect, half of the interval, clear) by pair.

    A rule that compares anything else than what is given fails. reference: the mean score.
    """

    def row(ours, theirs, task, values):
        effect, half, clear = values
        row = {"ours": ours, "theirs": theirs, "task": task, "effect": effect, "clear": clear}
        row |= {"low": effect - half, "high": effect + half, "n": 7, "run_ids": "a b a"}
        return row | {"p": 0.01, "p_holm": 0.02}

    def name(runs):
        assert [run.seed for run in runs] == [1, 2]
        return f"{runs[0].method} ({runs[0].variant})" if runs[0].variant else runs[0].method

    def make(single=None, means=None, tasks=LATER, reference=0.1):
        def compare(study, pairs, measures=None):
            rows = []
            for ours, theirs in pairs:
                for task in measures or [t for t in ours[0].stages if t in theirs[0].stages]:
                    key = (name(ours), name(theirs), task)
                    rows.append(row(*key, single[key]))
            assert len(rows) == len(single)
            return pd.DataFrame(rows)

        def compare_means(study, pairs, given_tasks):
            assert tuple(given_tasks) == tuple(tasks)
            keys = [(name(ours), name(theirs)) for ours, theirs in pairs]
            assert set(keys) == set(means)
            return pd.DataFrame([row(*key, "", means[key]) for key in keys])

        monkeypatch.setattr(tables, "compare", compare)
        monkeypatch.setattr(tables, "compare_means", compare_means)
        monkeypatch.setattr(tables, "scores", lambda study, runs, measure: np.full(7, reference))

    return make


def decide(name, study):
    """Return verdict and effect of a claim."""
    found = CLAIMS[name].decide(study)
    return found.verdict, found.effect


# --- the ledger -----------------------------------------------------------------------------------


def test_every_claim_is_there_once():
    assert sorted(CLAIMS) == NAMES
    for field in ("rule", "statement", "title"):
        assert len({getattr(claim, field) for claim in CLAIMS.values()}) == len(NAMES)
    assert all(len(claim.title.split()) <= 4 for claim in CLAIMS.values())


def test_no_profile_retrains_longer_than_the_rules_allow():
    for profile, datasets in PROFILES.items():
        for dataset in datasets:
            config = study_config(dataset, profile)
            assert all(config.training(task, "retrain").epochs <= 5 for task in ALL)


def test_a_ledger_of_computed_runs(root):
    study = Study(small_study(), STREAM)
    study.compute(study.runs(["STL", "Conure"]))
    table = claims.ledger(study, ["C13", "C01"])
    assert table["claim"].tolist() == ["C01", "C13"]
    assert table["verdict"].tolist()[1] == R
    assert table["rule"].tolist() == [CLAIMS["C01"].rule, CLAIMS["C13"].rule]
    assert table["run_ids"].tolist() == [run.id for run in study.runs(["STL", "Conure"])]


# --- memory: C01, C02, C19, C20 (C13: test_tables.py) ---------------------------------------------


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ([0] * 9, R),
        ([0] * 8 + [5], R),  # 0.02 is left, at most 0.07
        ([1, 1] + [0] * 7, P),  # 0.22 is left, but it may be more than a quarter
        ([2] * 9, P),
        ([1] * 9, N),
        ([1] * 8 + [2], N),  # fell, p = 0.35
    ],
)
def test_c01_what_is_left_of_t1(study, monkeypatch, after, verdict):
    ranks = {"T1": np.ones(9, np.uint8), "T1-after": np.array(after, np.uint8)}
    monkeypatch.setattr(Stage, "ranks", lambda self, measure: ranks[measure])
    found = CLAIMS["C01"].decide(study)
    assert (found.verdict, found.n) == (verdict, 9)
    assert found.effect == pytest.approx(np.mean([1 / r if r else 0 for r in after]) - 1)


@pytest.mark.parametrize(
    ("moved", "cosine", "verdict"),
    [(0.3, 0.2, R), (0.6, 0.2, P), (0.3, 0.7, P), (0.6, 0.7, N), (0.5, 0.5, N)],
)
def test_c02_both_halves(study, monkeypatch, moved, cosine, verdict):
    def record(self):
        share = moved + (0.1 if self.seed == 1 else -0.1)
        notes = {"share_moved_over_20_percent": share, "hidden_cosine": cosine}
        return {"notes": {"forgetting": notes}}

    monkeypatch.setattr(Stage, "record", record)
    assert decide("C02", study) == (verdict, pytest.approx(cosine))


@pytest.mark.parametrize(("off", "verdict"), [(0.0, R), (0.0009, R), (0.002, N)])
def test_c19_shares_are_the_predicted_ones_for_every_seed(study, monkeypatch, off, verdict):
    shares = np.array([0.3, 0.14, 0.056, 0.1008, 0.04032, 0.036288, 0.326592])

    def capacity(run):
        mine = shares + np.array([off, 0, 0, 0, 0, 0, -off]) * (run.seed == 1)
        return pd.DataFrame({"owner": [*ALL, "free"], "weights": mine * 1e6, "share": mine})

    monkeypatch.setattr(tables, "capacity", capacity)
    assert decide("C19", study) == (verdict, pytest.approx(0.673408))


@pytest.mark.parametrize(
    ("materialised", "masked", "verdict"),
    [(1.05, 1.1, R), (0.97, 1.11, P), (1.051, 1.0, N), (1.051, 1.2, N)],
)
def test_c20_follows_the_measurement(study, root, materialised, masked, verdict):
    assert decide("C20", study)[0] == NOT_TESTED
    paths.benchmarks().mkdir(parents=True)
    measured = {
        "rounds": 15,
        "materialised": {"median": materialised, "low": 0.9, "high": 1.2},
        "masked": {"median": masked, "low": 1.0, "high": 1.3},
    }
    (paths.benchmarks() / "inference.json").write_text(json.dumps(measured))
    found = CLAIMS["C20"].decide(study)
    assert (found.verdict, found.n) == (verdict, 15)
    numbers = (found.effect, found.ci_low, found.ci_high)
    assert numbers == pytest.approx((materialised - 1, -0.1, 0.2))


# --- rules over several comparisons: C06, C09, C12, C14, C16 --------------------------------------


def of(ours, *others, task=None):
    return [(ours, other, *([task] if task else [])) for other in others]


SEVERAL = {
    "C06": of("SinMo", "STL", "FineSmax", "MTL", "PeterRec", "Conure"),
    "C09": of("Conure-", "STL", "PeterRec", task="T3"),
    "C12": [("MTL", "SinMo"), ("STL", "MTL"), ("PeterRec", "MTL"), ("Conure", "MTL")],
    "C14": [(f"Conure- (T2 {d})", f"Conure- (noT2 {d})", "T3") for d in ("all", "20%")],
    "C16": of("Conure (Order1)", "Conure (Order2)", "Conure (Order3)", task="T6")
    + [(f"Conure- (Order{other})", "Conure- (Order1)", "T3") for other in (2, 3)],
}
"""Claim -> what it compares, over the tasks after T1 or on one task."""


@pytest.mark.parametrize(
    ("name", "entries", "verdict"),
    [
        *cases("C06", "BBBbb R, BBbbb P, BBBBa P, BBBBA P, bbbaa P, BBaaa N, AAAAA N"),
        *cases("C09", "AA R, Aa P, aA P, AB N, bA N"),
        *cases("C12", "AAAA R, AAAa P, aAAA P, AAAB N, bAAA N"),
        *cases("C14", "AA R, Aa P, Ab P, aa P, BA P, ab N, BB N"),
        *cases("C16", "AAaa R, AAAA R, Aaaa P, aaAA P, AAab N, AbAA N"),
    ],
)
def test_rules_over_several_comparisons(study, given, name, entries, verdict):
    keys = SEVERAL[name]
    sizes = (0.1 + 0.01 * number for number in range(len(keys)))
    values = {key: entry(*one) for key, *one in zip(keys, entries, sizes, strict=True)}
    given(**{"single" if len(keys[0]) == 3 else "means": values})
    effects = [effect for effect, _, _ in values.values()]
    reported = {"C09": min(effects), "C16": min(effects[:2])}.get(name, effects[0])
    assert decide(name, study) == (verdict, reported)


# --- rules over one comparison: C07, C10, C18; and C08, C21 ---------------------------------------

ONE = {
    "C07": (("STL", "FineSmax"), LATER),
    "C10": (("Conure", "PeterRec"), ("T4", "T5", "T6")),
    "C18": (("Conure (kernels and embedding)", "Conure (kernels)"), ALL[:3]),
}


@pytest.mark.parametrize(
    ("name", "values", "verdict"),
    [
        ("C07", (0.05, 0.1, True), R),
        ("C07", (0.049, 0.1, True), P),
        ("C07", (0.2, 0.1, False), P),
        ("C07", (0.0, 0.1, False), N),
        ("C07", (-0.2, 0.1, True), N),
        ("C10", (0, 0.04, False), R),
        ("C10", (-0.04, 0.04, False), P),
        ("C10", (-0.05, 0.001, False), N),
        ("C18", (0.01, 0.03, True), R),
        ("C18", (0.03, 0.03, True), P),
        ("C18", (-0.03, 0.03, True), P),
        ("C18", (0.06, 0.001, True), N),
        ("C18", (-0.06, 0.1, True), N),
    ],
)
def test_rules_over_one_comparison(study, given, name, values, verdict):
    pair, tasks = ONE[name]
    given(means={pair: values}, tasks=tasks)
    found = CLAIMS[name].decide(study)
    assert (found.verdict, found.effect) == (verdict, values[0])
    assert (found.p, found.p_corrected, found.n, found.run_ids) == (0.01, 0.02, 7, "a b")


@pytest.mark.parametrize(
    ("conure", "peterrec", "verdict"),
    [
        ((0.0, 0.049), (0.1, 0.1), R),
        ((0.0, 0.051), (0.1, 0.1), P),
        ((0.1, 0.1), (-0.04, 0.1), P),
        ((0.1, 0.1), (-0.06, 0.0), N),
    ],
)
def test_c08_both_stay_within_five_percent_of_stl(study, given, conure, peterrec, verdict):
    given(means={("Conure", "STL"): (*conure, True), ("PeterRec", "STL"): (*peterrec, True)})
    assert decide("C08", study) == (verdict, conure[0])


SLOW = (0.0, 0.1, 0.2, 0.3, 0.3)  # reaches its best value after three epochs
FAST = (0.0, 0.3)


@pytest.mark.parametrize(
    ("conure", "peterrec", "verdict", "effect"),
    [
        ([FAST, (0.0, 0.4)], [(0.0, 0.2, 0.3), (0.0, 0.0, 0.4)], R, -2),
        (
            [FAST, FAST],
            [(0.5, 0.5), (0.0, 0.0, 0.3)],
            P,
            -2,
        ),  # PeterRec: -3 and -1, a wide interval
        ([FAST, FAST], [SLOW, SLOW], N, -2),
        ([(0.0, 0.1), (0.0, 0.1, 0.2, 0.2)], [(0.3,), (0.3,)], N, 0),  # never: the last plus one
    ],
)
def test_c21_epochs_until_sinmos_best_value(study, monkeypatch, conure, peterrec, verdict, effect):
    give_curves(monkeypatch, [SLOW, SLOW], conure, peterrec)
    assert decide("C21", study) == (verdict, pytest.approx(effect))


def test_c21_a_single_seed_has_no_interval(monkeypatch):
    give_curves(monkeypatch, [SLOW], [FAST], [FAST])
    assert decide("C21", Study(small_study(), STREAM))[0] == P


def test_c21_counts_sinmos_epochs_as_everybodys(study, monkeypatch):
    """Before any training all have SinMo's best value by luck: nobody is faster."""
    same = [(0.3, 0.1, 0.3)] * 2
    give_curves(monkeypatch, same, same, same)
    assert decide("C21", study) == (N, 0)


def give_curves(monkeypatch, sinmo, conure, peterrec):
    by_action = {"scratch": sinmo, "train": conure, "patched-serial": peterrec}

    def record(self):
        values = by_action[self.step.action][self.seed - 1]
        return {"curve": [{"epoch": e, "validation": v} for e, v in enumerate(values)]}

    monkeypatch.setattr(Stage, "record", record)


# --- pruning: C03, C04, C05, C11, C17, C18 --------------------------------------------------------


def pruned(network, *entries):
    """Return entries of pr30, pr50, pr70 and pr70 with retraining against the trained network."""
    runs = [f"Conure, not retrained ({network} pr{r})" for r in (30, 50, 70)]
    runs.append(f"Conure ({network} pr70)")
    trained = (f"Conure- ({network} pr70)", "T1-all")
    return {(run, *trained): values for run, values in zip(runs, entries, strict=True)}


@pytest.mark.parametrize(
    ("effects", "clear", "verdict"),
    [
        ((-0.01, -0.02, -0.03), True, R),
        ((0.01, -0.02, -0.03), True, P),
        ((-0.02, -0.01, -0.03), True, P),
        ((-0.01, -0.03, -0.03), True, P),
        ((-0.01, -0.02, -0.03), False, N),
        ((0.01, 0.02, 0.03), True, N),
    ],
)
def test_c03_the_more_the_worse(study, given, effects, clear, verdict):
    given(pruned("normal", *((e, 0.01, clear) for e in effects), (0.0, 0.1, False)))
    assert decide("C03", study) == (verdict, effects[2])


@pytest.mark.parametrize(("name", "network"), [("C04", "normal"), ("C05", "small")])
@pytest.mark.parametrize(
    ("retrained", "verdict"),
    [
        ((-0.002, 0.002), R),  # of 0.1, so 5% are 0.005
        ((0.0, 0.02), P),  # back in the mean, but its interval is too wide
        ((-0.02, 0.001), P),  # exactly half of what pruning cost
        ((-0.021, 0.001), N),
    ],
)
def test_c04_c05_retraining_regains(study, given, name, network, retrained, verdict):
    before = ((-0.01, 0, True), (-0.02, 0, True), (-0.04, 0.01, True))
    given(pruned(network, *before, (*retrained, False)))
    assert decide(name, study) == (verdict, retrained[0])


@pytest.mark.parametrize(
    ("name", "entries", "verdict"),
    cases("C11", "Abbbbb R, AaaaaB N, aaaabb P, aaabbb N, aaaaaB N, bbbbbb N"),
)
def test_c11_better_somewhere_and_worse_nowhere(study, given, name, entries, verdict):
    single = {("Conure", "Conure-", t): entry(e) for t, e in zip(ALL, entries, strict=True)}
    given(single, {("Conure", "Conure-"): (0.07, 0.1, False)}, ALL)
    assert decide(name, study) == (verdict, 0.07)


@pytest.mark.parametrize(
    ("usual", "half", "most", "verdict"),
    [
        ((0.0, 0.004), "A", "B", R),
        ((0.0, 0.006), "A", "B", P),  # pr80 may be 6% behind
        ((0.0, 0.004), "a", "B", P),
        ((0.0, 0.004), "A", "A", P),
        ((-0.006, 0.0), "a", "b", P),
        ((-0.006, 0.0), "A", "A", N),
        ((0.0, 0.004), "B", "a", N),
    ],
)
def test_c17_three_parts(study, given, usual, half, most, verdict):
    given(
        {
            ("Conure (pr80)", "Conure- (pr50)", "T2"): (*usual, False),
            ("Conure (pr50)", "Conure- (pr50)", "T2"): entry(half),
            ("Conure (pr95)", "Conure (pr50)", "T2"): entry(most),
        }
    )
    assert decide("C17", study) == (verdict, entry(half)[0])


# --- orders: C15; missing tasks -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "third", "clear", "verdict"),
    [
        ((0.01, 0.03), (-0.02, 0.02), True, R),
        ((0.01, 0.05), (-0.02, 0.02), False, P),
        ((0.01, 0.05), (-0.02, 0.02), True, N),
        ((0.01, 0.03), (-0.06, 0.02), False, N),
    ],
)
def test_c15_orders_within_five_percent(study, given, second, third, clear, verdict):
    pairs = [(f"Conure (Order{number})", "Conure (Order1)") for number in (2, 3)]
    single = {(*pair, task): (0.01, 0.1, False) for pair in pairs for task in ("T2", "T3", "T6")}
    single[*pairs[1], "T6"] = (0.01, 0.1, clear)
    means = {pairs[0]: (*second, False), pairs[1]: (*third, False)}
    given(single, means, ("T2", "T3", "T6"))
    assert decide("C15", study) == (verdict, third[0])


@pytest.mark.parametrize(
    ("name", "tasks"),
    [("C09", 2), ("C14", 2), ("C10", 3), ("C15", 3), ("C16", 3), ("C15", 5), ("C16", 5)],
)
def test_a_claim_whose_tasks_are_missing_is_not_tested(name, tasks):
    study = Study(small_study(), replace(STREAM, tasks=STREAM.tasks[:tasks]))
    assert decide(name, study)[0] == NOT_TESTED
