"""CMC, mean average precision and mINP, without sorting a gallery.

For one query only the distances of its matches are sorted (17 on average on Market-1501). Every other image nearer than
the farthest match falls, by binary search, between two matches; a running sum gives each match's rank, and the ranks
give every score.

**Ties.** An image of another id at exactly the distance of a match counts as nearer, so that a network that maps all
images to one point scores as badly as it deserves. To make "exactly" mean something, distances that single precision
cannot tell apart are computed again in double precision, by one and the same loop: the scores do not depend on the
sizes of the blocks, on the number of threads or on the device, and equal features are at equal distances.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.errors import DataError
from reidkit.jit import compiled
from reidkit.metrics.distances import pair_distances, pair_squares, prepare, tiles, to_numpy
from reidkit.metrics.matching import Labelled, Matches, Rule, check_comparable, require_matches
from reidkit.metrics.products import accelerator
from reidkit.types import JUNK, Cameras, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch
    from numpy.typing import NDArray

    from reidkit.metrics.distances import Array, Tile
    from reidkit.types import Embeddings

    Distances = NDArray[np.float32] | NDArray[np.float64]
    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Lists = tuple[Doubles, Integers]

DEPTH = 50
"""The CMC curve is kept up to this rank."""
RATES = ("rank1", "rank5", "rank10", "rank20", "map", "minp", "map_trapezoid")
COUNTS = ("queries", "queries_skipped", "gallery")


@dataclass(frozen=True, eq=False)
class Scores:
    """How well a gallery was searched; all scores are fractions.

    `rank1` to `rank20`: the part of the queries with a match among the first so many (CMC); `cmc`: float64 [50], the
    whole curve. `map`: mean average precision, the mean of the precisions at the matches; `map_trapezoid`: the same by
    trapezoids under the curve, as Market-1501's own evaluation program takes it. `minp`: mean inverse negative penalty,
    matches / rank of the hardest match (arXiv:2001.04193).

    `queries` were scored; `queries_skipped` have no match. `gallery`: its images apart from junk.

    For every query, NaN where it was skipped: `average_precision`, `inp`, and `first_match`, its first match's rank.
    """

    rank1: float
    rank5: float
    rank10: float
    rank20: float
    map: float
    minp: float
    map_trapezoid: float
    queries: int
    queries_skipped: int
    gallery: int
    cmc: NDArray[np.float64] = field(repr=False)
    average_precision: NDArray[np.float64] = field(repr=False)
    inp: NDArray[np.float64] = field(repr=False)
    first_match: NDArray[np.float64] = field(repr=False)

    def as_json(self) -> dict[str, float | int]:
        """Return the scores and counts, without the curve and the single queries."""
        return {name: getattr(self, name) for name in (*RATES, *COUNTS)}


def score_features(
    query: Embeddings,
    gallery: Embeddings,
    *,
    metric: Metric = "cosine",
    cameras: Cameras = "cross",
    device: torch.device | None = None,
) -> Scores:
    """Score the search of `gallery` for every query, by distance.

    `vectors` may be NumPy arrays, memory maps or tensors on any device. The gallery is read in blocks and never held
    whole; the queries are. Distances are made and counted on the `device`, by default where the features are: none of
    them is copied from a GPU.

    Raises:
        DataError: features or labels that cannot be compared, other models' features, or no query with a match.
    """
    check_comparable(query, gallery)
    rule, matches = require_matches(query, gallery, cameras)
    chosen = device or accelerator(query.vectors, gallery.vectors)
    if chosen is None or chosen.type == "mps":  # Apple's has no double precision: it multiplies, and the host counts
        return _summarise(rule, matches, count_nearer_on_host(query.vectors, gallery.vectors, metric, rule, matches))
    from reidkit.metrics.gpu import count_nearer_on_device

    counts = count_nearer_on_device(query.vectors, gallery.vectors, metric, (rule, matches), chosen)
    return _summarise(rule, matches, counts)


def score_distances(
    dist_qg: Array, query: Labelled, gallery: Labelled, *, cameras: Cameras = "cross", block: int = 512
) -> Scores:
    """Score distances that are given, float [Q, G]; the order of ties is the same.

    Raises:
        DataError: a shape that does not fit the labels, a NaN, or no query with a match.
    """
    wanted = (len(query.pids), len(gallery.pids))
    if tuple(dist_qg.shape) != wanted:
        raise DataError(
            f"the distances have the shape {list(dist_qg.shape)}, the labels {list(wanted)}: pass [queries, images]"
        )
    blocks = ((first, dist_qg[first : first + block]) for first in range(0, wanted[0], block))
    return score_blocks(blocks, query, gallery, cameras=cameras)


def score_blocks(
    blocks: Iterable[tuple[int, Array]], query: Labelled, gallery: Labelled, *, cameras: Cameras = "cross"
) -> Scores:
    """Score distances that come a block of queries at a time, as from `k_reciprocal_blocks`.

    Args:
        blocks: the number of the first query, and the distances float [block, G]; all queries, in their order.
        query: whose the rows are.
        gallery: whose the columns are.
        cameras: the rule.

    Raises:
        DataError: blocks that do not fit the labels or each other, a NaN, or no query with a match.
    """
    rule, matches = require_matches(query, gallery, cameras)
    counts = np.zeros(len(matches.columns), np.int64)
    done, wanted = 0, (len(rule.query_pids), len(rule.gallery_pids))
    for first, dist_bg in blocks:
        if first != done or len(dist_bg) > wanted[0] - first or dist_bg.shape[1] != wanted[1]:
            raise DataError(
                f"a block of distances {list(dist_bg.shape)} from query {first} on, where {done} is next: "
                f"{list(wanted)} are needed in their order"
            )
        count_nearer_in_distances(to_numpy(dist_bg), first, rule, matches, counts)
        done += len(dist_bg)
    if done != wanted[0]:
        raise DataError(
            f"there are distances of {done} queries and labels of {wanted[0]}: give a block for every query"
        )
    return _summarise(rule, matches, counts)


def _summarise(rule: Rule, matches: Matches, counts: NDArray[np.int64]) -> Scores:
    """Make scores of the number of images of other ids that come just before each match."""
    first, mean, trapezoid, inp = score_queries(matches.starts, counts)
    scored = first > 0
    ranks = np.bincount(np.minimum(first[scored], DEPTH + 1), minlength=DEPTH + 2)
    cmc = np.cumsum(ranks[1 : DEPTH + 1]) / scored.sum()
    return Scores(
        rank1=float(cmc[0]),
        rank5=float(cmc[4]),
        rank10=float(cmc[9]),
        rank20=float(cmc[19]),
        map=float(mean[scored].mean()),
        minp=float(inp[scored].mean()),
        map_trapezoid=float(trapezoid[scored].mean()),
        queries=int(scored.sum()),
        queries_skipped=int((~scored).sum()),
        gallery=int((rule.gallery_pids != JUNK).sum()),
        cmc=cmc,
        average_precision=mean,
        inp=inp,
        first_match=np.where(scored, first, np.nan),
    )


# How many images of other ids are nearer than each match, counted by the machine's own cores. Every score comes from
# these counts. `gpu` finds the same ones on an accelerator.

NEAR = 1 << 16
"""Room for doubtful pairs between two settlings."""


def count_nearer_on_host(
    query: Array, gallery: Array, metric: Metric, rule: Rule, matches: Matches
) -> NDArray[np.int64]:
    """Count the images of other ids that come just before each match, int64 [P], nearest match first.

    The gallery is read in blocks and never held whole; the queries are.

    Raises:
        DataError: a row cannot be compared.
    """
    rows = prepare(query, metric, "query")
    nearest = pair_squares(rows, gallery, matches.rows, matches.columns, metric)
    sort_segments(nearest, matches.starts)
    counts = np.zeros(len(nearest), np.int64)
    for tile in tiles(rows, gallery, metric, where=query):
        _count_nearer_in_tile(tile, rule, matches.starts, (nearest, counts))
    return counts


def count_nearer_in_distances(
    dist_bg: NDArray[Any], first: int, rule: Rule, matches: Matches, counts: NDArray[np.int64]
) -> None:
    """Add the images of a block of distances, which are taken as they are, from query `first` on.

    Raises:
        DataError: a distance is not a number.
    """
    if np.isnan(dist_bg.min()):
        row, column = np.argwhere(np.isnan(dist_bg))[0]
        raise DataError(f"the distance of query {first + row} to gallery image {column} is not a number")
    rows = slice(first, first + len(dist_bg))
    starts = matches.starts[rows.start : rows.stop + 1]
    part = slice(starts[0], starts[-1])
    local = starts - starts[0]
    nearest = dist_bg[np.repeat(np.arange(len(dist_bg)), np.diff(starts)), matches.columns[part]].astype(np.float64)
    sort_segments(nearest, local)
    zeros = np.zeros(len(dist_bg))
    affine = dist_bg.dtype.type(1), np.zeros(dist_bg.shape[1], dist_bg.dtype), zeros, zeros - 1
    labels = rule.query_pids[rows], rule.gallery_pids
    for _ in _count_block(dist_bg, affine, labels, (local, nearest, counts[part])):
        pass


def _count_nearer_in_tile(tile: Tile, rule: Rule, starts: NDArray[np.int64], lists: Lists) -> None:
    """Add the images of one tile to the counts, doubtful ones by their distance in double precision."""
    queries = slice(tile.first_query, tile.first_query + len(tile.query.vectors))
    images = slice(tile.first_gallery, tile.first_gallery + len(tile.gallery.vectors))
    starts = starts[queries.start : queries.stop + 1]
    slack = tile.query.slack * (tile.query.squares + tile.gallery.squares.max())
    affine = np.float32(-2), tile.gallery.squares.astype(np.float32), tile.query.squares, slack
    labels = rule.query_pids[queries], rule.gallery_pids[images]
    for rows, columns in _count_block(tile.product_bc, affine, labels, (starts, *lists)):
        distances = pair_distances(tile.query.vectors, tile.gallery.vectors, rows, columns)
        count_nearer_one_by_one(rows, distances, starts, *lists)


def _count_block(
    product_bc: NDArray[Any], affine: Any, labels: Any, lists: Any
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Count a block; yield the doubtful pairs each time that there is no more room for them."""
    room = max(NEAR, product_bc.shape[1])
    near = np.empty(room, np.int64), np.empty(room, np.int64)
    first = 0
    while first < len(product_bc):
        first, found = count_nearer_in_block(product_bc, affine, labels, lists, near, first)
        yield near[0][:found], near[1][:found]


