from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reidkit.data.formats.detect import load_dataset
from reidkit.data.shards.writer import write_parquet
from reidkit.errors import DataError
from reidkit.types import NO_CAMERA
from tests.data.shards.made import facts

if TYPE_CHECKING:
    from pathlib import Path

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

BAD_TEXT = arrow.Array.from_buffers(
    arrow.string(), 1, [None, arrow.py_buffer(b"\0\0\0\0\2\0\0\0"), arrow.py_buffer(b"\xff\xfe")]
)
BAD_DATE = arrow.array([2**50], type=arrow.int64()).cast(arrow.timestamp("s"))


def table(path: Path, rows: Any = 100, **columns: Any) -> Path:
    """A file of these columns, in row groups of `rows`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.table(columns), path, row_group_size=rows)
    return path


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_by_hand(tmp_path: Path, rows: int) -> None:
    root = tmp_path / "people"
    images, keys, split = [b"a", b"b", b"c", b"d"], ["1.jpg", "2.jpg", "x/3.jpg", "4.jpg"], [*["train"] * 3, "query"]
    table(root / "all.parquet", rows, image=images, key=keys, pid=[4, 4, -1, 5], camid=[0, None, 2, 1], split=split)
    found = load_dataset(root)
    assert found.name == "parquet"
    assert facts(found.train) == [("1.jpg", 4, 0), ("2.jpg", 4, NO_CAMERA)]
    assert facts(found.query) == [("4.jpg", 5, 1)]
    assert facts(found.junk) == [("3.jpg", -1, 2)]
    assert [s.path.read_bytes() for s in (*found.train, *found.query, *found.junk)] == [b"a", b"b", b"d", b"c"]
    assert str(found.junk[0].path) == f"{root}/all.parquet:x/3.jpg"
    assert load_dataset(tmp_path) == found
    assert load_dataset(root / "all.parquet") == found


def test_names_of_people_rows_without_a_key_and_a_column_of_structs(tmp_path: Path) -> None:
    images = [{"bytes": b"a", "path": "a"}, {"bytes": b"b", "path": "b"}]
    table(tmp_path / "gallery-0.parquet", image=images, pid=["zoe", "anna"])
    found = load_dataset(tmp_path, "parquet").gallery
    assert facts(found) == [("0", 1, NO_CAMERA), ("1", 0, NO_CAMERA)]
    assert [sample.path.read_bytes() for sample in found] == [b"a", b"b"]


def test_the_floats_of_a_column_with_gaps(tmp_path: Path) -> None:
    table(tmp_path / "train.parquet", image=[b"a", b"b", b"c"], pid=[7.0, 8.0, -1.0], camid=[1.0, float("nan"), None])
    found = load_dataset(tmp_path)
    assert facts(found.train) == [("0", 7, 1), ("1", 8, NO_CAMERA)]
    assert facts(found.junk) == [("2", -1, NO_CAMERA)]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"image": [b"a"]}, "has no column pid: the columns are image, pid, camid, split and key"),
        ({"pid": [1]}, "has no column image"),
        ({"image": [b"a"], "pid": [None]}, "train.parquet:0: pid None is neither a number nor a name"),
        ({"image": [b"a", b"b"], "pid": [1, 2], "key": ["k", "k"]}, "train.parquet:k comes twice"),
        ({"image": [b"a"], "pid": [1], "split": ["test"]}, "split 'test' is none of train, query, gallery"),
        *[
            ({"image": column, "pid": [1]}, "its column image holds no bytes of files: write them as binary")
            for column in (["x"], [1], [True], [{"bytes": "text"}], [{"path": b"a"}], [[b"a"]], [None])
        ],
        ({"image": [b"a"], "pid": [1], "key": BAD_TEXT}, "holds what cannot be read: .*can't decode"),
        ({"image": [b"a"], "pid": [1], "camid": BAD_DATE}, "holds what cannot be read: "),
        ({"image": [b"a"], "pid": [[[1]]]}, r"pid \[\[1\]\] is neither a number nor a name"),
        ({"image": [b"a"], "pid": [7.5]}, r"pid 7\.5 is neither"),
    ],
)
def test_errors_are_one_line_that_names_the_shard(tmp_path: Path, columns: dict[str, list[Any]], says: str) -> None:
    table(tmp_path / "train.parquet", **columns)
    with pytest.raises(DataError, match=says) as caught:
        load_dataset(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_a_file_that_is_cut_short_is_named(tmp_path: Path, keep: int) -> None:
    path = table(tmp_path / "train.parquet", image=[b"a" * 500], pid=[1])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"train\.parquet (cannot be read|is no whole Parquet file)") as caught:
        load_dataset(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_byte_that_changed_in_an_image_is_noticed(tmp_path: Path) -> None:
    """A damaged JPEG is read as an odd picture; the pages that reidkit writes have a checksum each."""
    path = tmp_path / "train.parquet"
    write_parquet(path, [("a.jpg", b"a" * 500, 1, 1, "train"), ("b.jpg", b"b" * 500, 2, 1, "train")])
    content = bytearray(path.read_bytes())
    content[content.index(b"bbbb") + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.parquet cannot be read.*damaged|no whole Parquet file"):
        load_dataset(tmp_path).train[1].path.read_bytes()


def test_a_file_that_changed_behind_its_index(tmp_path: Path) -> None:
    path = table(tmp_path / "train.parquet", image=[b"a", b"b"], pid=[1, 2])
    last = load_dataset(tmp_path).train[1]
    table(path, image=[b"a"], pid=[1])
    with pytest.raises(DataError, match="has fewer rows than its index"):
        last.path.read_bytes()


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    made = arrow.Table.from_arrays([arrow.array([b"a"]), arrow.array([1]), arrow.array([2])], ["image", "pid", "pid"])
    parquet.write_table(made, tmp_path / "train.parquet")
    with pytest.raises(DataError, match="has two columns pid: leave one"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    "kind", [arrow.large_binary(), arrow.binary(1), arrow.dictionary(arrow.int32(), arrow.binary())]
)
def test_other_columns_of_bytes(tmp_path: Path, kind: Any) -> None:
    table(tmp_path / "train.parquet", image=arrow.array([b"a", b"b", b"a"]).cast(kind), pid=[1, 2, 3])
    assert [sample.path.read_bytes() for sample in load_dataset(tmp_path).train] == [b"a", b"b", b"a"]


def test_a_damaged_column_of_images_in_the_table_of_contents(tmp_path: Path) -> None:
    """Its name in the row group, the second one, is no UTF-8. Nobody asks for it: images are read by the schema's."""
    path = table(tmp_path / "train-0.parquet", image=[b"a", b"b"], pid=[4, 5])
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    at = content.index(b"image", content.index(b"image", footer) + 1)
    path.write_bytes(content[:at] + b"\xe9\xff" + content[at + 2 :])
    assert [s.path.read_bytes() for s in load_dataset(tmp_path).train] == [b"a", b"b"]
