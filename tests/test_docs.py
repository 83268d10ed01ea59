"""The documents: links that lead somewhere, names that exist, numbers that follow from committed results."""

import json
import pydoc
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest

from conure_lib import paths
from conure_lib.analysis import readme_tables, tables
from conure_lib.config import DataConfig
from conure_lib.data.registry import DATASETS, load
from conure_lib.site import prose
from conure_lib.study.profiles import PROFILES, study_config

REPOSITORY = paths.DOCS.parent
DOCUMENTS = prose.documents()
LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"```.*?```", re.DOTALL)
REPORTED = sorted(path.parent.name for path in REPOSITORY.glob("results/standard/*/overall.csv"))
COUNTED = ["task", "kind", "what", "instances", "labels", "users", "train", "validation", "test"]


def text_of(name: str) -> str:
    return (paths.DOCS / name).read_text(encoding="utf-8")


def block(text: str, name: str) -> str:
    """What stands between ``<!-- name -->`` and ``<!-- /name -->``."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text, re.DOTALL)
    assert found, f"no block {name!r}"
    return found[1].strip()


def markdown(rows: list[dict]) -> str:
    """Rows as the cards show them."""
    lines = ["| " + " | ".join(COUNTED) + " |", "|---" * len(COUNTED) + "|"]
    for row in rows:
        cells = (f"{row[name]:,}" if isinstance(row[name], int) else row[name] for name in COUNTED)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


class Cells(HTMLParser):
    """The rows of a table that pandas wrote: their cells as text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def executed_counts(dataset: str) -> list[dict]:
    """Table 1 of notebook 00 as it ran on a dataset, the rows of that dataset."""
    content = json.loads(
        (REPOSITORY / f"results/executed/standard/{dataset}/00_data.ipynb").read_text("utf-8")
    )
    for cell in content["cells"]:
        for output in cell.get("outputs", []):
            head, *rows = Cells("".join(output.get("data", {}).get("text/html", []))).rows or [[]]
            if "instances" in head:
                named = [dict(zip(head, row, strict=True)) for row in rows]
                return [
                    {name: int(row[name]) if row[name].isdigit() else row[name] for name in COUNTED}
                    for row in named
                    if row["dataset"] == dataset
                ]
    raise AssertionError(f"notebook 00 shows no Table 1 for {dataset}")


def test_the_documents_are_there():
    assert {one.name for one in DOCUMENTS} >= {
        *(
            "README.md",
            "CONTRIBUTING.md",
            "docs/data-cards.md",
            "docs/model-card.md",
            "docs/reading-the-paper.md",
        )
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.name)
def test_links_of_documents_lead_to_files_and_headings(document):
    for url in LINK.findall(FENCED.sub("", document.source.read_text(encoding="utf-8"))):
        parts = urlsplit(url)
        if parts.scheme:
            continue
        target = (
            (document.source.parent / unquote(parts.path)).resolve()
            if parts.path
            else document.source
        )
        assert target.is_file(), f"{document.name}: {url}"
        assert target.is_relative_to(REPOSITORY), f"{document.name}: {url} leaves the repository"
        if parts.fragment:
            known = [one for one in DOCUMENTS if one.source == target]
            assert known, f"{document.name}: {url} names a place in what is no document"
            assert unquote(parts.fragment) in prose.headings(known[0]), f"{document.name}: {url}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.name)
def test_headings_of_a_document_are_told_apart(document):
    found = prose.headings(document)
    assert len(found) == len(set(found)), document.name


def test_a_heading_has_the_id_that_github_gives_it():
    assert prose.slug("Your own data") == "your-own-data"
    assert prose.slug("`ml-100k`, 5 stars (T3)") == "ml-100k-5-stars-t3"
    assert prose.slug("[A link](x.md) & more") == "a-link--more"


