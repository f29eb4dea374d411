"""The built site: its pages hang together and fit on a phone."""

import html.parser
import os
import pathlib
import subprocess
import sys
import urllib.parse

import pytest

import optax_cosine as oc

pytestmark = pytest.mark.site

DOCS = pathlib.Path(__file__).parents[2] / "docs"
PAGES = (
    *sorted(path.stem for path in DOCS.glob("*.md")),
    *(f"api/optax_cosine.{name}" for name in oc.__all__),
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
        here = site / f"{name}.html"
        path = urllib.parse.unquote(parts.path)
        target = (here.parent / path) if path else here
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
    written = {str(x.relative_to(site).with_suffix("")) for x in site.rglob("*.html")}
    assert written - {"genindex", "search", "py-modindex"} == set(PAGES)
    index = Page(site / "index.html")
    assert {f"{name}.html" for name in PAGES if name != "index"} <= set(index.links)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("learning rate per layer", "per-layer"),
        ("hydra", "configuration"),
        ("yaml", "configuration"),
        ("log learning rate", "log-the-rate"),
        ("resume", "checkpoints"),
        ("orbax", "checkpoints"),
        ("weight decay", "more-than-the-rate"),
        ("gradient accumulation", "epochs"),
        ("NaN", "debugging"),
        ("cooldown", "api/optax_cosine.cooldown"),
        ("CosineAnnealingWarmRestarts", "migrating"),
    ],
)
def test_a_search_finds_its_page(browser, address, words, name):
    page = browser.new_page()
    page.goto(f"{address}/search.html?q={urllib.parse.quote(words)}")
    page.wait_for_function("document.querySelector('.search-summary')?.innerText")
    page.wait_for_function("/found|did not/.test(document.body.innerText)")
    found = page.locator("ul.search li a").evaluate_all("all => all.map(x => x.href)")
    pages = [x.partition("#")[0].partition("?")[0] for x in found]
    first = list(dict.fromkeys(pages))[:3]
    assert f"{address}/{name}.html" in first
    page.close()


def test_a_page_has_the_version(site):
    assert f"optax-cosine {oc.__version__}" in (site / "index.html").read_text()


def test_pages_link_to_their_source_where_it_is_published(tmp_path):
    build = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", DOCS, tmp_path]
    environment = os.environ | {"GITHUB_REPOSITORY": "owner/name"}
    subprocess.run(build, env=environment, check=True)
    links = Page(tmp_path / "per-layer.html").links
    assert "https://github.com/owner/name" in links
    assert "https://github.com/owner/name/edit/main/docs/per-layer.md" in links


@pytest.mark.parametrize("name", oc.__all__)
def test_a_page_of_the_reference_has_types_and_is_not_garbled(site, name):
    text = (site / "api" / f"optax_cosine.{name}.html").read_text()
    assert "Return type" not in text  # what Napoleon makes of words before a colon
    assert "TypedNdArray" not in text
    if name != "Schedule":
        assert 'class="sig-return"' in text
    # A name of this library, JAX or NumPy links to its page.
    assert "reference internal" in text
