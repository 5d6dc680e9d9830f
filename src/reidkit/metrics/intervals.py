"""Confidence intervals of scores, and a paired test of two models on the same queries.

The images of one id resemble each other, so that they are worth less than as many ids; what is sampled here are
therefore ids, not images, queries or pairs.

**Intervals** are by bootstrap (Efron 1979): every draw takes as many ids as there are, with replacement; an interval
holds the middle part of the values of all draws (percentiles).

**Two models** are compared by a paired test (Fisher 1935): how often would a difference as large come about if it did
not matter which model is which? For each id, the values of both models are exchanged or left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reidkit.arguments import check_whole
from reidkit.errors import DataError, UsageError
from reidkit.metrics.verification import FARS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from reidkit.metrics.pair_tables import Tables
    from reidkit.metrics.retrieval import Scores

    Doubles = NDArray[np.float64]


RANKS = (1, 5, 10, 20)
AT_ONCE = 1 << 24
"""Weights that are held at a time, 128 MB."""


@dataclass(frozen=True)
class Bootstrap:
    """How often ids are sampled, the part of the draws that an interval holds, and the seed.

    Raises:
        UsageError: fewer than two draws, or a level that is not between 0 and 1.
    """

    draws: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "draws", check_whole(self.draws, "draws"))
        check_whole(self.seed, "seed")
        if self.draws < 2 or not 0 < self.level < 1:
            raise UsageError(
                f"intervals of {self.draws} draws at the level {self.level:g} cannot be had: "
                "at least 2 draws and a level between 0 and 1 are needed"
            )

    def weights(self, ids: int) -> Doubles:
        """Return how often each id is sampled, [draws, ids]."""
        rng = np.random.default_rng(self.seed)
        return rng.multinomial(ids, np.full(ids, 1 / ids), size=self.draws).astype(np.float64)

    def blocks(self, ids: int) -> Iterator[Doubles]:
        """Yield the same weights a few draws at a time, so that a million ids take no gigabytes."""
        rng, step = np.random.default_rng(self.seed), max(1, AT_ONCE // ids)
        for first in range(0, self.draws, step):
            count = min(step, self.draws - first)
            yield rng.multinomial(ids, np.full(ids, 1 / ids), size=count).astype(np.float64)

    def interval(self, values: Doubles) -> Interval | None:
        """Return the interval of the values of all draws; None where fewer than half of them have a value."""
        known = values[np.isfinite(values)]
        if len(known) < max(2, self.draws / 2):
            return None
        low, high = np.quantile(known, ((1 - self.level) / 2, (1 + self.level) / 2))
        return Interval(float(low), float(high))


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class PairIntervals:
    """Intervals of verification: of the EER, of the TPR at each FAR, and of both rates at one fixed threshold.

    The TPR at a FAR includes that the threshold is found anew in every draw; at the fixed threshold it is not.
    None: there are too few ids to say.
    """

    eer: Interval | None
    tpr: tuple[Interval | None, ...]
    tpr_at_threshold: Interval | None
    far_at_threshold: Interval | None


def bootstrap(
    scores: Scores, query_pids: ArrayLike, *, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Compute confidence intervals of rank-1, 5, 10 and 20, mAP and mINP, by drawing the queries' ids again.

    Args:
        scores: of all queries; the gallery stays as it is.
        query_pids: the id of each query, [Q].
        draws: how often ids are sampled.
        level: the part of the draws that an interval holds.
        seed: of the draws.

    Returns:
        Intervals by the names of `Scores`; none where the queries show fewer than two ids.

    Raises:
        DataError: there is not one pid per query.
        UsageError: fewer than two draws, or a level that is not between 0 and 1.
    """
    settings = Bootstrap(draws, level, seed)
    pids = np.asarray(query_pids)
    if pids.shape != scores.first_match.shape:
        raise DataError(f"{len(scores.first_match)} queries were scored, but there are {pids.size} pids: give theirs")
    scored = ~np.isnan(scores.first_match)
    hits = [scores.first_match <= rank for rank in RANKS]
    values = np.stack([*hits, scores.average_precision, scores.inp])[:, scored]
    ids, who = np.unique(pids[scored], return_inverse=True)
    if len(ids) < 2:
        return {}
    sums = np.stack([np.bincount(who, weights=row, minlength=len(ids)) for row in values], axis=1)
    sizes = np.bincount(who)
    means = np.concatenate([draws @ sums / (draws @ sizes)[:, None] for draws in settings.blocks(len(ids))])
    names = (*(f"rank{rank}" for rank in RANKS), "map", "minp")
    found = ((name, settings.interval(column)) for name, column in zip(names, means.T, strict=True))
    return {name: interval for name, interval in found if interval}


