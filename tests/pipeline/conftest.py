"""The small study of all methods on three tasks, computed once as if from a clean checkout."""

import shutil

import pytest
from helpers import files_below, small_stream, small_study

from conure_lib import paths
from conure_lib.methods import METHODS
from conure_lib.pipeline import provenance
from conure_lib.study.study import Study


def clean_git(*arguments):
    return "c" * 40 if arguments[0] == "rev-parse" else ""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Its folder, computed serially without a break."""
    root = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", root)
        patch.setattr(provenance, "_git", clean_git)
        study = Study(small_study(), small_stream())
        study.compute([study.run(method, 1, ("T1", "T2", "T4")) for method in METHODS])
    return root


@pytest.fixture
def expected(undisturbed):
    return files_below(undisturbed / "artifacts" / "stages")


@pytest.fixture
def study(root, undisturbed, monkeypatch):
    """The same study in a copy of its folder, which the test may damage."""
    shutil.copytree(undisturbed, root, dirs_exist_ok=True)
    monkeypatch.setattr(provenance, "_git", clean_git)
    return Study(small_study(), small_stream())
