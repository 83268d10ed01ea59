"""Tables are what the stages say; comparisons against scipy and by hand; how readers see them."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from conure_lib.analysis import tables
from conure_lib.analysis.claims import CLAIMS
from conure_lib.analysis.stats import NAN, estimate
from tests.analysis.conftest import SEEDS, made_up, positions

PLACES = {"finetune": [1, 2, 5], "scratch": [2, 2, 0], "output-only": [6, 9, 11]}


def by_action(task, action, seed):
    """STL is best with every seed but the third, where SinMo is."""
    first = {"T1": [1, 1, 1], "T1-all": [1] * positions(seed)}
    ranks = PLACES.get("scratch" if action == "finetune" and seed == 3 else action, [0, 0, 0])
    after = {"T1-after": [2, 0, 0]} if (task, action) == ("T2", "finetune") else {}
    return first if task == "T1" else {task: ranks, f"{task}-literal": [0, 0, 0], **after}


@pytest.fixture
def made():
    return made_up(by_action)


def test_scores_and_users_are_those_of_all_folds_one_after_the_other(made):
    runs = made.runs(["STL"])
    scores = tables.scores(made, runs, "T2")
    assert scores.tolist() == [1, 0.5, 0.2] * 2 + [0.5, 0.5, 0] + [1, 0.5, 0.2] * 3
    assert tables.test_users(made, runs, "T2").tolist() == list(range(2, 20))
    assert tables.test_users(made, runs[1:2], "T2").tolist() == [5, 6, 7]
    assert tables.scores(made, runs, "T2-literal").sum() == 0
    few = tables.scores(made, made.runs(["FineSmax"])[:1], "T2", "HR@10")
    assert few.tolist() == [1, 1, 0]
    positions = tables.test_users(made, made.runs(["STL"])[2:3], "T1-all")
    assert positions.tolist() == [9, 10, 10]  # users 8, 9, 10 have 1, 2 and 3 items
    wrong = made_up(lambda task, action, seed: {task: [1, 1]})
    with pytest.raises(ValueError, match="same length"):
        tables.scores(wrong, wrong.runs(["STL"]), "T2")


def test_overall_pools_the_seeds_that_there_are():
    study = made_up(by_action, seeds=(1, 3))
    table = tables.overall(study, study.runs(["STL"]), ["T2", "T1"])
    hand = estimate(np.array([1, 0.5, 0.2, 0.5, 0.5, 0]), np.arange(6))
    row = table.iloc[0]
    numbers = (hand.mean, hand.low, hand.high)
    assert (row["value"], row["low"], row["high"]) == pytest.approx(numbers)
    assert (row["n"], row["users"], row["seeds"], row["metric"]) == (6, 6, 2, "MRR@5")
    assert len(row["run_ids"].split()) == 2
    other = tables.overall(study, study.runs(["FineSmax"]), ["T2", "T4"], "HR@10")
    assert other["metric"].tolist() == ["HR@10", "accuracy"]
    assert other["value"].tolist() == pytest.approx([2 / 3, 0])


def test_a_paired_difference_by_hand(made):
    pair = (made.runs(["STL"]), made.runs(["SinMo"]))
    row = tables.compare(made, [pair], ["T2"]).iloc[0]
    difference = np.array([0.5, 0, 0.2] * 2 + [0, 0, 0] + [0.5, 0, 0.2] * 3)
    hand = vars(estimate(difference, np.arange(18)))
    assert row[["effect", "users_low", "users_high", "n"]].tolist() == pytest.approx(
        [hand[name] for name in ("mean", "low", "high", "n")]
    )
    assert row["low"] == min(row["users_low"], row["seeds_low"])
    assert row["high"] == max(row["users_high"], row["seeds_high"])
    ledger = tables.mean_effect(made, *pair, ["T2"])
    asked = ["relative", "relative_low", "relative_high", "p"]
    assert row[asked].tolist() == [ledger[name] for name in ("effect", "low", "high", "p")]
    of_seeds = [0.7 / 3] * 2 + [0] + [0.7 / 3] * 3
    reference = scipy_stats.ttest_1samp(of_seeds, 0)
    interval = reference.confidence_interval(0.95)
    assert row["p_seeds"] == pytest.approx(reference.pvalue)
    assert (row["seeds_low"], row["seeds_high"]) == pytest.approx((interval.low, interval.high))
    assert row["p_plain"] == pytest.approx(scipy_stats.ttest_1samp(difference, 0).pvalue)
    assert row["relative"] == pytest.approx(difference.mean() / (1 / 3))
    assert (row["value"], row["reference"]) == pytest.approx((1 / 3 + difference.mean(), 1 / 3))
    assert (row["seeds"], row["clear"]) == (6, True)
    seeds = tables.seed_effects(made, [pair], ["T2"])
    assert seeds["relative"].tolist() == pytest.approx([3 * x for x in of_seeds])
    assert seeds["seed"].tolist() == [*SEEDS]


def test_clear_means_over_users_and_over_seeds():
    p_holm, p_seeds = [0.049, 0.05, 0.01, 0.01], [0.049, 0.01, 0.05, NAN]
    assert [*map(tables.is_clear, p_holm, p_seeds)] == [True, False, False, False]


def test_two_methods_need_the_same_seeds(made):
    with pytest.raises(ValueError, match=r"STL and SinMo: expected the same seeds"):
        tables.compare(made, [(made.runs(["STL"])[1:], made.runs(["SinMo"])[:-1])], ["T2"])


def test_one_method_against_the_mean_of_two(made):
    """Each instance counts twice, a user and a seed once."""
    stl, sinmo, none = (made.runs([name]) for name in ("STL", "SinMo", "FineSmax"))
    row = tables.mean_effect(made, [*stl, *stl], [*sinmo, *none], ["T2"])
    assert row["effect"] == pytest.approx((5 * 1.7 + 1) / 18 / (0.5 / 3) - 1)
    assert (row["seeds"], row["n"]) == (6, 36)


def test_what_is_left_of_t1_is_compared_with_t1_before(made):
    stl = made.runs(["STL"])
    assert tables.mean_effect(made, stl, stl, ["T1-after"])["effect"] == pytest.approx(0.5 / 3 - 1)


def test_the_papers_differences_stand_beside_ours(made):
    table = tables.forest(made, [("STL", "SinMo"), ("Conure", "STL")], ["T2", "T4"])
    assert table["TTL"].tolist()[::2] == pytest.approx([0.0172 / 0.0144 - 1, 0.0177 / 0.0172 - 1])
    assert table["ML"].isna().tolist() == [False, True, False, True]
    assert [len(tables.paper_table(n)) for n in range(1, 6)] == [9, 14, 4, 6, 4]


def test_curves_are_what_the_records_say():
    values = [0.1, 0.4, 0.2]
    curve = [{"epoch": epoch, "validation": value} for epoch, value in enumerate(values)]
    study = made_up(lambda task, action, seed: {task: [1, 1, 1], "curve": curve}, seeds=(1,))
    (run,) = study.runs(["SinMo"])
    table = tables.curves([run])
    assert table["validation"].tolist() == values * 3
    assert table["of_best"].tolist() == [0.25, 1, 0.5] * 3
    assert table["metric"].tolist()[::3] == ["MRR@5", "MRR@5", "minus cross-entropy"]
    assert table["task"].tolist()[::3] == ["T1", "T2", "T4"]
    stage = run.stages["T1"]
    assert tables.best_validation(stage) == 0.4
    assert [tables.epochs_until(stage, value) for value in (0.1, 0.3, 0.5)] == [0, 1, np.inf]
    assert tables.epochs_until(stage, 0.4, share=0.25) == 0


def test_a_share_of_a_value_below_0_is_a_worse_one():
    values = [-2.0, -1.04, -1.0]
    curve = [{"epoch": epoch, "validation": value} for epoch, value in enumerate(values)]
    study = made_up(lambda task, action, seed: {task: [1, 1, 1], "curve": curve}, seeds=(1,))
    (run,) = study.runs(["SinMo"])
    assert tables.epochs_to_reach([run], [run], "T4", 0.95).tolist() == [1]


def test_capacity_and_no_forgetting_are_what_the_stages_recorded(study):
    shares = tables.capacity(study.run("Conure", 1)).set_index("owner")["share"]
    assert (shares.sum(), shares["T1"]) == pytest.approx((1, 0.3), abs=0.01)
    table = tables.no_forgetting(study.run("Conure", 1))
    assert table.groupby("task", sort=False).size().tolist() == [15, 12, 9, 6, 3]
    assert table["changed"].tolist() == [False] * len(table)
    assert (table.groupby("task")["weights_sha256"].nunique() == 1).all()


@pytest.mark.parametrize(
    ("memories", "changed"),
    [
        ("w-a waa waa", [False, False]),
        ("w-a wbb wbb", [False, False]),  # another processor, other logits
        ("w-a vaa waa", [True, False]),
        ("w-a wab wbb", [True, False]),
    ],
)
def test_forgetting_is_judged_by_weights_and_by_logits_of_one_process(memories, changed):
    """Three stages record T1's weights, and its logits before (-: as T1 ends) and after."""
    stages = ("T1 retrain", "T2 train", "T2 prune")
    recorded = dict(zip(stages, memories.split(), strict=True))

    def rule(task, action, seed):
        found = recorded.get(f"{task} {action}", "")
        names = ("weights_sha256", "logits_before_sha256", "logits_sha256")
        memory = {name: x for name, x in zip(names, found, strict=False) if x != "-"}
        return {task: [1, 1, 1], "notes": {"memory": {"T1": memory} if found else {}}}

    study = made_up(rule, seeds=(1, 2))
    run, _ = study.runs(["Conure"])
    assert tables.no_forgetting(run)["changed"].tolist() == changed
    found = CLAIMS["C13"].decide(study, CLAIMS["C13"])
    verdict = "NOT REPRODUCED" if any(changed) else "REPRODUCED"
    assert (found.verdict, found.effect, found.n) == (verdict, 2 * any(changed), 2)


