"""Synthetic data whose truth is known: each dial changes what it names, for few runs."""

from dataclasses import replace

import pytest
from helpers import small_study

from conure_lib.config import DataConfig
from conure_lib.errors import ConureError
from conure_lib.study.experiments import AGAINST_NOISE, EXPERIMENTS, all_runs, dial_runs, dials
from conure_lib.study.study import Study

NAMES = [f"relatedness {share}" for share in ("0", "0.25", "0.5", "0.75", "1")]
NAMES += ["contradiction", "noise"]


def test_each_dial_changes_what_it_names(root):
    study = Study(small_study())
    points = dials(study)
    assert list(points) == [point.variant for point in points.values()] == NAMES
    assert points["relatedness 1"].stream.digest() == study.stream.digest()
    assert len({point.stream.digest() for point in points.values()}) == len(NAMES)
    for name, point in points.items():
        assert point.store is study.store
        pairs = zip(study.stream.tasks, point.stream.tasks, strict=True)
        different = {a.name for a, b in pairs if a.labels.tolist() != b.labels.tolist()}
        expected = {"relatedness 1": set(), "noise": set(study.order)}.get(name, {"T3"})
        assert different == expected, name
    assert study.variant == ""
    assert "relatedness" not in study.config.data.options


def test_other_datasets_have_no_dials(root):
    study = Study(small_study())
    study.config = replace(study.config, data=DataConfig("complete-journey"))
    with pytest.raises(ConureError, match="relatedness"):
        dials(study)
    ((_, runs),) = all_runs(study)
    assert {run.id for run in runs} == all_experiments(study)


def all_experiments(study):
    return {run.id for experiment in EXPERIMENTS.values() for run in experiment(study)}


def test_each_dial_asks_for_few_runs(root):
    study = Study(small_study(seeds=(1, 2)))
    points = dials(study)
    runs = dial_runs(points)
    assert len(runs) == 2 * (6 * 3 + len(AGAINST_NOISE))
    for name in NAMES[:-1]:
        after = [run for run in runs if run.variant == f"T2 {name}"]
        before = [run for run in runs if run.variant == f"noT2 {name}"]
        assert [(run.method, *run.stages) for run in after] == [("Conure-", "T1", "T2", "T3")] * 2
        methods = ["Conure-", "Conure-", "Popularity", "Popularity"]
        assert [(run.method, *run.stages) for run in before] == [(m, "T1", "T3") for m in methods]
        assert [r.stages["T1"].id for r in after] == [r.stages["T1"].id for r in before[:2]]
        digests = {stage.stream_digest for run in after for stage in run.stages.values()}
        assert digests == {points[name].stream.digest()}
    noise = [run.method for run in runs if run.variant == "noise"]
    assert noise == [method for method in AGAINST_NOISE for _ in (1, 2)]
    (own, first), *rest = all_runs(study)
    assert own is study
    assert {run.id for run in first} == all_experiments(study)
    plain = [(run.method, run.seed) for run in first if not run.variant]
    assert len(plain) == len(set(plain))  # Conure is a baseline and a continual learner
    assert [run.id for _, found in rest for run in found] == [run.id for run in runs]
