"""Principal components by hand and against their definition; t-SNE on groups; points with their ids."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.errors import DataError, UsageError
from reidkit.plots.projection import Panel, pca, points_figure, same_id_fraction, tsne
from reidkit.plots.style import write_figure


def test_points_on_a_line_by_hand():
    """Along (3, 4) at -2, 0 and 2 times its length 5: one axis holds everything."""
    points, shares = pca(np.array([[-6.0, -8.0], [0.0, 0.0], [6.0, 8.0]]) + 7)
    np.testing.assert_allclose(np.abs(points), [[10, 0], [0, 0], [10, 0]], atol=1e-6)
    assert shares == pytest.approx((1.0, 0.0))


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 30), st.integers(2, 40), st.integers(0, 99))
def test_pca_is_the_eigenvectors_of_the_covariance(count, width, seed):
    vectors = np.random.default_rng(seed).normal(size=(count, width)) * np.linspace(1, 5, width)
    centred = vectors - vectors.mean(0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    points, variance = pca(vectors.astype(np.float32))
    np.testing.assert_allclose(np.abs(points), np.abs(centred @ axes[:, :-3:-1]), atol=1e-3)
    assert variance == pytest.approx(tuple((values[:-3:-1] / values.sum()).tolist()), abs=1e-5)
    assert (points[np.abs(points).argmax(0), [0, 1]] >= 0).all()


def test_one_dimension_and_one_point_are_drawn_too():
    assert pca(np.array([[1.0], [3.0]])).points[:, 1].tolist() == [0, 0]
    assert pca(np.array([[1.0, 2.0, 3.0]])).points.tolist() == [[0, 0]]


def test_groups_that_are_apart_stay_apart_and_nothing_is_drawn():
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(4, 16)) * 10
    vectors = np.repeat(centres, 12, axis=0) + rng.normal(size=(48, 16))
    points = tsne(vectors)
    groups = points.reshape(4, 12, 2)
    radius = np.linalg.norm(groups - groups.mean(1, keepdims=True), axis=2).max()
    means = groups.mean(1)
    apart = np.linalg.norm(means[:, None] - means, axis=2)[np.triu_indices(4, 1)].min()
    assert apart > 2 * radius
    np.testing.assert_array_equal(points, tsne(vectors))


def test_equal_points_make_finite_maps():
    assert np.isfinite(tsne(np.ones((6, 3)))).all()
    assert np.isfinite(tsne(np.repeat(np.eye(3), 4, axis=0))).all()


@pytest.mark.parametrize(
    ("vectors", "words"),
    [(np.zeros((3, 2)), "needs 4 images and there are 3"), (np.full((5, 2), np.nan), "not finite")],
)
def test_what_cannot_be_mapped_is_said(vectors, words):
    with pytest.raises(DataError, match=words):
        tsne(vectors)


def test_no_features_are_refused():
    with pytest.raises(DataError, match="no features"):
        pca(np.zeros((0, 4), np.float32))


def test_points_have_their_places_and_their_ids(tmp_path):
    rng = np.random.default_rng(0)
    pids = np.repeat([7, 9, 12], 5)
    panels = [Panel("$f", rng.normal(size=(15, 2)), "x", "y"), Panel("g", np.zeros((15, 2)), "", "")]
    figure = points_figure(panels, pids, "title")
    drawn = [each.get_offsets() for each in figure.axes[0].collections]
    np.testing.assert_allclose(np.concatenate(drawn), panels[0].points)
    assert [text.get_text() for text in figure.axes[0].texts][1:] == ["7", "9", "12"]
    write_figure(figure, tmp_path / "a.png")
    with pytest.raises(DataError, match="no images"):
        points_figure(panels, pids[:0], "")


def test_the_share_of_like_neighbours_by_hand():
    """At 0, 1 and 5 on a line, two ids: the nearest to 5 is the other's."""
    points = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    assert same_id_fraction(points, np.array([3, 3, 4])) == pytest.approx(2 / 3)
    assert same_id_fraction(points[:1], np.array([3])) == 0.0
    assert same_id_fraction(np.zeros((2, 2)), np.array([3, 3])) == 1.0


@pytest.mark.parametrize("perplexity", [0, -1, float("nan")])
def test_a_perplexity_that_is_none(perplexity):
    with pytest.raises(UsageError, match="it must be above 0"):
        tsne(np.eye(8), perplexity)


def test_vectors_may_be_a_list():
    vectors = np.random.default_rng(0).normal(size=(8, 3))
    np.testing.assert_array_equal(pca(vectors.tolist()).points, pca(vectors).points)
