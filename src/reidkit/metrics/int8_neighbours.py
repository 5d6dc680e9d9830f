"""Candidates for the nearest neighbours by products of 8-bit codes, which processors with VNNI make four times faster.

1. Codes: every point is x = s c + r (`quantisation`), so that a product of codes is off by no more than the lengths of
   the rests allow (`_bounds`): each squared distance lies between two bounds.
2. Shortlists (`_shortlist_block`): whatever may be among the K nearest of a point, or be the farthest from it. That is
   every point whose lower bound is not above the K-th smallest of all upper bounds.
3. Certainty (`_settle`): the shortlist is compared in single precision, by rising lower bounds, until a bound is above
   the K-th distance: so no true neighbour is lost. A point whose shortlist has run over is compared with all others.

How long shortlists become depends on the features: 54 points for the K = 27 nearest of 10,329 images of Market-1501,
thousands where all strangers are equally far. So a sample is tried first (`worth_codes`).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.jit import compiled
from reidkit.metrics.candidates import insert_bound, limit_of, sweep_triangle
from reidkit.metrics.distances import from_product
from reidkit.metrics.quantisation import Rotation, quantise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.metrics.candidates import Candidates, Points

    Floats = NDArray[np.float32]
    Products = NDArray[np.int32]
    Rows = NDArray[np.int64]

WORTH_CODES = 2e11
"""Multiplications and additions of all products below which nothing is gained."""

WIDTHS = range(16, 2**31 // 127**2)
"""Features of fewer numbers gain nothing, the sums of longer ones could leave 32 bits."""

BLOCK = 1024
"""Rows and columns of one block of products: 4 MB, which stay in the cache."""

CHUNK = 64
"""Columns that are tested together."""

ROOM = 256
"""Places of a shortlist."""

SAMPLE = 256
"""Points that are compared with all others to find out how long shortlists would be."""

MOST = 160
"""Codes are used where the sample's shortlists, both together, are no longer than this in the mean: of 19,281 images of
Market-1501, mirrored ones among them, they are 115 long, and neighbours are found in 61 % of the time."""

RUN_OVER = 0.01
"""Codes are used where no more than this part of the sample's shortlists run over."""

ROUNDING = 4e-6
"""What single precision may add to a bound, as a part of both squared lengths' sum: a few roundings."""


class CodedPoints(NamedTuple):
    """N points x = scale * code + r.

    `codes` int8 [N, D], `scale` float32 [N]; `left` float32 [N]: at least |r|; `length` float32 [N]: |x|; `squares`
    float32 [N]: its square.
    """

    codes: NDArray[np.int8]
    scale: Floats
    left: Floats
    length: Floats
    squares: Floats


class Shortlist(NamedTuple):
    """Points that may be among the K of smallest value of each of N points, a value lying between two bounds.

    `numbers` int32 [N, ROOM] and `lows` float32 [N, ROOM]: the points noted and their lower bounds; `sizes` int32 [N]:
    how many there are, more than ROOM where they did not find room; `highs` float32 [N, K]: the K smallest upper
    bounds, rising; `bar` float32 [N]: the last of these.
    """

    numbers: NDArray[np.int32]
    lows: Floats
    sizes: NDArray[np.int32]
    highs: Floats
    bar: Floats


def worth_codes(points: Points, kept: int) -> CodedPoints | None:
    """Return the codes of all points where the shortlists of a sample say that they save time, else None."""
    count, width = points.vectors.shape
    if 1.0 * count * count * width < WORTH_CODES or width not in WIDTHS or not promises_int8():
        return None
    coded = encode_points(points)
    rows = np.linspace(0, count - 1, SAMPLE).astype(np.int64)
    lows, highs = bounds(coded, rows)
    bars = np.partition(highs, kept - 1, axis=1)[:, kept - 1 : kept]
    near = np.count_nonzero(lows <= bars, axis=1)
    far = np.count_nonzero(highs >= lows.max(axis=1, keepdims=True), axis=1)
    over = np.maximum(near, far) > ROOM
    pays = over.mean() <= RUN_OVER and (near + far).mean() <= MOST
    return coded if pays and has_int8() else None  # torch is loaded only here, for it takes a second and 300 MB


