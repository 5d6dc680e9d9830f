"""Small galleries for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reidkit.encoder import InputSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from reidkit.gallery import Hits, Row
    from reidkit.metrics.calibration_file import Calibration


class Colours:
    """An encoder in four lines: the feature of an image is its mean colour."""

    input = InputSpec(height=2, width=2)
    dim = 3
    fingerprint = "c0105125c0105125"
    calibration: Calibration | None = None

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = images.mean(axis=(1, 2)).astype(np.float32)
        return features


def colour(*rgb: int) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), rgb, np.uint8)


def keys(rows: Iterable[Row]) -> list[str]:
    return [row.key for row in rows]


def similarities(hits: Hits) -> list[float]:
    return [round(hit.similarity, 6) for hit in hits]
