from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats import market1501
from reidkit.errors import DataError
from reidkit.types import Sample

if TYPE_CHECKING:
    from collections.abc import Callable

TRAIN, QUERY, TEST = "bounding_box_train", "query", "bounding_box_test"


def test_six_images_by_hand(draw: Callable[..., Path]) -> None:
    """Camera c6 is camid 6; -1 goes to the junk, 0000 stays in the gallery."""
    root = draw(
        f"{TRAIN}/0002_c6s1_000451_03.jpg",
        f"{QUERY}/0007_c1s1_000001_00.jpg",
        f"{TEST}/-1_c1s1_000401_03.jpg",
        f"{TEST}/0000_c2s1_000151_01.jpg",
        f"{TEST}/0007_c3s3_077419_03.jpg",
        f"{TEST}/0007_c1s1_000001_00.jpg",
    )
    found = market1501.load(root)
    assert found.name == "market1501"
    assert found.train == (Sample(root / TRAIN / "0002_c6s1_000451_03.jpg", 2, 6),)
    assert found.query == (Sample(root / QUERY / "0007_c1s1_000001_00.jpg", 7, 1),)
    assert found.gallery == (
        Sample(root / TEST / "0000_c2s1_000151_01.jpg", 0, 2),
        Sample(root / TEST / "0007_c1s1_000001_00.jpg", 7, 1),
        Sample(root / TEST / "0007_c3s3_077419_03.jpg", 7, 3),
    )
    assert found.junk == (Sample(root / TEST / "-1_c1s1_000401_03.jpg", -1, 1),)


def test_the_folder_around_it_will_do(draw: Callable[..., Path]) -> None:
    inner = [f"Market-1501-v15.09.15/{part}/0002_c1s1_000451_03.jpg" for part in (TRAIN, QUERY, TEST)]
    root = draw(*inner, "other/notes.txt", "stray.jpg")
    assert market1501.load(root) == market1501.load(root / "Market-1501-v15.09.15")
    assert not market1501.matches(root)


def test_what_is_no_image_is_passed_over(draw: Callable[..., Path]) -> None:
    """Thumbs.db, hidden files (macOS writes ._NAME.jpg), folders, links that lead nowhere or to themselves."""
    root = draw(*(f"{part}/0002_c1s1_000451_03.jpg" for part in (TRAIN, QUERY, TEST)))
    for name in ["Thumbs.db", "._0002_c1s1_000451_03.jpg", ".DS_Store", "readme.txt"]:
        (root / TRAIN / name).write_text("x")
    (root / TRAIN / "folder.jpg").mkdir()
    (root / TRAIN / "loop.jpg").symlink_to(root / TRAIN / "loop.jpg")
    (root / TRAIN / "nowhere.jpg").symlink_to(root / "none.jpg")
    (root / TRAIN / "inner").symlink_to(root)
    assert [sample.path.name for sample in market1501.load(root).train] == ["0002_c1s1_000451_03.jpg"]


def test_suffixes_in_any_spelling_and_links_to_images(draw: Callable[..., Path]) -> None:
    names = ["0002_c1.JPG", "0002_c2.jpeg", "0002_c3_ünïcode 名.Png", "0002_c4.jpg.jpg"]
    root = draw(*(f"{TRAIN}/{name}" for name in names), f"{QUERY}/0003_c1.jpg", f"{TEST}/0003_c2.jpg", "elsewhere.jpg")
    (root / TRAIN / "0002_c5.jpg").symlink_to(root / "elsewhere.jpg")
    assert [sample.camid for sample in market1501.load(root).train] == [1, 2, 3, 4, 5]


def test_cameras_that_count_from_0_keep_their_numbers(draw: Callable[..., Path]) -> None:
    names = (f"{folder}/0002_c0s1_000001_00.jpg" for folder in (TRAIN, QUERY, TEST))
    assert [sample.camid for sample in market1501.load(draw(*names)).train] == [0]


