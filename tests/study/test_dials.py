"""Worlds whose truth is known: each dial moves what it names, and the command computes and writes them all."""

from dataclasses import replace

import pandas as pd
import pytest
from helpers import small_study

from conure_lib import cli, paths
from conure_lib.config import DataConfig
from conure_lib.errors import DataError
from conure_lib.study.experiments import AGAINST_NOISE, dial_runs, dials
from conure_lib.study.study import Study

WORLDS = [f"relatedness {share}" for share in ("0", "0.25", "0.5", "0.75", "1")] + [
    "contradiction",
    "noise",
]


def same(task, other):
    return len(task.labels) == len(other.labels) and bool((task.labels == other.labels).all())


def test_each_world_differs_in_what_its_dial_names(root):
    study = Study(small_study())
    points = dials(study)
    assert list(points) == WORLDS
    assert [point.variant for point in points.values()] == WORLDS
    assert points["relatedness 1"].stream.digest() == study.stream.digest()
    assert len({point.stream.digest() for point in points.values()}) == len(WORLDS)
    for name, point in points.items():
        differing = {t.name for t in study.stream.tasks if not same(t, point.stream[t.name])}
        expected = set() if name == "relatedness 1" else {"T3"}
        assert differing == (expected if name != "noise" else set(study.order)), name
    assert study.variant == ""
    assert "relatedness" not in study.config.data.options


def test_other_datasets_have_no_dials(root):
    study = Study(small_study())
    study.config = replace(study.config, data=DataConfig("complete-journey"))
    with pytest.raises(DataError, match="complete-journey has no option 'relatedness'"):
        dials(study)


def test_each_world_asks_for_few_runs(root):
    points = dials(Study(small_study(seeds=(1, 2))))
    runs = dial_runs(points)
    assert len(runs) == 2 * (6 * 3 + len(AGAINST_NOISE))
    learned = [run for run in runs if run.method != "Popularity"]
    assert len({run.id for run in learned}) == len(learned)
    for name in WORLDS[:-1]:
        one = points[name]
        after, right_after = (
            [run for run in learned if run.variant == f"{history} {name}"]
            for history in ("T2", "noT2")
        )
        assert [list(run.stages) for run in after + right_after] == 2 * [["T1", "T2", "T3"]] + 2 * [
            ["T1", "T3"]
        ]
        assert [run.stages["T1"].id for run in after] == [
            run.stages["T1"].id for run in right_after
        ]
        assert {stage.stream_digest for run in after for stage in run.stages.values()} == {
            one.stream.digest()
        }
        popularity = [
            run for run in runs if run.variant == f"noT2 {name}" and run not in right_after
        ]
        assert [run.method for run in popularity] == ["Popularity"] * 2
        assert {run.id for run in dial_runs({name: one})} == {
            run.id for run in after + right_after + popularity
        }
    assert [run.method for run in runs if run.variant == "noise"] == [
        m for m in AGAINST_NOISE for _ in (1, 2)
    ]


def test_the_command_computes_and_writes_every_world(root, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(cli.studies, "study_config", lambda *_: small_study())
    monkeypatch.setattr(
        cli.studies, "EXPERIMENTS", {"popularity": lambda study: study.runs(["Popularity"])}
    )
    monkeypatch.setattr(cli.studies, "write_tables", lambda study, runs: [])
    monkeypatch.setattr(
        cli.studies, "run_all", lambda parameters, folder: asked.append(parameters) or []
    )
    command = ["--dataset", "synthetic", "--profile", "smoke"]
    assert cli.main(["figures", *command]) == 2
    assert cli.main(["study", *command]) == 0
    table = pd.read_csv(paths.results("smoke", "synthetic", local=True) / "dials.csv")
    variants = [f"{history} {world}" for history in ("T2", "noT2") for world in WORLDS[:-1]]
    assert set(table["variant"]) == {*variants, "noise"}
    assert set(table["run_id"]) == {run.id for run in dial_runs(dials(Study(small_study())))}
    assert "dials.csv" in capsys.readouterr().out
    assert cli.main(["figures", *command]) == 0
    assert len(asked) == 2
