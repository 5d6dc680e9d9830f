"""Decode an image file and resize its pixels, or raise an error that says what is wrong with it."""

from __future__ import annotations

import stat
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from reidkit.errors import DataError, first_line
from reidkit.jit import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.types import ImageFile

    _Weights = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]


MAX_BYTES = 1 << 28
"""Largest file that is read: 256 MiB."""

MAX_PIXELS = 1 << 26
"""Largest image that is decoded: 67 million pixels, 192 MiB of RGB. A small file can claim to be far larger."""

MAX_SIDE = 65_535
"""Longest side in pixels, as in a JPEG: resizing a line of millions of pixels takes memory by the gigabyte."""

FORMATS = ("PNG", "BMP", "WEBP", "AVIF", "TIFF", "GIF", "PPM", "JPEG")
"""What Pillow may open, from 11.3 on. Its list is longer, and some of it (EPS) starts other programs."""

ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339
"""Tags of a TIFF; the format of a sample is 1 where it is unsigned."""

_COLOURS = ("RGB", "RGBA", "LA")

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""What the first box of such a file says that it is."""


def decode(path: ImageFile) -> NDArray[np.uint8]:
    """Return the pixels of an image file, or of an image in a shard, RGB uint8 [H, W, 3].

    The format follows from the content, not from the name. Grey and CMYK become RGB, transparency is dropped, an
    animation gives its first frame, and grey of more than 8 bits becomes 8 as `_eight_bits` says. The EXIF
    orientation is applied: benchmark images carry none, but a photo from a telephone may be stored on its side, and a
    network finds no person who lies there.

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
            raise DataError(f"{path} is not a file: give the file of an image")
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
        raise DataError(f"{name} claims more pixels than the limit of {MAX_PIXELS:,}: make it smaller") from None
    except Exception as error:  # the readers of damaged files fail in every way: struct.error, IndexError, SyntaxError
        raise DataError(f"{name} is damaged: {first_line(error)}") from None
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
        raise DataError(f"{name} is {width} x {height} pixels, above the limit of {MAX_PIXELS:,}: make it smaller")
    if max(height, width) > MAX_SIDE:
        raise DataError(
            f"{name} is {width} x {height} pixels: no side may be longer than {MAX_SIDE:,}, so make it smaller"
        )


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
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
        return "it is a HEIC photo, as telephones make them; convert it to JPEG"
    return (
        "it looks like text" if b"\x00" not in data[:512] and data[:512].isascii() else f"it starts with {data[:8]!r}"
    )


# Resizing without aliasing: Pillow's BILINEAR, up to three times as fast, and its BICUBIC. Along one side the bytes are
# Pillow's. Along both they are those of its versions that resize the columns first; later ones choose the side by its
# cost, and then a byte can differ by one. Here it does not depend on a version.


Filter = Literal["bilinear", "bicubic"]

_BITS = 22
"""Weights are whole numbers of 2**-22: a sum of bytes times weights then stays below 2**31."""

_KEPT = 4096
"""Longest side in pixels whose weights are kept: they grow with it, and the sizes come with the images."""

_REACH = {"bilinear": 1.0, "bicubic": 2.0}
"""How far a filter reaches to each side, in input pixels where the image grows and output pixels where it shrinks."""


def resize(image: NDArray[np.uint8], out: NDArray[np.uint8], by: Filter = "bilinear") -> None:
    """Resize `image` [h, w, 3] to fill `out` [H, W, 3].

    Each output pixel is the weighted mean of the pixels under a curve, cut off at the edge: a triangle of two pixels,
    or Keys's cubic (1981) with a = -1/2 of four, which overshoots at edges. The pixels are the input's where the image
    grows and the output's where it shrinks. Columns first, rounded to bytes, then rows.
    """
    height, width, _ = out.shape
    image = np.ascontiguousarray(image)
    narrow = np.empty((len(image), width, 3), dtype=np.uint8)
    _columns(image, *_weights(image.shape[1], width, by), narrow)
    _rows(narrow.reshape(len(image), -1), *_weights(len(image), height, by), out.reshape(height, -1))


def _weights(size: int, target: int, by: Filter) -> _Weights:
    """Return the weights, kept for the next image of this size: 512 sizes of up to `_KEPT` pixels, 40 MB at most."""
    return _cached_weights(size, target, by) if size <= _KEPT and target <= _KEPT else _make_weights(size, target, by)


@lru_cache(maxsize=512)
def _cached_weights(size: int, target: int, by: Filter) -> _Weights:
    return _make_weights(size, target, by)


def _make_weights(size: int, target: int, by: Filter) -> _Weights:
    """What each of `target` pixels takes of `size`: first [target], how many [target], the weights [target, taps]."""
    scale = size / target
    stretch = max(scale, 1.0)
    reach = _REACH[by] * stretch
    centre = (np.arange(target) + 0.5) * scale
    first = np.maximum(centre - reach + 0.5, 0).astype(np.int64)
    count = np.minimum(centre + reach + 0.5, size).astype(np.int64) - first
    # The weight of input pixel first + tap: the curve at its distance from the output pixel's centre, in its units.
    tap = np.arange(count.max())
    distance = np.abs(first[:, None] + tap - centre[:, None] + 0.5) / stretch
    curve = np.maximum(1 - distance, 0) if by == "bilinear" else _cubic(distance)
    weight = np.where(tap < count[:, None], curve, 0)
    weight /= np.cumsum(weight, axis=1)[:, -1:]
    return first, count, np.trunc(weight * (1 << _BITS) + np.copysign(0.5, weight)).astype(np.int32)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys's cubic: (a+2) x^3 - (a+3) x^2 + 1 below 1, a (x^3 - 5 x^2 + 8 x - 4) below 2, with a = -1/2."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = -0.5 * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


@njit(inline="always")
def _byte(total: np.int32 | int) -> int:
    """Return a sum of weighted bytes as a byte; a cubic may leave their range."""
    return min(max(int(total >> _BITS), 0), 255)


@njit()
def _columns(
    image: NDArray[np.uint8],
    first: NDArray[np.int64],
    count: NDArray[np.int64],
    weight: NDArray[np.int32],
    out: NDArray[np.uint8],
) -> None:
    half = np.int32(1 << (_BITS - 1))
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            red = green = blue = half
            for tap in range(count[x]):
                factor, column = weight[x, tap], first[x] + tap
                red += factor * np.int32(image[y, column, 0])
                green += factor * np.int32(image[y, column, 1])
                blue += factor * np.int32(image[y, column, 2])
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = _byte(red), _byte(green), _byte(blue)


@njit()
def _rows(
    lines: NDArray[np.uint8],
    first: NDArray[np.int64],
    count: NDArray[np.int64],
    weight: NDArray[np.int32],
    out: NDArray[np.uint8],
) -> None:
    total = np.empty(out.shape[1], dtype=np.int32)
    for y in range(out.shape[0]):
        total[:] = 1 << (_BITS - 1)
        for tap in range(count[y]):
            factor, line = weight[y, tap], lines[first[y] + tap]
            for i in range(len(line)):
                total[i] += factor * np.int32(line[i])
        for i in range(len(total)):
            out[y, i] = _byte(total[i])
