"""Each rule says what its text says: verdicts of hand-made results whose right answer is plain."""

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
from conure_lib.study import notebooks
from conure_lib.study.profiles import PROFILES, study_config
from conure_lib.study.study import Study

R, P, N, NOT_TESTED = VERDICTS
COLUMNS = "claim dataset profile verdict effect ci_low ci_high unit p p_corrected n rule run_ids"
COLUMNS = COLUMNS.split()
NAMES = [f"C{number:02}" for number in range(1, 22)]
LATER = ("T2", "T3", "T4", "T5", "T6")
ALL = ("T1", *LATER)


@pytest.fixture(scope="module")
def stream():
    return small_stream()


@pytest.fixture
def study(stream):
    return Study(small_study(seeds=(1, 2)), stream)


@pytest.fixture
def given(monkeypatch):
    """Lets the comparisons give hand-made results: (effect, half of the interval, clear) by what is compared.

    A rule that compares anything else than what is given fails. reference: the mean score of everything.
    """

    def row(ours, theirs, entry, **more):
        effect, half, clear = entry
        return {
            "ours": ours,
            "theirs": theirs,
            "effect": effect,
            "low": effect - half,
            "high": effect + half,
            "relative": effect / 0.1,
            "p": 0.01,
            "p_holm": 0.02,
            "p_seeds": 0.03,
            "n": 7,
            "seeds": 2,
            "run_ids": "a b a",
            "clear": clear,
        } | more

    def name(runs):
        assert [run.seed for run in runs] == [1, 2]
        return f"{runs[0].method} ({runs[0].variant})" if runs[0].variant else runs[0].method

    def make(single=None, means=None, tasks=LATER, reference=0.1):
        def compare(study, pairs, measures=None):
            rows = []
            for ours, theirs in pairs:
                for task in measures or [t for t in ours[0].stages if t in theirs[0].stages]:
                    entry = single[name(ours), name(theirs), task]
                    rows.append(row(name(ours), name(theirs), entry, task=task))
            assert len(rows) == len(single)
            return pd.DataFrame(rows)

        def compare_means(study, pairs, given_tasks):
            assert tuple(given_tasks) == tuple(tasks)
            rows = [
                row(name(ours), name(theirs), means[name(ours), name(theirs)])
                for ours, theirs in pairs
            ]
            assert len(rows) == len(means)
            return pd.DataFrame(rows)

        monkeypatch.setattr(tables, "compare", compare)
        monkeypatch.setattr(tables, "compare_means", compare_means)
        monkeypatch.setattr(tables, "scores", lambda study, runs, measure: np.full(7, reference))

    return make


def decide(name, study):
    return CLAIMS[name].decide(study)


# --- the ledger ------------------------------------------------------------------------------------------


