"""Whether two models differ on the same queries: a paired test, and an interval of the difference.

Images of one id resemble each other, so that ids are what is drawn and exchanged, not queries. The test (Fisher 1935)
asks how often a difference as large would come about if it did not matter which model is which: for each id, the values
of both models are exchanged or left. The interval is a bootstrap over ids, as in `intervals`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reidkit.errors import DataError
from reidkit.metrics.bootstrap import Bootstrap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from reidkit.metrics.bootstrap import Interval

    Doubles = NDArray[np.float64]

ALL = 1 << 14
"""Up to so many ways to exchange, all of them are tried, and the p value is exact."""

DRAWS = 9_999
"""Otherwise so many are drawn, and the one that was measured is counted among them (Phipson and Smyth 2010)."""

AT_ONCE = 1 << 21
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
        """The numbers by the names that commands print."""
        interval = [self.interval.low, self.interval.high] if self.interval else None
        return {"a": self.a, "b": self.b, "difference": self.difference, "interval": interval, "p": self.p}


@dataclass(frozen=True)
class Comparison:
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
        """The values whose means are the scores."""
        scored = np.where(np.isnan(self.first_match), np.nan, 1.0)
        hits: dict[str, Doubles] = {
            f"rank{rank}": np.where(self.first_match <= rank, scored, 0 * scored) for rank in (1, 5, 10)
        }
        return {**hits, "map": self.average_precision, "minp": self.inp}


def compare(a: Values, b: Values, pids: NDArray[np.int64], settings: Bootstrap | None = None) -> Comparison:
    """Compare two models on the same queries, in the same order, of the ids `pids`.

    Raises:
        DataError: not as many values as ids, or a query that has a match for one model only: the galleries differ.
    """
    settings = settings or Bootstrap()
    ours, theirs = a.by_score(), b.by_score()
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
    return Comparison(found, int(scored.sum()), len(ids), exact, min(1.0, smallest))


def _difference(a: Doubles, b: Doubles, who: NDArray[np.int64], settings: Bootstrap) -> Difference:
    sums, sizes = np.bincount(who, weights=b - a).astype(np.float64), np.bincount(who)
    interval = None
    if len(sums) > 1:
        means = [draws @ sums / (draws @ sizes) for draws in settings.blocks(len(sums))]
        interval = settings.interval(np.concatenate(means))
    return Difference(float(a.mean()), float(b.mean()), exchange_test(sums, settings.seed), interval)


def exchange_test(sums: Doubles, seed: int = 0) -> float:
    """The two-sided p value of the sum of differences, each of which may have either sign.

    Args:
        sums: the sum of the differences of each id's queries, float64 [ids].
        seed: of the draws, where there are too many ways to try them all.
    """
    limit = abs(sums.sum()) - EQUAL * np.abs(sums).sum()
    step = max(1, AT_ONCE // len(sums))
    if _ways(len(sums)) <= ALL:
        ways, bits = np.arange(_ways(len(sums))), np.arange(len(sums))
        blocks = (ways[i : i + step, None] >> bits & 1 for i in range(0, len(ways), step))
        return float(sum(_as_large(block, sums, limit) for block in blocks) / len(ways))
    rng = np.random.default_rng(seed)
    counts = (min(step, DRAWS - done) for done in range(0, DRAWS, step))
    found = sum(_as_large(rng.integers(0, 2, (count, len(sums)), np.int8), sums, limit) for count in counts)
    return (1 + found) / (1 + DRAWS)


def _as_large(bits: NDArray[np.integer], sums: Doubles, limit: float) -> int:
    """How many of these ways to exchange, 1 for each id that is, give a sum as large either way."""
    return int((np.abs((1 - 2 * bits.astype(np.float64)) @ sums) >= limit).sum())


def _ways(ids: int) -> int:
    """The ways to exchange two models for each id."""
    return 1 << ids
