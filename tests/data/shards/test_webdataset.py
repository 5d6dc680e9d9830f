from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats.detect import load_dataset, merge_datasets
from reidkit.data.shards import webdataset
from reidkit.errors import DataError
from reidkit.types import NO_CAMERA, Names
from tests.data.shards.made import facts, pair, tar

if TYPE_CHECKING:
    from pathlib import Path


def test_by_hand(tmp_path: Path, jpeg: bytes) -> None:
    """The split from the shard's name or from the JSON; junk apart; a camera that is not known."""
    root = tmp_path / "people"
    tar(root / "train-000.tar", [*pair("0001", jpeg, pid=1, camid=0), *pair("0002", jpeg, pid=1, camid=5)])
    tar(root / "train-001.tar", pair("0001", jpeg, pid=2))
    tar(root / "query-000.tar", pair("q", jpeg, pid=7, camid=1))
    tar(root / "gallery-000.tar", [*pair("g", jpeg, pid=7, camid=2), *pair("j", jpeg, pid=-1, camid=2)])
    tar(root / "more.tar", pair("x/h", jpeg, pid=0, camid=3, split="gallery"))
    found = load_dataset(root)
    assert found.name == "webdataset"
    assert facts(found.train) == [("0001.jpg", 1, 0), ("0002.jpg", 1, 5), ("0001.jpg", 2, NO_CAMERA)]
    assert facts(found.query) == [("q.jpg", 7, 1)]
    assert facts(found.gallery) == [("g.jpg", 7, 2), ("h.jpg", 0, 3)]
    assert facts(found.junk) == [("j.jpg", -1, 2)]
    assert [sample.path.read_bytes() for sample in (*found.train, *found.gallery)] == [jpeg] * 5
    assert str(found.gallery[1].path) == f"{root}/more.tar:x/h.jpg"
    assert load_dataset(tmp_path) == found, "the folder around it"
    assert facts(load_dataset(root / "query-000.tar").query) == [("q.jpg", 7, 1)], "one shard alone"


def test_all_is_for_training_where_no_name_says_a_split(tmp_path: Path, jpeg: bytes) -> None:
    tar(tmp_path / "000.tar", pair("a", jpeg, pid=3, camid=0))
    assert facts(load_dataset(tmp_path).train) == [("a.jpg", 3, 0)]
    tar(tmp_path / "query-000.tar", pair("b", jpeg, pid=3, camid=0))
    with pytest.raises(DataError, match=r"000\.tar:a\.json says no split, nor does the name of the shard"):
        load_dataset(tmp_path)


def test_cls_and_txt_say_the_person_and_the_name_the_camera(tmp_path: Path, jpeg: bytes) -> None:
    tar(tmp_path / "a.tar", [("0001_c2.jpg", jpeg), ("0001_c2.cls", b"4\n"), ("b.txt", b" 5"), ("b.JPEG", jpeg)])
    assert facts(load_dataset(tmp_path).train) == [("0001_c2.jpg", 4, 2), ("b.JPEG", 5, NO_CAMERA)]


def test_people_with_names_are_numbered_as_in_a_table(tmp_path: Path, jpeg: bytes) -> None:
    people = ("carla", 12, "anna", -1)
    tar(tmp_path / "train.tar", [item for pid in people for item in pair(f"k{pid}", jpeg, pid=pid)])
    tar(tmp_path / "query.tar", pair("q", jpeg, pid=12))
    found = load_dataset(tmp_path)
    assert [sample.pid for sample in (*found.train, *found.query, *found.junk)] == [2, 0, 1, 0, -1]
    tar(tmp_path / "train.tar", [item for pid in ("007", 8) for item in pair(f"k{pid}", jpeg, pid=pid)])
    assert [sample.pid for sample in load_dataset(tmp_path).train] == [7, 8], "names that are numbers are numbers"


