"""Pictures that a client sends: what is taken, and how it becomes RGB pixels. No name, path or address is ever opened.

The list of what is refused stands in docs/service.md, and each of its points is a test.
"""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

from reidkit.process_settings import without_warnings
from reidkit.serve.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

KINDS = ("JPEG", "PNG", "WEBP")
"""What Pillow may open. EPS, PDF, SVG, TIFF, HEIC and ICO are not among them."""

GREY = (128, 128, 128, 255)
"""What shows through where a picture is transparent."""

QUALITY = 90
"""Of the JPEGs that are kept to be shown."""

_DRAFT = 4_000_000
"""Pixels from which on a JPEG is read at a fraction of its size: a person's crop has a hundredth of them."""


@dataclass(frozen=True, kw_only=True)
class UploadLimits:
    """What one picture may have: bytes, pixels, and pixels of a side."""

    bytes: int = 10 * 2**20
    pixels: int = 50_000_000
    least_side: int = 8
    most_side: int = 16_384


class PixelBudget:
    """Pixels that are decoded at one time: waits until there is room, as many small pictures fit and few large ones."""

    def __init__(self, pixels: int = 200_000_000) -> None:
        self._left = self._all = pixels
        self._changed = threading.Condition()

    @contextmanager
    def room(self, pixels: int) -> Iterator[None]:
        """Wait for room, and hold it. A picture larger than the whole budget has it alone."""
        wanted = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= wanted)
            self._left -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._left += wanted
                self._changed.notify_all()


def decode_upload(data: bytes, limits: UploadLimits, budget: PixelBudget | None = None) -> NDArray[np.uint8]:
    """Return the pixels of a picture, RGB uint8 [H, W, 3], upright.

    What it is, is told by its first bytes alone. A transparent picture is laid on grey, 16 bits become 8, and CMYK,
    grey and palettes become RGB.

    Raises:
        Problem: `too-large`, `unsupported-type`, `too-many-pixels` or `image-unreadable`, before the picture is decoded
            where its header tells.
    """
    if len(data) > limits.bytes:
        raise Problem("too-large", limit_bytes=limits.bytes)
    if kind_of(data) is None:
        raise Problem("unsupported-type", "The content is not JPEG, PNG or WebP, whatever it is called.")
    try:
        image = _open(data)
    except Problem:
        raise
    except Exception as error:  # readers of damaged headers fail in every way
        raise _unreadable(error) from None
    _check_header(image, limits)
    with (budget or PixelBudget()).room(image.width * image.height):
        try:
            return _pixels(data, image)
        except Exception as error:  # struct.error, SyntaxError, MemoryError, ValueError, OSError have all been seen
            raise _unreadable(error) from None


def kind_of(data: bytes) -> str | None:
    """Return which of `KINDS` the first bytes are of; None for everything else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    return "WEBP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def encode_copy(pixels: NDArray[np.uint8], longest: int = 0) -> bytes:
    """Return pixels RGB uint8 [H, W, 3] as a JPEG that holds nothing else: no place, no time, no camera.

    With `longest` it is made smaller until its longer side has that many pixels.
    """
    image = Image.fromarray(pixels)
    if longest and max(image.size) > longest:
        image.thumbnail((longest, longest), Image.Resampling.BICUBIC)
    made: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(np.asarray(image)), quality=QUALITY, colorspace="RGB")
    return made


def _open(data: bytes) -> Image.Image:
    """Read the header."""
    # Our own limit is checked next; between it and Pillow's there is only a warning, above Pillow's an error.
    with without_warnings(category=Image.DecompressionBombWarning):
        try:
            return Image.open(io.BytesIO(data), formats=KINDS)
        except Image.DecompressionBombError:
            raise Problem("too-many-pixels", "The picture claims more pixels than any that is read.") from None


def _check_header(image: Image.Image, limits: UploadLimits) -> None:
    width, height = image.size
    if width * height > limits.pixels or max(width, height) > limits.most_side:
        raise Problem(
            "too-many-pixels",
            f"The picture has {width} x {height} pixels.",
            limit_pixels=limits.pixels,
            limit_side=limits.most_side,
        )
    if min(width, height) < limits.least_side:
        raise Problem(
            "image-unreadable", f"The picture has {width} x {height} pixels; {limits.least_side} are the least."
        )
    if getattr(image, "n_frames", 1) > 1:
        raise Problem("image-unreadable", "The picture is an animation: send one frame of it.")


def _pixels(data: bytes, image: Image.Image) -> NDArray[np.uint8]:
    orientation = image.getexif().get(0x0112, 1)
    small = image.width * image.height <= _DRAFT
    if image.format == "JPEG" and image.mode == "RGB" and small and orientation == 1:
        fast: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB")
        return fast
    if image.format == "JPEG" and not small:
        scale = (image.width * image.height / _DRAFT) ** 0.5
        image.draft("RGB", (int(image.width / scale), int(image.height / scale)))
    image.load()
    return np.array(_rgb(ImageOps.exif_transpose(image)))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        wide = np.asarray(image, np.float32)
        return Image.fromarray(np.rint(np.clip(wide, 0, 65535) / 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        # Straight to RGB, colours would come to light that nobody who looks at the picture sees.
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, GREY), picture).convert("RGB")
    return image.convert("RGB")


def _unreadable(error: Exception) -> Problem:
    """Name the kind of a failure, not its words: they may quote what stands in the file."""
    return Problem("image-unreadable", f"The picture is cut short or damaged ({type(error).__name__}).")
