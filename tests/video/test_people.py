from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from reidkit.errors import DataError, UsageError
from reidkit.gallery import Filter, Row
from reidkit.gallery.local import LocalGallery
from reidkit.gallery.person_ids import settle_named
from reidkit.video.people import (
    confirm_people,
    forget_people,
    hint_of_videos,
    join_people,
    read_tracks,
    unconfirm_people,
    write_people,
)
from tests.gallery.made import calibration

BEGAN = datetime(2026, 11, 26, 8, tzinfo=UTC)


def row(name, camera, first, last, *, time=True, **more):
    """A track as `reidkit video track` puts it into a gallery, in a video that began at 8."""
    second = (first + last) / 2
    attributes = {"video": camera, "second": second, "frame": 1, "first": first, "last": last}
    when = BEGAN + timedelta(seconds=second) if time else None
    return Row(f"{camera}/{name}", camera=camera, track=f"{camera}/{name}", time=when, attributes=attributes, **more)


def feature(degrees):
    return [np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0.0]


@pytest.fixture
def people(tmp_path):
    """Two people who pass the door together and then the hall, and a third who is seen at the door alone."""
    rows = [
        row("0", "door", 0.0, 6.0),
        row("1", "door", 1.0, 7.0),
        row("2", "hall", 20.0, 25.0),
        row("3", "hall", 21.0, 26.0),
        row("4", "door", 60.0, 64.0),
    ]
    with LocalGallery.create(tmp_path / "people.db", fingerprint="abc", dim=3) as gallery:
        angles = (0, 90, 5, 85, 180)
        gallery.add_vectors([feature(each) for each in angles], rows, thumbnails=[b"jpeg", None, None, None, None])
        yield gallery


def test_tracks_of_a_gallery(people):
    tracks, features = read_tracks(people)
    assert [track.name for track in tracks] == ["door/0", "door/1", "hall/2", "hall/3", "door/4"]
    assert features.shape == (5, 3)
    assert tracks[2].start == BEGAN + timedelta(seconds=20)
    assert tracks[2].end == BEGAN + timedelta(seconds=25)
    assert tracks[0].video == "door"


def test_rows_of_one_track_are_one(people):
    people.add_vectors([feature(10)], [Row("more", camera="door", track="door/0", time=BEGAN + timedelta(seconds=9))])
    tracks, features = read_tracks(people)
    assert tracks[0].keys == ("door/0", "more")
    assert tracks[0].end == BEGAN + timedelta(seconds=9)
    assert features[0] == pytest.approx((np.array(feature(0)) + feature(10)) / 2, abs=1e-6)


def test_joining_writes_who_is_proposed(people):
    found = join_people(people, threshold=0.8)
    assert found.basis == "given"
    assert found.people.tolist() == [1, 2, 1, 2, 3]
    assert write_people(people, found) == 5
    assert {each.key: each.attributes["person"] for each in people} == {
        "door/0": 1,
        "door/1": 2,
        "hall/2": 1,
        "hall/3": 2,
        "door/4": 3,
    }
    # Nothing else has changed: features, pictures, times.
    assert people.thumbnail("door/0") == b"jpeg"
    assert people.vectors(["hall/2"])[0] == pytest.approx(feature(5), abs=1e-6)
    assert people.get("hall/2").time == BEGAN + timedelta(seconds=22.5)
    assert all(each.pid is None for each in people)
    assert write_people(people, found) == 0
    assert people.check().problems == ()


@pytest.mark.parametrize("doubles", ["7,0", "0", 0])
def test_one_person_whom_a_detector_finds_twice_is_no_proof_of_two(people, doubles):
    """In a row from a table of crops, a single number is a number and no text."""
    people.add_vectors([feature(1)], [row("8", "door", 0.5, 5.5)])
    assert join_people(people, threshold=0.8).people.tolist() in ([1, 2, 3, 1, 3, 4], [1, 2, 3, 2, 3, 4])
    again = row("8", "door", 0.5, 5.5)
    again.attributes["doubles"] = doubles
    people.add_vectors([feature(1)], [again], on_conflict="replace")
    found = join_people(people, threshold=0.8)
    assert dict(zip([track.name for track in found.tracks], found.people.tolist(), strict=True)) == {
        "door/0": 1,
        "door/8": 1,
        "door/1": 2,
        "hall/2": 1,
        "hall/3": 2,
        "door/4": 3,
    }


def test_what_was_proposed_can_be_taken_back(people):
    before = {each.key: each.attributes for each in people}
    write_people(people, join_people(people, threshold=0.8))
    assert forget_people(people) == 5
    assert {each.key: each.attributes for each in people} == before


def test_names_of_people_stay_whatever_is_joined_or_taken_back(people):
    """They are the same attribute, as text, and stand nowhere else."""
    people.add_vectors([feature(1)], [Row("photo", pid=7, attributes={"person": "Karl"})])
    found = join_people(people, threshold=0.8)
    assert write_people(people, found) == 5
    assert people.get("door/0").attributes["person"] == 7
    assert people.get("photo").attributes == {"person": "Karl"}
    assert forget_people(people) == 5
    assert people.get("photo").attributes == {"person": "Karl"}


