from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from PIL import Image

from reidkit.errors import UsageError
from reidkit.gallery import Query, Row
from reidkit.gallery.local import LocalGallery
from reidkit.gallery.person_ids import PERSON
from reidkit.terminal import chance_words
from reidkit.video.sheet import visits_figure
from reidkit.video.visit_words import clock, span_words
from reidkit.video.visits import COLUMNS, find_visits, visits_csv
from tests.gallery.made import calibration

BEGAN = datetime(2026, 11, 26, 8, tzinfo=UTC)
QUERY = Query(vectors=[[1.0, 0.0]])


def row(name, camera, first, last, *, time=True, person=None, pid=None):
    second = (first + last) / 2
    attributes = {"video": camera, "second": second, "frame": 1, "first": first, "last": last}
    if person is not None:
        attributes[PERSON] = person
    when = BEGAN + timedelta(seconds=second) if time else None
    return Row(name, camera=camera, track=name, time=when, attributes=attributes, pid=pid)


def feature(degrees):
    return [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]


@pytest.fixture
def filled(tmp_path):
    """Fill a gallery with rows at angles to the query; calibrated: .5, and 0.1 to 0.9 between cosines of 0 and 1."""
    opened = []

    def fill(rows, angles, *, calibrated=True):
        gallery = LocalGallery.create(tmp_path / f"{len(opened)}.db", fingerprint="abc", dim=2)
        gallery.add_vectors([feature(each) for each in angles], rows)
        gallery.calibration = calibration() if calibrated else None
        opened.append(gallery)
        return gallery

    yield fill
    for gallery in opened:
        gallery.close()


def names(visit):
    return [hit.key for hit in visit.hits]


def test_tracks_that_match_make_visits(filled):
    """Three tracks at the door, the second soon after the first, the third a minute later; one in the hall; a stranger.

    Cosines: .98, .94, .87, .77 and 0, so that .98 gives 0.1 + 0.8 x .98.
    """
    gallery = filled(
        [
            row("a", "door", 0, 5),
            row("b", "door", 8, 12),
            row("c", "door", 70, 75),
            row("d", "hall", 20, 26),
            row("e", "hall", 21, 27),
        ],
        (10, 20, 30, 40, 90),
    )
    found = find_visits(gallery, QUERY)
    assert [names(visit) for visit in found] == [["a", "b"], ["c"], ["d"], ["e"]]
    assert [visit.rank for visit in found] == [1, 2, 3, 4]
    first = found[0]
    assert (first.camera, first.video, first.first, first.last) == ("door", "door", 0, 12)
    assert (first.start, first.end) == (BEGAN, BEGAN + timedelta(seconds=12))
    assert first.probability == pytest.approx(0.1 + 0.8 * np.cos(np.radians(10)), abs=1e-6)
    assert [visit.best.key for visit in found.above] == ["a", "c", "d"]
    assert [visit.best.key for visit in found.below] == ["e"]
    assert (found.searched, found.passed, found.threshold, found.far) == (5, 5, 0.5, 1e-3)


def test_the_gap_decides(filled):
    gallery = filled([row("a", "door", 0, 5), row("b", "door", 8, 12)], (0, 0))
    assert len(find_visits(gallery, QUERY, gap=3.0)) == 1
    assert len(find_visits(gallery, QUERY, gap=2.9)) == 2


def test_two_tracks_at_once_are_two_visits(filled):
    """Both match, and one of them is wrong: a person has to see both."""
    gallery = filled([row("a", "door", 0, 5), row("b", "door", 4, 12)], (0, 10))
    assert [names(visit) for visit in find_visits(gallery, QUERY)] == [["a"], ["b"]]


def test_a_third_track_follows_the_one_that_ended_last(filled):
    rows = [row("a", "door", 0, 5), row("b", "door", 4, 9), row("c", "door", 9.5, 12)]
    assert [names(visit) for visit in find_visits(filled(rows, (0, 10, 5)), QUERY)] == [["a"], ["c", "b"]]


def test_joined_tracks_are_one_visit_below_the_threshold_too(filled):
    """Both are of person 7, though only one is like the query; another camera is another visit."""
    rows = [row("a", "door", 0, 5, person=7), row("b", "door", 6, 9, person=7), row("c", "hall", 20, 22, person=7)]
    found = find_visits(filled(rows, (0, 80, 85)), QUERY)
    assert [names(visit) for visit in found] == [["a", "b"], ["c"]]
    assert [visit.person for visit in found] == [7, 7]
    assert [visit.same for visit in found] == [True, False]


