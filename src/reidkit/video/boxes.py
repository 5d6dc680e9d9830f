"""Boxes as arrays [N, 4] of x1, y1, x2, y2: areas, overlaps, non-maximum suppression, and boxes within an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reidkit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Boxes = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes of people in one frame.

    Attributes:
        boxes: x1, y1, x2, y2 in pixels of the frame, float32 [N, 4].
        scores: How sure the detector is, 0 to 1, float32 [N].
        tracks: The ids that a file gives, int64 [N]; None where there are none.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    tracks: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Detections:
        """Return some of the boxes: by a mask, or by their places."""
        return Detections(self.boxes[chosen], self.scores[chosen], None if self.tracks is None else self.tracks[chosen])


ROUNDING = 1e-3
"""How far above 1 a score may lie that was computed in float16."""

NOBODY = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


def areas(boxes: Boxes) -> NDArray[np.float32]:
    """Return the area of each box [N]; a box without one has 0."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    product: NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return product


def intersections(first: Boxes, second: Boxes) -> NDArray[np.float32]:
    """Return the area that each of the first [N, 4] shares with each of the second [M, 4], as [N, M]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum(high - low, 0)
    shared: NDArray[np.float32] = sides[..., 0] * sides[..., 1]
    return shared


def overlaps(first: Boxes, second: Boxes) -> NDArray[np.float32]:
    """Return intersection over union of each of the first [N, 4] with each of the second [M, 4], as [N, M]."""
    shared = intersections(first, second)
    union = areas(first)[:, None] + areas(second)[None, :] - shared
    ratio: NDArray[np.float32] = np.where(union > 0, shared / np.where(union > 0, union, 1), 0)
    return ratio


def nested(boxes: Boxes, least: float) -> NDArray[np.bool_]:
    """Return which two of the boxes [N, 4] share `least` of the smaller one or more, as [N, N]."""
    area = areas(boxes)
    smaller = np.minimum(area[:, None], area)
    found: NDArray[np.bool_] = (smaller > 0) & (intersections(boxes, boxes) >= least * smaller)
    return found


def suppress(boxes: Boxes, scores: NDArray[np.float32], most: float) -> NDArray[np.int64]:
    """Return the rows that non-maximum suppression keeps, by falling score: none overlaps a better one above `most`."""
    waiting = np.argsort(-scores, kind="stable")
    kept = []
    while len(waiting):
        best, others = waiting[0], waiting[1:]
        kept.append(best)
        waiting = others[overlaps(boxes[best : best + 1], boxes[others])[0] <= most]
    return np.array(kept, np.int64)


def within(found: Detections, width: int, height: int) -> Detections:
    """Return the boxes cut at the edges of an image, without those that are NaN or keep less than a pixel each way."""
    finite = np.asarray(np.isfinite(np.column_stack([found.boxes, found.scores])).all(axis=1))
    found = found.rows(finite)
    cut = np.clip(found.boxes, 0, np.array([width, height, width, height], np.float32)).astype(np.float32)
    large = np.asarray((cut[:, 2:] - cut[:, :2] >= 1).all(axis=1))
    return Detections(cut, found.scores, found.tracks).rows(large)


def checked(found: object, width: int, height: int) -> Detections:
    """Return what a detector gave for an image as `Detections` of float32 within the image.

    Raises:
        UsageError: it is something else, boxes and scores have no such shapes or are no numbers, a score is not from 0
            to 1, or a box has a negative size.
    """
    if not isinstance(found, Detections):
        what = type(found).__name__
        raise UsageError(f"the detector gave a {what}: return Detections for each image", argument="detector")
    try:
        with np.errstate(over="ignore"):  # what is larger than any float32 is an infinity, which is left out
            boxes, scores = np.asarray(found.boxes, np.float32), np.asarray(found.scores, np.float32)
    except (TypeError, ValueError):
        raise UsageError(
            "the detector gave boxes or scores that are no numbers: return arrays of float32 [N, 4] and [N]",
            argument="detector",
        ) from None
    boxes = boxes.reshape(-1, 4) if not boxes.size else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != (len(boxes),):
        shapes = f"{np.shape(found.boxes)} and scores {np.shape(found.scores)}"
        raise UsageError(f"the detector gave boxes {shapes}: return [N, 4] and [N]", argument="detector")
    if ((scores < 0) | (scores > 1 + ROUNDING)).any():
        raise UsageError(
            f"the detector gave scores from {np.nanmin(scores):g} to {np.nanmax(scores):g}: return scores from 0 to 1",
            argument="detector",
        )
    if (boxes[:, 2:] < boxes[:, :2]).any():
        x1, y1, x2, y2 = boxes[(boxes[:, 2:] < boxes[:, :2]).any(axis=1)][0]
        raise UsageError(
            f"the detector gave a box of {x2 - x1:g} x {y2 - y1:g} pixels: return x1, y1, x2, y2", argument="detector"
        )
    return within(Detections(boxes, np.minimum(scores, 1)), width, height)