def promises_int8() -> bool:
    """Return whether the processor multiplies 8-bit numbers faster than single precision."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return bool(features.get("avx512vnni", False) or features.get("avxvnni", False))


@functools.cache
def has_int8() -> bool:
    """Return whether torch multiplies 8-bit numbers rightly on this machine."""
    codes = np.random.default_rng(0).integers(-127, 128, (64, 2048), np.int8)
    codes[:2] = 127
    try:
        return bool((multiply_codes(codes, codes) == codes.astype(np.int64) @ codes.astype(np.int64).T).all())
    except (RuntimeError, AttributeError):  # another version of torch
        return False


def multiply_codes(ours: NDArray[np.int8], theirs: NDArray[np.int8]) -> Products:
    """Return the products int32 [B, C] of codes [B, D] and [C, D]."""
    import torch

    products: Products = torch._int_mm(torch.from_numpy(ours), torch.from_numpy(theirs).T).numpy()
    return products


def encode_points(points: Points) -> CodedPoints:
    """Turn points by a `Rotation`, and round them to eight bits with the length of what is left out."""
    count, width = points.vectors.shape
    rotation, length = Rotation(width), np.sqrt(points.squares)
    scale, left = np.empty(count, np.float32), np.empty(count, np.float32)
    codes = np.empty((count, width), np.int8)
    quantise(points.vectors, (rotation.signs, rotation.strides), codes, scale, left)
    return CodedPoints(codes, scale * length, left * length, length, points.squares)


def bounds(coded: CodedPoints, rows: Rows) -> tuple[Floats, Floats]:
    """Return between what the squared distances of some points to all lie: two of float32 [B, N].

    For a few rows NumPy will do: a float32 product of codes is off by less than `ROUNDING`.
    """
    ours = coded.codes[rows].astype(np.float32)
    lows, highs = np.empty((2, len(rows), len(coded.codes)), np.float32)
    for first in range(0, len(coded.codes), BLOCK):
        columns = slice(first, first + BLOCK)
        products = (ours @ coded.codes[columns].astype(np.float32).T).astype(np.int32)
        for product, row, low, high in zip(products, rows, lows[:, columns], highs[:, columns], strict=True):
            _bounds(product, (int(row), first), coded, low, high)
    return lows, highs


def sweep_codes(points: Points, candidates: Candidates, coded: CodedPoints) -> Rows:
    """Fill the candidates as `neighbours.merge_block` does block by block.

    Returns:
        The points that are still to be compared with all others, as their shortlists have run over.
    """
    near = _empty_shortlist(len(points.vectors), candidates.keys.shape[1])
    far = _empty_shortlist(len(points.vectors), 1)

    def multiply(rows: slice, columns: slice) -> Products:
        return multiply_codes(coded.codes[rows], coded.codes[columns])

    def merge(products: Products, corner: tuple[int, int]) -> None:
        _shortlist_block(products, corner, coded, near, far)

    sweep_triangle(len(points.vectors), BLOCK, multiply, merge)
    failed = np.zeros(len(points.vectors), np.bool_)
    _settle(points, candidates, near, far, failed)
    return np.flatnonzero(failed)


def _empty_shortlist(count: int, kept: int) -> Shortlist:
    return Shortlist(
        np.empty((count, ROOM), np.int32),
        np.empty((count, ROOM), np.float32),
        np.zeros(count, np.int32),
        np.full((count, kept), np.inf, np.float32),
        np.full(count, np.inf, np.float32),
    )


# What is done with every number of a block, compiled.


@compiled
def _bounds(product_c: Products, corner: tuple[int, int], coded: CodedPoints, low_c: Floats, high_c: Floats) -> None:
    """Write between what the squared distances of point `corner[0]` to those from `corner[1]` on lie.

    With x = s c + r and y = t d + q, x.y = s t (c.d) + s c.q + r.y: by Cauchy-Schwarz the product of codes is off by
    at most |s c| |q| + |r| |y| <= (|x| + |r|) |q| + |r| |y|.
    """
    i, first = corner
    scale, square = coded.scale[i], coded.squares[i]
    left, reach = coded.left[i], coded.length[i] + coded.left[i]
    for c in range(product_c.shape[0]):
        j = first + c
        total = square + coded.squares[j]
        middle = total - np.float32(2) * (scale * coded.scale[j]) * np.float32(product_c[c])
        error = np.float32(2) * (reach * coded.left[j] + left * coded.length[j]) + np.float32(ROUNDING) * total
        low_c[c] = max(np.float32(0), middle - error)
        high_c[c] = middle + error


@compiled
def _shortlist_block(
    products: Products, corner: tuple[int, int], coded: CodedPoints, near: Shortlist, far: Shortlist
) -> None:
    """Note what one block of the upper triangle holds for the shortlists of its rows and of its columns.

    The farthest of a point is the nearest by distances with the sign changed.
    """
    lows, highs = np.empty(products.shape[1], np.float32), np.empty(products.shape[1], np.float32)
    if corner[0] == corner[1]:
        _first_bars(products, corner[0], coded, near, far)
    for r in range(products.shape[0]):
        row = corner[0] + r
        column = max(corner[1], row)  # on the diagonal only what is right of it
        inside = products[r, column - corner[1] :]
        _bounds(inside, (row, column), coded, lows, highs)
        for start in range(0, inside.shape[0], CHUNK):
            stop = min(start + CHUNK, inside.shape[0])
            low_c, high_c = lows[start:stop], highs[start:stop]
            others = slice(column + start, column + stop)
            if _any_wanted(low_c, high_c, near.bar[others], far.bar[others], near.bar[row], far.bar[row]):
                _note_chunk(low_c, high_c, (row, column + start), near, far)


@compiled
def _note_chunk(low_c: Floats, high_c: Floats, corner: tuple[int, int], near: Shortlist, far: Shortlist) -> None:
    """Note what a part of a row holds for the shortlists of this row and of its columns."""
    row = corner[0]
    for c in range(low_c.shape[0]):
        low, high, other = low_c[c], high_c[c], corner[1] + c
        if low <= near.bar[row]:
            _note(near, row, other, low, high)
        if -high <= far.bar[row]:
            _note(far, row, other, -high, -low)
        if low <= near.bar[other] and other != row:
            _note(near, other, row, low, high)
        if -high <= far.bar[other] and other != row:
            _note(far, other, row, -high, -low)


@compiled
def _first_bars(products: Products, first: int, coded: CodedPoints, near: Shortlist, far: Shortlist) -> None:
    """Give the points of a block on the diagonal bars that K others are below, so that less is noted in vain."""
    kept, width = near.highs.shape[1], products.shape[1]
    lows, highs = np.empty(width, np.float32), np.empty(width, np.float32)
    for r in range(products.shape[0] if width > 4 * kept else 0):
        _bounds(products[r], (first + r, first), coded, lows, highs)
        far.bar[first + r] = -lows.max()
        near.bar[first + r] = limit_of(highs, kept)


@compiled
def _any_wanted(
    low_c: Floats, high_c: Floats, near_c: Floats, far_c: Floats, near: np.float32, far: np.float32
) -> bool:
    """Return whether any of these belongs into a shortlist of the row or of its column."""
    count = np.int32(0)
    for c in range(low_c.shape[0]):
        wanted = (low_c[c] <= max(near, near_c[c])) | (-high_c[c] <= max(far, far_c[c]))
        count += np.int32(wanted)
    return bool(count > 0)


@compiled
def _note(shortlist: Shortlist, i: int, j: int, low: np.float32, high: np.float32) -> None:
    """Note point j for point i; a full list is first cleared of what lies above the bar by now."""
    highs = shortlist.highs[i]
    slot = highs.shape[0] - 1
    if high < highs[slot]:
        while slot > 0 and high < highs[slot - 1]:
            highs[slot] = highs[slot - 1]
            slot -= 1
        highs[slot] = high
        shortlist.bar[i] = min(shortlist.bar[i], highs[highs.shape[0] - 1])
    numbers, lows, count = shortlist.numbers[i], shortlist.lows[i], shortlist.sizes[i]
    room = lows.shape[0]
    if count == room:
        kept = 0
        for a in range(count):
            if lows[a] <= shortlist.bar[i]:
                numbers[kept], lows[kept] = numbers[a], lows[a]
                kept += 1
        count = kept
    if count < room:
        numbers[count], lows[count] = j, low
    shortlist.sizes[i] = min(count, room) + 1


@compiled
def _settle(
    points: Points, candidates: Candidates, near: Shortlist, far: Shortlist, failed_n: NDArray[np.bool_]
) -> None:
    """Find candidates and the farthest distance of every point among its shortlists, in single precision."""
    for i in range(failed_n.shape[0]):
        failed_n[i] = near.sizes[i] > near.lows.shape[1] or far.sizes[i] > far.lows.shape[1]
        if failed_n[i]:
            continue
        lows = near.lows[i, : near.sizes[i]]
        for a in np.argsort(lows):
            if lows[a] > candidates.worst[i]:
                break
            j = near.numbers[i, a]
            total = points.squares[i] + points.squares[j]
            insert_bound(candidates, i, j, max(np.float32(0), _distance(points, i, j) - points.slack * total))
        highs = far.lows[i, : far.sizes[i]]
        for a in np.argsort(highs):
            if -highs[a] < candidates.farthest[i]:
                break
            candidates.farthest[i] = max(candidates.farthest[i], _distance(points, i, far.numbers[i, a]))


@compiled
def _distance(points: Points, i: int, j: int) -> np.float32:
    """Compute a squared distance in single precision, off by no more than `points.slack` allows."""
    product = np.float32(0)
    for d in range(points.vectors.shape[1]):
        product += points.vectors[i, d] * points.vectors[j, d]
    return np.float32(from_product(points.squares[i], points.squares[j], product))


@compiled
def compare_rows(product: Floats, rows: Rows, points: Points, candidates: Candidates) -> None:
    """Give some points the candidates among all, and the farthest distance: `product` is float32 [B, N]."""
    for r in range(rows.shape[0]):
        i = rows[r]
        for j in range(product.shape[1]):
            distance = from_product(points.squares[i], points.squares[j], product[r, j])
            candidates.farthest[i] = max(candidates.farthest[i], distance)
            low = max(np.float32(0), distance - points.slack * (points.squares[i] + points.squares[j]))
            if low <= candidates.worst[i]:
                insert_bound(candidates, i, j, low)
