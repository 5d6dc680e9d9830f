"""Tracking of whole videos: pieces, files and galleries, by hand; and what happens when it is stopped or goes wrong."""

from __future__ import annotations

import csv
import errno
import json
import math
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from reidkit.errors import DataError, GalleryError, MissingFileError, UsageError
from reidkit.gallery import open_gallery
from reidkit.gallery.fill import find_images
from reidkit.video import PieceOptions, TrackerOptions, TrackOptions, read_pieces, track
from reidkit.video.boxes import Detections
from reidkit.video.record import read_record
from tests.gallery.made import Colours
from tests.video.drawn import write_sound, write_video
from tests.video.walkers import FRAMES, ByColour, box, draw, truth, video

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)


def iou(first: Any, second: Any) -> float:
    sides = np.maximum(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0)
    shared = sides.prod()
    total = [(each[2] - each[0]) * (each[3] - each[1]) for each in (first, second)]
    return float(shared / (sum(total) - shared))


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a folder but the record, whose list of galleries may grow."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "video.json" and not path.name.startswith(".")
    }


@pytest.mark.parametrize("tracker", ["edgefirst", "iou"])
def test_two_people_are_two_pieces_with_their_boxes_times_crops_and_features(tracker: Any, tmp_path: Path) -> None:
    options = TrackOptions(pieces=PieceOptions(tracker=TrackerOptions(tracker=tracker)))
    out = tmp_path / "out"
    done = track(
        [video(tmp_path)], out, detector=ByColour(), model=Colours(), starts=[START], cameras=["door"], options=options
    )
    assert (done.failed, done.remarks, done.reused) == ([], [], [])
    (record,) = done.records
    assert (record.counts.frames, record.counts.looked_at, record.counts.detections) == (FRAMES, FRAMES, 2 * FRAMES)
    pieces = read_pieces(out)
    assert [(piece.video, piece.camera, piece.track) for piece in pieces] == [
        ("hall", "door", "1"),
        ("hall", "door", "2"),
    ]
    for figure, piece in enumerate(pieces):
        assert len(piece) >= FRAMES - 3  # a tracker may wait for a few boxes before it begins
        assert piece.seconds == pytest.approx((piece.frames - 1) / 10)
        for frame, found in zip(piece.frames, piece.boxes, strict=True):
            assert iou(found, np.array(box(figure, frame - 1))) > 0.7
        assert (piece.start, piece.time(2)) == (START, START + timedelta(seconds=2))
        assert len(piece.best) == 5
        assert np.ptp(piece.seconds[list(piece.best)]) > 2  # they are spread over its time
        crops = [out / f"hall/crops/{piece.track}/{piece.frames[row]:06d}.jpg" for row in piece.best]
        means = []
        for crop in crops:
            with Image.open(crop) as image:
                assert abs(image.width - 20) <= 3
                colour = np.asarray(image).mean(axis=(0, 1))
            assert colour.argmax() == figure
            means.append(colour / np.linalg.norm(colour))
        assert piece.feature is not None
        assert np.linalg.norm(piece.feature) == pytest.approx(1)
        mean = np.mean(means, axis=0)
        assert float(piece.feature @ (mean / np.linalg.norm(mean))) > 0.995


def test_ids_of_a_file_are_the_pieces_and_the_tracker_is_not_asked(tmp_path: Path) -> None:
    boxes = truth(tmp_path / "gt.txt", figures=(0, 1, 2))
    done = track([video(tmp_path)], tmp_path / "out", boxes=[boxes], options=TrackOptions(every=0.0))
    assert done.records[0].settings.tracker == "given"
    pieces = read_pieces(tmp_path / "out")
    assert [piece.track for piece in pieces] == ["1", "2", "3"]
    for figure, piece in enumerate(pieces):
        np.testing.assert_array_equal(piece.boxes, [np.clip(box(figure, each), 0, 160) for each in range(FRAMES)])
        assert piece.feature is None
    # The results in the form of MOT are the boxes that were given.
    given, made = (sorted(path.read_text().split()) for path in (boxes, tmp_path / "out/hall/mot.txt"))
    numbers = [[float(cell) for cell in line.split(",")[:6]] for line in (*given, *made)]
    assert sorted(numbers[: len(given)]) == sorted(numbers[len(given) :])


