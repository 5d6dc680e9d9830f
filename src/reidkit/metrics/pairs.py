"""Genuine and impostor pairs by similarity: what verification, calibration and their intervals are computed from.

**Similarity** of two features a and b is 1 - |a - b|^2 / 2. For the cosine metric, which compares features of length
one, that is their cosine. For the Euclidean metric features are compared as they are; the similarity then falls with
their distance, equals the cosine where both have length one, and has no lower end. A pair is accepted as one id if
its similarity is not below a threshold.

**Pairs.** Every query is paired with every gallery image, apart from junk and pairs from one place: under `cross` all
pairs of one camera are left out, impostors too (two images of one camera share light and background, and an impostor
should be as hard a case as a genuine pair, not another kind of one); under `any` only an image paired with itself.

**Memory** does not grow with the number of pairs. Genuine pairs are few and are kept, in double precision. Of the
impostor pairs, the `NEAREST` most similar are computed again in double precision, so that every rate up to a FAR of
`NEAREST` / impostor pairs is exact, ties included; the others are counted in `FINE` bins of equal width in squared
distance (for the cosine, 2e-6 of similarity), where an impostor in the bin of a genuine pair counts as a tie with it.

    squared distance   0 ----------------- limit ---------------------------------------- 4 (cosine)
    genuine pairs          x   x  x    x    |  x        x       x                x          each in double precision
    impostor pairs         . .  . .. ...    |                                               the nearest: in double too
                       |||||||||||||||||||||||||||||||||||||||||||||||||||||||||||||||||    all: fine bins
                       |   |  |   |    |    |  |        |       |                |     |    all: coarse bins, by id
                                                                                            and by camera pair

`collect_pairs` goes over all pairs once, by tiles of products (`_Scan.add`, `count_impostors`); whenever more than
`NEAREST` impostors are noted, the farther half is dropped and the limit falls to the farthest that stays. What lies
within the slack of the limit is not relied on (`_Scan.settle`). `_summarise` then counts, for each genuine pair, the
impostors nearer than it: in the exact list below the limit, in the fine bins beyond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.errors import DataError
from reidkit.jit import compiled
from reidkit.metrics.distances import Rows, from_product, pair_squares, prepare, tiles
from reidkit.metrics.matching import check_comparable, require_matches
from reidkit.metrics.pair_tables import FINE, ImpostorCounts, TableRows, Tables, make_bins, make_table_rows, make_tables
from reidkit.types import JUNK, Cameras, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.metrics.distances import Array, Tile
    from reidkit.metrics.matching import Matches, Rule
    from reidkit.metrics.pair_tables import Bins
    from reidkit.types import Embeddings

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]


# What is done with every number of a tile of products, compiled.


class TileLabels(NamedTuple):
    """Labels of the images of one side of a tile, all int64 [b].

    `ids` and `cameras` are rows of the tables of `ImpostorCounts`, `ids` -1 where there is none.
    """

    pids: Integers
    places: Integers
    ids: Integers
    cameras: Integers


class NearestPairs(NamedTuple):
    """Room for the impostor pairs that are nearest: rows, columns, and their squared distances."""

    rows: Integers
    columns: Integers
    values: Doubles


@compiled
def count_impostors(
    product_bc: Floats,
    squares: tuple[Doubles, Doubles],
    sides: tuple[TileLabels, TileLabels],
    tally: ImpostorCounts,
    near: NearestPairs,
    progress: tuple[int, int, float, float],
) -> tuple[int, int]:
    """Count the impostor pairs of a tile, and note those nearer than a limit.

    A pair counts if neither image is junk, the ids differ and the places differ.

    Args:
        product_bc: products of b queries with c images.
        squares: their squared lengths, [b] and [c].
        sides: their labels.
        tally: the counts, added to in place.
        near: what is noted; at least c places more than `found`.
        progress: the row to begin with, how many are noted, the limit, and fine bins per unit of squared distance.

    Returns:
        The row to go on with (b when done; it stops when `near` is full) and how many are noted.
    """
    query, gallery = sides
    start, found, limit, scale = progress
    last = np.float64(tally.fine.shape[0] - 1)
    columns = product_bc.shape[1]
    for i in range(start, product_bc.shape[0]):
        if query.pids[i] == JUNK:
            continue
        # A row may add a pair for each column: stop before it where there is no room for all of them.
        if found + columns > near.rows.shape[0]:
            return i, found
        own = query.ids[i]
        total, total_square = 0.0, 0.0
        for j in range(columns):
            pid = gallery.pids[j]
            if pid == JUNK or pid == query.pids[i] or query.places[i] == gallery.places[j]:
                continue
            # The distance: its sums give mean and variance, its fine bin the counts.
            squared = from_product(squares[0][i], squares[1][j], np.float64(product_bc[i, j]))
            total += squared
            total_square += squared * squared
            fine = int(min(squared * scale, last))
            tally.fine[fine] += 1
            # The coarse bin, by both ids and by the pair of cameras.
            k = tally.coarse_of[fine]
            tally.sums[k] += squared
            tally.ids[own, k] += 1
            if gallery.ids[j] >= 0:
                tally.ids[gallery.ids[j], k] += 1
            tally.cameras[tally.camera_pair[query.cameras[i], gallery.cameras[j]], k] += 1
            # One of the nearest so far: noted, to be computed again in double precision.
            if squared < limit:
                near.rows[found], near.columns[found], near.values[found] = i, j, squared
                found += 1
        tally.moments[0] += total
        tally.moments[1] += total_square
    return product_bc.shape[0], found


NEAREST = 1 << 18
"""How many impostor pairs are computed in double precision."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of a query and a gallery image that are compared.

    `genuine`: the similarities of the pairs of one id, float64 [S], most similar first. `above` and `reached`: for
    each of them the number of impostor pairs that are more similar, and of those at least as similar, int64 [S].
    `impostors`: how many impostor pairs there are; `impostor_mean` and `impostor_variance` of their similarity;
    `closest`: the similarity of the most similar one. `tables`: the same pairs counted by id and by camera pair.
    """

    genuine: Doubles
    above: Integers
    reached: Integers
    impostors: int
    impostor_mean: float
    impostor_variance: float
    closest: float
    tables: Tables


def similarity(squared: Doubles) -> Doubles:
    """Return the similarity that belongs to squared Euclidean distances of `Rows`."""
    return 1 - squared / 2


def collect_pairs(
    query: Embeddings, gallery: Embeddings, *, metric: Metric = "cosine", cameras: Cameras = "cross"
) -> Pairs:
    """Compare every query with the whole gallery, once, in blocks.

    Raises:
        DataError: features or labels that cannot be compared; no genuine pair, or no impostor pair.
    """
    check_comparable(query, gallery)
    rule, matches = require_matches(query, gallery, cameras)
    rows = prepare(query.vectors, metric, "query")
    squared = pair_squares(rows, gallery.vectors, matches.rows, matches.columns, metric)
    grid = make_bins(squared, metric)
    sides = make_table_rows(rule, matches, (query.camids, gallery.camids))
    scan = _Scan(rows, sides, grid)
    for tile in tiles(rows, gallery.vectors, metric, where=query.vectors):
        scan.add(tile, rule)
    total = int(scan.tally.fine.sum())
    if not total:
        raise _no_impostors(rule, cameras)
    exact = scan.settle(gallery.vectors, metric, squared.max())
    return _summarise(scan, matches, squared, exact, total)


class _Exact(NamedTuple):
    """The nearest impostor pairs in double precision, rising; all that are nearer than `limit` are among them."""

    squared: Doubles
    limit: float


class _Scan:
    """One pass over all pairs: counts of impostors, and the nearest of them."""

    def __init__(self, query: Rows, sides: TableRows, grid: Bins) -> None:
        self.query, self.sides, self.grid = query, sides, grid
        self.tally = ImpostorCounts(
            fine=np.zeros(FINE, np.int64),
            coarse_of=grid.coarse_of,
            ids=np.zeros((sides.groups, grid.count), np.int64),
            cameras=np.zeros((len(sides.camera_pairs) + 1, grid.count), np.int64),
            camera_pair=sides.camera_pair,
            sums=np.zeros(grid.count),
            moments=np.zeros(2),
        )
        self.near = NearestPairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        self.found, self.limit, self.longest = 0, np.inf, 0.0

    def add(self, tile: Tile, rule: Rule) -> None:
        """Add one tile, stopping to make room for near pairs."""
        queries = slice(tile.first_query, tile.first_query + len(tile.query.vectors))
        images = slice(tile.first_gallery, tile.first_gallery + len(tile.gallery.vectors))
        ours = TileLabels(
            rule.query_pids[queries],
            rule.query_places[queries],
            self.sides.query_ids[queries],
            self.sides.query_cameras[queries],
        )
        theirs = TileLabels(
            rule.gallery_pids[images],
            rule.gallery_places[images],
            self.sides.gallery_ids[images],
            self.sides.gallery_cameras[images],
        )
        self.longest = max(self.longest, float(tile.gallery.squares.max()))
        squares = tile.query.squares, tile.gallery.squares
        row = 0
        while row < len(tile.product_bc):
            self._make_room(tile.product_bc.shape[1])
            before = self.found
            progress = row, self.found, self.limit, self.grid.scale
            row, self.found = count_impostors(tile.product_bc, squares, (ours, theirs), self.tally, self.near, progress)
            self.near.rows[before : self.found] += queries.start
            self.near.columns[before : self.found] += images.start

    def settle(self, gallery: Array, metric: Metric, farthest: float) -> _Exact:
        """Compute again, in double precision, the nearest pair and all that may be nearer than a genuine pair."""
        slack = self.query.slack * (float(self.query.squares.max()) + self.longest)
        values = self.near.values[: self.found]
        kept = np.flatnonzero(values <= max(farthest, values.min(initial=np.inf)) + slack)
        exact = pair_squares(self.query, gallery, self.near.rows[kept], self.near.columns[kept], metric)
        return _Exact(np.sort(exact), self.limit - slack)

    def _make_room(self, columns: int) -> None:
        """Make room for a row of a tile: the nearest stay, and from now on only nearer pairs are noted."""
        room = NEAREST + max(NEAREST, columns)
        if self.found + columns <= len(self.near.rows):
            return
        if self.found + columns <= room:
            grown = min(room, max(2 * len(self.near.rows), self.found + columns))
            old = self.near
            grown_columns = np.resize(old.columns, grown)
            self.near = NearestPairs(np.resize(old.rows, grown), grown_columns, np.resize(old.values, grown))
            return
        values = self.near.values[: self.found]
        self.limit = float(np.partition(values, NEAREST - 1)[NEAREST - 1])
        kept = np.flatnonzero(values < self.limit)
        for part in self.near:
            part[: len(kept)] = part[kept]
        self.found = len(kept)


def _summarise(scan: _Scan, matches: Matches, squared: Doubles, exact: _Exact, total: int) -> Pairs:
    """Count the impostors nearer than each genuine pair: exactly where that is known, else by the fine bins."""
    order = np.argsort(squared, kind="stable")
    rising = squared[order]
    fine = scan.grid.fine(rising)
    upto = np.cumsum(scan.tally.fine)
    certain = rising < exact.limit
    nearer = np.where(certain, np.searchsorted(exact.squared, rising), upto[fine] - scan.tally.fine[fine])
    reached = np.where(certain, np.searchsorted(exact.squared, rising, "right"), upto[fine])
    mean = scan.tally.moments[0] / total
    first = exact.squared[0] if len(exact.squared) else np.flatnonzero(scan.tally.fine)[0] / scan.grid.scale
    return Pairs(
        genuine=similarity(rising),
        above=np.maximum.accumulate(nearer),
        reached=np.maximum.accumulate(reached),
        impostors=total,
        impostor_mean=float(1 - mean / 2),
        impostor_variance=float(max(0.0, scan.tally.moments[1] / total - mean**2) / 4),
        closest=float(1 - first / 2),
        tables=make_tables(scan.tally, scan.sides, scan.grid, matches, squared),
    )


def _no_impostors(rule: Rule, cameras: Cameras) -> DataError:
    ids = set(rule.query_pids.tolist()) | set(rule.gallery_pids.tolist())
    if cameras == "cross" and len(ids - {-1}) > 1:
        return DataError(
            "no two ids are seen by two cameras, so there are no false matches to measure: pass cameras='any'",
            argument="cameras",
        )
    return DataError("all images show one id, so there are no false matches to measure: give images of other ids")
