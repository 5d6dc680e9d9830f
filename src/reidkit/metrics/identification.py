"""Open-set identification: searching a gallery for ids of which some are not in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reidkit.arguments import check_whole
from reidkit.errors import DataError, UsageError
from reidkit.jit import compiled
from reidkit.metrics.distances import (
    Rows,
    distance_blocks,
    doubt,
    from_squares,
    pair_squares,
    prepare,
    steps,
    to_squares,
)
from reidkit.metrics.matching import check_comparable, require_matches
from reidkit.metrics.pair_tables import index_of
from reidkit.metrics.verification import allowed_errors, checked_rates
from reidkit.types import JUNK, Cameras, Metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from reidkit.metrics.matching import Rule
    from reidkit.types import Embeddings

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Flags = NDArray[np.bool_]


AT_ONCE = 1 << 22
"""Pairs that may be compared again at a time."""


@dataclass(frozen=True)
class Splits:
    """Which ids are taken out of the gallery: a part `held_out` of those searched for, `repeats` times at random.

    Raises:
        UsageError: a part that is not between 0 and 1, or no repeat.
    """

    held_out: float = 0.5
    repeats: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole(self.repeats, "repeats", least=1)
        check_whole(self.seed, "seed")
        if not 0 < self.held_out < 1:
            raise UsageError(
                f"holding out a part of {self.held_out:g} of the ids makes no open-set trial: give a part between 0 "
                "and 1",
                argument="held_out",
            )

    def draw(self, ids: int) -> Flags:
        """Return whether each id is held out, [ids, repeats]; at least one is and at least one is not."""
        rng = np.random.default_rng(self.seed)
        order = np.argsort(rng.random((ids, self.repeats)), axis=0)
        ranks = np.argsort(order, axis=0)
        return np.asarray(ranks < np.clip(round(self.held_out * ids), 1, ids - 1))


@dataclass(frozen=True)
class OpenSetRate:
    """The detection and identification rate at a false alarm rate: means over the splits, and its standard deviation.

    `threshold`: the similarity above which the head of a list is an alarm.
    """

    false_alarm_rate: float
    rate: float
    deviation: float
    threshold: float


@dataclass(frozen=True)
class OpenSet:
    """Open-set identification; `known`, `unknown`: queries with and without their id in the gallery, as means."""

    rates: tuple[OpenSetRate, ...]
    known: float
    unknown: float
    repeats: int


def open_set(  # noqa: PLR0913 (each a plain argument)
    query: Embeddings,
    gallery: Embeddings,
    false_alarm_rates: Sequence[float] = (1e-2, 1e-1),
    *,
    metric: Metric = "cosine",
    cameras: Cameras = "cross",
    held_out: float = 0.5,
    repeats: int = 10,
    seed: int = 0,
) -> OpenSet:
    """Measure detection and identification rates, with the images of some ids taken out of the gallery.

    After Phillips, Grother and Micheals (Handbook of Face Recognition, 2nd ed. 2011, ch. 21): the false alarm rate at a
    threshold is the part of the queries without their id in the gallery whose most similar image is above it
    (ISO/IEC 19795-1: false positive identification rate). The detection and identification rate is the part of the
    queries with their id in the gallery of which an image is at rank 1 and above the threshold (one minus the false
    negative identification rate at rank 1). The threshold is the lowest at which the false alarm rate is kept.

    Lists are as in `metrics.score`: of the query's own id, images of its own camera are left out under `cross`; a
    tie counts against the match. A query whose id has no image in the gallery at all is always without; one whose
    id has images there that are all left out, and is not held out, does not take part.

    Args:
        query: Features [Q, D] with ids and cameras.
        gallery: Features [G, D], likewise.
        false_alarm_rates: The rates to keep, each between 0 and 1.
        metric: `cosine` or `euclidean`.
        cameras: `cross` or `any`, as for `score`.
        held_out: The fraction of the ids that are taken out of the gallery.
        repeats: How often ids are held out anew; the rates are means over these.
        seed: Which ids are held out.

    Raises:
        DataError: features or labels that cannot be compared, or fewer than two ids with a true match.
        UsageError: a false alarm rate that is not between 0 and 1.
    """
    false_alarm_rates = checked_rates(false_alarm_rates, "false_alarm_rates")
    check_comparable(query, gallery)
    rule, matches = require_matches(query, gallery, cameras)
    ids = np.unique(rule.query_pids[matches.rows])
    if len(ids) < 2:
        raise DataError("only one id has a true match in the gallery: holding ids out needs at least two")
    splits = Splits(held_out, repeats, seed)
    # For each id and split whether it is held out; the last row is for ids that are no query's.
    out = np.vstack((splits.draw(len(ids)), np.zeros((1, splits.repeats), bool)))
    rows = prepare(query.vectors, metric, "query")
    # The nearest true match of each query, and in every split its nearest image of another id.
    own = np.full(len(rule.query_pids), np.inf)
    np.minimum.at(own, matches.rows, pair_squares(rows, gallery.vectors, matches.rows, matches.columns, metric))
    held = out, index_of(rule.gallery_pids, ids, len(ids))
    impostor = _nearest_impostors(rows, (query, gallery), rule, held, metric)
    absent = ~np.isin(rule.query_pids, rule.gallery_pids) & (rule.query_pids != JUNK)
    gone = out[index_of(rule.query_pids, ids, len(ids))]
    known, unknown = np.isfinite(own)[:, None] & ~gone, absent[:, None] | gone
    return _rates(own, impostor, (known, unknown), false_alarm_rates)


def _nearest_impostors(
    rows: Rows, sides: tuple[Embeddings, Embeddings], rule: Rule, held_out: tuple[Flags, Integers], metric: Metric
) -> Doubles:
    """Compute the squared distance of the nearest image of another id in every split's gallery, [Q, R]; inf for none.

    Whatever single precision cannot tell from the nearest is compared in double precision.
    """
    query, gallery = (side.vectors for side in sides)
    found = np.full((len(rule.query_pids), held_out[0].shape[1]), np.inf)
    for first, dist_bg in distance_blocks(query, gallery, metric):
        for part in steps(len(dist_bg), AT_ONCE // dist_bg.shape[1]):
            block = slice(first + part.start, first + part.stop)
            some = Rows(rows.vectors[block], rows.squares[block])
            pids = rule.query_pids[block], rule.gallery_pids
            limit_br = to_squares(nearest_impostors(dist_bg[part], pids, held_out).astype(np.float64), metric)
            limit_br = from_squares(limit_br + doubt(some, limit_br), metric)
            row_p, column_p = np.nonzero(may_be_nearest(dist_bg[part], pids, held_out, limit_br))
            squared_p = pair_squares(some, gallery, row_p, column_p, metric)
            keep_least(squared_p, (row_p, column_p), held_out, found[block])
    return found


def _rates(own: Doubles, impostor: Doubles, who: tuple[Flags, Flags], false_alarm_rates: Sequence[float]) -> OpenSet:
    """Return means over the splits; `own` [Q], `impostor` [Q, R]: squared distances; `who`: (un)known, [Q, R]."""
    known, unknown = who
    found = []
    for wanted in false_alarm_rates:
        rates, limits = [], []
        for r in range(impostor.shape[1]):
            alarms = np.sort(impostor[unknown[:, r], r])
            limit = alarms[min(allowed_errors(wanted, len(alarms)), len(alarms) - 1)]  # below 1, but for rounding
            right = (own < impostor[:, r]) & (own < limit)
            rates.append(right[known[:, r]].mean())
            limits.append(limit)
        threshold = 1 - float(np.mean(limits)) / 2
        found.append(OpenSetRate(wanted, float(np.mean(rates)), float(np.std(rates)), threshold))
    queries = float(known.sum(axis=0).mean()), float(unknown.sum(axis=0).mean())
    return OpenSet(tuple(found), *queries, impostor.shape[1])


@compiled
def nearest_impostors(dist_bg: Floats, pids: tuple[Integers, Integers], held_out: tuple[Flags, Integers]) -> Floats:
    """Find the distance of the nearest image of another id, for every query of a block and every split, [b, R].

    Args:
        dist_bg: distances of b queries to the gallery.
        pids: of the queries and of the gallery.
        held_out: for every id and split whether the id is left out [I, R]; the id of each image [g].
    """
    out, gallery_ids = held_out
    best = np.full((dist_bg.shape[0], out.shape[1]), np.float32(np.inf))
    for i in range(dist_bg.shape[0]):
        farthest = np.float32(np.inf)
        for j in range(dist_bg.shape[1]):
            distance = dist_bg[i, j]
            if distance >= farthest or pids[1][j] == JUNK or pids[1][j] == pids[0][i]:
                continue
            farthest = np.float32(0)
            for r in range(best.shape[1]):
                if distance < best[i, r] and not out[gallery_ids[j], r]:
                    best[i, r] = distance
                farthest = max(farthest, best[i, r])
    return best


@compiled
def may_be_nearest(
    dist_bg: Floats, pids: tuple[Integers, Integers], held_out: tuple[Flags, Integers], limit_br: Doubles
) -> Flags:
    """Return which images of other ids are within the limit of a split that does not leave them out, [b, g]."""
    out, gallery_ids = held_out
    found = np.zeros(dist_bg.shape, np.bool_)
    for i in range(dist_bg.shape[0]):
        farthest = limit_br[i].max()
        for j in range(dist_bg.shape[1]):
            if dist_bg[i, j] > farthest or pids[1][j] == JUNK or pids[1][j] == pids[0][i]:
                continue
            for r in range(limit_br.shape[1]):
                found[i, j] |= dist_bg[i, j] <= limit_br[i, r] and not out[gallery_ids[j], r]
    return found


@compiled
def keep_least(
    squared_p: Doubles, pairs: tuple[Integers, Integers], held_out: tuple[Flags, Integers], least_br: Doubles
) -> None:
    """Keep the least of these pairs' values in `least_br` [b, R], for every query and split that has the image."""
    out, gallery_ids = held_out
    for p in range(squared_p.shape[0]):
        for r in range(least_br.shape[1]):
            if squared_p[p] < least_br[pairs[0][p], r] and not out[gallery_ids[pairs[1][p]], r]:
                least_br[pairs[0][p], r] = squared_p[p]
