"""Notebooks as products: checked parameters, batch execution by papermill, clean copies for nbval."""

import json
import re
import time
from pathlib import Path

import nbformat
import papermill
from nbconvert.preprocessors import ExecutePreprocessor
from tqdm.auto import tqdm

from conure_lib import paths
from conure_lib.config import MAX_INT
from conure_lib.data.registry import DATASETS
from conure_lib.errors import NotebookError
from conure_lib.files import atomic_file
from conure_lib.study.profiles import PROFILES

CHECKED = "NBVAL_CHECK_OUTPUT"
INJECTED = "injected-parameters"
"""The tag of the cell that papermill puts in."""
TIMEOUT_S = 3600
ONLY_FOR = {"09_synthetic_truth": "synthetic"}
"""Notebooks that argue with one dataset alone."""


def all_notebooks() -> list[Path]:
    """The study's notebooks in order of their numbers."""
    return sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def known_parameters(notebook: Path, parameters: dict) -> dict:
    """The parameters, once it is sure that the notebook takes all of them: papermill itself only warns.

    Raises NotebookError for an unknown name, a value of DATASET, PROFILE or SEEDS that cannot be meant, or a
    notebook without a cell tagged "parameters".
    """
    declared = papermill.inspect_notebook(str(notebook))
    if not declared:
        raise NotebookError(f"{notebook.name}: no cell tagged 'parameters'")
    unknown = set(parameters) - set(declared)
    if unknown:
        raise NotebookError(
            f"{notebook.name} has no parameter {sorted(unknown, key=str)}; it has {sorted(declared)}"
        )
    for name, known in (("DATASET", DATASETS), ("PROFILE", PROFILES)):
        value = parameters.get(name, next(iter(known)))
        if not isinstance(value, str) or value not in known:
            raise NotebookError(
                f"{notebook.name}: found {name} = {value!r}; wanted: one of {', '.join(known)}"
            )
    seeds = parameters.get("SEEDS")
    fit = isinstance(seeds, list | tuple) and all(
        type(s) is int and 0 <= s <= MAX_INT for s in seeds
    )
    if seeds is not None and not (fit and 0 < len(set(seeds)) == len(seeds)):
        wanted = f"None, or a list of distinct integers from 0 to {MAX_INT}"
        raise NotebookError(f"{notebook.name}: found SEEDS = {seeds!r}; wanted: {wanted}")
    return parameters


def run_all(parameters: dict, folder: Path, names: list[str] | None = None) -> list[dict]:
    """Executes notebooks one after the other; a failure does not stop the others.

    parameters: the same for all. folder: where the executed copies go. names: file stems, all if None; those
    that are ``ONLY_FOR`` another dataset than parameters["DATASET"] are left out.
    Returns a row per notebook: name, seconds, error ("" if none). Raises NotebookError before anything runs.
    """
    chosen = all_notebooks()
    if names:
        missing = set(names) - {n.stem for n in chosen}
        if missing:
            raise NotebookError(
                f"no notebook {sorted(missing)}; there are {[n.stem for n in chosen]}"
            )
        chosen = [n for n in chosen if n.stem in names]
    chosen = [n for n in chosen if ONLY_FOR.get(n.stem) in (None, parameters.get("DATASET"))]
    todo = [(n, known_parameters(n, parameters)) for n in chosen]
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    bar = tqdm(todo, desc="notebooks", unit="notebook")
    for notebook, given in bar:
        bar.set_postfix_str(notebook.stem)
        started, error = time.time(), ""
        try:
            with atomic_file(folder / notebook.name) as part:
                papermill.execute_notebook(
                    str(notebook),
                    str(part),
                    given,
                    cwd=str(paths.NOTEBOOKS.parent),
                    progress_bar=False,
                )
                _without_traces(part)
        except Exception as failure:  # any failure of a kernel is this notebook's result
            error = str(failure).strip().splitlines()[-1] if str(failure).strip() else repr(failure)
        rows.append(
            {"notebook": notebook.stem, "seconds": round(time.time() - started, 1), "error": error}
        )
    return rows


def refresh(notebook: Path) -> None:
    """Executes a notebook with its defaults and keeps exactly the outputs that nbval compares."""
    content = nbformat.read(notebook, as_version=4)
    executor = ExecutePreprocessor(timeout=TIMEOUT_S, kernel_name="python3")
    executor.preprocess(content, {"metadata": {"path": str(paths.NOTEBOOKS.parent)}})
    for cell in content.cells:
        if cell.cell_type == "code" and CHECKED not in cell.source:
            cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("execution", None)
    content.metadata = {
        "kernelspec": content.metadata["kernelspec"],
        "language_info": {"name": "python"},
    }
    notebook.write_text(nbformat.writes(content, indent=1) + "\n")


def _without_traces(executed: Path) -> None:
    """An executed copy without times, paths and progress, so that the same results give the same file."""
    content = json.loads(executed.read_text())
    content["metadata"].pop("papermill", None)
    for cell in content["cells"]:
        for key in ("papermill", "execution"):
            cell["metadata"].pop(key, None)
        if INJECTED in cell["metadata"].get("tags", []):
            cell["id"] = INJECTED  # papermill draws a new one each time
        if cell["cell_type"] == "code":
            cell["outputs"] = [o for o in cell["outputs"] if not _is_progress(o)]
    content["metadata"].pop("widgets", None)
    executed.write_text(_without_chance(json.dumps(content, indent=1, ensure_ascii=False)) + "\n")


def _without_chance(text: str) -> str:
    """A notebook's JSON without addresses in memory; the ids that pandas draws for styled tables are counted."""
    text = re.sub(r" at 0x[0-9a-f]+>", ">", text)
    for number, drawn in enumerate(dict.fromkeys(re.findall(r'id=\\"(T_[0-9a-f]{5})\\"', text))):
        text = text.replace(drawn, f"T_{number:05d}")
    return text


def _is_progress(output: dict) -> bool:
    """Whether an output is a progress bar or a message on the error stream."""
    return output.get(
        "name"
    ) == "stderr" or "application/vnd.jupyter.widget-view+json" in output.get("data", {})
