"""An executed notebook as HTML that asks nothing of the network and runs no script of its own."""

import re

import bleach
import nbformat
from nbconvert import HTMLExporter
from traitlets.config import Config

from .sources import Notebook, caption, saved_in

SHOWN = ["text/html", "image/png", "text/plain"]
"""Kinds of output, the first that is there; nothing that would need a script."""
TAGS = {
    *("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "div", "span", "p", "br", "pre", "code"),
    *("b", "strong", "i", "em", "small", "sub", "sup", "ul", "ol", "li"),
}
ATTRIBUTES = ["class", "colspan", "rowspan", "scope"]
_STYLE = re.compile(r"<style.*?</style>", re.DOTALL | re.IGNORECASE)


def body(notebook: Notebook) -> str:
    """The notebook's cells and outputs, to stand in a page of the site."""
    content = nbformat.read(notebook.source, as_version=4)
    content.metadata.pop("widgets", None)
    for place, cell in enumerate(content.cells):
        cell["id"] = f"cell-{place}"
        for output in cell.get("outputs", []):
            _tidy(output, saved_in(cell.source))
    return _exporter().from_notebook_node(content)[0]


def _tidy(output: nbformat.NotebookNode, saved: list[str]) -> None:
    """Tables without foreign markup, images with a description."""
    data = output.get("data", {})
    if "text/html" in data:
        data["text/html"] = table_html(data["text/html"])
    if "image/png" in data:
        known = caption(saved[0]) if saved else "Drawn by the code above"
        output.metadata.setdefault("image/png", {})["alt"] = known


def table_html(text: str) -> str:
    """A table as pandas writes it, without its style (the site has one); any other markup becomes text."""
    return bleach.clean(_STYLE.sub("", text), tags=TAGS, attributes={"*": ATTRIBUTES})


def _exporter() -> HTMLExporter:
    config = Config()
    config.NbConvertBase.display_data_priority = SHOWN
    config.HTMLExporter.exclude_anchor_links = True
    config.TemplateExporter.exclude_input_prompt = True
    config.TemplateExporter.exclude_output_prompt = True
    # The template "basic" loads neither; said all the same, should it ever learn to.
    config.HTMLExporter.require_js_url = config.HTMLExporter.mathjax_url = ""
    return HTMLExporter(config=config, template_name="basic")
