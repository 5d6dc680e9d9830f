"""Boxes in files: each format by hand, and wrong rows by their lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from reidkit.errors import DataError, MissingFileError, UsageError
from reidkit.video.box_files import BoxFile, read_boxes

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (200, 100)


def text(folder: Path, content: str, name: str = "det.txt") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def at(found: BoxFile, frame: int) -> list[list[float]]:
    listed: list[list[float]] = found.at(frame, *SIZE).boxes.tolist()
    return listed


def ids(found: BoxFile, frame: int) -> list[int]:
    tracks = found.at(frame, *SIZE).tracks
    assert tracks is not None
    listed: list[int] = tracks.tolist()
    return listed


def test_detections_of_mot_begin_at_pixel_one_and_have_no_ids(tmp_path: Path) -> None:
    found = read_boxes(
        text(tmp_path, "1,-1,11,21,30,40,0.5,-1,-1,-1\n1,-1,51,21,30,40,3.5,-1,-1,-1\n3,-1,1,1,9,9,0.2\n")
    )
    assert (found.format, found.tracks, found.last) == ("mot", False, 3)
    one = found.at(1, *SIZE)
    assert one.boxes.tolist() == [[10, 20, 40, 60], [50, 20, 80, 60]]
    assert one.scores.tolist() == pytest.approx([0.5, 1])  # what is no probability is cut
    assert one.tracks is None
    assert at(found, 2) == []


@pytest.mark.parametrize("separator", [",", ";", "\t", " ", ", "])
def test_separators_are_recognised(separator: str, tmp_path: Path) -> None:
    line = separator.join(["1", "7", "11", "21", "30", "40", "0.5", "-1", "-1", "-1"])
    found = read_boxes(text(tmp_path, f"\ufeff{line}\r\n\r\n# the end\r\n"))
    one = found.at(1, *SIZE)
    assert (one.boxes.tolist(), ids(found, 1)) == ([[10, 20, 40, 60]], [7])


def test_ground_truth_of_mot_is_its_pedestrians_that_count(tmp_path: Path) -> None:
    rows = ["1,1,1,1,10,20,1,1,0.9", "1,2,1,1,10,20,0,1,0.9", "1,3,1,1,10,20,1,7,1", "2,1,3,1,10,20,1,1,0.1"]
    found = read_boxes(text(tmp_path, "\n".join(rows)))
    assert found.tracks
    assert found.last_frames() == {1: 2}
    assert at(found, 1) == [[0, 0, 10, 20]]


def test_results_without_scores_are_sure(tmp_path: Path) -> None:
    found = read_boxes(text(tmp_path, "1,1,1,1,10,20,-1,-1,-1,-1\n"))
    assert found.at(1, *SIZE).scores.tolist() == [1]


def test_corners(tmp_path: Path) -> None:
    found = read_boxes(text(tmp_path, "4,-1,10.5,20,40,60,0.25\n"), "xyxy")
    assert at(found, 4) == [[10.5, 20, 40, 60]]


def test_text_of_ultralytics_in_parts_of_the_frame(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    text(folder, "0 0.5 0.5 0.1 0.4 0.9 3\n2 0.5 0.5 0.1 0.4 0.9 4\n", "hall_1.txt")
    text(folder, "0 0.5 0.5 0.1 0.4 3\n", "hall_12.txt")  # a whole number alone is an id
    found = read_boxes(folder)
    assert (found.format, found.tracks, found.last) == ("yolo", True, 12)
    one = found.at(1, *SIZE)
    np.testing.assert_allclose(one.boxes, [[90, 30, 110, 70]], atol=1e-4)
    assert (one.scores.tolist(), ids(found, 1)) == (pytest.approx([0.9]), [3])
    for content in ("0 0.5 0.5 0.1 0.4 0.7\n", "0 0.5 0.5 0.1 0.4\n"):
        text(folder, content, "hall_12.txt")
        scores = read_boxes(folder).at(12, *SIZE)
        assert scores.tracks is None
        assert scores.scores.tolist() == pytest.approx([0.7 if "0.7" in content else 1])


def test_results_of_coco(tmp_path: Path) -> None:
    rows = [
        {"image_id": 2, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.75},
        {"image_id": 2, "category_id": 3, "bbox": [10, 20, 30, 40], "score": 0.9},
    ]
    found = read_boxes(text(tmp_path, json.dumps(rows), "boxes.json"))
    assert (found.format, at(found, 2)) == ("coco", [[10, 20, 40, 60]])


def test_a_data_set_of_coco_by_the_numbers_of_its_files(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 77, "file_name": "hall/000005.jpg"}],
        "categories": [{"id": 9, "name": "person"}, {"id": 1, "name": "bus"}],
        "annotations": [
            {"image_id": 77, "category_id": 9, "bbox": [1, 2, 3, 4], "track_id": 6},
            {"image_id": 77, "category_id": 1, "bbox": [1, 2, 3, 4], "track_id": 7},
        ],
    }
    found = read_boxes(text(tmp_path, json.dumps(content), "boxes.json"))
    assert (at(found, 5), found.last_frames()) == ([[1, 2, 4, 6]], {6: 5})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1,-1,1,1,9,9,1\n1,-1,a,1,9,9,1\n", r"line 2: '1,-1,a,1,9,9,1' holds something else than numbers"),
        ("1,-1,nan,1,9,9,1\n", "line 1: .* holds something else than numbers"),
        ("1,-1,1,1,9\n", "line 1 has 5 columns, and boxes need 6"),
        ("\n0,-1,1,1,9,9,1\n", "line 2: frame 0 is none, as frames are counted from 1"),
        ("1.5,-1,1,1,9,9,1\n", "line 1: 1.5 is no frame: frames are whole numbers"),
        ("1,-1,1,1,-9,9,1\n", "line 1: the box is -9 x 9, which is no size"),
        ("1,4,1,1,9,9,1\n1,4,2,1,9,9,1\n", "line 2: track 4 has two boxes in frame 1"),
        ("1e300,-1,1,1,9,9,1\n", "line 1: 1e\\+300 is no frame"),
    ],
)
def test_wrong_rows_are_named_by_their_line(content: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read_boxes(text(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1]", "object 0 is no object"),
        ('{"images": []}', "is no list of results"),
        ('[{"image_id": 1, "bbox": [1, 2, 3]}]', "object 0 has no bbox of four numbers"),
        ('[{"image_id": "a", "bbox": [1, 2, 3, 4]}]', "image_id 'a' is no number of a frame"),
        ('[{"image_id": 3, "bbox": [1, 2, -3, 4]}]', "frame 3: the box is -3 x 4"),
        ("[", "cannot be read as JSON"),
    ],
)
def test_wrong_json_is_said(content: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read_boxes(text(tmp_path, content, "boxes.json"))


def test_other_mistakes(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="is not there"):
        read_boxes(tmp_path / "gone.txt")
    with pytest.raises(DataError, match="is no file, but a pipe or a device"):
        read_boxes("/dev/zero")
    with pytest.raises(UsageError, match="choose one of mot, xyxy, yolo, coco"):
        read_boxes(text(tmp_path, ""), "voc")  # type: ignore[arg-type]
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match=r"holds no \.txt"):
        read_boxes(tmp_path / "labels")
    with pytest.raises(DataError, match="is no folder, and boxes of format yolo are not"):
        read_boxes(text(tmp_path, ""), "yolo")


def test_boxes_behind_the_last_frame_are_told_by_the_first_of_their_lines(tmp_path: Path) -> None:
    found = read_boxes(text(tmp_path, "1,-1,1,1,9,9,1\n9,-1,1,1,9,9,1\n5,-1,1,1,9,9,1\n"))
    assert found.beyond(4) == "2 boxes lie behind its last frame, 4: the first of them in frame 5 (det.txt line 3)"
    assert found.beyond(9) == ""
