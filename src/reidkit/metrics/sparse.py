"""Matrices that are mostly zero, by rows, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.metrics.distances import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Indices = NDArray[np.int32]
    Offsets = NDArray[np.int64]


class Sparse(NamedTuple):
    """Rows that are mostly zero: from `starts[i]` to `starts[i + 1]`, the `columns` and `values` of row i."""

    starts: Offsets
    columns: Indices
    values: Floats


def stack(parts: list[Sparse]) -> Sparse:
    """Rows one below the other."""
    starts = np.concatenate([[0], *(np.diff(part.starts) for part in parts)]).cumsum()
    columns = np.concatenate([part.columns for part in parts])
    return Sparse(starts, columns, np.concatenate([part.values for part in parts]))


@compiled
def mean_rows(rows: Sparse, members: Indices, first: int, last: int) -> Sparse:
    """For each point from `first` to `last`, the mean of the rows of its members: `members` is int32 [N, M]."""
    room = 0
    for i in range(first, last):
        for j in members[i]:
            room += rows.starts[j + 1] - rows.starts[j]
    starts = np.zeros(last - first + 1, np.int64)
    columns = np.empty(room, np.int32)
    values = np.empty(room, np.float32)
    where = np.full(rows.columns.max() + 1 if rows.columns.shape[0] else 0, -1, np.int64)
    end = 0
    for i in range(first, last):
        start = end
        for j in members[i]:
            for a in range(rows.starts[j], rows.starts[j + 1]):
                c = rows.columns[a]
                if where[c] < start:
                    where[c] = end
                    columns[end] = c
                    values[end] = 0
                    end += 1
                values[where[c]] += rows.values[a]
        for a in range(start, end):
            values[a] /= members.shape[1]
        starts[i - first + 1] = end
    return Sparse(starts, columns[:end].copy(), values[:end].copy())


@compiled
def transpose(rows: Sparse, width: int) -> Sparse:
    """The columns as rows: who has a value there, by rising row, and which."""
    starts = np.zeros(width + 1, np.int64)
    for c in rows.columns:
        starts[c + 1] += 1
    starts = starts.cumsum()
    spots = starts[:-1].copy()
    columns = np.empty(rows.columns.shape[0], np.int32)
    values = np.empty(rows.columns.shape[0], np.float32)
    for i in range(rows.starts.shape[0] - 1):
        for a in range(rows.starts[i], rows.starts[i + 1]):
            spot = spots[rows.columns[a]]
            columns[spot] = i
            values[spot] = rows.values[a]
            spots[rows.columns[a]] += 1
    return Sparse(starts, columns, values)


@compiled
def add_products(out: Floats, left: Sparse, right: Sparse, factor: float) -> None:
    """Adds `factor` times the product of two sparse matrices to a dense one."""
    for i in range(out.shape[0]):
        for a in range(left.starts[i], left.starts[i + 1]):
            c, value = left.columns[a], np.float32(factor) * left.values[a]
            for b in range(right.starts[c], right.starts[c + 1]):
                out[i, right.columns[b]] += value * right.values[b]
