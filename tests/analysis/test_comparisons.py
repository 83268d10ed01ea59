"""Comparisons of runs and learning curves, against scipy and by hand."""

import numpy as np
import pytest
from helpers import small_stream, small_study
from scipy import stats as scipy_stats

from conure_lib import paths
from conure_lib.analysis import tables
from conure_lib.analysis.stats import estimate, holm
from conure_lib.study.study import Study
from conure_lib.training.evaluation import scores_of

METHODS = ("SinMo", "STL", "MTL", "PeterRec", "Conure-")
SEEDS = (1, 2)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(paths, "ROOT", tmp_path_factory.mktemp("comparisons"))
    made = Study(small_study(seeds=SEEDS), small_stream())
    made.compute(made.runs(METHODS))
    yield made
    patch.undo()


def test_scores_are_averaged_over_seeds(study):
    runs = study.runs(["STL"])
    each = [scores_of("ranking", run.stages["T2"].ranks("T2")) for run in runs]
    np.testing.assert_allclose(tables.scores(study, runs, "T2"), np.mean(each, axis=0))
    assert tables.seed_scores(study, runs, "T2").shape == (
        2,
        len(tables.test_users(study.stream, "T2")),
    )


def test_comparisons_by_hand(study):
    pairs = [(study.runs([method]), study.runs(["SinMo"])) for method in ("STL", "MTL")]
    table = tables.compare(study, pairs)
    assert table[["ours", "task"]].to_numpy().tolist() == [
        *(["STL", task] for task in study.order),
        *(["MTL", task] for task in study.order[1:]),
    ]
    np.testing.assert_allclose(table["p_holm"], holm(table["p"].to_numpy()))
    for row in table.itertuples():
        kind, users = study.stream[row.task].kind, tables.test_users(study.stream, row.task)
        ours, theirs = (
            np.stack(
                [scores_of(kind, study.run(m, s).stages[row.task].ranks(row.task)) for s in SEEDS]
            )
            for m in (row.ours, row.theirs)
        )
        difference = (ours - theirs).mean(0)
        expected = estimate(difference, users)
        assert (row.effect, row.low, row.high) == pytest.approx(
            (expected.mean, expected.low, expected.high)
        )
        relative = difference.mean() / theirs.mean() if theirs.any() else float("nan")
        assert row.relative == pytest.approx(relative, nan_ok=True)
        assert row.relative_low <= row.relative <= row.relative_high or np.isnan(relative)
        if (difference != 0).any():
            assert row.p_plain == pytest.approx(scipy_stats.ttest_1samp(difference, 0).pvalue)
        else:
            assert (row.p, row.p_plain) == (1, 1)
        if (ours.mean(1) != theirs.mean(1)).any():
            assert row.p_seeds == pytest.approx(
                scipy_stats.ttest_rel(ours.mean(1), theirs.mean(1)).pvalue
            )
        else:
            assert row.p_seeds == 1
        assert row.clear == tables.is_clear(row.p_holm, row.p_seeds)
        assert (row.n, row.seeds, len(row.run_ids.split())) == (len(users), 2, 4)


def test_effects_of_single_seeds_average_to_the_effect(study):
    pairs = [(study.runs(["STL"]), study.runs(["SinMo"]))]
    seeds, table = tables.seed_effects(study, pairs), tables.compare(study, pairs)
    assert len(seeds) == len(SEEDS) * len(study.order)
    mean = seeds.groupby("task", sort=False)["relative"].mean()
    np.testing.assert_allclose(mean, table["relative"], atol=1e-6)


def test_comparisons_of_means_over_tasks(study):
    pairs = [(study.runs([method]), study.runs(["SinMo"])) for method in ("STL", "PeterRec")]
    single, table = (
        tables.compare(study, pairs),
        tables.compare_means(study, pairs, iter(["T2", "T3"])),
    )
    assert table["task"].tolist() == ["T2 T3"] * 2
    np.testing.assert_allclose(table["p_holm"], holm(table["p"].to_numpy()))
    for row in table.itertuples():
        parts = single[(single["ours"] == row.ours) & single["task"].isin(["T2", "T3"])]
        assert row.effect == pytest.approx(parts["relative"].mean())
        assert (row.n, row.seeds) == (parts["n"].sum(), 2)
        assert row.low <= row.effect <= row.high
    means = [
        [np.mean([tables.metric(study.run(m, s), t) for s in SEEDS]) for m in ("STL", "SinMo")]
        for t in ("T2", "T3")
    ]
    per_seed = [
        np.mean(
            [
                (tables.metric(study.run("STL", s), t) - tables.metric(study.run("SinMo", s), t))
                / reference
                for t, (_, reference) in zip(("T2", "T3"), means, strict=True)
            ]
        )
        for s in SEEDS
    ]
    assert table["p_seeds"].iloc[0] == pytest.approx(scipy_stats.ttest_1samp(per_seed, 0).pvalue)


@pytest.mark.parametrize(
    ("p_holm", "p_seeds", "clear"),
    [
        (0.049, 0.049, True),
        (0.05, 0.01, False),
        (0.01, 0.05, False),
        (0.01, float("nan"), True),
        (0.2, float("nan"), False),
    ],
)
def test_clear_means_over_users_and_over_seeds(p_holm, p_seeds, clear):
    assert tables.is_clear(p_holm, p_seeds) is clear


def test_curves_are_what_the_records_say(study):
    runs = study.runs(["SinMo", "Conure-"])
    table = tables.curves(runs)
    for run in runs:
        for task, stage in run.stages.items():
            curve = stage.record()["curve"]
            rows = table[
                (table["method"] == run.method)
                & (table["seed"] == run.seed)
                & (table["task"] == task)
            ]
            assert rows["epoch"].tolist() == [point["epoch"] for point in curve]
            assert rows["validation"].tolist() == [point["validation"] for point in curve]
            assert set(rows["stage_id"]) == {stage.id}
            assert set(rows["metric"]) == {"accuracy" if task in ("T4", "T5", "T6") else "MRR@5"}
