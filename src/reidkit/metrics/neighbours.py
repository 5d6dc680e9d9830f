"""The k nearest neighbours of every point, without ever holding all distances.

                 0 .. 1024 .. 2048     The matrix of squared distances is symmetric: blocks of its upper triangle are
            0    [ 1 ][ 4 ][ 5 ]       computed one after the other, those of the diagonal first, and while one is in
         1024         [ 2 ][ 6 ]       the cache, every row and every column takes its nearest points from it.
         2048              [ 3 ]

1. Limits (`_first_limits`): a block on the diagonal gives each of its points a distance that K others do not exceed.
2. Candidates (`merge_block`): the K = k + SPARE points of the smallest lower bounds, a product in single precision less
   its largest error, so that no true neighbour is lost to rounding. Where it is quicker, codes of eight bits first say
   which points need be compared at all (`int8_neighbours`).
3. Order (`settle_ties`): candidates whose bounds overlap are compared in double precision; where the list could end too
   early, all points are. So lists depend neither on blocks or threads, nor on the library that multiplies.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.jit import compiled
from reidkit.metrics.candidates import EMPTY, Candidates, Points, insert_key, limit_of, sweep_triangle
from reidkit.metrics.distances import (
    centred_units,
    check_metric,
    check_pair,
    from_product,
    prepare,
    refuse_tiny,
    shape,
    slack,
    squared_distance,
    steps,
    unit_sums,
)
from reidkit.metrics.int8_neighbours import compare_rows, sweep_codes, worth_codes
from reidkit.metrics.products import Device

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.metrics.distances import Array
    from reidkit.metrics.int8_neighbours import CodedPoints
    from reidkit.metrics.products import Multiplier
    from reidkit.types import Metric

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Indices = NDArray[np.int32]

BLOCK = 1024
"""Rows and columns of one block: large enough for the product, small enough to stay in the cache (4 MB)."""

ROWS = 256
"""Points that are compared with all others at a time."""

SPARE = 6
"""Candidates kept beyond the k nearest, so that the rounding of a product rarely reaches past the list's end."""

CHUNK = 64
"""Columns that are tested together: most chunks hold nothing near, and are passed at the speed of the cache."""


