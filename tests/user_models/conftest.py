"""The listening service of ``small_service`` with a model of it, made once for all tests here."""

import pytest
from small_service import write_service

from conure_lib import paths
from conure_lib.cli import main


@pytest.fixture(scope="session")
def trained_root(tmp_path_factory):
    """A root with the tables in ``mine`` and the model in artifacts/models/plan."""
    root = tmp_path_factory.mktemp("service")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", root)
        assert main(["run", "--tasks", str(write_service(root / "mine") / "plan.yaml")]) == 0
    return root


@pytest.fixture
def service(trained_root, monkeypatch):
    """The same root, where everything that the test runs finds and writes its results."""
    monkeypatch.setattr(paths, "ROOT", trained_root)
    return trained_root


@pytest.fixture
def model(service):
    """The folder of the trained model."""
    return service / "artifacts" / "models" / "plan"
