"""The one distance of reidkit, and the one rule for when single precision is not enough.

**Distance.** What is compared is the squared Euclidean distance, of features as they are or, for the cosine, of length
one, where it is 2 - 2 cos: both metrics are one computation. Distances come from a product of matrices in single
precision, |a|^2 + |b|^2 - 2 a b, a block (`Tile`) at a time, so that neither the whole matrix nor the whole gallery
need be in memory. (The triplet loss needs a distance with a gradient and has its own line for it.)

**Rule.** Such a distance is off by at most `slack` times the sum of both squared lengths. Wherever that could change
an order, a count or a tie, `pair_squares` computes it again in double precision, by one loop whose terms are added in
one order: equal features are at equal distances, and no result depends on the size of blocks, on threads or on the
library that multiplies. What is in doubt is said by `Rows.slack` (distances that are compared with an exact one) and by
`doubt` (distances that are compared with another inexact one).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.errors import DataError, UsageError
from reidkit.jit import compiled
from reidkit.metrics.products import multiplier_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from reidkit.types import Metric

    Array = NDArray[Any] | Tensor
    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]

QUERY_ROWS = 512
GALLERY_BYTES = 8 << 20
"""A block of the gallery. Larger ones, as the allocator hands them back to the system each time, took 10 % longer."""
ROW_BYTES = 256 << 20
LONGEST = 1e18
"""A feature longer than this cannot be squared in single precision with room to spare."""
SHORTEST = 1e-15
"""Of features that are all shorter than this, products in single precision lose their digits, or vanish."""


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
        """How far a distance of two of them can be off, as a share of both squared lengths (see `slack`)."""
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
    """Check and return the shape [N, D] of features.

    Raises:
        DataError: there are not two axes, no rows or columns, or the values are no real numbers.
    """
    if array.ndim != 2 or 0 in array.shape:
        remedy = (
            "give at least one image" if array.ndim == 2 and not array.shape[0] else "[images, dimensions] is needed"
        )
        raise DataError(f"the {what} features have the shape {list(array.shape)}: {remedy}")
    if str(array.dtype).removeprefix("torch.").startswith(("complex", "bool", "object", "str", "<U", "|S", "|V")):
        raise DataError(f"the {what} features are of type {array.dtype}: real numbers are needed")
    return array.shape[0], array.shape[1]


def check_pair(query: Array, gallery: Array) -> None:
    """Refuse two sets of features that cannot be compared with each other."""
    (_, ours), (_, theirs) = shape(query, "query"), shape(gallery, "gallery")
    if ours != theirs:
        raise DataError(
            f"query features have {ours} dimensions and gallery features {theirs}: make both with the same model"
        )


def to_numpy(array: Array) -> NDArray[Any]:
    """Make it a NumPy array of float32 or float64; a view where it is that already, a memory map or a tensor."""
    if not isinstance(array, np.ndarray):
        array = (array.detach() if array.element_size() == 8 else array.detach().float()).cpu().numpy()
    wide = array.dtype.itemsize == 8
    return np.ascontiguousarray(array, dtype=np.float64 if wide else np.float32)


def to_host(array: Array) -> NDArray[np.float32]:
    """Make it a NumPy array of float32; a view where it is that already."""
    with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused with its row
        return to_numpy(array).astype(np.float32, copy=False)


def check_metric(metric: Metric) -> None:
    """Refuse a metric that does not exist."""
    if metric not in ("cosine", "euclidean"):
        raise UsageError(f"there is no metric {metric}: choose cosine or euclidean", argument="metric")


def prepare(array: Array, metric: Metric, what: str, numbers: NDArray[np.int64] | int = 0) -> Rows:
    """Check features [N, D] and make them `Rows`; messages use the `numbers` of rows, or that of the first one.

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
        value = "a NaN or an infinity" if not np.isfinite(vectors[bad[0]]).all() else "values too large to be compared"
        raise DataError(f"row {row} of the {what} features holds {value}: leave the image out or embed it again")
    if metric == "euclidean":
        return Rows(vectors, squares)
    unit = unit_rows(vectors, np.sqrt(squares))
    unit.flags.writeable = False
    return Rows(unit, squared_lengths(unit))


