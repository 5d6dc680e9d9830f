"""docs/api.md describes every public name; `make docs` writes it."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import TYPE_CHECKING

import reidkit as rk
from docs import api

if TYPE_CHECKING:
    from pathlib import Path


def test_every_public_name_is_described() -> None:
    page = api.PAGE.read_text(encoding="utf-8")
    described = re.findall(r"^### rk\.(\w+)$", page, re.MULTILINE)
    assert sorted([*described, "__version__"]) == sorted(rk.__all__)
    assert described == re.findall(r"^### rk\.(\w+)$", api.render(), re.MULTILINE)


def test_every_name_of_the_packages_is_listed() -> None:
    page = api.PAGE.read_text(encoding="utf-8")
    for package in api.PACKAGES:
        section = page.partition(f"## {package}\n")[2].partition("\n## ")[0]
        assert re.findall(r"^\| `(\w+)(?:\(.*\))?` \|", section, re.MULTILINE) == list(
            import_module(package).__all__
        ), package


def test_a_signature_by_hand() -> None:
    text = api.render()
    assert "```text\nrk.open_gallery(uri: str | os.PathLike[str], model: Encoder | None = None) -> Gallery\n```" in text
    assert "- `network`: " in text
    assert "| `search(query, options=None, **changes)` | Find the rows" in text
    assert "| `embed(images, *, flip=False, feature='f_i', batch=0, " in text
    assert "| `count(matching=Filter(...))` | Return how many rows" in text
    assert "| `circle_loss(feat_bd, label_b, margin=0.25, scale=128.0)` | Return the circle loss" in text


def test_names_that_are_no_class_are_told_by_the_text_below_them(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('"""A module."""\nB = 1\n"""How many. More."""\nC = 2\n', encoding="utf-8")
    assert api._below(tmp_path / "a.py", "B") == "How many. More."
    assert api._below(tmp_path / "a.py", "C") == ""
    rows = re.findall(r"^\| `(Spans|resnet50)` \| (.*) \|$", api.render(), re.MULTILINE)
    assert [(name, text.split(",")[0]) for name, text in rows] == [
        ("Spans", 'Where in a feature each branch of a head stands: "" is the whole'),
        ("resnet50", "The backbone of the paper"),
    ]


def test_a_protocol_is_not_shown_as_if_it_were_called() -> None:
    assert "(*args" not in api.render()


def test_every_name_says_what_it_is() -> None:
    for package in map(import_module, api.PACKAGES):
        assert not [name for name in package.__all__ if not api._doc(package, name)], package


def test_every_argument_of_the_packages_is_described() -> None:
    silent = []
    for package in map(import_module, api.PACKAGES):
        for name in package.__all__:
            doc, thing = api._doc(package, name), getattr(package, name)
            asked = list(inspect.signature(thing).parameters) if inspect.isfunction(thing) else []
            told = all(re.search(rf"^    (\*\*)?{each}: |`{each}`", doc, re.MULTILINE) for each in asked)
            if len(asked) > 2 and not told:
                silent.append(f"{package.__name__}.{name}")
    assert silent == []
