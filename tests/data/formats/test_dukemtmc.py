from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats import market1501
from reidkit.errors import DataError
from reidkit.types import Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TRAIN, QUERY, TEST = "bounding_box_train", "query", "bounding_box_test"


def test_three_images_by_hand(draw: Callable[..., Path]) -> None:
    root = draw(f"{TRAIN}/0001_c2_f0046182.jpg", f"{QUERY}/0005_c8_f0051341.jpg", f"{TEST}/0005_c1_f0044158.jpg")
    found = market1501.load_duke(root)
    assert found.name == "dukemtmc"
    assert found.train == (Sample(root / TRAIN / "0001_c2_f0046182.jpg", 1, 2),)
    assert found.query == (Sample(root / QUERY / "0005_c8_f0051341.jpg", 5, 8),)
    assert found.gallery == (Sample(root / TEST / "0005_c1_f0044158.jpg", 5, 1),)
    assert found.junk == ()


def test_names_tell_it_from_market(draw: Callable[..., Path]) -> None:
    root = draw(f"duke/{TRAIN}/0001_c2_f0046182.jpg", f"market/{TRAIN}/0002_c1s1_000451_03.jpg")
    assert [market1501.matches_duke(root / name) for name in ("duke", "market")] == [True, False]
    assert [market1501.matches(root / name) for name in ("duke", "market")] == [False, True]


def test_a_name_of_another_data_set_is_named(draw: Callable[..., Path]) -> None:
    root = draw(f"{TRAIN}/0001_c2_f0046182.jpg", f"{QUERY}/0002_c1s1_000451_03.jpg", f"{TEST}/0001_c2_f0046182.jpg")
    with pytest.raises(DataError, match="does not give an id and a camera: rename it like 0001_c2_f"):
        market1501.load_duke(root)
