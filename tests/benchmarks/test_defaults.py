"""The comparison of ``conure run``'s defaults with searched settings."""

from benchmarks.defaults import bare_plan
from conure_lib.study.study import load_study
from conure_lib.user_models.plan import TRAIN


def test_a_bare_plan_names_the_studys_tasks_and_sets_nothing() -> None:
    study = load_study("synthetic", "smoke", [1], "local")
    config = bare_plan(study).study_config(2)
    assert config.seeds == (2,)
    for task in study.stream.tasks:
        assert config.training(task.name) == TRAIN[task.kind]