def pair_intervals(
    tables: Tables, threshold: float, fars: Sequence[float] = FARS, settings: Bootstrap | None = None
) -> PairIntervals:
    """Intervals of verification, from pairs counted by id.

    A genuine pair counts as often as its id was sampled. An impostor pair has two ids, a and b, sampled w_a and w_b
    times; it counts w_a + w_b - 1 times, which is w_a w_b but for (w_a - 1)(w_b - 1), of a smaller order. So both
    ids' part in the spread is kept, though pairs are counted by one id at a time. Where two or three pairs of
    ids make most of the false accepts, the upper end of a FAR comes out low, by a fifth where it was tried. Ids
    of the gallery that no query shows are never sampled; they count once.
    """
    settings = settings or Bootstrap()
    if len(tables.genuine) < 2:
        return PairIntervals(None, (None,) * len(fars), None, None)
    weights = settings.weights(len(tables.genuine))
    twice = tables.impostor.sum(axis=0) - tables.impostor_total
    tpr = _rates(weights @ tables.genuine)
    far = _rates(weights @ tables.impostor - twice)
    position = float(np.interp(-threshold, -tables.ends, np.arange(len(tables.ends))))
    return PairIntervals(
        eer=settings.interval(np.array([_equal(f, t) for f, t in zip(far, tpr, strict=True)])),
        tpr=tuple(settings.interval(_at(rate, far, tpr)) for rate in fars),
        tpr_at_threshold=settings.interval(_between(tpr, position)),
        far_at_threshold=settings.interval(_between(far, position)),
    )


def _rates(counts_bk: Doubles) -> Doubles:
    """The part of the pairs that the first k bins accept, for every draw [B, K + 1]; NaN where there are no pairs."""
    sums = np.maximum.accumulate(np.cumsum(counts_bk, axis=1), axis=1)
    sums = np.concatenate((np.zeros((len(sums), 1)), np.maximum(sums, 0)), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums / sums[:, -1:])


def _at(rate: float, far: Doubles, tpr: Doubles) -> Doubles:
    """Return the TPR of the most bins that can be accepted at a FAR of `rate`, for every draw."""
    bins = (far <= rate * (1 + 1e-12)).sum(axis=1) - 1
    return np.where(np.isfinite(far[:, -1]), tpr[np.arange(len(tpr)), bins], np.nan)


def _equal(far: Doubles, tpr: Doubles) -> float:
    """Return where FAR = 1 - TPR, which falls along the curve."""
    return float(np.interp(0.0, far + tpr - 1, far))


def _between(rates: Doubles, position: float) -> Doubles:
    """Return the rate at a position between the ends of two bins, on a straight line, for every draw."""
    left = min(int(position), rates.shape[1] - 2)
    return np.asarray(rates[:, left] + (position - left) * (rates[:, left + 1] - rates[:, left]))


# Whether two models differ on the same queries.


ALL = 1 << 14
"""Up to so many ways to exchange, all of them are tried, and the p value is exact."""
DRAWS = 9_999
"""Otherwise so many are sampled, and the one that was measured is counted among them (Phipson and Smyth 2010)."""
SIGNS = 1 << 21
"""Signs that are held at a time."""
EQUAL = 1e-9
"""Sums that differ by this part of the sum of all magnitudes are equal: they were added in another order."""


@dataclass(frozen=True)
class Difference:
    """A score of two models, and by how much the second is above the first; all are fractions.

    `p`: how often the difference is as large, either way, where it does not matter which model is which. `interval`:
    of the difference, None for fewer than two ids.
    """

    a: float
    b: float
    p: float
    interval: Interval | None

    @property
    def difference(self) -> float:
        """How far the second is above the first."""
        return self.b - self.a

    def as_json(self) -> dict[str, float | list[float] | None]:
        """Return the numbers by the names that commands print."""
        interval = [self.interval.low, self.interval.high] if self.interval else None
        return {"a": self.a, "b": self.b, "difference": self.difference, "interval": interval, "p": self.p}


@dataclass(frozen=True)
class PairedComparison:
    """Differences by the names of scores; `exact` where p comes from all ways to exchange and not from a sample.

    `smallest_p` is the smallest p value that there can be: with few ids no difference is too large for chance.
    """

    differences: Mapping[str, Difference]
    queries: int
    ids: int
    exact: bool
    smallest_p: float