@compiled
def sort_segments(values: Doubles, starts: Integers) -> None:
    """Sort `values[starts[i]:starts[i + 1]]` in place for every i."""
    for i in range(starts.shape[0] - 1):
        values[starts[i] : starts[i + 1]].sort()


@compiled
def first_not_nearer(sorted_values: Doubles, start: int, stop: int, value: float) -> int:
    """Find the first position in `sorted_values[start:stop]` whose value is not below `value`; else `stop`."""
    while start < stop:
        middle = (start + stop) // 2
        if sorted_values[middle] < value:
            start = middle + 1
        else:
            stop = middle
    return start


@compiled
def count_nearer_in_block(
    product_bc: Distances,
    affine: tuple[float, Distances, Doubles, Doubles],
    labels: tuple[Integers, Integers],
    matches: tuple[Integers, Doubles, Integers],
    near: tuple[Integers, Integers],
    first: int,
) -> tuple[int, int]:
    """Count, for the matches of every query of a block, the images of other ids that are nearer.

    The distance of query i to image j is `base[i] + offset[j] + factor * product[i, j]`, off by at most `slack[i]`.
    One that is within the slack of a match's is not counted but noted in `near`, to be computed again with more care.

    Args:
        product_bc: products or distances, [b, c].
        affine: `factor`, `offset` [c], `base` [b], `slack` [b]; a negative slack says that distances are exact.
        labels: the pids of the b queries and of the c images.
        matches: `starts` [b + 1], and for the matches of query i at `starts[i]:starts[i + 1]` their sorted distances
            and the counts, which are added to: an image is counted at the nearest match that is not nearer than it.
        near: room for the rows and the columns of doubtful pairs; at least c entries.
        first: the row to begin with.

    Returns:
        The row to go on with (b when done) and the number of doubtful pairs.
    """
    factor, offset_c, base_b, slack_b = affine
    query_pids, gallery_pids = labels
    starts, match_distances, counts = matches
    near_rows, near_columns = near
    found = 0
    columns = product_bc.shape[1]
    for i in range(first, product_bc.shape[0]):
        start, stop = starts[i], starts[i + 1]
        if start == stop:
            continue
        if found + columns > near_rows.shape[0]:
            return i, found
        slack = slack_b[i]
        limit = match_distances[stop - 1] - base_b[i] + max(slack, 0.0)
        for j in range(columns):
            relative = offset_c[j] + factor * product_bc[i, j]
            if relative > limit or gallery_pids[j] == query_pids[i] or gallery_pids[j] == JUNK:
                continue
            distance = base_b[i] + relative
            position = first_not_nearer(match_distances, start, stop, distance)
            above = position < stop and match_distances[position] - distance <= slack
            below = position > start and distance - match_distances[position - 1] <= slack
            if above or below:
                near_rows[found] = i
                near_columns[found] = j
                found += 1
            elif position < stop:
                counts[position] += 1
    return product_bc.shape[0], found


