"""The pages as files: links, nothing from outside, text that stays text, the same bytes; no browser."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
from small_report import HOSTILE, convergence, fill, ledger

from conure_lib import notebooks, paths, site
from conure_lib.cli import main
from conure_lib.site import SiteError, api, prose, sources
from conure_lib.site.convert import table_html
from conure_lib.site.curves import panels
from conure_lib.stats import VERDICTS

VOID = {"meta", "link", "img", "br", "input", "hr", "wbr"}


class Page(HTMLParser):
    """What a page refers to, declares and says. stack: the open elements, to see that they are closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.links, self.loads, self.ids, self.tags, self.text = path, [], [], [], [], []
        self.stack: list[str] = []
        self.wrong: list[str] = []
        self.handlers: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.stack += [] if tag in VOID else [tag]
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" and "href" in given else []
        self.loads += [given["href"]] if tag == "link" else []
        self.loads += [given[name] for name in ("src", "srcset", "poster", "data") if name in given]
        self.handlers += [name for name in given if name.startswith("on")]

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def pages(folder: Path) -> list[Page]:
    return [Page(path) for path in sorted(folder.rglob("*.html"))]


def said(page: Path) -> str:
    return " ".join(" ".join(Page(page).text).split())


def rows(page: Path) -> dict[str, str]:
    """Claim to the HTML of its row."""
    found = re.findall(r'<tr id="(\w+)">(.*?)</tr>', page.read_text(encoding="utf-8"), re.DOTALL)
    return dict(found)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_link_leads_to_a_file_of_the_site_or_to_a_place_on_a_page(any_site):
    known = {page.path.resolve(): page for page in pages(any_site)}
    assert len(known) > 4
    for page in known.values():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "data"):
                continue  # prose may cite; what a page loads is another test's matter
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path.resolve()
            assert target.is_file(), f"{page.path}: {link}"
            assert target.is_relative_to(any_site.resolve()), f"{page.path}: {link} leaves the site"
            if parts.fragment and target in known:
                assert unquote(parts.fragment) in map(unquote, known[target].ids), f"{page.path}: {link}"


def test_nothing_is_loaded_from_outside_and_no_page_brings_a_script_of_its_own(any_site):
    for page in pages(any_site):
        outside = [url for url in page.loads if urlsplit(url).scheme not in ("", "data") or url.startswith("//")]
        assert outside == [], page.path
        assert page.handlers == [], page.path
        text = page.path.read_text(encoding="utf-8")
        assert re.findall(r"<script(?! src=\"(?:\.\./)*assets/| type=\"application/json\")", text) == []
        assert text.index("Content-Security-Policy") < text.index("<link")
    for asset in (any_site / "assets").iterdir():
        text = asset.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"https?:|@import|url\(", text) == [], asset


def test_every_page_is_whole(any_site):
    for page in pages(any_site):
        assert (page.stack, page.wrong) == ([], []), page.path
        assert page.tags.count("title") == page.tags.count("main") == 1, page.path
        assert "h1" in page.tags, page.path
        assert len(page.ids) == len(set(page.ids)), f"{page.path}: an id twice"


