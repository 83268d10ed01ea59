"""The claims: their numbers are the paper's, what they compare exists, functions do as they say."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import small_stream, small_study

from conure_lib import paths
from conure_lib.analysis import claims, costs, floors, tables
from conure_lib.analysis.claims import CLAIMS, GENERAL, VERDICTS, Finding, judging
from conure_lib.study.experiments import EXPERIMENTS
from conure_lib.study.study import Study
from tests.analysis.conftest import made_up, positions

R, P, N, C, NOT_TESTED = VERDICTS
NAMES = [f"C{number:02}" for number in range(1, 25)]
COMPARED = [claim for claim in CLAIMS.values() if claim.comparisons]
STUDY = Study(small_study(seeds=(1, 2)), small_stream())


def test_every_claim_is_there_once_with_all_its_texts():
    assert [*CLAIMS] == NAMES
    for field in ("rule", "statement", "title"):
        assert len({getattr(claim, field) for claim in CLAIMS.values()}) == len(NAMES)
    for claim in CLAIMS.values():
        parts = [one.get("name", "") for one in claim.comparisons]
        assert len(parts) == len({*parts})
        assert (claim.decide is judging.compared) == (bool(parts) and claim.id != "C22")
        assert len(claim.title.split()) <= 4
    assert {n for n, c in CLAIMS.items() if c.by_construction} == {"C13", "C19", "C20", "C23"}
    assert all(verdict in GENERAL for verdict in VERDICTS[:4])


def paper_scores():
    """The paper's scores by dataset, what is compared, and task."""
    found = {}
    for row in tables.paper_table(2).to_dict("records"):
        names = [row["method"], f"{row['method']} (kernels)"]  # Table 5 is against the latter
        names += ["Conure (unpruned)"] * (row["method"] == "Conure-")  # trained no more
        for task in STUDY.order:
            score = float(str(row[task]).rstrip("?"))
            found |= {(row["dataset"], name, task): score for name in names}
    for row in tables.paper_table(3).to_dict("records"):
        dataset, few, _ = row["dataset"].partition("20%")
        found[dataset, f"Conure- (T2 {few or 'all'})", "T3"] = row["conure"]
        found[dataset, f"Conure- (noT2 {few or 'all'})", "T3"] = row["conure_no_t2"]
    for row in tables.paper_table(4).to_dict("records"):
        for column, task in (("KC(T2)", "T2"), ("KT(T3)", "T3"), ("Life(T6)", "T6")):
            found["TTL", f"{row['variant']} ({row['order']})", task] = row[column]
    for row in tables.paper_table(5).query("variant == 'Conure'").to_dict("records"):
        for task in ("T1", "T2", "T3"):
            found[row["dataset"], "Conure (kernels and embedding)", task] = row[task]
    found["TTL", "STL", "T1-after"] = 0.0010  # section 3.3
    found["ML", "Conure (pr50)", "T2"], found["ML", "Conure (pr0)", "T2"] = 0.0203, 0.0183  # 6.5
    return found


@pytest.mark.parametrize("claim", COMPARED, ids=lambda claim: claim.id)
def test_the_papers_effect_and_the_smallest_of_interest_follow_from_its_tables(claim):
    scores = paper_scores()

    def mean(dataset, names, task):
        names = [names] if isinstance(names, str) else names
        return np.mean([scores.get((dataset, n, task), np.nan) for n in names])

    for one in claim.comparisons:
        tasks = [task.replace("-all", "") for task in one["tasks"]]
        after = [(task, task.removesuffix("-after")) for task in tasks]
        of_datasets = [
            np.mean([mean(d, one["ours"], a) / mean(d, one["theirs"], b) - 1 for a, b in after])
            for d in ("TTL", "ML")
        ]
        if "paper" in one:
            effect = np.nanmean(of_datasets)
            assert one["paper"] == pytest.approx(effect, abs=0.0006), one
            assert one.get("smallest", effect / 2) == pytest.approx(effect / 2, abs=0.0006), one
        else:
            assert np.isnan(of_datasets).all(), one
            assert abs(one.get("smallest", 0)) in (0, 0.01, 0.05)
        assert one.get("margin", 0.05) == 0.05