@dataclass(frozen=True, eq=False)
class Values:
    """What was measured for each query, NaN where it has no match: one model's on a list of queries."""

    average_precision: Doubles
    inp: Doubles
    first_match: Doubles

    def by_score(self) -> dict[str, Doubles]:
        """Return the values whose means are the scores."""
        scored = np.where(np.isnan(self.first_match), np.nan, 1.0)
        hits: dict[str, Doubles] = {
            f"rank{rank}": np.where(self.first_match <= rank, scored, 0 * scored) for rank in (1, 5, 10)
        }
        return {**hits, "map": self.average_precision, "minp": self.inp}


def compare_paired(
    a: Values | Scores, b: Values | Scores, pids: ArrayLike, settings: Bootstrap | None = None
) -> PairedComparison:
    """Compare two models on the same queries, by a paired test and intervals over ids.

    Args:
        a: What one model scored: `Scores`, or `Values` of each of Q queries, NaN where it has no match.
        b: The other model's, of the same queries in the same order.
        pids: The id of each query [Q].
        settings: How the intervals are sampled; None: 1,000 times, for 95 %.

    Raises:
        DataError: not as many values as ids, or a query that has a match for one model only: the galleries differ.
    """
    settings, pids = settings or Bootstrap(), np.asarray(pids)
    ours, theirs = (Values(one.average_precision, one.inp, one.first_match).by_score() for one in (a, b))
    lengths = {len(values) for values in (*ours.values(), *theirs.values(), pids)}
    if len(lengths) != 1:
        raise DataError("the two results are of different queries: evaluate both models on the same data")
    scored = ~np.isnan(ours["map"])
    if not np.array_equal(scored, ~np.isnan(theirs["map"])):
        raise DataError(
            "a query has a true match in one result and none in the other, so that their galleries differ: "
            "evaluate both models on the same data"
        )
    if not scored.any():
        raise DataError("no query has a true match: there is nothing to compare")
    ids, who = np.unique(pids[scored], return_inverse=True)
    found = {name: _difference(ours[name][scored], theirs[name][scored], who.reshape(-1), settings) for name in ours}
    exact = _ways(len(ids)) <= ALL
    smallest = 2 / _ways(len(ids)) if exact else 1 / (DRAWS + 1)
    return PairedComparison(found, int(scored.sum()), len(ids), exact, min(1.0, smallest))


def _difference(a: Doubles, b: Doubles, who: NDArray[np.int64], settings: Bootstrap) -> Difference:
    sums, sizes = np.bincount(who, weights=b - a).astype(np.float64), np.bincount(who)
    interval = None
    if len(sums) > 1:
        means = [draws @ sums / (draws @ sizes) for draws in settings.blocks(len(sums))]
        interval = settings.interval(np.concatenate(means))
    return Difference(float(a.mean()), float(b.mean()), exchange_test(sums, settings.seed), interval)


def exchange_test(sums: Doubles, seed: int = 0) -> float:
    """Return the two-sided p value of the sum of differences, each of which may have either sign.

    Args:
        sums: the sum of the differences of each id's queries, float64 [ids].
        seed: of the draws, where there are too many ways to try them all.
    """
    limit = abs(sums.sum()) - EQUAL * np.abs(sums).sum()
    step = max(1, SIGNS // len(sums))
    if _ways(len(sums)) <= ALL:
        ways, bits = np.arange(_ways(len(sums))), np.arange(len(sums))
        blocks = (ways[i : i + step, None] >> bits & 1 for i in range(0, len(ways), step))
        return float(sum(_as_large(block, sums, limit) for block in blocks) / len(ways))
    rng = np.random.default_rng(seed)
    counts = (min(step, DRAWS - done) for done in range(0, DRAWS, step))
    found = sum(_as_large(rng.integers(0, 2, (count, len(sums)), np.int8), sums, limit) for count in counts)
    return (1 + found) / (1 + DRAWS)


def _as_large(bits: NDArray[np.integer], sums: Doubles, limit: float) -> int:
    """Return how many of these ways to exchange, 1 for each id that is, give a sum as large either way."""
    return int((np.abs((1 - 2 * bits.astype(np.float64)) @ sums) >= limit).sum())


def _ways(ids: int) -> int:
    """Return the ways to exchange two models for each id."""
    return 1 << ids
