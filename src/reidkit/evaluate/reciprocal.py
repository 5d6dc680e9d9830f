"""k-reciprocal encoding on lists of neighbours (Zhong et al. 2017, sections 3.2 to 3.4), compiled.

A row of the encoding is zero but for a few dozen columns, and only these are ever written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.evaluate.kernels import compiled
from reidkit.evaluate.settle_kernels import apart
from reidkit.evaluate.sparse import Sparse, stack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Indices = NDArray[np.int32]
    Offsets = NDArray[np.int64]

ROWS = 2048
"""Rows that are encoded at a time: room is made for the longest that these can become."""


class Graph(NamedTuple):
    """Points and their nearest, as `neighbours.Neighbours` describes them.

    `guest` [N]: the squared distances of one more point, whose number is N and which has no vector; or `NOBODY`.
    """

    vectors: Floats
    indices: Indices
    distances: Floats
    farthest: Floats
    guest: Floats


NOBODY = np.empty(0, np.float32)


@compiled
def between(graph: Graph, i: int, j: int) -> float:
    """The squared distance of two points in double precision, or to the guest."""
    count = graph.vectors.shape[0]
    if i < count and j < count:
        return apart(graph.vectors, i, j, np.inf)
    return 0.0 if i == j else float(graph.guest[min(i, j)])


@compiled
def mutual(indices: Indices, i: int, size: int, out: Indices) -> int:
    """R(i): those of the `size` nearest of i that have i among their own `size` nearest; returns how many."""
    count = 0
    for a in range(size):
        j = indices[i, a]
        for b in range(size):
            if indices[j, b] == i:
                out[count] = j
                count += 1
                break
    return count


@compiled
def expanded(indices: Indices, i: int, sizes: tuple[int, int], marks: Offsets, out: Indices) -> int:
    """R*(i): R(i, k1) with every R(j, k1/2) of its members that lies in it by more than two thirds (equation 5).

    Args:
        indices: the nearest of every point.
        i: the point.
        sizes: k1 + 1 and round(k1 / 2) + 1, as a point is in its own list.
        marks: one place for each point, all below 2 i; overwritten.
        out: room for the members.

    Returns:
        The number of members.
    """
    core, joined = np.int64(2 * i + 1), np.int64(2 * i)
    count = mutual(indices, i, sizes[0], out)
    own = count
    for a in range(own):
        marks[out[a]] = core
    half = np.empty(sizes[1], np.int32)
    for a in range(own):
        members = mutual(indices, out[a], sizes[1], half)
        common = 0
        for b in range(members):
            common += marks[half[b]] == core
        if 3 * common <= 2 * members:
            continue
        for b in range(members):
            if marks[half[b]] < joined:
                marks[half[b]] = joined
                out[count] = half[b]
                count += 1
    return count


@compiled
def weigh(graph: Graph, i: int, columns: Indices, near: Floats, values: Floats) -> None:
    """exp(-d) of point i and its members, to the sum one; d is divided by the farthest distance of i (equation 7).

    `near`: one place for each point, NaN everywhere, and so again afterwards.
    """
    for a in range(graph.indices.shape[1]):
        near[graph.indices[i, a]] = graph.distances[i, a]
    scale = 1.0 / graph.farthest[i] if graph.farthest[i] > 0 else 0.0
    total = 0.0
    for a in range(columns.shape[0]):
        j = columns[a]
        known = near[j]
        distance = between(graph, i, j) if np.isnan(known) else float(known)
        weight = np.exp(-distance * scale)
        values[a] = weight
        total += weight
    for a in range(columns.shape[0]):
        values[a] /= total
    for a in range(graph.indices.shape[1]):
        near[graph.indices[i, a]] = np.nan


@compiled
def encode_some(graph: Graph, rows: Indices, sizes: tuple[int, int]) -> Sparse:
    """The rows V(i) of some points, in rising order (equation 7)."""
    room = sizes[0] * (sizes[1] + 1)
    starts = np.zeros(rows.shape[0] + 1, np.int64)
    columns = np.empty(rows.shape[0] * room, np.int32)
    values = np.empty(rows.shape[0] * room, np.float32)
    marks = np.full(graph.indices.shape[0], -1, np.int64)
    near = np.full(graph.indices.shape[0], np.nan, np.float32)
    for r in range(rows.shape[0]):
        start = starts[r]
        count = expanded(graph.indices, rows[r], sizes, marks, columns[start:])
        weigh(graph, rows[r], columns[start : start + count], near, values[start : start + count])
        starts[r + 1] = start + count
    return Sparse(starts, columns[: starts[-1]].copy(), values[: starts[-1]].copy())


def encode(graph: Graph, sizes: tuple[int, int]) -> Sparse:
    """The rows V(i) of all points (equation 7)."""
    everybody = np.arange(len(graph.indices), dtype=np.int32)
    return stack(
        [encode_some(graph, everybody[first : first + ROWS], sizes) for first in range(0, len(everybody), ROWS)]
    )


@compiled
def finish(block: Floats, queries: Sparse, gallery: Sparse, farthest: Floats, lam: float) -> None:
    """Turns squared distances [B, G] into (1 - lam) Jaccard + lam original distances, in place (equations 10 and 12).

    Args:
        block: squared distances of B queries to the gallery.
        queries: the expanded rows of these queries.
        gallery: the transpose of the expanded rows of the gallery.
        farthest: the largest squared distance of each of these queries.
        lam: the weight of the original distance.
    """
    common = np.zeros(block.shape[1], np.float32)
    for q in range(block.shape[0]):
        scale = np.float32(lam / farthest[q]) if farthest[q] > 0 else np.float32(0)
        for g in range(block.shape[1]):
            block[q, g] = block[q, g] * scale + np.float32(1 - lam)
        for a in range(queries.starts[q], queries.starts[q + 1]):
            c, value = queries.columns[a], queries.values[a]
            for b in range(gallery.starts[c], gallery.starts[c + 1]):
                common[gallery.columns[b]] += min(value, gallery.values[b])
        for a in range(queries.starts[q], queries.starts[q + 1]):
            c = queries.columns[a]
            for b in range(gallery.starts[c], gallery.starts[c + 1]):
                g = gallery.columns[b]
                block[q, g] -= np.float32(1 - lam) * common[g] / (np.float32(2) - common[g])
                common[g] = 0