@pytest.mark.parametrize("claim", COMPARED, ids=lambda claim: claim.id)
def test_what_a_claim_compares_is_what_its_experiment_makes(claim):
    runs = EXPERIMENTS[claim.experiment](STUDY) if claim.experiment else []
    for one in filter(None, (*claim.comparisons, claim.quick)):
        tasks = one.get("tasks", [one.get("task")])
        for names in (one["ours"], one["theirs"]):
            found = judging._named(STUDY, runs, names, tasks)
            assert len(found) == 2 * (1 if isinstance(names, str) else len(names)), one


@pytest.mark.parametrize("claim", COMPARED, ids=lambda claim: claim.id)
def test_rules_say_their_margins_and_the_smallest_effects_that_are_not_the_papers(claim):
    rule = CLAIMS["C04"].rule if claim.id == "C05" else claim.rule  # "as C04"
    for one in claim.comparisons:
        if "margin" in one:
            assert f"margin {one['margin']:.0%}" in rule
        elif "paper" not in one:
            assert f"{abs(one['smallest']):.0%}" in rule
        assert ("by far" in rule) == one.get("by_far", False)
    assert ("four of the five" in rule) == (claim.needs == 4)
    assert ("refutes the claim" in rule) == claim.worst
    assert ("five epochs" in rule) == bool(claim.quick)


def decide(name, study):
    found = CLAIMS[name].decide(study, CLAIMS[name])
    return found, (found.verdict, pytest.approx(found.effect))


@pytest.mark.parametrize(
    ("moved", "cosine", "spread", "verdict", "reason"),
    [
        (0.2, 0.3, 0.01, R, "reproduced"),
        (0.5, 0.3, 0.01, P, "weights at the searched rate, weights at the common rate: not rep"),
        (0.2, 0.7, 0.01, P, "vectors at the searched rate, vectors at the common rate: not rep"),
        (0.5, 0.7, 0.01, N, "not reproduced"),
        (0.39, 0.49, 0.1, C, "cannot tell"),
    ],
)
def test_c02_weights_and_vectors_at_two_rates(moved, cosine, spread, verdict, reason):
    def rule(task, action, seed):
        off = spread * (-1) ** seed
        notes = {"median_relative_change": moved + off, "hidden_cosine": cosine + off}
        return {task: [1, 1, 1], "notes": {"forgetting": notes}}

    found, got = decide("C02", made_up(rule, tasks=("T1", "T2", "T3")))
    assert got == (verdict, cosine)
    assert (found.n, reason in found.reason) == (6, True)


@pytest.mark.parametrize(("off", "verdict"), [(0.0, R), (0.0009, R), (0.002, N)])
def test_c19_shares_are_the_predicted_ones_for_every_seed(monkeypatch, off, verdict):
    shares = np.array([0.3, 0.14, 0.056, 0.1008, 0.04032, 0.036288, 0.326592])

    def capacity(run):
        mine = shares + np.array([off, 0, 0, 0, 0, 0, -off]) * (run.seed == 1)
        return pd.DataFrame({"owner": [*STUDY.order, "free"], "weights": mine, "share": mine})

    monkeypatch.setattr(tables, "capacity", capacity)
    assert decide("C19", STUDY)[1] == (verdict, 0.673408)


@pytest.mark.parametrize(
    ("materialised", "masked", "verdict"),
    [(1.05, 1.1, R), (0.97, 1.11, P), (1.051, 1.0, N), (1.051, 1.2, N)],
)
def test_c20_follows_the_measurement(root, materialised, masked, verdict):
    assert decide("C20", None)[0].verdict == NOT_TESTED
    paths.benchmarks().mkdir(parents=True)
    measured = {"rounds": 15, "masked": {"median": masked}}
    measured["materialised"] = {"median": materialised, "low": 0.9, "high": 1.2}
    (paths.benchmarks() / "inference.json").write_text(json.dumps(measured))
    found, got = decide("C20", None)
    assert got == (verdict, materialised - 1)
    assert (found.ci_low, found.ci_high, found.n) == pytest.approx((-0.1, 0.2, 15))


SLOW, FAST = (0.0, 0.1, 0.2, 0.28, 0.3), (0.1, 0.2, 0.39, 0.4)  # nearly the best after 4 and 2


