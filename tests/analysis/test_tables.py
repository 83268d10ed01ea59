"""Tables are what the stages say; comparisons against scipy and by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from conure_lib.analysis import tables
from conure_lib.analysis.claims import CLAIMS
from conure_lib.analysis.stats import estimate, holm
from tests.analysis.conftest import SEEDS, made_up

PLACES = {"finetune": [1, 2, 5], "scratch": [2, 2, 0], "output-only": [6, 9, 11]}


def by_action(task, action, seed):
    """STL is best with every seed but the third, where SinMo is."""
    first = {"T1": [1, 1, 1], "T1-all": [1] * 99}
    ranks = PLACES.get("scratch" if action == "finetune" and seed == 3 else action, [0, 0, 0])
    after = {"T1-after": [2, 0, 0]} if (task, action) == ("T2", "finetune") else {}
    return first if task == "T1" else {task: ranks, f"{task}-literal": [0, 0, 0], **after}


# --- pooled over the folds ------------------------------------------------------------------------


def test_scores_and_users_are_those_of_all_folds_one_after_the_other():
    study = made_up(by_action)
    runs = study.runs(["STL"])
    scores = tables.scores(study, runs, "T2")
    assert scores.tolist() == [1, 0.5, 0.2] * 2 + [0.5, 0.5, 0] + [1, 0.5, 0.2] * 3
    assert tables.test_users(study, runs, "T2").tolist() == list(range(2, 20))
    assert tables.test_users(study, runs[1:2], "T2").tolist() == [5, 6, 7]
    positions = tables.test_users(study, runs[:1], "T1-all")  # users 2, 3, 4 have 3, 4, 1 items
    assert positions.tolist() == [2, 2, 3, 3, 3]
    assert tables.scores(study, runs, "T2-literal").sum() == 0
    few = tables.scores(study, study.runs(["FineSmax"])[:1], "T2", "HR@10")
    assert few.tolist() == [1, 1, 0]


def test_overall_pools_the_seeds_that_there_are():
    study = made_up(by_action, seeds=(1, 3))
    table = tables.overall(study, study.runs(["STL"]), ["T2", "T1"])
    hand = estimate(np.array([1, 0.5, 0.2, 0.5, 0.5, 0]), np.arange(6))
    row = table.iloc[0]
    assert (row["value"], row["low"], row["high"]) == pytest.approx(
        (hand.mean, hand.low, hand.high)
    )
    assert (row["n"], row["users"], row["seeds"], row["metric"]) == (6, 6, 2, "MRR@5")
    assert len(row["run_ids"].split()) == 2
    other = tables.overall(study, study.runs(["FineSmax"]), ["T2", "T4"], "HR@10")
    assert other["metric"].tolist() == ["HR@10", "accuracy"]
    assert other["value"].tolist() == pytest.approx([2 / 3, 0])


def test_a_paired_difference_by_hand():
    study = made_up(by_action)
    pair = (study.runs(["STL"]), study.runs(["SinMo"]))
    row = tables.compare(study, [pair], ["T2"]).iloc[0]
    difference = np.array([0.5, 0, 0.2] * 2 + [0, 0, 0] + [0.5, 0, 0.2] * 3)
    hand = estimate(difference, np.arange(18))
    assert (row["effect"], row["low"], row["high"], row["p"]) == pytest.approx(
        (hand.mean, hand.low, hand.high, hand.p)
    )
    of_seeds = [0.7 / 3] * 2 + [0] + [0.7 / 3] * 3
    reference = scipy_stats.ttest_1samp(of_seeds, 0)
    interval = reference.confidence_interval(0.95)
    assert row["p_seeds"] == pytest.approx(reference.pvalue)
    assert (row["seeds_low"], row["seeds_high"]) == pytest.approx((interval.low, interval.high))
    assert row["p_plain"] == pytest.approx(scipy_stats.ttest_1samp(difference, 0).pvalue)
    assert row["relative"] == pytest.approx(difference.mean() / (1 / 3))
    assert (row["n"], row["seeds"], row["clear"]) == (18, 6, True)
    seeds = tables.seed_effects(study, [pair], ["T2"])
    assert seeds["relative"].tolist() == pytest.approx([3 * x for x in of_seeds])
    assert seeds["seed"].tolist() == [*SEEDS]
    single = made_up(by_action, seeds=(1,))
    row = tables.compare(single, [(single.runs(["STL"]), single.runs(["SinMo"]))], ["T2"]).iloc[0]
    assert np.isnan(row["p_seeds"])
    assert not row["clear"]


def test_two_methods_need_the_same_seeds():
    study = made_up(by_action)
    with pytest.raises(ValueError, match=r"STL and SinMo: expected the same seeds"):
        tables.compare(study, [(study.runs(["STL"])[1:], study.runs(["SinMo"])[:-1])], ["T2"])


def test_one_method_against_the_mean_of_two():
    """Each instance counts twice, a user and a seed once."""
    study = made_up(by_action)
    stl, sinmo, none = (study.runs([name]) for name in ("STL", "SinMo", "FineSmax"))
    row = tables.mean_effect(study, [*stl, *stl], [*sinmo, *none], ["T2"])
    ours = 0.5 * (5 * 1.7 + 1) / 18 + 0.5 * (5 * 1.7 + 1) / 18
    assert row["effect"] == pytest.approx(ours / (0.5 / 3) - 1)
    assert (row["seeds"], row["n"]) == (6, 36)


def test_what_is_left_of_t1_is_compared_with_t1_before():
    study = made_up(by_action)
    stl = study.runs(["STL"])
    row = tables.mean_effect(study, stl, stl, ["T1-after"])
    assert row["effect"] == pytest.approx(0.5 / 3 - 1)


# --- against what was computed --------------------------------------------------------------------


def test_side_by_side_has_a_row_per_method_and_variant_and_the_floors_below(study):
    runs = [*study.runs(["STL", "MTL"]), *study.changed("again").runs(["STL"])]
    against = {"task": "T2", "theirs": "Popularity", "relative": 0.5}
    against = pd.DataFrame([against | {"relative_low": 0.25, "relative_high": 0.75}])
    wide = tables.side_by_side(tables.overall(study, runs), against)
    assert list(wide.index) == ["STL", "MTL", "STL (again)", "best network against Popularity"]
    assert wide.columns[1].startswith("T2 (MRR@5, n = ")
    assert wide.loc["MTL"].iloc[0] == ""  # it has no T1
    assert wide.iloc[-1].tolist() == ["", "+50.0% [+25.0%, +75.0%]", "", "", "", ""]
    with pytest.raises(KeyError, match="no run of 'SinMo', variant ''"):
        tables.pick(runs, "SinMo", "")


def test_means_over_tasks_are_means_of_relative_differences(study):
    pairs = [(study.runs([method]), study.runs(["SinMo"])) for method in ("STL", "PeterRec")]
    single = tables.compare(study, pairs)
    table = tables.compare_means(study, pairs, iter(["T2", "T4"]))
    np.testing.assert_allclose(table["p_holm"], holm(table["p"].to_numpy()))
    back = tables.compare(study, [pair[::-1] for pair in pairs])
    assert single["effect"].tolist() == pytest.approx((-back["effect"]).tolist())
    for row in table.itertuples():
        rows = single[(single["ours"] == row.ours) & single["task"].isin(["T2", "T4"])]
        assert row.effect == pytest.approx(rows["relative"].mean())
        assert (row.task, row.n, row.seeds) == ("T2 T4", rows["n"].sum(), 2)


def test_the_papers_differences_stand_beside_ours(study):
    table = tables.forest(study, [("STL", "SinMo"), ("Conure", "STL")], ["T2", "T6"])
    assert table["TTL"].tolist() == pytest.approx(
        [0.0172 / 0.0144 - 1, 0.6132 / 0.585 - 1, 0.0177 / 0.0172 - 1, 0.6185 / 0.6132 - 1]
    )
    assert table["ML"].isna().tolist() == [False, True, False, True]
    assert [len(tables.paper_table(n)) for n in range(1, 6)] == [9, 14, 4, 6, 4]


def test_clear_means_over_users_and_over_seeds():
    p_holm, p_seeds = [0.049, 0.05, 0.01, 0.01], [0.049, 0.01, 0.05, np.nan]
    assert [*map(tables.is_clear, p_holm, p_seeds)] == [True, False, False, False]


def test_curves_are_what_the_records_say(study):
    for run in study.runs(["SinMo", "Conure-"])[::2]:
        for task, rows in tables.curves([run]).groupby("task"):
            stage = run.stages[task]
            curve = pd.DataFrame(stage.record()["curve"])
            pd.testing.assert_frame_equal(rows[curve.columns].reset_index(drop=True), curve)
            profile = task in ("T4", "T5", "T6")
            assert set(rows["metric"]) == {"minus cross-entropy" if profile else "MRR@5"}
            best = tables.best_validation(stage)
            assert rows["of_best"].tolist() == [value / best for value in curve["validation"]]
            assert best == curve["validation"].iloc[1:].max()
            assert tables.epochs_until(stage, best) == curve["validation"].ge(best).idxmax()
            assert tables.epochs_until(stage, best + 9) == np.inf


# --- forgetting ----------------------------------------------------------------------------------


def test_capacity_and_no_forgetting_are_what_the_stages_recorded(study):
    shares = tables.capacity(study.run("Conure", 1)).set_index("owner")["share"]
    assert (shares.sum(), shares["T1"]) == pytest.approx((1, 0.3), abs=0.01)
    table = tables.no_forgetting(study.run("Conure", 1))
    assert table.groupby("task", sort=False).size().tolist() == [16, 13, 10, 7, 4, 1]
    assert table["changed"].tolist() == [False] * len(table)
    assert (table.groupby("task")["weights_sha256"].nunique() == 1).all()


def a_run(*memories):
    """Return a run whose stages hold these notes on T1: (weights, logits before, logits after)."""
    stages = []
    for number, (weights, before, after) in enumerate(memories):
        memory = {"metric": 0.5, "weights_sha256": weights, "logits_sha256": after}
        memory |= {} if before is None else {"logits_before_sha256": before}
        stages.append(
            SimpleNamespace(
                id=str(number),
                step=SimpleNamespace(task=f"T{number + 1}", action="retrain"),
                record=lambda memory=memory: {"notes": {"memory": {"T1": memory}}},
            )
        )
    last = SimpleNamespace(lineage=lambda: stages)
    return SimpleNamespace(stages={"T3": last}, seed=1, id="r")


@pytest.mark.parametrize(
    ("memories", "changed", "verdict"),
    [
        ("w-a waa waa", [False, False, False], "REPRODUCED"),
        ("w-a wbb wbb", [False, False, False], "REPRODUCED"),  # another processor, other logits
        ("w-a vaa waa", [False, True, False], "NOT REPRODUCED"),
        ("w-a wab wbb", [False, True, False], "NOT REPRODUCED"),
    ],
)
def test_forgetting_is_judged_by_weights_and_by_logits_of_one_process(memories, changed, verdict):
    run = a_run(*([None if x == "-" else x for x in one] for one in memories.split()))
    assert tables.no_forgetting(run)["changed"].tolist() == changed
    assert CLAIMS["C13"].decide(SimpleNamespace(runs=lambda methods: [run])).verdict == verdict
