from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest

from reidkit.errors import DataError, UsageError
from reidkit.metrics.matching import subset
from reidkit.metrics.products import Host
from reidkit.metrics.protocols import camera_pairs, multi_query, single_shot
from reidkit.metrics.retrieval import score_features

from .definition import crowd, embeddings, multiply_badly

if TYPE_CHECKING:
    from reidkit.types import Metric


def test_multi_query_by_hand() -> None:
    query = embeddings([[1, 0], [5, 5], [3, 2], [9, 9], [0, 0]], [4, 4, 4, -1, 2], [1, 0, 1, 0, 0], tuple("abcde"))
    merged = multi_query(query)
    found = zip(merged.pids.tolist(), merged.camids.tolist(), merged.vectors.tolist(), merged.paths, strict=True)
    assert sorted(found) == [(2, 0, [0, 0], "e"), (4, 0, [5, 5], "b"), (4, 1, [2, 1], "a")]


def test_multi_query_of_junk() -> None:
    with pytest.raises(DataError, match="all pids are -1"):
        multi_query(embeddings([[1.0]], [-1], [0]))


def test_multi_query_names_a_bad_row() -> None:
    with pytest.raises(DataError, match="row 2 of the query features holds a NaN"):
        multi_query(embeddings([[1.0], [1.0], [np.nan]], [-1, 1, 1], [0, 0, 0]))


def test_camera_pairs_are_scores_of_the_parts() -> None:
    query, gallery = crowd()
    pairs = {(pair.query_camid, pair.gallery_camid): pair.scores for pair in camera_pairs(query, gallery)}
    assert set(pairs) <= {pair for pair in product(range(4), range(4)) if pair[0] != pair[1]}
    assert sum(scores.queries for scores in pairs.values()) > 40
    ours, theirs = np.flatnonzero(query.camids == 2), np.flatnonzero(gallery.camids == 1)
    assert pairs[2, 1].as_json() == score_features(subset(query, ours), subset(gallery, theirs)).as_json()
    everything = {(pair.query_camid, pair.gallery_camid) for pair in camera_pairs(query, gallery, cameras="any")}
    assert (2, 2) in everything


def test_camera_pairs_leave_out_what_cannot_be_scored() -> None:
    query = embeddings([[1.0], [2.0]], [1, 2], [0, 1])
    gallery = embeddings([[1.0], [2.0]], [1, 9], [1, 2])
    (pair,) = camera_pairs(query, gallery)
    assert (pair.query_camid, pair.gallery_camid, pair.scores.rank1) == (0, 1, 1.0)


def test_single_shot_by_hand() -> None:
    """The match is at 2; the other person's images are at 1 and 3: half of the galleries put the wrong one first."""
    query = embeddings([[0.0], [9.0]], [1, 8], [0, 0])
    gallery = embeddings([[2.0], [1.0], [-3.0], [0.0], [0.1]], [1, 2, 2, 1, -1], [1, 1, 1, 0, 1])
    scores = single_shot(query, gallery, metric="euclidean", repeats=4000, seed=3)
    assert scores.rank1 == pytest.approx(0.5, abs=0.05)
    assert scores.map == pytest.approx(0.5 * (1 + 1 / 2), abs=0.03)
    assert scores.rank1_deviation == pytest.approx(0.5, abs=0.01)
    assert (scores.rank5, scores.queries, scores.queries_skipped, scores.repeats) == (1, 1, 1, 4000)


def test_single_shot_of_single_images_is_the_ordinary_score() -> None:
    query, gallery = crowd()
    _, first = np.unique(gallery.pids, return_index=True)
    gallery = subset(gallery, first)
    scores, single = score_features(query, gallery), single_shot(query, gallery, repeats=2)
    assert single.cmc == pytest.approx(scores.cmc)
    assert single.map == pytest.approx(scores.map)
    assert single.rank1_deviation == 0


def test_single_shot_follows_its_seed() -> None:
    query, gallery = crowd()
    first, again, other = (single_shot(query, gallery, repeats=5, seed=seed) for seed in (1, 1, 2))
    assert first.cmc.tolist() == again.cmc.tolist() != other.cmc.tolist()


def test_a_tie_counts_against_the_match() -> None:
    gallery = embeddings([[1.0], [1.0]], [1, 2], [1, 1])
    assert single_shot(embeddings([[0.5]], [1], [0]), gallery, metric="euclidean").rank1 == 0


def test_an_inexact_product_makes_no_tie_a_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "multiply", multiply_badly)
    one = np.random.default_rng(0).standard_normal((1, 99))
    gallery = embeddings(np.repeat(one, 20, axis=0), range(20), [1] * 20)
    assert single_shot(embeddings(one, [4], [0]), gallery).map == pytest.approx(1 / 20)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_what_single_precision_cannot_tell_apart_is_measured(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else is farther by a hair than the match, and then nearer."""
    monkeypatch.setattr(Host, "multiply", multiply_badly)
    query, aside = np.eye(2, 400, dtype=np.float32)
    near, far = query + 0.3 * aside, query + 0.30001 * aside
    for others, rank1 in ((far, 1), (near, 0)):
        match = near if others is far else far
        gallery = embeddings(np.stack([match, *[others] * 9]), range(10), [1] * 10)
        assert single_shot(embeddings(query[None], [0], [0]), gallery, metric=metric).rank1 == rank1


def test_too_many_pairs_of_cameras_are_refused() -> None:
    many = embeddings(np.eye(400), [0] * 400, list(range(400)))
    with pytest.raises(DataError, match=r"400 query cameras and 400 gallery cameras share matches in 159,600 pairs"):
        camera_pairs(many, embeddings(np.eye(400), [0] * 400, list(range(400))))


def test_pairs_of_cameras_are_told() -> None:
    told: list[tuple[str, int, int]] = []
    few = embeddings(np.eye(3), [0] * 3, [4, 9, 11])
    pairs = camera_pairs(few, embeddings(np.eye(3), [0] * 3, [4, 9, 11]), tell=lambda *what: told.append(what))
    assert [(pair.query_camid, pair.gallery_camid) for pair in pairs] == [
        (4, 9),
        (4, 11),
        (9, 4),
        (9, 11),
        (11, 4),
        (11, 9),
    ]
    assert told == [("camera pairs", i, 6) for i in range(1, 7)]


@pytest.mark.parametrize("repeats", [0, -1])
def test_no_gallery_has_no_mean(repeats: int) -> None:
    query, gallery = crowd()
    with pytest.raises(UsageError, match="choose 1 or more"):
        single_shot(query, gallery, repeats=repeats)