def test_cameras_by_name_and_the_floats_of_pandas(tmp_path: Path, jpeg: bytes) -> None:
    """As text `2 < door < yard`; pid 7.0 is 7 and -1.0 junk."""
    tar(tmp_path / "train.tar", [*pair("a", jpeg, pid=7.0, camid="yard"), *pair("b", jpeg, pid="7.0", camid="door")])
    tar(tmp_path / "gallery.tar", [*pair("c", jpeg, pid=-1.0, camid=2), *pair("d", jpeg, pid=8, camid="")])
    found = load_dataset(tmp_path)
    assert facts(found.train) == [("a.jpg", 7, 2), ("b.jpg", 7, 1)]
    assert facts(found.junk) == [("c.jpg", -1, 0)]
    assert facts(found.gallery) == [("d.jpg", 8, NO_CAMERA)]
    assert found.names == Names({}, {0: "2", 1: "door", 2: "yard"})


def test_two_spellings_of_one_integer_are_refused(tmp_path: Path, jpeg: bytes) -> None:
    tar(tmp_path / "train.tar", [*pair("a", jpeg, pid="007"), *pair("b", jpeg, pid=7)])
    with pytest.raises(DataError, match="spells the pid 7 in two ways, 007 and 7"):
        load_dataset(tmp_path)


def test_shards_that_call_one_number_two_things_are_refused(tmp_path: Path, jpeg: bytes) -> None:
    """They were written of two data sets, each of which numbered its own."""
    tar(tmp_path / "train-0.tar", pair("a", jpeg, pid=0, pid_name="anna"))
    tar(tmp_path / "train-1.tar", pair("b", jpeg, pid=0, pid_name="bob"))
    with pytest.raises(DataError, match="the shards call number 0 anna and bob: they are of several data sets"):
        load_dataset(tmp_path)


def test_what_is_passed_over(tmp_path: Path, jpeg: bytes) -> None:
    odd = [("README.md", b"hello"), ("._a.jpg", b"mac"), ("a.mask.png", b"no suffix of an image by itself")]
    tar(tmp_path / "a.tar", [*odd, *pair("b", jpeg, pid=1), ("c.json", b'{"pid": 9}')])
    assert facts(load_dataset(tmp_path).train) == [("b.jpg", 1, NO_CAMERA)]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([("a.jpg", b"1")], r"a\.jpg has no a\.json beside it, which says pid and camid"),
        ([("a.jpg", b"1"), ("a.json", b"{")], r"a\.json is not an object in JSON"),
        ([("a.jpg", b"1"), ("a.json", b"[1]")], r"a\.json is not an object in JSON"),
        ([("a.jpg", b"1"), ("a.json", b"[" * 100_000)], r"a\.json is not an object in JSON"),
        (pair("a", b"1", camid=1), r"a\.json: pid None is neither a number nor a name"),
        (pair("a", b"1", pid=1.5), r"a\.json: pid 1\.5 is neither"),
        (pair("a", b"1", pid=True), r"a\.json: pid True is neither"),
        (pair("a", b"1", pid=-2), r"a\.json: pid -2 is neither a whole number from 0 on, nor -1, nor a name"),
        (pair("a", b"1", pid=1e30), r"a\.json: pid 1e\+30 is neither"),
        (pair("a", b"1", pid="nan"), r"a\.json: pid nan is a missing value"),
        (pair("a", b"1", pid=1, camid=[1]), r"a\.json: camid \[1\] is neither.*leave it out if it is not known"),
        (pair("a", b"1", pid=1, camid="x\n\x1b"), r"a\.json: camid 'x\\n\\x1b' is no name: it must fit on a line"),
        (pair("a", b"1", pid=1, split="val"), r"a\.json: split 'val' is none of train, query, gallery"),
        ([*pair("a", b"1", pid=1), *pair("b", b"1", pid=1), *pair("a", b"1", pid=1)], r"tar:a comes twice"),
        ([("a.jpg", b"1"), ("a.png", b"1"), ("a.cls", b"1")], r"a\.png is the second image of its key"),
        ([("notes.md", b"1")], r"hold no images: write KEY\.jpg and KEY\.json"),
    ],
)
def test_errors_are_one_line_that_names_the_shard(tmp_path: Path, files: list[tuple[str, bytes]], says: str) -> None:
    tar(tmp_path / "train.tar", files)
    with pytest.raises(DataError, match=says) as caught:
        load_dataset(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_the_same_key_in_two_shards_is_two_images(tmp_path: Path, jpeg: bytes) -> None:
    for name in ("train-0.tar", "train-1.tar"):
        tar(tmp_path / name, pair("a", jpeg, pid=1))
    assert len({str(sample.path) for sample in load_dataset(tmp_path).train}) == 2


def test_an_image_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "MAX_BYTES", 100)
    tar(tmp_path / "train.tar", pair("a", bytes(101), pid=1))
    with pytest.raises(DataError, match=r"train\.tar:a\.jpg has 101 bytes, above the limit of 100"):
        load_dataset(tmp_path)