def test_the_script_draws_svg_by_its_namespace_alone():
    script = (Path(site.__file__).parent / "pages" / "site.js").read_text(encoding="utf-8")
    assert "createElementNS" in script
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(", script) == []


def test_text_of_the_data_stays_text(small_site):
    assert HOSTILE in said(small_site / "index.html")
    executed = small_site / "notebooks" / "standard" / "ml-100k" / "01_forgetting.html"
    assert said(executed).count("document.title") == 2  # in the table and in the stream; not the script output
    for page in pages(small_site):
        assert "example.org" not in " ".join(page.loads), page.path


def test_a_table_keeps_its_cells_and_loses_style_handlers_and_links():
    text = (
        '<style>x</style><table border="1"><tr onclick="a()"><td colspan="2">1</td></tr></table><a href="x">y</a>'
    )
    kept = '<table><tbody><tr><td colspan="2">1</td></tr></tbody></table>&lt;a href="x"&gt;y&lt;/a&gt;'
    assert table_html(text) == kept


def test_a_cell_says_verdict_effect_interval_and_p_and_leads_to_its_notebook(small_site):
    row = rows(small_site / "index.html")["C01"]
    for text in ("Not reproduced", "Partly", "−0.0591", "[−0.0661, −0.0521]", "p &lt; 0.001, n = 1,234"):
        assert text in row
    for dataset in ("complete-journey", "ml-100k"):
        assert f'href="notebooks/standard/{dataset}/01_forgetting.html"' in row
    assert "the rule of it" in row


def test_a_drawn_figure_has_a_description(small_site):
    text = (small_site / "notebooks" / "standard" / "ml-100k" / "01_forgetting.html").read_text(encoding="utf-8")
    assert re.search(r'<img alt="Figure 2, curve"[^>]*src="data:image/png;base64,', text)


def test_a_notebook_that_is_not_executed_is_not_linked(small_site):
    row = rows(small_site / "index.html")["C03"]
    assert "Not tested" in row
    assert "no verdict" in row  # ml-100k has none
    assert "notebooks/" not in row


def test_the_front_page_counts_the_reported_profile(small_site):
    text = said(small_site / "index.html")
    assert "Tested on 2 datasets, each by a rule fixed beforehand, they get 5 verdicts: 2 reproduced," in text
    assert "On every dataset alike: reproduced C02 ." in text
    assert "5 seeds" in text
    assert "10 seeds" in text


def test_other_profiles_have_pages_of_their_own(small_site):
    assert 'href="verdicts-quick.html"' in (small_site / "index.html").read_text(encoding="utf-8")
    text = said(small_site / "verdicts-quick.html")
    assert "These are verdicts of the profile quick , not of standard" in text
    assert 'href="figures-quick.html"' in (small_site / "figures.html").read_text(encoding="utf-8")


def test_a_notebook_says_what_it_decides_and_how_to_run_it_again(small_site):
    text = said(small_site / "notebooks" / "quick" / "ml-100k" / "01_forgetting.html")
    assert "01_forgetting on ml-100k , profile quick" in text
    assert "C01 ◐ Partly" in text
    assert "-p DATASET ml-100k -p PROFILE quick" in text


def test_without_a_ledger_the_front_page_says_which_command_makes_it(root):
    text = said(site.build())
    assert "none of them is decided yet" in text
    assert "make verdicts PROFILE=standard" in text
    assert "C21" in text
    assert "No figure is drawn yet" in said(paths.site() / "figures.html")
    assert "None is executed yet" in said(paths.site() / "notebooks.html")


def test_the_same_results_give_the_same_bytes_wherever_the_site_goes(root, small_site):
    fill(root)
    assert bytes_of(site.build(root / "elsewhere").parent) == bytes_of(small_site)


def test_an_older_site_is_replaced_whole(root):
    out = site.build().parent
    (out / "stale.html").write_text("old")
    site.build()
    assert not (out / "stale.html").exists()
    assert [p.name for p in out.parent.iterdir()] == ["site"]  # nothing half-written is left beside it


def test_a_folder_that_is_no_site_is_left_alone(root, capsys):
    mine = root / "mine"
    mine.mkdir()
    assert main(["site", "--out", str(mine)]) == 0
    (mine / ".conure-site").unlink()
    (mine / "index.html").write_text("mine")
    assert main(["site", "--out", str(mine)]) == 2
    assert "is not an older site; choose a new or an empty folder" in capsys.readouterr().err
    assert (mine / "index.html").read_text() == "mine"
    assert main(["site", "--out", str(mine / "index.html")]) == 2


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (ledger().assign(verdict="MAYBE"), "unknown verdict 'MAYBE'; there are REPRODUCED"),
        (ledger().drop(columns="ci_low"), "has no column ci_low; make verdicts writes it anew"),
    ],
)
def test_a_broken_ledger_is_refused_in_one_line(root, capsys, broken, message):
    (root / "results").mkdir()
    broken.to_csv(root / "results" / "claims.csv", index=False)
    assert main(["site"]) == 2
    assert message in capsys.readouterr().err
    assert not paths.site().exists()


