"""Configuration of the site: documents and executed notebooks as they are, nothing runs at build.

``sphinx-build -c docs . artifacts/site`` (``make docs``) reads from the repository's root, so that
links between documents are the same here and in a browser of the repository.
"""

import re
import sys
from html import escape
from pathlib import Path
from types import GenericAlias

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from conure_lib import __version__  # noqa: E402
from conure_lib.analysis.claims import CLAIMS  # noqa: E402
from conure_lib.analysis.stats import with_interval  # noqa: E402

project, release = "Conure", __version__
author = copyright = "the Conure study's maintainers"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_nb"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "notebooks/*", "results/standard/*/notebooks/*.ipynb"]
exclude_patterns = ["artifacts", ".*", "**/_*", "conure_lib", "tests", "benchmarks"]
templates_path = [str(ROOT / "docs" / "_templates")]

nb_execution_mode = "off"
myst_heading_anchors = 3

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
html_sidebars = {"docs/index": [], "docs/results": [], "README": []}
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": {"**": ["page-toc"], "docs/index": []},
    "footer_start": ["copyright"],
    "footer_end": [],
}


def ledger() -> str:
    """Return the committed verdicts as an HTML table whose headings sort it."""
    names = ("claim", "dataset", "verdict", "effect [95% interval]", "why", "p", "n")
    head = "".join(f'<th><button type="button">{name}</button></th>' for name in names)
    rows = []
    for row in pd.read_csv(ROOT / "results" / "claims.csv").itertuples():
        claim = CLAIMS[row.claim]
        page = f"../results/{row.profile}/{row.dataset}/notebooks/{claim.notebook}.html"
        kind = row.verdict.lower().replace(" ", "-")
        effect = with_interval(row.effect, row.ci_low, row.ci_high, claim.unit)
        p = "" if pd.isna(row.p_corrected) else f"{row.p_corrected:.3f}".replace("0.000", "< 0.001")
        about = f'<span class="statement">{escape(claim.statement)}</span>'
        cells = (
            ("claim", row.claim, f'<a href="{page}">{row.claim} {escape(claim.title)}</a> {about}'),
            ("", row.dataset, row.dataset),
            (f"verdict {kind}", row.verdict, row.verdict.lower()),
            ("number", row.effect, effect),
            ("", row.reason, escape(row.reason)),
            ("number", row.p_corrected, p),
            ("number", row.n, f"{row.n:,.0f}" if row.n else ""),
        )
        rows += ["<tr>"]
        rows += [f'<td class="{c}" data-value="{escape(str(v))}">{t}</td>' for c, v, t in cells]
    table = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="ledger-frame"><table class="ledger">{table}</table></div>'


def on_source_read(_app: object, name: str, source: list[str]) -> None:
    """Insert the ledger into the front page; make links of notebooks start at the root.

    What they link and is not there (yet) is no link.
    """
    if name == root_doc:
        source[0] = source[0].replace("<!-- verdict ledger -->", ledger())
    elif name.startswith(("results/", "notebooks/")):
        source[0] = re.sub(r"\[([^][\"\n]+)\]\((?:\.\./)+([^)\s]+)\)", from_root, source[0])


def from_root(link: re.Match) -> str:
    """Return a Markdown link of a notebook with the root in place of its way up to it."""
    text, target = link.groups()
    return f"[{text}](/{target})" if (ROOT / target).exists() else text


def on_skip(_app: object, _what: str, _name: str, member: object, skip: bool, _: object) -> bool:
    """Leave out aliases of types, whose signature cannot be formatted."""
    return skip or isinstance(member, GenericAlias)


def on_finished(app: object, exception: Exception | None) -> None:
    """Let the site's root lead to its front page."""
    if exception is None:
        refresh = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html">'
        Path(app.outdir, "index.html").write_text(refresh + "\n", encoding="utf-8")


def setup(app: object) -> None:
    """Connect the functions above."""
    app.connect("source-read", on_source_read)
    app.connect("autodoc-skip-member", on_skip)
    app.connect("build-finished", on_finished)