@compiled
def count_nearer_one_by_one(
    rows: Integers, distances: Doubles, starts: Integers, sorted_values: Doubles, counts: Integers
) -> None:
    """Count single images as `count_nearer_in_block` does: image p at `distances[p]` from query `rows[p]`."""
    for p in range(rows.shape[0]):
        stop = starts[rows[p] + 1]
        position = first_not_nearer(sorted_values, starts[rows[p]], stop, distances[p])
        if position < stop:
            counts[position] += 1


@compiled
def score_queries(starts: Integers, counts: Integers) -> tuple[Integers, Doubles, Doubles, Doubles]:
    """Compute for every query the rank of its first match (0: it has none), both average precisions, and INP."""
    queries = starts.shape[0] - 1
    first = np.zeros(queries, np.int64)
    mean, trapezoid, inp = np.full(queries, np.nan), np.full(queries, np.nan), np.full(queries, np.nan)
    for i in range(queries):
        total = starts[i + 1] - starts[i]
        if total == 0:
            continue
        nearer, area, corners = 0, 0.0, 0.0
        for hit in range(1, total + 1):
            nearer += counts[starts[i] + hit - 1]
            rank = hit + nearer
            area += hit / rank
            corners += 0.5 * (hit / rank + ((hit - 1) / (rank - 1) if rank > 1 else 1.0))
            if hit == 1:
                first[i] = rank
            if hit == total:
                inp[i] = hit / rank
        mean[i], trapezoid[i] = area / total, corners / total
    return first, mean, trapezoid, inp