@pytest.mark.parametrize(
    ("conure", "peterrec", "verdict", "effect"),
    [
        ([FAST] * 6, [FAST] * 6, R, -0.5),
        ([FAST] * 6, [SLOW] * 6, P, -0.5),
        ([SLOW] * 6, [SLOW] * 6, N, 0),
        ([FAST] * 5 + [SLOW], [FAST] * 6, R, -2.5 / 6),
        ([FAST] + [SLOW] * 5, [FAST] + [SLOW] * 5, C, -0.5 / 6),
    ],
)
def test_c21_epochs_to_nearly_the_own_best(monkeypatch, conure, peterrec, verdict, effect):
    monkeypatch.setattr(floors, "learned", lambda study: {"T2": True, "T3": False})
    by_action = {"train": conure, "patched-serial": peterrec}

    def rule(task, action, seed):
        values = by_action.get(action, [SLOW] * 6)[seed - 1]
        return {task: [1], "curve": [{"epoch": e, "validation": v} for e, v in enumerate(values)]}

    found, got = decide("C21", made_up(rule, tasks=("T1", "T2", "T3")))
    assert got == (verdict, effect)
    assert (found.n, found.smallest) == (6, -0.25)
    assert np.isnan([found.p, found.p_corrected]).all()
    assert found.p_seeds >= 0


@pytest.mark.parametrize(
    ("ewc", "lwf", "kept", "verdict"),
    [(5, 3, R, R), (5, 3, N, P), (5, 2, R, P), (2, 2, R, N)],
)
def test_c22_what_is_left_of_old_tasks(monkeypatch, ewc, lwf, kept, verdict):
    """T1 and T2 have rank 2 when learned; T1 recovers in between, which does not count."""
    monkeypatch.setattr(floors, "learned", lambda study: {"T1": True, "T2": True, "T4": False})
    monkeypatch.setattr(judging, "c13", lambda study, claim: Finding(kept))

    def rule(task, action, seed):
        left = {"ewc": ewc, "lwf": lwf}.get(action)
        n = positions(seed)
        if task == "T1":
            return {"T1": [9] * 3, "T1-all": [2] * n}
        t1 = {"T1-all-after": [1 if task == "T2" else left] * n}
        return {task: [2] * 3} | (t1 | {"T2-after": [left] * 3} if left else {})

    found, got = decide("C22", made_up(rule))
    assert got == (verdict, 2 / ewc - 1)
    assert found.reason.endswith(f"Conure: {kept.lower()}")


@pytest.mark.parametrize(("ewc", "conure", "verdict"), [(1000, 10, R), (10, 10, P), (10, 1000, N)])
def test_c23_growth_of_what_is_stored(monkeypatch, ewc, conure, verdict):
    def table(study, runs):
        grown = (conure if runs[0].method == "Conure" else ewc) + 7
        return pd.DataFrame({"stored": [5000 + len(runs[0].stages) * grown]})

    sizes = {"backbone": 1000, **dict.fromkeys(STUDY.order, 7)}
    monkeypatch.setattr(costs, "sizes", lambda study, run: sizes)
    monkeypatch.setattr(costs, "table", table)
    assert decide("C23", STUDY)[1] == (verdict, ewc / 1000)


@pytest.mark.parametrize(("learners", "left_out"), [(("Conure",), "EWC"), (("EWC",), "LwF")])
def test_learners_that_the_settings_leave_out_are_not_judged(learners, left_out):
    config = replace(STUDY.config, points={"continual-learners": learners})
    found, _ = decide("C22", Study(config, STUDY.stream, STUDY.store))
    assert found.verdict == NOT_TESTED
    assert found.reason.startswith(f"no results of {left_out}")


LETTERS = {"R": R, "P": P, "N": N, "C": C, "-": NOT_TESTED}


