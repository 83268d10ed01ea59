"""What a small report is made of: everything that a page can show, hostile text included."""

from pathlib import Path

import nbformat
import pandas as pd
from matplotlib import pyplot as plt

from conure_lib.claims import COLUMNS

HOSTILE = "<script>document.title = 'taken'</script><img src='https://example.org/x' onerror='alert(1)'> & so"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def fill(root: Path) -> None:
    """The inputs of a small site: two profiles, two datasets, three claims."""
    for place in ("standard/complete-journey", "standard/ml-100k", "quick/ml-100k"):
        executed = root / "results" / "executed" / place
        executed.mkdir(parents=True)
        nbformat.write(notebook(), executed / "01_forgetting.ipynb")
        (root / "results" / place).mkdir(parents=True)
        (root / "results" / place / "overall.csv").write_text("a,b\n1,2\n")
        figures = root / "figures" / place
        figures.mkdir(parents=True)
        for name, table in (("fig6_convergence", convergence()), ("data", pd.DataFrame({"x": [1]}))):
            plt.imsave(figures / f"{name}.png", [[0.0, 1.0]])
            (figures / f"{name}.pdf").write_bytes(b"%PDF")
            table.to_csv(figures / f"{name}.csv", index=False)
    ledger().to_csv(root / "results" / "claims.csv", index=False)


def notebook() -> nbformat.NotebookNode:
    """An executed notebook with prose, a table, a stream and a foreign script in its outputs."""
    html = f"<style>td {{ color: red }}</style><table><tr><th>mean</th><td>{HOSTILE}</td></tr></table>"
    script = {"application/javascript": "document.title = 'taken'", "text/plain": "a script"}
    outputs = [
        nbformat.v4.new_output("execute_result", {"text/html": html, "text/plain": "mean"}, execution_count=1),
        nbformat.v4.new_output("display_data", script),
        nbformat.v4.new_output("display_data", {"image/png": PIXEL}),
        nbformat.v4.new_output("stream", name="stdout", text=HOSTILE),
    ]
    prose = "# 01 · A user model & its memory\n\nProse, see [the site](https://example.org)."
    code = 'figures.save_figure(figure, study, "fig2_curve", curve)'
    cells = [
        nbformat.v4.new_markdown_cell(prose),
        nbformat.v4.new_code_cell(code, outputs=outputs, execution_count=1),
    ]
    for place, cell in enumerate(cells):
        cell["id"] = f"c{place}"  # nbformat's own are random
    return nbformat.v4.new_notebook(cells=cells)


def convergence() -> pd.DataFrame:
    """Two methods, two seeds, three epochs; the mean of method m at epoch e is e + m / 10 over both seeds."""
    return pd.DataFrame(
        {"method": method, "variant": "", "seed": seed, "task": task, "metric": "MRR@5", "epoch": epoch,
         "validation": epoch + place / 10 + (0.5 if seed == 1 else -0.5)}
        for task in ("T2", "T3") for place, method in enumerate(("SinMo", "Conure-")) for seed in (1, 2)
        for epoch in range(3)
    )  # fmt: skip


def ledger() -> pd.DataFrame:
    """C01 differs by dataset, C02 is reproduced on both, C03 is not executed anywhere; quick has C01 alone."""
    head = {"p": 0.01, "p_corrected": 0.0004, "n": 1234, "rule": "the rule of it", "run_ids": "a b"}
    effect = {"effect": -0.0591, "ci_low": -0.0661, "ci_high": -0.0521}
    rows = [
        {"claim": "C01", "dataset": "complete-journey", "verdict": "NOT REPRODUCED", **head, **effect},
        {"claim": "C01", "dataset": "ml-100k", "verdict": "PARTLY", **head, **effect},
        {"claim": "C02", "dataset": "complete-journey", "verdict": "REPRODUCED", **head, "effect": 0.5},
        {"claim": "C02", "dataset": "ml-100k", "verdict": "REPRODUCED", **head, "effect": 0.5},
        {"claim": "C03", "dataset": "complete-journey", "verdict": "NOT TESTED", "n": 0, "rule": HOSTILE},
    ]
    table = pd.DataFrame(rows).assign(profile="standard")
    quick = table.iloc[[1]].assign(profile="quick")
    return pd.concat([quick, table]).reindex(columns=COLUMNS)
