"""The API reference: what the docstrings say, put into HTML by pdoc, for pages of the site."""

import importlib
import pkgutil
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mistune

import conure_lib

from .. import paths
from .sources import SiteError

TEMPLATES = Path(__file__).parent / "pages" / "api"
_ID = re.compile(r'<(?:section|div) id="([\w.]+)"')


@dataclass(frozen=True)
class Reference:
    """A module's part of the reference. says: its docstring's first line; body: HTML."""

    module: str
    says: str
    body: str

    @property
    def page(self) -> str:
        """Of the site, from its root."""
        return page_of(self.module)

    @property
    def short(self) -> str:
        """The module's name as the documents write it: without the library's own."""
        return self.module.removeprefix(f"{conure_lib.__name__}.")

    @property
    def ids(self) -> list[str]:
        """What has a place on the page: functions, classes, values and, as ``Class.method``, methods."""
        return _ID.findall(self.body)

    @property
    def names(self) -> list[str]:
        """The same without methods."""
        return [name for name in self.ids if "." not in name]


def page_of(module: str) -> str:
    """Where a module's page is, from the site's root."""
    return f"api/{module.replace('.', '/')}.html"


@cache
def references() -> tuple[Reference, ...]:
    """Every module of the library, in order of names. Raises SiteError without pdoc."""
    try:
        import pdoc.doc
        import pdoc.render
    except ModuleNotFoundError as error:
        raise SiteError("pdoc, which makes the API reference, is missing; pip install 'pdoc>=16,<17'") from error
    pdoc.render.configure(docformat="markdown", search=False, show_source=False, template_directory=TEMPLATES)
    # In place of pdoc's own converter, which takes <NAME> in a docstring for HTML.
    pdoc.render.env.filters["to_html"] = mistune.create_markdown(escape=True, plugins=["url"])
    modules = {name: pdoc.doc.Module(importlib.import_module(name)) for name in module_names()}
    here = str(paths.DOCS.parent)  # as a default value in a signature
    return tuple(
        Reference(name, _first_line(one.docstring), pdoc.render.html_module(one, modules).replace(here, "."))
        for name, one in modules.items()
    )


@cache
def places() -> dict[str, str]:
    """``data.stream.Task``, as documents write it -> its place on the site, from the site's root."""
    return {f"{one.short}.{name}": f"{one.page}#{name}" for one in references() for name in one.ids}


def _first_line(docstring: str) -> str:
    return docstring.partition("\n")[0].replace("`", "")


def module_names() -> list[str]:
    """The library and its modules, apart from those that are run and not imported (``__main__``)."""
    found = pkgutil.walk_packages(conure_lib.__path__, f"{conure_lib.__name__}.")
    return [conure_lib.__name__, *sorted(one.name for one in found if not one.name.endswith(".__main__"))]
