"""Small galleries for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reidkit.encoder import InputSpec
from reidkit.metrics.calibration_file import Calibration, CameraThreshold, Rate, Settings
from reidkit.metrics.probability import Isotonic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from reidkit.gallery import Hits, Row


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


def calibration(model: str = "abc") -> Calibration:
    """0.1 to 0.9 between cosines of 0 and 1, threshold 0.5; from door to hall 0.2 to 0.6, threshold 0.75."""
    pair = CameraThreshold(
        query_camid=1,
        gallery_camid=2,
        query_camera="door",
        gallery_camera="hall",
        genuine=100,
        impostors=10_000,
        threshold=0.75,
        tpr=0.9,
        far=1e-3,
        probability=Isotonic((0.0, 1.0), (0.2, 0.6)),
    )
    return Calibration(
        model=model,
        data="made up",
        feature="after",
        flip=False,
        settings=Settings(),
        queries=10,
        gallery=10,
        people=10,
        genuine=100,
        impostors=10_000,
        chosen=Rate(far=1e-3, threshold=0.5, tpr=0.9, interval=None, false_accepts=10),
        far_interval=None,
        eer=0.1,
        eer_threshold=0.4,
        eer_interval=None,
        auc=0.9,
        d_prime=None,
        rates=(),
        open_set=None,
        probability=Isotonic((0.0, 1.0), (0.1, 0.9)),
        held_out=None,
        camera_pairs=(pair,),
        curve=(),
        warnings=(),
    )


class Calibrated(Colours):
    calibration = calibration(Colours.fingerprint)
