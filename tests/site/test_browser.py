"""The pages in headless Chromium: they load without errors or outside requests, sort, filter and tell values."""

from pathlib import Path

import pytest
from browser import Browser, browser, executable
from matplotlib import pyplot as plt

NONE = "no Chromium on PATH (Debian: apt-get install -y chromium)"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(executable() is None, reason=NONE)]
SIZES = {"desktop": (1280, 900), "narrow": (1000, 900), "tablet": (768, 1024), "phone": (390, 844)}
SHOWN = (
    *("index", "figures", "notebooks", "reproduce", "docs/index", "docs/data-cards", "docs/reading-the-paper"),
    *("api/index", "api/conure_lib/data/stream", "notebooks/standard/ml-100k/01_forgetting"),
)
"""Pages of which screenshots are kept."""
ENTER = {"text": "\r", "windowsVirtualKeyCode": 13}


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as one:
        yield one


def shown(tab: Browser) -> list[str]:
    """The claims of the ledger that can be seen, from above to below."""
    return tab.run("[...document.querySelectorAll('#claims tbody tr')].filter(r => !r.hidden).map(r => r.id)")


def choose(tab: Browser, field: str, value: str) -> None:
    tab.run(
        f"document.getElementById({field!r}).value = {value!r};"
        f"document.getElementById({field!r}).dispatchEvent(new Event('input'))"
    )


def test_every_page_loads_without_errors_or_outside_requests_and_fits_every_window(tab, any_site):
    for page in sorted(any_site.rglob("*.html")):
        tab.open(page)
        # Images below the window load when they are scrolled to; here all of them must.
        tab.run("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
        tab.run("Promise.all([...document.images].map(image => image.decode())).then(() => 0)")
        assert tab.problems == [], page
        own = [url for url in tab.requests if not url.startswith("data:")]
        assert [url for url in own if not url.startswith(any_site.resolve().as_uri())] == [], page
        assert any(url.endswith("site.css") for url in own)
        assert tab.run("document.title") != "taken", f"{page}: a script of the data ran"
        for width, height in SIZES.values():
            tab.size(width, height)
            assert tab.run("document.documentElement.scrollWidth") <= width, f"{page} is wider than {width}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_screenshots_show_something(tab, any_site, size, scheme):
    """They are kept beside the site, to be looked at."""
    dark = scheme == "dark"
    for page in SHOWN:
        name = page.replace("/", "-")
        tab.open(any_site / f"{page}.html", *SIZES[size], scheme)
        image = plt.imread(tab.screenshot(any_site.parent / "site-screenshots" / f"{name}-{size}-{scheme}.png"))
        assert image.shape[:2] == SIZES[size][::-1]
        pixels = image[..., :3]
        assert pixels.std() > 0.03, f"{name} is blank"
        assert (pixels.mean() < 0.5) == dark, f"{name} is not {scheme}"


def test_the_ledger_sorts_by_pointer_and_by_keyboard(tab, small_site):
    tab.open(small_site / "index.html")
    assert shown(tab)[:3] == ["C01", "C02", "C03"]
    head = "document.querySelectorAll('#claims thead th')"
    tab.run(f"{head}[2].querySelector('button').click()")
    assert shown(tab)[:3] == ["C02", "C01", "C03"]  # reproduced, not reproduced, not tested
    assert tab.run(f"[...{head}].map(h => h.getAttribute('aria-sort'))")[:3] == [None, None, "ascending"]
    tab.run(f"{head}[0].querySelector('button').focus()")
    tab.press("Enter", **ENTER)
    tab.press("Enter", **ENTER)
    assert shown(tab) == sorted(shown(tab), reverse=True)
    assert tab.run(f"{head}[0].getAttribute('aria-sort')") == "descending"
    assert tab.problems == []


def test_the_ledger_is_filtered_by_words_and_by_verdicts(tab, small_site):
    tab.open(small_site / "index.html")
    choose(tab, "find", "unprotected destroys")
    assert shown(tab) == ["C01"]
    assert tab.run("document.getElementById('shown').textContent") == "1 of 21 claims"
    choose(tab, "find", "")
    choose(tab, "verdict", "reproduced")
    assert shown(tab) == ["C02"]
    choose(tab, "verdict", "partly")
    assert shown(tab) == ["C01"]
    choose(tab, "dataset", "complete-journey")
    assert shown(tab) == []


def test_rules_open_all_at_once(tab, small_site):
    tab.open(small_site / "index.html")
    opened = "[...document.querySelectorAll('#claims details')].filter(d => d.open).length"
    assert tab.run(opened) == 0
    tab.run("document.getElementById('rules').click()")
    assert tab.run(opened) == 21


def test_a_verdict_leads_to_the_notebook_that_decides_it(tab, small_site):
    tab.open(small_site / "index.html")
    page = tab.run("document.querySelector('#C01 td[data-dataset=\"ml-100k\"] a').href")
    assert page == (small_site / "notebooks/standard/ml-100k/01_forgetting.html").resolve().as_uri()
    tab.open(small_site / "notebooks/standard/ml-100k/01_forgetting.html")
    assert tab.run("document.querySelector('h1').textContent") == "01 · A user model & its memory"
    seen = "getComputedStyle(document.querySelector('.notebook .input')).display"
    assert tab.run(seen) != "none"
    tab.run("document.getElementById('code').click()")
    assert tab.run(seen) == "none"


def test_curves_tell_their_values_under_the_pointer_and_by_arrow_keys(tab, small_site):
    tab.open(small_site / "figures.html")
    panel = "document.querySelector('.panel')"
    values = f"[...{panel}.querySelectorAll('.readout td')].map(cell => cell.textContent)"
    assert tab.run("document.querySelectorAll('.panel').length") == 4
    assert tab.run(values) == ["2 ± 0.71", "2.1 ± 0.71"]
    tab.run(f"{panel}.scrollIntoView({{block: 'center'}})")
    box = tab.run(f"{panel}.querySelector('svg').getBoundingClientRect().toJSON()")
    tab.move(box["x"] + 0.15 * box["width"], box["y"] + box["height"] / 2)
    assert tab.run(values) == ["0 ± 0.71", "0.1 ± 0.71"]
    tab.run(f"{panel}.querySelector('svg').focus()")
    tab.press("ArrowRight", windowsVirtualKeyCode=39)
    assert tab.run(values) == ["1 ± 0.71", "1.1 ± 0.71"]
    said = tab.run(f"{panel}.querySelector('svg').getAttribute('aria-valuetext')")
    assert said == "epoch 1: SinMo 1 ± 0.71, Conure- 1.1 ± 0.71"


def test_figures_of_one_dataset_can_be_looked_at_alone(tab, small_site):
    tab.open(small_site / "figures.html")
    choose(tab, "figures-of", "ml-100k")
    cards = "[...document.querySelectorAll('.card[data-dataset]')]"
    assert set(tab.run(f"{cards}.filter(c => c.offsetParent).map(c => c.dataset.dataset)")) == {"ml-100k"}


def test_without_scripts_the_ledger_is_all_there(tab, small_site):
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(small_site / "index.html")
        tree = tab.call("Accessibility.getFullAXTree")["nodes"]
        names = {node.get("name", {}).get("value") for node in tree}
        assert {"C01", "Not reproduced", "−0.0591 "} <= {str(name) for name in names}
        assert "Show all rules" not in names  # what would do nothing is not there
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)


