from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats import folder
from reidkit.errors import DataError
from reidkit.types import NO_CAMERA, Names, Sample
from tests.noise import file_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_people_by_hand(draw: Callable[..., Path]) -> None:
    """Names sort as `Zoë < anna < bob`, over all splits: 0, 1, 2."""
    root = draw(
        "train/bob/a_c3_1.jpg", "train/anna/x.png", "query/Zoë/c0.jpg", "gallery/Zoë/y_C12.jpg", "gallery/bob/z.jpg"
    )
    found = folder.load(root)
    assert found.name == "folder"
    assert found.train == (Sample(root / "train/anna/x.png", 1, NO_CAMERA), Sample(root / "train/bob/a_c3_1.jpg", 2, 3))
    assert found.query == (Sample(root / "query/Zoë/c0.jpg", 0, 0),)
    assert found.gallery == (
        Sample(root / "gallery/Zoë/y_C12.jpg", 0, 12),
        Sample(root / "gallery/bob/z.jpg", 2, NO_CAMERA),
    )


def test_without_splits_all_is_for_training(draw: Callable[..., Path]) -> None:
    """An empty folder and a hidden one are nobody."""
    root = draw("people/0001/a.jpg", "people/0002/b.jpg", "people/0002/c.jpg", "people/.cache/d.jpg")
    (root / "people" / "0001b").mkdir()
    for place in (root, root / "people"):
        found = folder.load(place)
        assert [sample.pid for sample in found.train] == [0, 1, 1]
        assert not any(found.splits[1:])


def test_a_person_called_minus_one_is_junk(draw: Callable[..., Path]) -> None:
    root = draw("query/0007/a_c1.jpg", "gallery/-1/b_c1.jpg", "gallery/0000/c_c2.jpg", "gallery/0007/d_c2.jpg")
    found = folder.load(root)
    assert [sample.pid for sample in found.query] == [1]
    assert [sample.pid for sample in found.gallery] == [0, 1]
    assert [file_of(sample).parent.name for sample in found.junk] == ["-1"]
    assert found.train == ()


@pytest.mark.parametrize(
    ("name", "camid"),
    [
        ("0002_c1s1_000451_03.jpg", 1),
        ("0001_c2_f0046182.jpg", 2),
        ("0001_c001_00016450_0.jpg", 1),
        ("c7.jpg", 7),
        ("front-c4 17.jpg", 4),
        ("doc3_1.jpg", NO_CAMERA),
        ("c3po.jpg", NO_CAMERA),
        ("c_1.jpg", NO_CAMERA),
        ("c123456.jpg", NO_CAMERA),
        ("éc4.jpg", NO_CAMERA),
    ],
)
def test_the_camera_stands_by_itself(draw: Callable[..., Path], name: str, camid: int) -> None:
    assert folder.load(draw(f"someone/{name}")).train[0].camid == camid


def test_links_in_a_circle_do_no_harm(draw: Callable[..., Path]) -> None:
    root = draw("train/anna/x.jpg")
    (root / "train" / "anna" / "up").symlink_to(root)
    (root / "train" / "loop").symlink_to(root / "train" / "loop")
    (root / "train" / "all").symlink_to(root / "train")
    assert len(folder.load(root).train) == 1


def test_nothing_there(draw: Callable[..., Path]) -> None:
    root = draw("flat.jpg")
    (root / "train").mkdir()
    with pytest.raises(DataError, match="does not hold a folder of images per id: put the images of each id"):
        folder.load(root)
    with pytest.raises(DataError, match="is not a folder"):
        folder.load(root / "flat.jpg")


def test_ids_are_called_by_their_folders(draw: Callable[..., Path]) -> None:
    """Junk has no name. The numbers are those of before, by which runs go on: the sorted order of the names."""
    found = folder.load(draw("train/0007/a_c1.jpg", "train/10/a_c1.jpg", "query/anna/a_c1.jpg", "gallery/-1/a_c2.jpg"))
    assert found.names == Names({0: "0007", 1: "10", 2: "anna"})
    assert [sample.pid for sample in (*found.train, *found.query)] == [0, 1, 2]


def test_two_spellings_of_one_integer_are_refused(draw: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="spells the id 7 in two ways, 007 and 7: spell it in one, or put a letter"):
        folder.load(draw("train/007/a_c1.jpg", "train/7/a_c1.jpg"))
