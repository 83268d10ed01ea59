"""Configuration of the site: documents and executed notebooks as they are, nothing runs at build.

``sphinx-build -c docs . artifacts/site`` (``make docs``) reads from the repository's root, so that
links between documents are the same here and in a browser of the repository.
"""

import sys
from html import escape
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from conure_lib import __version__  # noqa: E402
from conure_lib.analysis.claims import CLAIMS  # noqa: E402
from conure_lib.analysis.stats import with_interval  # noqa: E402

project, release = "Conure", __version__
author = "the Conure study's maintainers"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_nb"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "results/standard/*/notebooks/*.ipynb"]
exclude_patterns = ["artifacts", ".*", "**/_*", "conure_lib", "tests", "benchmarks"]
templates_path = [str(ROOT / "docs" / "_templates")]

nb_execution_mode = "off"
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
autosummary_generate = True
autodoc_default_options = {"member-order": "bysource"}
autodoc_typehints = "signature"
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = "Conure"
html_static_path = ["_static"]
html_css_files = ["ledger.css"]
html_js_files = ["ledger.js"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "navbar_end": ["theme-switcher"],
    "footer_end": [],
}


def ledger() -> str:
    """Return the committed verdicts as an HTML table whose headings sort it."""
    table = pd.read_csv(ROOT / "results" / "claims.csv")
    names = ["claim", "statement", "dataset", "verdict", "effect [95% interval]", "unit", "p", "n"]
    head = "".join(f'<th><button type="button">{name}</button></th>' for name in names)
    rows = []
    for row in table.itertuples():
        claim = CLAIMS[row.claim]
        page = f"../results/{row.profile}/{row.dataset}/notebooks/{claim.notebook}.html"
        kind = row.verdict.lower().replace(" ", "-")
        tested = not pd.isna(row.effect)
        effect = with_interval(row.effect, row.ci_low, row.ci_high, claim.unit) if tested else ""
        p = "" if pd.isna(row.p_corrected) else f"{row.p_corrected:.3f}"
        cells = [
            f'<td><a href="{page}">{row.claim}</a></td><td>{escape(claim.statement)}</td>',
            f"<td>{escape(row.dataset)}</td>",
            f'<td><span class="verdict {kind}">{row.verdict.lower()}</span></td>',
            f'<td class="number" data-value="{row.effect}">{effect}</td><td>{claim.unit}</td>',
            f'<td class="number" data-value="{row.p_corrected}">',
            f"{'< 0.001' if p == '0.000' else p}</td>",
            f'<td class="number" data-value="{row.n}">{row.n:,.0f}</td>' if row.n else "<td></td>",
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    table = f"<table class='ledger'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f"<div class='ledger-frame'>{table}</table></div>"


def on_source_read(_app: object, name: str, source: list[str]) -> None:
    """Insert the ledger into the front page; make links of executed notebooks start at the root."""
    if name == root_doc:
        source[0] = source[0].replace("<!-- verdict ledger -->", ledger())
    elif name.startswith("results/"):
        source[0] = source[0].replace("](../", "](/")


def on_finished(app: object, exception: Exception | None) -> None:
    """Let the site's root lead to its front page."""
    if exception is None:
        refresh = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html">'
        Path(app.outdir, "index.html").write_text(refresh + "\n", encoding="utf-8")


def setup(app: object) -> None:
    """Connect the functions above."""
    app.connect("source-read", on_source_read)
    app.connect("build-finished", on_finished)
