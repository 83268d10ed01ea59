"""One small study with every method and two seeds, computed once for all tests of this folder."""

import pytest
from helpers import small_stream, small_study

from conure_lib import paths
from conure_lib.methods import METHODS
from conure_lib.study.study import Study

SEEDS = (1, 2)


@pytest.fixture(scope="session")
def computed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", tmp_path_factory.mktemp("analysis"))
        study = Study(small_study(seeds=SEEDS), small_stream())
        study.compute(study.runs(METHODS))
        yield study


@pytest.fixture
def study(computed, monkeypatch):
    """Give the computed study, with the root that its results are in."""
    monkeypatch.setattr(paths, "ROOT", paths.ROOT)
    return computed
