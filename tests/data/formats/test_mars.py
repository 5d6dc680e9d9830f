from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats import mars
from reidkit.data.formats.detect import load_dataset, merge_datasets
from reidkit.errors import DataError
from reidkit.types import Dataset, Sample
from tests.noise import file_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_mars_by_hand(draw: Callable[..., Path]) -> None:
    """Id 2 is seen by cameras 1 (two images) and 2 (one): the first of camera 1 is the query. 0 is nobody's query."""
    root = draw(
        "bbox_train/0001/0001C1T0001F001.jpg",
        "bbox_test/0002/0002C1T0001F001.jpg",
        "bbox_test/0002/0002C1T0001F002.jpg",
        "bbox_test/0002/0002C2T0001F001.jpg",
        "bbox_test/0000/0000C3T0001F001.jpg",
        "bbox_test/0000/0000C4T0001F001.jpg",
        "bbox_test/00-1/00-1C1T0001F001.jpg",
    )
    found = load_dataset(root)
    assert found.name == "mars"
    assert found.train == (Sample(root / "bbox_train/0001/0001C1T0001F001.jpg", 1, 1),)
    assert [(file_of(s).name, s.pid, s.camid) for s in found.query] == [("0002C1T0001F001.jpg", 2, 1)]
    assert [(s.pid, s.camid) for s in found.gallery] == [(0, 3), (0, 4), (2, 1), (2, 2)]
    assert [file_of(s).name for s in found.junk] == ["00-1C1T0001F001.jpg"]
    assert found.notes == (mars.RULE,)
    assert merge_datasets([found, Dataset("another")]).notes == (mars.RULE,)


def test_a_foreign_name(draw: Callable[..., Path]) -> None:
    root = draw("bbox_train/0001/0001C1T0001F001.jpg", "bbox_train/0002/x.jpg")
    with pytest.raises(DataError, match=r"x.jpg does not give an id and a camera"):
        load_dataset(root, "mars")