@pytest.mark.parametrize(
    ("gru", "sasrec", "kept", "verdict", "effect", "n"),
    [
        ("RRNPC", "RRNPC", R, R, 0, 8),
        ("RRNCR", "CCNRC", R, C, 0, 5),
        ("RRCRC", "RRRPR", R, P, 1, 7),
        ("RRNCR", "RCNRC", R, R, 0, 6),  # PARTLY can tell, and contradicts nothing
        ("RRNRR", "CCCC-", R, C, 0, 4),
        ("RNNRR", "CCCCC", R, P, 1, 4),
        ("NNRNN", "RRNPR", R, P, 3, 8),
        ("RRNPC", "RRNPC", N, N, 0, 8),
    ],
)
def test_c24_five_verdicts_with_other_networks(monkeypatch, gru, sasrec, kept, verdict, effect, n):
    letters = {"nextitnet": "RRNPC", "gru": gru, "sasrec": sasrec}
    for number, name in enumerate(CLAIMS["C24"].again):

        def decide_again(study, claim, number=number):
            return Finding(LETTERS[letters[study.config.model.backbone][number]])

        monkeypatch.setitem(CLAIMS, name, replace(CLAIMS[name], decide=decide_again))
    finding = {"gru": Finding(R), "sasrec": Finding(kept)}
    monkeypatch.setattr(judging, "c13", lambda study, _: finding[study.config.model.backbone])
    assert decide("C24", STUDY)[0].verdict == NOT_TESTED
    asked = {"few_seeds": (1,), "backbones": {"gru": {}, "sasrec": {}}}
    found, got = decide("C24", STUDY.changed("", **asked))
    assert got == (verdict, effect)
    assert (found.n, found.seeds, len(found.run_ids.split())) == (n, 1, 2)
    assert bool(re.search("contradict [^;]*C08", found.reason)) == (gru[1] == "N")


def test_a_stream_that_ends_with_t3_has_no_orders_and_nothing_after_t3():
    short = made_up(lambda task, action, seed: {task: [1]}, tasks=("T1", "T2", "T3"))
    assert decide("C15", short)[0].verdict == NOT_TESTED
    asked = {"tasks": ["T1-all-after", "T2-after", "T3-after", "T3", "T4"]}
    assert judging._asked(short, asked) == ["T1-all-after", "T2-after", "T3"]


NUMBERS = {"effect": 0.25, "ci_low": 0.125, "ci_high": 0.375, "p": 0.02, "n": 9, "seeds": 6}
FOUND = {
    "C01": Finding(R, "clear", **NUMBERS, run_ids="a b"),
    "C13": Finding(NOT_TESTED, "no data"),
}
FOUND["C14"] = Finding(P, "so so", p=0.03)


@pytest.fixture
def ledger(monkeypatch):
    """The ledger of three claims whose findings are known."""
    for name in FOUND:
        found = replace(CLAIMS[name], decide=lambda study, claim: FOUND[claim.id])
        monkeypatch.setitem(CLAIMS, name, found)
    with monkeypatch.context() as patch:
        patch.setattr(claims, "CLAIMS", {name: CLAIMS[name] for name in [*FOUND][::-1]})
        table = claims.ledger(STUDY)
    assert claims.ledger(STUDY, [*FOUND]).equals(table.drop(columns="p_ledger"))
    return table


def test_a_row_has_all_that_was_found_and_a_notebook_its_rows(ledger):
    assert ledger.iloc[0].dropna().to_dict() == {
        **{"claim": "C01", "dataset": "synthetic", "profile": "smoke", **NUMBERS},
        **{"verdict": R, "effect_verdict": R, "reason": "clear", "run_ids": "a b"},
        **{"p_ledger": 0.03},
        **{"unit": "relative", "by_construction": False, "rule": CLAIMS["C01"].rule},
    }
    assert ledger["p_ledger"].tolist() == pytest.approx([0.03, np.nan, 0.03], nan_ok=True)
    assert ledger["by_construction"].tolist() == [False, True, False]
    assert claims.for_notebook("04_transfer") == ["C14"]
    rule = f"- **C14 · T2 helps T3.** {CLAIMS['C14'].rule}"
    assert claims.rules("04_transfer") == f"{claims.READING}\n\n{rule}"
    revised = CLAIMS["C18"]
    ends = f"{revised.rule} *{revised.revised}*"
    assert claims.rules("07_embedding_pruning").endswith(ends)


def test_a_dataset_replaces_its_own_rows_and_leaves_the_others(ledger, tmp_path):
    path = tmp_path / "results" / "claims.csv"
    changes = ({"dataset": "ml-100k"}, {"profile": "quick"}, {}, {"verdict": P}, {"verdict": P})
    for change in changes:
        before = path.read_bytes() if path.is_file() else b""
        claims.save(ledger[:2].assign(**change), path)
    assert path.read_bytes() == before
    written = pd.read_csv(path)
    assert list(written["dataset"]) == ["synthetic"] * 2 + ["ml-100k"] * 2 + ["synthetic"] * 2
    assert list(written["profile"]) == ["quick"] * 2 + ["smoke"] * 4
    assert list(written["verdict"]) == [R, NOT_TESTED] * 2 + [P] * 2
