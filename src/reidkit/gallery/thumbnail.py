"""Small pictures of rows, which a gallery keeps to be shown where the images are not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import PIL.Image

    from reidkit.types import ImageFile

THUMBNAIL = (160, 320)
"""The box in which a thumbnail fits, width and height in pixels."""


def make_thumbnail(path: ImageFile) -> bytes | None:
    """Return a small JPEG of an image, without what else stands in its file; None where it cannot be read."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path if isinstance(path, Path) else io.BytesIO(path.read_bytes())) as image:
            image.draft("RGB", (2 * THUMBNAIL[0], 2 * THUMBNAIL[1]))
            return small_jpeg(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError):
        return None


def small_jpeg(image: PIL.Image.Image) -> bytes:
    """Return a JPEG of an image in RGB, which is made smaller in place until it fits into `THUMBNAIL`."""
    image.thumbnail(THUMBNAIL)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()
