"""The documents: links lead somewhere, names exist, numbers follow from committed results."""

import pydoc
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import ROOT, text_of

from conure_lib import paths
from conure_lib.analysis.claims import CLAIMS, HEADLINES
from conure_lib.analysis.stats import NAN
from conure_lib.cli.data import PLAN
from conure_lib.config import DataConfig
from conure_lib.data.registry import DATASETS, load
from conure_lib.study.profiles import REPORTED, study_config
from conure_lib.user_models.plan import Plan
from docs import readme_tables

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"```.*?```", re.DOTALL)
PRIVATE = r"\bworlds?\b|\bmend(s|ed)?\b|for want of|\ba (row|line) a\b|found and wanted"


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)


def anchor(heading: str) -> str:
    """What GitHub and MyST make of a heading: its place on the page."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def written_in(path: Path) -> str:
    """What is written in a document or in a notebook's cells, without code."""
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, 4).cells
        return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return FENCED.sub("", path.read_text(encoding="utf-8"))


def headings(path: Path) -> list[str]:
    return [anchor(title) for title in re.findall(r"(?m)^#+ (.+)$", written_in(path))]


@pytest.mark.parametrize("document", [*DOCUMENTS, *NOTEBOOKS], ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(document):
    for url in LINK.findall(written_in(document)):
        parts = urlsplit(url)
        if parts.scheme:
            continue
        target = (document.parent / unquote(parts.path)).resolve() if parts.path else document
        assert target.is_file(), f"{document.name}: {url}"
        assert target.is_relative_to(ROOT), f"{document.name}: {url} leaves the repository"
        if parts.fragment:
            assert unquote(parts.fragment) in headings(target), f"{document.name}: {url}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_are_in_plain_words_and_their_headings_differ(document):
    text = written_in(document).replace("One World", "")
    assert re.search(PRIVATE, text, re.IGNORECASE) is None
    found = headings(document)
    assert len(set(found)) == len(found) or document.name == "CHANGELOG.md"


def test_every_document_is_a_page_of_the_site():
    listed = set()
    for path in (ROOT / "docs").rglob("*.md"):
        trees = re.findall(r"```\{toctree\}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
        names = re.findall(r"(?m)^(?:\w+ <)?([./\w-]+)>?$", "".join(trees))
        listed |= {(path.parent / f"{name}.md").resolve() for name in names}
    assert listed == set(DOCUMENTS) - {ROOT / "docs/index.md"}
    pages = {path.stem for path in (ROOT / "docs/notebooks").glob("*.md")}
    assert pages == {"clean", *REPORTED}


def test_the_api_pages_cover_every_folder_of_the_library():
    listed = re.findall(r"(?m)^   conure_lib\.(\w+)$", text_of("docs/api.md"))
    found = {path.stem for path in (ROOT / "conure_lib").iterdir() if path.name[0] not in "_."}
    assert sorted(listed) == sorted(found)


def test_files_that_documents_name_exist():
    path = re.compile(r"`((?:conure_lib|tests|benchmarks|docs|results)/[\w./-]+\w)`")
    for document in DOCUMENTS:
        for name in path.findall(text_of(document.relative_to(ROOT))):
            if "local" not in name and name == name.lower() and document.name != "CHANGELOG.md":
                assert (ROOT / name).exists(), f"{document.name}: {name}"


def test_tables_of_the_documents_follow_from_committed_results(monkeypatch):
    monkeypatch.setattr(paths, "ROOT", ROOT)
    for name, texts in readme_tables.blocks().items():
        page = text_of(name)
        assert page == readme_tables.filled(page, texts), f"{name}: run make readme"


def test_blocks_are_replaced_and_markers_must_fit():
    page = "before\n<!-- a -->\nold\n<!-- /a -->\nbetween\n<!-- b c -->\n<!-- /b c -->\nafter\n"
    texts = {"a": r"new \1", "b c": None}
    assert readme_tables.filled(page, texts) == page.replace("old", r"new \1")
    for bad, named in (({"a": ""}, "'b c'"), (texts | {"d": ""}, "'d'")):
        with pytest.raises(readme_tables.MarkersError, match=named):
            readme_tables.filled(page, bad)


def test_findings_are_the_ledgers_and_notebooks_lead_to_what_ran(monkeypatch):
    beside = {"C01": {"the same elsewhere": "{} there".format}}
    monkeypatch.setattr(readme_tables, "BESIDE", beside)
    dials = {"row": ["relatedness 0", "relatedness 1"], "method": "Conure-", "seed": NAN}
    dials |= {"relative": [-0.25, 0.125], "low": -0.5, "high": 0.5, "clear": [True, False]}
    dials = pd.DataFrame(dials)
    rows = [("C01", "a", "REPRODUCED", -0.95, -0.97, -0.93, -0.979, 6, False)]
    rows += [("C01", "synthetic", "CANNOT TELL", NAN, NAN, NAN, -0.979, 2, False)]
    names = ["claim", "dataset", "verdict", "effect", "ci_low", "ci_high", "paper", "seeds"]
    ledger = pd.DataFrame(rows, columns=[*names, "by_construction"])
    ledger["effect_verdict"] = ledger["verdict"]
    _, _, first, second, *_, more, _, last = readme_tables.findings(ledger, dials).splitlines()
    assert first.endswith("(C01) | -95.0% [-97.0%, -93.0%], reproduced | cannot tell | -97.9% |")
    assert second == "| the same elsewhere | a there | synthetic there | |"
    assert "*On real data: yes; on the control: the data do not decide.*" in first
    assert last.endswith("Seeds: 6 of 6 on `a`, 2 of 6 on `synthetic`.")
    assert "*On generated streams: yes.*" in more
    assert "| -25.0% [-50.0%, +50.0%] where T2 is unrelated, +12.5% [-50.0%, +50.0%] where" in more
    table = readme_tables.notebooks(ledger)
    assert "✓? T1 is forgotten unprotected (C01)" in table
    assert "on `a`, `synthetic` in turn: ✓ reproduced" in table
    assert table.count("(notebooks/") == len(list(paths.NOTEBOOKS.glob("*.ipynb")))


def test_a_sentence_is_refused_once_the_verdicts_are_others(monkeypatch):
    monkeypatch.setattr(paths, "ROOT", ROOT)
    ledger = pd.read_csv(paths.claims(local=False)).query("profile == 'standard'")
    dials = pd.read_csv(paths.figures("standard", "synthetic", False) / "dials_transfer.csv")
    assert HEADLINES.keys() == readme_tables.FINDINGS.keys() == readme_tables.SENTENCES.keys()
    ledger.loc[ledger["claim"] == "C08", "effect_verdict"] = "NOT REPRODUCED"
    with pytest.raises(readme_tables.SentenceError, match=r"C08: written for REPRODUCED, CANNOT"):
        readme_tables.sentences(ledger, dials)


@pytest.mark.parametrize(
    ("real", "control", "said"),
    [
        (
            ["PARTLY", "REPRODUCED"],
            "REPRODUCED",
            "On real data: fully or in part; on the control: yes.",
        ),
        (["PARTLY", "NOT REPRODUCED"], "PARTLY", "it depends on the dataset; on the control: in"),
        (["CANNOT TELL"], "NOT REPRODUCED", "the data do not decide; on the control: no."),
        (["NOT REPRODUCED", "NOT TESTED"], "CANNOT TELL", "no (1 of 2 decide); on the con"),
    ],
)
def test_the_answer_to_a_question_is_what_the_verdicts_come_to(real, control, said):
    names = [*"abc"[: len(real)], "synthetic"]
    assert said in readme_tables.answer(
        pd.DataFrame({"dataset": names, "effect_verdict": [*real, control]})
    )


def test_every_step_of_the_paper_is_found_in_the_code():
    text = text_of("docs/reading-the-paper.md")
    names = set(re.findall(r"`([a-z_]+(?:\.\w+)+)`", text))
    assert len(names) > 60
    heads = ("", "conure_lib.")  # benchmarks lie beside the library
    assert [n for n in names if not any(pydoc.locate(head + n) for head in heads)] == []
    for what, numbers in (("Eq.", range(1, 5)), ("Table", range(1, 6)), ("Fig.", range(1, 8))):
        assert [n for n in numbers if not re.search(rf"(?m)^\| {what} {n}\b", text)] == [], what
    sections = dict.fromkeys(re.findall(r"(?m)^\| (\d(?:\.\d)?)\b", text))
    assert " ".join(sections) == "1 2 3.1 3.2 3.3 3.4 4 5 6.1 6.2 6.3 6.4 6.5 7"


def test_every_dataset_has_a_card_and_what_they_say_of_classes_and_users():
    text, stream = text_of("docs/data-cards.md"), load(DataConfig("complete-journey"))
    tasks = [stream[name].labels for name in ("T4", "T5", "T6")]
    largest = [np.bincount(labels).max() / len(labels) for labels in tasks]
    assert "{:.0%} (T4), {:.0%} (T5) and {:.0%} (T6) of the households".format(*largest) in text
    users = study_config("synthetic", "standard").data.options["n_users"]
    assert f"**Counts** of the study's stream ({users:,} users):" in text
    cards = re.findall(r"(?m)^## ([a-z][\w-]+)$", text)
    assert sorted(cards) == sorted(DATASETS)


def test_the_worked_examples_of_contributing_run(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", text_of("CONTRIBUTING.md"), re.DOTALL)
    assert len(blocks) == 5
    environment = {"PYTHONPATH": str(ROOT), "CONURE_ROOT": str(tmp_path), "PATH": ""}
    files = [tmp_path / f"example_{number}.py" for number in range(len(blocks))]
    for file, block in zip(files, blocks, strict=True):
        file.write_text(block, encoding="utf-8")
    each = "import runpy, sys\nfor file in sys.argv[1:]: runpy.run_path(file)"  # imports once
    done = run("-c", each, *map(str, files), env=environment)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    places = ["-d", str(tmp_path / "cache"), ".", str(tmp_path / "site")]
    done = run("-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", *places)
    assert done.returncode == 0, done.stderr[-3000:]
    front = (tmp_path / "site/docs/index.html").read_text(encoding="utf-8")
    assert all(f">{claim} " in front for claim in CLAIMS)
    outside = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://")
    for page in (tmp_path / "site").rglob("*.html"):
        assert outside.search(page.read_text(encoding="utf-8")) is None, page


def test_the_plan_is_the_same_in_readme_document_and_help():
    documents = (text_of(name) for name in ("README.md", "docs/your-own-data.md"))
    short, whole = (
        yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.S)[1]) for text in documents
    )
    indented = PLAN[PLAN.index("  events:") : PLAN.index("\n\nAppend")]
    assert whole == yaml.safe_load(textwrap.dedent(indented))
    assert short.items() <= whole.items()
    assert whole.keys() <= Plan.model_fields.keys()
