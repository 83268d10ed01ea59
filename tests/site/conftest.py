"""Two sites to test: a small one, and the whole one where make site-test has built it."""

import os
from pathlib import Path

import pytest
from small_report import fill

from conure_lib import paths, site

REAL = "CONURE_SITE"
"""Names the folder of the whole site; make site-test sets it."""


@pytest.fixture(scope="session")
def small_site(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("small")
    fill(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", root)
        return site.build().parent


@pytest.fixture(scope="session", params=["small", *(["real"] if os.environ.get(REAL) else [])])
def any_site(request, small_site) -> Path:
    """The small site; in make site-test the whole one as well."""
    return small_site if request.param == "small" else Path(os.environ[REAL])
