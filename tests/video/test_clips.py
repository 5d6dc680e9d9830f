"""Clips are made of the synthetic videos, tracked by their ground truth."""

from __future__ import annotations

import io
import shutil
from contextlib import ExitStack, closing

import numpy as np
import pytest

from reidkit.errors import DataError, MissingFileError
from reidkit.gallery import Query
from reidkit.gallery.local import LocalGallery
from reidkit.video.clips import _frames, clip_bytes, draw_boxes, write_clips, write_marked
from reidkit.video.frames import VideoFile
from reidkit.video.piece import gallery_row
from reidkit.video.tracking import track as track_videos
from reidkit.video.visits import find_visits
from tests.gallery.made import calibration
from tests.video.drawn import write_video
from tests.video.tracked import track

av = pytest.importorskip("av")

RATE = 8


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def tracked(street, tmp_path_factory):
    """A folder as `reidkit video track` makes it, beside its videos, and its gallery."""
    place = tmp_path_factory.mktemp("tracked")
    shutil.copytree(street, place / "street")
    with LocalGallery.create(place / "people.db", fingerprint="abc", dim=8) as gallery:
        for piece in track(place / "street", place / "tracks", np.eye(8, dtype=np.float32)):
            gallery.add_vectors([piece.feature], [gallery_row(piece, with_image=False)])
    return place


@pytest.fixture
def visits(tracked):
    """Where person 2 was."""
    with ExitStack() as stack:
        gallery = stack.enter_context(LocalGallery(tracked / "people.db"))
        gallery.calibration = calibration()
        return find_visits(gallery, Query(vectors=np.eye(8)[[2]]))


def test_a_person_is_found_in_both_videos(visits):
    assert {visit.camera for visit in visits.above} == {"camera1", "camera2"}
    assert {hit.track.split("/")[1][0] for visit in visits.above for hit in visit.hits} == {"2"}


def test_a_clip_shows_the_visit_with_a_box(tracked, visits, tmp_path):
    """Frames within a second of the visit, and a frame of the box's colour round the person."""
    done = write_clips(visits.above, tracked / "tracks", tmp_path / "clips", margin=1.0)
    assert done.problems == ()
    assert [path.exists() for path in done.files] == [True] * len(visits.above)
    for visit, path in zip(visits.above, done.files, strict=True):
        assert visit.camera in path.name
        found = frames_of(path)
        first, last = max(0.0, visit.first - 1.0), min(111 / RATE, visit.last + 1.0)
        assert abs(len(found) - (RATE * (last - first) + 1)) <= 1
        # Orange as no person is: in the middle of the visit there is some.
        at = round(RATE * ((visit.first + visit.last) / 2 - first))
        red, green, blue = (found[at][..., channel].astype(int) for channel in range(3))
        assert ((red > 180) & (green > 110) & (green < 210) & (blue < 110)).sum() > 30


def test_frames_are_those_of_the_video(tracked, street, visits, tmp_path):
    """A clip that begins in the middle is cut at the right second: it looks like the video there and not elsewhere."""
    visit = max(visits.above, key=lambda each: each.first)
    assert visit.first > 2.0
    (path,) = write_clips([visit], tracked / "tracks", tmp_path, margin=0.5).files
    begin = int(np.ceil((visit.first - 0.5) * RATE - 1e-6))
    whole, cut = frames_of(street / f"{visit.video}.mp4"), frames_of(path)
    far = [np.abs(cut[0].astype(int) - frame).mean() for frame in whole]
    assert int(np.argmin(far)) == begin


def test_clips_are_not_overwritten(tracked, visits, tmp_path):
    first = write_clips(visits.above, tracked / "tracks", tmp_path)
    before = first.files[0].read_bytes()
    with pytest.raises(DataError, match="is there already"):
        write_clips(visits.above, tracked / "tracks", tmp_path)
    write_clips(visits.above, tracked / "tracks", tmp_path, overwrite=True)
    assert first.files[0].read_bytes() == before


def test_missing_videos_are_named_and_the_rest_goes_on(tracked, visits, tmp_path):
    shutil.copytree(tracked, tmp_path / "copy")
    (tmp_path / "copy" / "street" / "camera1.mp4").unlink()
    done = write_clips(visits.above, tmp_path / "copy" / "tracks", tmp_path / "clips")
    (problem,) = done.problems
    assert "camera1.mp4 is not there" in problem
    assert done.files
    assert all("camera2" in path.name for path in done.files)
    shutil.rmtree(tmp_path / "copy" / "tracks" / "camera2")
    done = write_clips(visits.above, tmp_path / "copy" / "tracks", tmp_path / "none")
    assert (done.files, len(done.problems)) == ((), 2)


