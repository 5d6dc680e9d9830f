"""The nearest points of every point, without ever holding all distances.

Squares of the upper triangle of the distance matrix are computed one after the other; while one is warm, every row and
every column takes the points it wants from it. What a float32 product cannot decide is decided in float64, so that the
lists depend neither on the size of the squares, nor on threads, nor on the library that multiplies.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reidkit.metrics.distances import centred_units, check_metric, check_pair, compiled, prepare, shape, unit_sums
from reidkit.metrics.products import Device, full_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.metrics.distances import Array
    from reidkit.metrics.products import Multiplier
    from reidkit.types import Metric

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Indices = NDArray[np.int32]
    Keys = NDArray[np.int64]


EMPTY = 0x7F800000 << 32
"""The key of a place that holds nobody: an infinite distance."""


class Points(NamedTuple):
    """N points: `vectors` float32 [N, D] from which `centre` [D] is subtracted, and their squared lengths.

    A squared distance from a product is off by at most `slack` times the sum of both squared lengths.
    """

    vectors: Floats
    squares: Floats
    slack: np.float32
    centre: Floats


class Tally(NamedTuple):
    """What is known of the nearest of each point so far.

    `keys` int64 [N, K]: the K smallest lower bounds of squared distances, rising, each as the bits of the float32 with
    the index of the other point below it, so that equal bounds are in the order of their indices. `worst` float32 [N]:
    the last of them as a number. `farthest` float32 [N]: the largest squared distance.
    """

    keys: Keys
    worst: Floats
    farthest: Floats


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


# What is done with every number of a square of distances, compiled.


CHUNK = 64
"""Columns that are looked at together: most chunks hold nothing near, and are passed at the speed of the cache."""


@compiled
def measure(products: Floats, squares: Floats, square: np.float32) -> None:
    """Turns products of one point with others into squared distances."""
    for c in range(products.shape[0]):
        products[c] = max(np.float32(0), square + squares[c] - np.float32(2) * products[c])


@compiled
def spread(product: Floats, rows: Floats, columns: Floats) -> None:
    """Turns products of some points with others into squared distances."""
    for r in range(product.shape[0]):
        measure(product[r], columns, rows[r])


@compiled
def note(distances: Floats, row: int, column: int, farthest: Floats) -> None:
    """Remembers the largest distances; by their bits, which from 0 up is the same order and five times faster."""
    bits, columns = distances.view(np.int32), farthest[column : column + distances.shape[0]].view(np.int32)
    for c in range(bits.shape[0]):
        columns[c] = max(columns[c], bits[c])
    largest = np.int32(0)
    for c in range(bits.shape[0]):
        largest = max(largest, bits[c])
    rows = farthest.view(np.int32)
    rows[row] = max(rows[row], largest)


@compiled
def lower(distances: Floats, squares: Floats, square: np.float32, slack: np.float32) -> None:
    """Turns squared distances of one point into the least that they can be in truth."""
    for c in range(distances.shape[0]):
        distances[c] = max(np.float32(0), distances[c] - slack * (square + squares[c]))


@compiled
def seed(product: Floats, first: int, points: Points, tally: Tally) -> None:
    """Sets `worst` for the points of a square on the diagonal to something that at least K of them are nearer than.

    The points are dealt to 2 K groups, and the nearest of K groups are K points. So two thirds of what would be put
    into the lists, only to fall out again, is never looked at.
    """
    kept, width = tally.keys.shape[1], product.shape[1]
    squares = points.squares[first : first + width]
    highs = np.empty(width, np.float32)
    for r in range(product.shape[0] if width > 4 * kept else 0):
        for c in range(width):
            both = squares[r] + squares[c]
            highs[c] = max(np.float32(0), both - np.float32(2) * product[r, c] + points.slack * both)
        nearest = highs[: 2 * kept].copy()
        nearest_bits = nearest.view(np.int32)
        for start in range(2 * kept, width - 2 * kept + 1, 2 * kept):
            bits = highs[start : start + 2 * kept].view(np.int32)
            for group in range(2 * kept):
                nearest_bits[group] = min(nearest_bits[group], bits[group])
        nearest.sort()
        tally.worst[first + r] = nearest[kept - 1]


@compiled
def insert(keys: Keys, worst_bits: NDArray[np.int32], i: int, key: np.int64) -> None:
    """Puts a key into the list of point i, unless all K there are smaller."""
    row = keys[i]
    place = row.shape[0] - 1
    if key >= row[place]:
        return
    while place > 0 and key < row[place - 1]:
        row[place] = row[place - 1]
        place -= 1
    row[place] = key
    worst_bits[i] = min(worst_bits[i], row[row.shape[0] - 1] >> 32)


@compiled
def wanted(lows: Floats, worst: Floats, ours: np.float32) -> bool:
    """Whether any of these lower bounds belongs into the row's list or into its column's."""
    count = np.int32(0)
    for c in range(lows.shape[0]):
        count += np.int32((lows[c] <= ours) | (lows[c] <= worst[c]))
    return bool(count > 0)


@compiled
def offer(lows: Floats, row: int, column: int, tally: Tally) -> None:
    """Gives the lower bounds of point `row` with the points from `column` on to both, one by one."""
    bits = lows.view(np.int32)
    worst_bits = tally.worst.view(np.int32)
    for c in range(lows.shape[0]):
        other = column + c
        if lows[c] <= tally.worst[row]:
            insert(tally.keys, worst_bits, row, (np.int64(bits[c]) << 32) | np.int64(other))
        if other != row and lows[c] <= tally.worst[other]:
            insert(tally.keys, worst_bits, other, (np.int64(bits[c]) << 32) | np.int64(row))


@compiled
def merge(product: Floats, place: tuple[int, int], points: Points, tally: Tally, into: Floats) -> None:
    """Gives every row and every column of one square of the upper triangle what it wants from it.

    Args:
        product: inner products of the points from `place[0]` on with those from `place[1]` on; overwritten.
        place: the first row and the first column.
        points: all points.
        tally: added to.
        into: float32 [Q, N - Q]: the distances of the first Q points to the others are written here.
    """
    queries = into.shape[0]
    if place[0] == place[1]:
        seed(product, place[0], points, tally)
    for r in range(product.shape[0]):
        row = place[0] + r
        column = max(place[1], row)
        values = product[r, column - place[1] :]
        squares = points.squares[column : column + values.shape[0]]
        measure(values, squares, points.squares[row])
        if row < queries:
            right = values[max(0, queries - column) :]
            end = column + values.shape[0] - queries
            into[row, end - right.shape[0] : end] = right
        note(values, row, column, tally.farthest)
        lower(values, squares, points.squares[row], points.slack)
        for c in range(0, values.shape[0], CHUNK):
            lows = values[c : c + CHUNK]
            if wanted(lows, tally.worst[column + c : column + c + lows.shape[0]], tally.worst[row]):
                offer(lows, row, column + c, tally)


# Order among near neighbours where the rounding of a product leaves it open, compiled.


SUMMED = 128
"""Coordinates that are summed before it is asked whether the pair is too far apart already."""


@compiled
def apart(vectors: Floats, i: int, j: int, limit: float) -> float:
    """The squared distance of two points in double precision, or something from `limit` up if it is not below that."""
    total = 0.0
    for start in range(0, vectors.shape[1], SUMMED):
        if total >= limit:
            return total
        part = 0.0
        for k in range(start, min(start + SUMMED, vectors.shape[1])):
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
