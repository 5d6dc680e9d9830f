"""The best crops of a piece: large, little covered, sharp, and spread over its time; found while it is under way."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from reidkit.arguments import check_whole
from reidkit.errors import UsageError
from reidkit.video.boxes import areas, intersections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from reidkit.video.boxes import Boxes

TALLEST = 512
"""Rows of a crop that is kept; larger ones are made smaller. No network sees more."""

FULL_HEIGHT = 256
"""Rows from which on a larger box is no better."""

AT_EDGE = 0.5
"""What a box that touches the edge of the frame is worth of one that does not: it may lack legs or half a body."""

SPARE = 3
"""Candidates that are held beside the number that is wanted."""

QUALITY = 92
"""Of the JPEGs."""


@dataclass(frozen=True, kw_only=True)
class CropOptions:
    """Which crops are kept.

    Attributes:
        crops: How many of each piece, at most.
        min_height: Pixels that a box must be high for its crop to be one.
    """

    crops: int = 5
    min_height: int = 32

    def __post_init__(self) -> None:
        for name in ("crops", "min_height"):
            object.__setattr__(self, name, check_whole(getattr(self, name), name))
        if not 1 <= self.crops <= 100:
            raise UsageError(f"crops {self.crops} is not from 1 to 100", argument="crops")
        if not 1 <= self.min_height <= 10_000:
            raise UsageError(f"min_height {self.min_height} is not from 1 to 10000", argument="min_height")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A crop: the row of its box in the piece, its second, its worth, its sharpness and pixels uint8 [h, w, 3]."""

    row: int
    second: float
    worth: float
    sharpness: float
    pixels: NDArray[np.uint8]


def worths(boxes: Boxes, scores: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Return what the crop of each box in a frame is worth, 0 to 1, as far as the boxes tell; float32 [N].

    It is the product of the score, the height (as a part of 256), the square of the part that no other box covers,
    and one half where the box touches the edge of the frame.
    """
    shared = intersections(boxes, boxes)
    np.fill_diagonal(shared, 0)
    covered = shared.max(axis=1, initial=0) / np.maximum(areas(boxes), 1e-6)
    tall = np.minimum((boxes[:, 3] - boxes[:, 1]) / FULL_HEIGHT, 1)
    edge = (boxes[:, :2] <= 1).any(axis=1) | (boxes[:, 2] >= width - 1) | (boxes[:, 3] >= height - 1)
    found: NDArray[np.float32] = scores * tall * (1 - covered) ** 2 * np.where(edge, AT_EDGE, 1)
    return found


class Candidates:
    """The crops of one piece that may become its best ones: a few, however long it is."""

    def __init__(self, options: CropOptions) -> None:
        self._options, self._kept = options, list[Candidate]()

    def wants(self, second: float, worth: float, height: float) -> bool:
        """Return whether a crop would be kept, before it is cut out."""
        if height < self._options.min_height or worth <= 0:
            return False
        if len(self._kept) < self._options.crops + SPARE:
            return True
        victim = _least([*self._kept, Candidate(-1, second, worth, 0.0, _NONE)])
        return victim.row != -1

    def add(self, row: int, second: float, worth: float, pixels: NDArray[np.uint8]) -> None:
        """Keep a crop, and let go of the least useful one where there are too many."""
        self._kept.append(Candidate(row, second, worth, sharpness(pixels), pixels))
        if len(self._kept) > self._options.crops + SPARE:
            self._kept.remove(_least(self._kept))

    def best(self) -> list[Candidate]:
        """Return the best crops, the best one first.

        The time of the candidates is cut into as many equal parts as crops are wanted; the best of each part is taken,
        and the places of empty parts go to the best of the others.
        """
        if not self._kept:
            return []
        usual = float(np.median([each.sharpness for each in self._kept])) or 1.0
        weighed = [replace(each, worth=each.worth * min(1.0, each.sharpness / usual)) for each in self._kept]
        ranked = sorted(weighed, key=lambda each: (-each.worth, each.second))
        first, last = min(each.second for each in ranked), max(each.second for each in ranked)
        wanted = min(self._options.crops, len(ranked))
        parts = {_part(each.second, first, last, wanted): each for each in reversed(ranked)}
        chosen = list(parts.values())
        chosen += [each for each in ranked if each not in chosen][: wanted - len(chosen)]
        return sorted(chosen, key=lambda each: (-each.worth, each.second))


_NONE = np.zeros((0, 0, 3), np.uint8)


def _part(second: float, first: float, last: float, parts: int) -> int:
    return min(parts - 1, int((second - first) / max(last - first, 1e-9) * parts))


def _least(kept: Sequence[Candidate]) -> Candidate:
    """Return the least useful candidate: the one of less worth of the two that are nearest in time.

    Nearness is counted in parts of the worth: what is worth little goes first, even if it stands alone.
    """
    ordered = sorted(kept, key=lambda each: each.second)
    span = max(ordered[-1].second - ordered[0].second, 1e-9)

    def use(at: int) -> float:
        gaps = [
            abs(ordered[at].second - ordered[other].second) for other in (at - 1, at + 1) if 0 <= other < len(ordered)
        ]
        return ordered[at].worth * (0.2 + min(gaps) * len(ordered) / span)

    return ordered[min(range(len(ordered)), key=use)]


def cut_out(image: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a copy of the pixels of a box, uint8 [h, w, 3], made smaller where it is above `TALLEST`."""
    from PIL import Image

    x1, y1 = np.floor(box[:2]).astype(int)
    x2, y2 = np.ceil(box[2:]).astype(int)
    pixels = image[max(y1, 0) : max(y2, y1 + 1), max(x1, 0) : max(x2, x1 + 1)]
    height, width = pixels.shape[:2]
    if height <= TALLEST:
        return pixels.copy()
    small = (max(1, round(width * TALLEST / height)), TALLEST)
    return np.asarray(Image.fromarray(pixels).resize(small, Image.Resampling.BILINEAR))


def sharpness(pixels: NDArray[np.uint8]) -> float:
    """Return the mean difference of neighbouring pixels of the green channel, in levels: lower for a blurred crop."""
    green = pixels[..., 1].astype(np.int16)
    total = np.abs(np.diff(green, axis=0)).mean() if len(green) > 1 else 0.0
    return float(total + (np.abs(np.diff(green, axis=1)).mean() if green.shape[1] > 1 else 0.0))


def as_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Return RGB pixels as a JPEG."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=QUALITY, subsampling=0)
    return out.getvalue()
