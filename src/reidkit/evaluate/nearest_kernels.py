"""What `neighbours` does with every number of a square of distances, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.evaluate.kernels import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Keys = NDArray[np.int64]

CHUNK = 32
"""Columns that are looked at together: most chunks hold nothing near, and are passed at the speed of the cache."""

EMPTY = 0x7F800000 << 32
"""The key of a place that holds nobody: an infinite distance."""


class Points(NamedTuple):
    """N points: `vectors` float32 [N, D], their squared lengths, and the bound of `Tally.slack`."""

    vectors: Floats
    squares: Floats
    slack: np.float32


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
    worst_bits[i] = row[row.shape[0] - 1] >> 32


@compiled
def bound(products: Floats, squares: Floats, square: np.float32, slack: np.float32, farthest: Floats) -> None:
    """Turns products of one point with others into lower bounds of squared distances, and notes the largest."""
    for c in range(products.shape[0]):
        both = square + squares[c]
        distance = both - np.float32(2) * products[c]
        farthest[c] = max(farthest[c], distance)
        low = distance - slack * both
        products[c] = max(np.float32(0), low)


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
    for c in range(max(0, row - column), lows.shape[0]):
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
    height, width = product.shape
    for r in range(height):
        row, lows = place[0] + r, product[r]
        first = max(0, row - place[1])
        if row < queries and place[1] + width > queries:
            border = max(0, queries - place[1])
            start = place[1] + border
            out = into[row, start - queries : start - queries + width - border]
            distances(lows[border:], points.squares[start:], points.squares[row], out)
        span = slice(place[1] + first, place[1] + width)
        tally.farthest[row] = max(tally.farthest[row], largest(lows[first:], points.squares[span], points.squares[row]))
        bound(lows[first:], points.squares[span], points.squares[row], points.slack, tally.farthest[span])
        for c in range(first, width, CHUNK):
            stop = min(c + CHUNK, width)
            if wanted(lows[c:stop], tally.worst[place[1] + c : place[1] + stop], tally.worst[row]):
                offer(lows[c:stop], row, place[1] + c, tally)


@compiled
def largest(products: Floats, squares: Floats, square: np.float32) -> float:
    """The largest squared distance of one point to others, of their products."""
    lanes = np.full(CHUNK, np.inf, np.float32)
    whole = products.shape[0] // CHUNK * CHUNK
    for start in range(0, whole, CHUNK):
        for lane in range(CHUNK):  # a minimum of its own in each lane, so that vector instructions fit
            half = products[start + lane] - np.float32(0.5) * squares[start + lane]
            lanes[lane] = min(lanes[lane], half)
    for c in range(whole, products.shape[0]):
        lanes[0] = min(lanes[0], products[c] - np.float32(0.5) * squares[c])
    return max(0.0, float(square - 2.0 * lanes.min()))


@compiled
def distances(products: Floats, squares: Floats, square: np.float32, out: Floats) -> None:
    """Squared distances of one point to others, of their products."""
    for c in range(products.shape[0]):
        distance = square + squares[c] - np.float32(2) * products[c]
        out[c] = max(np.float32(0), distance)


@compiled
def spread(product: Floats, rows: Floats, columns: Floats, out: Floats) -> None:
    """Squared distances of some points to others, of their products and squared lengths."""
    for r in range(product.shape[0]):
        distances(product[r], columns, rows[r], out[r])
