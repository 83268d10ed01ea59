"""Tables are what the stages say; comparisons against scipy and by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from conure_lib.analysis import tables
from conure_lib.analysis.claims import CLAIMS
from conure_lib.analysis.stats import estimate, holm
from conure_lib.methods import METHODS
from conure_lib.training.evaluation import metric_of, scores_of


def test_overall_is_the_mean_over_seeds(study):
    table, seeds = tables.overall(study, study.runs(METHODS)), study.config.seeds
    assert len(table) == 6 * len(METHODS) - 1  # MTL has no T1
    for row in table.itertuples():
        runs = [study.run(row.method, seed) for seed in seeds]
        kind = study.stream[row.task].kind
        values = [metric_of(kind, run.stages[row.task].ranks(row.task)) for run in runs]
        assert row.value == pytest.approx(np.mean(values))
        assert row.low <= row.value <= row.high
        assert row.run_ids.split() == [run.id for run in runs]
        assert tables.metric(runs[0], row.task) == pytest.approx(values[0])
        assert (row.variant, row.seeds) == ("", len(seeds))
    wide = tables.side_by_side(table)
    assert list(wide.index) == list(METHODS)
    assert wide.columns[1].startswith("T2 (MRR@5, n = ")
    assert wide.loc["MTL"].iloc[0] == ""


def test_variants_are_rows_of_their_own_and_measures_can_be_asked_for(study):
    runs = [*study.runs(["STL"]), *study.changed("again").runs(["STL", "SinMo"])]
    table = tables.overall(study, runs, ["T2", "T1-all"])
    keys = [("STL", ""), ("STL", "again"), ("SinMo", "again")]
    found = list(zip(table["method"], table["variant"], strict=True))
    assert found == [key for key in keys for _ in range(2)]
    assert table["task"].tolist() == ["T2", "T1-all"] * 3
    assert table["value"][:2].tolist() == table["value"][2:4].tolist()
    assert list(tables.side_by_side(table).index) == ["STL", "STL (again)", "SinMo (again)"]
    assert tables.pick(runs, "STL", "again") == runs[2:4]
    assert tables.pick(runs, "STL") == runs[:4]
    with pytest.raises(KeyError, match="no run of 'SinMo', variant ''"):
        tables.pick(runs, "SinMo", "")


def test_comparisons_by_hand(study):
    seeds = study.config.seeds
    pairs = [(study.runs([method]), study.runs(["SinMo"])) for method in ("STL", "MTL")]
    table = tables.compare(study, pairs)
    expected = [["STL", t] for t in study.order] + [["MTL", t] for t in study.order[1:]]
    assert table[["ours", "task"]].to_numpy().tolist() == expected
    np.testing.assert_allclose(table["p_holm"], holm(table["p"].to_numpy()))
    for row in table.itertuples():
        kind, users = study.stream[row.task].kind, tables.test_users(study.stream, row.task)
        runs = [[study.run(m, s).stages[row.task] for s in seeds] for m in (row.ours, row.theirs)]
        ours, theirs = (
            np.stack([scores_of(kind, stage.ranks(row.task)) for stage in stages])
            for stages in runs
        )
        difference, of_seeds = (ours - theirs).mean(0), (ours.mean(1), theirs.mean(1))
        hand = estimate(difference, users)
        assert (row.effect, row.low, row.high) == pytest.approx((hand.mean, hand.low, hand.high))
        relative = difference.mean() / theirs.mean() if theirs.any() else np.nan
        assert row.relative == pytest.approx(relative, nan_ok=True)
        if (difference != 0).any():
            assert row.p_plain == pytest.approx(scipy_stats.ttest_1samp(difference, 0).pvalue)
        else:
            assert (row.p, row.p_plain) == (1, 1)
        same = (of_seeds[0] == of_seeds[1]).all()
        p_seeds = 1 if same else scipy_stats.ttest_rel(*of_seeds).pvalue
        assert row.p_seeds == pytest.approx(p_seeds)
        assert row.clear == tables.is_clear(row.p_holm, row.p_seeds)
        assert (row.n, row.seeds, len(row.run_ids.split())) == (len(users), 2, 4)
    back = tables.compare(study, [(theirs, ours) for ours, theirs in pairs])
    assert table["effect"].tolist() == pytest.approx((-back["effect"]).tolist())
    assert table["p"].tolist() == pytest.approx(back["p"].tolist())


def test_comparisons_of_means_over_tasks(study):
    pairs = [(study.runs([method]), study.runs(["SinMo"])) for method in ("STL", "PeterRec")]
    single = tables.compare(study, pairs)
    table = tables.compare_means(study, pairs, iter(["T2", "T3"]))
    assert table["task"].tolist() == ["T2 T3"] * 2
    np.testing.assert_allclose(table["p_holm"], holm(table["p"].to_numpy()))
    for row in table.itertuples():
        rows = single[(single["ours"] == row.ours) & single["task"].isin(["T2", "T3"])]
        assert row.effect == pytest.approx(rows["relative"].mean())
        assert (row.n, row.seeds) == (rows["n"].sum(), 2)
        assert row.low <= row.effect <= row.high
    stl, sinmo = (
        np.array([[tables.metric(run, task) for task in ("T2", "T3")] for run in runs])
        for runs in pairs[0]
    )
    per_seed = ((stl - sinmo) / sinmo.mean(0)).mean(1)
    assert table["p_seeds"].iloc[0] == pytest.approx(scipy_stats.ttest_1samp(per_seed, 0).pvalue)


def test_clear_means_over_users_and_over_seeds():
    p_holm, p_seeds = [0.049, 0.05, 0.01, 0.01, 0.2], [0.049, 0.01, 0.05, np.nan, np.nan]
    found = map(tables.is_clear, p_holm, p_seeds)
    assert list(found) == [True, False, False, True, False]


def test_curves_are_what_the_records_say(study):
    for run in study.runs(["SinMo", "Conure-"]):
        for task, rows in tables.curves([run]).groupby("task"):
            stage = run.stages[task]
            curve = pd.DataFrame(stage.record()["curve"])
            pd.testing.assert_frame_equal(rows[curve.columns].reset_index(drop=True), curve)
            assert set(rows["stage_id"]) == {stage.id}
            assert set(rows["metric"]) == {"accuracy" if task in ("T4", "T5", "T6") else "MRR@5"}


def test_shares_of_the_backbone_add_up(study):
    shares = tables.capacity(study.run("Conure", 1)).set_index("owner")["share"]
    assert shares.sum() == pytest.approx(1)
    assert shares["T1"] == pytest.approx(0.3, abs=0.01)


def test_papers_tables_are_there():
    assert [len(tables.paper_table(n)) for n in range(1, 6)] == [9, 14, 4, 6, 4]


# --- forgetting ----------------------------------------------------------------------------------


def test_the_no_forgetting_table_covers_every_later_stage(study):
    table = tables.no_forgetting(study.run("Conure", 1))
    assert table.groupby("task", sort=False).size().tolist() == [16, 13, 10, 7, 4, 1]
    assert table["changed"].tolist() == [False] * len(table)
    assert (table.groupby("task")["weights_sha256"].nunique() == 1).all()
    assert (table.groupby("task")["metric"].nunique() == 1).all()


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
