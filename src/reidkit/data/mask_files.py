"""The file of one mask: what a grey mask is, a label image, or maps of keypoints, and what is none."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from reidkit.data.decode import FORMATS, MAX_PIXELS, decode, read_image
from reidkit.data.sources import fit
from reidkit.errors import DataError, first_line
from reidkit.recipe.mask_channels import JOINTS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.types import ImageFile

    Pixels = NDArray[np.uint8]

ANYWHERE = 255
"""The number of a label image that stands for every region at once: what is taken where a mask is missing."""

MAPS = ".npy"
JPEGS = (".jpg", ".jpeg")
ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", *JPEGS, MAPS)
"""The files of a folder that can be masks."""

_TOLERANCE = 8
"""Differences of the colours of a grey JPEG, which its coding brings."""


def read_grey(path: Path) -> Pixels:
    """Return a grey image [h, w]; one of zeros and ones alone becomes 0 and 255."""
    pixels = decode(path)
    spread = int((pixels.max(axis=2) - pixels.min(axis=2)).max())
    if spread > (_TOLERANCE if path.suffix.lower() in JPEGS else 0):
        raise DataError(f"{path} is in colour: a mask is a grey image, white where the person is")
    grey = np.ascontiguousarray(pixels[..., 0])
    return grey * np.uint8(255) if grey.max() <= 1 else grey


def read_labels(path: Path, largest: int) -> Pixels:
    """Return the numbers of a label image [h, w]: those of a palette, or grey values as they are."""
    if path.suffix.lower() in JPEGS:
        raise DataError(f"{path} is a JPEG, which does not keep numbers: save label images as PNG")
    if path.suffix.lower() == MAPS:
        raise DataError(f"{path} is no image: save label images as PNG")
    values = _values(path)
    if values.ndim == 3:
        if values.shape[2] == 2 or (values[..., :3] != values[..., :1]).any():
            raise DataError(f"{path} is in colour: a label image has one number a pixel, as grey or by a palette")
        values = values[..., 0]
    wrong = ((values > largest) | (values < 0)) & (values != ANYWHERE)
    if wrong.any():
        raise DataError(
            f"{path} holds the label {int(values[wrong].max())}: network.regions={largest} takes 0 (background) to "
            f"{largest}, and {ANYWHERE} for all of them"
        )
    return values.astype(np.uint8)


def _values(path: Path) -> NDArray[np.int64]:
    """Return the numbers of an image as they are stored: of a palette its indices."""
    data = read_image(path)
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
        small = image.height * image.width <= MAX_PIXELS
        values = np.asarray(image).astype(np.int64) if small else np.zeros((1, 1), np.int64)
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image, or of a kind that is not read") from None
    except Exception as error:  # as in `decode`: readers of damaged files fail in every way
        raise DataError(f"{path} is damaged: {first_line(error)}") from None
    if not small:
        raise DataError(f"{path} is {image.width} x {image.height} pixels, above the limit of {MAX_PIXELS:,}")
    return values


def read_maps(path: Path) -> Pixels:
    """Return stored keypoint maps [14, h, w] as uint8 [h, w, 14]."""
    if path.suffix.lower() != MAPS:
        raise DataError(f"{path} is no file of maps: keypoints are .npy files [14, h, w], or a COCO .json")
    try:
        maps = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is damaged, or no .npy file ({first_line(error)})") from None
    if maps.ndim != 3 or len(maps) != len(JOINTS) or 0 in maps.shape or maps.size > MAX_PIXELS:
        raise DataError(f"{path} holds {list(maps.shape)} numbers: keypoint maps are [{len(JOINTS)}, h, w]")
    if maps.dtype != np.uint8:
        if maps.dtype.kind not in "fiub":
            raise DataError(f"{path} holds {maps.dtype}: keypoint maps are uint8, or numbers from 0 to 1")
        values = np.asarray(maps, np.float32)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise DataError(f"{path} holds numbers that are not from 0 to 1: scale its maps, or store them as uint8")
        maps = np.rint(255 * values).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(np.asarray(maps), 0, 2))


def refuse_other_shape(path: Path, shape: tuple[int, ...], image: ImageFile) -> None:
    """Refuse a mask that is no scaled copy of its image's shape, to a pixel; an unreadable image is not its fault."""
    try:
        with Image.open(BytesIO(read_image(image)), formats=FORMATS) as found:
            width, height = ImageOps.exif_transpose(found).size if found.getexif() else found.size
    except (DataError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return
    high, wide = shape
    if abs(wide * height - high * width) > max(width, height):
        raise DataError(
            f"{path} is {wide} x {high} pixels, and its image {width} x {height}: a mask has the shape of its image"
        )


def resized(mask: Pixels, size: tuple[int, int], *, nearest: bool) -> Pixels:
    """Bring a mask [h, w, M] to a size [H, W, M]: by the mean of the pixels below, or by the nearest one."""
    if mask.shape[:2] == size:
        return mask
    if nearest:
        y, x = (
            ((np.arange(new) + 0.5) * old / new).astype(np.int64) for new, old in zip(size, mask.shape[:2], strict=True)
        )
        return np.ascontiguousarray(mask[y[:, None], x])
    out = np.empty((*size, mask.shape[2]), np.uint8)
    three = np.empty((*size, 3), np.uint8)
    for first in range(0, mask.shape[2], 3):
        some = mask[..., first : first + 3]
        filled = np.ascontiguousarray(np.pad(some, ((0, 0), (0, 0), (0, 3 - some.shape[2]))))
        fit(filled, three, "bilinear")
        out[..., first : first + 3] = three[..., : some.shape[2]]
    return out
