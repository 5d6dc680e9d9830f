"""Images that an export is checked and calibrated with."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reidkit.data.decode import decode, resize
from reidkit.data.image_list import list_images
from reidkit.data.sources import decode_all
from reidkit.errors import DataError
from reidkit.synth import synthesize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from reidkit.data.image_list import Named
    from reidkit.encoder import InputSpec
    from reidkit.types import ImageFile, Samples

log = logging.getLogger(__name__)

CHECKED = 64
"""Images that features are compared on."""

RESIZED = 16
"""Images that a graph's own resizing is checked on: whole, and in other sizes."""

SIZES = ((3.1, 2.3), (0.45, 0.6), (0.7, 2.9), (2.7, 0.55))
"""Their height and width as parts of the network's: larger, smaller, too wide, too tall."""

GRAIN = 32
"""How much light is added to or taken from each of their pixels, at most: a filter that skips pixels leaves it in."""


SHADES = (64, 192)
"""Of the pixels of noise: a cubic filter, which overshoots, makes none of them that no byte can hold."""


@dataclass(frozen=True)
class CheckImages:
    """Images at a network's size, uint8 [N, H, W, 3], with their files; `synthetic` where no real ones were given."""

    pixels: NDArray[np.uint8]
    files: tuple[ImageFile, ...]
    synthetic: bool = False

    def split(self, count: int) -> tuple[CheckImages, CheckImages]:
        """Return `count` images, evenly among all, and the others."""
        chosen = np.unique(np.linspace(0, len(self.files) - 1, min(count, len(self.files))).astype(int))
        rest = np.setdiff1d(np.arange(len(self.files)), chosen)
        return self._take(chosen), self._take(rest)

    def in_other_sizes(self) -> dict[str, NDArray[np.uint8]]:
        """Return images [H, W, 3] by their names, for a graph that resizes: files whole, and all in other sizes.

        Any filter leaves images of the network's own size as they are, and a poor one does smooth images no harm.
        """
        found = {} if self.synthetic else {str(file): decode(file) for file in self.files[:RESIZED]}
        rng = np.random.default_rng(0)
        for at, pixels in enumerate(self.pixels[:RESIZED]):
            parts = SIZES[at % len(SIZES)]
            height, width = (max(round(side * part), 1) for side, part in zip(pixels.shape, parts, strict=False))
            made = np.empty((height, width, 3), np.uint8)
            resize(pixels, made)
            grain = rng.integers(-GRAIN, GRAIN, (height, width, 1), endpoint=True)
            found[f"{self.files[at]} at {height}x{width}"] = (made + grain).clip(0, 255).astype(np.uint8)
        return found

    def _take(self, rows: NDArray[np.int64]) -> CheckImages:
        return CheckImages(self.pixels[rows], tuple(self.files[row] for row in rows.tolist()), self.synthetic)


def noise_in_other_sizes(spec: InputSpec) -> list[NDArray[np.uint8]]:
    """Return images [H, W, 3] of noise, whose pixels any two filters resize otherwise, whatever images are given."""
    rng = np.random.default_rng(0)
    sides = [(max(round(spec.height * tall), 1), max(round(spec.width * wide), 1)) for tall, wide in SIZES]
    return [rng.integers(*SHADES, (*each, 3), np.uint8) for each in sides]


def read_check_images(images: Named | Iterable[Named] | None, spec: InputSpec, most: int) -> CheckImages:
    """Read up to `most` images, evenly among those that are given; without any, synthetic ones.

    Raises:
        DataError: there are none, or none of them can be read.
    """
    if images is None:
        log.warning(
            "the file is checked on synthetic images, which says less than images of your own cameras: give some",
            extra={"argument": "calibration"},
        )
        with tempfile.TemporaryDirectory(prefix="reidkit-export-") as folder:
            synthesize(Path(folder) / "people", ids=8, cameras=3, images_per_camera=4, workers=1)
            return _read(list_images(Path(folder) / "people").samples, spec, most, synthetic=True)
    return _read(list_images(images).samples, spec, most, synthetic=False)


def _read(samples: Samples, spec: InputSpec, most: int, *, synthetic: bool) -> CheckImages:
    rows = np.unique(np.linspace(0, len(samples) - 1, min(most, len(samples))).astype(int))
    files = [samples[row].path for row in rows.tolist()]
    parts: list[NDArray[np.uint8]] = []
    unreadable: dict[int, str] = {}
    for pixels, why in decode_all(files, (spec.height, spec.width), None, spec.resize):
        parts.append(pixels)
        unreadable |= why
    kept = np.setdiff1d(np.arange(len(files)), list(unreadable))
    if not len(kept):
        reason = next(iter(unreadable.values()), "there are none")
        raise DataError(f"no image of those given can be read ({reason}): give others", argument="calibration")
    return CheckImages(np.concatenate(parts)[kept], tuple(files[row] for row in kept.tolist()), synthetic)