def test_cameras_of_many_digits_are_not_cut_short(draw: Callable[..., Path]) -> None:
    """c192168001 and c192168002 were both camera 19216; what is too long for any number is named below."""
    names = [f"{TRAIN}/0002_c19216800{n}_1.jpg" for n in (1, 2)]
    assert [sample.camid for sample in market1501.load(draw(*names)).train] == [192168001, 192168002]


@pytest.mark.parametrize(
    "name", ["0002_c1234567890s1.jpg", "holiday.jpg", "0002.jpg", "abcd_c1s1.jpg", "-2_c1s1.jpg", "9" * 20 + "_c1.jpg"]
)
def test_a_name_without_person_and_camera_is_named(draw: Callable[..., Path], name: str) -> None:
    root = draw(*(f"{part}/0002_c1s1_000451_03.jpg" for part in (TRAIN, QUERY, TEST)), f"{QUERY}/{name}")
    with pytest.raises(DataError, match="rename it like 0002_c1s1_000451_03") as caught:
        market1501.load(root)
    assert str(root / QUERY / name) in str(caught.value)


def test_missing_and_empty_folders(draw: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none is not there"):
        market1501.load(tmp_path / "none")
    with pytest.raises(DataError, match="does not hold Market-1501: unpack"):
        market1501.load(tmp_path)
    root = draw(f"{TRAIN}/0002_c1s1_000451_03.jpg", f"{TEST}/0002_c1s1_000451_03.jpg")
    with pytest.raises(
        DataError, match=r"none in query: make one by `reidkit split .* OUT`, or pass format='market1501-train'"
    ):
        market1501.load(root)
    (root / QUERY).mkdir()
    with pytest.raises(DataError, match="holds images in bounding_box_test and none in query"):
        market1501.load(root)
    alone = market1501.load(root, train_only=True)
    assert (len(alone.train), len(alone.query), len(alone.gallery)) == (1, 0, 0)


def test_training_images_alone_and_queries_without_a_gallery(draw: Callable[..., Path]) -> None:
    root = draw(f"{TRAIN}/0002_c1s1_000451_03.jpg")
    found = market1501.load(root)
    assert (found.name, len(found.train), len(found.query), len(found.gallery)) == ("market1501", 1, 0, 0)
    draw(f"{QUERY}/0003_c1s1_000451_03.jpg")
    with pytest.raises(DataError, match=r"in query and none in bounding_box_test: .* format='market1501-train'"):
        market1501.load(root)


def test_two_inside_are_a_question(draw: Callable[..., Path]) -> None:
    root = draw(f"old/{TRAIN}/0002_c1.jpg", f"new/{TRAIN}/0002_c1.jpg")
    with pytest.raises(DataError, match="several data sets: choose new or old"):
        market1501.load(root)


@pytest.mark.market1501
def test_the_real_one() -> None:
    place = os.environ.get("REIDKIT_MARKET1501")
    if not place:
        pytest.skip("set REIDKIT_MARKET1501 to the folder that holds bounding_box_train")
    root = Path(place)
    found = market1501.load(root)
    train, query, test = (list((root / part).glob("*.jpg")) for part in (TRAIN, QUERY, TEST))
    assert [len(found.train), len(found.query), len(found.gallery) + len(found.junk)] == [
        len(train),
        len(query),
        len(test),
    ]
    assert len(found.junk) == sum(path.name.startswith("-1") for path in test)
    assert {sample.camid for sample in found.train} == set(range(1, 7))
    assert not {sample.pid for sample in found.train} & {sample.pid for sample in found.query}


def test_a_drawn_set_is_named_so(tmp_path):
    from reidkit.synth import synthesize

    synthesize(tmp_path / "people", 4, 2, 0, images_per_camera=2, workers=1)
    assert market1501.load(tmp_path / "people").name == "synthetic"
    (tmp_path / "people" / "README.txt").unlink()
    assert market1501.load(tmp_path / "people").name == "market1501"
