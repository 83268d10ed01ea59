"""Notebooks as products: batch execution by papermill, and clean copies for nbval."""

import os
import re
import time
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbconvert.preprocessors import ExecutePreprocessor
from tqdm.auto import tqdm

from conure_lib import paths
from conure_lib.errors import ConfigError
from conure_lib.files import atomic_file
from conure_lib.study.profiles import RESULTS, demand_known, demand_names, study_config

CHECKED = "nbval-check-output"  # the tag of cells whose outputs nbval compares
KEPT = {CHECKED, "keep-output"}  # tags of cells whose outputs stay in the clean notebook
WIDGET = "application/vnd.jupyter.widget-view+json"  # a progress bar
MARKDOWN = "text/markdown"
INJECTED = "injected-parameters"  # papermill's tag of the cell that it adds
TIMEOUT_S = 3600
ONLY_FOR = {"09_synthetic_truth": "synthetic", "90_your_own_data": "complete-journey"}
"""Notebooks that argue with one dataset, or that need none and run once."""


def all_notebooks() -> list[Path]:
    """Return the study's notebooks in the order of their numbers; raises ConfigError without."""
    if not (found := sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))):
        expected = "expected those of a checkout; run this there, or set CONURE_ROOT to one"
        raise ConfigError(f"{paths.NOTEBOOKS}: found no notebooks, {expected}")
    return found


def check_parameters(notebook: Path, parameters: dict[str, Any]) -> None:
    """Raise ConfigError, in one line, for parameters that the notebook does not take."""
    declared = papermill.inspect_notebook(str(notebook))
    if not declared:
        raise ConfigError(f"{notebook.name}: found no cell tagged 'parameters', expected one")
    given = {"DATASET": "complete-journey", "PROFILE": "standard"} | parameters
    try:
        demand_names(parameters, declared)
        demand_known("results", given.get("RESULTS", "local"), RESULTS)
        study_config(given["DATASET"], given["PROFILE"], given.get("SEEDS"))
    except ConfigError as error:
        raise ConfigError(f"{notebook.name}: {error}") from error


def run_all(
    parameters: dict[str, Any], folder: Path, names: list[str] | None = None
) -> list[dict[str, Any]]:
    """Execute notebooks one after the other; a failure does not stop the others.

    Parameters
    ----------
    parameters : dict
        The same for all; a mistake is a ConfigError before anything runs.
    folder : Path
        Where the executed copies go; the same results give the same files.
    names : list of str, optional
        Without suffix; all unless given, but for those of another dataset.
    """
    known = {notebook.stem: notebook for notebook in all_notebooks()}
    if unknown := sorted(set(names or ()) - set(known)):
        raise ConfigError(f"notebooks: found {unknown[0]!r}, expected {', '.join(known)}")
    dataset = parameters.get("DATASET")
    chosen = [known[n] for n in names or known if ONLY_FOR.get(n, dataset) == dataset]
    for notebook in chosen:
        check_parameters(notebook, parameters)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for notebook in (bar := tqdm(chosen, desc="notebooks", unit="notebook")):
        bar.set_postfix_str(notebook.stem)
        started, error = time.time(), ""
        try:
            with atomic_file(folder / notebook.name) as part:
                options = {"cwd": str(paths.NOTEBOOKS.parent), "progress_bar": False}
                papermill.execute_notebook(str(notebook), str(part), parameters, **options)
                _clean(part, folder)
        except Exception as failure:  # whatever happened in a kernel is this notebook's result
            error = (str(failure).strip() or repr(failure)).splitlines()[-1]
        seconds = round(time.time() - started, 1)
        rows.append({"notebook": notebook.stem, "seconds": seconds, "error": error})
    return rows


def refresh(notebook: Path) -> None:
    """Execute a notebook with its defaults; keep what nbval compares, main table and figure."""
    content = nbformat.read(notebook, as_version=4)
    executor = ExecutePreprocessor(timeout=TIMEOUT_S, kernel_name="python3")
    executor.preprocess(content, {"metadata": {"path": str(paths.NOTEBOOKS.parent)}})
    for cell in content.cells:
        if cell.cell_type == "code" and not KEPT & {*cell.metadata.get("tags", ())}:
            cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("execution", None)
    kernel = content.metadata["kernelspec"]
    content.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook.write_text(nbformat.writes(content, indent=1) + "\n", encoding="utf-8")


def _clean(executed: Path, folder: Path) -> None:
    """Remove times, progress, addresses in memory and papermill's random cell id from a copy.

    Links, written as seen from the folder of the notebooks, are made to lead on from the copy's.
    """
    content = nbformat.read(executed, as_version=4)
    up = f"]({os.path.relpath(paths.NOTEBOOKS.parent, folder)}/"
    for part in (content, *content.cells):
        for key in ("papermill", "widgets", "execution"):
            part.metadata.pop(key, None)
    for cell in content.cells:
        if INJECTED in cell.metadata.get("tags", []):
            cell.id = INJECTED
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", up)
            continue
        cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
        cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
        for data in (o.data for o in cell.outputs if MARKDOWN in o.get("data", {})):
            data[MARKDOWN] = data[MARKDOWN].replace("](../", up)
    text = re.sub(r" at 0x[0-9a-f]+>", ">", nbformat.writes(content, indent=1))
    executed.write_text(text + "\n", encoding="utf-8")