def test_a_truncated_shard_is_named(tmp_path: Path, jpeg: bytes) -> None:
    path = tar(tmp_path / "train-000.tar", pair("a", jpeg, pid=1))
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match=r"train-000\.tar is cut short"):
        load_dataset(tmp_path)


def test_names_that_are_not_text_are_shown_harmlessly(tmp_path: Path, jpeg: bytes) -> None:
    tar(tmp_path / "a.tar", [item for key in ("caf\udce9", "red\x1b[31m") for item in pair(key, jpeg, pid=1)])
    found = load_dataset(tmp_path).train
    assert [sample.path.name for sample in found] == [r"caf\xe9.jpg", r"red\x1b[31m.jpg"]
    assert all(str(sample.path).encode() and sample.path.read_bytes() == jpeg for sample in found)


def test_a_tar_beside_a_data_set_does_not_hide_it(tmp_path: Path, jpeg: bytes) -> None:
    image = tmp_path / "train" / "anna" / "a_c1.jpg"
    image.parent.mkdir(parents=True)
    image.write_bytes(jpeg)
    tar(tmp_path / "people.tar", [("train/anna/a_c1.jpg", jpeg)])
    assert load_dataset(tmp_path).name == "folder"
    assert webdataset.matches(tmp_path)


def test_several_sets_stay_in_columns(tmp_path: Path, jpeg: bytes) -> None:
    tar(tmp_path / "a" / "train.tar", pair("a", jpeg, pid=3, camid=4))
    tar(tmp_path / "b" / "train.tar", [*pair("b", jpeg, pid=0, camid=0), *pair("c", jpeg, pid=-1)])
    one, two = load_dataset(tmp_path / "a"), load_dataset(tmp_path / "b")
    found = merge_datasets([one, two])
    assert found.name == "webdataset+webdataset"
    assert facts(found.train) == [("a.jpg", 3, 4), ("b.jpg", 4, 5)]
    assert facts(found.junk) == [("c.jpg", -1, NO_CAMERA)]
    assert [sample.path.read_bytes() for sample in found.train] == [jpeg] * 2
    assert merge_datasets([one]) == one
    with pytest.raises(DataError, match=r"train\.tar is in two of the data sets"):
        merge_datasets([one, one])
    for pid in ("anna", "bob"):
        loose = tmp_path / "c" / pid / "a.jpg"
        loose.parent.mkdir(parents=True)
        loose.write_bytes(jpeg)
    with pytest.raises(DataError, match="put the files into shards by `reidkit shard`"):
        merge_datasets([one, load_dataset(tmp_path / "c")])


@pytest.mark.parametrize("label", ["--5", "-", "5-", "\u0665", "9" * 150])
def test_a_label_that_is_no_number_is_a_name(tmp_path: Path, jpeg: bytes, label: str) -> None:
    tar(tmp_path / "train.tar", [("a.jpg", jpeg), ("a.cls", label.encode())])
    assert [sample.pid for sample in load_dataset(tmp_path).train] == [0]


def test_a_label_nested_beyond_reason_is_told_in_a_line(tmp_path: Path, jpeg: bytes) -> None:
    for depth in (500, 900, 100_000):
        tar(tmp_path / "train.tar", [("a.jpg", jpeg), ("a.json", b'{"pid": ' + b"[" * depth + b"]" * depth + b"}")])
        with pytest.raises(DataError, match=r"is neither a number nor a name|is not an object in JSON"):
            load_dataset(tmp_path)
