from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reidkit.errors import DataError, UsageError
from reidkit.metrics import identification
from reidkit.metrics.identification import Splits, open_set
from reidkit.metrics.matching import find_matches, make_rule
from reidkit.metrics.products import Host

from .definition import crowd, line, multiply_badly, trials


def test_open_set_by_hand() -> None:
    """Two people; whoever is held out, the other's image is the head of the list.

    Person 1 is at 0 and its image at 1; person 2 is at 10, its image at 12. If 1 is held out, its query finds the
    image at 12: an alarm unless the threshold is nearer than 12. Query 2 is right at distance 2. If 2 is held out, its
    query finds the image at 1, at distance 9; query 1 is right at distance 1.
    """
    query, gallery = line([0, 10], [1, 2], 0), line([1, 12], [1, 2], 1)
    found = open_set(query, gallery, [0.5], metric="euclidean", held_out=0.5, repeats=8)
    assert (found.known, found.unknown, found.repeats) == (1, 1, 8)
    (rate,) = found.rates
    assert (rate.rate, rate.deviation) == (1, 0)
    drawn = Splits(0.5, 8).draw(2)
    assert drawn.any(axis=1).all()
    assert rate.threshold == pytest.approx(1 - np.where(drawn[0], 144, 81).mean() / 2)


@given(trials(), st.sampled_from(["cross", "any"]), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_open_set_against_the_definition(trial, cameras, seed) -> None:
    query, gallery, metric = trial
    rule = make_rule(query, gallery, cameras)
    people = np.unique(rule.query_pids[find_matches(rule).rows])
    assume(len(people) >= 2)
    splits = Splits(0.4, 3, seed)
    found = open_set(query, gallery, [0.01, 0.3], metric=metric, cameras=cameras, held_out=0.4, repeats=3, seed=seed)
    drawn = splits.draw(len(people))
    expected = np.array([_open_set(trial, cameras, set(people[drawn[:, r]].tolist())) for r in range(3)])
    assert len(found.rates) == expected.shape[1]
    for n, rate in enumerate(found.rates):
        assert rate.rate == pytest.approx(expected[:, n].mean())
        assert rate.deviation == pytest.approx(expected[:, n].std())


def _open_set(trial, cameras, held_out):
    """Rates at 0.01 and 0.3, query by query: alarms first, then who is found."""
    query, gallery, metric = trial
    gallery = dataclasses.replace(gallery, pids=np.where(np.isin(gallery.pids, list(held_out)), -1, gallery.pids))
    rule = make_rule(query, gallery, cameras)
    alarms, answers = [], []
    for i in np.flatnonzero(query.pids != -1):
        listed = rule.listed(i)
        x, y = query.vectors[i].astype(float), gallery.vectors[listed].astype(float)
        if metric == "cosine":
            x, y = (v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9) for v in (x, y))
        similar = 1 - np.square(x - y).sum(axis=1) / 2
        right = gallery.pids[listed] == query.pids[i]
        if query.pids[i] not in trial[1].pids or query.pids[i] in held_out:
            alarms.append(similar.max())
        elif right.any():
            others = similar[~right].max() if (~right).any() else -np.inf
            answers.append((similar[right].max(), others))
    alarms = sorted(alarms, reverse=True)
    return [
        np.mean([own > others + 1e-6 and own > alarms[int(far * len(alarms))] + 1e-6 for own, others in answers])
        for far in (0.01, 0.3)
    ]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_an_inexact_product_changes_no_open_set_rate(metric, monkeypatch) -> None:
    """Features around one constant, whose distances single precision cannot tell apart."""
    sides = crowd(queries=60, images=400, seed=3)
    for side in sides:
        side.vectors[:] = 1 + 1e-4 * side.vectors
    expected = open_set(*sides, metric=metric)
    monkeypatch.setattr(Host, "multiply", multiply_badly)
    assert open_set(*sides, metric=metric) == expected
    monkeypatch.setattr(identification, "AT_ONCE", 1000)
    assert open_set(*sides, metric=metric) == expected


def test_a_rate_that_rounds_to_one_allows_all_but_one_alarm() -> None:
    rates = open_set(*crowd(), (1 - 1e-2, 1 - 1e-14)).rates
    assert rates[1].rate >= rates[0].rate


def test_splits_hold_out_a_part_of_the_people() -> None:
    drawn = Splits(0.3, 20, seed=1).draw(10)
    assert drawn.sum(axis=0).tolist() == [3] * 20
    assert len({tuple(column) for column in drawn.T}) > 10
    assert (drawn == Splits(0.3, 20, seed=1).draw(10)).all()
    assert (drawn != Splits(0.3, 20, seed=2).draw(10)).any()
    assert Splits(0.01, 5).draw(4).sum(axis=0).tolist() == [1] * 5
    assert Splits(0.99, 5).draw(4).sum(axis=0).tolist() == [3] * 5


def test_open_set_says_what_it_needs() -> None:
    with pytest.raises(DataError, match="needs at least two"):
        open_set(line([0, 1], [1, 2], 0), line([1, 2], [1, 3], 1))
    for part in (0.0, 1.0):
        with pytest.raises(UsageError, match="makes no open-set trial"):
            Splits(part, 1)
    for repeats in (0, 2.5):
        with pytest.raises(UsageError, match="repeats must be a whole number from 1 on"):
            Splits(0.5, repeats)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"pass a list, as \[0\.01, 0\.1\]") as told:
        open_set(*crowd(), 0.1)  # type: ignore[arg-type]
    assert told.value.argument == "false_alarm_rates"
    with pytest.raises(UsageError, match="give one between 0 and 1"):
        open_set(*crowd(), [0.0])
