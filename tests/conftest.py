"""One thread, repeatable property tests, and a root of one's own for tests that write."""

import os
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from conure_lib import paths

REPOSITORY = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)
unchecked = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
repeatable = {"deadline": None, "derandomize": True, "database": None, "max_examples": 40}
settings.register_profile("repeatable", suppress_health_check=unchecked, **repeatable)
settings.load_profile("repeatable")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty folder to which all outputs go, those of processes started by the test too."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture(scope="module")
def shared_root(tmp_path_factory):
    """An empty folder to which all outputs of a module go that asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", folder := tmp_path_factory.mktemp("root"))
        yield folder


@pytest.fixture(scope="session")
def python():
    """Command and environment of a fresh interpreter that writes below ``root``."""

    def command(code: str, root: Path) -> dict:
        env = os.environ | environment(root)
        return {"args": [sys.executable, "-c", code], "env": env, "text": True}

    return command


def environment(root: Path) -> dict[str, str]:
    return {"CONURE_ROOT": str(root), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
