from __future__ import annotations

import itertools

import numpy as np
import pytest

from reidkit.errors import UsageError
from reidkit.synth.figure import person
from reidkit.synth.street import FAR, NEAR, WALKERS, Outlines, Street, Walk

SMALL = {"ids": 6, "seconds": 6.0, "rate": 4, "height": 144, "width": 256}


def test_a_walk_by_hand():
    """Two body lengths to the right in two seconds, a second of standing, then straight towards the camera."""
    walk = Walk(1, 1, times=(10.0, 12.0, 13.0, 14.0), x=(-1.0, 1.0, 1.0, 1.0), z=(3.0, 3.0, 3.0, 2.0))
    assert walk.at(11.0) == (0.0, 3.0)
    assert walk.at(12.5) == (1.0, 3.0)
    assert walk.pose(11.0).yaw == pytest.approx(np.pi / 2)
    assert walk.pose(13.5).yaw == pytest.approx(0.0)
    # Whoever stands looks where they were going, and hardly moves their legs.
    assert walk.pose(12.5).yaw == pytest.approx(np.pi / 2)
    assert walk.pose(12.5).stride < 0.1 < walk.pose(11.0).stride


def test_outlines_by_hand():
    """A square of 20 x 20 pixels, a third of which is hidden by the next one."""
    from PIL import Image

    canvas = Outlines(Image.new("RGB", (100, 60)), 0.5)
    corners = np.array([(10.0, 10.0), (29.0, 10.0), (29.0, 29.0), (10.0, 29.0)])
    canvas.begin(1)
    canvas.fill(corners, (255, 0, 0))
    assert canvas.bounds() == (10, 10, 29, 29)
    assert canvas.count((0, 0, 100, 60), 1) == 400
    canvas.begin(2)
    canvas.fill(corners + np.array((12, 0)), (0, 255, 0))
    assert canvas.count((0, 0, 100, 60), 1) == 240
    assert canvas.count((0, 0, 100, 60), 2) == 400
    # What lies outside of the image has no bounds.
    canvas.begin(3)
    canvas.fill(corners + np.array((200, 0)), (0, 0, 255))
    assert canvas.bounds() is None


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nobody_is_in_two_views_at_once(seed):
    street = Street(videos=3, ids=20, seconds=40, seed=seed)
    for who in range(1, 21):
        spans = sorted((walk.times[0], walk.times[-1]) for walk in street.walks if walk.who == who)
        assert all(first[1] < second[0] for first, second in itertools.pairwise(spans))


def test_people_come_back_and_change_cameras():
    street = Street(videos=2, ids=12, seconds=30)
    cameras = {who: {walk.camera for walk in street.walks if walk.who == who} for who in range(1, 13)}
    assert all(cameras.values())
    assert sum(len(each) == 2 for each in cameras.values()) >= 4
    assert sum(len(each) == 1 for each in cameras.values()) >= 2


def test_frames_show_people_where_they_are_said_to_be():
    """The frame differs from the empty scene inside of the boxes, and hardly outside of them."""
    street = Street(**SMALL, seed=1)
    place = street.view(1)
    frames = [frame for frame in street.film(1) if frame.people]
    assert len(frames) > 5
    empty = place.shoot([], 0.0, np.random.default_rng(0)).pixels.astype(int)
    for frame in frames[::3]:
        inside = np.zeros(empty.shape[:2], bool)
        for seen in frame.people:
            left, top, wide, high = seen.box
            assert left >= 0
            assert top >= 0
            assert left + wide <= 256
            assert top + high <= 144
            assert 0 <= seen.visible <= 1
            inside[int(top) : int(top + high) + 1, int(left) : int(left + wide) + 1] = True
        different = np.abs(frame.pixels - empty).mean(axis=2)
        if max(seen.visible for seen in frame.people) > 0.5:
            assert different[inside].mean() > 1.5 * different[~inside].mean()


def test_people_are_seen_as_tall_as_they_are_far():
    street = Street(**SMALL, seed=2)
    whole = [seen for frame in street.film(2) for seen in frame.people if 5 < seen.box[0] < 200]
    assert whole
    for seen in whole:
        assert 0.85 * FAR < seen.box[3] / 144 / person(2, WALKERS + 2 * seen.who).height < 1.2 * NEAR


def test_frames_depend_on_the_settings_alone():
    street = Street(**SMALL, seed=4)
    first, again = list(street.film(1)), list(Street(**SMALL, seed=4).film(1))
    assert [frame.people for frame in first] == [frame.people for frame in again]
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(first, again, strict=True))
    assert not np.array_equal(next(Street(**SMALL, seed=5).film(1)).pixels, first[0].pixels)


def test_a_portrait_shows_one_person():
    image = Street(**SMALL).portrait(2)
    assert image.width < image.height < 144


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"videos": 0}, "videos must be"),
        ({"ids": 0}, "ids must be"),
        ({"seconds": 0.5}, "seconds must be"),
        ({"rate": 100}, "rate must be"),
        ({"seed": -1}, "seed must be a whole number from 0 on, not -1"),
        ({"seconds": "30"}, "seconds must be a number, not the text '30'"),
        ({"height": 271}, "must be even"),
        ({"width": 4000}, "at most 1920"),
        ({"height": 32}, "at least 96"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_numbers_that_make_no_videos(wrong, words):
    with pytest.raises(UsageError, match=words):
        Street(**wrong)
