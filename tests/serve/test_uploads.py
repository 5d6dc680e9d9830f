"""The list of what is refused in docs/service.md, point by point."""

from __future__ import annotations

import io
import struct
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reidkit.serve.problems import Problem
from reidkit.serve.uploads import PixelBudget, UploadLimits, decode_upload, encode_copy, kind_of
from tests.serve.conftest import picture, saved

LIMITS = UploadLimits()


def refused(data, limits=LIMITS):
    with pytest.raises(Problem) as found:
        decode_upload(data, limits)
    return found.value.name


def plain(mode, colour, size=(16, 20)):
    return Image.new(mode, size, colour)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_three_kinds_are_read(kind):
    pixels = decode_upload(saved(plain("RGB", (200, 10, 10)), kind), LIMITS)
    assert (pixels.shape, pixels.dtype) == ((20, 16, 3), np.uint8)
    assert np.abs(pixels[10, 8].astype(int) - (200, 10, 10)).max() < 6


def test_bytes_are_counted():
    assert refused(picture(), UploadLimits(bytes=100)) == "too-large"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PDF", "EPS", "PPM"])
def test_other_kinds_are_refused(kind):
    assert refused(saved(plain("RGB", 0), kind)) == "unsupported-type"


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0", b"https://example.org/a.jpg",
     b"/etc/passwd", b"PK\x03\x04", b"RIFF\x00\x00\x00\x00WAVE"],
)  # fmt: skip
def test_what_is_no_picture_is_refused_by_its_first_bytes(data):
    assert kind_of(data) is None
    assert refused(data) == "unsupported-type"


def png(width, height, rows=b""):
    """A PNG that says it has these sides, whatever it holds."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(9000, 9000), (20_000, 20_000), (2**31 - 1, 2**31 - 1), (20_000, 8)])
def test_a_bomb_is_refused_by_its_header(size):
    assert refused(png(*size)) == "too-many-pixels"


def test_a_speck_is_refused():
    assert refused(saved(plain("RGB", 0, (7, 100)), "PNG")) == "image-unreadable"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_cut_short_is_refused(kind):
    data = picture(1, (64, 64), kind)
    assert decode_upload(data, LIMITS).shape == (64, 64, 3)
    assert refused(data[: len(data) // 2]) == "image-unreadable"
    for length in (40, 16):
        assert refused(data[:length]) in ("image-unreadable", "unsupported-type")


def test_a_png_without_its_pixels_is_refused():
    assert refused(png(100, 100, b"\0" * 10)) == "image-unreadable"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_refused(kind):
    frames = [plain("RGB", colour) for colour in ((255, 0, 0), (0, 255, 0))]
    assert refused(saved(frames[0], kind, save_all=True, append_images=frames[1:])) == "image-unreadable"
    assert decode_upload(saved(frames[0], kind), LIMITS).shape == (20, 16, 3)


def test_a_picture_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = plain("RGB", (255, 255, 255), (60, 30))
    image.paste((0, 0, 0), (0, 0, 30, 30))  # the left half is black: turned clockwise, it is the upper one
    pixels = decode_upload(saved(image, "JPEG", exif=exif), LIMITS)
    assert pixels.shape == (60, 30, 3)
    assert pixels[5].mean() < 20
    assert pixels[55].mean() > 235


def test_copies_hold_nothing_but_the_picture():
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 30.0)}
    data = saved(plain("RGB", 0, (600, 300)), "JPEG", exif=exif)
    assert b"a camera" in data
    copy = encode_copy(decode_upload(data, LIMITS), 256)
    again = Image.open(io.BytesIO(copy))
    assert again.size == (256, 128)
    assert not again.getexif()
    assert b"a camera" not in copy


def test_16_bits_are_scaled_and_not_cut_off():
    wide = np.full((20, 16), 60_000, np.uint16)
    wide[:10] = 257 * 20
    pixels = decode_upload(saved(Image.fromarray(wide), "PNG"), LIMITS)
    assert pixels[0, 0].tolist() == [20, 20, 20]
    assert pixels[19, 0].tolist() == [233, 233, 233]  # 60000 / 257


def test_hidden_colours_stay_hidden():
    red = decode_upload(saved(plain("RGBA", (255, 0, 0, 0)), "PNG"), LIMITS)
    assert np.unique(red).tolist() == [128]
    palette = plain("P", 0)
    palette.putpalette([255, 0, 0] + [0, 0, 0] * 255)
    hidden = decode_upload(saved(palette, "PNG", transparency=0), LIMITS)
    assert np.unique(hidden).tolist() == [128]


@pytest.mark.parametrize(
    ("mode", "colour"), [("CMYK", (0, 0, 0, 0)), ("L", 255), ("P", 0), ("LA", (255, 255)), ("1", 1)]
)
def test_every_mode_becomes_rgb(mode, colour):
    image = plain(mode, colour)
    if mode == "P":
        image.putpalette([255, 255, 255] * 256)
    pixels = decode_upload(saved(image, "JPEG" if mode == "CMYK" else "PNG"), LIMITS)
    assert pixels.shape == (20, 16, 3)
    assert pixels.min() >= 253


def test_a_huge_jpeg_is_read_at_a_fraction_of_its_size():
    pixels = decode_upload(saved(plain("RGB", (10, 200, 10), (6000, 4000)), "JPEG"), LIMITS)
    assert pixels.shape == (2000, 3000, 3)
    assert pixels[0, 0, 1] > 190


def test_pixels_at_one_time_are_limited():
    budget, order = PixelBudget(100), []

    def take(name, pixels):
        with budget.room(pixels):
            order.append(name)

    with budget.room(60):
        large = threading.Thread(target=take, args=("large", 1000))
        large.start()
        take("small", 40)
        assert order == ["small"]
    large.join(60)
    assert order == ["small", "large"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_change_of_a_picture_is_read_or_refused(data):
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP"]))
    content = bytearray(picture(2, (24, 24), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    outcome = ""
    try:
        pixels = decode_upload(bytes(content), UploadLimits(pixels=10**6))
    except Problem as problem:
        outcome = problem.name
    if outcome:
        assert outcome in {"image-unreadable", "unsupported-type", "too-many-pixels"}
    else:
        assert (pixels.dtype, pixels.shape[2]) == (np.uint8, 3)
