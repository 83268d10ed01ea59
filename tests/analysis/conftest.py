"""One small study with every method and two seeds, computed once for all tests of this folder."""

import pytest
from helpers import small_stream, small_study

from conure_lib import paths
from conure_lib.methods import METHODS
from conure_lib.study.study import Study


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
