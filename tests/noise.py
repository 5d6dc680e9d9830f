"""Data sets of random noise on disk, in the layout of Market-1501."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reidkit.types import Sample

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"


def draw_noise(
    root: Path,
    people: Iterable[int] = range(1, 9),
    evaluated: Iterable[int] = range(11, 15),
    images: int = 2,
    size: int = 32,
) -> Path:
    """`people` to train on, `judged` to find, each with `images` images by two cameras (the query has one)."""
    rng = np.random.default_rng(0)
    plan = [(TRAIN, pid, camera, images) for pid in people for camera in (1, 2)]
    plan += [(QUERY, pid, 1, 1) for pid in evaluated]
    plan += [(GALLERY, pid, camera, images) for pid in evaluated for camera in (1, 2)]
    for folder, pid, camera, count in plan:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{pid:04d}_c{camera}s1_{number:06d}_00.jpg")
    return root


def file_of(sample: Sample) -> Path:
    """The image's file, of a data set that has one for each."""
    assert isinstance(sample.path, Path)
    return sample.path
