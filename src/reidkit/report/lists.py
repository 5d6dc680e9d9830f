"""Ranked lists: a query, and the images of the gallery nearest to it.

Images that cannot be read stay in their place, empty.
"""

from __future__ import annotations

import base64
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from reidkit.terminal import harmless

if TYPE_CHECKING:
    from reidkit.types import ImageFile

THUMBNAIL = (96, 192)
"""The box in pixels, width and height, that a thumbnail on the page fits into."""


@dataclass(frozen=True)
class RankedImage:
    """An image of the gallery: whether it is a true match (`right`), and its distance to the query.

    `pid_name` and `camid_name` are what these are called, or "" where numbers are all.
    """

    path: ImageFile
    pid: int
    camid: int
    right: bool
    distance: float
    pid_name: str = ""
    camid_name: str = ""


@dataclass(frozen=True)
class RankedList:
    """A query and its nearest images, nearest first.

    `average_precision` is a fraction; `first_rank` counts from 1 and is None where the gallery holds no true match.
    """

    query_path: ImageFile
    pid: int
    camid: int
    average_precision: float
    first_rank: int | None
    entries: tuple[RankedImage, ...]
    pid_name: str = ""
    camid_name: str = ""


def shown_name(path: ImageFile) -> str:
    """The base name of a file as text that can be encoded: folders of this machine are nobody's business."""
    return harmless(path.name.encode("utf-8", "replace").decode("utf-8"))


def read_image(path: ImageFile, box: tuple[int, int]) -> Image.Image | None:
    """The image as RGB, shrunk to fit `box` (width, height in pixels), or None where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # A pipe under an image's name would block for ever.
            if isinstance(path, Path) and not path.is_file():
                return None
            with Image.open(path if isinstance(path, Path) else io.BytesIO(path.read_bytes())) as image:
                image.draft("RGB", box)
                upright = ImageOps.exif_transpose(image).convert("RGB")
        upright.thumbnail(box, Image.Resampling.LANCZOS)
    except Exception:  # Pillow's decoders raise whatever a broken file provokes; a report outlives all of it.
        return None
    return upright


def data_uri(path: ImageFile) -> str:
    """The thumbnail of an image as a JPEG in a `data:` address, or "" where the image cannot be read."""
    image = read_image(path, THUMBNAIL)
    if image is None:
        return ""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
