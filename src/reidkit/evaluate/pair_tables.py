"""Pairs counted by similarity, once by person and once by camera pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reidkit.types import JUNK, NO_CAMERA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reidkit.evaluate.blocks import Metric
    from reidkit.evaluate.labels import Matches, Rule
    from reidkit.evaluate.pair_kernels import Tally

    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]

FINE = 1 << 20
"""Bins of equal width in which impostor pairs are counted."""

QUANTILES = 1024
"""Coarse bins end at so many quantiles of the genuine pairs: between two ends a TPR is known to a thousandth."""

EQUAL = 256
"""Besides, so many coarse bins of equal width, for the impostor pairs beyond."""

GROUPS = 4096
"""More people than this are put together in groups, so that the tables stay small."""

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
        """The fine bin of each squared distance."""
        return np.minimum((squared * self.scale).astype(np.int64), FINE - 1)


@dataclass(frozen=True, eq=False)
class Sides:
    """Rows of the tables for queries and gallery images: `people` (-1 for none) and `cameras`, int64.

    `groups`: how many rows of people there are. `camera_pairs`: the pairs (query camid, gallery camid) of each row,
    int64 [P, 2]; `camera_pair` [C, C]: the row of two cameras, P for those not counted apart.
    """

    groups: int
    query_people: Integers
    gallery_people: Integers
    query_cameras: Integers
    gallery_cameras: Integers
    camera_pairs: Integers
    camera_pair: Integers


@dataclass(frozen=True, eq=False)
class Tables:
    """Pairs counted in K bins of similarity, most similar first.

    `ends` float64 [K + 1]: the similarities between which the bins lie, falling; accepting the first k bins is
    accepting at the threshold `ends[k]`. `means` [K]: the mean similarity of the pairs in a bin.

    `genuine` and `impostor` int64 [I, K]: by person that is searched for. `impostor` holds the pairs in which the
    person is the query and those in which the person is the gallery image; `impostor_total` [K] is each pair once.
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
    """Bins for these squared distances of the genuine pairs: 0 to 4 for the cosine, else to four times the largest."""
    farthest = 4.0 if metric == "cosine" else max(4 * float(squared.max()), 1e-8)
    scale = FINE / farthest
    fine = np.sort(np.minimum((squared * scale).astype(np.int64), FINE - 1))
    places = np.linspace(0, len(fine) - 1, min(QUANTILES, len(fine))).astype(np.int64)
    ends = np.unique(np.concatenate((np.arange(0, FINE + 1, FINE // EQUAL), fine[places] + 1)))
    coarse_of = np.repeat(np.arange(len(ends) - 1, dtype=np.int16), np.diff(ends))
    return Grid(scale, ends, coarse_of)


def make_sides(rule: Rule, matches: Matches, camids: tuple[Integers, Integers]) -> Sides:
    """Which row of the tables each image belongs to."""
    people = np.unique(rule.query_pids[rule.query_pids != JUNK])
    groups = min(len(people), GROUPS)
    query_cameras, gallery_cameras = (np.asarray(part).astype(np.int64) for part in camids)
    scored = np.stack((query_cameras[matches.rows], gallery_cameras[matches.columns]), axis=1)
    scored = scored[(scored != NO_CAMERA).all(axis=1)]
    pairs, counts = np.unique(scored, axis=0, return_counts=True)
    pairs = pairs[np.sort(np.argsort(-counts, kind="stable")[:CAMERA_PAIRS])]
    cameras = np.unique(pairs)
    camera_pair = np.full((len(cameras) + 1, len(cameras) + 1), len(pairs))
    camera_pair[tuple(np.searchsorted(cameras, pairs).T)] = np.arange(len(pairs))
    theirs = _index(people, rule.gallery_pids, -1)
    return Sides(
        groups=groups,
        query_people=_index(people, rule.query_pids, 0) % groups,
        gallery_people=np.where(theirs < 0, -1, theirs % groups),
        query_cameras=_index(cameras, query_cameras, len(cameras)),
        gallery_cameras=_index(cameras, gallery_cameras, len(cameras)),
        camera_pairs=pairs,
        camera_pair=camera_pair,
    )


def make_tables(tally: Tally, sides: Sides, grid: Grid, matches: Matches, squared: Doubles) -> Tables:
    """The tables of the impostor pairs that were counted, and of the genuine pairs at these squared distances."""
    bins = grid.coarse_of[grid.fine(squared)]
    genuine = np.zeros_like(tally.people)
    np.add.at(genuine, (sides.query_people[matches.rows], bins), 1)
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
        impostor=tally.people,
        impostor_total=total,
        camera_pairs=sides.camera_pairs,
        camera_genuine=cameras[:-1],
        camera_impostor=tally.cameras[:-1],
    )


def _index(known: Integers, values: Integers, other: int) -> Integers:
    """The place of each value among the known ones, rising; `other` for one that is not there."""
    if not len(known):
        return np.full(len(values), other)
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[place] == values, place, other)
