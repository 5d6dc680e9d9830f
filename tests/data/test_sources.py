"""A run's own list of images, by hand: eight images of three people, some broken then, some broken now."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reidkit.data.sources import MappedImages, WithReplacements
from reidkit.errors import DataError
from reidkit.types import Sample

PIDS = (1, 1, 1, 2, 2, 2, 3, 3)
SAMPLES = tuple(Sample(Path(f"{i}.jpg"), pid, 0) for i, pid in enumerate(PIDS))
PIXELS = np.arange(8, dtype=np.uint8).reshape(8, 1, 1, 1).repeat(3, axis=3)
"""Each image is one pixel that says which one it is."""


def begun(left_out: list[int], readable: list[int]) -> WithReplacements:
    return WithReplacements(MappedImages(PIXELS, SAMPLES, np.array(readable)), SAMPLES, left_out)


def shown(source: WithReplacements) -> list[int]:
    pixels, rows = source.rows(np.arange(len(source)))
    return [int(value) for value in pixels[rows][:, 0, 0, 0]]


def test_nothing_has_changed() -> None:
    source = begun([3], [0, 1, 2, 4, 5, 6, 7])
    assert source.readable.tolist() == shown(source) == [0, 1, 2, 4, 5, 6, 7]
    assert source.lost.tolist() == []
    assert [sample.path.name for sample in source.samples] == [f"{i}.jpg" for i in source.readable.tolist()]
    assert source.size == (1, 1)


def test_the_next_image_of_the_id_replaces_a_lost_one_and_after_the_last_the_first() -> None:
    """Image 1 is lost: 2 replaces it. 5 is lost, the last of its id, so 3 replaces it."""
    source = begun([], [0, 2, 3, 4, 6, 7])
    assert source.lost.tolist() == [1, 5]
    assert shown(source) == [0, 2, 2, 3, 4, 3, 6, 7]


def test_what_was_repaired_stays_out_and_replaces_nothing() -> None:
    """Image 2 was unreadable at the start and is repaired; 1 is lost since: 0 replaces it, not 2."""
    source = begun([2], [0, 2, 3, 4, 5, 6, 7])
    assert source.readable.tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert shown(source) == [0, 0, 3, 4, 5, 6, 7]


def test_no_image_of_an_id_is_left() -> None:
    with pytest.raises(DataError, match=r"no image of id 3 can be read any more \(6\.jpg\): repair one"):
        begun([], [0, 1, 2, 3, 4, 5])
