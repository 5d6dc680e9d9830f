from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats.detect import load_dataset
from reidkit.errors import DataError
from reidkit.types import NO_CAMERA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_occluded_reid_by_hand(draw: Callable[..., Path]) -> None:
    root = draw(
        "occluded_body_images/001/001_01.tif", "whole_body_images/001/001_01.tif", "whole_body_images/002/002_01.tif"
    )
    found = load_dataset(root)
    assert (found.name, len(found.train)) == ("occluded-reid", 0)
    assert [(s.pid, s.camid) for s in found.query] == [(1, NO_CAMERA)]
    assert [(s.pid, s.camid) for s in found.gallery] == [(1, NO_CAMERA), (2, NO_CAMERA)]


def test_an_empty_half(draw: Callable[..., Path]) -> None:
    root = draw("occluded_body_images/001/001_01.tif")
    (root / "whole_body_images").mkdir()
    with pytest.raises(DataError, match="whole_body_images holds no folders of images"):
        load_dataset(root)