def test_a_damaged_video_is_named(tracked, visits, tmp_path):
    shutil.copytree(tracked, tmp_path / "copy")
    (tmp_path / "copy" / "street" / "camera1.mp4").write_bytes(b"no video")
    done = write_clips(visits.above, tmp_path / "copy" / "tracks", tmp_path / "clips")
    assert ["camera1.mp4 cannot be read" in problem for problem in done.problems] == [True]
    assert done.files
    assert not [path for path in (tmp_path / "clips").iterdir() if path not in done.files]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("v.mp4", "mpeg4"), ("v.mkv", "libx264"), ("v.avi", "mpeg4"), ("v.ts", "libx264"), ("v.h264", "libx264")],
)
def test_frames_from_any_second_on(name, codec, tmp_path):
    """Also of files that cannot be sought in, or not exactly; 10 frames a second, and one key frame in some."""
    path = write_video(tmp_path / name, 150, codec=codec)
    with closing(VideoFile(path)) as source:
        whole = [frame.second for frame in source]
    for first, last in ((0.0, 0.5), (0.1, 2.0), (5.0, 6.0), (whole[-1] - 0.25, 99.0)):
        found = [second for second, _ in _frames(path, first, last)]
        assert found == pytest.approx([second for second in whole if first - 1e-6 <= second <= last + 1e-6])
    assert list(_frames(path, 99.0, 100.0)) == []


def same_frames(path, first, last, **how):
    """Whether `_frames` has the pixels of these seconds, read from the beginning; 10 frames a second."""
    with closing(VideoFile(path)) as source:
        whole = [frame for frame in source if first - 1e-6 <= frame.second <= last]
    found = list(_frames(path, first, last, **how))
    assert len(whole) == len(found) == 10
    return all(np.array_equal(frame.image, pixels) for frame, (_, pixels) in zip(whole, found, strict=True))


def test_a_recording_that_begins_between_key_frames(tmp_path):
    """Its stream begins earlier than its first frame, at which seconds begin."""
    path = write_video(tmp_path / "v.ts", 600, codec="libx264")
    content = path.read_bytes()
    path.write_bytes(content[len(content) // 188 // 8 * 188 :])
    with closing(VideoFile(path)) as source, av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert next(container.decode(stream)).time > float(stream.start_time * stream.time_base)
        assert max(frame.second for frame in source) > 20
    assert same_frames(path, 15.0, 15.95)


def test_a_recording_whose_times_begin_anew(tmp_path):
    """Two files in one: the seconds of the second part are not its own, and no seek leads to them."""
    path = write_video(tmp_path / "v.ts", 100)
    path.write_bytes(2 * path.read_bytes())
    with closing(VideoFile(path)) as source:
        assert len(list(source)) == 200
    assert source.about.moved == 100
    assert same_frames(path, 15.0, 15.95, seek=False)
    boxes = tmp_path / "boxes.txt"
    boxes.write_text("".join(f"{number},1,50,40,90,110,1\n" for number in range(151, 171)))
    track_videos([path], tmp_path / "tracks", boxes=[boxes])
    found = clip_bytes(tmp_path / "tracks", "v", "v/1", margin=0.0)
    with av.open(io.BytesIO(found)) as container:
        assert len(list(container.decode(video=0))) == 20


def test_a_clip_beside_damage_is_made_of_what_can_be_read(tmp_path):
    path = write_video(tmp_path / "v.mp4", 200)
    content, random = bytearray(path.read_bytes()), np.random.default_rng(0)
    content[10_000:50_000:7] = random.integers(256, size=len(content[10_000:50_000:7]), dtype=np.uint8).tobytes()
    path.write_bytes(content)
    with closing(VideoFile(path)) as source:
        whole = [frame.second for frame in source if frame.second >= 3.0]
    assert source.about.remarks
    assert 50 < len(whole) < 170
    found = [second for second, _ in _frames(path, 3.0, 99.0)]
    assert len(set(np.round(whole, 3)) & set(np.round(found, 3))) > 50


def test_a_marked_video_is_whole(tracked, visits, tmp_path):
    done = write_marked(visits.above, tracked / "tracks", tmp_path)
    assert sorted(path.name for path in done.files) == ["camera1-marked.mp4", "camera2-marked.mp4"]
    assert len(frames_of(done.files[0])) == 112


def test_the_clip_of_a_track(tracked, visits):
    hit = visits[0].best
    found = clip_bytes(tracked / "tracks", hit.attributes["video"], hit.track, margin=0.0, longest=1.0)
    assert found[4:8] == b"ftyp"
    with av.open(io.BytesIO(found)) as container:
        assert 7 <= len(list(container.decode(video=0))) <= 9
    with pytest.raises(DataError, match="has no track"):
        clip_bytes(tracked / "tracks", "camera1", "camera1/nobody")
    for name in ("../tracks/camera1", "nowhere", "", ".", "camera1/../camera1"):
        with pytest.raises(MissingFileError):
            clip_bytes(tracked / "tracks", name, hit.track)


def test_a_box_by_hand():
    """A box from (10, 5) to (20, 15): its outline is orange two pixels outside, and nothing is changed inside."""
    pixels = np.full((40, 60, 3), 90, np.uint8)
    drawn = draw_boxes(pixels, [((10, 5, 20, 15), "")])
    assert drawn[10, 8].tolist() == [255, 176, 0]
    assert (drawn[6:14, 11:19] == 90).all()
    assert (pixels == 90).all()
    assert draw_boxes(pixels, [], 0.5).shape == (20, 30, 3)
