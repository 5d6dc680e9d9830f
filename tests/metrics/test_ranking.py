from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.errors import DataError, UsageError
from reidkit.metrics.products import Host
from reidkit.metrics.ranking import pair_histogram, rank
from reidkit.metrics.retrieval import score_features

from .definition import crowd, embeddings, multiply_badly

if TYPE_CHECKING:
    from reidkit.types import Metric


def test_ranked_by_hand() -> None:
    """Junk and the own camera are not listed; of two at one distance the wrong one comes first."""
    query = embeddings([[0.0], [5.0]], [7, 9], [0, 0])
    gallery = embeddings([[0], [1], [-1], [2], [0.5]], [7, 7, 9, 9, -1], [0, 1, 1, 1, 1])
    (head,) = rank(query, gallery, [0], top=9, metric="euclidean")
    assert head.query == 0
    assert head.indices.tolist() == [2, 1, 3]
    assert head.distances.tolist() == [1, 1, 2]
    assert head.is_match.tolist() == [False, True, False]
    assert [x.indices.tolist() for x in rank(query, gallery, [1, 0], top=1, metric="euclidean")] == [[3], [2]]


def test_cosine_distances_are_one_less_the_cosine() -> None:
    gallery = embeddings([[0, 2], [3, 0], [-1, 0]], [1, 2, 3], [1, 1, 1])
    (head,) = rank(embeddings([[5, 0]], [1], [0]), gallery, [0])
    assert head.indices.tolist() == [1, 0, 2]
    assert head.distances == pytest.approx([0, 1, 2])


@given(st.integers(0, 10**6), st.sampled_from(["cosine", "euclidean"]), st.integers(1, 400))
@settings(max_examples=20, deadline=None)
def test_lists_agree_with_the_scores(seed: int, metric: Metric, top: int) -> None:
    """The first match of a list stands where the scores say, among many images that are exactly equal."""
    query, gallery = crowd(queries=12, images=300, seed=seed)
    scores = score_features(query, gallery, metric=metric)
    for head in rank(query, gallery, range(12), top, metric=metric):
        assert (np.diff(head.distances) >= 0).all()
        first = scores.first_match[head.query]
        if head.is_match.any():
            assert np.flatnonzero(head.is_match)[0] + 1 == first
        else:
            assert np.isnan(first) or first > len(head.is_match)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_an_inexact_product_changes_no_list(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = crowd()
    expected = [rank(query, gallery, range(40), top, metric=metric) for top in range(1, 6)]
    monkeypatch.setattr(Host, "multiply", multiply_badly)
    for top, heads in enumerate(expected, start=1):
        for one, other in zip(heads, rank(query, gallery, range(40), top, metric=metric), strict=True):
            assert one.indices.tolist() == other.indices.tolist()


def test_a_list_with_nobody_in_it() -> None:
    gallery = embeddings([[1.0], [2.0]], [1, -1], [0, 1])
    (head,) = rank(embeddings([[1.0]], [1], [0]), gallery, [0])
    assert len(head.indices) == len(head.distances) == len(head.is_match) == 0
    assert rank(embeddings([[1.0]], [1], [0]), gallery, []) == []


@pytest.mark.parametrize("row", [-1, 1])
def test_a_query_that_is_not_there(row: int) -> None:
    one = embeddings([[1.0]], [1], [0])
    with pytest.raises(DataError, match=f"there is no query {row}"):
        rank(one, one, [row])


def test_histogram_by_hand() -> None:
    query = embeddings([[0.0], [4.0]], [7, -1], [0, 0])
    gallery = embeddings([[0], [1], [3], [3.5], [4]], [7, 7, 9, -1, 9], [0, 1, 0, 1, 1])
    histogram = pair_histogram(query, gallery, bins=4, metric="euclidean")
    assert histogram.edges.tolist() == [0, 2, 4, 6, 8]
    assert histogram.same.tolist() == [1, 0, 0, 0]
    assert histogram.different.tolist() == [0, 1, 1, 0]


def test_histogram_counts_every_pair() -> None:
    query, gallery = crowd()
    histogram = pair_histogram(query, gallery, bins=20, cameras="any")
    same = query.pids[:, None] == gallery.pids
    one, other = (x.vectors / np.linalg.norm(x.vectors, axis=1, keepdims=True) for x in (query, gallery))
    expected, edges = np.histogram((1 - one.astype(np.float64) @ other.T)[same], bins=20, range=(0, 2))
    assert histogram.edges == pytest.approx(edges)
    assert np.abs(histogram.same - expected).sum() <= 4  # pairs on an edge
    assert (histogram.same.sum(), histogram.different.sum()) == (same.sum(), (~same).sum())


def test_opposite_features_fall_into_the_last_bin() -> None:
    histogram = pair_histogram(embeddings([[1.0]], [1], [0]), embeddings([[-1.0]], [2], [1]), bins=3)
    assert histogram.different.tolist() == [0, 0, 1]


@pytest.mark.parametrize("rows", [np.array([True, False]), [False, True], [0.0], [[0]], 0])
def test_rows_that_are_no_numbers_of_queries(rows: Any) -> None:
    """A mask, taken as numbers, would list the queries 0 and 1 again and again."""
    query = embeddings([[0.0], [5.0]], [7, 9], [0, 0])
    with pytest.raises(UsageError, match="pass a list of numbers of queries") as caught:
        rank(query, query, rows)
    assert ("np.flatnonzero" in str(caught.value)) == (np.asarray(rows).dtype == bool)
    assert rank(query, query, []) == []


def test_lists_and_bins_of_numbers_that_there_are_not() -> None:
    """A list of -3 would leave out the last three, and no bin be written beyond the counts."""
    one = embeddings([[1.0], [2.0]], [1, 1], [0, 1])
    with pytest.raises(UsageError, match="top must be a whole number from 0 on, not -3"):
        rank(one, one, [0], -3)
    with pytest.raises(UsageError, match="bins must be a whole number from 1 on, not 0"):
        pair_histogram(one, one, bins=0)
    assert not len(rank(one, one, [0], 0)[0].indices)
