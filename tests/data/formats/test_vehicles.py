from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats import vehicles
from reidkit.data.formats.detect import load_dataset
from reidkit.errors import DataError
from reidkit.types import NO_CAMERA
from tests.noise import file_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def vehicleid(draw: Callable[..., Path]) -> Path:
    root = draw(*(f"image/{number:07d}.jpg" for number in range(1, 6))) / "train_test_split"
    root.mkdir()
    (root / "train_list.txt").write_text("0000001 7\n\n")
    (root / "test_list_800.txt").write_text("0000002 9\n0000003 9\n0000004 8\n")
    return root.parent


def test_vehicleid_by_hand(vehicleid: Path) -> None:
    """The first image of an id is in the gallery; the others ask."""
    found = load_dataset(vehicleid)
    assert found.name == "vehicleid"
    assert [(file_of(s).name, s.pid, s.camid) for s in found.train] == [("0000001.jpg", 7, NO_CAMERA)]
    assert [(file_of(s).name, s.pid) for s in found.query] == [("0000003.jpg", 9)]
    assert [(file_of(s).name, s.pid) for s in found.gallery] == [("0000002.jpg", 9), ("0000004.jpg", 8)]
    assert found.passed_over["images in image/ not listed"] == 1
    assert found.notes == (vehicles.VEHICLEID_RULE,)
    with pytest.raises(DataError, match=r"test_list_1600.txt cannot be read \(No such file or directory\)"):
        load_dataset(vehicleid, "vehicleid-1600")


def test_vehicleid_with_damaged_lists(vehicleid: Path) -> None:
    lists = vehicleid / "train_test_split"
    (lists / "test_list_800.txt").write_text("0000002 9\n0000003\n")
    with pytest.raises(DataError, match=r"test_list_800.txt line 2 does not read like 0000001 12"):
        load_dataset(vehicleid)
    (lists / "test_list_800.txt").write_text("0000099 9\n")
    with pytest.raises(DataError, match=r"0000099.jpg, which a list in train_test_split names, is not there"):
        load_dataset(vehicleid)


def test_veri_wild_by_hand(draw: Callable[..., Path]) -> None:
    root = draw("images/00001/000001.jpg", "images/00002/000002.jpg", "images/00002/000003.jpg")
    lists = root / "train_test_split"
    lists.mkdir()
    (lists / "train_list.txt").write_text("00001/000001\n")
    (lists / "test_3000_query.txt").write_text("00002/000002\n")
    (lists / "test_3000.txt").write_text("00002/000003\n")
    (lists / "vehicle_info.txt").write_text("id/image;Camera ID;Time\n00001/000001;17;x\n00002/000002;3;x\n")
    found = load_dataset(root)
    assert found.name == "veri-wild"
    assert [(file_of(s).name, s.pid, s.camid) for s in found.train] == [("000001.jpg", 1, 17)]
    assert [(file_of(s).name, s.pid, s.camid) for s in found.query] == [("000002.jpg", 2, 3)]
    assert [(file_of(s).name, s.pid, s.camid) for s in found.gallery] == [("000003.jpg", 2, NO_CAMERA)]