def test_a_pid_stands_above_a_proposal(filled):
    rows = [row("a", "door", 0, 5, person=7, pid=3), row("b", "door", 6, 9, person=7)]
    found = find_visits(filled(rows, (0, 80)), QUERY)
    assert [(visit.person, visit.as_json()["confirmed"]) for visit in found] == [(3, True), (7, False)]


def test_without_a_calibration_nothing_is_above_or_below(filled):
    gallery = filled([row("a", "door", 0, 5), row("b", "door", 6, 9)], (0, 10), calibrated=False)
    found = find_visits(gallery, QUERY)
    assert [names(visit) for visit in found] == [["a"], ["b"]]
    assert found.above == found.visits
    assert found.below == ()
    assert [visit.probability for visit in found] == [None, None]


def test_seconds_of_a_video_where_no_clock_is_known(filled):
    gallery = filled([row("a", "door", 61, 75, time=False)], (0,))
    (found,) = find_visits(gallery, QUERY)
    assert (found.start, found.first, found.last) == (None, 61, 75)
    assert span_words(found) == "1:01 - 1:15"


def test_images_that_are_from_no_video(filled):
    gallery = filled([Row("a.jpg", camera="door", time=BEGAN), Row("b.jpg")], (0, 10))
    found = find_visits(gallery, QUERY)
    assert [(visit.video, visit.first) for visit in found] == [(None, None), (None, None)]
    assert span_words(found[0]) == "2026-11-26 08:00:00 - 08:00:00"
    assert span_words(found[1]) == ""


def test_times_in_words():
    assert [clock(0), clock(59.9), clock(3675.2)] == ["0:00", "0:59", "1:01:15"]


def test_nothing_is_certain():
    assert [chance_words(each) for each in (1.0, 0.944, 0.0)] == ["over 99 %", "94 %", "under 1 %"]
    assert [chance_words(each, 1) for each in (1.0, 0.9985, 0.0, None)] == ["over 99.9 %", "99.9 %", "under 0.1 %", ""]


def test_the_table_marks_what_a_spreadsheet_would_compute(filled):
    gallery = filled([row("=1+1", "=cmd", 0, 5)], (0,))
    lines = list(csv.reader(io.StringIO(visits_csv(find_visits(gallery, QUERY)))))
    assert lines[0] == list(COLUMNS)
    values = dict(zip(*lines, strict=True))
    assert values["same"] == "yes"
    assert values["from"] == "2026-11-26T08:00:00.000Z"
    assert not values["camera"].startswith("=")
    assert not values["key"].startswith("=")


def test_fewer_visits(filled):
    rows = [row(str(number), "door", 100 * number, 100 * number + 5) for number in range(5)]
    assert len(find_visits(filled(rows, range(5)), QUERY, top=3)) == 3


@pytest.mark.parametrize("wrong", [{"top": 0}, {"gap": -1.0}, {"gap": float("nan")}], ids=["top", "gap", "nan"])
def test_numbers_that_make_no_search(filled, wrong):
    with pytest.raises(UsageError):
        find_visits(filled([row("a", "door", 0, 5)], (0,)), QUERY, **wrong)


def test_a_sheet_says_on_which_day_and_that_times_are_utc(filled, tmp_path):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (8, 16)).save(photo)
    tomorrow = replace(row("b", "door", 10, 15), time=BEGAN + timedelta(days=1, seconds=12.5))

    def texts(rows):
        gallery = filled(rows, [10 * at for at in range(len(rows))])
        figure = visits_figure(gallery, [photo], find_visits(gallery, QUERY))
        return [text.get_text() for text in figure.axes[0].texts]

    one = texts([row("a", "door", 0, 5)])
    assert any("08:00:00 - 08:00:05" in text and "2026" not in text for text in one)
    assert "from when to when on 2026-11-26 (UTC)" in one[-1].replace("\n", " ")
    two = texts([row("a", "door", 0, 5), tomorrow])
    assert sum("08:00:00 - 08:00:05\n2026-11-26" in text for text in two) == 1
    assert sum("08:00:10 - 08:00:15\n2026-11-27" in text for text in two) == 1
    assert "from when to when (UTC)" in two[-1].replace("\n", " ")
    unknown = texts([row("a", "door", 0, 5, time=False)])
    assert "from when to when." in unknown[-1].replace("\n", " ")
