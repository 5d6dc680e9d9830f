from __future__ import annotations

import numpy as np
import pytest

from reidkit.errors import DataError, UsageError
from reidkit.metrics.intervals import Bootstrap, Interval, bootstrap, pair_intervals
from reidkit.metrics.matching import Labels
from reidkit.metrics.pair_tables import Tables
from reidkit.metrics.pairs import collect_pairs
from reidkit.metrics.retrieval import Scores, score_distances, score_features
from reidkit.metrics.verification import operating_point, verify_pairs

from .definition import crowd, embeddings


def scored(first_match) -> Scores:
    """The scores of queries whose first match is at these ranks, NaN for none; there is one match each."""
    first = np.array(first_match, float)
    gallery = Labels(np.array([1, *[2] * 30]), np.array([1] * 31))
    dist_qg = np.ones((len(first), 31))
    for row, rank in zip(dist_qg, first, strict=True):
        row[0] = 0.5
        row[1 : 0 if np.isnan(rank) else int(rank)] = 0.1
    pids = np.where(np.isnan(first), 3, 1)
    return score_distances(dist_qg, Labels(pids, np.zeros_like(pids)), gallery)


def test_worked_example():
    """Two people, one always at rank 1 and one at rank 2. Two draws: rank-1 is 0, 1/2 or 1, at 1/4, 1/2, 1/4."""
    found = bootstrap(scored([1, 2]), np.array([5, 6]), draws=4000, level=0.6)
    assert found["rank1"] == Interval(0, 1)
    assert found["rank5"] == Interval(1, 1)
    assert found["map"] == Interval(0.5, 1)
    assert bootstrap(scored([1, 2]), np.array([5, 6]), draws=4000, level=0.4)["rank1"] == Interval(0.5, 0.5)


def test_people_are_drawn_and_not_queries():
    """A person's queries come and go together: 10 people with 20 equal queries each are as uncertain as 10 queries."""
    ranks = np.array([1, 1, 1, 1, 1, 1, 2, 2, 3, 9])
    few = bootstrap(scored(ranks), np.arange(10))
    many = bootstrap(scored(np.repeat(ranks, 20)), np.repeat(np.arange(10), 20))
    assert few == many
    apart = bootstrap(scored(np.repeat(ranks, 20)), np.arange(200))
    assert apart["rank1"].high - apart["rank1"].low < 0.4 * (many["rank1"].high - many["rank1"].low)


def test_intervals_against_a_loop():
    """Queries of people drawn one by one, with the weights of the same draws."""
    query, gallery = crowd()
    scores = score_features(query, gallery)
    settings = Bootstrap(draws=50, seed=3)
    people = np.unique(query.pids[~np.isnan(scores.first_match)])
    means = []
    for weights in settings.weights(len(people)):
        rows = [
            row
            for person, times in zip(people, weights, strict=True)
            for _ in range(int(times))
            for row in np.flatnonzero((query.pids == person) & ~np.isnan(scores.inp))
        ]
        means.append(
            (scores.average_precision[rows].mean(), scores.inp[rows].mean(), (scores.first_match[rows] <= 5).mean())
        )
    found = bootstrap(scores, query.pids, draws=50, seed=3)
    for name, column in zip(("map", "minp", "rank5"), np.array(means).T, strict=True):
        assert (found[name].low, found[name].high) == pytest.approx(np.quantile(column, (0.025, 0.975)))


def test_skipped_queries_are_left_out():
    with_one = bootstrap(scored([1, 2, np.nan, 4]), np.array([1, 2, 9, 4]))
    assert with_one == bootstrap(scored([1, 2, 4]), np.array([1, 2, 4]))


def test_seeds():
    query, gallery = crowd()
    scores = score_features(query, gallery)
    assert bootstrap(scores, query.pids) == bootstrap(scores, query.pids, seed=0)
    assert bootstrap(scores, query.pids)["map"] != bootstrap(scores, query.pids, seed=1)["map"]


def test_intervals_hold_the_truth_as_often_as_they_say():
    """People have rates of their own; the mean of all is 1/2. Of 100 samples of 60 people, near 90 hold it."""
    rng = np.random.default_rng(0)
    held = narrow = 0
    for seed in range(100):
        rates = rng.beta(1, 1, 60)
        hit = rng.random((60, 5)) < rates[:, None]
        scores = scored(np.where(hit, 1, 2).reshape(-1))
        by_person = bootstrap(scores, np.repeat(np.arange(60), 5), draws=200, level=0.9, seed=seed)["rank1"]
        by_query = bootstrap(scores, np.arange(300), draws=200, level=0.9, seed=seed)["rank1"]
        held += by_person.low <= 0.5 <= by_person.high
        narrow += by_query.low <= 0.5 <= by_query.high
    assert 80 <= held <= 98
    assert narrow < held - 8


def test_what_is_too_little_or_too_much():
    assert bootstrap(scored([1, 2, 3]), np.array([4, 4, 4])) == {}
    with pytest.raises(DataError, match="3 queries were scored, but there are 2 pids"):
        bootstrap(scored([1, 2, 3]), np.array([4, 4]))
    for draws, level in ((1, 0.9), (10, 0.0), (10, 1.0)):
        with pytest.raises(UsageError, match="cannot be had"):
            Bootstrap(draws, level)
    assert Bootstrap(10).interval(np.array([np.nan] * 6 + [1.0] * 4)) is None
    assert Bootstrap(10).interval(np.array([np.nan] * 5 + [1.0] * 5)) == Interval(1, 1)


