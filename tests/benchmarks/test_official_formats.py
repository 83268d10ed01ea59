"""Generated data in the official formats goes the way of the real files."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.official_formats import WRITERS
from conure_lib.analysis.render import render
from conure_lib.config import ModelConfig
from conure_lib.data.registry import load
from conure_lib.data.stream import PAD
from conure_lib.study import experiments
from conure_lib.study.profiles import study_config
from conure_lib.study.study import Study


@pytest.fixture(params=WRITERS)
def read(request, root):
    """The paper's settings, what was written, and what is read: in the folder of downloads."""
    written = WRITERS[request.param](root / "artifacts" / "downloads" / request.param, 1e-4)
    config = study_config(request.param, "paper")
    return config, written, load(config.data)


def test_what_is_read_is_what_was_generated(read):
    _, written, stream = read
    assert (stream.n_users, stream.split) == (written.n_users, "80/5/15")
    known = [(one.sequences != PAD).sum() for one in (written, stream)]
    assert known[0] * 0.6 < known[1] <= known[0]  # a movie is rated once
    for task in stream.tasks[1:]:
        before = written[task.name]
        assert len(before.labels) * 0.7 < len(task.labels) <= len(before.labels)
    if stream.name == "ttl":
        assert [task.name for task in stream.tasks] == [task.name for task in written.tasks]
        np.testing.assert_array_equal(stream.sequences != PAD, written.sequences != PAD)


@pytest.mark.parametrize("read", ["ml-25m"], indirect=True)
def test_every_experiment_runs_on_it_under_the_papers_settings_made_small(read):
    config, _, stream = read
    small = {"epochs": 1, "patience": 1}
    train = {task: replace(one, **small) for task, one in config.train.items()}
    model = ModelConfig(4, (*config.model.dilations[:2], 16))
    study = Study(replace(config, train=train, model=model), stream)
    ((_, runs),) = experiments.all_runs(study)
    study.compute(runs)
    names = {file.stem for file in render(study)}
    assert {"metrics", "overall", "claims"} <= names
