"""The inner loops of scoring, compiled. Arrays in, arrays out; what they are for is said where they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

from reidkit.jit import njit
from reidkit.types import JUNK

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Features = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Distances = NDArray[np.float32] | NDArray[np.float64]
    Integers = NDArray[np.int64]

ANY_ORDER = {"reassoc", "contract"}

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, compiled at its first call, free of the interpreter's lock, kept on disk where that is possible.

    Sums may be taken in any order, but in the same one at every call: equal rows give equal bits.
    """
    return njit(error_model="numpy", fastmath=ANY_ORDER)(function)


@compiled
def squared_lengths(feat_nd: Features) -> Doubles:
    """The sum of squares of every row: not finite where a row holds a NaN or an infinity."""
    out = np.empty(feat_nd.shape[0])
    for i in range(feat_nd.shape[0]):
        total = 0.0
        for k in range(feat_nd.shape[1]):
            value = np.float64(feat_nd[i, k])
            total += value * value
        out[i] = total
    return out


@compiled
def unit_rows(feat_nd: Features, length_n: Doubles) -> Features:
    """Every row divided by its length; a row of length zero stays zero."""
    out = np.empty(feat_nd.shape, np.float32)
    for i in range(feat_nd.shape[0]):
        length = length_n[i] if length_n[i] > 0 else 1.0
        for k in range(feat_nd.shape[1]):
            out[i, k] = feat_nd[i, k] / length
    return out


@compiled
def unit_sums(feat_nd: Features, length_n: Doubles) -> Doubles:
    """The sum of all rows divided by their lengths, in double precision, [D]."""
    out = np.zeros(feat_nd.shape[1])
    for i in range(feat_nd.shape[0]):
        length = length_n[i] if length_n[i] > 0 else 1.0
        for k in range(feat_nd.shape[1]):
            out[k] += feat_nd[i, k] / length
    return out


@compiled
def centred_units(feat_nd: Features, length_n: Doubles, centre_d: Features, out_nd: Features) -> Doubles:
    """Writes every row divided by its length, less `centre_d`, to `out_nd`; returns their squared lengths."""
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
def pair_distances(one_md: Features, other_nd: Features, one_p: Integers, other_p: Integers) -> Doubles:
    """The squared Euclidean distance of P pairs of rows, summed in double precision."""
    out = np.empty(one_p.shape[0])
    for p in range(one_p.shape[0]):
        i, j = one_p[p], other_p[p]
        total = 0.0
        for k in range(one_md.shape[1]):
            difference = np.float64(one_md[i, k]) - np.float64(other_nd[j, k])
            total += difference * difference
        out[p] = total
    return out


@compiled
def sort_segments(values: Doubles, starts: Integers) -> None:
    """Sorts `values[starts[i]:starts[i + 1]]` in place for every i."""
    for i in range(starts.shape[0] - 1):
        values[starts[i] : starts[i + 1]].sort()


@compiled
def first_not_nearer(sorted_values: Doubles, start: int, stop: int, value: float) -> int:
    """The first place in `sorted_values[start:stop]` whose value is not below `value`; `stop` where there is none."""
    while start < stop:
        middle = (start + stop) // 2
        if sorted_values[middle] < value:
            start = middle + 1
        else:
            stop = middle
    return start


