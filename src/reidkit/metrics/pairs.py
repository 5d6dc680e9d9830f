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
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.errors import DataError
from reidkit.jit import compiled
from reidkit.metrics.distances import Rows, from_product, pair_squares, prepare, tiles
from reidkit.metrics.matching import check_comparable, find_matches, make_rule, require_matches
from reidkit.types import JUNK, NO_CAMERA, Cameras, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.metrics.distances import Array, Tile
    from reidkit.metrics.matching import Matches, Rule
    from reidkit.types import Embeddings

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]


# What `pairs` does with every number of a tile of products, compiled.


class Side(NamedTuple):
    """Labels of the images of one side of a tile, all int64 [b].

    `ids` and `cameras` are rows of the tables of `Tally`, `ids` -1 where there is none.
    """

    pids: Integers
    places: Integers
    ids: Integers
    cameras: Integers


class Tally(NamedTuple):
    """Counts of impostor pairs: `fine` [F] by distance, and by the coarse bin that `coarse_of` int16 [F] names.

    `ids` [I, K]: pairs in which an id is the query's, and again pairs in which it is the gallery image's.
    `cameras` [P, K]: pairs of the two cameras that `camera_pair` [C, C] gives that row; the last row is for the rest.
    `sums` [K]: squared distances; `moments` [2]: the sum of them all, and of their squares.
    """

    fine: Integers
    coarse_of: NDArray[np.int16]
    ids: Integers
    cameras: Integers
    camera_pair: Integers
    sums: Doubles
    moments: Doubles


class Near(NamedTuple):
    """Room for the impostor pairs that are nearest: rows, columns, and their squared distances."""

    rows: Integers
    columns: Integers
    values: Doubles


