"""The batch runner: parameters are checked, failures are named, copies hold no traces."""

import json
import re
import subprocess

import nbformat
import papermill
import pytest

from conure_lib import paths
from conure_lib.errors import ConfigError
from conure_lib.study import notebooks
from conure_lib.study.profiles import PARAMETERS

SMOKE = {"DATASET": "synthetic", "PROFILE": "smoke", "SEEDS": None, "RESULTS": "local"}


def write(folder, name, *sources, tagged=True):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    if tagged:
        cells[0].metadata["tags"] = ["parameters"]
    content = nbformat.v4.new_notebook(cells=cells)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content.metadata["kernelspec"] = kernel
    nbformat.write(content, folder / name)
    return folder / name


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(paths, "NOTEBOOKS", folder)
    return folder


def test_every_notebook_takes_the_four_parameters():
    for notebook in notebooks.all_notebooks():
        assert set(papermill.inspect_notebook(str(notebook))) == set(PARAMETERS)
        notebooks.check_parameters(notebook, SMOKE)
    assert set(notebooks.ONLY_FOR) <= {notebook.stem for notebook in notebooks.all_notebooks()}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"SEEDS": 2}, "seeds: found 2, expected None or a list of distinct integers"),
        ({"SEEDS": "[1,2]"}, "seeds: found '\\[1,2\\]', expected None or a list"),
        ({"PROFILE": "huge"}, "profile: found 'huge', expected smoke or quick or standard"),
        ({"DATASET": "mars"}, "dataset of the profile standard: found 'mars', expected"),
        ({"RESULTS": "mine"}, "results: found 'mine', expected committed or local"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named(parameters, message):
    (notebook, *_) = notebooks.all_notebooks()
    with pytest.raises(ConfigError, match=rf"00_data\.ipynb: {message}"):
        notebooks.check_parameters(notebook, parameters)


def test_papermills_own_parameters_are_checked_in_the_kernel(shelf, root, python):
    """``papermill -p SEED 3`` only warns; the first call of the library refuses it."""
    call = (
        "from conure_lib.study.study import load_study\nload_study(DATASET, PROFILE, None, 'local')"
    )
    notebook = write(shelf, "10_a.ipynb", "DATASET, PROFILE = 'synthetic', 'smoke'", call)
    code = f"""
import papermill
for name in ("DATASET", "SEED"):
    try:
        papermill.execute_notebook({str(notebook)!r}, "out.ipynb", {{name: "synthetic"}})
        print(name, "ran")
    except Exception as error:
        print(str(error).splitlines()[-1])
"""
    done = subprocess.run(**python(code, root), capture_output=True, cwd=shelf)
    said = [line for line in done.stdout.splitlines() if line]
    expected = "found parameter SEED, expected DATASET, PROFILE, SEEDS, RESULTS"
    assert said == ["DATASET ran", f"ConfigError: {expected}"], done.stderr


def test_mistakes_are_refused_before_anything_runs(shelf, tmp_path):
    write(shelf, "10_a.ipynb", "A = 1", "assert False")
    for parameters, names, message in (
        ({"B": 2}, None, r"10_a\.ipynb: found parameter B, expected A"),
        ({"A": 2}, ["99_z"], r"notebooks: found '99_z', expected 10_a"),
    ):
        with pytest.raises(ConfigError, match=message):
            notebooks.run_all(parameters, tmp_path / "out", names)
    untagged = write(shelf, "11_b.ipynb", "x = 1", tagged=False)
    with pytest.raises(ConfigError, match="found no cell tagged 'parameters'"):
        notebooks.check_parameters(untagged, {"x": 1})
    assert not (tmp_path / "out").exists()


def test_a_failure_is_named_and_does_not_stop_the_others(shelf, tmp_path):
    write(shelf, "10_bad.ipynb", "A = 1", "raise ValueError('the reason')")
    killed = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    write(shelf, "11_killed.ipynb", "A = 1", killed)
    write(shelf, "12_good.ipynb", "A = 1", "import sys\nprint(A)\nprint('noise', file=sys.stderr)")
    rows = notebooks.run_all({"A": 5}, tmp_path / "out")
    assert [row["notebook"] for row in rows] == ["10_bad", "11_killed", "12_good"]
    assert [bool(row["error"]) for row in rows] == [True, True, False]
    assert "the reason" in rows[0]["error"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["12_good.ipynb"]
    text = (tmp_path / "out" / "12_good.ipynb").read_text()
    outputs = [o for cell in json.loads(text)["cells"] for o in cell["outputs"]]
    assert [o["text"] for o in outputs] == [["5\n"]]
    assert str(tmp_path) not in text


def test_two_runs_of_a_notebook_give_the_same_bytes(shelf, tmp_path):
    write(shelf, "10_a.ipynb", "A = 1", "print(A)", "object()")
    for name in ("one", "other"):
        assert [row["error"] for row in notebooks.run_all({"A": 5}, tmp_path / name)] == [""]
    one, other = ((tmp_path / name / "10_a.ipynb").read_text() for name in ("one", "other"))
    assert one == other
    assert "<object>" in one


def test_links_lead_on_from_an_executed_copy(shelf, tmp_path):
    shown = "from IPython.display import Markdown\nMarkdown('[b](../notebooks/10_a.ipynb)')"
    notebook = write(shelf, "10_a.ipynb", "A = 1", shown)
    content = nbformat.read(notebook, as_version=4)
    content.cells.append(nbformat.v4.new_markdown_cell("[a](../notebooks/10_a.ipynb)"))
    nbformat.write(content, notebook)
    notebooks.run_all({"A": 5}, folder := tmp_path / "results" / "standard")
    links = re.findall(r"\]\(([^)]+)\)", (folder / "10_a.ipynb").read_text())
    output, _, written = [(folder / link).resolve() for link in links]  # between them the code
    assert output == written == notebook


def test_refreshing_keeps_what_nbval_compares_and_what_is_to_be_seen(shelf):
    notebook = write(shelf, "10_a.ipynb", "A = 1", "print('free')", "print(A)", "print(2)")
    content = nbformat.read(notebook, as_version=4)
    for cell, tag in zip(content.cells[2:], notebooks.KEPT, strict=True):
        cell.metadata["tags"] = [tag]
    nbformat.write(content, notebook)
    notebooks.refresh(notebook)
    cells = nbformat.read(notebook, as_version=4).cells
    assert [bool(cell.outputs) for cell in cells] == [False, False, True, True]
    assert [cell.execution_count is not None for cell in cells] == [False, False, True, True]


def test_a_notebook_for_one_dataset_is_left_out_for_others(shelf, tmp_path):
    for name in ("10_a", "09_synthetic_truth"):
        write(shelf, f"{name}.ipynb", "DATASET = 'synthetic'")
    ran = {
        dataset: [row["notebook"] for row in notebooks.run_all({"DATASET": dataset}, tmp_path)]
        for dataset in ("synthetic", "ml-100k")
    }
    assert ran == {"synthetic": ["09_synthetic_truth", "10_a"], "ml-100k": ["10_a"]}
