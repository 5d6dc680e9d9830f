"""One id or two: error rates of a threshold, over all pairs of a query and a gallery image that are compared.

The false accept rate (FAR; ISO/IEC 19795-1 says false match rate) at a threshold t is the part of the impostor pairs
whose similarity is t or more, the true accept rate (TPR) the part of the genuine pairs; 1 - TPR is the false reject
rate (FNR, false non-match rate). What a similarity is, which pairs count, and how exact the counts are is said in
`pairs`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from reidkit.errors import DataError, UsageError
from reidkit.jit import compiled
from reidkit.metrics.distances import distance_blocks, pair_squares, prepare
from reidkit.metrics.matching import check_comparable, require_matches
from reidkit.metrics.pair_tables import index_of
from reidkit.metrics.pairs import Pairs, collect_pairs
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


FARS = (1e-4, 1e-3, 1e-2, 1e-1)
FEW = 10
"""Where fewer false accepts than this are expected, a threshold rests on too few pairs to be relied on."""


@dataclass(frozen=True)
class Operating:
    """The threshold at which the most genuine pairs are accepted while the FAR is at most `far`.

    `false_accepts` impostor pairs are accepted; the FAR that is measured is `false_accepts` / impostor pairs.
    """

    far: float
    threshold: float
    tpr: float
    false_accepts: int


@dataclass(frozen=True, eq=False)
class Curve:
    """Error rates at falling thresholds, all float64 [P]: the ROC is `tpr` over `far`, the DET `fnr` over `far`."""

    threshold: Doubles = field(repr=False)
    far: Doubles = field(repr=False)
    tpr: Doubles = field(repr=False)

    @property
    def fnr(self) -> Doubles:
        """The part of the genuine pairs that is rejected."""
        return 1 - self.tpr


@dataclass(frozen=True)
class Verification:
    """How well pairs of one id are told from pairs of two.

    `auc`: the chance that a genuine pair is more similar than an impostor pair, a tie counted half: the area under the
    ROC. `eer`: the error rate where FAR and FNR are equal, on straight lines between the points of the ROC;
    `eer_threshold`: the threshold of the point at or after it. `d_prime`: the difference of the mean similarities over
    the root of the mean of both variances; infinite or NaN where nothing varies.
    """

    genuine: int
    impostors: int
    auc: float
    eer: float
    eer_threshold: float
    d_prime: float
    operating: tuple[Operating, ...]


def verify(
    query: Embeddings,
    gallery: Embeddings,
    *,
    fars: Sequence[float] = FARS,
    metric: Metric = "cosine",
    cameras: Cameras = "cross",
) -> Verification:
    """Measure how well pairs of one id are told from pairs of two, over all pairs of a query and a gallery image.

    Args:
        query: features with ids and cameras.
        gallery: likewise.
        fars: the false accept rates at which the true accept rate and its threshold are wanted.
        metric: `cosine` or `euclidean`.
        cameras: `cross` leaves out all pairs of one camera, `any` only an image paired with itself.

    Raises:
        DataError: features or labels that cannot be compared; no genuine pair, or no impostor pair.
        UsageError: a FAR that is not between 0 and 1.
    """
    return verify_pairs(collect_pairs(query, gallery, metric=metric, cameras=cameras), fars)


def verify_pairs(pairs: Pairs, fars: Sequence[float] = FARS) -> Verification:
    """Compute the scores of verification, with the operating points at `fars`.

    Raises:
        UsageError: a FAR that is not between 0 and 1.
    """
    eer, threshold = _equal_errors(pairs)
    beaten = (pairs.above.sum(dtype=np.float64) + pairs.reached.sum(dtype=np.float64)) / 2
    return Verification(
        genuine=len(pairs.genuine),
        impostors=pairs.impostors,
        auc=float(1 - beaten / len(pairs.genuine) / pairs.impostors),
        eer=eer,
        eer_threshold=threshold,
        d_prime=_d_prime(pairs),
        operating=tuple(operating_point(pairs, far) for far in fars),
    )


def operating_point(pairs: Pairs, far: float) -> Operating:
    """Find the threshold for a FAR: the similarity of the last genuine pair that can be accepted.

    Where not even the first can be, the threshold is just above all pairs.

    Raises:
        UsageError: `far` is not between 0 and 1.
    """
    allowed = allowed_errors(far, pairs.impostors)
    accepted = int(np.searchsorted(pairs.reached, allowed, "right"))
    if accepted == 0:
        return Operating(far, float(np.nextafter(max(pairs.genuine[0], pairs.closest), np.inf)), 0.0, 0)
    last = accepted - 1
    return Operating(far, float(pairs.genuine[last]), accepted / len(pairs.genuine), int(pairs.reached[last]))


def allowed_errors(far: float, trials: int) -> int:
    """Count how many of so many trials may fail at a rate of `far`; rounding in the product does not lose one.

    Raises:
        UsageError: `far` is not between 0 and 1.
    """
    if not 0 < far < 1:
        raise UsageError(f"a false accept rate of {far:g} cannot be asked for: give one between 0 and 1, as 1e-3")
    return int(far * trials * (1 + 1e-12))


def roc(pairs: Pairs, points: int | None = None) -> Curve:
    """Compute the ROC at the genuine pairs, most similar first; `points` of them that show the whole, or all."""
    last = _last_of_ties(pairs.genuine)
    if points is not None and points < len(last):
        # Half of the points evenly in TPR and half evenly in the logarithm of the FAR: both ends of the curve matter.
        even = np.linspace(0, len(last) - 1, points // 2).astype(np.int64)
        fars = np.geomspace(1 / pairs.impostors, 1, points - len(even))
        steep = np.searchsorted(pairs.reached[last], fars * pairs.impostors, "right") - 1
        last = last[np.unique(np.concatenate((even, steep[steep >= 0])))]
    return Curve(pairs.genuine[last], pairs.reached[last] / pairs.impostors, (last + 1) / len(pairs.genuine))


def _last_of_ties(falling: Doubles) -> NDArray[np.int64]:
    """Return the index of the last of each run of equal values."""
    return np.flatnonzero(np.append(np.diff(falling) != 0, [True]))


def _equal_errors(pairs: Pairs) -> tuple[float, float]:
    """Return the EER and its threshold: where FAR - FNR, which rises from -1 to 1 along the ROC, is zero."""
    last = _last_of_ties(pairs.genuine)
    far = np.stack((pairs.above[last], pairs.reached[last]), axis=1).reshape(-1) / pairs.impostors
    tpr = np.repeat(np.concatenate(([0.0], (last + 1) / len(pairs.genuine))), 2)[1:-1]
    gap = np.concatenate(([-1.0], far + tpr - 1))
    far = np.concatenate(([0.0], far))
    end = int(np.argmax(gap >= 0))
    share = gap[end - 1] / (gap[end - 1] - gap[end])
    return float(far[end - 1] + share * (far[end] - far[end - 1])), float(pairs.genuine[last[(end - 1) // 2]])


def _d_prime(pairs: Pairs) -> float:
    spread = np.sqrt((pairs.genuine.var() + pairs.impostor_variance) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float((pairs.genuine.mean() - pairs.impostor_mean) / spread)


# Open-set identification: searching a gallery for ids of which some are not in it.


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
        if not 0 < self.held_out < 1 or self.repeats < 1:
            raise UsageError(
                f"holding out a part of {self.held_out:g} of the ids {self.repeats} times makes no open-set trial: "
                "give a part between 0 and 1, and at least one repeat"
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
    where = _nearest_impostors(query, gallery, rule, (out, index_of(rule.gallery_pids, ids, len(ids))), metric)
    asked, split = np.nonzero(where >= 0)
    impostor = np.full(where.shape, np.inf)
    impostor[asked, split] = pair_squares(rows, gallery.vectors, asked, where[asked, split], metric)
    absent = ~np.isin(rule.query_pids, rule.gallery_pids) & (rule.query_pids != JUNK)
    gone = out[index_of(rule.query_pids, ids, len(ids))]
    known, unknown = np.isfinite(own)[:, None] & ~gone, absent[:, None] | gone
    return _rates(own, impostor, (known, unknown), false_alarm_rates)


def _nearest_impostors(
    query: Embeddings, gallery: Embeddings, rule: Rule, held_out: tuple[Flags, Integers], metric: Metric
) -> Integers:
    """Find the nearest image of another id in every split's gallery, [Q, R]; -1 where there is none."""
    where = np.full((len(rule.query_pids), held_out[0].shape[1]), -1)
    for first, dist_bg in distance_blocks(query.vectors, gallery.vectors, metric):
        block = slice(first, first + len(dist_bg))
        best = np.full((len(dist_bg), where.shape[1]), np.inf, np.float32)
        pids = rule.query_pids[block], rule.gallery_pids
        nearest_impostors(dist_bg, pids, held_out, best, where[block])
    return where


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
def nearest_impostors(
    dist_bg: Floats,
    pids: tuple[Integers, Integers],
    held_out: tuple[NDArray[np.bool_], Integers],
    best: Floats,
    where: Integers,
) -> None:
    """Find the nearest image of another id, for every query of a block and every split.

    Args:
        dist_bg: distances of b queries to the gallery.
        pids: of the queries and of the gallery.
        held_out: for every id and split whether the id is left out [I, R]; the id of each image [g].
        best: the distances, [b, R], written in place; they begin as infinite.
        where: the numbers of the images, [b, R]; they begin as -1.
    """
    out, gallery_ids = held_out
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
                    where[i, r] = j
                farthest = max(farthest, best[i, r])
