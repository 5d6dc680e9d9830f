"""Alpha query expansion against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from reidkit.errors import DataError, UsageError
from reidkit.metrics import distances
from reidkit.metrics.reranking.expansion import alpha_query_expansion, smallest


def test_by_hand() -> None:
    """The query (1, 0) finds (0.6, 0.8) at the cosine 0.6, and not (0, 1): (1, 0) + 0.36 (0.6, 0.8) for alpha 2."""
    gallery = np.array([[0, 1], [0.6, 0.8]], np.float32)
    expected = np.array([1 + 0.36 * 0.6, 0.36 * 0.8])
    result = alpha_query_expansion(np.array([[2, 0]], np.float32), gallery, k=1, alpha=2)
    np.testing.assert_allclose(result[0], expected / np.linalg.norm(expected), atol=1e-6)


def test_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    query, gallery = (rng.normal(size=(n, 6)).astype(np.float32) for n in (30, 50))
    monkeypatch.setattr(distances, "ROW_BYTES", 4 * 50 * 7)
    ours, theirs = (x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (query, gallery))
    expected = ours.copy()
    for i, cosines in enumerate(ours @ theirs.T):
        for j in np.argsort(-cosines)[:40]:
            expected[i] += max(cosines[j], 0) ** 3 * theirs[j]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(alpha_query_expansion(query, gallery, k=40), expected, atol=1e-6)


def test_ties_are_ordered_by_index() -> None:
    values = np.array([[3, 1, 2, 1, 1, 0], [1, 1, 1, 1, 1, 1]], np.float32)
    np.testing.assert_array_equal(smallest(values, 3), [[5, 1, 3], [0, 1, 2]])


def test_alpha_zero_is_the_mean_and_k_is_cut() -> None:
    query, gallery = np.array([[1, 0]], np.float32), np.array([[0.6, 0.8], [0.6, -0.8], [-1, 0]], np.float32)
    np.testing.assert_allclose(alpha_query_expansion(query, gallery, k=99, alpha=0), [[1, 0]], atol=1e-6)


def test_refuses() -> None:
    good = np.ones((3, 2), np.float32)
    with pytest.raises(UsageError):
        alpha_query_expansion(good, good, k=0)
    with pytest.raises(UsageError):
        alpha_query_expansion(good, good, alpha=-1)
    with pytest.raises(DataError, match="row 2 of the gallery"):
        alpha_query_expansion(good, np.array([[1, 0], [0, 1], [np.inf, 1]], np.float32))
    with pytest.raises(DataError):
        alpha_query_expansion(good, good[:0])