def refuse_tiny(longest_square: float) -> None:
    """Refuse features, to be compared as they are, that are all too short, unless all are zero.

    Raises:
        DataError: the largest of their squared lengths is above 0 and below `SHORTEST` squared.
    """
    if 0 < longest_square < SHORTEST**2:
        raise DataError(
            f"features shorter than {SHORTEST:g} have no Euclidean distances in single precision: compare them by the "
            "cosine, or multiply all by one number",
            argument="metric",
        )


def slack(width: int) -> float:
    """How far a distance of `width` dimensions in single precision may be off, as a part of both squared lengths' sum.

    A sum of D rounded products is off by at most D 2^-24 |a| |b| in whatever order. Mostly it is far less, but not
    where all rounding goes one way: features that are one constant reach a fifth of it.
    """
    return (width + 16) * 2.0**-24


def doubt(query: Rows, limit: Any) -> Any:
    """Return how far beyond `limit` a squared distance of a query may seem to be, though in truth it is within it.

    Both the limit and what is compared with it come from products, so that either may be off by the slack. An image in
    question is no longer than the query and its distance together. `limit` is a number or an array of them; or, of b
    queries, an array [b, ...].
    """
    square = query.squares[0] if len(query.squares) == 1 else query.squares.reshape(-1, *[1] * (limit.ndim - 1))
    return 2 * query.slack * (square + (square**0.5 + limit**0.5) ** 2)


