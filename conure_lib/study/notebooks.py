"""Notebooks as products: batch execution by papermill, and clean copies for nbval."""

import contextlib
import os
import re
import time
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import papermill
from tqdm.auto import tqdm

from conure_lib import paths
from conure_lib.errors import ConfigError
from conure_lib.files import atomic_file
from conure_lib.study.experiments import APART
from conure_lib.study.profiles import demand_known
from conure_lib.study.study import Study

CHECKED = "nbval-check-output"  # the tag of cells whose outputs nbval compares
KEPT = {CHECKED, "keep-output"}  # tags of cells whose outputs stay in the clean notebook
WIDGET = "application/vnd.jupyter.widget-view+json"  # a progress bar
INJECTED = "injected-parameters"  # papermill's tag of the cell that it adds
ONLY_FOR = dict.fromkeys(("09_synthetic_truth", "12_growth"), "synthetic")
WITHOUT_DATASET = ("90_your_own_data", "91_how_it_works")
ONLY_FOR |= dict.fromkeys(WITHOUT_DATASET, "complete-journey")
"""Notebooks that argue with one dataset, or that need none and run once, with their defaults."""
NOT_FOR = {"05_task_orders": ("ml-25m", "ml-32m", "ml-latest-small")}  # whose last task is T3
NEEDS = {"09_synthetic_truth": ("dials",), "11_backbones": ("backbones",)}
NEEDS["12_growth"] = ("dials", "growth")
"""Experiments, of ``APART``, without which a notebook has nothing to show."""
COPIES = re.compile(r"(?m)^\*As it ran on\* .*$")  # the line of a notebook that links its copies


def all_notebooks() -> list[Path]:
    """Return the study's notebooks in the order of their numbers; raises ConfigError without."""
    if not (found := sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))):
        expected = "expected those of a checkout; run this there, or set CONURE_ROOT to one"
        raise ConfigError(f"{paths.NOTEBOOKS}: found no notebooks, {expected}")
    return found


def fitting(study: Study) -> list[str]:
    """Return the names of the notebooks whose experiments the study's settings do not leave out."""
    there = {name: bool(points(study)) for name, (points, _) in APART.items()}
    names = (notebook.stem for notebook in all_notebooks())
    return [name for name in names if all(there[one] for one in NEEDS.get(name, ()))]


def run_all(
    parameters: dict[str, Any], folder: Path, workers: int = 1, only: Container[str] = ()
) -> list[dict[str, Any]]:
    """Execute all notebooks but those of another dataset; a failure does not stop the others.

    parameters: the same for all; one that a notebook lacks is a ConfigError before anything runs.
    folder: where the executed copies go; the same results give the same files. workers: so many
    notebooks side by side, each in a process of its own (of which the folder is changed here).
    only: the names of those to execute, all unless given.
    """
    dataset = parameters.get("DATASET")
    chosen = [one for one in all_notebooks() if not only or one.stem in only]
    chosen = [one for one in chosen if ONLY_FOR.get(one.stem, dataset) == dataset]
    chosen = [one for one in chosen if dataset not in NOT_FOR.get(one.stem, ())]
    for notebook in chosen:
        known = papermill.inspect_notebook(str(notebook))
        for name in parameters:
            demand_known(f"{notebook.name}, parameter", name, known)
    folder.mkdir(parents=True, exist_ok=True)

    def run(notebook: Path) -> dict[str, Any]:
        started, error = time.time(), ""
        # ROOT may be another checkout than the library's: copies in it link what is there
        own = (paths.ROOT / "notebooks" / notebook.name).is_file()
        linked = paths.ROOT if own else notebook.parent.parent
        try:
            given = {} if notebook.stem in WITHOUT_DATASET else parameters
            _write(_executed(notebook, given), folder / notebook.name, linked)
        except Exception as failure:  # whatever happened in a kernel is this notebook's result
            error = (str(failure).strip() or repr(failure)).splitlines()[-1]
        seconds = round(time.time() - started, 1)
        return {"notebook": notebook.stem, "seconds": seconds, "error": error}

    with contextlib.chdir(paths.NOTEBOOKS.parent), ThreadPoolExecutor(workers) as pool:
        rows = pool.map(run, chosen)
        return list(tqdm(rows, "notebooks", len(chosen), unit="notebook"))


def refresh(notebook: Path) -> None:
    """Execute a notebook with its defaults; keep what nbval compares, main table and figure.

    Its first cell then links the published copies that there are.
    """
    with contextlib.chdir(notebook.parent.parent):
        content = _executed(notebook, {})
        copies = sorted(Path("results/standard").glob(f"*/notebooks/{notebook.name}"))
    links = ", ".join(f"[{copy.parent.parent.name}](../{copy.as_posix()})" for copy in copies)
    first = content.cells[0]
    first.source = COPIES.sub(f"*As it ran on* {links or 'no dataset yet'}.", first.source)
    for cell in content.cells:
        if cell.cell_type == "code" and not KEPT & {*cell.metadata.get("tags", ())}:
            cell.outputs, cell.execution_count = [], None
    kernel = content.metadata["kernelspec"]
    content.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    _write(content, notebook, notebook.parent.parent)


def _executed(notebook: Path, parameters: dict[str, Any]) -> nbformat.NotebookNode:
    """Execute a notebook; return it without times, progress, and papermill's marks."""
    quiet = {"progress_bar": False, "extra_arguments": ["--IPKernelApp.log_level=50"]}
    content = papermill.execute_notebook(str(notebook), None, parameters, **quiet)
    for part in (content, *content.cells):
        for key in ("papermill", "widgets", "execution"):
            part.metadata.pop(key, None)
    for cell in content.cells:
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
        elif INJECTED in cell.metadata["tags"]:
            cell.id = INJECTED
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
    return content


def _write(content: nbformat.NotebookNode, file: Path, linked: Path) -> None:
    """Write a notebook without addresses in memory, its links to ``../`` leading to ``linked``."""
    text = re.sub(r" at 0x[0-9a-f]+>", ">", nbformat.writes(content, indent=1))
    text = text.replace("](../", f"]({os.path.relpath(linked, file.parent)}/")
    with atomic_file(file) as part:
        part.write_text(text + "\n", encoding="utf-8")