def test_curves_are_means_and_deviations_over_seeds(tmp_path):
    convergence().to_csv(tmp_path / "fig6_convergence.csv", index=False)
    found = panels("fig6_convergence", tmp_path / "fig6_convergence.csv")
    assert [panel["title"] for panel in found] == ["T2", "T3"]
    sinmo, conure = found[0]["lines"]
    assert (sinmo["name"], conure["name"]) == ("SinMo", "Conure-")
    assert sinmo["points"] == [[epoch, float(epoch), 0.707107, 2] for epoch in range(3)]
    assert conure["points"][1] == [1, 1.1, 0.707107, 2]
    assert sinmo["dash"] != conure["dash"]
    assert sinmo["color"] != conure["color"]


def test_retraining_curves_hold_the_best_value_after_a_stop_and_show_the_best_of_conure_minus(tmp_path):
    table = pd.DataFrame(
        [("Conure", "pr50", 1, 0, 0.1), ("Conure", "pr50", 1, 1, 0.4), ("Conure", "pr50", 2, 0, 0.2),
         ("Conure", "pr50", 2, 1, 0.3), ("Conure", "pr50", 2, 2, 0.5), ("Conure-", "pr50", 1, 0, 0.9),
         ("Conure-", "pr50", 1, 1, 0.2), ("Conure-", "pr50", 2, 1, 0.4)],
        columns=["method", "variant", "seed", "epoch", "validation"],
    ).assign(task="T2", metric="MRR@5")  # fmt: skip
    table.to_csv(tmp_path / "c.csv", index=False)
    (panel,) = panels("fig7_retraining", tmp_path / "c.csv")
    assert [line["name"] for line in panel["lines"]] == ["50% pruned"]
    assert [point[1] for point in panel["lines"][0]["points"]] == [0.15, 0.35, 0.45]
    assert panel["level"]["value"] == 0.3


def test_a_figure_without_curves_or_with_other_columns_is_an_image_alone(tmp_path):
    pd.DataFrame({"epoch": [1]}).to_csv(tmp_path / "c.csv", index=False)
    assert panels("table2_overall", tmp_path / "c.csv") == []
    assert panels("fig7_retraining", tmp_path / "c.csv") == []
    assert panels("fig7_retraining", None) == []


def test_figures_are_named_after_the_papers_numbers():
    assert sources.caption("fig7_sweep") == "Figure 7, sweep"
    assert sources.caption("table5_embedding") == "Table 5, embedding"
    assert sources.caption("no_forgetting") == "No forgetting"


def test_every_committed_figure_has_the_notebook_that_draws_it():
    found = sources.gather()
    assert found.figures
    assert [f.name for drawn in found.figures.values() for f in drawn if not f.maker] == []
    assert [f.name for drawn in found.figures.values() for f in drawn if f.data is None] == []


@pytest.mark.parametrize("notebook", notebooks.all_notebooks(), ids=lambda path: path.stem)
def test_the_shown_commands_are_ones_that_exist(notebook):
    command = sources.notebook_command(notebook.stem, "complete-journey", "standard").split()
    assert (paths.NOTEBOOKS.parent / command[1]) == notebook
    given = dict(zip(command[4::3], command[5::3], strict=True))
    assert notebooks.known_parameters(notebook, given) == {"DATASET": "complete-journey", "PROFILE": "standard"}


def test_movielens_100k_may_come_out_of_a_wheel_and_nothing_else_asks_for_it():
    assert sources.make_command("study", "quick", "ml-100k").startswith("CONURE_ALLOW_WHEEL=1 make study")
    assert sources.make_command("verdicts", "standard").startswith("CONURE_ALLOW_WHEEL=1 make verdicts PROFILE")
    assert sources.make_command("study", "quick", "complete-journey").startswith("make study")


def test_every_verdict_has_a_colour_a_sign_and_a_word(small_site):
    text = (small_site / "index.html").read_text(encoding="utf-8")
    style = (small_site / "assets" / "site.css").read_text(encoding="utf-8")
    for verdict in VERDICTS:
        key = verdict.lower().replace(" ", "-")
        assert re.search(rf"--{key}: #[0-9A-F]{{6}};", text)
        assert f".{key} {{ --mark: var(--{key}); }}" in style


