"""Tables are what the stages say, figures are drawn from tables."""

import numpy as np
import pandas as pd
import pytest
from helpers import small_stream, small_study
from matplotlib import pyplot as plt

from conure_lib import figures, paths
from conure_lib.analysis import tables
from conure_lib.analysis.render import write_tables
from conure_lib.methods import METHODS
from conure_lib.study.study import Study
from conure_lib.training.evaluation import metric_of

SEEDS = (1, 2)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(paths, "ROOT", tmp_path_factory.mktemp("report"))
    made = Study(small_study(seeds=SEEDS), small_stream())
    made.compute(made.runs(METHODS))
    yield made
    patch.undo()


def test_overall_is_the_mean_over_seeds(study):
    table = tables.overall(study, study.runs(METHODS))
    assert len(table) == 6 * len(METHODS) - 1  # MTL has no T1
    for row in table.itertuples():
        runs = [study.run(row.method, seed) for seed in SEEDS]
        kind = study.stream[row.task].kind
        values = [metric_of(kind, run.stages[row.task].ranks(row.task)) for run in runs]
        assert row.value == pytest.approx(np.mean(values))
        assert row.low <= row.value <= row.high
        assert row.run_ids.split() == [run.id for run in runs]
        assert tables.metric(runs[0], row.task) == pytest.approx(values[0])
        assert (row.variant, row.seeds) == ("", len(SEEDS))
    wide = tables.side_by_side(table)
    assert list(wide.index) == list(METHODS)
    assert list(wide.columns)[1].startswith("T2 (MRR@5, n = ")
    assert wide.loc["MTL"].iloc[0] == ""


def test_variants_are_rows_of_their_own_and_measures_can_be_asked_for(study):
    runs = [*study.runs(["STL"]), *study.changed("again").runs(["STL", "SinMo"])]
    table = tables.overall(study, runs, ["T2", "T1-all"])
    keys = [("STL", ""), ("STL", "again"), ("SinMo", "again")]
    assert list(zip(table["method"], table["variant"], strict=True)) == [
        key for key in keys for _ in range(2)
    ]
    assert table["task"].tolist() == ["T2", "T1-all"] * 3
    assert table["value"][:2].tolist() == table["value"][2:4].tolist()
    assert list(tables.side_by_side(table).index) == ["STL", "STL (again)", "SinMo (again)"]
    assert tables.pick(runs, "STL", "again") == runs[2:4]
    assert tables.pick(runs, "STL") == runs[:4]
    with pytest.raises(KeyError, match="no run of 'SinMo', variant ''"):
        tables.pick(runs, "SinMo", "")


def test_paired_comparisons_turn_around(study):
    ours, theirs = (tables.pick(study.runs(METHODS), method) for method in ("Conure", "STL"))
    there, back = tables.compare(study, [(ours, theirs)]), tables.compare(study, [(theirs, ours)])
    assert there["task"].tolist() == list(study.order)
    assert set(zip(there["ours"], there["theirs"], strict=True)) == {("Conure", "STL")}
    assert there["effect"].tolist() == pytest.approx((-back["effect"]).tolist())
    assert there["p"].tolist() == pytest.approx(back["p"].tolist())
    assert (there["p_holm"] >= there["p"]).all()


def test_the_no_forgetting_table_covers_every_later_stage(study):
    table = tables.no_forgetting(study.run("Conure", 1))
    assert table.groupby("task", sort=False).size().tolist() == [16, 13, 10, 7, 4, 1]
    assert (table.groupby("task")["logits_sha256"].nunique() == 1).all()
    assert (table.groupby("task")["metric"].nunique() == 1).all()


def test_shares_of_the_backbone_add_up(study):
    shares = tables.capacity(study.run("Conure", 1)).set_index("owner")["share"]
    assert shares.sum() == pytest.approx(1)
    assert shares["T1"] == pytest.approx(0.3, abs=0.01)


def test_variants_stay_out_of_the_overall_table(study):
    plain, changed = study.runs(METHODS), study.changed("again").runs(["STL", "Conure"])
    written = [
        {path.stem: pd.read_csv(path) for path in write_tables(study, runs)}
        for runs in (plain, [*plain, *changed])
    ]
    for name in ("overall", "no_forgetting"):
        pd.testing.assert_frame_equal(written[0][name], written[1][name])
    assert set(written[1]["metrics"]["variant"].dropna()) == {"again"}


def test_written_tables_and_figures(study):
    runs = study.runs(METHODS)
    written = {path.stem: pd.read_csv(path) for path in write_tables(study, runs)}
    assert set(written) == {"metrics", "overall", "no_forgetting"}
    assert {"run_id", "stage_id", "commit", "seed", "value", "n"} <= set(written["metrics"])
    assert set(written["no_forgetting"]["seed"]) == set(SEEDS)
    notes = study.run("STL", 1).stages["T2"].record()["notes"]["forgetting"]
    curve = pd.DataFrame({"seed": 1, "epoch": [0, 1, 2], "value": notes["metric_by_epoch"]})
    memory = tables.no_forgetting(runs[-1])
    drawn = {
        "data": lambda: figures.draw_data(study.stream),
        "fig2": lambda: figures.draw_forgetting(notes),
        "curve": lambda: (figures.draw_forgetting_curve(curve, curve, 0.01), curve),
        "overall": lambda: (figures.draw_overall(written["overall"]), written["overall"]),
        "memory": lambda: (figures.draw_no_forgetting(memory), memory),
    }
    for name, draw in drawn.items():
        twice = []
        for _ in range(2):
            figure, data = draw()
            png = figures.save_figure(figure, study, name, data)
            twice.append(
                [png.with_suffix(suffix).read_bytes() for suffix in (".png", ".pdf", ".csv")]
            )
            plt.close(figure)
        assert twice[0] == twice[1], name
    assert set(figures.METHOD_COLORS) == set(METHODS)
    assert len(set(figures.METHOD_COLORS.values())) == len(METHODS)


def test_papers_tables_are_there():
    assert [len(tables.paper_table(n)) for n in range(1, 6)] == [9, 14, 4, 6, 4]
    with pytest.raises(FileNotFoundError, match="table9"):
        tables.paper_table(9)
