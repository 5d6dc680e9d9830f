"""Pieces as they are written and read again."""

from __future__ import annotations

import csv
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest

from reidkit.errors import DataError, MissingFileError
from reidkit.metrics.features import read_features
from reidkit.video.piece import Piece, gallery_row, read_pieces
from reidkit.video.piece_writer import PieceWriter
from reidkit.video.record import Record, Settings, Source, is_name, read_record, write_record

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)
RECORD = Record(
    video="hall",
    source=Source(name="hall.mp4", digest="0123456789abcdef", path="../hall.mp4"),
    settings=Settings(camera="door", model="c0105125c0105125"),
    start=START.isoformat(),
    start_from="given",
)


def piece(track: str, first: int, *, feature: tuple[float, ...] | None = (0.6, 0.8), best: tuple[int, ...] = (2, 0)):
    return Piece(
        video="hall",
        camera="door",
        track=track,
        frames=np.arange(first, first + 3),
        seconds=np.arange(first - 1, first + 2) / 10,
        boxes=np.array([[0, 10, 20, 50], [1, 10, 21, 50], [2, 10, 22, 50.5]], np.float32),
        scores=np.array([0.5, 0.75, 1], np.float32),
        start=START,
        feature=None if feature is None else np.array(feature, np.float32),
        best=best,
    )


def written(folder: Path) -> Record:
    writer = PieceWriter(folder / "hall", RECORD)
    writer.add(piece("2", 5), [b"best", b"second"])
    writer.add(piece("1", 2, feature=None, best=()))
    return writer.finish(RECORD)


def test_what_is_written_is_read_again_in_the_order_of_first_frames(tmp_path: Path) -> None:
    record = written(tmp_path)
    assert (record.finished, record.counts.pieces, record.counts.boxes, record.counts.crops) == (True, 2, 6, 2)
    assert read_record(tmp_path / "hall") == record
    one, two = read_pieces(tmp_path)
    assert (one.track, two.track) == ("1", "2")
    assert (two.video, two.camera, two.key, two.best, two.start) == ("hall", "door", "hall/2", (2, 0), START)
    expected = piece("2", 5)
    for name in ("frames", "seconds", "boxes", "scores", "feature"):
        np.testing.assert_allclose(getattr(two, name), getattr(expected, name), rtol=0, atol=1e-7)
        assert getattr(two, name).dtype == getattr(expected, name).dtype
    assert (one.feature, one.best) == (None, ())
    assert [each.key for each in read_pieces(tmp_path / "hall")] == ["hall/1", "hall/2"]


def test_the_files_are_as_described(tmp_path: Path) -> None:
    written(tmp_path)
    place = tmp_path / "hall"
    with (place / "boxes.csv").open(newline="") as file:
        first, *_ = csv.DictReader(file)
    assert first == {
        "frame": "5",
        "second": "0.400000",
        "time": "2026-11-27T08:00:00.400+00:00",
        "track": "2",
        "x1": "0.00",
        "y1": "10.00",
        "x2": "20.00",
        "y2": "50.00",
        "score": "0.5000",
        "crop": "crops/2/000005.jpg",
        "rank": "2",
    }
    # MOT: pixels from 1, width and height, the track as id.
    assert (place / "mot.txt").read_text().splitlines()[0] == "5,2,1.00,11.00,20.00,40.00,0.5000,-1,-1,-1"
    assert (place / "crops/2/000007.jpg").read_bytes() == b"best"
    features = read_features(place / "features.npz")
    assert (features.paths, features.model) == (("hall/2",), RECORD.settings.model)
    assert sorted(path.name for path in place.iterdir()) == [
        "boxes.csv",
        "crops",
        "crops.csv",
        "features.npz",
        "mot.txt",
        "video.json",
    ]


def test_a_row_of_a_gallery_by_hand() -> None:
    row = gallery_row(piece("2", 5), source="0123456789abcdef")
    assert (row.key, row.track, row.camera, row.image) == ("hall/2", "hall/2", "door", "hall/crops/2/000007.jpg")
    assert row.time == datetime(2026, 11, 27, 8, 0, 0, 600_000, tzinfo=UTC)
    assert row.attributes == {
        "video": "hall",
        "second": 0.6,
        "frame": 7,
        "first": 0.4,
        "last": 0.6,
        "source": "0123456789abcdef",
    }
    unknown = gallery_row(replace(piece("2", 5, best=()), start=None))
    assert (unknown.time, unknown.image, unknown.attributes["frame"]) == (None, None, 7)  # of the highest score


def test_an_unfinished_video_is_read_only_when_asked_and_cleared_by_the_next_writer(tmp_path: Path) -> None:
    writer = PieceWriter(tmp_path / "hall", RECORD)
    writer.add(piece("1", 2), [b"crop"])
    writer.close()
    assert read_pieces(tmp_path) == []
    assert [each.track for each in read_pieces(tmp_path, unfinished=True)] == ["1"]
    (tmp_path / "hall" / "mine.txt").write_text("mine")
    writer = PieceWriter(tmp_path / "hall", RECORD)
    assert not (tmp_path / "hall/crops").exists()
    writer.finish(RECORD)
    assert read_pieces(tmp_path) == []
    assert (tmp_path / "hall" / "mine.txt").exists()


def test_damaged_folders_end_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="holds no tracked videos"):
        read_pieces(tmp_path)
    written(tmp_path)
    boxes = tmp_path / "hall" / "boxes.csv"
    good = boxes.read_text()
    for content, said in (
        (good.replace("rank", "rang"), "line 1: the columns are not"),
        (good.replace("0.7500", "nan"), "line 3 is damaged"),
        (good.replace(",2\n", ",\n"), "line 2 is damaged"),
        (good + good.splitlines()[1] + "\n", "do not stand together"),
    ):
        boxes.write_text(content)
        with pytest.raises(DataError, match=said):
            read_pieces(tmp_path)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a\\b", ".hidden", "a\nb", "c:x"])
def test_a_record_whose_name_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    assert not is_name(name)
    write_record(tmp_path / "hall", replace(RECORD, video=name))
    with pytest.raises(DataError, match="no name of a folder"):
        read_pieces(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "away", "still"),
    [(30.0, 1, True), (29.9, 1, False), (30.0, 2, False)],
    ids=["half a minute", "less", "two of twenty elsewhere"],
)
def test_what_stays_in_one_place_by_hand(seconds: float, away: int, still: bool) -> None:
    """Boxes of 20 x 40 that shake by a pixel: of two that lie a pixel apart the overlap is 38 / 42."""
    left = np.arange(20) % 2
    left[:away] += 7  # 13 / 27 at best
    boxes = np.stack([left, np.zeros(20), left + 20, np.full(20, 40)], axis=1).astype(np.float32)
    times = np.linspace(5.0, 5.0 + seconds, 20)
    made = replace(piece("1", 1), frames=np.arange(1, 21), seconds=times, boxes=boxes, scores=np.ones(20, np.float32))
    assert made.still is still
