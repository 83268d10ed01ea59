"""The documents of the repository as pages of the site: README, CONTRIBUTING, docs/*.md."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mistune
from mistune.toc import add_toc_hook
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from .. import paths
from .sources import SiteError

SHORT = 18  # characters of a cell that stays on one line
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_ANCHOR = re.compile(r"</?a\b[^>]*>")
Lead = Callable[[str], str]
"""A link as it stands in a document -> where it leads on the site."""


@dataclass(frozen=True)
class Document:
    """A document. source: its file; title: its first heading; says: its first paragraph, as plain text."""

    source: Path
    title: str
    says: str

    @property
    def page(self) -> str:
        """Of the site, from its root."""
        return f"docs/{self.source.stem.lower()}.html"

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return self.source.relative_to(paths.DOCS.parent).as_posix()


def documents() -> list[Document]:
    """README and CONTRIBUTING first, then all of docs/ by name; those that are there."""
    files = [
        paths.DOCS.parent / "README.md",
        paths.DOCS.parent / "CONTRIBUTING.md",
        *sorted(paths.DOCS.glob("*.md")),
    ]
    return [_document(file) for file in files if file.is_file()]


def _document(file: Path) -> Document:
    parts = [part.strip() for part in _COMMENT.sub("", file.read_text(encoding="utf-8")).split("\n\n")]
    title = next((part for part in parts if part.startswith("# ")), f"# {file.stem}").removeprefix("# ")
    says = next((part for part in parts if part and not part.startswith(("#", "|", "!", "```"))), "")
    return Document(file, title, plain(says))


def plain(text: str) -> str:
    """Markdown without its signs for links, code and emphasis."""
    return re.sub(r"[`*]", "", _LINK.sub(r"\1", text)).replace("\n", " ")


def slug(heading: str) -> str:
    """The id of a heading, as GitHub makes it: ``#your-own-data``."""
    return re.sub(r"[^\w\- ]", "", plain(heading).strip().lower()).replace(" ", "-")


def headings(document: Document) -> list[str]:
    """The ids of a document's headings."""
    return [slug(line) for line in re.findall(r"(?m)^#{1,6} (.+)$", document.source.read_text(encoding="utf-8"))]


def body(document: Document, lead: Lead, places: dict[str, str]) -> tuple[str, list[tuple[str, str]]]:
    """The document as HTML, and id and title of its sections. Markup in it is text, comments are left out.

    places: where names in code lead to, those of ``api.places`` as seen from the page.
    """
    markdown = mistune.create_markdown(renderer=_Renderer(lead, places), plugins=["table"])
    add_toc_hook(markdown, 1, 6, lambda token, _: slug(token["text"]))
    html, state = markdown.parse(_COMMENT.sub("", document.source.read_text(encoding="utf-8")))
    return html, [
        (place, mistune.util.striptags(title)) for level, place, title in state.env["toc_items"] if level == 2
    ]


def target_of(url: str, document: Document) -> tuple[Path, str] | None:
    """The file in the repository that a link names, and "#" with the place in it; None if it names none.

    Raises SiteError for a file that is not there.
    """
    parts = urlsplit(url)
    if parts.scheme or parts.netloc or not parts.path:
        return None
    file = (document.source.parent / unquote(parts.path)).resolve()
    if not file.exists():
        raise SiteError(f"{document.name} links {url}, which is not there")
    return file, f"#{parts.fragment}" if parts.fragment else ""


class _Renderer(mistune.HTMLRenderer):
    """HTML of the site: links lead to its pages, names of the library to the API reference."""

    def __init__(self, lead: Lead, places: dict[str, str]) -> None:
        super().__init__(escape=True)
        self.lead, self.places = lead, places

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return super().link(_ANCHOR.sub("", text), self.lead(url), title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return f'<span class="paper">{super().image(text, self.lead(url), title)}</span>'

    def codespan(self, text: str) -> str:
        code = super().codespan(text)
        return super().link(code, self.places[text]) if text in self.places else code

    def block_code(self, code: str, info: str | None = None) -> str:
        return highlight(code, get_lexer_by_name(info or "text"), HtmlFormatter())

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        if head:
            return f'<th scope="col">{text}</th>\n'
        short = len(unescape(mistune.util.striptags(text))) <= SHORT
        return f'<td class="short">{text}</td>\n' if short else f"<td>{text}</td>\n"

    def table(self, text: str) -> str:
        return (
            f'<div class="wide" tabindex="0" role="region" aria-label="Table">\n<table>\n{text}</table>\n</div>\n'
        )
