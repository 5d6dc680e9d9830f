from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.errors import DataError, UsageError
from reidkit.metrics import distances as blocks
from reidkit.metrics import retrieval as counting
from reidkit.metrics.matching import Labels
from reidkit.metrics.products import Host
from reidkit.metrics.retrieval import score_blocks, score_distances, score_features
from reidkit.types import Embeddings

from . import definition
from .definition import check, crowd, embeddings, multiply_badly, on_a_line, retrievals, same

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.types import Cameras, Metric


def labels(pids: list[int], camids: list[int], paths: tuple[str, ...] = ()) -> Labels:
    return Labels(np.array(pids), np.array(camids), paths)


def test_worked_example() -> None:
    """Ranks 2 and 4 are right: AP = (1/2 + 2/4) / 2, INP = 2/4. The first is the query's own camera."""
    query, gallery = labels(pids=[7], camids=[0]), labels(pids=[7, 9, 7, 9, 7], camids=[0, 1, 1, 1, 2])
    scores = score_distances(np.array([[0.0, 0.1, 0.2, 0.3, 0.4]]), query, gallery)
    assert (scores.rank1, scores.rank5, scores.map, scores.minp) == (0.0, 1.0, 0.5, 0.5)
    # Trapezoids: at rank 2 the precision rises from 0/1 to 1/2, at rank 4 from 1/3 to 2/4; each is half the recall.
    assert scores.map_trapezoid == pytest.approx(((0 + 1 / 2) / 2 + (1 / 3 + 2 / 4) / 2) / 2)
    assert (scores.queries, scores.queries_skipped, scores.gallery) == (1, 0, 5)
    assert scores.cmc[:3].tolist() == [0, 1, 1]
    assert scores.first_match.tolist() == [2]


def test_worked_example_from_features() -> None:
    """The same on a line: the query is at 0, the gallery at the distances."""
    scores = score_features(*on_a_line(), metric="euclidean")
    assert (scores.rank1, scores.rank5, scores.map, scores.minp) == (0.0, 1.0, 0.5, 0.5)


def test_a_tie_counts_against_the_match() -> None:
    query, gallery = labels([1], [0]), labels([2, 1, 2], [1, 1, 1])
    scores = score_distances(np.array([[0.5, 0.5, 0.9]]), query, gallery)
    assert scores.average_precision.tolist() == [1 / 2]


