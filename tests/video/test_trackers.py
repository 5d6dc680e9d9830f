"""Trackers: one contract for both, and what each promises by itself."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest

from reidkit.errors import UsageError
from reidkit.video.boxes import NOBODY, Detections
from reidkit.video.trackers import EdgefirstTracker, IouTracker, Tracker, TrackerOptions, build_tracker


def boxes(*lefts: float, scores: tuple[float, ...] | None = None) -> Detections:
    """Boxes of 20 x 50 pixels whose left sides are given."""
    sides = [[left, 10, left + 20, 60] for left in lefts]
    return Detections(np.array(sides, np.float32).reshape(-1, 4), np.array(scores or [0.9] * len(lefts), np.float32))


@pytest.fixture(params=["edgefirst", "iou"])
def tracker(request: pytest.FixtureRequest) -> Tracker:
    return build_tracker(TrackerOptions(tracker=request.param))


def test_two_people_keep_their_numbers_whatever_the_order_of_boxes(tracker: Tracker) -> None:
    seen = []
    for step in range(10):
        left, right = 2.0 * step, 100 - 2.0 * step
        tracks = list(tracker.update(boxes(left, right) if step % 2 else boxes(right, left), step / 10))
        seen.append(tracks if step % 2 else tracks[::-1])
    left_tracks, right_tracks = ({each[side] for each in seen} - {None} for side in (0, 1))
    assert left_tracks | right_tracks == {1, 2}
    assert (len(left_tracks), len(right_tracks)) == (1, 1)


def test_who_comes_back_soon_is_the_same_and_who_comes_late_is_another(tracker: Tracker) -> None:
    first = [tracker.update(boxes(50), step / 10)[0] for step in range(5)][-1]
    for step in range(5, 10):
        assert list(tracker.update(NOBODY, step / 10)) == []
    assert tracker.update(boxes(50), 1.0)[0] == first
    for step in range(11, 60):
        tracker.update(NOBODY, step / 10)
    later = [tracker.update(boxes(50), 6 + step / 10)[0] for step in range(3)][-1]
    assert later not in (None, first)


def test_who_is_in_the_place_of_another_after_a_break_is_another(tracker: Tracker) -> None:
    """An hour without frames, as where a camera records what moves, or cannot be reached."""
    before = {tracker.update(boxes(50), step / 10)[0] for step in range(5)}
    assert list(tracker.update(boxes(50, scores=(0.2,)), 3600.0)) == [None]
    after = {tracker.update(boxes(50), 3600.1 + step / 10)[0] for step in range(5)}
    assert (before, after) == ({1}, {2})


def test_frames_further_apart_than_tracks_are_kept_are_followed(tracker: Tracker) -> None:
    """By --every 1.5, or as a slow machine looks at a camera; one frame without a box ends a track."""
    seen = [tracker.update(boxes(50), 1.5 * step)[0] for step in range(5)]
    assert seen == [1] * 5
    tracker.update(NOBODY, 7.5)
    assert [tracker.update(boxes(50), 9.0 + 1.5 * step)[0] for step in range(3)] == [2] * 3


def test_a_low_score_begins_no_track_and_continues_one(tracker: Tracker) -> None:
    for step in range(5):
        assert list(tracker.update(boxes(50, scores=(0.2,)), step / 10)) == [None]
    first = [tracker.update(boxes(50), 0.5 + step / 10)[0] for step in range(5)][-1]
    assert first == 1
    assert list(tracker.update(boxes(51, scores=(0.2,)), 1.0)) == [1]


def test_numbers_are_the_same_in_every_run() -> None:
    draws = np.random.default_rng(0)
    scenes = [boxes(*draws.uniform(0, 300, draws.integers(0, 6))) for _ in range(50)]
    for kind in (EdgefirstTracker, IouTracker):
        runs = []
        for _ in "12":
            made = kind(TrackerOptions())
            runs.append([list(made.update(scene, at / 10)) for at, scene in enumerate(scenes)])
        assert runs[0] == runs[1]
        numbers = [track for tracks in runs[0] for track in tracks if track]
        begun = list(dict.fromkeys(numbers))
        assert begun == sorted(begun)  # in the order in which they begin


def test_overlaps_are_matched_together_and_not_one_by_one() -> None:
    """The first box overlaps both tracks; taking the nearest first would leave the second box without one."""
    tracker = IouTracker(TrackerOptions(overlap=0.3))
    assert tracker.update(boxes(0, 12), 0.0) == [1, 2]
    # With 7: 13/27 of track 1 and 15/25 of track 2. With 22: 10/30 of track 2, and nothing of track 1.
    assert tracker.update(boxes(7, 22), 0.1) == [1, 2]


def test_who_walks_fast_is_followed() -> None:
    """Each box shares half of the one before, and the filter may not lag behind."""
    tracker = EdgefirstTracker(TrackerOptions())
    seen = {tracker.update(boxes(7.0 * step), step / 10)[0] for step in range(40)}
    assert seen - {None} == {1}


def test_a_missing_package_is_named_or_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("edgefirst"):
            raise ImportError(name)
        return original(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert build_tracker(TrackerOptions()).name == "iou"
    with pytest.raises(UsageError, match="pip install edgefirst-tracker, or take iou"):
        build_tracker(TrackerOptions(tracker="edgefirst"))


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UsageError, match="tracker must be auto, edgefirst or iou, not sort"):
        TrackerOptions(tracker="sort")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="sure must be a number, not a"):
        TrackerOptions(sure="a")  # type: ignore[arg-type]
    for name in ("sure", "overlap", "lost"):
        with pytest.raises(UsageError, match=f"{name} -1 is not from 0"):
            TrackerOptions(**{name: -1})  # type: ignore[arg-type]
