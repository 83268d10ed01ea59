"""One small study with every method and two seeds, computed once; and studies of made-up ranks."""

import numpy as np
import pytest
from helpers import small_stream, small_study

from conure_lib import paths
from conure_lib.data.stream import Task, TaskStream
from conure_lib.methods import METHODS
from conure_lib.pipeline import provenance
from conure_lib.pipeline.store import Stored
from conure_lib.study.study import Study
from conure_lib.training.evaluation import metric_name, metric_of

HERE = provenance.environment()
SEEDS = (1, 2, 3, 4, 5, 6)
KINDS = {"T1": "sequence", "T2": "ranking", "T3": "ranking", "T4": "classification"}


@pytest.fixture(scope="session")
def computed(tmp_path_factory):
    root = tmp_path_factory.mktemp("analysis")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", root)
        study = Study(small_study(seeds=(1, 2)), small_stream())
        study.compute(study.runs(METHODS))
    return study, root


@pytest.fixture
def study(computed, monkeypatch):
    """Give the computed study, with the root that its results are in."""
    monkeypatch.setattr(paths, "ROOT", computed[1])
    return computed[0]


class MadeUp:
    """A store whose results a rule makes up: (task, action, seed) -> ranks by measure, or more.

    Entries of other names than those of tasks belong to the record ("curve", "notes", ...).
    """

    def __init__(self, rule):
        self.rule = rule

    def read(self, stage_id):
        _, task, action, seed, _ = stage_id.split(".")
        found = self.rule(task, action, int(seed[1:]))
        ranks = {name: np.array(found[name], np.uint8) for name in found if name[:2] in KINDS}
        record = {"metrics": [], "curve": [], "capped": [], "notes": {}} | found
        for name, of_measure in ranks.items():
            kind = KINDS[name[:2]]
            row = {"measure": name, "metric": metric_name(kind), "n": len(of_measure)}
            record["metrics"].append(row | {"value": metric_of(kind, of_measure)})
        return Stored(record, HERE, ranks)


def made_up(rule, seeds=SEEDS, groups=None, tasks=("T1", "T2", "T4")):
    """A study of some tasks, of which user u has one instance, in block u; 0 to 4 items long.

    Seed s tests users 3s - 1 to 3s + 1.
    """
    users = np.arange(20)
    sequences = np.where(np.arange(5) < 4 - users[:, None] % 4, 0, users[:, None] + 1)
    every = [Task(t, KINDS[t], "toy", users, users, 20, users.astype(np.uint8)) for t in tasks]
    stream = TaskStream("toy", sequences, users, 20, tuple(every), groups=groups)
    return Study(small_study(seeds=seeds), stream, MadeUp(rule))


def positions(seed):
    """Return how many positions of T1 that stream tests with a seed."""
    return (5, 6, 3, 4)[(seed - 1) % 4]
