"""Points to be compared, and what is known of the nearest of each: a sorted list of lower bounds of distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from reidkit.jit import compiled

if TYPE_CHECKING:
    import numpy as np
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