@given(retrievals(), st.sampled_from(["cross", "any"]))
@settings(max_examples=150, deadline=None)
def test_definition(retrieval: tuple[Embeddings, Embeddings], cameras: Cameras) -> None:
    query, gallery = retrieval
    dist_qg = np.square(query.vectors[:, None].astype(np.float64) - gallery.vectors[None]).sum(2)
    hits = definition.lists(dist_qg, query, gallery, cameras)
    if not any(hits):
        with pytest.raises(DataError, match=r"share no id|has an id|cameras='any'|second image"):
            score_features(query, gallery, metric="euclidean", cameras=cameras)
        return
    for scores in (
        score_features(query, gallery, metric="euclidean", cameras=cameras),
        score_distances(dist_qg, query, gallery, cameras=cameras, block=2),
    ):
        check(scores, hits)
    assert scores.gallery == sum(pid != -1 for pid in gallery.pids)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_equal_features_are_at_equal_distances(metric: Metric) -> None:
    """Single precision gives equal columns unequal products at the edges of a block; the ranks must not see it."""
    query, gallery = crowd()
    one, other = query.vectors.astype(np.float64), gallery.vectors.astype(np.float64)
    if metric == "cosine":
        one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, other))
    dist_qg = np.array([[math.fsum((a - b) ** 2) for b in other] for a in one])
    check(score_features(query, gallery, metric=metric), definition.lists(dist_qg, query, gallery))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_blocks_change_nothing(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = crowd()
    whole = score_features(query, gallery, metric=metric)
    monkeypatch.setattr(blocks, "QUERY_ROWS", 7)
    monkeypatch.setattr(counting, "NEAR", 1)
    for rows in (1, 33, 250):
        monkeypatch.setattr(blocks, "gallery_rows", lambda _, rows=rows: rows)
        assert same(score_features(query, gallery, metric=metric), whole)


def test_a_collapsed_network_scores_as_badly_as_it_can() -> None:
    """All features equal: everybody else comes first."""
    rng = np.random.default_rng(0)
    vectors = np.tile(rng.standard_normal(37), (50, 1))
    gallery = embeddings(vectors, [1, 1] + [2] * 48, [1] * 50)
    scores = score_features(embeddings(vectors[:1], [1], [0]), gallery)
    assert scores.average_precision[0] == (1 / 49 + 2 / 50) / 2


def test_tensors_score_as_arrays_do() -> None:
    query, gallery = crowd()
    tensors = [Embeddings(torch.from_numpy(x.vectors), x.pids, x.camids) for x in (query, gallery)]
    assert same(score_features(*tensors), score_features(query, gallery))


def test_a_distance_that_is_not_a_number_is_named() -> None:
    dist_qg = np.zeros((5, 3))
    dist_qg[3, 1] = np.nan
    images = labels([1, 2, 1, 2, 1], [0, 0, 0, 0, 0]), labels([1, 2, 3], [1, 1, 1])
    with pytest.raises(DataError, match="query 3 to gallery image 1 is not a number"):
        score_distances(dist_qg, *images, block=2)


def test_distances_may_be_infinite_whole_or_tensors() -> None:
    """An infinite distance is the farthest there is, and a tie among infinite ones counts against the match."""
    images = labels([1], [0]), labels([2, 1, 2], [1, 1, 1])
    for dist_qg, expected in (([[np.inf, np.inf, 0.0]], 1 / 3), ([[1, 0, 2]], 1.0), ([[-np.inf, 5, -1]], 1 / 3)):
        assert score_distances(np.array(dist_qg), *images).map == expected
        assert score_distances(torch.tensor(dist_qg), *images).map == expected
        assert score_distances(torch.tensor(dist_qg, dtype=torch.bfloat16), *images).map == expected


def test_distances_in_double_precision_stay_so() -> None:
    images = labels([1], [0]), labels([2, 1], [1, 1])
    assert score_distances(np.array([[1 + 1e-12, 1.0]]), *images).rank1 == 1.0


def test_distances_must_fit_the_labels() -> None:
    with pytest.raises(DataError, match=r"the distances have the shape \[2, 3\], the labels \[1, 3\]"):
        score_distances(np.zeros((2, 3)), labels([1], [0]), labels([1, 2, 3], [1, 1, 1]))


@pytest.mark.parametrize(
    ("query", "gallery", "sentence"),
    [
        (embeddings([[1.0]], [1], [0], model="a1"), embeddings([[1.0]], [1], [1], model="b2"), "model a1 .* of b2"),
        (embeddings([[1.0]], [1, 2], [0, 0]), embeddings([[1.0]], [1], [1]), "the query has 1 features and 2 pids"),
        (embeddings([[1.0]], [1], [0]), embeddings([[1.0]], [1], [1, 1]), "the gallery has 1 pids and 2 camids"),
        (embeddings([[1.0]], [1], [0]), embeddings([[1.0, 2.0]], [1], [1]), "1 dimensions and gallery features 2"),
        (embeddings([[1.0]], [1], [0]), embeddings([[1.0]], [2], [1]), "share no id"),
    ],
)
def test_what_cannot_be_compared_is_refused(query: Embeddings, gallery: Embeddings, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        score_features(query, gallery)


@pytest.mark.parametrize("option", ["metric", "cameras"])
def test_an_unknown_option_is_refused(option: str) -> None:
    given: dict[str, Any] = {option: "manhattan"}
    with pytest.raises(UsageError, match=r"there is no .* manhattan"):
        score_features(embeddings([[1.0]], [1], [0]), embeddings([[1.0]], [1], [1]), **given)


def test_a_bad_row_is_named_by_its_number_in_the_gallery() -> None:
    query, gallery = crowd()
    row = int(np.flatnonzero((gallery.pids == query.pids[0]) & (gallery.camids != query.camids[0]))[-1])
    gallery.vectors[row, 3] = np.inf
    with pytest.raises(DataError, match=f"row {row} of the gallery features holds"):
        score_features(query, gallery)


def test_json_has_exactly_the_keys_of_the_contract() -> None:
    found = score_features(*crowd()).as_json()
    assert " ".join(found) == "rank1 rank5 rank10 rank20 map minp map_trapezoid queries queries_skipped gallery"
    assert {type(value) for value in found.values()} == {float, int}


def test_a_gallery_smaller_than_every_rank() -> None:
    scores = score_distances(np.array([[1.0, 2.0]]), labels([1], [0]), labels([2, 1], [1, 1]))
    assert (scores.rank1, scores.rank5, scores.rank20) == (0.0, 1.0, 1.0)
    assert scores.cmc.tolist() == [0] + [1] * 49


def test_a_memory_map_scores_as_an_array_does(tmp_path: Path) -> None:
    query, gallery = crowd()
    gallery.vectors.tofile(tmp_path / "gallery")
    mapped = np.memmap(tmp_path / "gallery", np.float32, "r", shape=gallery.vectors.shape)
    given = Embeddings(mapped, gallery.pids, gallery.camids)
    assert same(score_features(query, given), score_features(query, gallery))
    assert same(score_features(query, given, metric="euclidean"), score_features(query, gallery, metric="euclidean"))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_an_inexact_product_changes_nothing(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the errors of single precision are, the scores stay the same to the bit."""
    query, gallery = crowd()
    expected = score_features(query, gallery, metric=metric)
    monkeypatch.setattr(Host, "multiply", multiply_badly)
    assert same(score_features(query, gallery, metric=metric), expected)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_products_whose_rounding_goes_one_way(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum of 2,048 equal terms may lose a ten-thousandth: a network of one constant finds nobody."""

    def multiply(_: object, one: np.ndarray, other: np.ndarray, out: np.ndarray) -> None:
        np.matmul(one * np.float32(1 - 2048 * 2.0**-25), other.T, out=out)

    monkeypatch.setattr(Host, "multiply", multiply)
    pids = [0, *range(9)]
    scores = score_features(
        embeddings(np.full((1, 2048), 0.3), [0], [0]),
        embeddings(np.full((10, 2048), 0.3), pids, [1] * 10),
        metric=metric,
    )
    assert (scores.rank5, scores.rank10, scores.minp) == (0, 1, 2 / 10)


def test_distances_in_blocks_score_as_the_whole() -> None:
    query, gallery = crowd()
    dist_qg = np.random.default_rng(0).random((len(query.pids), len(gallery.pids)))
    blocks: list[tuple[int, Any]] = [(0, dist_qg[:7]), (7, torch.from_numpy(dist_qg[7:8])), (8, dist_qg[8:])]
    assert same(score_blocks(blocks, query, gallery), score_distances(dist_qg, query, gallery))


@pytest.mark.parametrize(
    ("blocks", "sentence"),
    [
        ([(0, np.ones((1, 2)))], "distances of 1 queries and labels of 2"),
        ([(1, np.ones((1, 2)))], "from query 1 on, where 0 is next"),
        ([(0, np.ones((3, 2)))], r"\[3, 2\]"),
        ([(0, np.ones((2, 1)))], r"\[2, 1\]"),
        ([(0, np.ones((1, 2))), (1, np.array([[1, np.nan]]))], "the distance of query 1 to gallery image 1"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(blocks: list[Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        score_blocks(blocks, labels([1, 2], [0, 0]), labels([1, 2], [1, 1]))
