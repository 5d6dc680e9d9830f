"""Distances in blocks, so that neither the whole matrix nor the whole gallery need be in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from reidkit.evaluate.kernels import squared_lengths, unit_rows
from reidkit.evaluate.multiply import multiplier_for
from reidkit.types import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[Any] | Tensor

Metric = Literal["cosine", "euclidean"]

QUERY_ROWS = 512
GALLERY_BYTES = 8 << 20
"""A block of the gallery. Larger ones, as the allocator hands them back to the system each time, took 10 % longer."""

ROW_BYTES = 256 << 20
LONGEST = 1e18
"""A feature longer than this cannot be squared in single precision with room to spare."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Features ready to be compared: `vectors` float32 [N, D], of length one for the cosine, and their squared lengths.

    The squared Euclidean distance of two of them is what is compared. For unit vectors it is 2 - 2 cos, so that both
    metrics are one computation.
    """

    vectors: NDArray[np.float32]
    squares: NDArray[np.float64]

    @property
    def slack(self) -> float:
        """`slack` of these."""
        return slack(self.vectors.shape[1])


@dataclass(frozen=True, eq=False)
class Tile:
    """The products of a block of queries and a block of the gallery: valid until the next tile is asked for."""

    first_query: int
    first_gallery: int
    query: Rows
    gallery: Rows
    product_bc: NDArray[np.float32]


def shape(array: Array, what: str) -> tuple[int, int]:
    """The shape [N, D] of features.

    Raises:
        DataError: there are not two axes, no rows or columns, or the values are no real numbers.
    """
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(f"the {what} features have the shape {list(array.shape)}: [images, dimensions] is needed")
    if str(array.dtype).removeprefix("torch.").startswith(("complex", "bool", "object", "str", "<U", "|S", "|V")):
        raise DataError(f"the {what} features are of type {array.dtype}: real numbers are needed")
    return array.shape[0], array.shape[1]


def check_pair(query: Array, gallery: Array) -> None:
    """Refuses two sets of features that cannot be compared with each other."""
    (_, ours), (_, theirs) = shape(query, "query"), shape(gallery, "gallery")
    if ours != theirs:
        raise DataError(
            f"query features have {ours} dimensions and gallery features {theirs}: make both with the same model"
        )


def to_numpy(array: Array) -> NDArray[Any]:
    """The array in NumPy, as float32 or float64; a view where it is that already, a memory map or a tensor."""
    if not isinstance(array, np.ndarray):
        array = (array.detach() if array.element_size() == 8 else array.detach().float()).cpu().numpy()
    wide = array.dtype.itemsize == 8
    return np.ascontiguousarray(array, dtype=np.float64 if wide else np.float32)


def to_host(array: Array) -> NDArray[np.float32]:
    """The array as float32 in NumPy; a view where it is that already."""
    with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused with its row
        return to_numpy(array).astype(np.float32, copy=False)


def check_metric(metric: Metric) -> None:
    """Refuses a metric that is not there."""
    if metric not in ("cosine", "euclidean"):
        raise UsageError(f"there is no metric {metric}: choose cosine or euclidean")


def prepare(array: Array, metric: Metric, what: str, numbers: NDArray[np.int64] | int = 0) -> Rows:
    """Features [N, D] as `Rows`. `numbers`: the row numbers for messages, or the number of the first row.

    Raises:
        DataError: a row holds a NaN, an infinity or values of more than 1e18.
        UsageError: there is no such metric.
    """
    check_metric(metric)
    vectors = to_host(array)
    vectors = vectors.view(np.ndarray)
    vectors.flags.writeable = False  # one type of array for the compiled loops
    squares = squared_lengths(vectors)
    bad = np.flatnonzero(~(squares < LONGEST**2))
    if bad.size:
        row = int(bad[0]) + numbers if isinstance(numbers, int) else int(numbers[bad[0]])
        value = "a NaN, an infinity" if not np.isfinite(vectors[bad[0]]).all() else "values too large to be compared"
        raise DataError(f"row {row} of the {what} features holds {value}: leave the image out or embed it again")
    if metric == "euclidean":
        return Rows(vectors, squares)
    unit = unit_rows(vectors, np.sqrt(squares))
    unit.flags.writeable = False
    return Rows(unit, squared_lengths(unit))


def slack(width: int) -> float:
    """How far a distance of `width` dimensions in single precision may be off, as a part of both squared lengths' sum.

    A sum of D rounded products is off by at most D 2^-24 |a| |b| in whatever order. Mostly it is far less, but not
    where all rounding goes one way: features that are one constant reach a fifth of it.
    """
    return (width + 16) * 2.0**-24


def gallery_rows(width: int) -> int:
    """How many rows of the gallery make a block, for features of `width` dimensions."""
    return int(np.clip(GALLERY_BYTES // (4 * width), 256, 16384))


def tiles(query: Rows, gallery: Array, metric: Metric, where: Array | None = None) -> Iterator[Tile]:
    """The products of all queries with all of the gallery; every row of the gallery is read once.

    `where`: the array that the queries came from, so that the products are made on its device.

    Raises:
        DataError: a row of the gallery cannot be compared.
    """
    multiplier = multiplier_for(query.vectors if where is None else where, gallery)
    total, width = shape(gallery, "gallery")
    step = gallery_rows(width)
    buffer = np.empty(min(QUERY_ROWS, len(query.vectors)) * min(step, total), np.float32)
    blocks = [slice(i, i + QUERY_ROWS) for i in range(0, len(query.vectors), QUERY_ROWS)]
    queries = [(block.start, Rows(query.vectors[block], query.squares[block])) for block in blocks]
    placed = [multiplier.place(rows.vectors) for _, rows in queries]
    for first in range(0, total, step):
        block = prepare(gallery[first : first + step], metric, "gallery", first)
        right = multiplier.place(block.vectors)
        for (number, rows), left in zip(queries, placed, strict=True):
            out = buffer[: len(rows.vectors) * len(block.vectors)].reshape(len(rows.vectors), len(block.vectors))
            multiplier.multiply(left, right, out)
            yield Tile(number, first, rows, block, out)


def distances(tile: Tile, metric: Metric) -> NDArray[np.float32]:
    """The distances of a tile, written over its products: 1 - cos, or the Euclidean distance."""
    dist_bc = tile.product_bc
    dist_bc *= -2
    dist_bc += tile.gallery.squares.astype(np.float32)
    dist_bc += tile.query.squares.astype(np.float32)[:, None]
    np.maximum(dist_bc, 0, out=dist_bc)
    return np.multiply(dist_bc, 0.5, out=dist_bc) if metric == "cosine" else np.sqrt(dist_bc, out=dist_bc)


def from_squares(squared: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """The distances that belong to squared Euclidean distances of `Rows`."""
    return squared / 2 if metric == "cosine" else np.sqrt(squared)


def to_squares(distance: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """The opposite of `from_squares`."""
    return distance * 2 if metric == "cosine" else np.square(distance)


def distance_blocks(
    query: Array, gallery: Array, metric: Metric = "cosine", block: int | None = None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The distances of all queries to the whole gallery, a block of queries at a time.

    Args:
        query: features [Q, D]: NumPy, a memory map, or a tensor on any device.
        gallery: features [G, D], likewise.
        metric: `cosine` gives 1 - cos, between 0 and 2; `euclidean` the distance itself, not squared.
        block: queries at a time; by default as many as make 256 MB of distances.

    Yields:
        The number of the first query, and the distances float32 [block, G]. They are right to about 1e-6 of the squared
        lengths: two equal features may be at 1e-3 of their length from each other in the Euclidean distance.

    Raises:
        DataError: shapes that do not fit, or a row with a NaN, an infinity or values of more than 1e18.
    """
    check_pair(query, gallery)
    total = len(gallery)
    step = block or max(1, min(len(query), ROW_BYTES // (4 * total)))
    for first in range(0, len(query), step):
        rows = prepare(query[first : first + step], metric, "query", first)
        out = np.empty((len(rows.vectors), total), np.float32)
        for tile in tiles(rows, gallery, metric, where=query):
            part = distances(tile, metric)
            out[tile.first_query : tile.first_query + len(part), tile.first_gallery :][:, : part.shape[1]] = part
        yield first, out


def gather(array: Array, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Some rows of features, as float32 in NumPy."""
    if isinstance(array, np.ndarray):
        return to_host(array[rows])
    import torch

    return to_host(array[torch.from_numpy(rows).to(array.device)])