BEST = "best of the paper's methods against Popularity"


def test_side_by_side_has_a_row_per_method_and_variant_and_the_floors_below(made):
    runs = [*made.runs(["STL", "MTL"]), *made.changed("again").runs(["STL"])]
    against = {"task": "T2", "theirs": "Popularity", "relative": 0.5}
    against |= {"relative_low": 0.25, "relative_high": 0.75, "clear": True}
    against = pd.DataFrame([against, against | {"theirs": "Linear", "clear": False}])
    wide = tables.side_by_side(tables.overall(made, runs), against)
    assert list(wide.index)[:4] == ["STL", "MTL", "STL (again)", BEST]
    assert list(wide)[1:] == ["T2 (MRR@5, n = 18)", "T4 (accuracy, n = 18)"]
    assert wide.loc["MTL"].iloc[0] == ""  # it has no T1
    assert wide.loc[BEST].tolist() == ["", "+50.0% [+25.0%, +75.0%]", ""]
    assert wide.iloc[-1, 1] == "+50.0% [+25.0%, +75.0%] (not clear)"
    with pytest.raises(KeyError, match="no run of 'SinMo', variant ''"):
        tables.pick(runs, "SinMo", "")


def test_both_readings_of_the_metric_side_by_side():
    def rule(task, action, seed):
        better, worse = ([1, 1, 1], [2, 2, 2])[:: 1 if action == "finetune" else -1]
        return {task: better} | ({f"{task}-literal": worse} if task == "T2" else {})

    table = tables.by_metric(made_up(rule))
    assert table.query("ours == 'SinMo'")["effect"].tolist() == [-0.5, 1.0]
    assert tables.both_readings(table).loc["SinMo against STL"].to_dict() == {
        "filtered": "-50.0% [-50.0%, -50.0%]",
        "literal": "+100.0% [+100.0%, +100.0%]",
    }
    opposed = "SinMo STL, STL FineSmax, Conure STL, Conure- STL, PeterRec STL"
    opposed = opposed.replace(" ", " against ").replace(", against", ",")
    said = "the reading turns the sign of: {}; clearly by both: {}; clear by one reading alone: {}"
    said = said.format
    assert tables.turned(table) == said(opposed, opposed, "none")
    assert tables.turned(table.assign(low=-9.0, high=9.0)) == said(opposed, "none", "none")
    once = table.assign(high=table["high"].where(table["effect"] > 0, 9.0))
    assert tables.turned(once) == said(opposed, "none", opposed)
    assert tables.turned(table[table["effect"] < 0]) == said("none", "none", "none")


