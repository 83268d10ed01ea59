"""Writes the site: pages from templates, files beside them, all links relative, the same bytes every time."""

import shutil
import tempfile
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from .. import __version__, paths
from ..figures.ledger import LOOKS
from ..profiles import PROFILES
from . import api, prose
from . import sources as found_in
from .convert import body
from .curves import panels
from .sources import Figure, Notebook, SiteError, Sources
from .verdicts import KEYS, SIGNS, Ledger, ledgers, words

MARK = ".conure-site"
"""A file that says: this folder was written here and may be replaced."""
ASSETS = ("site.css", "site.js")
TUTORIAL, CARDS = "90_your_own_data", "data-cards"


def build(out: Path | None = None) -> Path:
    """Writes the whole site in place of an older one. Returns its front page.

    out: paths.site() unless given. Raises SiteError if there is a folder that is not a site.
    """
    out = out or paths.site()
    if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise SiteError(f"{out} is not an older site; choose a new or an empty folder with --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        _Writer(part).all()
        part.chmod(0o755)
        shutil.rmtree(out, ignore_errors=True)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out / "index.html"


class _Writer:
    """One building of the site into an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources: Sources = found_in.gather()
        self.ledgers: list[Ledger] = ledgers(self.sources)
        self.documents = prose.documents()
        self.pages = Environment(
            loader=PackageLoader(__package__, "pages"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        looks = {key: LOOKS[verdict][0] for verdict, key in KEYS.items()}
        self.pages.globals |= {"version": __version__, "looks": looks, "signs": SIGNS, "words": words}
        self.pages.globals |= {"sources": self.sources, "front": self.ledgers[0].profile}
        self.pages.globals |= {
            "documents": self.documents,
            "card": self._card,
            "tutorial": self._executed(TUTORIAL),
        }
        self.pages.globals |= {"make": found_in.make_command, "papermill": found_in.notebook_command}

    def all(self) -> None:
        (self.folder / MARK).write_text("", encoding="utf-8")
        for name in ASSETS:
            self._copy(Path(__file__).parent / "pages" / name, f"assets/{name}")
        self._verdicts()
        self._notebooks()
        self._figures()
        self._page("reproduce.html", "reproduce.html", studies=self._studies())
        self._page("docs.html", "docs/index.html")
        for document in self.documents:
            self._document(document)
        self._page("api.html", "api/index.html", references=api.references())
        for one in api.references():
            self._page("reference.html", one.page, one=one)

    def _page(self, template: str, path: str, **context: object) -> None:
        """Renders a template; ``root`` leads from the page back to the site's root."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        root = "../" * path.count("/")
        text = self.pages.get_template(template).render(root=root, path=path, **context)
        target.write_text(text.rstrip() + "\n", encoding="utf-8", newline="\n")

    def _copy(self, source: Path, path: str) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)

    def _verdicts(self) -> None:
        pages = {ledger.profile: f"verdicts-{ledger.profile}.html" for ledger in self.ledgers}
        pages[self.ledgers[0].profile] = "index.html"
        seeds = {p: {d: len(s["seeds"]) for d, s in PROFILES.get(p, {}).items()} for p in pages}
        for ledger in self.ledgers:
            path = pages[ledger.profile]
            self._page("verdicts.html", path, ledger=ledger, pages=pages, seeds=seeds[ledger.profile])

    def _notebooks(self) -> None:
        for notebook in self.sources.notebooks:
            self._copy(notebook.source, notebook.download)
            self._page("notebook.html", notebook.page, **self._around(notebook), body=body(notebook))
        for table in self.sources.tables:
            self._copy(table.source, table.path)
        places: dict[str, dict[str, None]] = {}  # profile to its datasets, in order
        for one in (*self.sources.notebooks, *self.sources.tables):
            places.setdefault(one.profile, {})[one.dataset] = None
        stems = sorted({n.stem for n in self.sources.notebooks} | set(self.sources.titles))
        self._page("notebooks.html", "notebooks.html", stems=stems, places=places)

    def _around(self, notebook: Notebook) -> dict:
        """What a notebook's page says beside the notebook: its verdicts, its figures, its other datasets."""
        ledger = next((x for x in self.ledgers if x.profile == notebook.profile), None)
        decided = [r for r in ledger.rows if r.notebook == notebook.stem] if ledger else []
        drawn = self.sources.figures.get(notebook.profile, ())
        return {
            "notebook": notebook,
            "decided": [(row, row.cells.get(notebook.dataset)) for row in decided],
            "figures": [f for f in drawn if (f.dataset, f.maker) == (notebook.dataset, notebook.stem)],
            "others": [n for n in self.sources.notebooks if n.stem == notebook.stem and n != notebook],
        }

    def _figures(self) -> None:
        """A page a profile; the one named figures.html is the front page's, or the only one."""
        known = self.sources.figures
        first = self.ledgers[0].profile if self.ledgers[0].profile in known else next(iter(known), None)
        named = {profile: f"figures-{profile}.html" for profile in known}
        pages = named | {first: "figures.html"}
        for figure in (*(f for drawn in known.values() for f in drawn), *self.sources.bench):
            for file in figure.files:
                self._copy(file, f"{figure.folder}/{file.name}")
        for profile, path in pages.items():
            drawn = known.get(profile, ())
            self._page(
                "figures.html", path, profile=profile, pages=pages, groups=_grouped(drawn),
                datasets=list(dict.fromkeys(f.dataset for f in drawn)),
                bench=self.sources.bench if path == "figures.html" else (),
                panels={f.anchor: panels(f.name, f.data) for f in drawn},
            )  # fmt: skip

    def _document(self, document: prose.Document) -> None:
        places = {name: f"../{place}" for name, place in api.places().items()}
        html, sections = prose.body(document, lambda url: self._lead(url, document), places)
        self._page("document.html", document.page, document=document, body=html, sections=sections)

    def _lead(self, url: str, document: prose.Document) -> str:
        """Where a link of a document leads on the site; a file that is no page of it is put beside the pages."""
        found = prose.target_of(url, document)
        if found is None:
            return url
        file, place = found
        pages = {one.source: one.page for one in self.documents}
        if file.suffix == ".ipynb":
            pages[file] = self._executed(file.stem) or "notebooks.html"
        if file not in pages:
            pages[file] = f"files/{file.relative_to(paths.DOCS.parent).as_posix()}"
            self._copy(file, pages[file])
        return f"../{pages[file]}{place}"

    def _executed(self, stem: str) -> str:
        """The page of a notebook as it ran for the front page's profile, on the first dataset; "" if none."""
        ran = [n.page for n in self.sources.notebooks if (n.profile, n.stem) == (self.ledgers[0].profile, stem)]
        return next(iter(ran), "")

    def _card(self, dataset: str) -> str:
        """Where a dataset's card is, "" if there is none."""
        cards = (one for one in self.documents if one.source.stem == CARDS and dataset in prose.headings(one))
        return next((f"{one.page}#{dataset}" for one in cards), "")

    def _studies(self) -> dict[str, list[dict]]:
        """By profile every dataset with settings, its command and its notebooks."""
        return {
            profile: [
                {
                    "profile": profile,
                    "dataset": dataset,
                    "notebooks": [s for s in self.sources.titles if found_in.wanted(s, dataset)],
                    "seeds": len(settings["seeds"]),
                }
                for dataset, settings in PROFILES[profile].items()
            ]
            for profile in found_in.profiles()
        }


def _grouped(figures: tuple[Figure, ...]) -> dict[str, dict[str, list[Figure]]]:
    """Notebook to figure to the figure of each dataset, in the order of the notebooks' numbers."""
    groups: dict[str, dict[str, list[Figure]]] = {}
    for figure in sorted(figures, key=lambda f: (f.maker or "~", f.name)):
        groups.setdefault(figure.maker, {}).setdefault(figure.name, []).append(figure)
    return groups
