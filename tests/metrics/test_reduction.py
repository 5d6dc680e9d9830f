from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.errors import DataError, UsageError
from reidkit.metrics.reduction import principal_axes


def test_by_hand() -> None:
    """Directions (3, 4)/5, (3, -4)/5 and (5, 0)/5: mean (11/15, 0), and nearly all variance lies along the second axis.

    The variances are 2 (4/5)^2 / 2 = 0.64 along it, and ((2/15)^2 + (2/15)^2 + (4/15)^2) / 2 = 4/75 along the first.
    """
    vectors = np.array([[3, 4], [6, -8], [5, 0]], np.float32)
    axes = principal_axes(vectors, 1)
    assert axes.variance == pytest.approx(0.64 / (0.64 + 4 / 75), abs=1e-6)
    np.testing.assert_allclose(np.abs(axes.weight), [[0, 1]], atol=1e-6)
    np.testing.assert_allclose(axes.bias, [0], atol=1e-6)
    np.testing.assert_allclose(np.abs(axes.reduce(vectors)[:, 0]), [0.8, 0.8, 0], atol=1e-6)
    white = principal_axes(vectors, 1, power=0.5)
    np.testing.assert_allclose(np.abs(white.weight), [[0, 1 / 0.8]], atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([0.0, 0.25, 0.5]))
@settings(max_examples=30, deadline=None)
def test_definition(seed: int, dim: int, power: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(40, 6)) * np.array([6, 5, 4, 3, 2, 1])).astype(np.float32)
    axes = principal_axes(vectors, dim, power=power)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    values, columns = np.linalg.eigh(np.cov(units.T.astype(np.float64)))
    values, columns = values[::-1], columns[:, ::-1]
    expected = (units - units.mean(axis=0)) @ columns[:, :dim] * values[:dim] ** -power
    found = axes.reduce(vectors)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4 * values[dim - 1] ** -power)
    assert axes.variance == pytest.approx(values[:dim].sum() / values.sum(), abs=1e-6)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4 * values[dim - 1] ** -power)


def test_all_axes_without_scaling_keep_every_distance_of_directions() -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    found = principal_axes(vectors, 5).reduce(vectors)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ours, theirs = (np.linalg.norm(v[:, None] - v[None], axis=2) for v in (found, units))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_refuses() -> None:
    vectors = np.eye(5, dtype=np.float32)
    for dim, power, words in ((0, 0.0, "choose 1 to 5"), (6, 0.0, "choose 1 to 5"), (2, 0.7, "power=0.7")):
        with pytest.raises(UsageError, match=words):
            principal_axes(vectors, dim, power=power)
    with pytest.raises(DataError, match="more than 3 images"):
        principal_axes(vectors[:3], 3)
    with pytest.raises(DataError, match="row 0"):
        principal_axes(np.full((9, 5), np.nan, np.float32), 2)


@pytest.mark.parametrize("dim", [2.5, "2", None, True])
def test_axes_that_are_no_number(dim: Any) -> None:
    with pytest.raises(UsageError, match="dim must be a whole number"):
        principal_axes(np.eye(4, dtype=np.float32), dim)


def test_features_of_any_kind_and_of_another_shape() -> None:
    vectors = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    axes = principal_axes(vectors, 2)
    listed: Any = vectors.tolist()
    np.testing.assert_array_equal(principal_axes(listed, 2.0).reduce(listed), axes.reduce(vectors))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"\[images, dimensions\] is needed"):
        principal_axes(vectors[0], 1)
    with pytest.raises(DataError, match="features have 3 dimensions and the axes are of 4"):
        axes.reduce(vectors[:, :3])
