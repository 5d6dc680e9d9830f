"""Hyperplanes of a classifier, by hand and against its argmax."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.experiments.luo2019.feature_plane import boundaries

WINDOW = (-2.0, 2.0, -1.0, 1.0)


def test_two_classes_by_hand():
    """Scores x and -x + 1 tie at x = 1/2, from the bottom of the window to its top."""
    (only,) = boundaries(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([0.0, 1.0]), WINDOW)
    assert only.classes == (0, 1)
    np.testing.assert_allclose(only.ends[only.ends[:, 1].argsort()], [[0.5, -1], [0.5, 1]])


def test_without_a_bias_three_rays_leave_the_origin():
    angles = np.deg2rad([90, 210, 330])
    found = boundaries(np.column_stack([np.cos(angles), np.sin(angles)]), np.zeros(3), WINDOW)
    assert len(found) == 3
    for segment in found:
        near, far = sorted(segment.ends, key=np.linalg.norm)
        np.testing.assert_allclose(near, 0, atol=1e-9)
        i, j = segment.classes
        direction = (angles[i] + angles[j]) / 2 + (np.pi if abs(angles[i] - angles[j]) > np.pi else 0)
        np.testing.assert_allclose(far / np.linalg.norm(far), [np.cos(direction), np.sin(direction)], atol=1e-9)


def test_a_class_that_never_wins_and_equal_classes_have_none():
    weight = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert [s.classes for s in boundaries(weight[:3], np.array([0.0, 0.0, -9.0]), WINDOW)] == [(0, 1)]
    assert [s.classes for s in boundaries(weight[[0, 3]], np.zeros(2), WINDOW)] == []
    assert boundaries(weight[:2], np.array([0.0, 99.0]), WINDOW) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(0, 999), st.booleans())
def test_on_a_segment_its_two_classes_tie_and_beside_it_they_win(classes, seed, biased):
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(classes, 2)), rng.normal(size=classes) * biased
    for segment in boundaries(weight, bias, WINDOW):
        i, j = segment.classes
        assert (segment.ends[:, 0] >= -2 - 1e-6).all()
        assert (np.abs(segment.ends[:, 1]) <= 1 + 1e-6).all()
        for share in (0.1, 0.5, 0.9):
            point = (1 - share) * segment.ends[0] + share * segment.ends[1]
            scores = weight @ point + bias
            assert scores[i] == pytest.approx(scores[j], abs=1e-6)
            assert scores.max() <= scores[i] + 1e-6
    # No boundary is missing: a class that wins somewhere, and not everywhere, has an edge.
    x, y = np.meshgrid(np.linspace(-1.99, 1.99, 41), np.linspace(-0.99, 0.99, 21))
    winners = set((np.stack([x, y], axis=-1) @ weight.T + bias).argmax(axis=-1).ravel().tolist())
    if len(winners) > 1:
        assert winners <= {one for segment in boundaries(weight, bias, WINDOW) for one in segment.classes}
