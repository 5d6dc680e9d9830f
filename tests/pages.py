"""What the tests of pages and figures share: a reader of pages, and synthetic pictures and lists."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from reidkit.plots.image_grid import RankedImage, RankedList

VOID = {"meta", "img", "br", "link", "input", "hr", "base"}


class Page(HTMLParser):
    """A page taken apart: its tags with their attributes, and its text outside of the style sheet.

    Reading fails where a tag is closed that is not the one open, as a browser would silently mend.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words.append(data)


Paint = Callable[..., Path]


@pytest.fixture
def paint(tmp_path: Path) -> Paint:
    """Paint an image of one colour under a name, and return its path."""

    def make(name: str, colour: str = "#336699", size: tuple[int, int] = (64, 128)) -> Path:
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", size, colour).save(path, format="JPEG")
        return path

    return make


@pytest.fixture
def ranked(paint: Paint) -> RankedList:
    """A query with three answers: right, wrong, and one whose file is not there."""
    entries = (
        RankedImage(paint("0007_c2.jpg"), pid=7, camid=1, is_match=True, distance=0.125),
        RankedImage(paint("0009_c3.jpg"), pid=9, camid=2, is_match=False, distance=0.25),
        RankedImage(Path("/private/folder/gone.jpg"), pid=-1, camid=-1, is_match=False, distance=0.5),
    )
    return RankedList(paint("0007_c1.jpg"), pid=7, camid=0, average_precision=0.875, first_rank=1, entries=entries)