@compiled
def count_nearer(
    product_bc: Distances,
    affine: tuple[float, Distances, Doubles, Doubles],
    labels: tuple[Integers, Integers],
    matches: tuple[Integers, Doubles, Integers],
    near: tuple[Integers, Integers],
    first: int,
) -> tuple[int, int]:
    """Counts, for the matches of every query of a block, the images of other people that are nearer.

    The distance of query i to image j is `base[i] + offset[j] + factor * product[i, j]`, right to `slack[i]`. One that
    is within the slack of a match's is not counted but noted in `near`, to be computed again with more care.

    Args:
        product_bc: products or distances, [b, c].
        affine: `factor`, `offset` [c], `base` [b], `slack` [b]; a negative slack says that distances are exact.
        labels: the pids of the b queries and of the c images.
        matches: `starts` [b + 1], and for the matches of query i at `starts[i]:starts[i + 1]` their sorted distances
            and the counts, which are added to: an image is counted at the nearest match that is not nearer than it.
        near: room for the rows and the columns of doubtful pairs; at least c places.
        first: the row to begin with.

    Returns:
        The row to go on with (b when done) and the number of doubtful pairs.
    """
    factor, offset_c, base_b, slack_b = affine
    query_pids, gallery_pids = labels
    starts, match_distances, counts = matches
    near_rows, near_columns = near
    found = 0
    columns = product_bc.shape[1]
    for i in range(first, product_bc.shape[0]):
        start, stop = starts[i], starts[i + 1]
        if start == stop:
            continue
        if found + columns > near_rows.shape[0]:
            return i, found
        slack = slack_b[i]
        limit = match_distances[stop - 1] - base_b[i] + max(slack, 0.0)
        for j in range(columns):
            relative = offset_c[j] + factor * product_bc[i, j]
            if relative > limit or gallery_pids[j] == query_pids[i] or gallery_pids[j] == JUNK:
                continue
            distance = base_b[i] + relative
            place = first_not_nearer(match_distances, start, stop, distance)
            above = place < stop and match_distances[place] - distance <= slack
            below = place > start and distance - match_distances[place - 1] <= slack
            if above or below:
                near_rows[found] = i
                near_columns[found] = j
                found += 1
            elif place < stop:
                counts[place] += 1
    return product_bc.shape[0], found


@compiled
def count_pairs(rows: Integers, distances: Doubles, starts: Integers, sorted_values: Doubles, counts: Integers) -> None:
    """Counts single images as `count_nearer` does: image p at `distances[p]` from query `rows[p]`."""
    for p in range(rows.shape[0]):
        stop = starts[rows[p] + 1]
        place = first_not_nearer(sorted_values, starts[rows[p]], stop, distances[p])
        if place < stop:
            counts[place] += 1


@compiled
def score_queries(starts: Integers, counts: Integers) -> tuple[Integers, Doubles, Doubles, Doubles]:
    """For every query: the rank of its first match (0: it has none), both average precisions, and INP (else NaN)."""
    queries = starts.shape[0] - 1
    first = np.zeros(queries, np.int64)
    mean, trapezoid, inp = np.full(queries, np.nan), np.full(queries, np.nan), np.full(queries, np.nan)
    for i in range(queries):
        total = starts[i + 1] - starts[i]
        if total == 0:
            continue
        nearer, area, corners = 0, 0.0, 0.0
        for hit in range(1, total + 1):
            nearer += counts[starts[i] + hit - 1]
            rank = hit + nearer
            area += hit / rank
            corners += 0.5 * (hit / rank + ((hit - 1) / (rank - 1) if rank > 1 else 1.0))
            if hit == 1:
                first[i] = rank
            if hit == total:
                inp[i] = hit / rank
        mean[i], trapezoid[i] = area / total, corners / total
    return first, mean, trapezoid, inp


@compiled
def histogram(
    dist_bc: Features,
    pids: tuple[Integers, Integers],
    places: tuple[Integers, Integers],
    bins_per_unit: float,
    counts: Integers,
) -> None:
    """Adds a block of distances to `counts` [2, bins]: row 1 for pairs of one person, row 0 for the others."""
    last = counts.shape[1] - 1
    for i in range(dist_bc.shape[0]):
        for j in range(dist_bc.shape[1]):
            same = pids[0][i] == pids[1][j]
            if pids[0][i] == JUNK or pids[1][j] == JUNK or (same and places[0][i] == places[1][j]):
                continue
            counts[int(same), min(int(dist_bc[i, j] * bins_per_unit), last)] += 1
