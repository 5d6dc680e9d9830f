"""What `neighbours` does with every number of a square of distances, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.metrics.kernels import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Keys = NDArray[np.int64]

CHUNK = 64
"""Columns that are looked at together: most chunks hold nothing near, and are passed at the speed of the cache."""

EMPTY = 0x7F800000 << 32
"""The key of a place that holds nobody: an infinite distance."""


class Points(NamedTuple):
    """N points: `vectors` float32 [N, D] from which `centre` [D] is subtracted, and their squared lengths.

    A squared distance from a product is off by at most `slack` times the sum of both squared lengths.
    """

    vectors: Floats
    squares: Floats
    slack: np.float32
    centre: Floats


class Tally(NamedTuple):
    """What is known of the nearest of each point so far.

    `keys` int64 [N, K]: the K smallest lower bounds of squared distances, rising, each as the bits of the float32 with
    the index of the other point below it, so that equal bounds are in the order of their indices. `worst` float32 [N]:
    the last of them as a number. `farthest` float32 [N]: the largest squared distance.
    """

    keys: Keys
    worst: Floats
    farthest: Floats


@compiled
def measure(products: Floats, squares: Floats, square: np.float32) -> None:
    """Turns products of one point with others into squared distances."""
    for c in range(products.shape[0]):
        products[c] = max(np.float32(0), square + squares[c] - np.float32(2) * products[c])


@compiled
def spread(product: Floats, rows: Floats, columns: Floats) -> None:
    """Turns products of some points with others into squared distances."""
    for r in range(product.shape[0]):
        measure(product[r], columns, rows[r])


@compiled
def note(distances: Floats, row: int, column: int, farthest: Floats) -> None:
    """Remembers the largest distances; by their bits, which from 0 up is the same order and five times faster."""
    bits, columns = distances.view(np.int32), farthest[column : column + distances.shape[0]].view(np.int32)
    for c in range(bits.shape[0]):
        columns[c] = max(columns[c], bits[c])
    largest = np.int32(0)
    for c in range(bits.shape[0]):
        largest = max(largest, bits[c])
    rows = farthest.view(np.int32)
    rows[row] = max(rows[row], largest)


@compiled
def lower(distances: Floats, squares: Floats, square: np.float32, slack: np.float32) -> None:
    """Turns squared distances of one point into the least that they can be in truth."""
    for c in range(distances.shape[0]):
        distances[c] = max(np.float32(0), distances[c] - slack * (square + squares[c]))


@compiled
def seed(product: Floats, first: int, points: Points, tally: Tally) -> None:
    """Sets `worst` for the points of a square on the diagonal to something that at least K of them are nearer than.

    The points are dealt to 2 K groups, and the nearest of K groups are K points. So two thirds of what would be put
    into the lists, only to fall out again, is never looked at.
    """
    kept, width = tally.keys.shape[1], product.shape[1]
    squares = points.squares[first : first + width]
    highs = np.empty(width, np.float32)
    for r in range(product.shape[0] if width > 4 * kept else 0):
        for c in range(width):
            both = squares[r] + squares[c]
            highs[c] = max(np.float32(0), both - np.float32(2) * product[r, c] + points.slack * both)
        nearest = highs[: 2 * kept].copy()
        nearest_bits = nearest.view(np.int32)
        for start in range(2 * kept, width - 2 * kept + 1, 2 * kept):
            bits = highs[start : start + 2 * kept].view(np.int32)
            for group in range(2 * kept):
                nearest_bits[group] = min(nearest_bits[group], bits[group])
        nearest.sort()
        tally.worst[first + r] = nearest[kept - 1]


@compiled
def insert(keys: Keys, worst_bits: NDArray[np.int32], i: int, key: np.int64) -> None:
    """Puts a key into the list of point i, unless all K there are smaller."""
    row = keys[i]
    place = row.shape[0] - 1
    if key >= row[place]:
        return
    while place > 0 and key < row[place - 1]:
        row[place] = row[place - 1]
        place -= 1
    row[place] = key
    worst_bits[i] = min(worst_bits[i], row[row.shape[0] - 1] >> 32)


@compiled
def wanted(lows: Floats, worst: Floats, ours: np.float32) -> bool:
    """Whether any of these lower bounds belongs into the row's list or into its column's."""
    count = np.int32(0)
    for c in range(lows.shape[0]):
        count += np.int32((lows[c] <= ours) | (lows[c] <= worst[c]))
    return bool(count > 0)


@compiled
def offer(lows: Floats, row: int, column: int, tally: Tally) -> None:
    """Gives the lower bounds of point `row` with the points from `column` on to both, one by one."""
    bits = lows.view(np.int32)
    worst_bits = tally.worst.view(np.int32)
    for c in range(lows.shape[0]):
        other = column + c
        if lows[c] <= tally.worst[row]:
            insert(tally.keys, worst_bits, row, (np.int64(bits[c]) << 32) | np.int64(other))
        if other != row and lows[c] <= tally.worst[other]:
            insert(tally.keys, worst_bits, other, (np.int64(bits[c]) << 32) | np.int64(row))


@compiled
def merge(product: Floats, place: tuple[int, int], points: Points, tally: Tally, into: Floats) -> None:
    """Gives every row and every column of one square of the upper triangle what it wants from it.

    Args:
        product: inner products of the points from `place[0]` on with those from `place[1]` on; overwritten.
        place: the first row and the first column.
        points: all points.
        tally: added to.
        into: float32 [Q, N - Q]: the distances of the first Q points to the others are written here.
    """
    queries = into.shape[0]
    if place[0] == place[1]:
        seed(product, place[0], points, tally)
    for r in range(product.shape[0]):
        row = place[0] + r
        column = max(place[1], row)
        values = product[r, column - place[1] :]
        squares = points.squares[column : column + values.shape[0]]
        measure(values, squares, points.squares[row])
        if row < queries:
            right = values[max(0, queries - column) :]
            end = column + values.shape[0] - queries
            into[row, end - right.shape[0] : end] = right
        note(values, row, column, tally.farthest)
        lower(values, squares, points.squares[row], points.slack)
        for c in range(0, values.shape[0], CHUNK):
            lows = values[c : c + CHUNK]
            if wanted(lows, tally.worst[column + c : column + c + lows.shape[0]], tally.worst[row]):
                offer(lows, row, column + c, tally)
