from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from reidkit.plots.image_grid import THUMBNAIL, data_uri, read_image, shown_name

if TYPE_CHECKING:
    from tests.report.conftest import Paint


def decoded(uri: str) -> Image.Image:
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(body, validate=True)))


def test_a_thumbnail_is_the_image_shrunk_into_the_box(paint: Paint) -> None:
    """400 x 400 into 96 x 192 is 96 x 96; the colour stays."""
    picture = decoded(data_uri(paint("a.jpg", "#ff0000", (400, 400))))
    assert picture.size == (96, 96)
    red, green, blue = np.asarray(picture.convert("RGB"))[48, 48]
    assert red > 240
    assert max(green, blue) < 20


def test_a_small_image_is_not_stretched(paint: Paint) -> None:
    assert decoded(data_uri(paint("a.jpg", size=(20, 30)))).size == (20, 30)


def test_metadata_do_not_travel(tmp_path: Path) -> None:
    """A camera may write the place and its owner into a photo: none of it reaches the page."""
    image, exif = Image.new("RGB", (60, 120)), Image.Exif()
    exif[0x010E] = "SECRET PLACE"
    image.save(tmp_path / "a.jpg", exif=exif)
    assert b"SECRET" in (tmp_path / "a.jpg").read_bytes()
    assert b"SECRET" not in base64.b64decode(data_uri(tmp_path / "a.jpg").partition(",")[2])


def test_an_image_turned_by_its_metadata_stands_upright(tmp_path: Path) -> None:
    image, exif = Image.new("RGB", (120, 60)), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    picture = read_image(tmp_path / "a.jpg", THUMBNAIL)
    assert picture is not None
    assert picture.size == (60, 120)


def png_claiming(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe0\x00\x10JFIF", png_claiming(60000, 60000)])
def test_what_is_no_image_is_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_image(tmp_path / "a.jpg", THUMBNAIL) is None
    assert data_uri(tmp_path / "a.jpg") == ""


def test_an_image_of_a_hundred_million_pixels_is_not_unpacked(tmp_path: Path) -> None:
    """Few bytes, 285 MB as RGB: Pillow only warns of this one."""
    Image.new("1", (10_000, 9_500)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 100_000
    assert read_image(tmp_path / "a.png", THUMBNAIL) is None


def test_a_truncated_image_is_nothing(paint: Paint) -> None:
    path = paint("a.jpg", size=(300, 300))
    path.write_bytes(path.read_bytes()[:-400])
    assert read_image(path, THUMBNAIL) is None


def test_folders_pipes_and_missing_files_are_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (
        tmp_path,
        tmp_path / "pipe.jpg",
        tmp_path / "gone.jpg",
        tmp_path / "nul\0.jpg",
        tmp_path / ("n" * 999),
    ):
        assert data_uri(path) == ""


def test_only_the_base_name_is_shown_and_it_can_be_written() -> None:
    assert shown_name(Path("/home/someone/data/0001_c1.jpg")) == "0001_c1.jpg"
    assert shown_name(Path(os.fsdecode(b"/data/caf\xe9.jpg"))).encode() == b"caf?.jpg"
