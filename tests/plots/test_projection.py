"""Principal components against the singular value decomposition, t-SNE against its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.errors import DataError
from reidkit.plots.projection import affinities, divergence, pca, tsne
from reidkit.plots.scatter import Panel, alike, points_figure
from reidkit.plots.style import write_figure


def test_points_on_a_line_by_hand():
    """Along (3, 4) at -2, 0 and 2 times its length 5: one axis holds everything."""
    points, shares = pca(np.array([[-6.0, -8.0], [0.0, 0.0], [6.0, 8.0]]) + 7)
    np.testing.assert_allclose(np.abs(points), [[10, 0], [0, 0], [10, 0]], atol=1e-6)
    assert shares == pytest.approx((1.0, 0.0))


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 30), st.integers(2, 40), st.integers(0, 99))
def test_pca_is_the_singular_value_decomposition(count, width, seed):
    vectors = np.random.default_rng(seed).normal(size=(count, width)) * np.linspace(1, 5, width)
    centred = vectors - vectors.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    points, shares = pca(vectors.astype(np.float32))
    np.testing.assert_allclose(np.abs(points), np.abs(left * values)[:, :2], atol=1e-3)
    assert shares == pytest.approx(tuple((values[:2] ** 2 / (values**2).sum()).tolist()), abs=1e-5)
    assert (points[np.abs(points).argmax(0), [0, 1]] >= 0).all()


def test_one_dimension_and_one_point_are_drawn_too():
    assert pca(np.array([[1.0], [3.0]])).points[:, 1].tolist() == [0, 0]
    assert pca(np.array([[1.0, 2.0, 3.0]])).points.tolist() == [[0, 0]]


def test_affinities_have_the_perplexity_that_is_asked_for():
    vectors = np.random.default_rng(1).normal(size=(40, 5))
    joint = affinities(vectors, 10.0)
    assert joint.sum() == pytest.approx(1)
    np.testing.assert_allclose(joint, joint.T)
    assert (np.diag(joint) == 0).all()
    # By the definition, for one point: the width whose distribution has an entropy of log 10.
    squared = np.square(vectors[0] - vectors[1:]).sum(1)
    widths = np.geomspace(1e-2, 1e2, 20001)[:, None]
    given_p = np.exp(-squared / widths)
    given_p /= given_p.sum(1, keepdims=True)
    perplexities = np.exp(-(given_p * np.log(given_p + 1e-300)).sum(1))
    best = given_p[np.abs(perplexities - 10).argmin()]
    others = [_given(vectors, j, 10.0) for j in range(1, 40)]
    expected = [(best[j - 1] + others[j - 1][0]) / 80 for j in range(1, 40)]
    np.testing.assert_allclose(joint[0, 1:], expected, rtol=2e-2)


def _given(vectors, point, perplexity):
    rest = np.delete(np.arange(len(vectors)), point)
    squared = np.square(vectors[point] - vectors[rest]).sum(1)
    low, high = 1e-4, 1e4
    for _ in range(80):
        width = (low * high) ** 0.5
        p = np.exp(-squared / width)
        p /= p.sum()
        low, high = (low, width) if np.exp(-(p * np.log(p + 1e-300)).sum()) > perplexity else (width, high)
    return p


def test_gradient_is_the_limit_of_differences():
    rng = np.random.default_rng(2)
    wanted = affinities(rng.normal(size=(9, 4)), 2.5)
    points, step = rng.normal(size=(9, 2)), 1e-6
    _, gradient = divergence(points, wanted)
    for place in np.ndindex(*points.shape):
        up, down = points.copy(), points.copy()
        up[place] += step
        down[place] -= step
        slope = (divergence(up, wanted)[0] - divergence(down, wanted)[0]) / (2 * step)
        assert gradient[place] == pytest.approx(slope, abs=1e-7)


def test_groups_that_are_apart_stay_apart_and_nothing_is_drawn():
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(4, 16)) * 10
    vectors = np.repeat(centres, 12, axis=0) + rng.normal(size=(48, 16))
    said = []
    points = tsne(vectors, steps=250, tell=lambda done, total: said.append((done, total)))
    groups = points.reshape(4, 12, 2)
    radius = np.linalg.norm(groups - groups.mean(1, keepdims=True), axis=2).max()
    means = groups.mean(1)
    apart = np.linalg.norm(means[:, None] - means, axis=2)[np.triu_indices(4, 1)].min()
    assert apart > 2 * radius
    assert said[-1] == (250, 250)
    np.testing.assert_array_equal(points, tsne(vectors, steps=250))


def test_equal_points_make_finite_maps():
    assert np.isfinite(tsne(np.ones((6, 3)), steps=20)).all()
    assert np.isfinite(tsne(np.repeat(np.eye(3), 4, axis=0), steps=20)).all()


@pytest.mark.parametrize(
    ("vectors", "words"),
    [(np.zeros((3, 2)), "4 to 2000"), (np.zeros((2001, 2)), "4 to 2000"), (np.full((5, 2), np.nan), "finite")],
)
def test_what_cannot_be_mapped_is_said(vectors, words):
    with pytest.raises(DataError, match=words):
        tsne(vectors)


def test_no_features_are_refused():
    with pytest.raises(DataError, match="no features"):
        pca(np.zeros((0, 4), np.float32))


def test_points_have_their_places_and_their_people(tmp_path):
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
    """At 0, 1 and 5 on a line, two people: the nearest to 5 is the other's."""
    points = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    assert alike(points, np.array([3, 3, 4])) == pytest.approx(2 / 3)
    assert alike(points[:1], np.array([3])) == 0.0
