"""k-reciprocal re-ranking (Zhong et al. 2017, arXiv:1701.08398), exact, and in memory that grows with N k.

The usual code holds several N x N matrices, N = Q + G. Here only the k1 + 1 nearest of every point are kept, the rows
of the encoding as lists, and the result; `k_reciprocal_blocks` does not hold even that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reidkit.evaluate.multiply import multiplier_for
from reidkit.evaluate.neighbours import fill, nearest, points_of
from reidkit.evaluate.reciprocal import NOBODY, Graph, encode, finish
from reidkit.evaluate.sparse import mean_rows, transpose
from reidkit.types import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from reidkit.evaluate.blocks import Array, Metric
    from reidkit.evaluate.multiply import Multiplier
    from reidkit.evaluate.nearest_kernels import Points

BLOCK = 1 << 24
"""Distances in one block: 64 MB."""

HELD = 1 << 26
"""Up to so many distances (256 MB) are held at once, which is cheaper than to compute them twice."""


@dataclass(frozen=True)
class KReciprocal:
    """The three numbers of the method: `k1` and `k2` neighbours, `lam` the weight of the original distance.

    Raises:
        UsageError: k1 or k2 below 1, or lam not between 0 and 1.
    """

    k1: int = 20
    k2: int = 6
    lam: float = 0.3

    def __post_init__(self) -> None:
        if min(self.k1, self.k2) < 1:
            raise UsageError(f"re-ranking with k1 = {self.k1} and k2 = {self.k2}: both must be at least 1")
        if not 0 <= self.lam <= 1:
            raise UsageError(f"re-ranking with lambda = {self.lam}: it must be between 0 and 1")

    @property
    def longest(self) -> int:
        """How many places of a list of neighbours are looked at."""
        return max(self.k1 + 1, self.k2)

    def sizes(self, count: int) -> tuple[int, int]:
        """How many places of a list R(k1) and R(k1 / 2) look at: one more than k, as a point is in its own list."""
        return min(self.k1 + 1, count), min(round(self.k1 / 2) + 1, count)

    def expansion(self, indices: NDArray[np.int32]) -> NDArray[np.int32]:
        """Whose rows are averaged for each point: for k2 = 1 its own, even if a copy of it comes first in its list."""
        return np.arange(len(indices), dtype=np.int32)[:, None] if self.k2 == 1 else indices[:, : self.k2]


def k_reciprocal(
    query: Array, gallery: Array, k1: int = 20, k2: int = 6, lam: float = 0.3, metric: Metric = "cosine"
) -> NDArray[np.float32]:
    """The re-ranked distance of every query to every image of the gallery.

    d* = (1 - lam) d_J + lam d (equation 12), over the N = Q + G features of both, as the widely used code computes it:

    - d is the squared Euclidean distance (of features of length one for the cosine) divided by the largest in its row.
      The code divides each column by its maximum and then transposes, which for a symmetric matrix is the same.
    - R(i, k): the k + 1 nearest of i, i itself among them, that have i among their own k + 1 nearest.
    - R*(i): R(i, k1), and every R(j, round(k1 / 2)) of its members j of which more than two thirds are in R(i, k1);
      halves round to even.
    - V(i) is exp(-d) on R*(i), scaled to the sum one, then averaged over the k2 nearest of i (not for k2 = 1).
    - d_J = 1 - m / (2 - m), where m is the sum of the smaller of V(i) and V(j) in every column.

    Neighbours are ordered by distance and then by index, queries before gallery; what single precision leaves open is
    decided in double precision, so that equal features are at equal distances. k1 and k2 are cut to N.

    Args:
        query: features [Q, D]: NumPy or a tensor.
        gallery: features [G, D], likewise.
        k1: neighbours for the reciprocal sets.
        k2: neighbours for the expansion of the encoding.
        lam: the weight of the original distance.
        metric: `cosine` scales features to length one first.

    Returns:
        float32 [Q, G].

    Raises:
        DataError: shapes that do not fit, or a row with a NaN, an infinity or values of more than 1e18.
        UsageError: k1, k2 or lam that make no sense.
    """
    settings = KReciprocal(k1, k2, lam)
    points = points_of(metric, query=query, gallery=gallery)
    result = np.empty((len(query), len(gallery)), np.float32)
    for _ in _blocks(points, settings, multiplier_for(query, gallery, all_pairs=True), len(query), result):
        pass
    return result


def k_reciprocal_blocks(
    query: Array, gallery: Array, k1: int = 20, k2: int = 6, lam: float = 0.3, metric: Metric = "cosine"
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """`k_reciprocal` a block of queries at a time, for results that are too large to be held.

    Yields:
        The number of the first query, and the distances float32 [block, G]. Of more than `HELD`, those of the queries
        to the gallery are computed twice: once to find neighbours, once for the block.

    Raises:
        DataError: as `k_reciprocal`, at once and not with the first block.
        UsageError: likewise.
    """
    settings = KReciprocal(k1, k2, lam)
    points = points_of(metric, query=query, gallery=gallery)
    few = len(query) * len(gallery) <= HELD
    into = np.empty((len(query), len(gallery)), np.float32) if few else None
    return _blocks(points, settings, multiplier_for(query, gallery, all_pairs=True), len(query), into)


def _blocks(
    points: Points, settings: KReciprocal, multiplier: Multiplier, queries: int, into: NDArray[np.float32] | None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    count = len(points.vectors)
    found = nearest(points, settings.longest, multiplier, into)
    graph = Graph(points.vectors, found.indices, found.distances, found.farthest, NOBODY)
    rows = encode(graph, settings.sizes(count))
    near = settings.expansion(found.indices)
    gallery = transpose(mean_rows(rows, near, queries, count), count)
    step, placed = max(1, BLOCK // (count - queries)), None if into is not None else multiplier.place(points.vectors)
    for first in range(0, queries, step):
        last = min(first + step, queries)
        if into is None:
            block = fill(points, placed, slice(first, last), slice(queries, count), multiplier)
        else:
            block = into[first:last]
        finish(block, mean_rows(rows, near, first, last), gallery, found.farthest[first:last], settings.lam)
        yield first, block