def gallery_rows(width: int) -> int:
    """Return how many rows of the gallery make a block, for features of `width` dimensions."""
    return int(np.clip(GALLERY_BYTES // (4 * width), 256, 16384))


def steps(count: int, step: int) -> Iterator[slice]:
    """Yield `count` rows as slices of `step` of them, one at least; the last may be shorter."""
    step = max(1, step)
    return (slice(first, min(first + step, count)) for first in range(0, count, step))


def tiles(query: Rows, gallery: Array, metric: Metric, where: Array | None = None) -> Iterator[Tile]:
    """Multiply all queries with all of the gallery, of which every row is read once.

    `where`: the array that the queries came from, so that the products are made on its device.

    Raises:
        DataError: a row of the gallery cannot be compared, or all are too short.
    """
    multiplier = multiplier_for(query.vectors if where is None else where, gallery)
    total, width = shape(gallery, "gallery")
    step = gallery_rows(width)
    buffer = np.empty(min(QUERY_ROWS, len(query.vectors)) * min(step, total), np.float32)
    blocks = [slice(i, i + QUERY_ROWS) for i in range(0, len(query.vectors), QUERY_ROWS)]
    queries = [(block.start, Rows(query.vectors[block], query.squares[block])) for block in blocks]
    placed = [multiplier.place(rows.vectors) for _, rows in queries]
    longest = float(query.squares.max())
    for first in range(0, total, step):
        block = prepare(gallery[first : first + step], metric, "gallery", first)
        refuse_tiny(max(longest, float(block.squares.max())))
        right = multiplier.place(block.vectors)
        for (number, rows), left in zip(queries, placed, strict=True):
            out = buffer[: len(rows.vectors) * len(block.vectors)].reshape(len(rows.vectors), len(block.vectors))
            multiplier.multiply(left, right, out)
            yield Tile(number, first, rows, block, out)


@compiled
def from_product(one: Any, other: Any, product: Any) -> Any:
    """Compute a squared distance from both squared lengths and the inner product; it is not below zero."""
    squared = one + other - (product + product)
    return squared if squared > 0 else squared - squared  # a zero of the same precision


def from_products(product_bc: Floats, one: Any, other_c: Floats) -> Floats:
    """`from_product` for many pairs, in place: `one` is a squared length or [b, 1] of them, `other_c` [c]."""
    product_bc *= -2
    product_bc += other_c
    product_bc += one
    return np.maximum(product_bc, 0, out=product_bc)


def distances(tile: Tile, metric: Metric) -> NDArray[np.float32]:
    """Turn the products of a tile into distances, in place: 1 - cos, or the Euclidean distance."""
    query_b, gallery_c = tile.query.squares.astype(np.float32), tile.gallery.squares.astype(np.float32)
    dist_bc = from_products(tile.product_bc, query_b[:, None], gallery_c)
    return np.multiply(dist_bc, 0.5, out=dist_bc) if metric == "cosine" else np.sqrt(dist_bc, out=dist_bc)


def from_squares(squared: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Turn squared Euclidean distances of `Rows` into distances of the metric."""
    return squared / 2 if metric == "cosine" else np.sqrt(squared)


def to_squares(distance: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Turn distances of the metric into squared Euclidean distances."""
    return distance * 2 if metric == "cosine" else np.square(distance)


def distance_blocks(
    query: Array, gallery: Array, metric: Metric = "cosine", block: int | None = None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Compute the distances of all queries to the whole gallery, a block of queries at a time.

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
    """Take some rows of features, as float32 in NumPy."""
    if isinstance(array, np.ndarray):
        return to_host(array[rows])
    import torch

    return to_host(array[torch.from_numpy(rows).to(array.device)])


def pair_squares(
    query: Rows, gallery: Array, rows: NDArray[np.int64], columns: NDArray[np.int64], metric: Metric
) -> NDArray[np.float64]:
    """Compute the squared distances of the pairs of query `rows` and gallery `columns`, [P], in double precision."""
    # Each gallery row that is wanted is read once, a block of them at a time.
    out = np.empty(len(columns))
    wanted, inverse = np.unique(columns, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    step = gallery_rows(query.vectors.shape[1])
    for first in range(0, len(wanted), step):
        numbers = wanted[first : first + step]
        block = prepare(gather(gallery, numbers), metric, "gallery", numbers)
        inside = order[slice(*np.searchsorted(inverse[order], (first, first + step)))]
        out[inside] = pair_distances(query.vectors, block.vectors, rows[inside], inverse[inside] - first)
    return out


@compiled
def squared_lengths(feat_nd: Floats) -> Doubles:
    """Return the sum of squares of every row: not finite where a row holds a NaN or an infinity."""
    out = np.empty(feat_nd.shape[0])
    for i in range(feat_nd.shape[0]):
        total = 0.0
        for k in range(feat_nd.shape[1]):
            value = np.float64(feat_nd[i, k])
            total += value * value
        out[i] = total
    return out


@compiled
def unit_rows(feat_nd: Floats, length_n: Doubles) -> Floats:
    """Return every row divided by its length; a row of length zero stays zero."""
    out = np.empty(feat_nd.shape, np.float32)
    for i in range(feat_nd.shape[0]):
        length = length_n[i] if length_n[i] > 0 else 1.0
        for k in range(feat_nd.shape[1]):
            out[i, k] = feat_nd[i, k] / length
    return out


@compiled
def unit_sums(feat_nd: Floats, length_n: Doubles) -> Doubles:
    """Return the sum of all rows divided by their lengths, in double precision, [D]."""
    out = np.zeros(feat_nd.shape[1])
    for i in range(feat_nd.shape[0]):
        length = length_n[i] if length_n[i] > 0 else 1.0
        for k in range(feat_nd.shape[1]):
            out[k] += feat_nd[i, k] / length
    return out


@compiled
def centred_units(feat_nd: Floats, length_n: Doubles, centre_d: Floats, out_nd: Floats) -> Doubles:
    """Write every row divided by its length, less `centre_d`, to `out_nd`; returns their squared lengths."""
    squares = np.empty(feat_nd.shape[0])
    for i in range(feat_nd.shape[0]):
        length = length_n[i] if length_n[i] > 0 else 1.0
        total = 0.0
        for k in range(feat_nd.shape[1]):
            out_nd[i, k] = np.float32(feat_nd[i, k] / length) - centre_d[k]
            total += np.float64(out_nd[i, k]) * np.float64(out_nd[i, k])
        squares[i] = total
    return squares


@compiled
def squared_distance(one_d: Floats, other_d: Floats) -> float:
    """Compute the squared Euclidean distance of two features in double precision: the one loop that does."""
    total = 0.0
    for k in range(one_d.shape[0]):
        difference = np.float64(one_d[k]) - np.float64(other_d[k])
        total += difference * difference
    return total


@compiled
def pair_distances(one_md: Floats, other_nd: Floats, one_p: Integers, other_p: Integers) -> Doubles:
    """Compute the `squared_distance` of P pairs of rows, [P]."""
    out = np.empty(one_p.shape[0])
    for p in range(one_p.shape[0]):
        out[p] = squared_distance(one_md[one_p[p]], other_nd[other_p[p]])
    return out
