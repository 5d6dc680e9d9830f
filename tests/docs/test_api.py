"""docs/api.md describes every public name; `make docs` writes it."""

from __future__ import annotations

import re
from importlib import import_module

import reidkit as rk
from docs import api


def test_every_public_name_is_described() -> None:
    page = api.PAGE.read_text(encoding="utf-8")
    described = re.findall(r"^### rk\.(\w+)$", page, re.MULTILINE)
    assert sorted([*described, "__version__"]) == sorted(rk.__all__)
    assert described == re.findall(r"^### rk\.(\w+)$", api.render(), re.MULTILINE)


def test_every_name_of_the_packages_is_listed() -> None:
    page = api.PAGE.read_text(encoding="utf-8")
    for package in api.PACKAGES:
        section = page.partition(f"## {package}\n")[2].partition("\n## ")[0]
        assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(import_module(package).__all__), package


def test_a_signature_by_hand() -> None:
    text = api.render()
    assert "```text\nrk.open_gallery(uri: str | os.PathLike[str], model: Encoder | None = None) -> Gallery\n```" in text
    assert "- `network`: " in text
