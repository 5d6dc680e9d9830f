"""The paired test against a case worked by hand, SciPy's permutation test, and its error rates in simulations."""

from __future__ import annotations

import numpy as np
import pytest

from reidkit.errors import DataError
from reidkit.metrics.intervals import Bootstrap, Interval, Values, compare_paired, exchange_test


def values(ap: list[float], first: list[float] | None = None) -> Values:
    numbers = np.array(ap)
    return Values(numbers, numbers / 2, np.array(first) if first else np.where(np.isnan(numbers), np.nan, 1.0))


def test_by_hand() -> None:
    """Ids 5 and 7 with two queries, 9 with one: sums of differences 0.2, 0.3 and -0.1.

    Of the 8 signs, |0.2 + 0.3 - 0.1| = 0.4 is reached by +++ (0.4 with its own signs), its mirror, and by 0.2 + 0.3 +
    0.1 = 0.6 and its mirror: 4 of 8.
    """
    a = values([0.5, 0.5, 0.4, 0.4, 0.6], [1, 2, 3, 1, 1])
    b = values([0.6, 0.6, 0.6, 0.5, 0.5], [1, 1, 1, 1, 6])
    found = compare_paired(a, b, np.array([5, 5, 7, 7, 9]))
    assert (found.queries, found.ids, found.exact, found.smallest_p) == (5, 3, True, 0.25)
    one = found.differences["map"]
    assert (one.a, one.b, one.difference) == pytest.approx((0.48, 0.56, 0.08))
    assert one.p == 0.5
    rank1 = found.differences["rank1"]  # sums 1, 1, -1: |1| is reached by all 8
    assert (rank1.a, rank1.b, rank1.p) == pytest.approx((0.6, 0.8, 1.0))
    assert found.differences["rank5"].b == pytest.approx(0.8)
    assert found.differences["minp"].difference == pytest.approx(0.04)


def test_the_interval_by_hand() -> None:
    """Two ids with one query each, differences 0 and 1: a draw gives 0, 0.5 or 1, the outer ones in 1 of 4 each."""
    found = compare_paired(values([0, 0]), values([0, 1]), [1, 2]).differences["map"]
    assert found.interval == Interval(0, 1)
    assert compare_paired(values([0, 0]), values([0, 1]), np.array([1, 1])).differences["map"].interval is None


def test_no_difference() -> None:
    same = values([0.3, 0.5, np.nan])
    found = compare_paired(same, same, np.array([1, 2, 3]))
    assert (found.queries, found.ids) == (2, 2)
    assert {(one.difference, one.p) for one in found.differences.values()} == {(0, 1)}


def test_one_id_can_never_tell() -> None:
    found = compare_paired(values([0.1, 0.1]), values([0.9, 0.9]), np.array([4, 4]))
    assert (found.differences["map"].p, found.smallest_p) == (1, 1)


@pytest.mark.parametrize("ids", [9, 40])
def test_against_scipy(ids: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    sums = np.random.default_rng(1).normal(0.15, 0.5, ids)
    expected = stats.permutation_test(
        (sums, np.zeros(ids)),
        lambda x, y, axis: (x - y).mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9999 if ids > 14 else np.inf,
        rng=np.random.default_rng(0),
    ).pvalue
    assert exchange_test(sums) == pytest.approx(expected, abs=1e-9 if ids < 14 else 0.015)


def draws(rng: np.random.Generator, ids: int, gain: float) -> tuple[Values, Values, np.ndarray]:
    """Five queries of each id that resemble each other: what one model gains on one, it gains on all of the id."""
    pids = np.repeat(np.arange(ids), 5)
    hard = rng.normal(0.5, 0.2, ids)[pids]
    noise = [hard + rng.normal(0, 0.1, ids)[pids] + rng.normal(0, 0.05, 5 * ids) for _ in range(2)]
    return values(noise[0].tolist()), values((noise[1] + gain).tolist()), pids


def test_error_rates_in_a_simulation() -> None:
    """Where nothing differs, p is below 5 % in about 5 % of the cases, and intervals hold the truth in about 95 %.

    A test that exchanged single queries would call a third of them different.
    """
    rng = np.random.default_rng(0)
    false, found, held, alone = 0, 0, 0, 0
    for _ in range(400):
        a, b, pids = draws(rng, 12, 0.0)
        one = compare_paired(a, b, pids, Bootstrap(draws=400)).differences["map"]
        false += one.p < 0.05
        assert one.interval
        held += one.interval.low <= 0 <= one.interval.high
        apart = b.average_precision - a.average_precision
        alone += abs(apart.mean()) > 1.96 * apart.std() / len(apart) ** 0.5
        a, b, pids = draws(rng, 12, 0.2)
        found += compare_paired(a, b, pids, Bootstrap(draws=2)).differences["map"].p < 0.05
    assert 0.025 < false / 400 < 0.08
    assert 0.85 < held / 400 < 0.98  # a bootstrap of 12 ids is a little too narrow
    assert found / 400 > 0.9
    assert alone / 400 > 0.25


def test_results_that_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="of different queries"):
        compare_paired(values([0.1]), values([0.1, 0.2]), np.array([1, 2]))
    with pytest.raises(DataError, match="their galleries differ"):
        compare_paired(values([0.1, np.nan]), values([0.1, 0.2]), np.array([1, 2]))
    with pytest.raises(DataError, match="nothing to compare"):
        compare_paired(values([np.nan]), values([np.nan]), np.array([1]))


def test_many_ids_take_little_memory() -> None:
    sums = np.random.default_rng(0).normal(0, 1, 20_000)
    assert 0 < exchange_test(sums) < 1