def tables(genuine, impostor, total) -> Tables:
    """Tables of people with pairs in bins that end at 1, 0 and so on, all of one camera pair."""
    ends = np.linspace(1, -1, len(total) + 1)
    none = np.empty((0, len(total)), np.int64)
    middles = (ends[:-1] + ends[1:]) / 2
    return Tables(ends, middles, np.array(genuine), np.array(impostor), np.array(total), none[:, :2], none, none)


def test_pair_intervals_by_hand():
    """Two people with 10 genuine pairs each, those of the first accepted by the first bin; impostors are 1 + 9 of each.

    Nobody else is in the gallery, so all impostor pairs are between the two: drawn (2, 0) times, the pairs between
    them count 2 + 0 - 1 = 1 times: the FAR is always 1/10. The TPR is 0, 1/2 or 1.
    """
    found = pair_intervals(tables([[10, 0], [0, 10]], [[2, 18], [2, 18]], [2, 18]), 0.0, [0.1, 0.05])
    assert found.far_at_threshold == Interval(0.1, 0.1)
    assert found.tpr_at_threshold == Interval(0, 1)
    assert found.tpr == (Interval(0, 1), Interval(0, 0))
    # Half way through the first bin, half of what is in it is accepted.
    half = pair_intervals(tables([[10, 0], [0, 10]], [[2, 18], [2, 18]], [2, 18]), 0.5, [0.1])
    assert half.far_at_threshold == Interval(0.05, 0.05)
    assert half.tpr_at_threshold == Interval(0, 0.5)


def test_one_person_has_no_interval_that_means_anything():
    found = pair_intervals(tables([[10, 0]], [[1, 9]], [1, 9]), 0.0, [0.1])
    assert (found.tpr, found.eer, found.far_at_threshold) == ((None,), None, None)


def noisy(seed: int, people: int = 25):
    """People some of whom look alike, in two cameras; everybody is in query and gallery."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((people, 6))
    pids = np.repeat(np.arange(people), 4)
    query, gallery = (
        embeddings(centres[pids] + 0.5 * rng.standard_normal((len(pids), 6)), pids.tolist(), [camera] * len(pids))
        for camera in (0, 1)
    )
    return query, gallery


def test_pair_intervals_against_drawing_people_again():
    """The definition: draw people, repeat their images, verify_pairs all pairs; two copies of one person are left out.

    The tables drop a term of second order, (w - 1)(w' - 1), and so come near, not to the same.
    """
    query, gallery = noisy(0)
    pairs = collect_pairs(query, gallery)
    threshold = operating_point(pairs, 0.05).threshold
    settings = Bootstrap(draws=400)
    found = pair_intervals(pairs.tables, threshold, [0.05], settings)
    unit = [side.vectors / np.linalg.norm(side.vectors, axis=1, keepdims=True) for side in (query, gallery)]
    similarity = unit[0] @ unit[1].T
    same = query.pids[:, None] == gallery.pids
    rows = []
    for weights in settings.weights(25):
        times = weights[query.pids]
        genuine, impostor = np.where(same, times[:, None], 0), np.where(same, 0, np.outer(times, times))
        order = np.argsort(-similarity, axis=None)
        far = np.cumsum(impostor.reshape(-1)[order]) / impostor.sum()
        tpr = np.cumsum(genuine.reshape(-1)[order]) / genuine.sum()
        accepted = similarity >= threshold
        cross = np.argmax(far + tpr >= 1)
        far_here = (impostor * accepted).sum() / impostor.sum()
        tpr_here = (genuine * accepted).sum() / genuine.sum()
        rows.append((tpr[far <= 0.05].max(), far[cross], tpr_here, far_here))
    expected = [settings.interval(column) for column in np.array(rows).T]
    for mine, theirs in zip(
        (*found.tpr, found.eer, found.tpr_at_threshold, found.far_at_threshold), expected, strict=True
    ):
        width = theirs.high - theirs.low
        assert abs(mine.low - theirs.low) < 0.15 * width
        assert abs(mine.high - theirs.high) < 0.15 * width


def test_pair_intervals_hold_the_truth_about_as_often_as_they_say():
    """The EER of the world these people come from, known from many people, in intervals from 25 of them."""
    truth = verify_pairs(collect_pairs(*noisy(999, people=400))).eer
    held = 0
    for seed in range(30):
        pairs = collect_pairs(*noisy(seed))
        interval = pair_intervals(pairs.tables, 0.5, [0.1], Bootstrap(draws=200, level=0.9, seed=seed)).eer
        held += interval.low <= truth <= interval.high
    assert 22 <= held <= 30


def test_the_interval_is_around_the_rate():
    query, gallery = crowd(queries=200, images=600)
    pairs = collect_pairs(query, gallery)
    result = verify_pairs(pairs)
    found = pair_intervals(pairs.tables, result.operating[2].threshold)
    for point, interval in zip(result.operating, found.tpr, strict=True):
        assert interval.low <= point.tpr <= interval.high
    assert found.eer.low < result.eer < found.eer.high
    far = result.operating[2].false_accepts / pairs.impostors
    assert found.far_at_threshold.low < far < found.far_at_threshold.high


def test_weights_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Bootstrap(draws=50, seed=3)
    monkeypatch.setattr("reidkit.metrics.intervals.AT_ONCE", 40)
    blocks = list(settings.blocks(7))
    assert [len(block) for block in blocks] == [5] * 10
    assert np.concatenate(blocks).tolist() == settings.weights(7).tolist()
