"""Re-ranking by expansion: expanded cross neighbourhoods (ECN), and alpha query expansion; without full matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from reidkit.errors import UsageError
from reidkit.jit import compiled
from reidkit.metrics.candidates import EMPTY, insert_key
from reidkit.metrics.distances import check_pair, distance_blocks, gather, prepare, steps, unit_rows
from reidkit.metrics.neighbours import make_points, nearest_neighbours
from reidkit.metrics.products import multiplier_for
from reidkit.metrics.reranking.k_reciprocal import Sparse, mean_rows, transpose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from reidkit.metrics.candidates import Points
    from reidkit.metrics.distances import Array
    from reidkit.metrics.products import Multiplier

    Floats = NDArray[np.float32]

    Indices = NDArray[np.int32]

    Blocks = Iterator[tuple[int, Floats]]


BLOCK = 1 << 24
"""Distances in one block: 64 MB."""


@dataclass(frozen=True)
class CrossNeighbourhood:
    """The numbers of ECN (Sarfraz et al. 2018, arXiv:1711.10378, section 4).

    `t` neighbours, `q` neighbours of each of these, rank lists of length `k`.

    `distance` says what is averaged: `rank` the dissimilarity of rank lists, `original` 1 - cos.

    Raises:
        UsageError: t, q or k below 1, or another distance.
    """

    t: int = 3
    q: int = 8
    k: int = 25
    distance: Literal["rank", "original"] = "rank"

    def __post_init__(self) -> None:
        if min(self.t, self.q, self.k) < 1:
            raise UsageError(f"re-ranking with t = {self.t}, q = {self.q}, k = {self.k}: all must be at least 1")
        if self.distance not in {"rank", "original"}:
            raise UsageError(f"re-ranking with the distance {self.distance}: take rank or original")

    @property
    def longest(self) -> int:
        """How many places of a list of neighbours are looked at."""
        return max(self.t + 1, self.q + 1, self.k if self.distance == "rank" else 1)

    def members(self, indices: Indices) -> Indices:
        """N(i, M), M = t + t q: the t nearest of every point and the q nearest of each of these, int32 [N, M].

        The first of each list is left out: it is the point itself, or one that equals it. A point that is in several
        lists counts as often.
        """
        near, next_near = indices[:, 1 : self.t + 1], indices[:, 1 : self.q + 1]
        return np.concatenate([near, next_near[near].reshape(len(indices), -1)], axis=1)


def expanded_cross(query: Array, gallery: Array, settings: CrossNeighbourhood | None = None) -> Floats:
    """Compute the expanded cross neighbourhood distance of every query to every image of the gallery.

    ECN(p, g) = 1 / (2 M) sum over j of d(N_j(p), g) + d(N_j(g), p) (equation 3), where N(i) are the M points of
    `CrossNeighbourhood.members` among the features of both sets. With `original`, d is 1 - cos. With `rank`, it is
    1 - R / S, where R is the sum of (k + 1 - rank_i(x)) (k + 1 - rank_j(x)) over the points x that are among the k
    nearest of i and of j, ranks from 1 (equation 4), and S its largest value, 1 + 4 + ... + k^2. (The authors' program
    scales every row of R to [0, 1]: the same wherever some point shares no neighbour with i.)

    Neighbours are ordered as in `k_reciprocal`; t, q and k are cut to what there is.

    Args:
        query: features [Q, D]: NumPy or a tensor. They are scaled to length one.
        gallery: features [G, D], likewise.
        settings: the numbers of the method; by default the authors'.

    Returns:
        float32 [Q, G].

    Raises:
        DataError: shapes that do not fit, or a row with a NaN, an infinity or values of more than 1e18.
    """
    blocks = expanded_cross_blocks(query, gallery, settings)
    result = np.empty((len(query), len(gallery)), np.float32)
    for first, block in blocks:
        result[first : first + len(block)] = block
    return result


def expanded_cross_blocks(query: Array, gallery: Array, settings: CrossNeighbourhood | None = None) -> Blocks:
    """`expanded_cross` a block of queries at a time.

    Yields:
        The number of the first query, and the distances float32 [block, G]. Beside them, memory grows with N k for
        `rank`, and with N D for `original`.

    Raises:
        DataError: as `expanded_cross`, at once and not with the first block.
    """
    settings = settings or CrossNeighbourhood()
    points = make_points("cosine", query=query, gallery=gallery)
    blocks = _ranks if settings.distance == "rank" else _originals
    return blocks(points, settings, multiplier_for(query, gallery, all_pairs=True), len(query))


def _ranks(points: Points, settings: CrossNeighbourhood, multiplier: Multiplier, queries: int) -> Blocks:
    """1 - R / S is linear in the rank weights of either side, so those of the members are averaged first."""
    count = len(points.vectors)
    lists = nearest_neighbours(points, settings.longest, multiplier).indices
    members, itself = settings.members(lists), np.arange(count, dtype=np.int32)[:, None]
    length = min(settings.k, count)
    weights = np.arange(settings.k, settings.k - length, -1) / np.sqrt((np.arange(1.0, settings.k + 1) ** 2).sum())
    starts = np.arange(0, count * length + 1, length)
    ranks = Sparse(starts, lists[:, :length].flatten(), np.tile(weights.astype(np.float32), count))
    gallery = transpose(mean_rows(ranks, itself, queries, count), count)
    gallery_members = transpose(mean_rows(ranks, members, queries, count), count)
    for rows in steps(queries, BLOCK // (count - queries)):
        block = np.ones((rows.stop - rows.start, count - queries), np.float32)
        add_products(block, mean_rows(ranks, members, rows.start, rows.stop), gallery, -0.5)
        add_products(block, mean_rows(ranks, itself, rows.start, rows.stop), gallery_members, -0.5)
        yield rows.start, block


def _originals(points: Points, settings: CrossNeighbourhood, multiplier: Multiplier, queries: int) -> Blocks:
    """|a - b|^2 / 2 is 1 - cos, and its mean over a is |mean(a) - b|^2 / 2 and half the spread of a around its mean."""
    vectors, count = points.vectors, len(points.vectors)
    members = settings.members(nearest_neighbours(points, settings.longest, multiplier).indices)
    means = np.empty_like(vectors)
    for i in range(count):
        means[i] = vectors[members[i]].mean(axis=0)
    squares = (points.squares + points.squares[members].mean(axis=1)) / 4
    gallery, gallery_means = multiplier.place(vectors[queries:]), multiplier.place(means[queries:])
    for rows in steps(queries, BLOCK // (count - queries)):
        block, other = (np.empty((rows.stop - rows.start, count - queries), np.float32) for _ in range(2))
        multiplier.multiply(multiplier.place(means[rows]), gallery, block)
        multiplier.multiply(multiplier.place(vectors[rows]), gallery_means, other)
        block += other
        block *= -0.5
        block += squares[rows, None]
        block += squares[queries:]
        yield rows.start, block


@compiled
def add_products(out: Floats, left: Sparse, right: Sparse, factor: float) -> None:
    """Add `factor` times the product of two sparse matrices to a dense one."""
    for i in range(out.shape[0]):
        for a in range(left.starts[i], left.starts[i + 1]):
            c, value = left.columns[a], np.float32(factor) * left.values[a]
            for b in range(right.starts[c], right.starts[c + 1]):
                out[i, right.columns[b]] += value * right.values[b]


def alpha_query_expansion(query: Array, gallery: Array, k: int = 10, alpha: float = 3.0) -> NDArray[np.float32]:
    """Move queries towards what they find: q' = q + the sum over its k nearest g of cos(q, g)^alpha g, of length one.

    Neighbours with a cosine below zero add nothing. Equal cosines are ordered by index. A gallery is expanded by being
    its own query: every image is then among its own neighbours.

    Args:
        query: features [Q, D]: NumPy or a tensor. They are scaled to length one.
        gallery: features [G, D], likewise.
        k: neighbours; cut to G.
        alpha: 0 is average query expansion; the larger, the less the far ones count.

    Returns:
        float32 [Q, D], of length one.

    Raises:
        DataError: shapes that do not fit, or a row with a NaN, an infinity or values of more than 1e18.
        UsageError: k below 1, or alpha below 0.
    """
    if k < 1 or not 0 <= alpha < np.inf:
        raise UsageError(f"query expansion with k = {k} and alpha = {alpha}: k is at least 1, and alpha at least 0")
    check_pair(query, gallery)
    result = prepare(query, "cosine", "query").vectors.copy()
    for first, dist_bg in distance_blocks(query, gallery):
        near_bk = smallest(dist_bg, min(k, len(gallery)))
        cosine_bk = 1 - np.take_along_axis(dist_bg, near_bk, axis=1)
        weight_bk = np.where(cosine_bk > 0, np.maximum(cosine_bk, 0) ** np.float32(alpha), np.float32(0))
        for i, (near_k, weight_k) in enumerate(zip(near_bk, weight_bk, strict=True), first):
            result[i] += weight_k @ prepare(gather(gallery, near_k), "cosine", "gallery", near_k).vectors
    lengths = np.sqrt(np.square(result, dtype=np.float64).sum(axis=1))
    return unit_rows(result, lengths)


@compiled
def smallest(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Find the columns of the k smallest of every row, none below zero, by value and then by column: int64 [B, k]."""
    found = np.empty((values.shape[0], k), np.int64)
    keys = np.empty((1, k), np.int64)
    worst = np.empty(1, np.float32)
    worst_bits = worst.view(np.int32)
    for i in range(values.shape[0]):
        keys[:] = EMPTY
        worst[0] = np.inf
        bits = values[i].view(np.int32)
        for c in range(values.shape[1]):
            if values[i, c] <= worst[0]:
                insert_key(keys, worst_bits, 0, (np.int64(bits[c]) << 32) | np.int64(c))
        found[i] = keys[0] & 0x7FFFFFFF
    return found
