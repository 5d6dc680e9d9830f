"""Order among near neighbours where the rounding of a product leaves it open, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reidkit.metrics.kernels import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.metrics.neighbour_kernels import Points, Tally

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Indices = NDArray[np.int32]

CHUNK = 128
"""Coordinates that are summed before it is asked whether the pair is too far apart already."""


@compiled
def apart(vectors: Floats, i: int, j: int, limit: float) -> float:
    """The squared distance of two points in double precision, or something from `limit` up if it is not below that."""
    total = 0.0
    for start in range(0, vectors.shape[1], CHUNK):
        if total >= limit:
            return total
        part = 0.0
        for k in range(start, min(start + CHUNK, vectors.shape[1])):
            difference = np.float64(vectors[i, k]) - np.float64(vectors[j, k])
            part += difference * difference
        total += part
    return total


@compiled
def place(indices: Indices, values: Doubles, count: int, j: int, value: float) -> None:
    """Puts point j among the first `count` entries, sorted by distance and then by index; the last may fall out."""
    spot = count
    while spot > 0 and (value < values[spot - 1] or (value == values[spot - 1] and j < indices[spot - 1])):
        if spot < indices.shape[0]:
            values[spot] = values[spot - 1]
            indices[spot] = indices[spot - 1]
        spot -= 1
    if spot < indices.shape[0]:
        values[spot] = value
        indices[spot] = j


@compiled
def search(vectors: Floats, i: int, indices: Indices, values: Doubles) -> None:
    """The nearest points of point i, by looking at all of them."""
    found, size = 0, indices.shape[0]
    for j in range(vectors.shape[0]):
        limit = values[size - 1] if found == size else np.inf
        value = apart(vectors, i, j, limit)
        if value < limit:
            place(indices, values, found, j, value)
            found = min(found + 1, size)


@compiled
def order(points: Points, tally: Tally, i: int, indices: Indices, values: Doubles) -> bool:
    """Sorts the candidates of point i by distance and then by index; False if others may be among the first `k`.

    Candidates come by rising lower bounds. One whose lower bound is above all upper bounds so far stands behind them;
    the rest are in groups that overlap, and in these the distances are computed again.
    """
    kept = tally.keys.shape[1]
    lows = np.empty(kept, np.float64)
    highs = np.empty(kept, np.float64)
    bits = np.empty(1, np.int32)
    for c in range(kept):
        bits[0] = tally.keys[i, c] >> 32
        j = tally.keys[i, c] & 0x7FFFFFFF
        lows[c] = bits.view(np.float32)[0]
        highs[c] = lows[c] + 2 * points.slack * (np.float64(points.squares[i]) + points.squares[j])
    start = 0
    while start < indices.shape[0]:
        stop, high = start + 1, highs[start]
        while stop < kept and lows[stop] <= high:
            high = max(high, highs[stop])
            stop += 1
        for c in range(start, stop):
            j = tally.keys[i, c] & 0x7FFFFFFF
            known = stop == start + 1 and lows[c] > 0
            value = 0.5 * (lows[c] + highs[c]) if known else apart(points.vectors, i, j, np.inf)
            place(indices, values, min(c, indices.shape[0]), j, value)
        start = stop
    everybody = kept == points.vectors.shape[0]
    return everybody or bool(values[indices.shape[0] - 1] < lows[kept - 1])


@compiled
def sharpen(vectors: Floats, indices: Indices, distances: Floats) -> None:
    """Computes the distances of neighbours again, in double precision: then those that are equal are equal."""
    for i in range(indices.shape[0]):
        for a in range(indices.shape[1]):
            distances[i, a] = apart(vectors, i, indices[i, a], np.inf)


@compiled
def settle(points: Points, tally: Tally, indices: Indices, distances: Floats) -> int:
    """The nearest of every point in their true order; returns for how many points all others had to be looked at."""
    values = np.empty(indices.shape[1])
    searched = 0
    for i in range(indices.shape[0]):
        if not order(points, tally, i, indices[i], values):
            search(points.vectors, i, indices[i], values)
            searched += 1
        distances[i] = values
    return searched
