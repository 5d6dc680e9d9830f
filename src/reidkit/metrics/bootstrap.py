"""Confidence intervals by bootstrap over people (Efron 1979): people are drawn again, not images or pairs.

The images of one person resemble each other, so that they are worth less than as many people; drawing images would
give intervals that are too narrow. Every draw takes as many people as there are, with replacement; an interval holds
the middle part of the values of all draws (percentiles).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reidkit.errors import DataError, UsageError
from reidkit.metrics.verification import FARS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from reidkit.metrics.pairs import Tables
    from reidkit.metrics.retrieval import Scores

    Doubles = NDArray[np.float64]

RANKS = (1, 5, 10, 20)

AT_ONCE = 1 << 24
"""Weights that are held at a time, 128 MB."""


@dataclass(frozen=True)
class Bootstrap:
    """How often people are drawn, the part of the draws that an interval holds, and the seed.

    Raises:
        UsageError: fewer than two draws, or a level that is not between 0 and 1.
    """

    draws: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draws < 2 or not 0 < self.level < 1:
            raise UsageError(
                f"intervals of {self.draws} draws at the level {self.level:g} cannot be had: "
                "at least 2 draws and a level between 0 and 1 are needed"
            )

    def weights(self, people: int) -> Doubles:
        """How often each person is drawn, [draws, people]."""
        rng = np.random.default_rng(self.seed)
        return rng.multinomial(people, np.full(people, 1 / people), size=self.draws).astype(np.float64)

    def blocks(self, people: int) -> Iterator[Doubles]:
        """The same weights a few draws at a time, so that a million people take no gigabytes."""
        rng, step = np.random.default_rng(self.seed), max(1, AT_ONCE // people)
        for first in range(0, self.draws, step):
            count = min(step, self.draws - first)
            yield rng.multinomial(people, np.full(people, 1 / people), size=count).astype(np.float64)

    def interval(self, values: Doubles) -> Interval | None:
        """The interval of the values of all draws; None where fewer than half of them have a value."""
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
    None: there are too few people to say.
    """

    eer: Interval | None
    tpr: tuple[Interval | None, ...]
    tpr_at_threshold: Interval | None
    far_at_threshold: Interval | None


def intervals(scores: Scores, query_pids: NDArray[np.int64], settings: Bootstrap | None = None) -> dict[str, Interval]:
    """Intervals of rank-1, 5, 10 and 20, mAP and mINP, by the names of `Scores`; the gallery stays as it is.

    Empty where fewer than two people were searched for.

    Raises:
        DataError: there is not one pid per query.
    """
    settings = settings or Bootstrap()
    pids = np.asarray(query_pids)
    if pids.shape != scores.first_match.shape:
        raise DataError(f"{len(scores.first_match)} queries were scored, but there are {len(pids)} pids: give theirs")
    scored = ~np.isnan(scores.first_match)
    hits = [scores.first_match <= rank for rank in RANKS]
    values = np.stack([*hits, scores.average_precision, scores.inp])[:, scored]
    people, who = np.unique(pids[scored], return_inverse=True)
    if len(people) < 2:
        return {}
    sums = np.stack([np.bincount(who, weights=row, minlength=len(people)) for row in values], axis=1)
    sizes = np.bincount(who)
    means = np.concatenate([draws @ sums / (draws @ sizes)[:, None] for draws in settings.blocks(len(people))])
    names = (*(f"rank{rank}" for rank in RANKS), "map", "minp")
    found = ((name, settings.interval(column)) for name, column in zip(names, means.T, strict=True))
    return {name: interval for name, interval in found if interval}


def pair_intervals(
    tables: Tables, threshold: float, fars: Sequence[float] = FARS, settings: Bootstrap | None = None
) -> PairIntervals:
    """Intervals of verification, from pairs counted by person.

    A genuine pair counts as often as its person was drawn. An impostor pair has two people, a and b, drawn w_a and w_b
    times; it counts w_a + w_b - 1 times, which is w_a w_b but for (w_a - 1)(w_b - 1), of a smaller order. So both
    people's part in the spread is kept, though pairs are counted by one person at a time. Where two or three pairs of
    people make most of the false accepts, the upper end of a FAR comes out low, by a fifth where it was tried. People
    of the gallery whom nobody searches for are never drawn; they count once.
    """
    settings = settings or Bootstrap()
    if len(tables.genuine) < 2:
        return PairIntervals(None, (None,) * len(fars), None, None)
    weights = settings.weights(len(tables.genuine))
    twice = tables.impostor.sum(axis=0) - tables.impostor_total
    tpr = _rates(weights @ tables.genuine)
    far = _rates(weights @ tables.impostor - twice)
    place = float(np.interp(-threshold, -tables.ends, np.arange(len(tables.ends))))
    return PairIntervals(
        eer=settings.interval(np.array([_equal(f, t) for f, t in zip(far, tpr, strict=True)])),
        tpr=tuple(settings.interval(_at(rate, far, tpr)) for rate in fars),
        tpr_at_threshold=settings.interval(_between(tpr, place)),
        far_at_threshold=settings.interval(_between(far, place)),
    )


def _rates(counts_bk: Doubles) -> Doubles:
    """The part of the pairs that the first k bins accept, for every draw [B, K + 1]; NaN where there are no pairs."""
    sums = np.maximum.accumulate(np.cumsum(counts_bk, axis=1), axis=1)
    sums = np.concatenate((np.zeros((len(sums), 1)), np.maximum(sums, 0)), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums / sums[:, -1:])


def _at(rate: float, far: Doubles, tpr: Doubles) -> Doubles:
    """The TPR of the most bins that can be accepted at a FAR of `rate`, for every draw."""
    bins = (far <= rate * (1 + 1e-12)).sum(axis=1) - 1
    return np.where(np.isfinite(far[:, -1]), tpr[np.arange(len(tpr)), bins], np.nan)


def _equal(far: Doubles, tpr: Doubles) -> float:
    """Where FAR = 1 - TPR, which falls along the curve."""
    return float(np.interp(0.0, far + tpr - 1, far))


def _between(rates: Doubles, place: float) -> Doubles:
    """The rate at a place between the ends of two bins, on a straight line, for every draw."""
    left = min(int(place), rates.shape[1] - 2)
    return np.asarray(rates[:, left] + (place - left) * (rates[:, left + 1] - rates[:, left]))
