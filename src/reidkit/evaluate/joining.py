"""What one new point changes among the neighbours of a gallery, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reidkit.evaluate.kernels import compiled
from reidkit.evaluate.reciprocal import mutual

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.evaluate.nearest_kernels import Points

    Floats = NDArray[np.float32]
    Indices = NDArray[np.int32]


@compiled
def approach(points: Points, query: Floats, guest: Floats, limits: Floats) -> None:
    """Computes distances in double precision where they may be within the limit of a point.

    Args:
        points: N points.
        query: one more, [D].
        guest: its squared distances from products, [N]; made better in place.
        limits: of each point, [N].
    """
    square = np.float32(0)
    for k in range(query.shape[0]):
        square += query[k] * query[k]
    for g in range(guest.shape[0]):
        if guest[g] - points.slack * (square + points.squares[g]) > limits[g]:
            continue
        total = 0.0
        for k in range(query.shape[0]):
            difference = np.float64(points.vectors[g, k]) - np.float64(query[k])
            total += difference * difference
        guest[g] = total


@compiled
def join(indices: Indices, distances: Floats, guest: Floats) -> None:
    """Puts the new point N into the lists of all others, before those that are as far, and the last one out."""
    count, size = guest.shape[0], indices.shape[1]
    for g in range(count):
        place = size - 1
        if guest[g] > distances[g, place]:
            continue
        while place > 0 and guest[g] <= distances[g, place - 1]:
            indices[g, place] = indices[g, place - 1]
            distances[g, place] = distances[g, place - 1]
            place -= 1
        indices[g, place] = count
        distances[g, place] = guest[g]


@compiled
def reach(indices: Indices, columns: Indices, sizes: tuple[int, int]) -> NDArray[np.bool_]:
    """Who may have one of these columns in R*: being mutual neighbours is symmetric, so they are found from the column.

    c is in R*(x) if it is in R(x, k1), or in R(j, k1/2) of a j in R(x, k1). So x is in R(c, k1), or in R(j, k1) of a j
    in R(c, k1/2).
    """
    found = np.zeros(indices.shape[0], np.bool_)
    near, half = np.empty(sizes[0], np.int32), np.empty(sizes[1], np.int32)
    for c in columns:
        for a in range(mutual(indices, c, sizes[0], near)):
            found[near[a]] = True
        for a in range(mutual(indices, c, sizes[1], half)):
            for b in range(mutual(indices, half[a], sizes[0], near)):
                found[near[b]] = True
    return found


@compiled
def having(members: Indices, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows have a wanted member."""
    found = np.zeros(members.shape[0], np.bool_)
    for i in range(members.shape[0]):
        for j in members[i]:
            found[i] |= wanted[j]
    return found
