"""How many images of other people are nearer than each match, counted by the machine's own cores.

The counts are what every score of `metrics` comes from. `device_counting` finds the same ones on an accelerator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reidkit.evaluate.blocks import Metric, Rows, gallery_rows, gather, prepare, tiles
from reidkit.evaluate.kernels import count_nearer, count_pairs, pair_distances, sort_segments
from reidkit.types import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from reidkit.evaluate.blocks import Array, Tile
    from reidkit.evaluate.labels import Matches, Rule

    Lists = tuple[NDArray[np.float64], NDArray[np.int64]]

NEAR = 1 << 16
"""Room for doubtful pairs between two settlings."""


def count(query: Array, gallery: Array, metric: Metric, rule: Rule, matches: Matches) -> NDArray[np.int64]:
    """The images of other people that come to lie just before each match, int64 [P], nearest match first.

    The gallery is read in blocks and never held whole; the queries are.

    Raises:
        DataError: a row cannot be compared.
    """
    rows = prepare(query, metric, "query")
    nearest = pair_squares(rows, gallery, matches.rows, matches.columns, metric)
    sort_segments(nearest, matches.starts)
    counts = np.zeros(len(nearest), np.int64)
    for tile in tiles(rows, gallery, metric, where=query):
        _count_tile(tile, rule, matches.starts, (nearest, counts))
    return counts


def pair_squares(
    query: Rows, gallery: Array, rows: NDArray[np.int64], columns: NDArray[np.int64], metric: Metric
) -> NDArray[np.float64]:
    """The squared distances of the pairs of query `rows` and gallery `columns`, [P], in double precision."""
    out = np.empty(len(columns))
    wanted, place = np.unique(columns, return_inverse=True)
    order = np.argsort(place, kind="stable")
    step = gallery_rows(query.vectors.shape[1])
    for first in range(0, len(wanted), step):
        numbers = wanted[first : first + step]
        block = prepare(gather(gallery, numbers), metric, "gallery", numbers)
        inside = order[slice(*np.searchsorted(place[order], (first, first + step)))]
        out[inside] = pair_distances(query.vectors, block.vectors, rows[inside], place[inside] - first)
    return out


def count_rows(dist_bg: NDArray[Any], first: int, rule: Rule, matches: Matches, counts: NDArray[np.int64]) -> None:
    """Adds the images of a block of distances, which are taken as they are, from query `first` on.

    Raises:
        DataError: a distance is not a number.
    """
    if np.isnan(dist_bg.min()):
        row, column = np.argwhere(np.isnan(dist_bg))[0]
        raise DataError(f"the distance of query {first + row} to gallery image {column} is not a number")
    rows = slice(first, first + len(dist_bg))
    starts = matches.starts[rows.start : rows.stop + 1]
    part = slice(starts[0], starts[-1])
    local = starts - starts[0]
    nearest = dist_bg[np.repeat(np.arange(len(dist_bg)), np.diff(starts)), matches.columns[part]].astype(np.float64)
    sort_segments(nearest, local)
    zeros = np.zeros(len(dist_bg))
    affine = dist_bg.dtype.type(1), np.zeros(dist_bg.shape[1], dist_bg.dtype), zeros, zeros - 1
    labels = rule.query_pids[rows], rule.gallery_pids
    for _ in _settle(dist_bg, affine, labels, (local, nearest, counts[part])):
        pass


def _count_tile(tile: Tile, rule: Rule, starts: NDArray[np.int64], lists: Lists) -> None:
    """Adds the images of one tile to the counts, the doubtful ones after a second look."""
    queries = slice(tile.first_query, tile.first_query + len(tile.query.vectors))
    images = slice(tile.first_gallery, tile.first_gallery + len(tile.gallery.vectors))
    starts = starts[queries.start : queries.stop + 1]
    slack = tile.query.slack * (tile.query.squares + tile.gallery.squares.max())
    affine = np.float32(-2), tile.gallery.squares.astype(np.float32), tile.query.squares, slack
    labels = rule.query_pids[queries], rule.gallery_pids[images]
    for rows, columns in _settle(tile.product_bc, affine, labels, (starts, *lists)):
        distances = pair_distances(tile.query.vectors, tile.gallery.vectors, rows, columns)
        count_pairs(rows, distances, starts, *lists)


def _settle(
    product_bc: NDArray[Any], affine: Any, labels: Any, lists: Any
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Counts a block, and gives the doubtful pairs each time that there is no more room for them."""
    room = max(NEAR, product_bc.shape[1])
    near = np.empty(room, np.int64), np.empty(room, np.int64)
    first = 0
    while first < len(product_bc):
        first, found = count_nearer(product_bc, affine, labels, lists, near, first)
        yield near[0][:found], near[1][:found]
