"""Pairs counted in bins of similarity, by id and by camera pair: what bootstrap and calibration resample.

Impostor pairs are too many to be kept. They are counted in `FINE` bins of equal width in squared distance, and in K
coarse ones that are unions of these and end at quantiles of the genuine pairs; by id and by camera pair only in coarse
ones, so that a table is [ids, K].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reidkit.types import JUNK, NO_CAMERA, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.metrics.matching import Matches, Rule

    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]

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
class Bins:
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
class TableRows:
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


class ImpostorCounts(NamedTuple):
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


def make_bins(squared: Doubles, metric: Metric) -> Bins:
    """Make bins for these distances of genuine pairs: from 0 to 4 for the cosine, else to four times the largest."""
    farthest = 4.0 if metric == "cosine" else max(4 * float(squared.max()), 1e-8)
    scale = FINE / farthest
    fine = np.sort(np.minimum((squared * scale).astype(np.int64), FINE - 1))
    quantiles = np.linspace(0, len(fine) - 1, min(QUANTILES, len(fine))).astype(np.int64)
    ends = np.unique(np.concatenate((np.arange(0, FINE + 1, FINE // EQUAL), fine[quantiles] + 1)))
    coarse_of = np.repeat(np.arange(len(ends) - 1, dtype=np.int16), np.diff(ends))
    return Bins(scale, ends, coarse_of)


def make_table_rows(rule: Rule, matches: Matches, camids: tuple[Integers, Integers]) -> TableRows:
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
    theirs = index_of(rule.gallery_pids, ids, -1)
    return TableRows(
        groups=groups,
        query_ids=index_of(rule.query_pids, ids, 0) % groups,
        gallery_ids=np.where(theirs < 0, -1, theirs % groups),
        query_cameras=index_of(query_cameras, cameras, len(cameras)),
        gallery_cameras=index_of(gallery_cameras, cameras, len(cameras)),
        camera_pairs=pairs,
        camera_pair=camera_pair,
    )


def make_tables(tally: ImpostorCounts, sides: TableRows, grid: Bins, matches: Matches, squared: Doubles) -> Tables:
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


def index_of(values: Integers, known: Integers, other: int) -> Integers:
    """Return the index of each value among the `known` ones, which rise; `other` for one that is not there."""
    if not len(known):
        return np.full(len(values), other)
    index = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[index] == values, index, other)
