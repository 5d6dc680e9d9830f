"""Genuine and impostor pairs by similarity: what verification, calibration and their intervals are computed from.

**Similarity** of two features a and b is 1 - |a - b|^2 / 2. For the cosine metric, which compares features of length
one, that is their cosine. For the Euclidean metric features are compared as they are; the similarity then falls with
their distance, equals the cosine where both have length one, and has no lower end. A pair is accepted as one person if
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

from reidkit.evaluate.blocks import Metric, Rows, prepare, tiles
from reidkit.evaluate.counting import pair_squares
from reidkit.evaluate.labels import Cameras, find_matches, make_rule, require_matches
from reidkit.evaluate.metrics import check_comparable
from reidkit.evaluate.pair_kernels import Near, Side, Tally, tally_tile
from reidkit.evaluate.pair_tables import FINE, Grid, Sides, Tables, make_grid, make_sides, make_tables
from reidkit.types import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.evaluate.blocks import Array, Tile
    from reidkit.evaluate.labels import Matches, Rule
    from reidkit.types import Embeddings

    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]

NEAREST = 1 << 18
"""How many impostor pairs are computed in double precision."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of a query and a gallery image that are compared.

    `genuine`: the similarities of the pairs of one person, float64 [S], most similar first. `above` and `reached`: for
    each of them the number of impostor pairs that are more similar, and of those at least as similar, int64 [S].
    `impostors`: how many impostor pairs there are; `impostor_mean` and `impostor_variance` of their similarity;
    `closest`: the similarity of the most similar one. `tables`: the same pairs counted by person and by camera pair.
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
    """The similarity that belongs to squared Euclidean distances of `Rows`."""
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
        raise DataError(_no_impostors(rule, cameras))
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
            people=np.zeros((sides.groups, grid.count), np.int64),
            cameras=np.zeros((len(sides.camera_pairs) + 1, grid.count), np.int64),
            camera_pair=sides.camera_pair,
            sums=np.zeros(grid.count),
            moments=np.zeros(2),
        )
        self.near = Near(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        self.found, self.limit, self.longest = 0, np.inf, 0.0

    def add(self, tile: Tile, rule: Rule) -> None:
        """Adds one tile, stopping to make room for near pairs."""
        queries = slice(tile.first_query, tile.first_query + len(tile.query.vectors))
        images = slice(tile.first_gallery, tile.first_gallery + len(tile.gallery.vectors))
        ours = Side(
            rule.query_pids[queries],
            rule.query_places[queries],
            self.sides.query_people[queries],
            self.sides.query_cameras[queries],
        )
        theirs = Side(
            rule.gallery_pids[images],
            rule.gallery_places[images],
            self.sides.gallery_people[images],
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
        """The near pairs again in double precision, the nearest and all that may be nearer than a genuine pair."""
        slack = self.query.slack * (float(self.query.squares.max()) + self.longest)
        values = self.near.values[: self.found]
        kept = np.flatnonzero(values <= max(farthest, values.min(initial=np.inf)) + slack)
        exact = pair_squares(self.query, gallery, self.near.rows[kept], self.near.columns[kept], metric)
        return _Exact(np.sort(exact), self.limit - slack)

    def _make_room(self, columns: int) -> None:
        """Room for a row of a tile: the nearest stay, and only what is nearer than the farthest of them comes."""
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
    """Impostors nearer than each genuine pair: exactly where that is known, else by the fine bins."""
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


def _no_impostors(rule: Rule, cameras: Cameras) -> str:
    people = set(rule.query_pids.tolist()) | set(rule.gallery_pids.tolist())
    if cameras == "cross" and len(people - {-1}) > 1:
        return "no two people are seen by two cameras, so that nobody can be taken for another: use --cameras any"
    return "all images show one person, so that nobody can be taken for another: images of others are needed"
