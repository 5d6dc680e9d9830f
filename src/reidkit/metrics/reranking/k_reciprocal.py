"""k-reciprocal re-ranking (Zhong et al. 2017, arXiv:1701.08398), exact, and in memory that grows with N k.

The usual code holds several N x N matrices, N = Q + G. Here only the k1 + 1 nearest of every point are kept, the rows
of the encoding as lists, and the result; `k_reciprocal_blocks` does not hold even that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.arguments import check_whole
from reidkit.errors import UsageError
from reidkit.jit import compiled
from reidkit.metrics.distances import squared_distance, steps
from reidkit.metrics.neighbours import make_points, nearest_neighbours, square_distances
from reidkit.metrics.products import multiplier_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from reidkit.metrics.candidates import Points
    from reidkit.metrics.distances import Array
    from reidkit.metrics.products import Multiplier
    from reidkit.types import Metric

    Floats = NDArray[np.float32]
    Indices = NDArray[np.int32]
    Offsets = NDArray[np.int64]


# k-reciprocal encoding on lists of neighbours (Zhong et al. 2017, sections 3.2 to 3.4), compiled.
#
# A row of the encoding is zero but for a few dozen columns, and only these are ever written down.

ROWS = 2048
"""Rows that are encoded at a time: room is made for the longest that these can become."""


class Sparse(NamedTuple):
    """A sparse matrix by rows (CSR): from `starts[i]` to `starts[i + 1]`, the `columns` and `values` of row i.

    Compiled loops read it, so it is not SciPy's. That one's product of 4,820 rows takes the same 0.003 s and gives the
    same values, but it takes 0.08 s to load, and does not promise the order of columns, on which the last digits of a
    re-ranked distance depend.
    """

    starts: Offsets
    columns: Indices
    values: Floats


class Graph(NamedTuple):
    """Points and their nearest, as `neighbours.Neighbours` describes them.

    `query_distances` [N]: the squared distances of one more point, whose number is N and which has no vector; or
    `NO_QUERY`.
    """

    vectors: Floats
    indices: Indices
    distances: Floats
    farthest: Floats
    query_distances: Floats


NO_QUERY = np.empty(0, np.float32)


@compiled
def between(graph: Graph, i: int, j: int) -> float:
    """Return the squared distance of two points in double precision, or to the query."""
    count = graph.vectors.shape[0]
    if i < count and j < count:
        return squared_distance(graph.vectors[i], graph.vectors[j])
    return 0.0 if i == j else float(graph.query_distances[min(i, j)])


@compiled
def mutual(indices: Indices, i: int, size: int, out: Indices) -> int:
    """R(i): those of the `size` nearest of i that have i among their own `size` nearest; returns how many."""
    count = 0
    for a in range(size):
        j = indices[i, a]
        for b in range(size):
            if indices[j, b] == i:
                out[count] = j
                count += 1
                break
    return count


@compiled
def expanded(indices: Indices, i: int, sizes: tuple[int, int], marks: Offsets, out: Indices) -> int:
    """R*(i): R(i, k1) with every R(j, k1/2) of its members that lies in it by more than two thirds (equation 5).

    Args:
        indices: the nearest of every point.
        i: the point.
        sizes: k1 + 1 and round(k1 / 2) + 1, as a point is in its own list.
        marks: one place for each point, all below 2 i; overwritten.
        out: room for the members.

    Returns:
        The number of members.
    """
    core, joined = np.int64(2 * i + 1), np.int64(2 * i)
    count = mutual(indices, i, sizes[0], out)
    own = count
    for a in range(own):
        marks[out[a]] = core
    half = np.empty(sizes[1], np.int32)
    for a in range(own):
        members = mutual(indices, out[a], sizes[1], half)
        common = 0
        for b in range(members):
            common += marks[half[b]] == core
        if 3 * common <= 2 * members:
            continue
        for b in range(members):
            if marks[half[b]] < joined:
                marks[half[b]] = joined
                out[count] = half[b]
                count += 1
    return count


@compiled
def weigh(graph: Graph, i: int, columns: Indices, near: Floats, values: Floats) -> None:
    """exp(-d) of point i and its members, to the sum one; d is divided by the farthest distance of i (equation 7).

    `near`: one place for each point, NaN everywhere, and so again afterwards.
    """
    for a in range(graph.indices.shape[1]):
        near[graph.indices[i, a]] = graph.distances[i, a]
    scale = 1.0 / graph.farthest[i] if graph.farthest[i] > 0 else 0.0
    total = 0.0
    for a in range(columns.shape[0]):
        j = columns[a]
        known = near[j]
        distance = between(graph, i, j) if np.isnan(known) else float(known)
        weight = np.exp(-distance * scale)
        values[a] = weight
        total += weight
    for a in range(columns.shape[0]):
        values[a] /= total
    for a in range(graph.indices.shape[1]):
        near[graph.indices[i, a]] = np.nan


@compiled
def encode_some(graph: Graph, rows: Indices, sizes: tuple[int, int]) -> Sparse:
    """Encode the rows V(i) of some points, in rising order (equation 7)."""
    room = sizes[0] * (sizes[1] + 1)
    starts = np.zeros(rows.shape[0] + 1, np.int64)
    columns = np.empty(rows.shape[0] * room, np.int32)
    values = np.empty(rows.shape[0] * room, np.float32)
    marks = np.full(graph.indices.shape[0], -1, np.int64)
    near = np.full(graph.indices.shape[0], np.nan, np.float32)
    for r in range(rows.shape[0]):
        start = starts[r]
        count = expanded(graph.indices, rows[r], sizes, marks, columns[start:])
        weigh(graph, rows[r], columns[start : start + count], near, values[start : start + count])
        starts[r + 1] = start + count
    return Sparse(starts, columns[: starts[-1]].copy(), values[: starts[-1]].copy())


def encode(graph: Graph, sizes: tuple[int, int]) -> Sparse:
    """Encode the rows V(i) of all points (equation 7)."""
    points = np.arange(len(graph.indices), dtype=np.int32)
    return stack([encode_some(graph, points[first : first + ROWS], sizes) for first in range(0, len(points), ROWS)])


def stack(parts: list[Sparse]) -> Sparse:
    """Put rows one below the other."""
    starts = np.concatenate([[0], *(np.diff(part.starts) for part in parts)]).cumsum()
    columns = np.concatenate([part.columns for part in parts])
    return Sparse(starts, columns, np.concatenate([part.values for part in parts]))


@compiled
def mean_rows(rows: Sparse, members: Indices, first: int, last: int) -> Sparse:
    """Average, for each point from `first` to `last`, the rows of its members: `members` is int32 [N, M]."""
    # Room for the case that the members of a point share no column.
    room = 0
    for i in range(first, last):
        for j in members[i]:
            room += rows.starts[j + 1] - rows.starts[j]
    starts = np.zeros(last - first + 1, np.int64)
    columns = np.empty(room, np.int32)
    values = np.empty(room, np.float32)
    where = np.full(rows.columns.max() + 1 if rows.columns.shape[0] else 0, -1, np.int64)
    # `where` holds the place of a column in the row under way, or one of an earlier row.
    end = 0
    for i in range(first, last):
        start = end
        for j in members[i]:
            for a in range(rows.starts[j], rows.starts[j + 1]):
                c = rows.columns[a]
                if where[c] < start:
                    where[c] = end
                    columns[end] = c
                    values[end] = 0
                    end += 1
                values[where[c]] += rows.values[a]
        for a in range(start, end):
            values[a] /= members.shape[1]
        starts[i - first + 1] = end
    return Sparse(starts, columns[:end].copy(), values[:end].copy())


@compiled
def transpose(rows: Sparse, width: int) -> Sparse:
    """Turn columns into rows, whose entries are in rising order."""
    starts = np.zeros(width + 1, np.int64)
    for c in rows.columns:
        starts[c + 1] += 1
    starts = starts.cumsum()
    spots = starts[:-1].copy()
    columns = np.empty(rows.columns.shape[0], np.int32)
    values = np.empty(rows.columns.shape[0], np.float32)
    for i in range(rows.starts.shape[0] - 1):
        for a in range(rows.starts[i], rows.starts[i + 1]):
            spot = spots[rows.columns[a]]
            columns[spot] = i
            values[spot] = rows.values[a]
            spots[rows.columns[a]] += 1
    return Sparse(starts, columns, values)


@compiled
def finish(block: Floats, queries: Sparse, gallery: Sparse, farthest: Floats, lam: float) -> None:
    """Turn squared distances [B, G] into (1 - lam) Jaccard + lam original distances, in place (equations 10 and 12).

    Args:
        block: squared distances of B queries to the gallery.
        queries: the expanded rows of these queries.
        gallery: the transpose of the expanded rows of the gallery.
        farthest: the largest squared distance of each of these queries.
        lam: the weight of the original distance.
    """
    common = np.zeros(block.shape[1], np.float32)
    for q in range(block.shape[0]):
        scale = np.float32(lam / farthest[q]) if farthest[q] > 0 else np.float32(0)
        for g in range(block.shape[1]):
            block[q, g] = block[q, g] * scale + np.float32(1 - lam)
        for a in range(queries.starts[q], queries.starts[q + 1]):
            c, value = queries.columns[a], queries.values[a]
            for b in range(gallery.starts[c], gallery.starts[c + 1]):
                common[gallery.columns[b]] += min(value, gallery.values[b])
        for a in range(queries.starts[q], queries.starts[q + 1]):
            c = queries.columns[a]
            for b in range(gallery.starts[c], gallery.starts[c + 1]):
                g = gallery.columns[b]
                block[q, g] -= np.float32(1 - lam) * common[g] / (np.float32(2) - common[g])
                common[g] = 0


BLOCK = 1 << 24
"""Distances in one block: 64 MB."""

HELD = 1 << 26
"""Up to so many distances (256 MB) are held at once, which is cheaper than to compute them twice."""


@dataclass(frozen=True)
class KReciprocal:
    """The three numbers of the method: `k1` and `k2` neighbours, `lam` the weight of the original distance.

    Raises:
        UsageError: k1 or k2 that is no number from 1 on, or lam not between 0 and 1.
    """

    k1: int = 20
    k2: int = 6
    lam: float = 0.3

    def __post_init__(self) -> None:
        for name in ("k1", "k2"):
            object.__setattr__(self, name, check_whole(getattr(self, name), name, least=1))
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
    """Compute the re-ranked distance of every query to every image of the gallery.

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
    points = make_points(metric, query=query, gallery=gallery)
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
    points = make_points(metric, query=query, gallery=gallery)
    few = len(query) * len(gallery) <= HELD
    into = np.empty((len(query), len(gallery)), np.float32) if few else None
    return _blocks(points, settings, multiplier_for(query, gallery, all_pairs=True), len(query), into)


def _blocks(
    points: Points, settings: KReciprocal, multiplier: Multiplier, queries: int, into: NDArray[np.float32] | None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the blocks: neighbours of all points and their encoding first, then distances of some queries at a time."""
    count = len(points.vectors)
    found = nearest_neighbours(points, settings.longest, multiplier, into)
    graph = Graph(points.vectors, found.indices, found.distances, found.farthest, NO_QUERY)
    rows = encode(graph, settings.sizes(count))
    near = settings.expansion(found.indices)
    gallery = transpose(mean_rows(rows, near, queries, count), count)
    placed = None if into is not None else multiplier.place(points.vectors)
    for some in steps(queries, BLOCK // (count - queries)):
        if into is None:
            block = square_distances(points, placed, some, slice(queries, count), multiplier)
        else:
            block = into[some]
        finish(block, mean_rows(rows, near, some.start, some.stop), gallery, found.farthest[some], settings.lam)
        yield some.start, block