def test_what_was_confirmed_stays(people):
    write_people(people, join_people(people, threshold=0.8))
    assert confirm_people(people, [2]) == 2
    assert people.count(Filter(pids=[2])) == 2
    # A threshold that joins nobody: the confirmed one is still one person, under the same number.
    again = join_people(people, threshold=1.0)
    assert again.people.tolist() == [1, 2, 3, 2, 4]
    assert unconfirm_people(people, [2]) == 2
    assert join_people(people, threshold=1.0).count == 5


def test_a_name_that_comes_after_a_proposal_does_not_get_its_number(people):
    """Karl got the number 1, which was the pid of another person as soon as somebody had confirmed it."""
    write_people(people, join_people(people, threshold=0.8))
    karl = Row("karl", pid=1, attributes={"person": "Karl"})
    people.add_vectors([feature(45)], [karl], settle=settle_named(["karl"]))
    assert people.get("karl").pid == 4
    confirm_people(people, [1])
    assert {each.key for each in people if each.pid == 1} == {"door/0", "hall/2"}


def test_some_of_the_rows_are_joined_under_numbers_that_nobody_has(people):
    """Those of the hall were proposed as 1, which is the pid of a person at the door."""
    write_people(people, join_people(people, threshold=0.8, matching=Filter(cameras=["door"])))
    confirm_people(people, [1])
    found = join_people(people, threshold=0.8, matching=Filter(cameras=["hall"]))
    assert found.people.tolist() == [2, 3]


def test_two_people_are_confirmed_as_one(people):
    write_people(people, join_people(people, threshold=0.8))
    assert confirm_people(people, [1, 3], one=True) == 3
    assert people.count(Filter(pids=[1])) == 3
    assert join_people(people, threshold=0.8).people.tolist() == [1, 2, 1, 2, 1]
    confirm_people(people, [2])
    with pytest.raises(DataError, match="confirmed as 1, 2"):
        confirm_people(people, [1, 2], one=True)


def test_numbers_of_nobody(people):
    with pytest.raises(DataError, match="no row is proposed to show person 9"):
        confirm_people(people, [9])
    with pytest.raises(DataError, match="no row has the pid 9"):
        unconfirm_people(people, [9])


def test_without_times_only_one_video_tells_who_is_together(tmp_path):
    """Equal features everywhere: two of one video overlap, and no other two."""
    rows = [row("0", "door", 0, 6, time=False), row("1", "door", 1, 7, time=False), row("2", "hall", 0, 6, time=False)]
    with LocalGallery.create(tmp_path / "people.db", fingerprint="abc", dim=3) as gallery:
        gallery.add_vectors([feature(0)] * 3, rows)
        found = join_people(gallery, threshold=0.8)
        who = dict(zip((track.name for track in found.tracks), found.people.tolist(), strict=True))
        assert who["door/0"] != who["door/1"]
        assert found.count == 2
        assert all(track.start is None for track in found.tracks)


def test_the_calibration_gives_thresholds_by_cameras(tmp_path):
    """From door to hall .75, else .5: cos 50 = .64 joins within a camera alone."""
    known = calibration()
    rows = [row("0", "door", 0, 5), row("1", "door", 10, 15), row("2", "hall", 30, 35)]
    with LocalGallery.create(tmp_path / "people.db", fingerprint="abc", dim=3) as gallery:
        gallery.add_vectors([feature(0), feature(50), feature(-50)], rows)
        gallery.calibration = known
        found = join_people(gallery)
        assert (found.basis, found.threshold, found.far) == ("calibrated", 0.5, 1e-3)
        assert found.people.tolist() == [1, 1, 2]
        with pytest.raises(UsageError, match="the gallery's model is calibrated: leave it out"):
            join_people(gallery, far=0.05)
        with pytest.raises(UsageError, match="a threshold is given: leave it out"):
            join_people(gallery, threshold=0.5, far=0.05)


def test_videos_give_a_threshold(tmp_path):
    """Ten people who are all seen together, and come back together."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(10, 3))
    rows = [row(str(number), "door", 30 * turn, 30 * turn + 9) for turn in range(2) for number in range(10)]
    rows = [Row(**{**vars(each), "key": f"{number}", "track": f"{number}"}) for number, each in enumerate(rows)]
    with LocalGallery.create(tmp_path / "people.db", fingerprint="abc", dim=3) as gallery:
        gallery.add_vectors(np.concatenate((features, features)), rows)
        found = join_people(gallery, far=0.05)
        assert hint_of_videos(gallery, far=0.05) == found.proposal
        assert hint_of_videos(gallery) == join_people(gallery).proposal
        assert found.basis == "videos"
        assert found.proposal.pairs == 90
        assert found.people.tolist() == [*range(1, 11)] * 2


def test_few_tracks_give_no_hint(tmp_path):
    with LocalGallery.create(tmp_path / "people.db", fingerprint="abc", dim=3) as gallery:
        assert hint_of_videos(gallery) is None
        gallery.add_vectors([feature(0), feature(50)], [row("0", "door", 0, 9), row("1", "door", 0, 9)])
        assert hint_of_videos(gallery) is None


def test_a_gallery_without_tracks(tmp_path):
    with (
        LocalGallery.create(tmp_path / "people.db", fingerprint="abc", dim=3) as gallery,
        pytest.raises(DataError, match="no tracks to join"),
    ):
        join_people(gallery)
