"""Clusters of features without labels: DBSCAN on the Jaccard distance of k-reciprocal neighbours (Zhong et al. 2017).

The distance of two images that share no neighbour is 1, so that only short lists are ever written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.errors import UsageError
from reidkit.jit import compiled
from reidkit.metrics.neighbours import make_points, nearest_neighbours
from reidkit.metrics.products import multiplier_for
from reidkit.metrics.reranking.k_reciprocal import (
    NO_QUERY,
    ROWS,
    Graph,
    KReciprocal,
    Sparse,
    encode,
    mean_rows,
    stack,
    transpose,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.metrics.distances import Array
    from reidkit.types import Metric

    Floats = NDArray[np.float32]
    Indices = NDArray[np.int32]

OUTLIER = -1
"""The label of an image in no cluster."""


def jaccard_clusters(
    vectors: Array,
    *,
    eps: float = 0.6,
    k1: int = 30,
    k2: int = 6,
    min_images: int = 4,
    metric: Metric = "cosine",
) -> NDArray[np.int64]:
    """Cluster features by DBSCAN on their Jaccard distances, as unsupervised re-identification does.

    Args:
        vectors: features [N, D]: NumPy or a tensor.
        eps: how far from each other two neighbours in a cluster are at most; between 0 and 1.
        k1: neighbours for the reciprocal sets.
        k2: neighbours for the expansion of the encoding.
        min_images: images within `eps`, the image itself among them, that make it the core of a cluster.
        metric: `cosine` scales features to length one first.

    Returns:
        The cluster of each image, int64 [N], counted from 0; -1 for outliers.

    Raises:
        DataError: a shape that does not fit, or a row with a NaN, an infinity or values of more than 1e18.
        UsageError: numbers that make no sense.
    """
    if not 0 < eps < 1:
        raise UsageError(f"clusters with eps = {eps}: it must be above 0 and below 1, the distance of strangers")
    if min_images < 1:
        raise UsageError(f"clusters of {min_images} images: ask for 1 or more")
    from sklearn.cluster import DBSCAN

    lists = jaccard_lists(vectors, KReciprocal(k1, k2), limit=eps, metric=metric)
    found = DBSCAN(eps=eps, min_samples=min_images, metric="precomputed").fit_predict(_matrix(lists))
    labels: NDArray[np.int64] = found.astype(np.int64)
    return labels


def jaccard_lists(vectors: Array, settings: KReciprocal, *, limit: float, metric: Metric = "cosine") -> Sparse:
    """List for each image those within `limit` of it, and itself, by the Jaccard distance of `k_reciprocal`.

    d_J(i, j) = 1 - m / (2 - m), where m is the sum of the smaller of V(i) and V(j) in every column (equation 10); the
    encoding V and its expansion are those of `reranking.k_reciprocal`, over the N images alone. `settings.lam` is not
    used.

    Returns:
        The lists as rows, each by rising distance and then by index.
    """
    points = make_points(metric, images=vectors)
    count = len(points.vectors)
    found = nearest_neighbours(points, settings.longest, multiplier_for(vectors, vectors, all_pairs=True))
    graph = Graph(points.vectors, found.indices, found.distances, found.farthest, NO_QUERY)
    rows = encode(graph, settings.sizes(count))
    expanded = mean_rows(rows, settings.expansion(found.indices), 0, count)
    columns = transpose(expanded, count)
    parts = [_within(expanded, columns, first, min(first + ROWS, count), limit) for first in range(0, count, ROWS)]
    return _by_distance(stack(parts))


@compiled
def _add_common(rows: Sparse, columns: Sparse, i: int, common: Floats, touched: Indices) -> int:
    """Add to `common` [N] what point i has in common with each point; returns how many these are, in `touched`."""
    seen = 0
    for a in range(rows.starts[i], rows.starts[i + 1]):
        c, value = rows.columns[a], rows.values[a]
        for b in range(columns.starts[c], columns.starts[c + 1]):
            j = columns.columns[b]
            if common[j] == 0:
                touched[seen] = j
                seen += 1
            common[j] += min(value, columns.values[b])
    return seen


@compiled
def _within(rows: Sparse, columns: Sparse, first: int, last: int, limit: float) -> Sparse:
    """List the Jaccard distances up to `limit` from the points `first` to `last` to all; `columns` has rows turned."""
    count = columns.starts.shape[0] - 1
    common = np.zeros(count, np.float32)
    touched = np.empty(count, np.int32)
    starts = np.zeros(last - first + 1, np.int64)
    near = np.empty(1024, np.int32)
    distances = np.empty(1024, np.float32)
    end = 0
    for i in range(first, last):
        seen = _add_common(rows, columns, i, common, touched)
        if end + seen > near.shape[0]:  # make room for the case that all are near
            room = max(2 * near.shape[0], end + seen)
            more, longer = np.empty(room, np.int32), np.empty(room, np.float32)
            more[:end], longer[:end] = near[:end], distances[:end]
            near, distances = more, longer
        # Turn it into distances, and leave `common` as it was.
        for a in range(seen):
            j = touched[a]
            distance = np.float32(1) - common[j] / (np.float32(2) - common[j])
            common[j] = 0
            if j == i or distance < 0:
                distance = np.float32(0)
            if distance <= limit:
                near[end], distances[end] = j, distance
                end += 1
        starts[i - first + 1] = end
    return Sparse(starts, near[:end].copy(), distances[:end].copy())


def _by_distance(lists: Sparse) -> Sparse:
    """Sort each row by distance and then by index."""
    row = np.repeat(np.arange(len(lists.starts) - 1), np.diff(lists.starts))
    order = np.lexsort((lists.columns, lists.values, row))
    return Sparse(lists.starts, lists.columns[order], lists.values[order])


def _matrix(lists: Sparse) -> Any:
    """Return the lists as SciPy has a sparse matrix."""
    from scipy.sparse import csr_matrix

    count = len(lists.starts) - 1
    return csr_matrix((lists.values, lists.columns, lists.starts), shape=(count, count))