def test_every_claim_is_there_once():
    assert sorted(CLAIMS) == NAMES
    assert all(CLAIMS[name].id == name for name in NAMES)
    assert (
        len({claim.rule for claim in CLAIMS.values()})
        == len({c.statement for c in CLAIMS.values()})
        == len(NAMES)
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_rule_stands_word_for_word_in_its_notebook(name):
    claim = CLAIMS[name]
    path = paths.NOTEBOOKS / f"{claim.notebook}.ipynb"
    assert path in notebooks.all_notebooks()
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert claim.rule in prose
    assert name in prose


def test_no_profile_retrains_longer_than_the_rules_allow():
    for profile, datasets in PROFILES.items():
        for dataset in datasets:
            config = study_config(dataset, profile)
            assert all(config.training(task, "retrain").epochs <= 5 for task in ALL)


def test_the_ledger_has_a_row_a_claim_with_the_committed_columns(root, stream):
    study = Study(small_study(), stream)
    study.compute(study.runs(["STL", "Conure"]))
    table = claims.ledger(study, ["C13", "C01"])
    assert list(table.columns) == COLUMNS
    assert table["claim"].tolist() == ["C01", "C13"]
    assert table["verdict"].tolist()[1] == R
    assert table["rule"].tolist() == [CLAIMS["C01"].rule, CLAIMS["C13"].rule]
    assert table["run_ids"].tolist() == [run.id for run in study.runs(["STL", "Conure"])]


# --- memory: C01, C02, C13, C19, C20 ----------------------------------------------------------------------


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
    found = decide("C01", study)
    assert (found.verdict, found.n) == (verdict, 9)
    assert found.effect == pytest.approx(np.mean([1 / r if r else 0 for r in after]) - 1)


@pytest.mark.parametrize(
    ("moved", "cosine", "verdict"),
    [(0.3, 0.2, R), (0.6, 0.2, P), (0.3, 0.7, P), (0.6, 0.7, N), (0.5, 0.5, N)],
)
def test_c02_both_halves(study, monkeypatch, moved, cosine, verdict):
    def record(self):
        off = 0.1 if self.seed == 1 else -0.1
        return {
            "notes": {
                "forgetting": {"share_moved_over_20_percent": moved + off, "hidden_cosine": cosine}
            }
        }

    monkeypatch.setattr(Stage, "record", record)
    found = decide("C02", study)
    assert (found.verdict, found.n, found.effect) == (verdict, 2, pytest.approx(cosine))


@pytest.mark.parametrize(("changed", "verdict"), [((), R), ((2,), N)])
def test_c13_a_single_changed_bit_decides(study, monkeypatch, changed, verdict):
    def memory(run):
        flags = pd.array([False, False, False, run.seed in changed], dtype="boolean")
        return pd.DataFrame({"task": ["T1", "T2", "T1", "T1"], "changed": flags})

    monkeypatch.setattr(tables, "no_forgetting", memory)
    found = decide("C13", study)
    assert (found.verdict, found.effect, found.n) == (verdict, len(changed), 4)


@pytest.mark.parametrize(("off", "verdict"), [(0.0, R), (0.0009, R), (0.002, N)])
def test_c19_shares_are_the_predicted_ones_for_every_seed(study, monkeypatch, off, verdict):
    shares = np.array([0.3, 0.14, 0.056, 0.1008, 0.04032, 0.036288, 0.326592])

    def capacity(run):
        mine = shares + np.array([off, 0, 0, 0, 0, 0, -off]) * (run.seed == 1)
        return pd.DataFrame({"owner": [*ALL, "free"], "weights": mine * 1e6, "share": mine})

    monkeypatch.setattr(tables, "capacity", capacity)
    found = decide("C19", study)
    assert (found.verdict, found.n) == (verdict, pytest.approx(1e6, abs=1))
    assert found.effect == pytest.approx(0.673408)


@pytest.mark.parametrize(
    ("materialised", "masked", "verdict"),
    [(1.05, 1.1, R), (0.97, 1.11, P), (1.051, 1.0, N), (1.051, 1.2, N), (None, None, NOT_TESTED)],
)
def test_c20_follows_the_measurement(study, root, materialised, masked, verdict):
    if materialised:
        paths.benchmarks().mkdir(parents=True)
        measured = {
            "rounds": 15,
            "materialised": {"median": materialised, "low": 0.9, "high": 1.2},
            "masked": {"median": masked, "low": 1.0, "high": 1.3},
        }
        (paths.benchmarks() / "inference.json").write_text(json.dumps(measured))
    found = decide("C20", study)
    assert found.verdict == verdict
    if materialised:
        assert (found.effect, found.ci_low, found.ci_high) == pytest.approx(
            (materialised - 1, -0.1, 0.2)
        )
        assert found.n == 15


# --- methods: C06 to C10, C12, C21 ------------------------------------------------------------------------

OTHERS = ("FineSmax", "MTL", "STL", "PeterRec", "Conure")


@pytest.mark.parametrize(
    ("entries", "verdict"),
    [
        ("BBBbb", R),
        ("BBbbb", P),
        ("BBBBa", P),
        ("BBBBA", P),
        ("bbbaa", P),
        ("BBaaa", N),
        ("AAAAA", N),
    ],
)
def test_c06_how_many_are_ahead_of_sinmo(study, given, entries, verdict):
    """b, a: SinMo is behind, ahead; capitals: clearly."""
    sign = {name: -0.1 if e in "bB" else 0.1 for name, e in zip(OTHERS, entries, strict=True)}
    sign["STL"] *= 2
    given(
        means={
            ("SinMo", n): (sign[n], 0.3, e.isupper()) for n, e in zip(OTHERS, entries, strict=True)
        }
    )
    found = decide("C06", study)
    assert (found.verdict, found.effect) == (verdict, sign["STL"])


@pytest.mark.parametrize(
    ("entry", "verdict"),
    [
        ((0.05, 0.01, True), R),
        ((0.049, 0.01, True), P),
        ((0.2, 0.3, False), P),
        ((0.0, 0.3, False), N),
        ((-0.2, 0.1, True), N),
    ],
)
def test_c07_by_far_is_clear_and_five_percent(study, given, entry, verdict):
    given(means={("STL", "FineSmax"): entry})
    found = decide("C07", study)
    assert (found.verdict, found.effect) == (verdict, entry[0])
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
    found = decide("C08", study)
    assert (found.verdict, found.effect) == (verdict, conure[0])


@pytest.mark.parametrize(
    ("stl", "peterrec", "verdict"),
    [
        ((0.02, True), (0.01, True), R),
        ((0.02, True), (0.01, False), P),
        ((0.02, True), (-0.01, True), N),
        ((0.0, False), (0.01, True), N),
    ],
)
def test_c09_better_than_both_on_t3(study, given, stl, peterrec, verdict):
    entries = {"STL": stl, "PeterRec": peterrec}
    given(
        single={
            ("Conure-", n, "T3"): (effect, 0.1, clear) for n, (effect, clear) in entries.items()
        }
    )
    found = decide("C09", study)
    assert (found.verdict, found.effect) == (verdict, min(stl[0], peterrec[0]))


@pytest.mark.parametrize(
    ("entry", "verdict"), [((0, 0.04), R), ((-0.04, 0.04), P), ((-0.05, 0.001), N)]
)
def test_c10_profiles_do_not_fall_behind(study, given, entry, verdict):
    given(means={("Conure", "PeterRec"): (*entry, False)}, tasks=("T4", "T5", "T6"))
    assert decide("C10", study).verdict == verdict


@pytest.mark.parametrize(
    ("entries", "verdict"),
    [("AAAA", R), ("AAAa", P), ("aAAA", P), ("AAAB", N), ("bAAA", N)],
)
def test_c12_mtl_stands_between(study, given, entries, verdict):
    pairs = [("MTL", "SinMo"), ("STL", "MTL"), ("PeterRec", "MTL"), ("Conure", "MTL")]
    effects = [0.1 if e in "aA" else -0.1 for e in entries]
    given(means={p: (x, 0.2, e.isupper()) for p, x, e in zip(pairs, effects, entries, strict=True)})
    found = decide("C12", study)
    assert (found.verdict, found.effect) == (verdict, effects[0])


SLOW = (0.0, 0.1, 0.2, 0.3, 0.3)  # reaches its best value after three epochs


@pytest.mark.parametrize(
    ("conure", "peterrec", "verdict", "effect"),
    [
        ([(0.0, 0.3), (0.0, 0.4)], [(0.0, 0.2, 0.3), (0.0, 0.0, 0.4)], R, -2),
        (
            [(0.0, 0.3), (0.0, 0.3)],
            [(0.5, 0.5), (0.0, 0.0, 0.3)],
            P,
            -2,
        ),  # PeterRec: -3 and -1, a wide interval
        ([(0.0, 0.3), (0.0, 0.3)], [SLOW, SLOW], N, -2),
        (
            [(0.0, 0.1), (0.0, 0.1, 0.2, 0.2)],
            [(0.3,), (0.3,)],
            N,
            0,
        ),  # never: the last epoch plus one
    ],
)
def test_c21_epochs_until_sinmos_best_value(study, monkeypatch, conure, peterrec, verdict, effect):
    _curves(monkeypatch, {"scratch": [SLOW, SLOW], "train": conure, "patched-serial": peterrec})
    found = decide("C21", study)
    assert (found.verdict, found.effect, found.n) == (verdict, pytest.approx(effect), 2)


def test_c21_a_single_seed_has_no_interval(stream, monkeypatch):
    fast = [(0.0, 0.3)]
    _curves(monkeypatch, {"scratch": [SLOW], "train": fast, "patched-serial": fast})
    assert decide("C21", Study(small_study(), stream)).verdict == P


def test_c21_counts_sinmos_epochs_as_everybodys(study, monkeypatch):
    """Before any training all have SinMo's best value by luck: nobody is faster."""
    same = [(0.3, 0.1, 0.3)] * 2
    _curves(monkeypatch, {"scratch": same, "train": same, "patched-serial": same})
    found = decide("C21", study)
    assert (found.verdict, found.effect) == (N, 0)


def _curves(monkeypatch, by_action):
    def record(self):
        values = by_action[self.step.action][self.seed - 1]
        return {"curve": [{"epoch": e, "validation": v} for e, v in enumerate(values)]}

    monkeypatch.setattr(Stage, "record", record)


# --- pruning: C03, C04, C05, C11, C17, C18 ----------------------------------------------------------------


def pruned(network, *entries):
    """Entries of pr30, pr50, pr70 and pr70 with retraining against the network as trained."""
    runs = [f"Conure, not retrained ({network} pr{r})" for r in (30, 50, 70)] + [
        f"Conure ({network} pr70)"
    ]
    return {
        (run, f"Conure- ({network} pr70)", "T1-all"): e
        for run, e in zip(runs, entries, strict=True)
    }


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
    found = decide("C03", study)
    assert (found.verdict, found.effect) == (verdict, effects[2])


@pytest.mark.parametrize(("name", "network"), [("C04", "normal"), ("C05", "small")])
@pytest.mark.parametrize(
    ("most", "retrained", "verdict"),
    [
        (-0.04, (-0.002, 0.002), R),  # of 0.1, so 5% are 0.005
        (-0.04, (0.0, 0.02), P),  # back in the mean, but its interval is too wide
        (-0.04, (-0.02, 0.001), P),  # exactly half of it
        (-0.04, (-0.021, 0.001), N),
        (-0.04, (-0.03, 0.001), N),
    ],
)
def test_c04_c05_retraining_regains(study, given, name, network, most, retrained, verdict):
    given(
        pruned(network, (-0.01, 0, True), (-0.02, 0, True), (most, 0.01, True), (*retrained, False))
    )
    found = decide(name, study)
    assert (found.verdict, found.effect) == (verdict, retrained[0])


@pytest.mark.parametrize(
    ("entries", "verdict"),
    [("Abbbbb", R), ("AaaaaB", N), ("aaaabb", P), ("aaabbb", N), ("aaaaaB", N), ("bbbbbb", N)],
)
def test_c11_better_somewhere_and_worse_nowhere(study, given, entries, verdict):
    tasks = {
        t: (0.1 if e in "aA" else -0.1, 0.2, e.isupper()) for t, e in zip(ALL, entries, strict=True)
    }
    means = {("Conure", "Conure-"): (0.07, 0.1, False)}
    given({("Conure", "Conure-", task): entry for task, entry in tasks.items()}, means, ALL)
    found = decide("C11", study)
    assert (found.verdict, found.effect) == (verdict, 0.07)


@pytest.mark.parametrize(
    ("usual", "half", "most", "verdict"),
    [
        ((0.0, 0.004, False), (0.01, 0.1, True), (-0.01, 0.1, True), R),
        ((0.0, 0.006, False), (0.01, 0.1, True), (-0.01, 0.1, True), P),  # pr80 may be 6% behind
        ((0.0, 0.004, False), (0.01, 0.1, False), (-0.01, 0.1, True), P),
        ((0.0, 0.004, False), (0.01, 0.1, True), (0.01, 0.1, True), P),
        ((-0.006, 0.0, True), (0.01, 0.1, False), (-0.01, 0.1, False), P),
        ((-0.006, 0.0, True), (0.01, 0.1, True), (0.01, 0.1, True), N),
        ((0.0, 0.004, False), (-0.01, 0.1, True), (0.01, 0.1, False), N),
    ],
)
def test_c17_three_parts(study, given, usual, half, most, verdict):
    given(
        {
            ("Conure (pr80)", "Conure- (pr50)", "T2"): usual,
            ("Conure (pr50)", "Conure- (pr50)", "T2"): half,
            ("Conure (pr95)", "Conure (pr50)", "T2"): most,
        }
    )
    found = decide("C17", study)
    assert (found.verdict, found.effect) == (verdict, half[0])


@pytest.mark.parametrize(
    ("entry", "verdict"),
    [
        ((0.01, 0.03), R),
        ((0.03, 0.03), P),
        ((-0.03, 0.03), P),
        ((0.06, 0.001), N),
        ((-0.06, 0.1), N),
    ],
)
def test_c18_similar_is_within_five_percent(study, given, entry, verdict):
    given(
        means={("Conure (kernels and embedding)", "Conure (kernels)"): (*entry, True)},
        tasks=ALL[:3],
    )
    assert decide("C18", study).verdict == verdict


# --- transfer and orders: C14, C15, C16 -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "verdict"),
    [("AA", R), ("Aa", P), ("Ab", P), ("aa", P), ("BA", P), ("ab", N), ("BB", N)],
)
def test_c14_with_all_and_with_few_data(study, given, entries, verdict):
    effects = [0.01 if e in "aA" else -0.01 for e in entries]
    given(
        {
            (f"Conure- (T2 {data})", f"Conure- (noT2 {data})", "T3"): (effect, 0.1, e.isupper())
            for data, effect, e in zip(("all", "20%"), effects, entries, strict=True)
        }
    )
    found = decide("C14", study)
    assert (found.verdict, found.effect) == (verdict, effects[0])


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
    orders = {"Order2": second, "Order3": third}
    single = {
        (f"Conure ({name})", "Conure (Order1)", task): (
            0.01,
            0.1,
            clear and (name, task) == ("Order3", "T6"),
        )
        for name in orders
        for task in ("T2", "T3", "T6")
    }
    means = {
        (f"Conure ({name})", "Conure (Order1)"): (*entry, False) for name, entry in orders.items()
    }
    given(single, means, ("T2", "T3", "T6"))
    found = decide("C15", study)
    assert (found.verdict, found.effect) == (verdict, third[0])


