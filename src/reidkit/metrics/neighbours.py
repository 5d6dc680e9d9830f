"""The nearest points of every point, without ever holding all distances.

Squares of the upper triangle of the distance matrix are computed one after the other; while one is warm, every row and
every column takes the points it wants from it. What a float32 product cannot decide is decided in float64, so that the
lists depend neither on the size of the squares, nor on threads, nor on the library that multiplies.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.metrics.distances import Device, Metric, check_metric, check_pair, full_precision, prepare, shape
from reidkit.metrics.exact_order import settle
from reidkit.metrics.kernels import centred_units, unit_sums
from reidkit.metrics.neighbour_kernels import EMPTY, Points, Tally, merge, spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.metrics.distances import Array, Multiplier

    Floats = NDArray[np.float32]


# The nearest points of every point on an accelerator: only lists and maxima come back from it.

BLOCK = 1 << 27
"""Distances in one block: 512 MB, of which the device needs room for three."""


def sweep_on_device(points: Points, tally: Tally, device: Any, into: NDArray[np.float32]) -> None:
    """Fills the lists and the farthest distances of a tally, as `nearest_kernels.merge` does square by square.

    A block of rows is compared with all points at once, without the use of symmetry: products are the cheapest there.
    Of bounds that are equal where a list ends any may be kept; `settle` then looks at all points.

    Args:
        points: N points, which are copied to the device.
        tally: `keys` and `farthest` are filled; `worst` is left as it is.
        device: a device of torch.
        into: float32 [Q, N - Q]: filled with the squared distances of the first Q points to the others.
    """
    import torch

    vectors, squares = (torch.tensor(values, device=device) for values in (points.vectors, points.squares))
    slack, queries = float(points.slack), len(into)
    count, kept = tally.keys.shape
    step = max(1, BLOCK // count)
    with full_precision(torch.backends.cuda.matmul), torch.inference_mode():
        for first in range(0, count, step):
            rows = slice(first, min(first + step, count))
            both = squares[rows, None] + squares
            distances = torch.addmm(both, vectors[rows], vectors.T, alpha=-2).clamp_(min=0)
            tally.farthest[rows] = distances.amax(dim=1).cpu().numpy()
            if first < queries:
                into[rows] = distances[: queries - first, queries:].cpu().numpy()
            bounds, others = distances.sub_(both.mul_(slack)).clamp_(min=0).topk(kept, largest=False)
            keys = (bounds.view(torch.int32).long() << 32) | others
            tally.keys[rows] = keys.sort(dim=1).values.cpu().numpy()


SQUARE = 1024
"""Rows and columns of one square: large enough for the product, small enough to stay in the cache (4 MB)."""

SPARE = 6
"""Candidates kept beyond the k nearest, so that the rounding of a product rarely reaches past the list's end."""

CENTRE_MASK = np.uint32(0xFFFFF000)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest of N points, by squared Euclidean distance and then by index; a point is its own neighbour.

    `indices` int32 [N, k], `distances` float32 [N, k] squared, `farthest` float32 [N]: the largest squared distance
    of a point to any other.
    """

    indices: NDArray[np.int32]
    distances: Floats
    farthest: Floats


def points_of(metric: Metric, **parts: Array) -> Points:
    """Features, one part below the other, as points whose squared Euclidean distances are what is compared.

    Their mean is subtracted, which changes no distance but keeps the rounding of products small where all features lie
    close together. The mean is cut to 12 bits, so that the difference of short numbers is still exact.

    Raises:
        DataError: a part, which is called by its name, with a shape that does not fit, or a row with a NaN, an infinity
            or values of more than 1e18.
    """
    check_metric(metric)
    for name, part in parts.items():
        shape(part, name)
    if len(parts) == 2:
        check_pair(*parts.values())
    ready = [prepare(part, "euclidean", name) for name, part in parts.items()]
    lengths = [np.sqrt(rows.squares) if metric == "cosine" else np.ones(len(rows.squares)) for rows in ready]
    total = sum(len(rows.vectors) for rows in ready)
    sums = (unit_sums(rows.vectors, length) for rows, length in zip(ready, lengths, strict=True))
    centre = (np.sum(list(sums), axis=0) / total).astype(np.float32)
    centre = (centre.view(np.uint32) & CENTRE_MASK).view(np.float32)
    vectors, squares = np.empty((total, len(centre)), np.float32), np.empty(total, np.float32)
    start = 0
    for rows, length in zip(ready, lengths, strict=True):
        place = slice(start, start + len(length))
        squares[place] = centred_units(rows.vectors, length, centre, vectors[place])
        start = place.stop
    # A sum of D rounded products is off by at most D 2^-24 |a| |b| in whatever order; the rest is for the squares.
    return Points(vectors, squares, np.float32((len(centre) + 16) * 2.0**-24), centre)


def nearest(points: Points, k: int, multiplier: Multiplier, into: Floats | None = None) -> Neighbours:
    """The `k` nearest points of every point (all N of them when k is larger), itself included.

    Args:
        points: N points.
        k: how many.
        multiplier: makes the products.
        into: float32 [Q, N - Q]: filled with the squared distances of the first Q points to the others.
    """
    count = len(points.vectors)
    tally = Tally(
        np.full((count, min(k + SPARE, count)), EMPTY, np.int64),
        np.full(count, np.inf, np.float32),
        np.zeros(count, np.float32),
    )
    into = np.empty((0, count), np.float32) if into is None else into
    if isinstance(multiplier, Device):
        sweep_on_device(points, tally, multiplier.device, into)
    else:
        _sweep(points, tally, multiplier, into)
    indices = np.empty((count, min(k, count)), np.int32)
    distances = np.empty(indices.shape, np.float32)
    settle(points, tally, indices, distances)
    # Where all are equal, only rounding keeps them apart, and dividing by the largest of it would make much of nothing.
    tally.farthest[tally.farthest <= 4 * points.slack * points.squares.max()] = 0
    return Neighbours(indices, distances, tally.farthest)


def _sweep(points: Points, tally: Tally, multiplier: Multiplier, into: Floats) -> None:
    """One square after the other, the next product under way while the last one is looked through."""
    count, placed = len(points.vectors), multiplier.place(points.vectors)
    buffers = np.empty((2, min(SQUARE, count) ** 2), np.float32)
    firsts = range(0, count, SQUARE)
    places = [(row, column) for row in firsts for column in firsts if row <= column]
    places.sort(key=lambda place: place[0] != place[1])  # the diagonal first: it gives every list its first limit
    with ThreadPoolExecutor(1) as pool:
        merging: Future[None] | None = None
        for number, (row, column) in enumerate(places):
            bottom, right = min(row + SQUARE, count), min(column + SQUARE, count)
            square = buffers[number % 2, : (bottom - row) * (right - column)].reshape(bottom - row, right - column)
            multiplier.multiply(placed[row:bottom], placed[column:right], square)
            if merging is not None:
                merging.result()
            merging = pool.submit(merge, square, (row, column), points, tally, into)
        if merging is not None:
            merging.result()


def fill(points: Points, placed: Any, rows: slice, columns: slice, multiplier: Multiplier) -> Floats:
    """The squared distances of some points to others; `placed` are all, where the multiplier put them."""
    out = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    multiplier.multiply(placed[rows], placed[columns], out)
    spread(out, points.squares[rows], points.squares[columns])
    return out
