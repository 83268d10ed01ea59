"""The batch runner: parameters are checked, failures are named, copies hold no traces."""

import json

import nbformat
import pytest

from conure_lib import paths
from conure_lib.cli import main
from conure_lib.study import notebooks

PARAMETERS = {"DATASET": "synthetic", "PROFILE": "smoke", "SEEDS": None}


def write(folder, name, *sources, tagged=True):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    if tagged:
        cells[0].metadata["tags"] = ["parameters"]
    content = nbformat.v4.new_notebook(cells=cells)
    content.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(content, folder / name)
    return folder / name


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(paths, "NOTEBOOKS", folder)
    return folder


def test_every_notebook_takes_the_batch_runners_parameters():
    for notebook in notebooks.all_notebooks():
        assert notebooks.known_parameters(notebook, PARAMETERS) == PARAMETERS


def test_unknown_parameters_and_notebooks_are_refused_before_anything_runs(shelf, tmp_path):
    notebook = write(shelf, "10_a.ipynb", "A = 1", "assert False")
    with pytest.raises(
        notebooks.NotebookError, match=r"10_a\.ipynb has no parameter \['B'\]; it has \['A'\]"
    ):
        notebooks.run_all({"B": 2}, tmp_path / "out")
    with pytest.raises(
        notebooks.NotebookError, match=r"no notebook \['99_z'\]; there are \['10_a'\]"
    ):
        notebooks.run_all({"A": 2}, tmp_path / "out", ["99_z"])
    with pytest.raises(notebooks.NotebookError, match="no cell tagged 'parameters'"):
        notebooks.known_parameters(write(shelf, "11_b.ipynb", "x = 1", tagged=False), {"x": 1})
    assert notebook.exists()
    assert not (tmp_path / "out").exists()


def test_a_failure_is_named_and_does_not_stop_the_others(shelf, tmp_path):
    write(shelf, "10_bad.ipynb", "A = 1", "raise ValueError('the mend')")
    write(
        shelf, "11_killed.ipynb", "A = 1", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    write(shelf, "12_good.ipynb", "A = 1", "import sys\nprint(A)\nprint('noise', file=sys.stderr)")
    rows = notebooks.run_all({"A": 5}, tmp_path / "out")
    assert [row["notebook"] for row in rows] == ["10_bad", "11_killed", "12_good"]
    assert "the mend" in rows[0]["error"]
    assert rows[1]["error"]
    assert rows[2]["error"] == ""
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["12_good.ipynb"]
    text = (tmp_path / "out" / "12_good.ipynb").read_text()
    outputs = [o for cell in json.loads(text)["cells"] for o in cell["outputs"]]
    assert [o["text"] for o in outputs] == [["5\n"]]
    assert str(tmp_path) not in text


def test_two_runs_of_a_notebook_give_the_same_bytes(shelf, tmp_path):
    """papermill draws a new id for the cell with the parameters each time, pandas for each styled table."""
    styled = "import pandas as pd\npd.DataFrame({'a': [1]}).style.format(precision=2)"
    write(shelf, "10_a.ipynb", "A = 1", "print(A)", styled, styled + ".hide()", "object()")
    for name in ("one", "other"):
        assert [row["error"] for row in notebooks.run_all({"A": 5}, tmp_path / name)] == [""]
    one, other = ((tmp_path / name / "10_a.ipynb").read_text() for name in ("one", "other"))
    assert one == other
    assert one.count('id=\\"T_00000\\"') == one.count('id=\\"T_00001\\"') == 1
    assert "<object>" in one


def test_a_disk_that_takes_nothing_is_one_line_and_exit_code_1(root, capsys):
    (root / "artifacts").write_text("no folder")
    assert main(["study", "--dataset", "synthetic", "--profile", "smoke"]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"conure: {root / 'artifacts'}")
    assert "cannot be written" in error
    assert "\n" not in error


def test_refreshing_keeps_exactly_what_nbval_compares(shelf):
    notebook = write(
        shelf, "10_a.ipynb", "A = 1", "print('free')", f"# {notebooks.CHECKED}\nprint(A)"
    )
    notebooks.refresh(notebook)
    cells = nbformat.read(notebook, as_version=4).cells
    assert [bool(cell.outputs) for cell in cells] == [False, False, True]
    assert [cell.execution_count is not None for cell in cells] == [False, False, True]


def test_a_notebook_for_one_dataset_is_left_out_for_others(shelf, tmp_path):
    for name in ("10_a", "09_synthetic_truth"):
        write(shelf, f"{name}.ipynb", "DATASET = 'synthetic'")
    ran = {
        dataset: [
            row["notebook"] for row in notebooks.run_all({"DATASET": dataset}, tmp_path / dataset)
        ]
        for dataset in ("synthetic", "ml-100k")
    }
    assert ran == {"synthetic": ["09_synthetic_truth", "10_a"], "ml-100k": ["10_a"]}


def test_notebooks_for_one_dataset_exist():
    assert set(notebooks.ONLY_FOR) <= {notebook.stem for notebook in notebooks.all_notebooks()}