@compiled
def tally_tile(
    product_bc: Floats,
    squares: tuple[Doubles, Doubles],
    sides: tuple[Side, Side],
    tally: Tally,
    near: Near,
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
        if found + columns > near.rows.shape[0]:
            return i, found
        own = query.ids[i]
        total, total_square = 0.0, 0.0
        for j in range(columns):
            pid = gallery.pids[j]
            if pid == JUNK or pid == query.pids[i] or query.places[i] == gallery.places[j]:
                continue
            squared = from_product(squares[0][i], squares[1][j], np.float64(product_bc[i, j]))
            total += squared
            total_square += squared * squared
            fine = int(min(squared * scale, last))
            tally.fine[fine] += 1
            k = tally.coarse_of[fine]
            tally.sums[k] += squared
            tally.ids[own, k] += 1
            if gallery.ids[j] >= 0:
                tally.ids[gallery.ids[j], k] += 1
            tally.cameras[tally.camera_pair[query.cameras[i], gallery.cameras[j]], k] += 1
            if squared < limit:
                near.rows[found], near.columns[found], near.values[found] = i, j, squared
                found += 1
        tally.moments[0] += total
        tally.moments[1] += total_square
    return product_bc.shape[0], found


# Pairs counted by similarity, once by id and once by camera pair.

FINE = 1 << 20
"""Bins of equal width in which impostor pairs are counted."""


QUANTILES = 1024
"""Coarse bins end at so many quantiles of the genuine pairs: between two ends a TPR is known to a thousandth."""
EQUAL = 256
"""Besides, so many coarse bins of equal width, for the impostor pairs beyond."""
GROUPS = 4096
"""More ids than this share rows, so that the tables stay small."""
CAMERA_PAIRS = 1024
"""Camera pairs that are counted apart: those with the most genuine pairs."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Bins of squared distance: `FINE` of width 1 / scale, and coarse ones that are unions of them.

    `ends` int64 [K + 1]: the first fine bin of each coarse one, and `FINE`. The last bin is open.
    """

    scale: float
    ends: Integers
    coarse_of: NDArray[np.int16]

    @property
    def count(self) -> int:
        """How many coarse bins there are."""
        return len(self.ends) - 1

    def fine(self, squared: Doubles) -> Integers:
        """Return the fine bin of each squared distance."""
        return np.minimum((squared * self.scale).astype(np.int64), FINE - 1)


@dataclass(frozen=True, eq=False)
class Sides:
    """Rows of the tables for queries and gallery images: `ids` (-1 for none) and `cameras`, int64.

    `groups`: how many rows of ids there are. `camera_pairs`: the pairs (query camid, gallery camid) of each row,
    int64 [P, 2]; `camera_pair` [C, C]: the row of two cameras, P for those not counted apart.
    """

    groups: int
    query_ids: Integers
    gallery_ids: Integers
    query_cameras: Integers
    gallery_cameras: Integers
    camera_pairs: Integers
    camera_pair: Integers


@dataclass(frozen=True, eq=False)
class Tables:
    """Pairs counted in K bins of similarity, most similar first.

    `ends` float64 [K + 1]: the similarities between which the bins lie, falling; accepting the first k bins is
    accepting at the threshold `ends[k]`. `means` [K]: the mean similarity of the pairs in a bin.

    `genuine` and `impostor` int64 [I, K]: by id of the query. `impostor` holds the pairs in which the
    id is the query's and those in which it is the gallery image's; `impostor_total` [K] is each pair once.
    `camera_pairs` int64 [P, 2] (query, gallery), `camera_genuine` and `camera_impostor` [P, K]: by camera pair.
    """

    ends: Doubles
    means: Doubles
    genuine: Integers
    impostor: Integers
    impostor_total: Integers
    camera_pairs: Integers
    camera_genuine: Integers
    camera_impostor: Integers


def make_grid(squared: Doubles, metric: Metric) -> Grid:
    """Make bins for these distances of genuine pairs: from 0 to 4 for the cosine, else to four times the largest."""
    farthest = 4.0 if metric == "cosine" else max(4 * float(squared.max()), 1e-8)
    scale = FINE / farthest
    fine = np.sort(np.minimum((squared * scale).astype(np.int64), FINE - 1))
    places = np.linspace(0, len(fine) - 1, min(QUANTILES, len(fine))).astype(np.int64)
    ends = np.unique(np.concatenate((np.arange(0, FINE + 1, FINE // EQUAL), fine[places] + 1)))
    coarse_of = np.repeat(np.arange(len(ends) - 1, dtype=np.int16), np.diff(ends))
    return Grid(scale, ends, coarse_of)


def make_sides(rule: Rule, matches: Matches, camids: tuple[Integers, Integers]) -> Sides:
    """Find the row of the tables that each image belongs to."""
    ids = np.unique(rule.query_pids[rule.query_pids != JUNK])
    groups = min(len(ids), GROUPS)
    # Camera pairs with the most genuine pairs have a row each; all others share the last one.
    query_cameras, gallery_cameras = (np.asarray(part).astype(np.int64) for part in camids)
    scored = np.stack((query_cameras[matches.rows], gallery_cameras[matches.columns]), axis=1)
    scored = scored[(scored != NO_CAMERA).all(axis=1)]
    pairs, counts = np.unique(scored, axis=0, return_counts=True)
    pairs = pairs[np.sort(np.argsort(-counts, kind="stable")[:CAMERA_PAIRS])]
    cameras = np.unique(pairs)
    camera_pair = np.full((len(cameras) + 1, len(cameras) + 1), len(pairs))
    camera_pair[tuple(np.searchsorted(cameras, pairs).T)] = np.arange(len(pairs))
    # Gallery images of ids that no query shows have no row (-1).
    theirs = _index(ids, rule.gallery_pids, -1)
    return Sides(
        groups=groups,
        query_ids=_index(ids, rule.query_pids, 0) % groups,
        gallery_ids=np.where(theirs < 0, -1, theirs % groups),
        query_cameras=_index(cameras, query_cameras, len(cameras)),
        gallery_cameras=_index(cameras, gallery_cameras, len(cameras)),
        camera_pairs=pairs,
        camera_pair=camera_pair,
    )


def make_tables(tally: Tally, sides: Sides, grid: Grid, matches: Matches, squared: Doubles) -> Tables:
    """Make the tables of the impostor pairs that were counted, and of the genuine pairs at these squared distances."""
    bins = grid.coarse_of[grid.fine(squared)]
    genuine = np.zeros_like(tally.ids)
    np.add.at(genuine, (sides.query_ids[matches.rows], bins), 1)
    cameras = np.zeros_like(tally.cameras)
    pair = sides.camera_pair[sides.query_cameras[matches.rows], sides.gallery_cameras[matches.columns]]
    np.add.at(cameras, (pair, bins), 1)
    total = tally.cameras.sum(axis=0)
    count = total + genuine.sum(axis=0)
    middles = (grid.ends[:-1] + grid.ends[1:]) / 2 / grid.scale
    sums = tally.sums + np.bincount(bins, weights=squared, minlength=grid.count)
    return Tables(
        ends=1 - grid.ends / grid.scale / 2,
        means=1 - np.where(count > 0, sums / np.maximum(count, 1), middles) / 2,
        genuine=genuine,
        impostor=tally.ids,
        impostor_total=total,
        camera_pairs=sides.camera_pairs,
        camera_genuine=cameras[:-1],
        camera_impostor=tally.cameras[:-1],
    )


def _index(known: Integers, values: Integers, other: int) -> Integers:
    """Return the place of each value among the known ones, rising; `other` for one that is not there."""
    if not len(known):
        return np.full(len(values), other)
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[place] == values, place, other)


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
    rule = make_rule(query, gallery, cameras)
    matches = find_matches(rule)
    require_matches(matches, rule, cameras)
    rows = prepare(query.vectors, metric, "query")
    squared = pair_squares(rows, gallery.vectors, matches.rows, matches.columns, metric)
    grid = make_grid(squared, metric)
    sides = make_sides(rule, matches, (query.camids, gallery.camids))
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

    def __init__(self, query: Rows, sides: Sides, grid: Grid) -> None:
        self.query, self.sides, self.grid = query, sides, grid
        self.tally = Tally(
            fine=np.zeros(FINE, np.int64),
            coarse_of=grid.coarse_of,
            ids=np.zeros((sides.groups, grid.count), np.int64),
            cameras=np.zeros((len(sides.camera_pairs) + 1, grid.count), np.int64),
            camera_pair=sides.camera_pair,
            sums=np.zeros(grid.count),
            moments=np.zeros(2),
        )
        self.near = Near(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        self.found, self.limit, self.longest = 0, np.inf, 0.0

    def add(self, tile: Tile, rule: Rule) -> None:
        """Add one tile, stopping to make room for near pairs."""
        queries = slice(tile.first_query, tile.first_query + len(tile.query.vectors))
        images = slice(tile.first_gallery, tile.first_gallery + len(tile.gallery.vectors))
        ours = Side(
            rule.query_pids[queries],
            rule.query_places[queries],
            self.sides.query_ids[queries],
            self.sides.query_cameras[queries],
        )
        theirs = Side(
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
            row, self.found = tally_tile(tile.product_bc, squares, (ours, theirs), self.tally, self.near, progress)
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
            self.near = Near(np.resize(old.rows, grown), grown_columns, np.resize(old.values, grown))
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