@pytest.mark.parametrize(
    ("entries", "verdict"),
    [("AAaa", R), ("AAAA", R), ("Aaaa", P), ("aaAA", P), ("AAab", N), ("AbAA", N)],
)
def test_c16_last_is_best(study, given, entries, verdict):
    pairs = [
        ("Conure", 1, 2, "T6"),
        ("Conure", 1, 3, "T6"),
        ("Conure-", 2, 1, "T3"),
        ("Conure-", 3, 1, "T3"),
    ]
    given(
        {
            (f"{method} (Order{ours})", f"{method} (Order{theirs})", task): (
                0.1 - 0.01 * theirs if e in "aA" else -0.1,
                0.2,
                e.isupper(),
            )
            for (method, ours, theirs, task), e in zip(pairs, entries, strict=True)
        }
    )
    found = decide("C16", study)
    assert (found.verdict, found.effect) == (
        verdict,
        pytest.approx(0.07 if entries[1] in "aA" else -0.1),
    )


@pytest.mark.parametrize(
    ("name", "tasks"),
    [("C09", 2), ("C14", 2), ("C10", 3), ("C15", 3), ("C16", 3), ("C15", 5), ("C16", 5)],
)
def test_a_claim_whose_tasks_are_missing_is_not_tested(stream, name, tasks):
    study = Study(small_study(), replace(stream, tasks=stream.tasks[:tasks]))
    assert decide(name, study).verdict == NOT_TESTED
