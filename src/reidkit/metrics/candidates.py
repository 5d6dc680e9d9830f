"""Points to be compared, the order in which all pairs are, and what is known of the nearest of each point."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit.jit import compiled

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Keys = NDArray[np.int64]

EMPTY = 0x7F800000 << 32
"""The key of an empty entry: an infinite distance."""


class Points(NamedTuple):
    """N points: `vectors` float32 [N, D] from which `centre` [D] is subtracted, and their squared lengths.

    A squared distance from a product is off by at most `slack` times the sum of both squared lengths.
    """

    vectors: Floats
    squares: Floats
    slack: np.float32
    centre: Floats


class Candidates(NamedTuple):
    """What is known so far of the nearest of each point.

    `keys` int64 [N, K]: the K smallest lower bounds of squared distances, rising, each as the bits of the float32 with
    the index of the other point below it, so that equal bounds are in the order of their indices. `worst` float32 [N]:
    the last of them as a number. `farthest` float32 [N]: the largest squared distance.
    """

    keys: Keys
    worst: Floats
    farthest: Floats


def sweep_triangle(count: int, block: int, multiply: Callable[[slice, slice], Any], merge: Callable[..., None]) -> None:
    """Go through the upper triangle of all pairs of points by square blocks, those of the diagonal first.

    Args:
        count: N points.
        block: rows and columns of a block.
        multiply: makes the block of these rows and columns; one block more may be made while the last one is in use.
        merge: called with a block and its first row and column, in a thread beside the next `multiply`.
    """
    firsts = range(0, count, block)
    corners = [(row, column) for row in firsts for column in firsts if row <= column]
    corners.sort(key=lambda corner: corner[0] != corner[1])  # the diagonal gives every point its first limit
    with ThreadPoolExecutor(1) as pool:
        merging: Future[None] | None = None
        for row, column in corners:
            made = multiply(slice(row, min(row + block, count)), slice(column, min(column + block, count)))
            if merging is not None:
                merging.result()
            merging = pool.submit(merge, made, (row, column))
        if merging is not None:
            merging.result()


@compiled
def limit_of(values: Floats, kept: int) -> np.float32:
    """Return a number that at least `kept` of the values, 2 `kept` or more of them and none below 0, do not exceed.

    They are dealt to 2 K groups, and the smallest of K groups are K values: quick, and near the K-th smallest.
    """
    smallest = values[: 2 * kept].copy()
    smallest_bits = smallest.view(np.int32)
    for start in range(2 * kept, values.shape[0] - 2 * kept + 1, 2 * kept):
        bits = values[start : start + 2 * kept].view(np.int32)
        for group in range(2 * kept):
            smallest_bits[group] = min(smallest_bits[group], bits[group])
    smallest.sort()
    limit: np.float32 = smallest[kept - 1]
    return limit


@compiled
def insert_bound(candidates: Candidates, i: int, j: int, bound: np.float32) -> None:
    """Insert the lower bound of the distance of point j into the list of point i."""
    bits = np.empty(1, np.int32)
    bits.view(np.float32)[0] = bound
    insert_key(candidates.keys, candidates.worst.view(np.int32), i, (np.int64(bits[0]) << 32) | np.int64(j))


@compiled
def insert_key(keys: Keys, worst_bits: NDArray[np.int32], i: int, key: np.int64) -> None:
    """Insert a key into the sorted list of point i, unless all K there are smaller."""
    row = keys[i]
    slot = row.shape[0] - 1
    if key >= row[slot]:
        return
    while slot > 0 and key < row[slot - 1]:
        row[slot] = row[slot - 1]
        slot -= 1
    row[slot] = key
    worst_bits[i] = min(worst_bits[i], row[row.shape[0] - 1] >> 32)
