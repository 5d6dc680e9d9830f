"""Compiled loops over features: exact cosines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reidkit.jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray


@compiled
def cosines(vectors_nd: NDArray[np.float32], weights_d: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute w.x / |x| of every row x, in double precision and in one order: equal rows give equal bits.

    A row of zeros gives 0. Nothing in single precision is too large or too small to be squared in double precision.
    """
    out_n = np.zeros(vectors_nd.shape[0])
    for n in range(vectors_nd.shape[0]):
        product, square = 0.0, 0.0
        for d in range(vectors_nd.shape[1]):
            value = np.float64(vectors_nd[n, d])
            product += value * weights_d[d]
            square += value * value
        if square > 0:
            out_n[n] = product / np.sqrt(square)
    return out_n
