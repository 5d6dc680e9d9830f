"""Build the site: the pages of docs/, those of the project's root, and the reference of the packages, as HTML.

python -m docs.site

The pages go to build/pages, and the site that Zensical makes of them (site.yml) to build/site. A link or an anchor that
leads nowhere ends it with status 1.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from latex2mathml.converter import convert

from docs import api

ROOT = Path(__file__).parents[1]
PACKAGES = tuple(name.removeprefix("reidkit.") for name in api.PACKAGES)
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "LICENSE": "LICENSE.txt",
    "CITATION.cff": "CITATION.cff",
}
"""Files of the project's root, and what they are on the site."""


def main() -> None:
    """Build the site into build/site."""
    sys.exit(build(ROOT / "build"))


def build(folder: Path) -> int:
    """Write `pages` and `site` into a folder, and return the status of Zensical: 0 where every link leads somewhere."""
    folder.mkdir(exist_ok=True)
    collect(folder / "pages")
    settings = (ROOT / "docs" / "site.yml").read_text(encoding="utf-8").replace("../src", str(ROOT / "src"))
    (folder / "site.yml").write_text(settings, encoding="utf-8")
    words = [
        sys.executable,
        "-m",
        "zensical",
        "build",
        "--strict",
        "--clean",
        "--config-file",
        str(folder / "site.yml"),
    ]
    return subprocess.run(words, cwd=folder, check=False).returncode


def collect(out: Path) -> None:
    """Write all pages of the site as Markdown into the folder `out`, which is emptied first."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(ROOT / "docs" / "images", out / "images")
    shutil.copy(ROOT / "docs" / "site.css", out)
    sources = {ROOT / name: uri for name, uri in OUTSIDE.items()}
    sources |= {page: page.name for page in (ROOT / "docs").glob("*.md")}
    for source, uri in sources.items():
        text = source.read_text(encoding="utf-8")
        text = linked_names(text) if uri == "api.md" else text
        (out / uri).write_text(formulas(site_links(text)) if uri.endswith(".md") else text, encoding="utf-8")
    (out / "reference").mkdir()
    for package in PACKAGES:
        (out / "reference" / f"{package}.md").write_text(reference(package), encoding="utf-8")


def reference(package: str) -> str:
    """Return the page of a package: each of its public names, by its docstring."""
    name = f"reidkit.{package}"
    module = import_module(name)
    parts = [f"# {name}", (module.__doc__ or "").split(">>>")[0].strip()]
    parts += [f"::: {name}.{public}" for public in module.__all__]
    return "\n\n".join(parts) + "\n"


def site_links(markdown: str) -> str:
    """Return the page with links as the site has them: what lies in docs/ or in the root is beside the page.

    >>> site_links("[a](docs/a.md#b), [how](../CONTRIBUTING.md#how), [c](https://x.org/docs/c.md)")
    '[a](a.md#b), [how](contributing.md#how), [c](https://x.org/docs/c.md)'
    """
    markdown = markdown.replace("](docs/", "](")
    for name, uri in OUTSIDE.items():
        markdown = re.sub(rf"\]\((\.\./)?{re.escape(name)}(?=[)#])", f"]({uri}", markdown)
    return markdown


def linked_names(markdown: str) -> str:
    """Return the page of names, those in the tables of packages linked to where they are described."""
    head, *sections = re.split(r"^## (reidkit\.\w+)$", markdown, flags=re.MULTILINE)
    for package, section in zip(sections[::2], sections[1::2], strict=True):
        rows = re.sub(r"^\| `(\w+)` \|", rf"| [`\1`][{package}.\1] |", section, flags=re.MULTILINE)
        head += f"## {package}{rows}"
    return head


def formulas(markdown: str) -> str:
    """Return the page with its blocks of the language `math` (LaTeX) as MathML, which browsers draw by themselves."""
    return re.sub(
        r"^```math\n(.*?)^```$",
        lambda block: f'<div class="formula">{convert(block[1].strip(), display="block")}</div>',
        markdown,
        flags=re.DOTALL | re.MULTILINE,
    )


if __name__ == "__main__":
    main()
