"""The heads of ranked lists, and how far apart the images of the same and of different ids are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reidkit.arguments import check_whole
from reidkit.errors import DataError, UsageError
from reidkit.jit import compiled
from reidkit.metrics.distances import (
    Rows,
    distance_blocks,
    distances,
    doubt,
    from_squares,
    gallery_rows,
    gather,
    pair_squares,
    prepare,
    shape,
    tiles,
    to_squares,
)
from reidkit.metrics.matching import Rule, check_comparable, make_rule
from reidkit.types import JUNK, Cameras, Metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from reidkit.metrics.distances import Array
    from reidkit.types import Embeddings


@dataclass(frozen=True, eq=False)
class Ranking:
    """The head of one query's list, nearest first: rows of the gallery, distances, and which are true matches."""

    query: int
    indices: NDArray[np.int64]
    distances: NDArray[np.float64]
    is_match: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PairHistogram:
    """Pairs of a query and a gallery image by distance: `same` and `different` ids between `edges` [bins + 1]."""

    edges: NDArray[np.float64]
    same: NDArray[np.int64]
    different: NDArray[np.int64]


def draw_queries(average_precision: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Up to `count` queries sampled at random from all that have a true match; fewer are the first of more."""
    scored = np.flatnonzero(~np.isnan(average_precision))
    return np.random.default_rng(0).permutation(scored)[:count]


def rank(
    query: Embeddings,
    gallery: Embeddings,
    rows: Sequence[int],
    top: int = 10,
    *,
    cameras: Cameras = "cross",
    metric: Metric = "cosine",
) -> list[Ranking]:
    """List the `top` nearest gallery images of the queries `rows`, in the order in which `score` ranks them.

    Junk and what `cameras` leaves out are not listed, so a list may be shorter than `top`. Of images at one distance
    false matches come first, then the earlier ones.

    Args:
        query: Features [Q, D] with ids and cameras.
        gallery: Features [G, D], likewise.
        rows: Which queries, each from 0 to Q - 1.
        top: The length of a list, at most.
        cameras: `cross` leaves out gallery images of the query's own id and camera, `any` does not.
        metric: `cosine` or `euclidean`.

    Raises:
        DataError: features or labels that cannot be compared, or a query that is not there.
        UsageError: `rows` are no list of whole numbers, or `top` is below 0.
    """
    check_comparable(query, gallery)
    top = check_whole(top, "top")
    rule = make_rule(query, gallery, cameras)
    numbers = np.asarray(rows)
    if numbers.ndim != 1 or (len(numbers) and numbers.dtype.kind not in "iu"):
        remedy = "np.flatnonzero gives those of a mask" if numbers.dtype == np.bool_ else "as [0, 1]"
        raise UsageError(
            f"rows are {numbers.dtype} {list(numbers.shape)}: pass a list of numbers of queries, {remedy}",
            argument="rows",
        )
    outside = numbers[(numbers < 0) | (numbers >= len(rule.query_pids))]
    if len(outside):
        raise DataError(f"there is no query {outside[0]}: they are numbered from 0 to {len(rule.query_pids) - 1}")
    if not len(numbers):
        return []
    vectors, out = gather(query.vectors, numbers), []
    for first, dist_bg in distance_blocks(vectors, gallery.vectors, metric):
        block = prepare(vectors[first : first + len(dist_bg)], metric, "query")
        for i, dist_g in enumerate(dist_bg):
            one = Rows(block.vectors[i : i + 1], block.squares[i : i + 1])
            out.append(_head(one, gallery.vectors, dist_g, (rule, int(numbers[first + i])), (top, metric)))
    return out


def pair_histogram(
    query: Embeddings, gallery: Embeddings, *, bins: int = 200, metric: Metric = "cosine", cameras: Cameras = "cross"
) -> PairHistogram:
    """Count all pairs that are scored by distance, in memory that does not grow with the number of pairs.

    The bins divide 0 to 2 for the cosine, and 0 to the sum of the longest features for the Euclidean distance.

    Raises:
        DataError: features or labels that cannot be compared.
        UsageError: `bins` is below 1.
    """
    check_comparable(query, gallery)
    bins = check_whole(bins, "bins", least=1)
    rule = make_rule(query, gallery, cameras)
    rows = prepare(query.vectors, metric, "query")
    farthest = 2.0 if metric == "cosine" else max(np.sqrt(rows.squares.max()) + _longest(gallery.vectors), 1e-30)
    counts = np.zeros((2, bins), np.int64)
    for tile in tiles(rows, gallery.vectors, metric, where=query.vectors):
        queries = slice(tile.first_query, tile.first_query + len(tile.query.vectors))
        images = slice(tile.first_gallery, tile.first_gallery + len(tile.gallery.vectors))
        pids = rule.query_pids[queries], rule.gallery_pids[images]
        places = rule.query_places[queries], rule.gallery_places[images]
        dist_bc = distances(tile, metric)
        histogram(dist_bc, pids, places, bins / farthest, counts)
        _without_own(dist_bc, (queries, images), rule, bins / farthest, counts[1])
    return PairHistogram(np.linspace(0, farthest, bins + 1), counts[1], counts[0])


def _without_own(
    dist_bc: NDArray[np.float32],
    tile: tuple[slice, slice],
    rule: Rule,
    bins_per_unit: float,
    same: NDArray[np.int64],
) -> None:
    """Take the pairs of an image with itself out of the counts again, as far as they lie in this block."""
    rows, columns = rule.own
    counted = rule.query_places[rows] != rule.gallery_places[columns]
    rows, columns = rows[counted] - tile[0].start, columns[counted] - tile[1].start
    inside = (rows >= 0) & (rows < dist_bc.shape[0]) & (columns >= 0) & (columns < dist_bc.shape[1])
    bins = (dist_bc[rows[inside], columns[inside]] * bins_per_unit).astype(np.int64)
    np.subtract.at(same, np.minimum(bins, len(same) - 1), 1)


def _head(
    query: Rows, gallery: Array, dist_g: NDArray[np.float32], who: tuple[Rule, int], what: tuple[int, Metric]
) -> Ranking:
    """Make one list: everything that single precision cannot tell from the last of the head is computed again."""
    (rule, number), (top, metric) = who, what
    listed = rule.listed(number)
    count = min(top, len(listed))
    if count == 0:
        return Ranking(number, listed[:0], np.empty(0), np.empty(0, bool))
    last = to_squares(np.partition(dist_g[listed], count - 1)[count - 1].astype(np.float64), metric)
    candidates = listed[to_squares(dist_g[listed].astype(np.float64), metric) <= last + doubt(query, last)]
    squared = pair_squares(query, gallery, np.zeros_like(candidates), candidates, metric)
    is_match = rule.gallery_pids[candidates] == rule.query_pids[number]
    order = np.lexsort((candidates, is_match, squared))[:count]
    return Ranking(number, candidates[order], from_squares(squared[order], metric), is_match[order])


def _longest(features: Array) -> float:
    total, width = shape(features, "gallery")
    step = gallery_rows(width)
    squares = (prepare(features[i : i + step], "euclidean", "gallery", i).squares.max() for i in range(0, total, step))
    return float(max(squares) ** 0.5)


@compiled
def histogram(
    dist_bc: NDArray[np.float32],
    pids: tuple[NDArray[np.int64], NDArray[np.int64]],
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    bins_per_unit: float,
    counts: NDArray[np.int64],
) -> None:
    """Add a block of distances to `counts` [2, bins]: row 1 for pairs of one id, row 0 for the others."""
    last = counts.shape[1] - 1
    for i in range(dist_bc.shape[0]):
        for j in range(dist_bc.shape[1]):
            same = pids[0][i] == pids[1][j]
            if pids[0][i] == JUNK or pids[1][j] == JUNK or (same and places[0][i] == places[1][j]):
                continue
            counts[int(same), min(int(dist_bc[i, j] * bins_per_unit), last)] += 1
