# ruff: noqa: E501 (a case a line)
"""Where the ids are in a tree of folders, or why that cannot be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats import folder
from reidkit.data.formats.detect import load_dataset
from reidkit.errors import DataError, UnknownLayoutError
from reidkit.types import NO_CAMERA
from tests.noise import file_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reidkit.types import Dataset


def read(benchmark: Dataset) -> list[tuple[str, int, int]]:
    return [(file_of(sample).name, sample.pid, sample.camid) for sample in benchmark.train]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["anna/cam1/a.jpg", "anna/cam2/b.jpg", "bob/cam2/c.jpg"], [("a.jpg", 0, 1), ("b.jpg", 0, 2), ("c.jpg", 1, 2)]),
        (["1/c3/a.jpg", "2/C4/b.jpg"], [("a.jpg", 0, 3), ("b.jpg", 1, 4)]),
        (["anna/camera_b/a.jpg", "bob/camera_a/b.jpg"], [("a.jpg", 0, 2), ("b.jpg", 1, 1)]),
        (["anna/session1/a_c4.jpg", "bob/session2/b.jpg"], [("a_c4.jpg", 0, 4), ("b.jpg", 1, NO_CAMERA)]),
        (["anna/2021-05-01/a.jpg", "bob/2021-05-02/b.jpg"], [("a.jpg", 0, NO_CAMERA), ("b.jpg", 1, NO_CAMERA)]),
        (["0001/morning/a.jpg", "0002/evening/b.jpg"], [("a.jpg", 0, NO_CAMERA), ("b.jpg", 1, NO_CAMERA)]),
        (["anna/session1/cam2/a.jpg", "anna/session1/x.jpg", "bob/session1/b.jpg"],
         [("x.jpg", 0, NO_CAMERA), ("a.jpg", 0, 2), ("b.jpg", 1, NO_CAMERA)]),
        (["cam1/0007/a.jpg", "cam2/0007/b.jpg", "cam2/0009/c.jpg"], [("a.jpg", 0, 1), ("b.jpg", 0, 2), ("c.jpg", 1, 2)]),
        (["train/anna/x/a.jpg", "train/bob/y/b.jpg"], [("a.jpg", 0, NO_CAMERA), ("b.jpg", 1, NO_CAMERA)]),
        (["train/cam1/7/a.jpg", "train/cam2/7/b.jpg"], [("a.jpg", 0, 1), ("b.jpg", 0, 2)]),
        (["anna/a.jpg", "anna/cam3/b.jpg", "bob/c.jpg"], [("a.jpg", 0, NO_CAMERA), ("b.jpg", 0, 3), ("c.jpg", 1, NO_CAMERA)]),
        (["sally/t.jpg", "tom/s.jpg"], [("t.jpg", 0, NO_CAMERA), ("s.jpg", 1, NO_CAMERA)]),
        (["set/more/anna/a.jpg", "set/more/bob/b.jpg"], [("a.jpg", 0, NO_CAMERA), ("b.jpg", 1, NO_CAMERA)]),
    ],
)  # fmt: skip
def test_ids_and_cameras_by_hand(
    draw: Callable[..., Path], files: list[str], expected: list[tuple[str, int, int]]
) -> None:
    assert read(load_dataset(draw(*files))) == expected


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["cam_a/anna.jpg", "cam_b/anna.jpg"], r"a folder of images per camera \(cam_a, cam_b\) and none per id: "),
        (["image/0000001.jpg"], r"image holds images straight, such as 0000001.jpg: .*image/<id>/<image>.* \.csv"),
        (["train/x.jpg", "query/y.jpg", "gallery/z.jpg"], r"(train|query|gallery) holds images straight, such as"),
        (["train/x.jpg", "test/y.jpg"], r"(train|test) holds images straight, such as"),
        (["people/x.jpg"], r"people holds images straight.* if they all show one id, pass format=.folder-ids."),
        (["a.jpg", "b.jpg"], r"holds images straight, such as .*<id>/<image>\), or list them in a .csv that begins with"),
        (["part1/anna/a.jpg", "part2/bob/b.jpg"], r"\(part1, part2; in the first of them anna\): if part1 is an id, pass "
         r"format='folder-nested'; if it is a camera, format='folder-cameras'; and if it is a data set, name .*part1"),
        (["train/anna/a.jpg", "test/bob/b.jpg"], r"train and test, and no query and gallery: .*`reidkit split .* OUT`, or"),
        (["test/anna/a.jpg", "test/bob/b.jpg"], r"folders of ids in test and no train: name one of them .*reidkit split .*/test OUT`"),
        (["test/7/cam1/a.jpg", "test/8/cam2/b.jpg"], r"folders of ids in test and no train: name one of them .*split .*/test OUT`"),
        (["Eingang 1/Person 7/a.jpg", "Eingang 2/Person 7/b.jpg"], r"\(Eingang 1, Eingang 2; in the first of them Person 7\): if "
         r"Eingang 1 is an id, pass .* if it is a camera, format='folder-cameras'; and if it is a data set, name .*Eingang 1"),
        (["a/train/1/a.jpg", "b/train/1/b.jpg"], r"holds several data sets: choose a or b"),
        (["a/b/c/train/anna/x.jpg", "a/b/c/train/bob/x.jpg"], r"only further down, such as a/b/c/train/anna/x.jpg: give a "),
        (["session1/001/a.jpg", "session2/002/a.jpg"], r"folders of folders of images \(session1, session2"),
    ],
)  # fmt: skip
def test_what_is_no_folder_of_ids_is_said(draw: Callable[..., Path], files: list[str], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        load_dataset(draw(*files))


def test_cameras_above_ids_are_no_folder_of_anything(draw: Callable[..., Path]) -> None:
    """Of an unknown layout, `gallery add` takes all images, without ids and cameras."""
    root = draw(*(f"Eingang {camera}/Person {person}/a.jpg" for camera in (1, 2) for person in (7, 8)))
    with pytest.raises(DataError, match=r"if it is a camera, format='folder-cameras'") as refused:
        load_dataset(root)
    assert not isinstance(refused.value, UnknownLayoutError)


def test_a_command_that_is_shown_takes_a_folder_with_a_space_in_its_name(draw: Callable[..., Path]) -> None:
    own = draw("Meine Bilder/test/7/a.jpg", "Meine Bilder/test/8/b.jpg") / "Meine Bilder"
    with pytest.raises(DataError, match=f"`reidkit split '{own}/test' OUT`"):
        load_dataset(own)
    draw("Meine Bilder/train/1/a.jpg")
    with pytest.raises(DataError, match=f"`reidkit split '{own}' OUT`"):
        load_dataset(own)
    market = draw("M 1/bounding_box_train/1_c1.jpg", "M 1/bounding_box_test/2_c1.jpg") / "M 1"
    with pytest.raises(DataError, match=f"`reidkit split '{market}' OUT`"):
        load_dataset(market)


def test_what_names_do_not_say_can_be_named(draw: Callable[..., Path]) -> None:
    root = draw("door/anna/a.jpg", "yard/anna/b.jpg", "yard/bob/c.jpg")
    assert read(load_dataset(root, "folder-cameras")) == [("a.jpg", 0, 1), ("b.jpg", 0, 2), ("c.jpg", 1, 2)]
    nested = load_dataset(root, "folder-nested")
    assert [(name, pid) for name, pid, _ in read(nested)] == [("a.jpg", 0), ("b.jpg", 1), ("c.jpg", 1)]
    alone = draw("one/people/x.jpg") / "one"
    assert read(load_dataset(alone, "folder-ids")) == [("x.jpg", 0, NO_CAMERA)]


def test_a_folder_of_a_camera_is_the_same_camera_in_all_parts(draw: Callable[..., Path]) -> None:
    root = draw(
        "train/cam3/1/a.jpg", "train/yard/1/b.jpg", "query/yard/2/c.jpg", "gallery/door/2/d.jpg", "gallery/yard/2/e.jpg"
    )
    found = load_dataset(root, "folder-cameras")
    seen_by = [[found.names.camids[s.camid] for s in part] for part in found.splits]
    assert seen_by == [["cam3", "yard"], ["yard"], ["door", "yard"], []]
    assert [s.camid for part in found.splits for s in part] == [1, 3, 3, 2, 3]


def test_two_folders_of_one_camera_are_refused(draw: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"cam1 and cam_a beside it are both camera 1: rename one of them, or put"):
        load_dataset(draw("cam1/anna/a.jpg", "cam_a/anna/b.jpg"))
    root = draw("query/c2/bob/c.jpg", "gallery/cam2/bob/d.jpg", "gallery/c3/bob/e.jpg")
    assert [s.camid for part in load_dataset(root).splits for s in part] == [2, 3, 2]


def test_small_copies_of_a_disk_are_no_images(draw: Callable[..., Path]) -> None:
    """A Synology keeps them below each folder, in folders called like the images."""
    root = draw(
        "1/cam1/a.jpg",
        "2/cam1/b.jpg",
        "2/cam2/c.jpg",
        "2/cam1/@eaDir/b.jpg/SYNOPHOTO_THUMB_M.jpg",
        "@eaDir/x.jpg",
        "__MACOSX/y.jpg",
    )
    found = load_dataset(root)
    assert read(found) == [("a.jpg", 0, 1), ("b.jpg", 1, 1), ("c.jpg", 1, 2)]
    assert found.passed_over == {"hidden files": 3}
    assert len(load_dataset(root, "folder-nested").train) == 3


def test_parts_in_capitals_and_a_probe(draw: Callable[..., Path]) -> None:
    found = load_dataset(draw("Train/Anna/a.jpg", "Probe/bob/b.jpg", "GALLERY/bob/c.jpg"))
    assert [len(part) for part in (found.train, found.query, found.gallery)] == [1, 1, 1]
    assert found.passed_over == {}
    assert [found.names.pid(n) for n in (0, 1)] == ["Anna", "bob"]


def test_a_part_named_itself_is_what_to_train_on(draw: Callable[..., Path]) -> None:
    root = draw("test/anna/a.jpg", "test/bob/b.jpg", "train/carl/c.jpg", "train/dan/d.jpg")
    assert len(load_dataset(root / "test").train) == len(load_dataset(root / "train").train) == 2


@pytest.mark.parametrize(
    ("names", "cameras"),
    [
        (["7/01_1.png", "7/02_1.png", "8/02_2.png", "8/01_9.png"], [1, 2, 9, 9]),
        (["7/01_1.png", "8/02_1.png"], None),  # each number has one id
        (["7/7_1.png", "8/8_1.png", "8/8_2.png"], None),  # the id
        (["7/01_1.png", "8/01_1.png"], None),  # a single number tells nothing
        (["7/01_1.png", "7/02_1.png", "8/01_1.png", "8/02_x1.png"], None),  # another way of naming
    ],
)
def test_a_leading_number_is_a_camera(draw: Callable[..., Path], names: list[str], cameras: list[int] | None) -> None:
    """`01_3.png`: camera 1, image 3. Where some name has a camera spelt out, numbers are only numbers."""
    found = folder.load(draw(*(f"train/{name}" for name in names)))
    by_name = {f"{file_of(s).parent.name}/{file_of(s).name}": s.camid for s in found.train}
    first = [NO_CAMERA if cameras is None else int(name.split("/")[1].split("_")[0]) for name in names]
    assert [by_name[name] for name in names] == first
    assert [note.partition(";")[0] for note in found.notes] == [
        f"folder: the cameras are the first numbers of names such as {names[0][2:]}" for _ in (1,) if cameras
    ]
    draw("train/9/x_c5.png")
    assert {s.camid for s in folder.load(file_of(found.train[0]).parents[2]).train} == {NO_CAMERA, 5}
    assert not folder.load(file_of(found.train[0]).parents[2]).notes


@pytest.mark.parametrize(
    ("name", "camid"), [("cam0_x.jpg", 0), ("0001_cam01_f1.jpg", 1), ("camera-3.png", 3), ("cam.jpg", -1)]
)
def test_a_camera_spelt_out(name: str, camid: int) -> None:
    assert folder.camera(name) == camid
