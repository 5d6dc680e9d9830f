"""Every kind of file that turns up under the name of an image."""

from __future__ import annotations

import os
import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageOps

from reidkit.data import decode as module
from reidkit.data.decode import decode, decode_bytes
from reidkit.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def test_two_pixels_by_hand(tmp_path: Path) -> None:
    """A picture one row high and two columns wide: red, then blue."""
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), BLUE)
    path = tmp_path / "two.png"
    image.save(path)
    pixels = decode(path)
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == [[[255, 0, 0], [0, 0, 255]]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "AVIF", "TIFF", "GIF", "PPM"])
def test_every_format_by_content_not_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "Wrong name ü.jpeg"
    path.write_bytes(encoded(Image.new("RGB", (16, 32), (200, 40, 90)), kind))
    pixels = decode(path)
    assert pixels.shape == (32, 16, 3)
    assert np.abs(pixels.astype(int) - (200, 40, 90)).max() <= 6
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 5}])
def test_jpeg_gives_what_pillow_gives(options: dict[str, object]) -> None:
    data = encoded(noise().resize((64, 128)), "JPEG", **options)
    expected = np.array(Image.open(BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode_bytes(data, "x") - expected).max() <= 3


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_of_other_colours(mode: str) -> None:
    data = encoded(noise(mode), "JPEG")
    expected = np.array(Image.open(BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode_bytes(data, "x") - expected).max() <= 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_png_of_other_modes(mode: str) -> None:
    image = noise(mode)
    assert np.array_equal(decode_bytes(encoded(image, "PNG"), "x"), np.array(image.convert("RGB")))


def test_a_palette_with_transparent_bytes_does_not_warn() -> None:
    image = noise("P")
    assert np.array_equal(
        decode_bytes(encoded(image, "PNG", transparency=bytes(range(256))), "x"), np.array(image.convert("RGB"))
    )


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    image = Image.fromarray(np.array([[0, 256, 32768, 65535]], dtype=np.uint16))
    assert decode_bytes(encoded(image, "PNG"), "x")[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        ((0, 16, 2048, 4095), (0, 1, 128, 255)),  # 12 bits
        ((0, 4, 512, 1023), (0, 1, 128, 255)),  # 10
        ((0, 64, 8192, 16383), (0, 1, 128, 255)),  # 14
        ((0, 1, 128, 255), (0, 1, 128, 255)),  # 8
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_fewer_bits_in_a_file_of_sixteen(kind: str, values: tuple[int, ...], grey: tuple[int, ...]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.uint16))
    assert decode_bytes(encoded(image, kind), "x")[0, :, 1].tolist() == list(grey)


@pytest.mark.parametrize(
    ("dtype", "values", "grey"),
    [
        (np.float32, (0, 0.2, 0.5, 1), (0, 51, 128, 255)),  # 0.5 * 255 = 127.5, to the even number
        (np.float32, (0, 51, 128, 255), (0, 51, 128, 255)),
        (np.float32, (0, 16, 2048, 4095), (0, 1, 128, 255)),
        (np.float32, (-1, 0, 0.5, 1), (0, 128, 191, 255)),
        (np.float32, (0, 0.25, 0.5, 1.25), (0, 51, 102, 255)),
        (np.int32, (0, 1, 128, 255), (0, 1, 128, 255)),
        (np.int32, (0, 1 << 23, 1 << 30, (1 << 31) - 1), (0, 0, 64, 127)),
        (np.int32, (-10, 0, 10, 41), (0, 50, 100, 255)),
    ],
)
def test_thirty_two_bits_are_not_black(dtype: type, values: tuple[float, ...], grey: tuple[int, ...]) -> None:
    image = Image.fromarray(np.array([values], dtype=dtype))
    assert decode_bytes(encoded(image, "TIFF"), "x")[0, :, 2].tolist() == list(grey)


def test_unsigned_thirty_two_bits() -> None:
    """Pillow takes them as signed: from 2**31 on they would be below 0."""
    values = np.array([[0, 1 << 24, 1 << 31, (1 << 32) - 1]], dtype=np.uint32)
    signed = encoded(Image.fromarray(values.view(np.int32)), "TIFF")
    sample_format = struct.pack("<HHI", 339, 3, 1)  # the tag, of one number of 16 bits
    data = signed.replace(sample_format + b"\2", sample_format + b"\1")
    assert data != signed
    assert decode_bytes(data, "x")[0, :, 0].tolist() == [0, 1, 128, 255]


def test_values_that_are_not_finite_are_said() -> None:
    image = Image.fromarray(np.array([[0, np.nan, 1]], dtype=np.float32))
    with pytest.raises(DataError, match="x holds values that are not finite: save it with 8 bits"):
        decode_bytes(encoded(image, "TIFF"), "x")


def deep_png(value: int) -> bytes:
    """2 x 1 pixels of 16 bits a channel, which Pillow reads and does not write: black, and `value` in all channels."""
    row = b"\0" + struct.pack(">6H", 0, 0, 0, value, value, value)
    return png(struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0), row)


def test_twelve_bits_in_sixteen_of_each_colour_are_refused() -> None:
    assert decode_bytes(deep_png(65535), "x")[0, :, 0].tolist() == [0, 255]
    with pytest.raises(DataError, match="x has 16 bits a channel and uses 12 of them at most: save it with 8 bits"):
        decode_bytes(deep_png(4095), "x")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK"])
def test_tiff_of_other_modes(mode: str) -> None:
    image = noise(mode)
    assert np.array_equal(decode_bytes(encoded(image, "TIFF"), "x"), np.array(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    data = encoded(noise(), kind, exif=exif, **options)
    expected = np.array(ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB")).astype(int)
    found = decode_bytes(data, "x")
    assert found.shape == ((24, 16, 3) if orientation < 5 else (16, 24, 3))
    assert np.abs(found - expected).max() <= 3


def test_damaged_exif_costs_the_orientation_and_not_the_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(noise(), "JPEG", exif=exif)
    start = data.index(b"Exif\x00\x00") + 6
    broken = data[:start] + b"\xff" * 8 + data[start + 8 :]
    assert decode_bytes(broken, "x").shape == (24, 16, 3)


def test_the_sentence_names_the_file_and_the_reason(tmp_path: Path) -> None:
    good = encoded(noise(), "JPEG")
    cases = {
        "empty.jpg": (b"", "is empty: it has 0 bytes"),
        "text.jpg": (b"<html>not found</html>", "is not an image.*looks like text"),
        "random.jpg": (bytes(range(128, 256)), "is not an image.*it starts with"),
        "photo.heic": (b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf", "it is a HEIC photo.*convert it to JPEG"),
        "half.jpg": (good[: len(good) // 2], "is a damaged JPEG"),
        "tail.jpg": (good[:-2], "is a damaged JPEG"),
        "start.jpg": (good[:2], "is a damaged JPEG"),
        "half.png": (encoded(noise(), "PNG")[:400], "is damaged"),
        "eps.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image"),
    }
    for name, (data, reason) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=reason) as caught:
            decode(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_what_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        decode(tmp_path / "none.jpg")
    with pytest.raises(DataError, match="cannot be read: Too many levels"):
        decode(tmp_path / "loop.jpg")
    with pytest.raises(DataError, match="is not a file: give the file of an image"):
        decode(tmp_path)
    with pytest.raises(DataError, match="is not a file"):
        decode(tmp_path / "pipe.jpg")


def png(header: bytes, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png_that_claims(width: int, height: int) -> bytes:
    return png(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"\0" * 99)


@pytest.mark.parametrize("size", [(65_536, 1), (1, 65_536), (30_000_000, 1)])
def test_a_line_of_pixels_is_not_decoded(size: tuple[int, int]) -> None:
    """It has few enough pixels, and resizing it would take gigabytes: 64 x 3 bytes for each pixel of its height."""
    with pytest.raises(DataError, match="pixels: no side may be longer than 65,535"):
        decode_bytes(png_that_claims(*size), "line.png")


@pytest.mark.parametrize("side", [8_200, 10_000, 30_000, 2_000_000])
def test_a_small_file_that_claims_many_pixels_is_not_decoded(side: int) -> None:
    with pytest.raises(DataError, match="limit of 67,108,864"):
        decode_bytes(png_that_claims(side, side), "bomb.png")


def test_a_jpeg_that_claims_many_pixels_is_not_decoded() -> None:
    data = encoded(Image.new("L", (16, 16)), "JPEG")
    frame = data.index(b"\xff\xc0") + 5
    with pytest.raises(DataError, match="60000 x 60000 pixels, above the limit"):
        decode_bytes(data[:frame] + struct.pack(">HH", 60000, 60000) + data[frame + 4 :], "bomb.jpg")


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    (tmp_path / "big.jpg").write_bytes(b"\xff\xd8" + bytes(99))
    with pytest.raises(DataError, match="has 101 bytes, above the limit of 100"):
        decode(tmp_path / "big.jpg")


def test_damage_anywhere_gives_pixels_or_a_data_error() -> None:
    """Cut and flipped bytes of every format: never another exception."""
    rng = np.random.default_rng(1)
    for kind in ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM"]:
        good = encoded(noise(), kind)
        for _ in range(60):
            data = bytearray(good[: rng.integers(1, len(good) + 1)])
            for place in rng.integers(0, len(data), 4):
                data[place] = rng.integers(256)
            shape, sentence = outcome(bytes(data))
            assert shape[2:] == (3,) or sentence.startswith("x ")


def outcome(data: bytes) -> tuple[tuple[int, ...], str]:
    try:
        return decode_bytes(data, "x").shape, ""
    except DataError as error:
        return (), str(error)
