"""Scores of lists that are put in order again: k-reciprocal, ECN, query expansion."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from reidkit.errors import UsageError
from reidkit.metrics.matching import check_comparable, subset, with_own_known
from reidkit.metrics.reranking.ecn import CrossNeighbourhood, expanded_cross_blocks
from reidkit.metrics.reranking.k_reciprocal import KReciprocal, k_reciprocal_blocks
from reidkit.metrics.reranking.query_expansion import alpha_query_expansion
from reidkit.metrics.retrieval import Scores, score, score_blocks
from reidkit.types import JUNK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.metrics.distances import Metric
    from reidkit.metrics.matching import Cameras
    from reidkit.types import Embeddings

Method = Literal["k-reciprocal", "ecn", "ecn-original", "expansion"]
"""`k-reciprocal`: `rerank`; `ecn` and `ecn-original`: `cross`, by rank lists and by the original distance; `expansion`:
alpha query expansion. Each with the numbers that its authors recommend."""


def check_method(way: str, metric: str) -> None:
    """Refuses a way of re-ranking that is not there.

    Raises:
        UsageError: there is no such way, or it compares by the cosine alone and another metric is asked for.
    """
    if way not in get_args(Method):
        raise UsageError(f"there is no re-ranking by {way}: choose {', '.join(get_args(Method))}")
    if way != "k-reciprocal" and metric != "cosine":
        raise UsageError(
            f"re-ranking by {way} compares by the cosine: pass metric='cosine', or re-rank by k-reciprocal",
            argument="metric",
        )


def score_reranked(
    query: Embeddings,
    gallery: Embeddings,
    way: Method = "k-reciprocal",
    *,
    metric: Metric = "cosine",
    cameras: Cameras = "cross",
    settings: KReciprocal | None = None,
) -> Scores:
    """The scores after re-ranking, in memory that does not grow with queries times gallery.

    `settings` are the numbers of `k-reciprocal`, by default those of its authors.
    Junk, on either side, is dropped first: it is nobody's neighbour. An image's own copy stays a neighbour, as it is an
    image of the gallery for all other queries, and is left out of the image's list.

    Raises:
        DataError: as `metrics.score`.
        UsageError: as `check_way`, or `settings` for another way.
    """
    check_method(way, metric)
    if settings and way != "k-reciprocal":
        raise UsageError(f"k1, k2 and lambda are numbers of k-reciprocal: leave them out for {way}")
    check_comparable(query, gallery)
    query, gallery = with_own_known(query, gallery)
    asked, images = np.flatnonzero(query.pids != JUNK), np.flatnonzero(gallery.pids != JUNK)
    if len(asked) == len(query.pids) and len(images) == len(gallery.pids):
        return _score_again(query, gallery, way, metric, cameras, settings)
    if not len(asked) or not len(images):
        return score(query, gallery, metric=metric, cameras=cameras)  # which says that there is nobody to be found
    found = _score_again(subset(query, asked), subset(gallery, images), way, metric, cameras, settings)
    return _with_junk(found, asked, len(query.pids))


def _score_again(
    query: Embeddings, gallery: Embeddings, way: Method, metric: Metric, cameras: Cameras, settings: KReciprocal | None
) -> Scores:
    """The scores after re-ranking of images without junk."""
    if way == "expansion":
        moved = alpha_query_expansion(query.vectors, gallery.vectors)
        return score(replace(query, vectors=moved), gallery, cameras=cameras)
    if way == "k-reciprocal":
        numbers = settings or KReciprocal()
        blocks = k_reciprocal_blocks(query.vectors, gallery.vectors, numbers.k1, numbers.k2, numbers.lam, metric)
    else:
        cross = CrossNeighbourhood(distance="rank" if way == "ecn" else "original")
        blocks = expanded_cross_blocks(query.vectors, gallery.vectors, cross)
    return score_blocks(blocks, query, gallery, cameras=cameras)


def _with_junk(scores: Scores, asked: NDArray[np.int64], queries: int) -> Scores:
    """The same scores, single queries again at the places `asked` of all; those between are junk, and skipped."""

    def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.full(queries, np.nan)
        out[asked] = values
        return out

    return replace(
        scores,
        queries_skipped=scores.queries_skipped + queries - len(asked),
        average_precision=spread(scores.average_precision),
        inp=spread(scores.inp),
        first_match=spread(scores.first_match),
    )
