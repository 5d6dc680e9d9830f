from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats.detect import FORMATS
from reidkit.data.formats.scan import (
    any_image,
    first_image,
    folders_in,
    image_names,
    images_below,
    locate,
    named_samples,
    without_junk,
)
from reidkit.errors import DataError
from reidkit.types import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def test_images_by_suffix_in_sorted_order(draw: Callable[..., Path]) -> None:
    root = draw("b.jpg", "a.PNG", "ü.webp", "B.JPEG", "c.txt", ".hidden.jpg", "Thumbs.db", "d.jpg.part", "inner/e.jpg")
    assert image_names(root) == ["B.JPEG", "a.PNG", "b.jpg", "ü.webp"]
    assert any_image(root) in image_names(root)
    assert any_image(root / "none") is None
    assert folders_in(root) == [root / "inner"]


def test_images_below_a_folder(draw: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root = draw("b.jpg", "c/z.jpg", "c/d/y.png", "a/x.jpg", ".hidden/w.jpg", "c/notes.txt")
    (root / "c" / "up").symlink_to(root)
    wanted = ["b.jpg", "a/x.jpg", "c/z.jpg", "c/d/y.png"]
    assert [path.relative_to(root).as_posix() for path in images_below(root)] == wanted

    def locked(place: Path) -> object:
        if place == root / "c" / "d":
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    scandir = os.scandir
    monkeypatch.setattr("reidkit.data.formats.scan.os.scandir", locked)
    with pytest.raises(DataError, match="d cannot be read: Permission denied"):
        list(images_below(root))


@pytest.mark.parametrize("last_first", [False, True])
@pytest.mark.parametrize(
    ("format", "files"),
    [
        ("dukemtmc", ["bounding_box_train/0001_c2_f0046182.jpg", "bounding_box_train/x.jpg"]),
        ("market1501", ["bounding_box_train/0002_c1s1_000451_03.jpg", "bounding_box_train/0003_c1_f12.jpg"]),
        ("mars", ["bbox_train/0001/0001C1T0001F001.jpg", "bbox_train/0001/x.jpg"]),
        ("ltcc", ["train/000_1_c3_015833.png", "train/x.png"]),
        ("prid", ["single_shot/cam_a/person_0001.png", "single_shot/cam_b/person_0001.png", "single_shot/cam_a/x.png"]),
    ],
)
def test_the_order_of_a_disk_tells_no_format(
    format: str,  # noqa: A002
    files: list[str],
    last_first: bool,
    draw: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Systems list the files of a folder by name, by age or by chance; the first by name says what a data set is."""
    scandir = os.scandir

    @contextmanager
    def listed(place: Path) -> Iterator[list[os.DirEntry[str]]]:
        with scandir(place) as entries:
            yield sorted(entries, key=lambda entry: entry.name, reverse=last_first)

    root = draw(*files)
    monkeypatch.setattr("reidkit.data.formats.scan.os.scandir", listed)
    assert [name for name in ("market1501", "dukemtmc", "mars", "ltcc", "prid") if FORMATS[name].matches(root)] == [
        format
    ]


def test_the_first_image_is_none_of_what_is_no_image(draw: Callable[..., Path]) -> None:
    root = draw("b.JPG", "c.png")
    (root / "0.jpg").mkdir()
    for name in (".a.jpg", "a.txt"):
        (root / name).touch()
    assert first_image(root) == "b.JPG"
    assert first_image(root / "0.jpg") == first_image(root / "none") == ""


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none cannot be read: No such file"):
        image_names(tmp_path / "none")
    with pytest.raises(DataError, match="none cannot be read: No such file"):
        folders_in(tmp_path / "none")


def test_the_folder_itself_comes_before_those_inside(draw: Callable[..., Path]) -> None:
    root = draw("mark/x.jpg", "inner/mark/x.jpg")

    def marked(folder: Path) -> bool:
        return (folder / "mark").is_dir()

    assert locate(root, marked, "a mark") == root
    (root / "mark").rename(root / "other")
    assert locate(root, marked, "a mark") == root / "inner"
    with pytest.raises(DataError, match="other does not hold a mark"):
        locate(root / "other", marked, "a mark")


def test_a_pattern_reads_person_and_camera(draw: Callable[..., Path]) -> None:
    root = draw("p3k2.jpg", "p1k1.jpg")
    pattern = re.compile(r"p(?P<pid>\d)k(?P<cam>\d)")
    assert named_samples(root, pattern, "p1k1.jpg") == (
        Sample(root / "p1k1.jpg", 1, 1),
        Sample(root / "p3k2.jpg", 3, 2),
    )


def test_junk_is_taken_out_of_every_split(tmp_path: Path) -> None:
    good, bad = Sample(tmp_path / "a.jpg", 1, 0), Sample(tmp_path / "b.jpg", -1, 0)
    found = without_junk("x", (good, bad), (bad, good), (good,))
    assert [list(part) for part in found.splits] == [[good], [good], [good], [bad, bad]]