CENTRE_MASK = np.uint32(0xFFFFF000)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest of N points, by squared Euclidean distance and then by index; a point is its own neighbour.

    `indices` int32 [N, k], `distances` float32 [N, k] squared, `farthest` float32 [N]: the largest squared distance
    of a point to any other.
    """

    indices: NDArray[np.int32]
    distances: Floats
    farthest: Floats


def make_points(metric: Metric, **parts: Array) -> Points:
    """Stack the features of all parts as points whose squared Euclidean distances are what is compared.

    Their mean is subtracted, which changes no distance but keeps the rounding of products small where all features lie
    close together. The mean is cut to 12 bits, so that the difference of short numbers is still exact.

    Raises:
        DataError: a part, which is called by its name, with a shape that does not fit, or a row with a NaN, an infinity
            or values of more than 1e18; or features that are all too short for the Euclidean distance.
    """
    check_metric(metric)
    for name, part in parts.items():
        shape(part, name)
    if len(parts) == 2:
        check_pair(*parts.values())
    ready = [prepare(part, "euclidean", name) for name, part in parts.items()]
    if metric == "euclidean":
        refuse_tiny(max(float(rows.squares.max()) for rows in ready))
    lengths = [np.sqrt(rows.squares) if metric == "cosine" else np.ones(len(rows.squares)) for rows in ready]
    total = sum(len(rows.vectors) for rows in ready)
    sums = (unit_sums(rows.vectors, length) for rows, length in zip(ready, lengths, strict=True))
    centre = (np.sum(list(sums), axis=0) / total).astype(np.float32)
    centre = (centre.view(np.uint32) & CENTRE_MASK).view(np.float32)
    vectors, squares = np.empty((total, len(centre)), np.float32), np.empty(total, np.float32)
    start = 0
    for rows, length in zip(ready, lengths, strict=True):
        span = slice(start, start + len(length))
        squares[span] = centred_units(rows.vectors, length, centre, vectors[span])
        start = span.stop
    return Points(vectors, squares, np.float32(slack(len(centre))), centre)


def nearest_neighbours(points: Points, k: int, multiplier: Multiplier, into: Floats | None = None) -> Neighbours:
    """Find the `k` nearest points of every point (all N of them when k is larger), itself included.

    Args:
        points: N points.
        k: how many.
        multiplier: makes the products.
        into: float32 [Q, N - Q]: filled with the squared distances of the first Q points to the others.
    """
    count = len(points.vectors)
    candidates = Candidates(
        np.full((count, min(k + SPARE, count)), EMPTY, np.int64),
        np.full(count, np.inf, np.float32),
        np.zeros(count, np.float32),
    )
    into = np.empty((0, count), np.float32) if into is None else into
    if isinstance(multiplier, Device):
        from reidkit.metrics.gpu import sweep_on_device

        sweep_on_device(points, candidates, multiplier.device, into)
    elif (coded := worth_codes(points, candidates.keys.shape[1])) is not None:
        _sweep_codes(points, candidates, coded, multiplier, into)
    else:
        _sweep_blocks(points, candidates, multiplier, into)
    indices = np.empty((count, min(k, count)), np.int32)
    distances = np.empty(indices.shape, np.float32)
    settle_ties(points, candidates, indices, distances)
    # Where all points are equal, their distances are rounding, which must not be scaled up to matter.
    candidates.farthest[candidates.farthest <= 4 * points.slack * points.squares.max()] = 0
    return Neighbours(indices, distances, candidates.farthest)


def _sweep_blocks(points: Points, candidates: Candidates, multiplier: Multiplier, into: Floats) -> None:
    """Go through the upper triangle; the next product is made while the last one is looked through."""
    count, placed = len(points.vectors), multiplier.place(points.vectors)
    buffers = np.empty((2, min(BLOCK, count) ** 2), np.float32)
    turns = itertools.cycle(buffers)

    def multiply(rows: slice, columns: slice) -> Floats:
        height, width = rows.stop - rows.start, columns.stop - columns.start
        block = next(turns)[: height * width].reshape(height, width)
        multiplier.multiply(placed[rows], placed[columns], block)
        return block

    def merge(block: Floats, corner: tuple[int, int]) -> None:
        merge_block(block, corner, points, candidates, into)

    sweep_triangle(count, BLOCK, multiply, merge)


def _sweep_codes(
    points: Points, candidates: Candidates, coded: CodedPoints, multiplier: Multiplier, into: Floats
) -> None:
    """Find candidates by codes of eight bits; what these leave open, and what is asked for, by float32 products."""
    failed, placed, queries = sweep_codes(points, candidates, coded), multiplier.place(points.vectors), len(into)
    for first in range(0, len(failed), ROWS):
        rows = failed[first : first + ROWS]
        product = np.empty((len(rows), len(points.vectors)), np.float32)
        multiplier.multiply(multiplier.place(points.vectors[rows]), placed, product)
        compare_rows(product, rows, points, candidates)
    for block in steps(queries, BLOCK):
        for left in range(queries, len(points.vectors), BLOCK):
            others = slice(left, min(left + BLOCK, len(points.vectors)))
            part = square_distances(points, placed, block, others, multiplier)
            into[block, left - queries : others.stop - queries] = part


def square_distances(points: Points, placed: Any, rows: slice, columns: slice, multiplier: Multiplier) -> Floats:
    """Compute the squared distances of some points to others; `placed` are all, where the multiplier put them."""
    out = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    multiplier.multiply(placed[rows], placed[columns], out)
    _to_distances_of_rows(out, points.squares[rows], points.squares[columns])
    return out


# What is done with every number of a block, compiled.


@compiled
def merge_block(product: Floats, corner: tuple[int, int], points: Points, candidates: Candidates, into: Floats) -> None:
    """Give every row and every column of one block of the upper triangle the candidates that it holds for them.

    Args:
        product: inner products of the points from `corner[0]` on with those from `corner[1]` on; overwritten.
        corner: the first row and the first column.
        points: all points.
        candidates: added to.
        into: float32 [Q, N - Q]: the squared distances of the first Q points to the others are written here.
    """
    queries = into.shape[0]
    if corner[0] == corner[1]:
        _first_limits(product, corner[0], points, candidates)
    for r in range(product.shape[0]):
        # On the diagonal only what is right of it: the rest is the same by symmetry.
        row = corner[0] + r
        column = max(corner[1], row)
        values = product[r, column - corner[1] :]
        squares = points.squares[column : column + values.shape[0]]
        _to_distances(values, squares, points.squares[row])
        if row < queries:
            right = values[max(0, queries - column) :]
            end = column + values.shape[0] - queries
            into[row, end - right.shape[0] : end] = right
        _keep_farthest(values, row, column, candidates.farthest)
        # From here on, lower bounds: what a distance may be in truth decides whether it is a candidate.
        _to_lower_bounds(values, squares, points.squares[row], points.slack)
        for c in range(0, values.shape[0], CHUNK):
            lows = values[c : c + CHUNK]
            if _any_near(lows, candidates.worst[column + c : column + c + lows.shape[0]], candidates.worst[row]):
                _insert_near(lows, row, column + c, candidates)


@compiled
def _to_distances(products: Floats, squares: Floats, square: np.float32) -> None:
    """Turn products of one point with others into squared distances."""
    for c in range(products.shape[0]):
        products[c] = from_product(square, squares[c], products[c])


@compiled
def _to_distances_of_rows(product: Floats, rows: Floats, columns: Floats) -> None:
    """Turn products of some points with others into squared distances."""
    for r in range(product.shape[0]):
        _to_distances(product[r], columns, rows[r])


@compiled
def _keep_farthest(distances: Floats, row: int, column: int, farthest: Floats) -> None:
    """Keep the largest distances; by their bits, which from 0 up is the same order and five times faster."""
    bits, columns = distances.view(np.int32), farthest[column : column + distances.shape[0]].view(np.int32)
    for c in range(bits.shape[0]):
        columns[c] = max(columns[c], bits[c])
    largest = np.int32(0)
    for c in range(bits.shape[0]):
        largest = max(largest, bits[c])
    rows = farthest.view(np.int32)
    rows[row] = max(rows[row], largest)


@compiled
def _to_lower_bounds(distances: Floats, squares: Floats, square: np.float32, slack: np.float32) -> None:
    """Turn squared distances of one point into the least that they can be in truth."""
    for c in range(distances.shape[0]):
        distances[c] = max(np.float32(0), distances[c] - slack * (square + squares[c]))


@compiled
def _first_limits(product: Floats, first: int, points: Points, candidates: Candidates) -> None:
    """Set `worst` for the points of a block on the diagonal to something that at least K of them are nearer than.

    So two thirds of what would be put into the lists, only to fall out again, is never looked at.
    """
    kept, width = candidates.keys.shape[1], product.shape[1]
    squares = points.squares[first : first + width]
    highs = np.empty(width, np.float32)
    for r in range(product.shape[0] if width > 4 * kept else 0):
        for c in range(width):
            error = points.slack * (squares[r] + squares[c])
            highs[c] = from_product(squares[r], squares[c], product[r, c]) + error
        candidates.worst[first + r] = limit_of(highs, kept)


@compiled
def _any_near(lows: Floats, worst: Floats, ours: np.float32) -> bool:
    """Return whether any of these lower bounds belongs into the row's list or into its column's."""
    count = np.int32(0)
    for c in range(lows.shape[0]):
        count += np.int32((lows[c] <= ours) | (lows[c] <= worst[c]))
    return bool(count > 0)


@compiled
def _insert_near(lows: Floats, row: int, column: int, candidates: Candidates) -> None:
    """Insert the lower bounds of point `row` and the points from `column` on into the lists of both."""
    bits = lows.view(np.int32)
    worst_bits = candidates.worst.view(np.int32)
    for c in range(lows.shape[0]):
        other = column + c
        if lows[c] <= candidates.worst[row]:
            insert_key(candidates.keys, worst_bits, row, (np.int64(bits[c]) << 32) | np.int64(other))
        if other != row and lows[c] <= candidates.worst[other]:
            insert_key(candidates.keys, worst_bits, other, (np.int64(bits[c]) << 32) | np.int64(row))


# The order among near neighbours where the rounding of a product leaves it open, compiled.


@compiled
def settle_ties(points: Points, candidates: Candidates, indices: Indices, distances: Floats) -> int:
    """Find the nearest of every point in their true order; returns for how many points all others were looked at."""
    values = np.empty(indices.shape[1])
    searched = 0
    for i in range(indices.shape[0]):
        if not _order_candidates(points, candidates, i, indices[i], values):
            _search_all(points.vectors, i, indices[i], values)
            searched += 1
        distances[i] = values
    return searched


@compiled
def _order_candidates(points: Points, candidates: Candidates, i: int, indices: Indices, values: Doubles) -> bool:
    """Sort the candidates of point i by distance and then by index; False if others may be among the first `k`.

    Candidates come by rising lower bounds. One whose lower bound is above all upper bounds so far stands behind them;
    the rest are in groups that overlap, and in these the distances are computed again.
    """
    kept = candidates.keys.shape[1]
    lows = np.empty(kept, np.float64)
    highs = np.empty(kept, np.float64)
    bits = np.empty(1, np.int32)
    for c in range(kept):
        bits[0] = candidates.keys[i, c] >> 32
        j = candidates.keys[i, c] & 0x7FFFFFFF
        lows[c] = bits.view(np.float32)[0]
        highs[c] = lows[c] + 2 * points.slack * (np.float64(points.squares[i]) + points.squares[j])
    start = 0
    while start < indices.shape[0]:
        # One group: candidates whose intervals [low, high] overlap in a chain.
        stop, high = start + 1, highs[start]
        while stop < kept and lows[stop] <= high:
            high = max(high, highs[stop])
            stop += 1
        for c in range(start, stop):
            j = candidates.keys[i, c] & 0x7FFFFFFF
            # A group of one is in its place; only where it may be equal to the point itself is it computed again.
            known = stop == start + 1 and lows[c] > 0
            value = 0.5 * (lows[c] + highs[c]) if known else squared_distance(points.vectors[i], points.vectors[j])
            _insert_sorted(indices, values, min(c, indices.shape[0]), j, value)
        start = stop
    all_known = kept == points.vectors.shape[0]
    return all_known or bool(values[indices.shape[0] - 1] < lows[kept - 1])


@compiled
def _search_all(vectors: Floats, i: int, indices: Indices, values: Doubles) -> None:
    """Find the nearest points of point i among all, in double precision; rising indices win ties."""
    found, size = 0, indices.shape[0]
    for j in range(vectors.shape[0]):
        limit = values[size - 1] if found == size else np.inf
        if limit == 0:  # a full list of equal points: nothing is nearer
            return
        value = squared_distance(vectors[i], vectors[j])
        if value < limit:
            _insert_sorted(indices, values, found, j, value)
            found = min(found + 1, size)


@compiled
def _insert_sorted(indices: Indices, values: Doubles, count: int, j: int, value: float) -> None:
    """Insert point j into the first `count` entries, sorted by distance and then by index; the last may fall out."""
    spot = count
    while spot > 0 and (value < values[spot - 1] or (value == values[spot - 1] and j < indices[spot - 1])):
        if spot < indices.shape[0]:
            values[spot] = values[spot - 1]
            indices[spot] = indices[spot - 1]
        spot -= 1
    if spot < indices.shape[0]:
        values[spot] = value
        indices[spot] = j
