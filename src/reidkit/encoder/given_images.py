"""Images as a caller has them (paths, images of Pillow, pixels) at the size of an encoder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from reidkit.data.decode import decode
from reidkit.data.sources import fit, pool
from reidkit.errors import DataError, UsageError
from reidkit.interrupts import interrupts_heard
from reidkit.types import Dataset, Samples, SampleTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import PIL.Image
    from numpy.typing import NDArray

    from reidkit.encoder.input_spec import InputSpec

Image: TypeAlias = "str | os.PathLike[str] | PIL.Image.Image | NDArray[np.uint8]"
"""A path, an image of Pillow, or RGB pixels uint8 [H, W, 3]."""

TOGETHER = 64
"""Images of a list that are decoded in one call, at most."""


def read_images(images: Iterable[Image], spec: InputSpec) -> Iterator[NDArray[np.uint8]]:
    """Read images in order, as RGB pixels uint8 [B, H, W, 3] of an encoder's size, a few dozen at a time.

    Raises:
        DataError: an image cannot be read.
        UsageError: something that is no image.
    """
    source = GivenImages(list(images), spec)
    for first in range(0, len(source), TOGETHER):
        yield source.rows(np.arange(first, min(first + TOGETHER, len(source))))[0]


class GivenImages:
    """Images as a caller has them, an `ImageSource` that reads them when they are asked for."""

    def __init__(self, images: Sequence[Image], spec: InputSpec) -> None:
        self.samples: Samples = SampleTable()
        self.readable = np.arange(len(images), dtype=np.int64)
        self.size = (spec.height, spec.width)
        self._images, self._spec = images, spec

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the images that are paths; of none where one is not."""
        files = [os.fspath(image) for image in self._images if isinstance(image, str | os.PathLike)]
        return tuple(files) if len(files) == len(self._images) else ()

    def __len__(self) -> int:
        return len(self._images)

    @interrupts_heard()
    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Read these images.

        Raises:
            DataError: one cannot be read.
        """
        pixels = np.empty((len(indices), *self.size, 3), dtype=np.uint8)

        def read(row: int) -> None:
            index = int(indices[row])
            fit(_pixels(self._images[index], index), pixels[row], self._spec.resize)

        with pool() as threads:
            list(threads.map(read, range(len(indices))))
        pixels.flags.writeable = False
        return pixels, np.arange(len(indices), dtype=np.int64)


def _pixels(image: Image, index: int) -> NDArray[np.uint8]:
    """Return the pixels of one image, RGB uint8 [H, W, 3]; `index` says which in an error."""
    if isinstance(image, str | os.PathLike):
        return decode(Path(image))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            known = "; floats from 0 to 1 are (255 * image).round().astype('uint8')" if image.dtype.kind == "f" else ""
            raise UsageError(
                f"image {index} is {image.dtype} {list(image.shape)}: pass RGB pixels uint8 [H, W, 3]{known}"
            )
        return image
    if hasattr(image, "convert"):
        from PIL import ImageOps

        try:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:  # a file that Pillow has opened and not yet decoded
            raise DataError(f"image {index} cannot be read: {error}") from None
    raise UsageError(f"image {index} is of type {type(image).__name__}: pass a path, a PIL image or uint8 [H, W, 3]")


def refuse_no_list(images: object) -> None:
    """Refuse what is no list of images: one image, a folder, a data set, one array, something to iterate over.

    Raises:
        UsageError: it is none.
    """
    wanted = "pass a list of paths, PIL images or uint8 arrays [H, W, 3]"
    if isinstance(images, str | os.PathLike):
        text = str(images)
        if Path(text).is_dir():
            what = f"a folder: pass a list of images, as sorted(Path({text!r}).glob('*.jpg')), or use embed_images"
        else:
            what = f"one image: pass a list of images, [{text!r}]"
        raise UsageError(f"{text} is {what}", argument="images")
    if isinstance(images, Dataset):
        raise UsageError("images are a whole data set: pass one split of it, as data.query", argument="images")
    if isinstance(images, np.ndarray) and images.dtype.kind in "biufc" and images.ndim != 4:
        raise UsageError(
            f"images are one array {list(images.shape)}: {wanted}, or one array uint8 [N, H, W, 3]", argument="images"
        )
    if not isinstance(images, Sequence | np.ndarray):
        raise UsageError(f"images are of type {type(images).__name__}: {wanted}", argument="images")
