"""The batch runner: parameters are checked, failures are named, copies hold no traces."""

import re

import nbformat
import papermill
import pytest
from helpers import refused

from conure_lib import paths
from conure_lib.errors import ConfigError
from conure_lib.study import notebooks
from conure_lib.study.experiments import APART
from conure_lib.study.study import load_study


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Write notebooks into a folder of the test's own, cell by cell."""
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    paths.NOTEBOOKS.mkdir()

    def write(name, *sources, tags=("parameters",), markdown=None):
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        for cell, tag in zip(cells, tags, strict=False):
            cell.metadata |= {"tags": [tag]} if tag else {}
        cells += [nbformat.v4.new_markdown_cell(markdown)] if markdown else []
        content = nbformat.v4.new_notebook(cells=cells)
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        content.metadata["kernelspec"] = kernel
        nbformat.write(content, file := paths.NOTEBOOKS / f"{name}.ipynb")
        return file

    return write


def test_notebooks_without_their_experiment_are_left_out():
    every = {notebook.stem for notebook in notebooks.all_notebooks()}
    assert notebooks.ONLY_FOR.keys() <= every
    smoke = load_study("synthetic", "smoke", None, "local")
    assert set(notebooks.fitting(smoke)) == every
    assert {name for names in notebooks.NEEDS.values() for name in names} == set(APART)
    no_dials = smoke.changed("", points={**smoke.config.points, "dials": ()})
    assert every - set(notebooks.fitting(no_dials)) == {"09_synthetic_truth", "12_growth"}
    no_few = smoke.changed("", few_seeds=())
    assert every - set(notebooks.fitting(no_few)) == {"11_backbones", "12_growth"}


def test_papermills_own_parameters_are_checked_in_the_kernel(shelf, root):
    """``papermill -p SEED 3`` only warns; the first call of the library refuses it."""
    call = "from conure_lib.study.study import load_study\n"
    call += "load_study(DATASET, PROFILE, None, 'local')"
    notebook = shelf("10_a", "DATASET, PROFILE = 'synthetic', 'smoke'", call)
    said = "ConfigError: parameter: found 'SEED', expected DATASET or PROFILE or SEEDS or RESULTS"
    with pytest.raises(papermill.PapermillExecutionError, match=said):
        papermill.execute_notebook(str(notebook), None, {"DATASET": "synthetic", "SEED": 3})