def test_boxes_in_each_other_are_noted_as_doubles(tmp_path: Path) -> None:
    """Track 3 is nine tenths within figure 0, and 4 is at first behind figure 1 and then beside it."""
    boxes = truth(tmp_path / "gt.txt", figures=(0, 1))
    with boxes.open("a") as file:
        for frame in range(FRAMES):
            left, top, *_ = box(0, frame)
            file.write(f"\n{frame + 1},3,{left + 3},{top + 1},20,36,1,-1,-1,-1")
            left, top, *_ = box(1, frame)
            aside = 15 * (frame > FRAMES // 2)
            file.write(f"\n{frame + 1},4,{left + 1 + aside},{top + 10},18,34,1,-1,-1,-1")
    people = open_gallery("memory", Colours())
    out = tmp_path / "out"
    track([video(tmp_path)], out, boxes=[boxes], model=Colours(), gallery=people)
    assert {row.key: row.attributes.get("doubles") for row in people} == {
        "hall/1": "3",
        "hall/2": None,
        "hall/3": "1",
        "hall/4": None,
    }
    assert [piece.doubles for piece in read_pieces(out)] == [("3",), (), ("1",), ()]
    # The table of crops says it, too, so that a gallery that is filled by it joins the same tracks.
    given = {each.row.track: each.row.attributes.get("doubles") for each in find_images(out / "hall/crops.csv")}
    assert given == {"hall/1": 3, "hall/2": None, "hall/3": 1, "hall/4": None}
    # From the folder, a gallery gets the same rows.
    later = open_gallery("memory", Colours())
    assert track([video(tmp_path)], out, boxes=[boxes], model=Colours(), gallery=later).reused == ["hall"]
    assert [row.attributes for row in later] == [row.attributes for row in people]


def test_ids_are_not_dropped_in_silence_where_a_box_has_none(tmp_path: Path) -> None:
    boxes = truth(tmp_path / "gt.txt", figures=(0, 1))
    rows = boxes.read_text().splitlines()
    cells = rows[3].split(",")
    rows[3] = ",".join([cells[0], "-1", *cells[2:]])
    boxes.write_text("\n".join(rows))
    (record,) = track([video(tmp_path)], tmp_path / "out", boxes=[boxes]).records
    assert record.settings.tracker != "given"
    (note,) = record.notes
    assert note.startswith(f"1 of the {len(rows)} boxes of gt.txt has no id: a tracker followed all of them")


def test_boxes_of_a_file_without_ids_are_tracked(tmp_path: Path) -> None:
    boxes = truth(tmp_path / "det.txt", ids=False)
    track([video(tmp_path)], tmp_path / "out", boxes=[boxes])
    assert [len(piece) >= FRAMES - 3 for piece in read_pieces(tmp_path / "out")] == [True, True]


def test_synthetic_people_are_pure_pieces_that_cover_the_truth(street: Path, tmp_path: Path) -> None:
    """Purity: the part of a piece's boxes that are of its most frequent person; coverage: of the truth's boxes."""
    videos = sorted(street.glob("*.mp4"))
    detections = [street / "det" / f"{path.stem}.txt" for path in videos]
    done = track(videos, tmp_path / "out", boxes=detections)
    assert (done.failed, len(done.records)) == ([], 2)
    right = total = 0
    for piece in read_pieces(tmp_path / "out"):
        rows = _truth_of(street, piece.video)
        owners = [
            next((who for frame, who, sides in rows if frame == number and iou(sides, found) > 0.5), -1)
            for number, found in zip(piece.frames, piece.boxes, strict=True)
        ]
        right, total = right + max(owners.count(who) for who in set(owners)), total + len(owners)
    assert right / total > 0.95
    assert total > 0.6 * sum(len(_truth_of(street, path.stem)) for path in videos)


def _truth_of(street: Path, name: str) -> list[tuple[int, int, Any]]:
    path = street / "gt" / f"{name}.txt"
    rows = [[float(cell) for cell in line.split(",")] for line in path.read_text().splitlines()]
    return [(int(r[0]), int(r[1]), np.array([r[2] - 1, r[3] - 1, r[2] - 1 + r[4], r[3] - 1 + r[5]])) for r in rows]


def test_the_same_call_again_reads_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    model, out = Colours(), tmp_path / "out"
    with open_gallery(tmp_path / "people.db", model) as people:
        for count in (FRAMES, 0):
            detector = ByColour()
            done = track([video(tmp_path)], out, detector=detector, model=model, gallery=people, starts=[START])
            assert (detector.seen, len(done.records), len(people)) == (count, 1, 2)
        row = people.get("hall/1")
        assert row is not None
        assert (row.camera, row.track, row.attributes["video"]) == ("hall", "hall/1", "hall")
        assert row.time == START + timedelta(seconds=float(row.attributes["second"]))
        assert (tmp_path / "out" / str(row.image)).is_file()
        assert people.thumbnail("hall/1")
        feature = read_pieces(out)[0].feature
        assert feature is not None
        np.testing.assert_allclose(people.vectors(["hall/1"])[0], feature, atol=1e-6)
        # In another folder, the same video is the same rows.
        track(
            [tmp_path / "hall.mp4"], tmp_path / "two", detector=ByColour(), model=model, gallery=people, starts=[START]
        )
        assert len(people) == 2


def test_a_gallery_that_is_named_later_is_filled_from_the_folder(tmp_path: Path) -> None:
    model, out = Colours(), tmp_path / "out"
    track([video(tmp_path)], out, detector=ByColour(), model=model)
    with open_gallery(tmp_path / "people.db", model) as people:
        detector = ByColour()
        track([tmp_path / "hall.mp4"], out, detector=detector, model=model, gallery=people)
        assert (detector.seen, people.keys(), bool(people.thumbnail("hall/2"))) == (0, ["hall/1", "hall/2"], True)
        people.remove(["hall/1"])  # as retention does: what is gone does not come back
        track([tmp_path / "hall.mp4"], out, detector=detector, model=model, gallery=people)
        assert people.keys() == ["hall/2"]


def test_other_settings_are_refused_and_read_again_where_asked(tmp_path: Path) -> None:
    model, out, path = Colours(), tmp_path / "out", video(tmp_path)
    with open_gallery(tmp_path / "people.db", model) as people:
        track([path], out, detector=ByColour(), model=model, gallery=people)
        sparse = TrackOptions(every=1.0, pieces=PieceOptions(min_boxes=1))
        done = track([path], out, detector=ByColour(), model=model, gallery=people, options=sparse)
        assert done.records == []
        assert (
            "was made with other settings (every, choice): give another folder, or read it anew (--again"
            in done.failed[0][1]
        )
        again = TrackOptions(every=5.0, again=True)  # one frame: no piece of three boxes
        done = track([path], out, detector=ByColour(), model=model, gallery=people, options=again)
        assert (done.records[0].counts.looked_at, len(people), read_pieces(out)) == (1, 0, [])


def test_what_is_stopped_goes_on_with_the_videos_that_are_not_finished(tmp_path: Path) -> None:
    model = Colours()
    paths = [video(tmp_path, name) for name in ("a.mp4", "b.mp4")]
    paths[1].write_bytes(video(tmp_path / "other", "b.mp4", FRAMES - 1).read_bytes())
    whole = tmp_path / "whole"
    track(paths, whole, detector=ByColour(), model=model)
    out = tmp_path / "out"
    with open_gallery(tmp_path / "people.db", model) as people:
        for stop in (5, FRAMES + 1, FRAMES + 30):
            shutil.rmtree(out, ignore_errors=True)
            people.remove(people.keys())
            with pytest.raises(KeyboardInterrupt):
                track(paths, out, detector=ByColour(stop), model=model, gallery=people)
            detector = ByColour()
            done = track(paths, out, detector=detector, model=model, gallery=people)
            assert detector.seen == (2 * FRAMES - 1 if stop < FRAMES else FRAMES - 1)
            assert done.reused == ([] if stop < FRAMES else ["a"])
            assert tree(out) == tree(whole)
            assert sorted(people.keys()) == ["a/1", "a/2", "b/1", "b/2"]


def test_videos_of_one_stem_do_not_meet_and_keep_their_names(tmp_path: Path) -> None:
    one, two = video(tmp_path / "a"), video(tmp_path / "b", count=30)
    out = tmp_path / "out"
    done = track([one, two], out, detector=ByColour())
    assert [(record.video, record.counts.frames) for record in done.records] == [("hall", 40), ("hall-2", 30)]
    done = track([two, one], out, detector=ByColour())
    assert [(record.video, record.counts.frames) for record in done.records] == [("hall-2", 30), ("hall", 40)]
    assert done.reused == ["hall-2", "hall"]
    # A gallery tells them apart, too, where they lie in folders of their own.
    with open_gallery("memory", Colours()) as people:
        track([one], tmp_path / "one", detector=ByColour(), model=Colours(), gallery=people)
        track([two], tmp_path / "two", detector=ByColour(), model=Colours(), gallery=people)
        assert sorted(people.keys()) == ["hall-2/1", "hall-2/2", "hall/1", "hall/2"]


def test_two_videos_of_the_longest_name_of_three_bytes_a_letter(tmp_path: Path) -> None:
    for at, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        write_video(tmp_path / folder / f"{'監' * 83}.mp4", 2 + at)
    boxes = truth(tmp_path / "det.txt", ids=False)
    done = track([*tmp_path.glob("?/*.mp4")], tmp_path / "out", boxes=[boxes] * 2)
    assert done.failed == []
    assert sorted(record.video for record in done.records) == ["監" * 66, "監" * 66 + "-2"]


@pytest.mark.parametrize("keep", ["crops", "vectors", "nothing"])
def test_what_is_kept(keep: Any, tmp_path: Path) -> None:
    options = TrackOptions(keep=keep)
    with open_gallery("memory", Colours()) as people:
        gallery = None if keep == "nothing" else people
        model = Colours() if keep != "nothing" else None
        track([video(tmp_path)], tmp_path / "out", detector=ByColour(), model=model, gallery=gallery, options=options)
        files = set(tree(tmp_path / "out" / "hall"))
        assert any(name.endswith(".jpg") for name in files) == (keep == "crops")
        assert ("features.npz" in files) == (keep != "nothing")
        assert len(people) == (0 if keep == "nothing" else 2)
        row = people.get("hall/1")
        assert bool(row and row.image) == (keep == "crops")
        assert bool(row and people.thumbnail("hall/1")) == (keep == "crops")
    assert len(read_pieces(tmp_path / "out")) == 2


def test_a_video_that_cannot_be_read_does_not_keep_the_others(tmp_path: Path) -> None:
    good = video(tmp_path, "good.mp4")
    head = tmp_path / "head.mp4"
    head.write_bytes(good.read_bytes()[:3000])
    cut = tmp_path / "cut.mkv"
    content = write_video(tmp_path / "v.mkv", draw=draw).read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    sound, gone = write_sound(tmp_path / "sound.mp4"), tmp_path / "gone.mp4"
    done = track([head, sound, cut, gone, good], tmp_path / "out", detector=ByColour())
    assert [record.video for record in done.records] == ["cut", "good"]
    assert [video for video, _ in done.remarks] == ["cut"]
    assert "it is cut: it ends at" in done.remarks[0][1]
    assert 5 < done.records[0].counts.frames < 35
    assert [why.partition(" (")[0].rpartition("/")[2] for _, why in done.failed] == [
        "gone.mp4 cannot be read",
        "head.mp4 cannot be read as a video",
        "sound.mp4 has no video stream, but audio: give a video",
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")) == [
        "cut",
        "good",
    ]
    json.dumps(done.as_json())


def test_boxes_that_cannot_be_read_do_not_keep_the_other_videos(tmp_path: Path) -> None:
    good, bad = truth(tmp_path / "det.txt"), tmp_path / "bad.txt"
    bad.write_text("1,-1,10,10,20,40,0.9\n2,-1,here,10,20,40,0.9\n")
    videos = [video(tmp_path, name) for name in ("wrong.mp4", "missing.mp4", "hall.mp4")]
    videos[0].write_bytes(videos[0].read_bytes() + bytes(8))  # equal bytes are one video
    videos[1].write_bytes(videos[1].read_bytes() + bytes(16))
    done = track(videos, tmp_path / "out", boxes=[bad, tmp_path / "none.txt", good])
    assert [record.video for record in done.records] == ["hall"]
    assert [name.rpartition("/")[2] for name, _ in done.failed] == ["wrong.mp4", "missing.mp4"]
    assert "bad.txt line 2: " in done.failed[0][1]
    assert "none.txt is not there" in done.failed[1][1]


def test_a_track_that_stays_in_one_place_is_named(tmp_path: Path) -> None:
    """A sign and somebody who walks, in a video of 40 frames that lasts 39 seconds."""
    path = write_video(tmp_path / "hall.mp4", FRAMES, draw=draw, times=range(FRAMES))
    lines = [f"{frame},{who},{11 + who * frame},11,20,48,1" for frame in range(1, FRAMES + 1) for who in (0, 2)]
    (tmp_path / "boxes.txt").write_text("\n".join(lines))
    done = track([path], tmp_path / "out", boxes=[tmp_path / "boxes.txt"])
    assert [piece.track for piece in read_pieces(tmp_path / "out")] == ["0", "2"]
    (note,) = done.records[0].notes
    assert note.startswith("track 0 stays in one place for 30 s or longer")


def test_boxes_behind_the_end_are_said(tmp_path: Path) -> None:
    boxes = truth(tmp_path / "det.txt", ids=False)
    done = track([video(tmp_path, count=30)], tmp_path / "out", boxes=[boxes])
    assert done.remarks == [
        ("hall", "20 boxes lie behind its last frame, 30: the first of them in frame 31 (det.txt line 61)")
    ]


def test_boxes_of_a_folder_with_frames_left_out_do_not_lie_behind_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "MOT-01"
    (folder / "img1").mkdir(parents=True)
    (folder / "seqinfo.ini").write_text("[Sequence]\nframeRate=5\n")
    for number in (11, 12, 14):
        Image.fromarray(draw(number)).save(folder / f"img1/{number:06d}.png")
    (tmp_path / "b.txt").write_text("".join(f"{frame},1,10,10,40,90,1\n" for frame in (11, 12, 14, 15)))
    done = track([folder], tmp_path / "out", boxes=[tmp_path / "b.txt"])
    (remark,) = done.records[0].remarks
    assert remark == "1 box lies behind its last frame, 14: the first of them in frame 15 (b.txt line 4)"
    assert [len(piece) for piece in read_pieces(tmp_path / "out")] == [3]


def test_the_creation_time_counts_where_no_start_is_given_and_is_said(tmp_path: Path) -> None:
    made = write_video(tmp_path / "a.mp4", 5, metadata={"creation_time": "2026-11-27T09:00:00Z"})
    none = video(tmp_path, "b.mp4", 5)
    done = track([made, none], tmp_path / "out", detector=ByColour(), starts={"b": "2026-11-27T10:00+01:00"})
    first, second = done.records
    assert (first.start, first.start_from) == ("2026-11-27T09:00:00+00:00", "creation time")
    assert "it begins at 2026-11-27T09:00:00+00:00, as its creation time says" in first.notes[0]
    assert (second.start, second.start_from, second.notes) == ("2026-11-27T09:00:00+00:00", "given", ())


def test_the_table_of_crops_is_what_a_gallery_takes(tmp_path: Path) -> None:
    track([video(tmp_path)], tmp_path / "out", detector=ByColour(), starts=[START], cameras=["=door"])
    table = tmp_path / "out/hall/crops.csv"
    with table.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 10
    rows = find_images(table)
    assert all(each.path.read_bytes() for each in rows)
    assert {each.row.track for each in rows} == {"hall/1", "hall/2"}
    assert all(each.row.time and each.row.time >= START for each in rows)


def test_crops_of_two_videos_have_no_key_in_common(tmp_path: Path) -> None:
    videos = [video(tmp_path), video(tmp_path, "door.mp4", 20)]
    track(videos, tmp_path / "out", detector=ByColour())
    hall, door = (
        {each.row.key for each in find_images(tmp_path / "out" / name / "crops.csv")} for name in ("hall", "door")
    )
    assert "hall/crops/1/000002.jpg" in hall
    assert len(hall) == len(door) == 10
    assert not hall & door


def test_a_long_track_goes_on_as_another_piece(tmp_path: Path) -> None:
    options = TrackOptions(pieces=PieceOptions(longest=1.5))
    track([video(tmp_path)], tmp_path / "out", detector=ByColour(), options=options)
    pieces = read_pieces(tmp_path / "out")
    assert len(pieces) == 6
    assert len({piece.track for piece in pieces}) == 6
    assert max(piece.seconds[-1] - piece.seconds[0] for piece in pieces) == pytest.approx(1.5)
    assert sum(map(len, pieces)) >= 2 * FRAMES - 6


def test_a_table_of_videos_with_cameras_and_starts_and_a_folder_of_boxes(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    video(folder, "a.mp4", 10)
    video(folder, "b.mp4", 12)
    (folder / "det").mkdir()
    for name in "ab":
        (folder / "det" / f"{name}.txt").write_text("1,-1,11,9,20,48,0.9\n" * (name == "a"))
    table = folder / "videos.csv"
    table.write_text("video,camera,start\na.mp4,door,2026-11-27T08:00Z\nb.mp4,,\n")
    done = track([table], tmp_path / "out", boxes=[folder / "det"], starts={"b": START})
    assert [(each.video, each.camera, each.start, each.counts.detections) for each in done.records] == [
        ("a", "door", START.isoformat(), 1),
        ("b", "b", START.isoformat(), 0),
    ]
    with pytest.raises(MissingFileError, match="is not there: give a table"):
        track([folder / "gone.csv"], tmp_path / "out", detector=ByColour())
    for content, said in (
        ("path\na.mp4\n", "line 1 has no column video"),
        ("video,camera\na.mp4,x\n,y\n", "line 3 has no video"),
        ('video\n"a', "cannot be read as a table of videos"),
    ):
        table.write_text(content)
        with pytest.raises(DataError, match=said):
            track([table], tmp_path / "out", detector=ByColour())


def test_a_video_with_a_space_in_its_name_is_found_by_it(tmp_path: Path) -> None:
    first, second = video(tmp_path, "back yard.mp4", 10), video(tmp_path, "hall.mp4", 12)
    det = tmp_path / "det"
    det.mkdir()
    (det / "hall.txt").write_text("")
    with pytest.raises(MissingFileError, match=r"back yard\.txt with the boxes of .*back yard\.mp4 is not there"):
        track([first, second], tmp_path / "out", boxes=[det])
    (det / "back yard.txt").write_text("1,-1,11,9,20,48,0.9\n")
    for name in ("back yard", "back_yard", "back yard.mp4"):
        done = track(
            [first, second], tmp_path / "outs" / name, boxes=[det], cameras={name: "yard"}, starts={name: START}
        )
        assert [(each.camera, each.start, each.counts.detections) for each in done.records] == [
            ("yard", START.isoformat(), 1),
            ("hall", "", 0),
        ]


def test_a_folder_of_videos_is_no_video(tmp_path: Path) -> None:
    video(tmp_path / "all", "a.mp4", 10)
    done = track([tmp_path / "all"], tmp_path / "out", detector=ByColour())
    assert "is a folder of videos, and no video: name them one by one, as" in done.failed[0][1]


def test_wrong_calls_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    path, boxes = video(tmp_path), truth(tmp_path / "det.txt")
    out = tmp_path / "out"
    for arguments, said in (
        ({"detector": None}, "either a detector or files of boxes"),
        ({"boxes": [boxes]}, "either a detector or files of boxes"),
        ({"detector": None, "boxes": [boxes, boxes]}, "2 files of boxes for 1 video: give one"),
        ({"cameras": ["a", "b"]}, "2 cameras for 1 video:"),
        ({"cameras": {"door": "a"}}, "door is none of the videos"),
        ({"starts": ["yesterday"]}, "no time"),
        ({"gallery": open_gallery("memory", Colours())}, "give a model"),
    ):
        with pytest.raises(UsageError, match=said):
            track([path], out, **{"detector": ByColour(), **arguments})  # type: ignore[arg-type]
    for videos, said in (
        ([], "no videos are given"),
        ([path, path], "is given twice"),
        ([path, tmp_path / "." / "x" / ".." / "hall.mp4"], "are the same video: name it once"),
        (["rtsp://a/1", "rtsp://b/2"], "live input never ends"),
    ):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match=said):
            track(videos, out, detector=ByColour())
    assert not out.exists()
    with pytest.raises(UsageError, match="every -1"):
        TrackOptions(every=-1)
    with pytest.raises(UsageError, match="choose crops, vectors or nothing"):
        TrackOptions(keep="faces")  # type: ignore[arg-type]


def test_the_record_says_what_the_folder_is(tmp_path: Path) -> None:
    track([video(tmp_path / "private")], tmp_path / "out", detector=ByColour())
    record = read_record(tmp_path / "out/hall")
    assert (record.finished, record.source.name, record.source.path) == (True, "hall.mp4", "../private/hall.mp4")
    assert (record.width, record.height) == (160, 120)
    assert record.seconds == pytest.approx(3.9)
    assert record.settings.boxes == "by colour"


class Own:
    """A detector of one's own, which gives the same for each image."""

    batch, description = 4, "own"

    def __init__(self, found: Any) -> None:
        self.found = found

    def detect(self, images: Any) -> Any:
        return [self.found] * len(images)


def given(boxes: Any, scores: Any) -> Detections:
    return Detections(boxes, scores)


def test_boxes_of_a_detector_of_ones_own_are_taken_within_the_frame(tmp_path: Path) -> None:
    """Lists as arrays; a NaN became a piece without a place, and a box outside ended in an error of Pillow."""
    boxes = [[10, 10, 40, 90], [math.nan, 1, 2, 3], [900, 900, 950, 990], [100, -50, 150, 900]]
    track([video(tmp_path)], tmp_path / "out", detector=Own(given(boxes, [0.9] * 4)))
    pieces = read_pieces(tmp_path / "out")
    assert [piece.boxes[0].tolist() for piece in pieces] == [[10, 10, 40, 90], [100, 0, 150, 120]]
    track([video(tmp_path)], tmp_path / "none", detector=Own(given([], [])))
    assert read_pieces(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "gave a NoneType: return Detections for each image"),
        (np.zeros((1, 4)), "gave a ndarray"),
        (given(np.zeros((1, 5)), np.ones(1)), r"gave boxes \(1, 5\) and scores \(1,\): return \[N, 4\] and \[N\]"),
        (given(np.zeros((1, 4)), np.ones(2)), r"and scores \(2,\)"),
        (given([["a"] * 4], [0.9]), "boxes or scores that are no numbers"),
        (given([[10, 10, 40, 90]] * 2, [0.5, 255]), "gave scores from 0.5 to 255: return scores from 0 to 1"),
        (given([[10, 10, 40, 90]], [-3]), "gave scores from -3 to -3"),
        (given([[60, 10, 30, 50]], [1]), "gave a box of -30 x 40 pixels: return x1, y1, x2, y2"),
    ],
)
def test_what_a_detector_may_not_give(found: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        track([video(tmp_path)], tmp_path / "out", detector=Own(found))


def test_a_detector_for_some_of_the_images_or_without_a_name_is_refused(tmp_path: Path) -> None:
    class Lazy(Own):
        def detect(self, images: Any) -> Any:
            return super().detect(images)[:3]

    own = Lazy(None)
    with pytest.raises(UsageError, match="gave 3 items for 4 images: return one Detections for each"):
        track([video(tmp_path)], tmp_path / "out", detector=own)
    with pytest.raises(UsageError, match="a object, has no batch and no description and no detect"):
        track([video(tmp_path)], tmp_path / "out", detector=object())  # type: ignore[arg-type]
    for wrong, said in (
        ({"batch": None}, "has the batch None: give it a whole number of frames"),
        ({"batch": 2.5}, "has the batch 2.5"),
        ({"description": None}, "has the description None: give it a text"),
        ({"detect": 3}, "has a detect that is no method"),
    ):
        own = type("Other", (Own,), wrong)(None)
        with pytest.raises(UsageError, match=said):
            track([video(tmp_path)], tmp_path / "out", detector=own)
    with pytest.raises(UsageError, match="is the class Own: pass an object of it"):
        track([video(tmp_path)], tmp_path / "out", detector=Own)  # type: ignore[arg-type]
    assert not (tmp_path / "out" / "hall-2").exists()


def test_scores_of_float16_and_ids_of_a_detector_do_no_harm(tmp_path: Path) -> None:
    """Ids are those of a file; a list of them, or one too many, ended in a traceback."""
    found = Detections([[10, 10, 40, 90]], np.array([1.0005], np.float16), [7, 8])  # type: ignore[arg-type]
    track([video(tmp_path)], tmp_path / "out", detector=Own(found))
    (piece,) = read_pieces(tmp_path / "out")
    assert (piece.track, piece.scores.max()) == ("1", 1.0)


def test_a_full_disk_is_said_once_and_no_other_video_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    videos = [video(tmp_path, name, count) for name, count in (("a.mp4", 20), ("b.mp4", 21))]
    out, detector = tmp_path / "out", ByColour()
    for what, place in (("reidkit.video.tracking.hold", out), ("pathlib.Path.write_bytes", out / "a")):
        with monkeypatch.context() as patched:
            patched.setattr(what, full)
            with pytest.raises(DataError) as caught:
                track(videos, out, detector=detector)
        assert str(caught.value) == f"{place} cannot be written (No space left on device): make room for it"
    assert (detector.seen, (out / "b").exists()) == (20, False)
    assert [record.video for record in track(videos, out, detector=detector).records] == ["a", "b"]


def test_a_gallery_that_cannot_be_written_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise GalleryError("people.db cannot be written: make room")

    videos = [video(tmp_path, name, count) for name, count in (("a.mp4", 20), ("b.mp4", 21))]
    detector = ByColour()
    with open_gallery("memory", Colours()) as people:
        monkeypatch.setattr(people, "add_vectors", full)
        with pytest.raises(GalleryError, match=r"^people\.db cannot be written"):
            track(videos, tmp_path / "out", detector=detector, model=Colours(), gallery=people)
    assert detector.seen == 20


def test_what_a_detector_raises_is_its_own_and_no_fault_of_the_folder(tmp_path: Path) -> None:
    """An OSError was taken for one of the folder, and a BlockingIOError for another process that writes it."""
    for error in (ConnectionResetError, BlockingIOError, KeyError):
        with pytest.raises(error):
            track([video(tmp_path)], tmp_path / "out", detector=ByColour(2, error))


def test_one_video_alone_a_generator_and_wrong_types(tmp_path: Path) -> None:
    file, boxes = video(tmp_path), truth(tmp_path / "gt.txt")
    alone = track(str(file), tmp_path / "a", boxes=str(boxes))
    drawn = track((each for each in [file]), tmp_path / "b", boxes=(each for each in [boxes]))  # type: ignore[arg-type]
    assert [len(done.records) for done in (alone, drawn)] == [1, 1]
    wrong: dict[str, Any]
    change: dict[str, Any]
    for wrong in ({"options": {}}, {"gallery": "people.db"}):
        with pytest.raises(UsageError, match=r"is a str: pass what open_gallery|are a dict: pass TrackOptions"):
            track([file], tmp_path / "c", boxes=[boxes], **wrong)
    for argument, value, said in (
        ("out", None, "a NoneType is no path: pass the folder for the tracks"),
        ("gallery", 3, "the gallery is a int: pass what open_gallery returns"),
        ("videos", 3, "3 is no video"),
        ("cameras", 3, "cameras 3 are no list: give one for each video"),
        ("starts", 3, "starts 3 are no list"),
    ):
        call = {"videos": [file], "out": tmp_path / "c", "boxes": [boxes], "model": Colours(), argument: value}
        with pytest.raises(UsageError, match=said):
            track(**call)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"hall\.mp4 cannot be written \(File exists\): name another folder"):
        track([file], file, boxes=[boxes])
    nothing: Any = {"boxes": None, "cameras": None, "starts": None}
    assert len(track([file], tmp_path / "d", detector=ByColour(), **nothing).records) == 1
    with pytest.raises(UsageError, match="None is no video"):
        track([None], tmp_path / "c", boxes=[boxes])  # type: ignore[list-item]
    for change in ({"every": "1"}, {"seconds": -1.0}, {"seconds": math.nan}, {"pieces": {}}, {"again": "no"}):
        with pytest.raises(UsageError, match=next(iter(change))):
            TrackOptions(**change)