def test_the_reference_has_a_page_for_every_module_with_its_public_names(small_site):
    library = Path(api.__file__).parent.parent
    files = {path for path in library.rglob("*.py") if path.name != "__main__.py"}
    assert len(api.references()) == len(files)
    for one in api.references():
        assert one.says, f"{one.module} says nothing of itself"
        assert set(one.ids) <= set(Page(small_site / one.page).ids)
    assert {"stream", "distinct", "Task", "Task.rows"} <= {
        "stream",
        *Page(small_site / api.page_of("conure_lib.data.stream")).ids,
    }
    assert "int64 [N]" in said(small_site / api.page_of("conure_lib.objectives"))
    assert "results/<profile>/<dataset>/" in said(small_site / api.page_of("conure_lib.report"))


def test_the_reference_names_no_path_of_the_machine_that_wrote_it(small_site):
    for page in (small_site / "api").rglob("*.html"):
        assert str(paths.DOCS.parent) not in page.read_text(encoding="utf-8"), page


def test_without_pdoc_the_site_says_what_to_install(monkeypatch):
    api.references.cache_clear()
    monkeypatch.setitem(sys.modules, "pdoc.doc", None)
    with pytest.raises(SiteError, match="pip install 'pdoc"):
        api.references()


def test_documents_lead_to_pages_notebooks_files_and_names_of_the_library(small_site):
    reading = Page(small_site / "docs" / "reading-the-paper.html")
    assert "../api/conure_lib/data/stream.html#Task" in reading.links
    assert "data-cards.html" in {link.rpartition("/")[2] for link in reading.links}
    assert "../notebooks/standard/complete-journey/01_forgetting.html" in reading.links
    assert "../notebooks.html" in reading.links  # for a notebook that was not executed
    readme = Page(small_site / "docs" / "readme.html")
    assert "../files/results/bench/bench.png" in readme.loads
    assert "your-own-data" in readme.ids


def test_the_front_page_leads_to_the_documents_and_to_the_datas_cards(small_site):
    links = Page(small_site / "index.html").links
    assert {"docs/index.html", "api/index.html", "docs/model-card.html", "docs/data-cards.html#ml-100k"} <= set(
        links
    )


@pytest.fixture
def document(tmp_path, monkeypatch):
    """Writes docs/x.md of a repository of its own."""

    def write(text: str) -> prose.Document:
        monkeypatch.setattr(paths, "DOCS", tmp_path / "docs")
        paths.DOCS.mkdir(exist_ok=True)
        (paths.DOCS / "x.md").write_text(text, encoding="utf-8")
        return prose.documents()[-1]

    return write


def test_a_document_is_read_as_it_stands(document):
    one = document("# The *title*\n\n<!-- note -->\nSays [a lot](x.md) with `code`.\n\n## First part\n\n## Second")
    assert (one.title, one.says, one.page, one.name) == (
        "The *title*",
        "Says a lot with code.",
        "docs/x.html",
        "docs/x.md",
    )
    html, sections = prose.body(one, lambda url: f"to:{url}", {"code": "api"})
    assert sections == [("first-part", "First part"), ("second", "Second")]
    assert 'href="api"><code>code</code>' in html
    assert "note" not in html


def test_markup_in_a_document_stays_text(document):
    html, _ = prose.body(document("# T\n\n<script>x</script> <b>y</b>\n\n| a |\n|---|\n| <i>z</i> |"), str, {})
    assert re.findall(r"<(?:script|b|i)\b", html) == []
    assert '<td class="short">&lt;i&gt;z&lt;/i&gt;</td>' in html


def test_a_link_to_nowhere_is_refused(document):
    one = document("# T")
    assert prose.target_of("https://example.org/x", one) is None
    assert prose.target_of("#place", one) is None
    assert prose.target_of("x.md#place", one) == (paths.DOCS / "x.md", "#place")
    with pytest.raises(SiteError, match=r"docs/x\.md links y\.md, which is not there"):
        prose.target_of("y.md", one)