def test_an_unknown_parameter_is_refused_before_anything_runs(shelf, tmp_path):
    shelf("10_a", "A = 1\nB = 2", "assert False")
    shelf("11_b", "A = 1")
    with refused(ConfigError, "11_b.ipynb, parameter: found 'B', expected A"):
        notebooks.run_all({"A": 1, "B": 2}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failure_is_named_and_copies_that_hold_no_traces_are_the_same(shelf, tmp_path):
    shelf("09_synthetic_truth", "A = 1")  # for another dataset
    shelf("10_bad", "A = 1", "raise ValueError('the reason')")
    shelf("11_killed", "A = 1", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    shelf("12_good", "A = 1", "import sys\nprint(A)\nprint('noise', file=sys.stderr)", "object()")
    rows = notebooks.run_all({"A": 5}, tmp_path / "one")
    assert [row["notebook"] for row in rows] == ["10_bad", "11_killed", "12_good"]
    assert [bool(row["error"]) for row in rows] == [True, True, False]
    assert "the reason" in rows[0]["error"]
    assert [file.name for file in (tmp_path / "one").iterdir()] == ["12_good.ipynb"]
    text = (tmp_path / "one/12_good.ipynb").read_text(encoding="utf-8")
    outputs = [o for cell in nbformat.reads(text, 4).cells for o in cell.outputs]
    assert [o.get("text") or o["data"]["text/plain"] for o in outputs] == ["5\n", "<object>"]
    assert str(tmp_path) not in text
    for name in ("10_bad", "11_killed"):
        (paths.NOTEBOOKS / f"{name}.ipynb").unlink()
    shelf("13_beside_it", "A = 1", "print(A)")
    rows = notebooks.run_all({"A": 5}, tmp_path / "other", workers=2)
    assert [row["notebook"] for row in rows] == ["12_good", "13_beside_it"]
    assert (tmp_path / "other/12_good.ipynb").read_text(encoding="utf-8") == text


def test_a_notebook_for_one_dataset_is_left_out_for_others(shelf, tmp_path):
    shelf("09_synthetic_truth", "DATASET = 'synthetic'")
    shelf("05_task_orders", "DATASET = 'synthetic'")
    assert notebooks.run_all({"DATASET": "ml-25m"}, tmp_path / "out") == []
    (paths.NOTEBOOKS / "05_task_orders.ipynb").unlink()
    (row,) = notebooks.run_all({"DATASET": "synthetic"}, tmp_path / "out")
    assert (row["notebook"], row["error"]) == ("09_synthetic_truth", "")


def test_links_lead_on_from_an_executed_copy(shelf, tmp_path):
    shown = "from IPython.display import Markdown\nMarkdown('[b](../notebooks/10_a.ipynb)')"
    shelf("10_a", "A = 1", shown, markdown="[a](../notebooks/10_a.ipynb)")
    notebooks.run_all({"A": 5}, folder := tmp_path / "results" / "standard")
    links = re.findall(r"\]\(([^)]+)\)", (folder / "10_a.ipynb").read_text())
    assert [(folder / link).resolve() for link in links] == [paths.NOTEBOOKS / "10_a.ipynb"] * 3


def test_links_stay_within_the_checkout_that_a_notebook_is_written_to(shelf, root, monkeypatch):
    """The library may be another checkout's; the test's own checkout is below ROOT."""
    notebook = shelf("10_a", "A = 1", markdown="[a](../README.md)")
    monkeypatch.setattr(paths, "NOTEBOOKS", root / "another" / "notebooks")
    notebooks.refresh(notebook)
    assert "[a](../README.md)" in notebook.read_text(encoding="utf-8")
    other = root / "another" / "notebooks" / "10_a.ipynb"
    other.parent.mkdir(parents=True)
    other.write_bytes(notebook.read_bytes())
    notebooks.run_all({"A": 5}, folder := root / "results" / "local" / "notebooks")
    assert "[a](../../../README.md)" in (folder / "10_a.ipynb").read_text(encoding="utf-8")


def test_refreshing_links_the_published_copies(shelf, tmp_path):
    notebook = shelf("10_a", "A = 1", markdown="*As it ran on* [gone](../results/gone.ipynb).")
    content = nbformat.read(notebook, 4)
    content.cells.reverse()
    nbformat.write(content, notebook)
    notebooks.refresh(notebook)
    assert nbformat.read(notebook, 4).cells[0].source == "*As it ran on* no dataset yet."
    (copy := tmp_path / "results/standard/ml-100k/notebooks/10_a.ipynb").parent.mkdir(parents=True)
    copy.touch()
    notebooks.refresh(notebook)
    linked = "*As it ran on* [ml-100k](../results/standard/ml-100k/notebooks/10_a.ipynb)."
    assert nbformat.read(notebook, 4).cells[0].source == linked


def test_refreshing_keeps_what_nbval_compares_and_what_is_to_be_seen(shelf):
    sources = ("A = 1", "print('free')", "print(A)", "print(2)")
    notebook = shelf("10_a", *sources, tags=["parameters", "", *notebooks.KEPT])
    before = nbformat.read(notebook, 4).cells
    notebooks.refresh(notebook)
    cells = nbformat.read(notebook, 4).cells
    assert [cell.metadata for cell in cells] == [cell.metadata for cell in before]
    assert [cell.id for cell in cells] == [cell.id for cell in before]
    assert [bool(cell.outputs) for cell in cells] == [False, False, True, True]
    assert [cell.execution_count is not None for cell in cells] == [False, False, True, True]
