"""The built site: its pages hang together and fit on a phone."""

import html.parser
import pathlib
import urllib.parse

import pytest

pytestmark = pytest.mark.site

PAGES = (
    "index",
    "which-schedule",
    "live",
    "phase-table",
    "while-training",
    "scaling-up",
    "migrating",
    "examples",
    "numerics",
    "results",
    "api",
    "changelog",
)


class Page(html.parser.HTMLParser):
    """What a page links to, and the names that it can be linked by."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.names |= {given[name] for name in ("id", "name") if given.get(name)}
        self.links += [given[name] for name in ("href", "src") if given.get(name)]


@pytest.mark.parametrize("name", PAGES)
def test_no_link_and_no_picture_is_dead(site, name):
    page = Page(site / f"{name}.html")
    assert len(page.links) > 20
    for link in page.links:
        parts = urllib.parse.urlsplit(link)
        if parts.scheme:
            assert parts.scheme in ("https", "data"), link
            continue
        target = site / (urllib.parse.unquote(parts.path) or f"{name}.html")
        assert target.exists(), link
        if parts.fragment and target.suffix == ".html":
            assert parts.fragment in Page(target).names, link


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_no_wider_than_its_window(browser, site, name, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto((site / f"{name}.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").count() == 1
    page.close()


def test_every_page_is_in_the_contents(site):
    written = {path.stem for path in site.glob("*.html")}
    assert written - {"genindex", "search", "py-modindex"} == set(PAGES)
