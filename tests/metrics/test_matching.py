from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from reidkit.errors import DataError
from reidkit.metrics.matching import Labels, find_matches, make_rule, require_matches

if TYPE_CHECKING:
    from reidkit.types import Cameras


def labels(pids: list[int], camids: list[int], paths: tuple[str, ...] = ()) -> Labels:
    return Labels(np.array(pids, np.int64), np.array(camids, np.int64), paths)


def matches(query: Labels, gallery: Labels, cameras: Cameras) -> list[list[int]]:
    found = find_matches(make_rule(query, gallery, cameras))
    return [sorted(part.tolist()) for part in np.split(found.columns, found.starts[1:-1])]


QUERY = labels([3, -1, 8], [0, 0, 1], ("a", "b", "c"))
GALLERY = labels([3, 3, -1, 3, 8, 5], [0, 1, 1, 2, 1, 1], ("a", "d", "b", "e", "f", "g"))


def test_own_camera_is_left_out() -> None:
    assert matches(QUERY, GALLERY, "cross") == [[1, 3], [], []]
    assert make_rule(QUERY, GALLERY, "cross").listed(0).tolist() == [1, 3, 4, 5]


def test_only_the_own_image_is_left_out() -> None:
    assert matches(QUERY, GALLERY, "any") == [[1, 3], [], [4]]
    assert make_rule(QUERY, GALLERY, "any").listed(0).tolist() == [1, 3, 4, 5]
    assert make_rule(QUERY, GALLERY, "any").listed(2).tolist() == [0, 1, 3, 4, 5]


def test_without_paths_nothing_is_left_out() -> None:
    assert matches(labels([3], [0]), GALLERY, "any") == [[0, 1, 3]]


def test_unknown_cameras_count_as_one() -> None:
    assert matches(labels([3], [-1]), labels([3, 3], [-1, 0]), "cross") == [[1]]


@pytest.mark.parametrize(
    ("gallery", "cameras", "sentence"),
    [
        (labels([1, 2, -1], [0, 0, 0]), "cross", "share no id"),
        (labels([3], [0]), "cross", "cameras='any'"),
        (labels([3], [0], ("a",)), "any", "needs a second image"),
        (labels([], []), "cross", "share no id"),
        (labels([-1, -1], [0, 1]), "cross", r"no image of the gallery has an id \(every pid is -1\)"),
    ],
)
def test_nothing_to_score_says_why(gallery: Labels, cameras: Cameras, sentence: str) -> None:
    query = labels([3, -1], [0, 0], ("a", "b"))
    with pytest.raises(DataError, match=sentence):
        require_matches(query, gallery, cameras)


@pytest.mark.parametrize(
    ("pids", "camids", "sentence"),
    [
        (np.array([1.5]), np.array([0]), "query pids are float64"),
        (np.array([[1]]), np.array([0]), r"query pids are int64 of shape \[1, 1\]"),
        (np.array([1, 2]), np.array([0]), "2 pids and 1 camids"),
        (np.array(["x"]), np.array([0]), "query pids are <U1"),
    ],
)
def test_labels_are_checked(pids: np.ndarray, camids: np.ndarray, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        make_rule(Labels(pids, camids), GALLERY, "cross")


def test_more_matches_than_can_be_held_are_refused_at_once() -> None:
    """900 million pairs: one person in 30,000 x 30,000 images. Two halves of few queries are scored."""
    ours, theirs = (Labels(np.zeros(30_000, np.int64), np.full(30_000, camera)) for camera in (0, 1))
    with pytest.raises(DataError, match=r"30,000 queries .* make 900,000,000 pairs, more than the 33,554,432"):
        find_matches(make_rule(ours, theirs, "cross"))
    few = Labels(np.zeros(100, np.int64), np.zeros(100, np.int64))
    assert len(find_matches(make_rule(few, theirs, "cross")).columns) == 3_000_000
