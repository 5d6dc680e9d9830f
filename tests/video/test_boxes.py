"""Boxes as arrays: overlaps and non-maximum suppression against their definitions."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reidkit.video.boxes import Detections, areas, intersections, overlaps, suppress, within

SIDES = arrays(np.float32, st.tuples(st.integers(0, 7), st.just(4)), elements=st.integers(0, 20).map(float))


def test_an_overlap_by_hand() -> None:
    first = np.array([[0, 0, 10, 10]], np.float32)
    second = np.array([[5, 0, 15, 10], [10, 0, 20, 10], [0, 0, 10, 10], [3, 3, 3, 9]], np.float32)
    assert intersections(first, second).tolist() == [[50, 0, 100, 0]]
    np.testing.assert_allclose(overlaps(first, second), [[50 / 150, 0, 1, 0]])
    assert areas(second).tolist() == [100, 100, 100, 0]


@settings(max_examples=60, deadline=None)
@given(SIDES)
def test_suppression_is_its_definition(sides: np.ndarray) -> None:
    boxes = np.concatenate([np.minimum(sides[:, :2], sides[:, 2:]), np.maximum(sides[:, :2], sides[:, 2:])], axis=1)
    scores = np.linspace(1, 0.1, len(boxes)).astype(np.float32)[::-1].copy()
    kept: list[int] = []
    for at in sorted(range(len(boxes)), key=lambda at: -scores[at]):
        if all(overlaps(boxes[at : at + 1], boxes[other : other + 1])[0, 0] <= 0.4 for other in kept):
            kept.append(at)
    assert suppress(boxes, scores, 0.4).tolist() == kept


def test_boxes_within_an_image_by_hand() -> None:
    boxes = np.array(
        [[-5, -5, 5, 5], [90, 10, 120, 30], [200, 0, 210, 9], [1, 1, 1.5, 9], [np.nan, 0, 1, 1]], np.float32
    )
    found = within(Detections(boxes, np.array([1, 2, 3, 4, 5], np.float32), np.arange(5)), 100, 50)
    assert found.boxes.tolist() == [[0, 0, 5, 5], [90, 10, 100, 30]]
    assert found.tracks is not None
    assert (found.scores.tolist(), found.tracks.tolist()) == ([1, 2], [0, 1])