def test_the_paths_of_a_site_can_be_moved(tab, small_site, tmp_path):
    moved = tmp_path / "some where" / "else"
    moved.parent.mkdir()
    moved.symlink_to(small_site, target_is_directory=True)
    tab.open(Path(moved) / "index.html")
    assert tab.problems == []


def test_names_of_the_library_are_found(tab, small_site):
    tab.open(small_site / "api" / "index.html")
    rows = "[...document.querySelectorAll('#names tbody tr')].filter(row => !row.hidden)"
    names = f"{rows}.flatMap(row => [...row.querySelectorAll('.list a:not([hidden])')]).map(a => a.textContent)"
    assert len(tab.run(names)) > 500
    choose(tab, "find-name", "draw_split")
    assert tab.run(names) == ["draw_split"]
    assert tab.run("document.getElementById('found').textContent") == "1 name"
    choose(tab, "find-name", "ownership")
    assert "ContinualModel" in tab.run(names)
    choose(tab, "find-name", "no such name")
    assert tab.run(rows) == []


def test_contents_are_open_beside_the_text_and_closed_above_it(tab, small_site):
    opened = "document.querySelector('.members details').open"
    tab.open(small_site / "docs" / "data-cards.html", *SIZES["desktop"])
    assert tab.run(opened)
    tab.open(small_site / "docs" / "data-cards.html", *SIZES["phone"])
    assert not tab.run(opened)
