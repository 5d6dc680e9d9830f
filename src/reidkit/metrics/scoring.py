"""`score` and `rerank`: the scores of a search by distance or after re-ranking, and re-ranked distances."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from reidkit.errors import DataError, UsageError
from reidkit.metrics.distances import check_pair, distance_blocks
from reidkit.metrics.matching import check_comparable, subset, with_own_known
from reidkit.metrics.reranking.expansion import CrossNeighbourhood, alpha_query_expansion, expanded_cross_blocks
from reidkit.metrics.reranking.k_reciprocal import KReciprocal, k_reciprocal_blocks
from reidkit.metrics.retrieval import Scores, score_blocks, score_features
from reidkit.types import JUNK, Embeddings, RerankMethod

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from numpy.typing import ArrayLike, NDArray

    from reidkit.metrics.distances import Array
    from reidkit.types import Cameras, Metric

    Blocks = Iterator[tuple[int, NDArray[np.float32]]]


def score(  # noqa: PLR0913 (each a plain argument)
    query: Embeddings,
    gallery: Embeddings,
    *,
    metric: Metric = "cosine",
    cameras: Cameras = "cross",
    rerank: RerankMethod | None = None,
    k1: int = 20,
    k2: int = 6,
    lambda_: float = 0.3,
    device: torch.device | str | None = None,
) -> Scores:
    """Score the search of `gallery` for every query: CMC, mAP and mINP.

    Args:
        query: features with ids and cameras.
        gallery: likewise.
        metric: `cosine` or `euclidean`.
        cameras: `cross` leaves gallery images of the query's own id and camera out of its list, `any` does not.
        rerank: how lists are re-ranked; None for the order by distance.
        k1: neighbours of `k-reciprocal` re-ranking.
        k2: neighbours over which it averages its encoding.
        lambda_: the weight that it gives to the original distance.
        device: where distances are computed and counted; by default where the features are. Re-ranking runs on the
            processor's cores, with products on the features' device.

    Raises:
        DataError: features or labels that cannot be compared, other models' features, or no query with a true match.
        UsageError: an argument that does not exist or does not go together with another.
    """
    settings = KReciprocal(k1, k2, lambda_)
    if rerank is not None:
        return score_reranked(query, gallery, rerank, metric=metric, cameras=cameras, settings=settings)
    _numbers(settings, None)
    if isinstance(device, str):
        from reidkit.hardware import choose_device

        device = choose_device(device)
    return score_features(query, gallery, metric=metric, cameras=cameras, device=device)


def rerank(  # noqa: PLR0913
    query: Embeddings | ArrayLike,
    gallery: Embeddings | ArrayLike,
    method: RerankMethod = "k-reciprocal",
    *,
    metric: Metric = "cosine",
    k1: int = 20,
    k2: int = 6,
    lambda_: float = 0.3,
) -> NDArray[np.float32]:
    """Compute the re-ranked distance of every query to every gallery image, float32 [Q, G].

    All images take part as neighbours, so leave junk out of both sides. For `expansion`, the distance is 1 - cos of
    the expanded queries.

    Args:
        query: features [Q, D]: `Embeddings`, an array, a tensor or a list of rows.
        gallery: features [G, D], likewise.
        method: how lists are re-ranked.
        metric: `cosine` or, for `k-reciprocal` only, `euclidean`.
        k1: neighbours of `k-reciprocal` re-ranking.
        k2: neighbours over which it averages its encoding.
        lambda_: the weight that it gives to the original distance.

    Raises:
        DataError: shapes that do not fit, other models' features, or a row with a NaN, an infinity or values of more
            than 1e18.
        UsageError: as `score`.
    """
    check_method(method, metric)
    if isinstance(query, Embeddings) and isinstance(gallery, Embeddings):
        check_comparable(query, gallery)
    ours, theirs = _features(query), _features(gallery)
    check_pair(ours, theirs)
    settings = KReciprocal(k1, k2, lambda_)
    result = np.empty((len(ours), len(theirs)), np.float32)
    for first, block in _blocks(ours, theirs, method, metric, _numbers(settings, method)):
        result[first : first + len(block)] = block
    return result


def check_method(method: str, metric: str) -> None:
    """Refuse a re-ranking method that does not exist, or does not go together with the metric.

    Raises:
        UsageError: there is no such method, or it compares by the cosine alone and another metric is asked for.
    """
    if method not in get_args(RerankMethod):
        raise UsageError(
            f"there is no re-ranking by {method}: choose {', '.join(get_args(RerankMethod))}", argument="rerank"
        )
    if method != "k-reciprocal" and metric != "cosine":
        raise UsageError(
            f"re-ranking by {method} compares by the cosine: leave out metric={metric!r}, or use k-reciprocal",
            argument="metric",
        )


def score_reranked(
    query: Embeddings,
    gallery: Embeddings,
    method: RerankMethod = "k-reciprocal",
    *,
    metric: Metric = "cosine",
    cameras: Cameras = "cross",
    settings: KReciprocal | None = None,
) -> Scores:
    """Score the search after re-ranking, in memory that does not grow with queries times gallery.

    Junk, on either side, is dropped first: it is no id's neighbour. An image's own copy stays a neighbour, as it is an
    image of the gallery for all other queries, and is left out of the image's own list.

    `settings` are the numbers of `k-reciprocal`, by default those of its authors.

    Raises:
        DataError: as `score`.
        UsageError: as `check_method`, or `settings` for another method.
    """
    check_method(method, metric)
    numbers = _numbers(settings, method)
    check_comparable(query, gallery)
    query, gallery = with_own_known(query, gallery)
    queries, images = np.flatnonzero(query.pids != JUNK), np.flatnonzero(gallery.pids != JUNK)
    if not len(queries) or not len(images):
        return score_features(query, gallery, metric=metric, cameras=cameras)  # it says that no query has a match
    some = subset(query, queries) if len(queries) < len(query.pids) else query
    others = subset(gallery, images) if len(images) < len(gallery.pids) else gallery
    if method == "expansion":
        expanded = alpha_query_expansion(some.vectors, others.vectors)
        scores = score_features(replace(some, vectors=expanded), others, cameras=cameras)
    else:
        blocks = _blocks(some.vectors, others.vectors, method, metric, numbers)
        scores = score_blocks(blocks, some, others, cameras=cameras)
    return _with_junk(scores, queries, len(query.pids))


def _numbers(settings: KReciprocal | None, method: RerankMethod | None) -> KReciprocal:
    """Return the numbers of `k-reciprocal`, which nothing else takes; `method` None: nothing is re-ranked."""
    usual = KReciprocal()
    if method != "k-reciprocal" and settings not in (None, usual):
        remedy = f"leave them out for {method}" if method else 'pass rerank="k-reciprocal"'
        raise UsageError(f"k1, k2 and lambda are numbers of k-reciprocal: {remedy}", argument="k1")
    return settings or usual


def _blocks(query: Array, gallery: Array, method: RerankMethod, metric: Metric, numbers: KReciprocal) -> Blocks:
    """Return the re-ranked distances, a block of queries at a time."""
    match method:  # without a default, so that type checkers name a method that is missing here
        case "k-reciprocal":
            return k_reciprocal_blocks(query, gallery, numbers.k1, numbers.k2, numbers.lam, metric)
        case "expansion":
            return distance_blocks(alpha_query_expansion(query, gallery), gallery)
        case "ecn" | "ecn-original":
            cross = CrossNeighbourhood(distance="rank" if method == "ecn" else "original")
            return expanded_cross_blocks(query, gallery, cross)


def _features(side: Embeddings | ArrayLike) -> Array:
    """Return the features of one side, whatever they come in.

    Raises:
        DataError: rows of different lengths.
    """
    vectors: Any = side.vectors if isinstance(side, Embeddings) else side
    try:
        return vectors if hasattr(vectors, "ndim") else np.asarray(vectors)
    except ValueError as error:
        raise DataError(f"features are no array ({error}): give a list of numbers for each image") from None


def _with_junk(scores: Scores, queries: NDArray[np.int64], total: int) -> Scores:
    """The scores with the values of single queries put back to their rows among all; the rest is junk, and skipped."""

    def put_back(values: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.full(total, np.nan)
        out[queries] = values
        return out

    return replace(
        scores,
        queries_skipped=scores.queries_skipped + total - len(queries),
        average_precision=put_back(scores.average_precision),
        inp=put_back(scores.inp),
        first_match=put_back(scores.first_match),
    )
