from __future__ import annotations

from typing import TYPE_CHECKING

from reidkit.data.formats.detect import load_dataset, merge_datasets
from reidkit.data.formats.scan import as_text, worth_a_line, worth_saying
from reidkit.data.shards.writer import convert
from reidkit.types import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_every_kind_by_hand(draw: Callable[..., Path]) -> None:
    root = draw("train/anna/a.jpg", "train/anna/b.HEIC", "train/bob/c.heic", "train/bob/d.JFIF", "train/bob/e.avi")
    draw("val/carl/f.jpg", "val/dan/g.png", "train/anna/old/h.jpg", "train/anna/.i.jpg", "train/x.jpg", "README.txt")
    draw("Thumbs.db", "train/LICENSE")
    (root / "train" / "anna" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    found = load_dataset(root)
    assert len(found.train) == 2
    expected = {
        "images in train/": 1,
        "images in train/anna/old/": 1,
        "images in val/": 2,
        ".heic files": 2,
        ".avi files": 1,
        "files without a suffix": 1,
        "hidden files": 1,
        "links that lead nowhere": 1,
        "notes and lists": 2,
    }
    assert found.passed_over == expected
    assert list(found.passed_over) == sorted(expected)
    assert (
        worth_a_line({"images in val/": 2, "notes and lists": 3, "hidden files": 1}) == "passed over: 2 images in val/"
    )
    assert worth_a_line({"notes and lists": 3, "hidden files": 1}) == ""
    assert worth_a_line({"images in masks/": 204}) == "", "those of `synth --masks`"
    assert as_text({".heic files": 2, "images in val/": 1}) == "2 .heic files, 1 image in val/"
    ones = dict.fromkeys([*expected, "images in images/ not listed"], 1)
    assert as_text(ones) == (
        "1 image in train/, 1 image in train/anna/old/, 1 image in val/, 1 .heic file, 1 .avi file, "
        "1 file without a suffix, 1 hidden file, 1 link that leads nowhere, 1 note or list, "
        "1 image in images/ not listed"
    )


def test_nothing_is_passed_over_where_all_is_read(draw: Callable[..., Path]) -> None:
    root = draw("train/anna/a.jpg", "query/bob/b.jpg", "gallery/bob/c.jpg", "gallery/-1/d.jpg")
    assert load_dataset(root).passed_over == {}
    assert load_dataset(root / "train" / "..").passed_over == {}


def test_what_lies_beside_a_data_set(draw: Callable[..., Path]) -> None:
    """A folder around: what is in the folder that was named counts, however deep the data set lies in it."""
    names = [
        f"a/market/{part}/0002_c1s1_000451_03.jpg" for part in ("bounding_box_train", "query", "bounding_box_test")
    ]
    root = draw(*names, "a/market/gt_bbox/0002_c1s1_000451_03.jpg", "holiday/x/beach.jpg", "holiday/sea.jpg")
    assert load_dataset(root).passed_over == {"images in a/market/gt_bbox/": 1, "images in holiday/": 2}
    assert load_dataset(root / "a").passed_over == {"images in market/gt_bbox/": 1}


def test_a_table_that_names_images_through_links(draw: Callable[..., Path]) -> None:
    root = draw("set/images/a.jpg", "set/images/b.jpg")
    (root / "link").symlink_to(root / "set" / "images")
    table = root / "set" / "people.csv"
    table.write_text("path,pid,camid,split\n../link/a.jpg,1,1,train\nimages/../images/b.jpg,2,1,train\n")
    assert load_dataset(table.parent).passed_over == {"notes and lists": 1}
    assert load_dataset(table).passed_over == {}
    table.write_text("path,pid,camid,split\nimages/a.jpg,1,1,train\n")
    assert load_dataset(table.parent).passed_over == {"images in images/ not listed": 1, "notes and lists": 1}


def test_links_in_a_circle_and_shards(draw: Callable[..., Path], tmp_path: Path) -> None:
    root = draw("people/train/anna/x.jpg") / "people"
    (root / "train" / "anna" / "up").symlink_to(root)
    found = load_dataset(root)
    assert found.passed_over == {}
    convert(found, tmp_path / "shards", "webdataset", 10)
    assert load_dataset(tmp_path / "shards").passed_over == {"notes and lists": 1}  # its index
    (tmp_path / "shards" / "x.part").write_bytes(b"x")
    assert load_dataset(tmp_path / "shards").passed_over[".part files"] == 1


def test_the_same_files_through_a_link_are_read(draw: Callable[..., Path]) -> None:
    root = draw("all/train/anna/x.jpg", "all/train/bob/y.jpg", "all/more/z.jpg")
    (root / "train").symlink_to(root / "all" / "train")
    assert load_dataset(root).passed_over == {"images in all/": 1}


def test_merged_counts_add_up(draw: Callable[..., Path]) -> None:
    root = draw("one/train/a/x.jpg", "one/val/b/y.jpg", "two/train/a/x.jpg", "two/val/b/y.jpg", "two/train/a/z.heic")
    merged = merge_datasets([load_dataset(root / name) for name in ("one", "two")])
    assert merged.passed_over == {"images in val/": 2, ".heic files": 1}


def test_what_a_run_says_of_its_data_set() -> None:
    assert worth_saying(Dataset("x")) == []
    found = Dataset("x", notes=("the cameras are guessed",), passed_over={".heic files": 2, "hidden files": 1})
    assert worth_saying(found) == ["note: the cameras are guessed", "passed over: 2 .heic files"]
