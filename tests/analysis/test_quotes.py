"""README quotes what was measured and computed, and nothing else."""

import pytest

from conure_lib import paths
from conure_lib.analysis import readme_tables
from conure_lib.analysis.readme_tables import filled
from conure_lib.errors import ReadmeError

PAGE = "before\n<!-- a -->\nold\n<!-- /a -->\nbetween\n<!-- b c -->\n<!-- /b c -->\nafter\n"


def test_the_readme_quotes_the_committed_results(monkeypatch):
    monkeypatch.setattr(paths, "ROOT", readme_tables.README.parent)
    page = readme_tables.README.read_text(encoding="utf-8")
    assert page == filled(page, readme_tables.blocks()), "run: make readme"


def test_blocks_are_replaced_and_everything_else_stays(tmp_path):
    page = filled(PAGE, {"a": r"new \1", "b c": "two\nlines"})
    assert page == (
        "before\n<!-- a -->\nnew \\1\n<!-- /a -->\nbetween\n<!-- b c -->\ntwo\nlines\n<!-- /b c -->\nafter\n"
    )
    assert filled(page, {"a": r"new \1", "b c": "two\nlines"}) == page


@pytest.mark.parametrize("texts", [{"a": ""}, {"a": "", "b c": "", "d": ""}])
def test_markers_and_blocks_must_fit(texts):
    with pytest.raises(ReadmeError, match="'b c'" if len(texts) == 1 else "'d'"):
        filled(PAGE, texts)
