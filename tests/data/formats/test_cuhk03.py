from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from reidkit.data.formats import cuhk03
from reidkit.errors import DataError
from reidkit.types import Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PARTS = ("bounding_box_train", "query", "bounding_box_test")


def test_new_protocol_by_hand(draw: Callable[..., Path]) -> None:
    root = draw(
        "cuhk03-np/detected/bounding_box_train/0001_c1_1.png",
        "cuhk03-np/detected/query/0003_c1_22.png",
        "cuhk03-np/detected/bounding_box_test/0003_c2_27.png",
        *(f"cuhk03-np/labeled/{part}/0009_c2_1.png" for part in PARTS),
    )
    found = cuhk03.load(root)
    assert found.name == "cuhk03-detected"
    assert found.train == (Sample(root / "cuhk03-np/detected/bounding_box_train/0001_c1_1.png", 1, 1),)
    assert [(sample.pid, sample.camid) for sample in (*found.query, *found.gallery)] == [(3, 1), (3, 2)]
    labelled = cuhk03.load(root / "cuhk03-np", boxes="labeled")
    assert (labelled.name, labelled.train[0].pid) == ("cuhk03-labeled", 9)


@pytest.fixture
def extracted(draw: Callable[..., Path]) -> Path:
    """Two classic splits, with the paths of another machine: its people are 0, 1 to train on and 0 to look for."""
    names = ["1_001_1_01.png", "1_002_2_06.png", "2_001_1_01.png", "2_001_2_06.png"]
    root = draw(*(f"images_detected/{name}" for name in names))

    def split(prefix: str, train: list[int], test: list[int]) -> dict[str, object]:
        rows = [[prefix + name, 0, int(name[6]) - 1] for name in names]
        looked_for = [rows[k] for k in test]
        learnt = [[rows[k][0], number, rows[k][2]] for number, k in enumerate(train)]
        return {"train": learnt, "query": looked_for, "gallery": looked_for, "num_train_pids": 2}

    splits = [split("/data/cuhk03/images_detected/", [0, 1], [2, 3]), split("D:\\cuhk03\\", [2], [0])]
    (root / "splits_classic_detected.json").write_text(json.dumps(splits))
    (root / "splits_new_detected.json").write_text(json.dumps(splits[:1]))
    return root


def test_classic_protocol_by_hand(extracted: Path) -> None:
    """The person to look for comes after the two to train on."""
    found = cuhk03.load(extracted, protocol="classic")
    images = extracted / "images_detected"
    assert found.name == "cuhk03-classic-detected-0"
    assert found.train == (Sample(images / "1_001_1_01.png", 0, 1), Sample(images / "1_002_2_06.png", 1, 2))
    assert found.query == (Sample(images / "2_001_1_01.png", 2, 1), Sample(images / "2_001_2_06.png", 2, 2))
    assert found.gallery == found.query


def test_a_table_that_counts_cameras_as_the_names_do(extracted: Path) -> None:
    """The table of another program: its numbers are the cameras', and no other is made of them."""
    split = {part: [["1_001_1_01.png", 0, 1], ["1_002_2_06.png", 1, 2]] for part in ("train", "query", "gallery")}
    (extracted / "splits_new_detected.json").write_text(json.dumps([split]))
    assert [sample.camid for sample in cuhk03.load(extracted).train] == [1, 2]


def test_another_split_and_the_paths_of_windows(extracted: Path) -> None:
    found = cuhk03.load(extracted, protocol="classic", split=1)
    assert [sample.path.name for sample in (*found.train, *found.query)] == ["2_001_1_01.png", "1_001_1_01.png"]


def test_extracted_images_serve_the_new_protocol_too(extracted: Path) -> None:
    found = cuhk03.load(extracted)
    assert (found.name, found.train) == ("cuhk03-detected", cuhk03.load(extracted, protocol="classic").train)


def test_what_is_not_there_is_named(extracted: Path) -> None:
    with pytest.raises(DataError, match="has no split 2: it has 2, counted from 0"):
        cuhk03.load(extracted, protocol="classic", split=2)
    with pytest.raises(
        DataError, match=r"splits_classic_labeled.json is not there.*classic protocol with labeled boxes"
    ):
        cuhk03.load(extracted, boxes="labeled", protocol="classic")
    (extracted / "images_detected").rename(extracted / "images_labeled")
    with pytest.raises(DataError, match=r"1_001_1_01.png, which splits_new_detected.json names, is not there"):
        cuhk03.load(extracted)


def test_a_bare_mat_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "cuhk03_release").mkdir()
    (tmp_path / "cuhk03_release" / "cuhk-03.mat").write_bytes(b"MATLAB 7.3 MAT-file")
    with pytest.raises(DataError, match=r"cuhk-03.mat is not read: get cuhk03-np, or extract it into images_detected"):
        cuhk03.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[{}]", "does not hold train, query and gallery"),
        ("7", "does not hold train, query and gallery"),
        ('[{"train": [["a.png", 0]], "query": [], "gallery": []}]', "does not hold train, query and gallery"),
        ('[{"train": [["a.png", "x", 0]], "query": [], "gallery": []}]', "does not hold train, query and gallery"),
        ('[{"train": [["a.png", 0, 0]], "query": [], "gallery": []}]', "has no images in train, query or gallery"),
    ],
)
def test_a_table_that_is_none(extracted: Path, text: str, reason: str) -> None:
    (extracted / "splits_new_detected.json").write_text(text)
    with pytest.raises(DataError, match=reason):
        cuhk03.load(extracted)


def test_nothing_of_the_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not hold CUHK03 as cuhk03-np or extracted"):
        cuhk03.load(tmp_path)
