from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats import vehicles
from reidkit.errors import DataError
from reidkit.types import Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_three_images_by_hand(draw: Callable[..., Path]) -> None:
    root = draw(
        "VeRi/image_train/0001_c001_00016450_0.jpg",
        "VeRi/image_query/0002_c020_00030600_0.jpg",
        "VeRi/image_test/0002_c002_00030600_0.jpg",
    )
    found = vehicles.load_veri(root)
    assert found.name == "veri776"
    assert found.train == (Sample(root / "VeRi/image_train/0001_c001_00016450_0.jpg", 1, 1),)
    assert found.query == (Sample(root / "VeRi/image_query/0002_c020_00030600_0.jpg", 2, 20),)
    assert found.gallery == (Sample(root / "VeRi/image_test/0002_c002_00030600_0.jpg", 2, 2),)


def test_a_missing_gallery_is_named(draw: Callable[..., Path]) -> None:
    root = draw("image_train/0001_c001_00016450_0.jpg", "image_query/0001_c001_00016450_0.jpg")
    with pytest.raises(DataError, match="image_test cannot be read"):
        vehicles.load_veri(root)
