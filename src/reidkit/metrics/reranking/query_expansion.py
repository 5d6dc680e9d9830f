"""Alpha query expansion (Radenović et al. 2018, arXiv:1711.02512, section 5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reidkit.errors import UsageError
from reidkit.jit import compiled
from reidkit.metrics.distances import check_pair, distance_blocks, gather, prepare, unit_rows
from reidkit.metrics.neighbours import EMPTY, insert_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.metrics.distances import Array


def alpha_query_expansion(query: Array, gallery: Array, k: int = 10, alpha: float = 3.0) -> NDArray[np.float32]:
    """Move queries towards what they find: q' = q + the sum over its k nearest g of cos(q, g)^alpha g, of length one.

    Neighbours with a cosine below zero add nothing. Equal cosines are ordered by index. A gallery is expanded by being
    its own query: every image is then among its own neighbours.

    Args:
        query: features [Q, D]: NumPy or a tensor. They are scaled to length one.
        gallery: features [G, D], likewise.
        k: neighbours; cut to G.
        alpha: 0 is average query expansion; the larger, the less the far ones count.

    Returns:
        float32 [Q, D], of length one.

    Raises:
        DataError: shapes that do not fit, or a row with a NaN, an infinity or values of more than 1e18.
        UsageError: k below 1, or alpha below 0.
    """
    if k < 1 or not 0 <= alpha < np.inf:
        raise UsageError(f"query expansion with k = {k} and alpha = {alpha}: k is at least 1, and alpha at least 0")
    check_pair(query, gallery)
    result = prepare(query, "cosine", "query").vectors.copy()
    for first, dist_bg in distance_blocks(query, gallery):
        near_bk = smallest(dist_bg, min(k, len(gallery)))
        cosine_bk = 1 - np.take_along_axis(dist_bg, near_bk, axis=1)
        weight_bk = np.where(cosine_bk > 0, np.maximum(cosine_bk, 0) ** np.float32(alpha), np.float32(0))
        for i, (near_k, weight_k) in enumerate(zip(near_bk, weight_bk, strict=True), first):
            result[i] += weight_k @ prepare(gather(gallery, near_k), "cosine", "gallery", near_k).vectors
    lengths = np.sqrt(np.square(result, dtype=np.float64).sum(axis=1))
    return unit_rows(result, lengths)


@compiled
def smallest(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Find the columns of the k smallest of every row, none below zero, by value and then by column: int64 [B, k]."""
    found = np.empty((values.shape[0], k), np.int64)
    keys = np.empty((1, k), np.int64)
    worst = np.empty(1, np.float32)
    worst_bits = worst.view(np.int32)
    for i in range(values.shape[0]):
        keys[:] = EMPTY
        worst[0] = np.inf
        bits = values[i].view(np.int32)
        for c in range(values.shape[1]):
            if values[i, c] <= worst[0]:
                insert_key(keys, worst_bits, 0, (np.int64(bits[c]) << 32) | np.int64(c))
        found[i] = keys[0] & 0x7FFFFFFF
    return found