def test_a_table_as_a_reader_wants_to_see_it():
    table = pd.DataFrame({"task": ["T2", "T3"], "dataset": "one", "variant": "", "run_ids": "a"})
    table["unit"] = ["MRR@5", "relative"]
    table[["effect", "low", "high"]] = [[0.012345, 0.001, 0.02], [0.25, -0.125, 0.625]]
    table[["relative", "relative_low", "relative_high"]] = [[0.5, 0.25, 0.75], [NAN] * 3]
    table[["p_holm", "n", "seed", "seeds_low"]] = [[0.0001, 12345, 1000, 0.1], [0.04567, 7, 2, 0.1]]
    table = table.astype({"n": int, "seed": int})
    table["share"], table["paper"], table["clear"] = [0.5, NAN], [0.5, 0.032], [True, False]
    table["loss"], table["by_construction"] = [1.23456, NAN], False
    shown = tables.show(table, {"loss": "training loss"}, percent=["loss"])
    assert shown.index.to_list() == ["T2", "T3"]
    assert shown.to_dict("list") == {
        "difference [95% interval]": ["0.0123 [0.0010, 0.0200] MRR@5", "+25.0% [-12.5%, +62.5%]"],
        "relative difference [95% interval]": ["+50.0% [+25.0%, +75.0%]", ""],
        "p (users, Holm)": ["< 0.001", "0.046"],
        "n": ["12,345", "7"],
        "seed": ["1000", "2"],
        "share": ["50.0%", ""],
        "the paper's": ["0.500", "+3.2%"],
        "clear": ["yes", "no"],
        "training loss": ["123.5%", ""],
    }
    plain = pd.DataFrame({"task": ["T2"], "value": 0.2, "low": 0.1, "high": 0.3, "seeds": 6})
    names = {"value [95% interval]": ["0.200 [0.100, 0.300]"], "seeds of 6": ["6"]}
    assert tables.show(plain).to_dict("list") == names
