"""One image file to pixels, or a sentence that says what is wrong with it."""

from __future__ import annotations

import stat
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from reidkit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.types import ImageFile

MAX_BYTES = 1 << 28
"""Largest file that is read: 256 MiB."""

MAX_PIXELS = 1 << 26
"""Largest image that is decoded: 67 million pixels, 192 MiB of RGB. A small file can claim to be far larger."""

MAX_SIDE = 65_535
"""Longest side in pixels, as in a JPEG: resizing a line of millions of pixels takes memory by the gigabyte."""

FORMATS = ("PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG")
"""What Pillow may open. Its list is longer, and some of it (EPS) starts other programs."""

ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339
"""Tags of a TIFF; the format of a sample is 1 where it is unsigned."""

_COLOURS = ("RGB", "RGBA", "LA")


def decode(path: ImageFile) -> NDArray[np.uint8]:
    """Return the pixels of an image file, or of an image in a shard, RGB uint8 [H, W, 3].

    The format is told by the content, not by the name. Grey and CMYK become RGB, transparency is dropped, an animation
    gives its first frame, and grey of more than 8 bits becomes 8 as `_eight_bits` says. The EXIF orientation is
    applied: benchmark images carry none, but a photo from a telephone is stored lying on its side, and a person who
    lies is not found.

    Raises:
        DataError: the file is missing, empty, cut short, damaged, no image, above `MAX_BYTES`, `MAX_PIXELS` or
            `MAX_SIDE`, or holds values that make no image. The sentence starts with the path.
    """
    return decode_bytes(read_image(path), str(path))


def read_image(path: ImageFile) -> bytes:
    """Return the bytes of an image file, or of an image in a shard, not decoded.

    Raises:
        DataError: the file is missing, no regular file, cannot be read, or is above `MAX_BYTES`.
    """
    if not isinstance(path, Path):
        return path.read_bytes()
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path} is not a file")
        if status.st_size > MAX_BYTES:
            raise DataError(f"{path} has {status.st_size:,} bytes, above the limit of {MAX_BYTES:,}")
        with path.open("rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def decode_bytes(data: bytes, name: str) -> NDArray[np.uint8]:
    """Return the pixels of an image held in memory, RGB uint8 [H, W, 3], as `decode` gives them.

    Raises:
        DataError: as `decode`; the sentence starts with `name`.
    """
    if not data:
        raise DataError(f"{name} is empty: it has 0 bytes")
    if not data.startswith(b"\xff\xd8"):
        return _decode_any(data, name)
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(height, width, name)
        if colours == "CMYK":
            return _decode_any(data, name)
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB")
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{name} is a damaged JPEG: {error}") from None
    if b"Exif\x00\x00" not in data[:65536]:
        return pixels
    return _upright(pixels, _orientation(data))


def is_plain(pixels: NDArray[np.uint8]) -> bool:
    """Return whether all pixels of an image [H, W, 3] have one value: it is black, white or of one colour."""
    return bool((pixels[0] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all())


def _decode_any(data: bytes, name: str) -> NDArray[np.uint8]:
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
        _check_size(image.height, image.width, name)
        deep = _is_deep(image)
        pixels = np.array(_rgb(image, name))
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{name} is not an image, or of a kind that is not read: {_kind(data)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{name} claims more pixels than the limit of {MAX_PIXELS:,}") from None
    except Exception as error:  # the readers of damaged files fail in every way: struct.error, IndexError, SyntaxError
        raise DataError(f"{name} is damaged: {_first_line(error)}") from None
    if deep and 0 < pixels.max() < 16:  # Pillow keeps the high byte of each channel: what lies below is lost
        raise DataError(f"{name} has 16 bits a channel and uses 12 of them at most: save it with 8 bits a channel")
    return pixels if image.format == "TIFF" else _upright(pixels, _orientation(data))  # Pillow has turned a TIFF


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # which Pillow would clip at 255 and not scale
        return Image.fromarray(_eight_bits(_values(image), name)).convert("RGB")
    if image.mode == "P":  # straight to RGB, Pillow warns of transparency
        image = image.convert("RGBA")
    return image.convert("RGB")


def _values(image: Image.Image) -> NDArray[np.generic]:
    """The values of a grey image of more than 8 bits, as the file has them: Pillow takes unsigned 32 bits as signed."""
    values: NDArray[np.generic] = np.array(image)
    if image.mode == "I" and image.format == "TIFF" and _tag(image, _SAMPLE_FORMAT, 1) == 1:
        return values.view(np.uint32)
    return values


def _eight_bits(values: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """Grey of more than 8 bits as 8.

    Whole numbers from 0 on are taken to have 8, 10, 12, ... or 32 bits, the fewest that hold the largest of them, of
    which the highest 8 are kept: cameras put 10 to 14 bits into files of 16. Floats from 0 to 1 are multiplied by 255.
    Other values (below 0, or floats that are not whole) are stretched so that the least becomes 0 and the largest 255.

    Raises:
        DataError: a value is not finite.
    """
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{name} holds values that are not finite: save it with 8 bits a channel")
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.rint(values.astype(np.float32) * 255).astype(np.uint8)
    if low >= 0 and high < 1 << 32 and (values.dtype.kind != "f" or bool((values == np.rint(values)).all())):
        bits = max(8, int(high).bit_length())
        return (values.astype(np.uint32) >> (bits + bits % 2 - 8)).astype(np.uint8)
    spread = float(high) - float(low)
    if spread == 0:
        return np.zeros(values.shape, np.uint8)
    return np.rint((values.astype(np.float64) - float(low)) * (255 / spread)).astype(np.uint8)


def _is_deep(image: Image.Image) -> bool:
    """Return whether the file has 16 bits for each of several channels, of which Pillow gives the higher 8."""
    if image.format == "TIFF":
        return image.mode in _COLOURS and _tag(image, _BITS_PER_SAMPLE, 8) == 16
    tiles = getattr(image, "tile", ()) if image.format == "PNG" else ()
    return image.mode in _COLOURS and any("16" in str(tile[3]) for tile in tiles)


def _tag(image: Image.Image, tag: int, missing: int) -> int:
    """Return the first number of a TIFF's tag."""
    value = getattr(image, "tag_v2", {}).get(tag, missing)
    return int(value[0] if isinstance(value, tuple) else value)


def _check_size(height: int, width: int, name: str) -> None:
    if height * width > MAX_PIXELS:
        raise DataError(f"{name} is {width} x {height} pixels, above the limit of {MAX_PIXELS:,}")
    if max(height, width) > MAX_SIDE:
        raise DataError(f"{name} is {width} x {height} pixels: no side may be longer than {MAX_SIDE:,}")


def _orientation(data: bytes) -> int:
    try:
        return int(Image.open(BytesIO(data), formats=FORMATS).getexif().get(ORIENTATION, 1))
    except Exception:  # the pixels are good: unreadable metadata says nothing about them
        return 1


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo the EXIF orientation, 1 to 8; another number says nothing."""
    image = Image.fromarray(pixels)
    image.getexif()[ORIENTATION] = orientation
    return np.array(ImageOps.exif_transpose(image))


def _kind(data: bytes) -> str:
    return (
        "it looks like text" if b"\x00" not in data[:512] and data[:512].isascii() else f"it starts with {data[:8]!r}"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