def test_every_step_of_the_paper_is_found_in_the_code():
    text = text_of("reading-the-paper.md")
    names = re.findall(r"`([a-z_]+(?:\.\w+)+)`", text)
    assert len(set(names)) > 60
    for name in names:
        assert pydoc.locate(f"conure_lib.{name}") is not None, f"{name} is not there"
    for what, numbers in (("Eq.", range(1, 5)), ("Table", range(1, 6)), ("Fig.", range(1, 8))):
        assert [n for n in numbers if not re.search(rf"(?m)^\| {what} {n}\b", text)] == [], what
    sections = re.findall(r"(?m)^\| (\d(?:\.\d)?)\b", text)
    assert list(dict.fromkeys(sections)) == [
        *("1", "2", "3.1", "3.2", "3.3", "3.4", "4", "5", "6.1", "6.2", "6.3", "6.4", "6.5", "7")
    ]


def test_every_dataset_has_a_card():
    cards = re.findall(r"(?m)^## (.+)$", text_of("data-cards.md"))
    assert sorted(cards) == sorted(DATASETS)


@pytest.mark.parametrize("dataset", REPORTED)
def test_the_cards_counts_are_those_of_the_committed_notebook(dataset):
    rows, text = executed_counts(dataset), text_of("data-cards.md")
    if dataset == "synthetic":
        return  # its notebook lists the default world; see the next test
    expected = markdown(rows)
    assert block(text, f"counts {dataset}") == expected, f"the card must read:\n{expected}"
    first = rows[0]
    assert f"{first['users']:,}" in text
    assert f"{first['labels']:,}" in text
    overall = pd.read_csv(REPOSITORY / f"results/standard/{dataset}/overall.csv")
    tested = dict(zip(overall["task"], overall["n"], strict=True))
    assert {row["task"]: row["test"] for row in rows} == tested


def test_the_synthetic_cards_counts_are_those_of_the_default_world():
    stream = load(DataConfig("synthetic"))
    expected = markdown(stream.describe())
    assert block(text_of("data-cards.md"), "counts synthetic") == expected, (
        f"the card must read:\n{expected}"
    )
    users = study_config("synthetic", "standard").data.options["n_users"]
    assert f"`standard` takes {users:,} users" in text_of("data-cards.md")


@pytest.mark.parametrize("name", ["data-cards.md", "model-card.md"])
def test_every_reported_real_dataset_is_on_the_cards(name):
    kind = {"data-cards.md": "counts", "model-card.md": "metrics"}[name]
    found = re.findall(rf"<!-- {kind} ([\w-]+) -->", text_of(name))
    assert set(REPORTED) - {"synthetic"} <= set(found)


@pytest.mark.parametrize("dataset", [name for name in REPORTED if name != "synthetic"])
def test_the_model_cards_metrics_are_the_committed_ones(dataset):
    table = pd.read_csv(REPOSITORY / f"results/standard/{dataset}/overall.csv")
    expected = tables.side_by_side(table[table["method"].isin(["Popularity", "Conure"])]).to_markdown()
    found = block(text_of("model-card.md"), f"metrics {dataset}")
    assert found == expected, f"the model card must read:\n{expected}"


def test_the_model_cards_cost_is_the_committed_one(monkeypatch):
    monkeypatch.setattr(paths, "ROOT", REPOSITORY)
    expected = readme_tables.spent()
    assert block(text_of("model-card.md"), "cost") == expected, (
        f"the model card must read:\n{expected}"
    )


@pytest.mark.parametrize("dataset", [name for name in REPORTED if name != "synthetic"])
def test_the_model_card_names_the_size_of_the_network(dataset):
    model = study_config(dataset, "standard").model
    blocks = len(model.dilations)
    said = f"width {model.width} and {blocks} blocks ({2 * blocks} convolutions) on {dataset}"
    assert said in text_of("model-card.md")


def test_what_the_cards_say_of_classes():
    """The largest class of complete-journey's profiles; ml-100k's floor for gender, which is the share of men."""
    text, stream = text_of("data-cards.md"), load(DataConfig("complete-journey"))
    largest = [
        np.bincount(stream[name].labels).max() / len(stream[name].labels)
        for name in ("T4", "T5", "T6")
    ]
    assert "{:.0%} (T4), {:.0%} (T5) and {:.0%} (T6) of the households".format(*largest) in text
    table = pd.read_csv(REPOSITORY / "results/standard/ml-100k/overall.csv")
    (floor,) = table[(table["method"] == "Popularity") & (table["task"] == "T5")]["value"]
    assert f"{floor:.0%} of the test users are men" in text
