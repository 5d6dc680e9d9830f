"""Open-set identification: searching a gallery for people of whom some are not in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reidkit.errors import DataError, UsageError
from reidkit.metrics.distances import Metric, distance_blocks, prepare
from reidkit.metrics.matching import Cameras, find_matches, make_rule, require_matches
from reidkit.metrics.pairs import nearest_strangers
from reidkit.metrics.retrieval import check_comparable, pair_squares
from reidkit.metrics.verification import allowed_errors
from reidkit.types import JUNK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from reidkit.metrics.matching import Rule
    from reidkit.types import Embeddings

    Doubles = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Splits:
    """Which people are taken out of the gallery: a part `held_out` of those searched for, `repeats` times at random.

    Raises:
        UsageError: a part that is not between 0 and 1, or no repeat.
    """

    held_out: float = 0.5
    repeats: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1 or self.repeats < 1:
            raise UsageError(
                f"holding out a part of {self.held_out:g} of the people {self.repeats} times makes no open-set trial: "
                "give a part between 0 and 1, and at least one repeat"
            )

    def draw(self, people: int) -> Flags:
        """Whether each person is held out, [people, repeats]; at least one is and at least one is not."""
        rng = np.random.default_rng(self.seed)
        order = np.argsort(rng.random((people, self.repeats)), axis=0)
        ranks = np.argsort(order, axis=0)
        return np.asarray(ranks < np.clip(round(self.held_out * people), 1, people - 1))


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
    """Open-set identification; `known`, `unknown`: queries with and without their person in the gallery, as means."""

    rates: tuple[OpenSetRate, ...]
    known: float
    unknown: float
    repeats: int


def open_set(
    query: Embeddings,
    gallery: Embeddings,
    false_alarm_rates: Sequence[float] = (1e-2, 1e-1),
    *,
    metric: Metric = "cosine",
    cameras: Cameras = "cross",
    splits: Splits | None = None,
) -> OpenSet:
    """Detection and identification rates, the images of some people being taken out of the gallery.

    After Phillips, Grother and Micheals (Handbook of Face Recognition, 2nd ed. 2011, ch. 21): the false alarm rate at a
    threshold is the part of the queries without their person in the gallery whose most similar image is above it
    (ISO/IEC 19795-1: false positive identification rate). The detection and identification rate is the part of the
    queries with their person in the gallery of whom an image is at rank 1 and above the threshold (one minus the false
    negative identification rate at rank 1). The threshold is the lowest at which the false alarm rate is kept.

    Lists are as in `metrics.score`: of the query's own person, images of its own camera are left out under `cross`; a
    tie counts against the match. A query whose person has no image in the gallery at all is always without; one whose
    person has images there that are all left out, and is not held out, does not take part.

    Raises:
        DataError: features or labels that cannot be compared, or fewer than two people with a right image.
        UsageError: a false alarm rate that is not between 0 and 1.
    """
    check_comparable(query, gallery)
    rule = make_rule(query, gallery, cameras)
    matches = find_matches(rule)
    require_matches(matches, rule, cameras)
    people = np.unique(rule.query_pids[matches.rows])
    if len(people) < 2:
        raise DataError("only one person has a right image in the gallery: holding people out needs at least two")
    splits = splits or Splits()
    held_out = np.vstack((splits.draw(len(people)), np.zeros((1, splits.repeats), bool)))
    rows = prepare(query.vectors, metric, "query")
    own = np.full(len(rule.query_pids), np.inf)
    np.minimum.at(own, matches.rows, pair_squares(rows, gallery.vectors, matches.rows, matches.columns, metric))
    where = _strangers(query, gallery, rule, (held_out, _place(people, rule.gallery_pids)), metric)
    asked, split = np.nonzero(where >= 0)
    stranger = np.full(where.shape, np.inf)
    stranger[asked, split] = pair_squares(rows, gallery.vectors, asked, where[asked, split], metric)
    absent = ~np.isin(rule.query_pids, rule.gallery_pids) & (rule.query_pids != JUNK)
    out = held_out[_place(people, rule.query_pids)]
    return _rates(own, stranger, (np.isfinite(own)[:, None] & ~out, absent[:, None] | out), false_alarm_rates)


def _place(people: Integers, pids: Integers) -> Integers:
    """The place of each pid among the people, and their number for anybody else."""
    place = np.minimum(np.searchsorted(people, pids), len(people) - 1)
    return np.where(people[place] == pids, place, len(people))


def _strangers(
    query: Embeddings, gallery: Embeddings, rule: Rule, held_out: tuple[Flags, Integers], metric: Metric
) -> Integers:
    """The number of the nearest image of somebody else in every split's gallery, [Q, R]; -1 where there is none."""
    where = np.full((len(rule.query_pids), held_out[0].shape[1]), -1)
    for first, dist_bg in distance_blocks(query.vectors, gallery.vectors, metric):
        block = slice(first, first + len(dist_bg))
        best = np.full((len(dist_bg), where.shape[1]), np.inf, np.float32)
        pids = rule.query_pids[block], rule.gallery_pids
        nearest_strangers(dist_bg, pids, held_out, best, where[block])
    return where


def _rates(own: Doubles, stranger: Doubles, who: tuple[Flags, Flags], false_alarm_rates: Sequence[float]) -> OpenSet:
    """Means over the splits. `own` [Q] and `stranger` [Q, R]: squared distances; `who`: known and unknown, [Q, R]."""
    known, unknown = who
    found = []
    for wanted in false_alarm_rates:
        rates, limits = [], []
        for r in range(stranger.shape[1]):
            alarms = np.sort(stranger[unknown[:, r], r])
            limit = alarms[allowed_errors(wanted, len(alarms))]
            right = (own < stranger[:, r]) & (own < limit)
            rates.append(right[known[:, r]].mean())
            limits.append(limit)
        threshold = 1 - float(np.mean(limits)) / 2
        found.append(OpenSetRate(wanted, float(np.mean(rates)), float(np.std(rates)), threshold))
    queries = float(known.sum(axis=0).mean()), float(unknown.sum(axis=0).mean())
    return OpenSet(tuple(found), *queries, stranger.shape[1])
