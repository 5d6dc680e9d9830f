"""Re-ranking of whole sets of features: junk is nobody's neighbour."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest

import reidkit
from reidkit.errors import DataError, UsageError
from reidkit.metrics.matching import subset
from reidkit.metrics.retrieval import score_features
from reidkit.metrics.scoring import score_reranked
from reidkit.types import JUNK, Embeddings, RerankMethod
from tests.metrics.definition import crowd

if TYPE_CHECKING:
    from numpy.typing import NDArray


def test_junk_moves_no_query_by_hand() -> None:
    """The true match and the false one lie on either side of the query, as far: a tie, so that the AP is 1/2.

    Junk beside the true match would move the query there and make the AP 1.
    """
    query = Embeddings(np.array([[1, 0]], np.float32), np.array([1]), np.array([0]))
    vectors = np.array([[0.8, -0.6], [0.8, 0.6], [0.6, -0.8]], np.float32)
    gallery = Embeddings(vectors, np.array([1, 2, JUNK]), np.array([1, 1, 1]))
    assert score_reranked(query, gallery, "expansion").map == 1 / 2
    assert score_reranked(query, replace(gallery, pids=np.array([1, 2, 3])), "expansion").map == 1


def with_junk(features: Embeddings, seed: int) -> tuple[Embeddings, NDArray[np.int64]]:
    """The features with as many junk ones among them, near to them, and where the old ones are."""
    rng = np.random.default_rng(seed)
    count = len(features.pids)
    noise = rng.standard_normal(features.vectors.shape).astype(np.float32)
    order = rng.permutation(2 * count)
    vectors = np.concatenate((features.vectors, features.vectors[rng.permutation(count)] + 0.1 * noise))[order]
    pids = np.concatenate((features.pids, np.full(count, JUNK)))[order]
    camids = np.concatenate((features.camids, features.camids))[order]
    return Embeddings(vectors, pids, camids), np.flatnonzero(pids != JUNK)


@pytest.mark.parametrize("way", get_args(RerankMethod))
def test_junk_changes_nothing(way: RerankMethod) -> None:
    query, asked = with_junk(crowd(images=200)[0], 1)
    gallery, images = with_junk(crowd(images=200)[1], 2)
    found, expected = (
        score_reranked(query, gallery, way),
        score_reranked(subset(query, asked), subset(gallery, images), way),
    )
    assert found.map == expected.map != score_features(query, gallery).map
    assert (found.queries, found.gallery) == (expected.queries, len(images))
    assert found.queries_skipped == expected.queries_skipped + len(query.pids) - len(asked)
    np.testing.assert_array_equal(found.average_precision[asked], expected.average_precision)
    assert np.isnan(np.delete(found.inp, asked)).all()
    assert len(found.first_match) == len(query.pids)


def test_nothing_but_junk_says_so() -> None:
    query, gallery = crowd(images=50)
    with pytest.raises(DataError, match="no image of the gallery has an id"):
        score_reranked(query, replace(gallery, pids=np.full_like(gallery.pids, JUNK)))


def test_numbers_of_a_re_ranking_that_is_not_asked_for_are_refused() -> None:
    """They would change nothing."""
    query, gallery = crowd(images=50)
    for rerank, remedy in ((None, 'pass rerank="k-reciprocal"'), ("ecn", "leave them out for ecn")):
        with pytest.raises(UsageError, match=f"k1, k2 and lambda are numbers of k-reciprocal: {remedy}"):
            reidkit.score(query, gallery, rerank=rerank, k1=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("rerank", [None, "k-reciprocal"])
def test_features_that_vanish_in_a_product_are_refused(device: str | None, rerank: RerankMethod | None) -> None:
    """Their squares are below what single precision holds, so that all would seem to be equally far."""
    query, gallery = (replace(side, vectors=side.vectors * np.float32(1e-22)) for side in crowd(images=50))
    with pytest.raises(DataError, match=r"shorter than 1e-15 .*: compare them by the cosine, or multiply all"):
        reidkit.score(query, gallery, metric="euclidean", rerank=rerank, device=device)
    assert reidkit.score(query, gallery, rerank=rerank).map == reidkit.score(*crowd(images=50), rerank=rerank).map
    larger = (replace(side, vectors=side.vectors * np.float32(1e22)) for side in (query, gallery))
    assert reidkit.score(*larger, metric="euclidean", rerank=rerank).map > 0
    zeros = (replace(side, vectors=np.zeros_like(side.vectors)) for side in (query, gallery))
    assert reidkit.score(*zeros, metric="euclidean", rerank=rerank, device=device).rank1 == 0


def test_features_of_two_models_are_not_re_ranked() -> None:
    query, gallery = (replace(side, model=model) for side, model in zip(crowd(images=50), "ab", strict=True))
    with pytest.raises(DataError, match="of model a and the gallery's of b"):
        reidkit.rerank(query, gallery)
    assert reidkit.rerank(query.vectors, gallery).shape == (40, 50)


def test_paths_are_none_or_one_an_image() -> None:
    """With paths for some no image would be known as its own, and a score be too high."""
    query, gallery = crowd(images=50)
    for wrong in (replace(gallery, paths=("a", "b")), replace(gallery, sources=(("a",), ("b",)))):
        with pytest.raises(DataError, match="the gallery has 50 features and 2 paths: leave them out or name each"):
            reidkit.score(query, wrong)


@pytest.mark.parametrize(("device", "sentence"), [("gpu", "there is no device gpu"), ("cuda", "torch sees no GPU")])
def test_a_device_that_there_is_not(device: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match=sentence):
        reidkit.score(*crowd(images=50), device=device)


@pytest.mark.parametrize("wrong", [{"k1": 2.5}, {"k2": "6"}, {"k1": 0}])
def test_neighbours_that_are_no_number(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be a whole number from 1 on") as told:
        reidkit.score(*crowd(), rerank="k-reciprocal", **wrong)
    assert told.value.argument == next(iter(wrong))


def test_rows_of_different_lengths_are_no_features() -> None:
    with pytest.raises(DataError, match="give a list of numbers for each image"):
        reidkit.rerank([[1, 2], [3]], [[1, 2]])


def test_ids_below_junk_are_none() -> None:
    """As in features that are read from a file: a shift too far made -2 of junk, and an id that was scored."""
    query, gallery = crowd()
    with pytest.raises(DataError, match="query pids hold -2: they are counted from 0, and -1 is junk"):
        reidkit.score(replace(query, pids=np.full(len(query), -2)), gallery)
