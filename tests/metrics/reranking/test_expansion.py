"""Expanded cross neighbours against the definition with full matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.errors import DataError, UsageError
from reidkit.metrics.reranking import expansion
from reidkit.metrics.reranking.expansion import CrossNeighbourhood, expanded_cross, expanded_cross_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[Any]
    Distance = Literal["rank", "original"]


def definition(points: Matrix, queries: int, numbers: CrossNeighbourhood) -> Matrix:
    """Equations 3 and 4 of Sarfraz et al. 2018, with N x N matrices and one loop per pair."""
    units = points.astype(np.float64) / np.linalg.norm(points.astype(np.float64), axis=1, keepdims=True)
    dist = ((units[:, None] - units[None]) ** 2).sum(axis=2) / 2
    order = np.argsort(dist, axis=1, kind="stable")
    if numbers.distance == "rank":
        weight = np.maximum(0, numbers.k - np.argsort(order, axis=1)).astype(np.float64)
        dist = 1 - weight @ weight.T / (np.arange(1.0, numbers.k + 1) ** 2).sum()
    members = []
    for row in order:
        near = row[1 : numbers.t + 1]
        members.append([*near, *(j for i in near for j in order[i, 1 : numbers.q + 1])])
    count = len(points)
    return np.array(
        [
            [(dist[members[p], g].mean() + dist[members[g], p].mean()) / 2 for g in range(queries, count)]
            for p in range(queries)
        ]
    )


def test_by_hand() -> None:
    """One query p at 0 degrees, the gallery at 60 and 90. With t = q = 1, N(p) is 60 and its nearest, 90.

    N(60) is 90 and then 60 itself; N(90) is 60 and then 90.
    """
    angles = np.radians([0, 60, 90])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    def d(one: float, other: float) -> float:
        return float(1 - np.cos(np.radians(one - other)))

    at_60 = (d(60, 60) + d(90, 60) + d(90, 0) + d(60, 0)) / 4
    at_90 = (d(60, 90) + d(90, 90) + d(60, 0) + d(90, 0)) / 4
    result = expanded_cross(points[:1], points[1:], CrossNeighbourhood(t=1, q=1, distance="original"))
    np.testing.assert_allclose(result, [[at_60, at_90]], atol=1e-6)


def test_by_rank_lists_by_hand() -> None:
    """At 0, 10, 40 and 50 degrees the lists are 0123, 1023, 2310, 3210; k = 3, so that S = 1 + 4 + 9.

    R = ((14, 13, 5, 4), (13, 14, 6, 5), (5, 6, 14, 13), (4, 5, 13, 14)), and the means of -R for the query 0 are
    -13.5, -5.0 and -4.5.
    """
    angles = np.radians([0, 10, 40, 50])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = expanded_cross(points[:1], points[1:], CrossNeighbourhood(t=1, q=1, k=3))
    np.testing.assert_allclose(14 * (found - 1), [[-13.5, -5.0, -4.5]], atol=1e-4)


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 25), st.sampled_from(["rank", "original"]), st.data())
@settings(max_examples=60, deadline=None)
def test_definition(seed: int, queries: int, images: int, distance: Distance, data: st.DataObject) -> None:
    """Sizes down to one and one, lists longer than there are points, blocks of any size."""
    points = np.random.default_rng(seed).normal(size=(queries + images, 5)).astype(np.float32)
    t, q, k = (data.draw(st.integers(1, most)) for most in (9, 9, 40))
    numbers = CrossNeighbourhood(t=t, q=q, k=k, distance=distance)
    expected = definition(points, queries, numbers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expansion, "BLOCK", data.draw(st.sampled_from([1, 40, 1 << 24])))
        blocks = list(expanded_cross_blocks(points[:queries], points[queries:], numbers))
    np.testing.assert_allclose(np.concatenate([block for _, block in blocks]), expected, atol=2e-6)
    np.testing.assert_allclose(expanded_cross(points[:queries], points[queries:], numbers), expected, atol=2e-6)


def test_refuses() -> None:
    good = np.ones((3, 2), np.float32)
    other: Any = "other"
    with pytest.raises(DataError, match="row 1 of the query"):
        expanded_cross_blocks(np.array([[1, 0], [np.nan, 1]], np.float32), good)
    with pytest.raises(DataError):
        expanded_cross(good[:0], good)
    with pytest.raises(UsageError):
        CrossNeighbourhood(t=0)
    with pytest.raises(UsageError):
        CrossNeighbourhood(distance=other)
