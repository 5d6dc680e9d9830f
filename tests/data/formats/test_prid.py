from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats.detect import load_dataset
from reidkit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reidkit.types import Sample


def labels(samples: tuple[Sample, ...]) -> list[tuple[int, int]]:
    return [(sample.pid, sample.camid) for sample in samples]


def test_single_images_by_hand(draw: Callable[..., Path]) -> None:
    """Number 201 is one id in camera a (201) and another in camera b (201 - 200 + 385 = 386)."""
    names = [f"cam_{letter}/person_{number}.png" for letter in "ab" for number in ("0001", "0200", "0201")]
    root = draw(*(f"prid_2011/single_shot/{name}" for name in names), "prid_2011/multi_shot/cam_a/person_0001/0001.png")
    for place in (root, root / "prid_2011", root / "prid_2011" / "single_shot"):
        found = load_dataset(place)
        assert found.name == "prid"
        assert found.train == ()
        assert labels(tuple(found.query)) == [(1, 1), (200, 1)]
        assert labels(tuple(found.gallery)) == [(1, 2), (200, 2), (386, 2)]


def test_sequences(draw: Callable[..., Path]) -> None:
    root = draw(*(f"multi_shot/cam_{c}/person_0001/000{n}.png" for c in "ab" for n in (1, 2)))
    draw(*(f"single_shot/cam_{c}/person_0002.png" for c in "ab"))
    assert labels(tuple(load_dataset(root, "prid-multi-shot").gallery)) == [(1, 2), (1, 2)]
    assert labels(tuple(load_dataset(root, "prid-single-shot").gallery)) == [(2, 2)]
    assert labels(tuple(load_dataset(root).gallery)) == [(2, 2)]


def test_a_foreign_name(draw: Callable[..., Path]) -> None:
    root = draw("cam_a/person_0001.png", "cam_b/person_0001.png", "cam_b/person_x/1.png")
    with pytest.raises(DataError, match=r"1.png does not say its id: rename it like person_0001"):
        load_dataset(root, "prid")
