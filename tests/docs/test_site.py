"""The site of the pages: everything is in its navigation, every link leads somewhere, nothing comes from elsewhere."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs import site

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    site.collect(folder)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    assert site.build(folder) == 0
    return folder / "site"


class Fetched(HTMLParser):
    """What a browser fetches to show a page: scripts, styles, pictures, fonts, frames."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in {"script", "img", "iframe", "source", "video"} and given.get("src"):
            self.addresses.append(given["src"] or "")
        if tag == "link" and given.get("rel") not in {"canonical", "next", "prev"}:
            self.addresses.append(given["href"] or "")


def test_links_by_hand() -> None:
    page = "[a](docs/a.md#b) [how](../CONTRIBUTING.md#how) [s](SECURITY.md) [c](https://x.org/docs/README.md)"
    assert (
        site.site_links(page)
        == "[a](a.md#b) [how](contributing.md#how) [s](security.md) [c](https://x.org/docs/README.md)"
    )


def test_names_of_packages_by_hand() -> None:
    page = "| `a` | x |\n\n## reidkit.data\n\n| name | |\n|---|---|\n| `b` | y |\n\n## reidkit.model\n\n| `b` | z |\n"
    rows = re.findall(r"^\| (.*?) \|", site.linked_names(page), re.MULTILINE)
    assert rows == ["`a`", "name", "[`b`][reidkit.data.b]", "[`b`][reidkit.model.b]"]


def test_a_formula_by_hand() -> None:
    made = site.formulas("before\n\n```math\nx^2\n```\n\n```sh\nls\n```\n")
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in made.replace("\n", "")
    assert made.startswith("before\n\n<div")
    assert made.endswith("</div>\n\n```sh\nls\n```\n")


def test_every_page_is_in_the_navigation_once(pages: Path) -> None:
    settings = (ROOT / "docs" / "site.yml").read_text(encoding="utf-8")
    nav = re.findall(r": ([\w/]+\.md)$", settings.partition("\nnav:\n")[2], re.MULTILINE)
    assert len(nav) == len(set(nav))
    there = {str(page.relative_to(pages)) for page in pages.rglob("*.md")}
    assert set(nav) == there


def test_no_formula_is_left_as_its_source(pages: Path) -> None:
    assert "<math" in (pages / "tricks.md").read_text(encoding="utf-8")
    for page in pages.rglob("*.md"):
        assert "```math" not in page.read_text(encoding="utf-8"), page


def test_a_page_is_read_without_the_network(built: Path) -> None:
    """No script, style, picture or font of a page has an address elsewhere, in the page or in a style."""
    found = list(built.rglob("*.html"))
    assert len(found) > 30
    for page in found:
        addresses = Fetched(page.read_text(encoding="utf-8")).addresses
        assert addresses
        assert not [address for address in addresses if "//" in address], page
    styles = list(built.rglob("*.css"))
    assert styles
    for style in styles:
        assert not re.findall(r"(?:url\(|@import)\s*[\"']?https?:", style.read_text(encoding="utf-8")), style


def test_code_in_a_table_is_not_broken_after_each_letter_on_a_phone(built: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if (chromium := shutil.which("chromium") or shutil.which("google-chrome")) is None:
        pytest.skip("there is no chromium on this machine: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 360, "height": 740})
        page.goto((built / "methods.html").as_uri())
        heights = page.locator("td code", has_text=re.compile("^(single|pyramid)$")).evaluate_all(
            "all => all.map(each => each.getBoundingClientRect().height)"
        )
        width = page.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert len(heights) == 2
    assert max(heights) < 30, "one line each"
    assert width <= 360, "tables scroll, pages do not"


def test_every_name_of_the_packages_has_its_place(built: Path) -> None:
    page = (built / "reference" / "losses.html").read_text(encoding="utf-8")
    for name in ("CenterLoss", "batch_hard_triplet", "build_objective"):
        assert f'id="reidkit.losses.{name}"' in page
    assert 'href="reference/losses.html#reidkit.losses.CenterLoss"' in (built / "api.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("link", "status"), [("[a](other.md#yes)", 0), ("[a](other.md#no)", 1), ("[a](gone.md)", 1), ("[`a`][no.such]", 1)]
)
def test_a_link_that_leads_nowhere_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str, status: int
) -> None:
    def collect(out: Path) -> None:
        out.mkdir()
        (out / "index.md").write_text(f"# A\n\n{link}\n")
        (out / "other.md").write_text("# B\n\n## Yes\n")

    monkeypatch.setattr(site, "collect", collect)
    assert site.build(tmp_path) == status
