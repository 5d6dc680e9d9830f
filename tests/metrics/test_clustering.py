from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN

from reidkit.errors import DataError, UsageError
from reidkit.metrics import clustering
from reidkit.metrics.clustering import OUTLIER, jaccard_clusters, jaccard_lists
from reidkit.metrics.reranking.k_reciprocal import KReciprocal
from tests.metrics.reranking.test_k_reciprocal import encoding, squared, units

Matrix = NDArray[Any]


def jaccard(points: Matrix, k1: int, k2: int) -> Matrix:
    """The Jaccard distance of Zhong et al. 2017 with full matrices, of all points to all."""
    dist = squared(points.astype(np.float64))
    farthest = dist.max(axis=0)
    rank = np.argsort(dist, axis=1, kind="stable")
    rows = encoding((dist / np.where(farthest > 0, farthest, 1)).T, rank, k1)
    if k2 != 1:
        rows = np.stack([rows[near].mean(axis=0) for near in rank[:, :k2]])
    common = np.minimum(rows[:, None], rows[None]).sum(axis=2)
    return np.asarray(1 - common / (2 - common))


def test_by_hand() -> None:
    """Points 0, 1, 10 on a line, k1 = k2 = 1, as for `k_reciprocal`: 10 has nobody, 0 and 1 have each other.

    V(0) = (1, e^-0.01, 0) / (1 + e^-0.01) and V(1) = (e^(-1/81), 1, 0) / (1 + e^(-1/81)).
    """
    points = np.array([[0.0], [1.0], [10.0]], np.float32)
    at_0 = np.array([1, np.exp(-1 / 100)]) / (1 + np.exp(-1 / 100))
    at_1 = np.array([np.exp(-1 / 81), 1]) / (1 + np.exp(-1 / 81))
    common = np.minimum(at_0, at_1).sum()
    lists = jaccard_lists(points, KReciprocal(1, 1), limit=0.9, metric="euclidean")
    assert lists.starts.tolist() == [0, 2, 4, 5]
    assert lists.columns.tolist() == [0, 1, 1, 0, 2]
    near = 1 - common / (2 - common)
    np.testing.assert_allclose(lists.values, [0, near, 0, near, 0], atol=1e-6)
    found = jaccard_clusters(points, eps=0.5, k1=1, k2=1, min_images=2, metric="euclidean")
    assert found.tolist() == [0, 0, OUTLIER]


@given(st.integers(0, 2**32 - 1), st.integers(2, 70), st.integers(1, 25), st.integers(1, 8), st.data())
@settings(max_examples=40, deadline=None)
def test_equals_dense_dbscan_on_the_dense_distance(
    seed: int, count: int, k1: int, k2: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    people = rng.normal(size=(max(2, count // 6), 5))
    points = (people[rng.integers(len(people), size=count)] + 0.3 * rng.normal(size=(count, 5))).astype(np.float32)
    dense = jaccard(units(points), k1, k2)
    # Midway between two distances, so that rounding decides nothing.
    steps = np.unique(dense.round(5))
    gaps = np.flatnonzero(np.diff(steps) > 1e-4)
    at = data.draw(st.sampled_from(gaps.tolist())) if len(gaps) else None
    eps = 0.5 if at is None else float(np.clip((steps[at] + steps[at + 1]) / 2, 1e-3, 0.999))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clustering, "ROWS", data.draw(st.sampled_from([3, 2048])))
        found = jaccard_clusters(points, eps=eps, k1=k1, k2=k2, min_images=3)
    expected = DBSCAN(eps=eps, min_samples=3, metric="precomputed").fit_predict(np.clip(dense, 0, 1))
    assert found.tolist() == expected.tolist()


def test_lists_are_the_short_distances() -> None:
    rng = np.random.default_rng(0)
    points = (rng.normal(size=(12, 6))[np.arange(200) % 12] + 0.2 * rng.normal(size=(200, 6))).astype(np.float32)
    dense = jaccard(units(points), 20, 6)
    lists = jaccard_lists(points, KReciprocal(20, 6), limit=0.7)
    sparse = np.ones_like(dense)
    for i in range(200):
        row = slice(lists.starts[i], lists.starts[i + 1])
        sparse[i, lists.columns[row]] = lists.values[row]
        assert i in lists.columns[row]
        assert (np.diff(lists.values[row]) >= 0).all()
    np.testing.assert_allclose(sparse, np.where(dense < 0.7, dense, 1), atol=2e-6)
    assert 200 < len(lists.columns) < 8000


def test_copies_are_one_cluster() -> None:
    assert jaccard_clusters(np.ones((9, 3), np.float32), k1=3, k2=2).tolist() == [0] * 9


def test_fewer_images_than_a_core_needs_are_outliers() -> None:
    assert jaccard_clusters(np.eye(3, dtype=np.float32)).tolist() == [OUTLIER] * 3


@pytest.mark.parametrize("numbers", [{"eps": 0.0}, {"eps": 1.0}, {"min_images": 0}, {"k1": 0}, {"k2": 0}])
def test_refuses_numbers(numbers: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        jaccard_clusters(np.eye(3, dtype=np.float32), **numbers)


def test_refuses_what_is_no_number() -> None:
    with pytest.raises(DataError, match="row 1"):
        jaccard_clusters(np.array([[1.0, 0.0], [np.nan, 1.0]], np.float32))
