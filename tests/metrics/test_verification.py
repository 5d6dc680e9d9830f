from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reidkit.errors import DataError, UsageError
from reidkit.metrics import distances, pair_tables, pairs
from reidkit.metrics.matching import find_matches, make_rule
from reidkit.metrics.pairs import Pairs, collect_pairs
from reidkit.metrics.verification import FARS, Splits, open_set, operating_point, roc, verify_pairs

from .definition import crowd, embeddings

AT = [1e-4, 1e-3, 1e-2, 0.1, 0.25, 1 / 3, 0.5, 0.9]


def brute(query, gallery, metric="cosine", cameras="cross"):
    """Every pair that is compared, one by one: the similarities of the genuine and of the impostor pairs, falling."""
    genuine, impostor = [], []
    ours, theirs = (distances.prepare(side.vectors, metric, "").vectors.astype(float) for side in (query, gallery))
    for i, one in enumerate(ours):
        for j, other in enumerate(theirs):
            same = query.pids[i] == gallery.pids[j]
            left_out = same and bool(query.paths and gallery.paths) and query.paths[i] == gallery.paths[j]
            if cameras == "cross":
                left_out = left_out or query.camids[i] == gallery.camids[j]
            if query.pids[i] == -1 or gallery.pids[j] == -1 or left_out:
                continue
            (genuine if same else impostor).append(1 - np.square(one - other).sum() / 2)
    return np.sort(genuine)[::-1], np.sort(impostor)[::-1]


def line(values: list[float], pids: list[int], camera: int):
    """Features on a line, for the Euclidean metric: the similarity of two is 1 - (a - b)^2 / 2."""
    return embeddings([[value] for value in values], pids, [camera] * len(pids))


def test_worked_example() -> None:
    """One query at 0; its images at 1 and 3, others at 2, 3, 4, 5: a tie at 3.

    Similarities are 1 - d^2 / 2: 1/2 and -7/2 for the genuine, -1, -7/2, -7, -23/2 for the impostor pairs.
    """
    found = collect_pairs(line([0], [1], 0), line([1, 3, 2, 3, 4, 5], [1, 1, 2, 3, 4, 5], 1), metric="euclidean")
    assert found.genuine.tolist() == [0.5, -3.5]
    assert (found.above.tolist(), found.reached.tolist(), found.impostors) == ([0, 1], [0, 2], 4)
    assert (found.closest, found.impostor_mean) == (-1, (-1 - 3.5 - 7 - 11.5) / 4)
    result = verify_pairs(found, [0.25, 0.5])
    strict, loose = result.operating
    assert (strict.threshold, strict.tpr, strict.false_accepts) == (0.5, 0.5, 0)
    assert (loose.threshold, loose.tpr, loose.false_accepts) == (-3.5, 1.0, 2)
    # Of 2 x 4 comparisons of a genuine with an impostor pair 4 + 2 are won, and one is a tie.
    assert result.auc == 6.5 / 8
    # The ROC rises to (0, 1/2), goes right to (1/4, 1/2), then to (2/4, 1): FAR = 1 - TPR on that last line, where
    # 1/4 + s/4 = 1/2 - s/2.
    assert result.eer == pytest.approx(1 / 4 + 1 / 12)
    assert result.eer_threshold == -3.5
    impostor = np.array([-1, -3.5, -7, -11.5])
    d_prime = (-1.5 - impostor.mean()) / math.sqrt((4 + impostor.var()) / 2)
    assert result.d_prime == pytest.approx(d_prime)


def test_the_cosine_is_the_similarity() -> None:
    query, gallery = embeddings([[2, 0]], [1], [0]), embeddings([[3, 3], [0, 1], [-1, 0]], [1, 2, 3], [1, 1, 1])
    found = collect_pairs(query, gallery)
    assert found.genuine == pytest.approx([math.sqrt(0.5)])
    assert found.closest == pytest.approx(0)
    assert found.impostor_mean == pytest.approx(-0.5)


@st.composite
def trials(draw: st.DrawFn):
    """Few points, so that ties and equal features are the rule; junk, unknown cameras, one or more; a metric.

    For the cosine all points lie on an axis: then directions and distances are not rounded, and a tie is a tie.
    """
    width, cameras = draw(st.integers(1, 3)), draw(st.integers(0, 2))
    metric = draw(st.sampled_from(["cosine", "euclidean"]))
    point = st.lists(st.integers(-2, 2), min_size=width, max_size=width)
    if metric == "cosine":
        axes = np.vstack((np.eye(width), -2 * np.eye(width), np.zeros((1, width)))).tolist()
        point = st.sampled_from(axes)

    def some(most: int):
        count = draw(st.integers(1, most))

        def column(values):
            return draw(st.lists(values, min_size=count, max_size=count))

        numbers = draw(st.lists(st.integers(0, 60), min_size=count, max_size=count, unique=True))
        paths = tuple(f"{number}.jpg" for number in numbers)
        vectors, pids = column(point), column(st.integers(-1, 3))
        return embeddings(vectors, pids, column(st.integers(-1, cameras)), paths)

    return some(6), some(30), metric


@given(trials(), st.sampled_from(["cross", "any"]))
@settings(max_examples=80, deadline=None)
def test_against_all_pairs_one_by_one(trial, cameras) -> None:
    query, gallery, metric = trial
    genuine, impostor = brute(query, gallery, metric, cameras)
    assume(len(genuine) and len(impostor))
    found = collect_pairs(query, gallery, metric=metric, cameras=cameras)
    assert found.genuine == pytest.approx(genuine, abs=1e-6)
    at_least = (impostor[None] >= found.genuine[:, None] - 1e-6).sum(axis=1)
    above = (impostor[None] > found.genuine[:, None] + 1e-6).sum(axis=1)
    assert found.reached.tolist() == at_least.tolist()
    assert found.above.tolist() == above.tolist()
    assert found.impostors == len(impostor)
    assert found.closest == pytest.approx(impostor[0], abs=1e-6)
    assert found.impostor_mean == pytest.approx(impostor.mean(), abs=1e-5)
    assert found.impostor_variance == pytest.approx(impostor.var(), abs=1e-4)
    _check_scores(found, genuine, impostor)
    _check_tables(found, len(genuine), query)


def _check_scores(found: Pairs, genuine, impostor) -> None:
    result = verify_pairs(found, AT)
    won = (genuine[:, None] > impostor + 1e-6).mean()
    assert result.auc == pytest.approx(won + (np.abs(genuine[:, None] - impostor) <= 1e-6).mean() / 2)
    for point in result.operating:
        allowed = [t for t in genuine if (impostor >= t - 1e-6).mean() <= point.far + 1e-9]
        assert point.tpr == pytest.approx((genuine >= min(allowed) - 1e-6).mean() if allowed else 0)
        assert point.false_accepts <= point.far * len(impostor) + 1e-9
        assert point.false_accepts == (impostor >= point.threshold - 1e-6).sum() if allowed else True
        assert point.tpr == pytest.approx((found.genuine >= point.threshold).mean())
    assert result.eer == pytest.approx(_eer(genuine, impostor))


def _eer(genuine, impostor) -> float:
    """Walks over all similarities, and finds where straight lines between the points of the ROC meet FAR = FNR."""
    values = sorted({round(float(value), 5) for value in (*genuine, *impostor)}, reverse=True)
    limits = [math.inf, *(value - 1e-4 for value in values)]
    points = [((impostor >= limit).mean(), (genuine < limit).mean()) for limit in limits]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x1 >= y1:
            share = (y0 - x0) / ((y0 - x0) + (x1 - y1))
            return float(x0 + share * (x1 - x0))
    raise AssertionError


def _check_tables(found: Pairs, genuine: int, query) -> None:
    tables = found.tables
    assert tables.genuine.sum() == genuine
    assert tables.impostor_total.sum() == found.impostors
    assert len(tables.genuine) == len(set(query.pids.tolist()) - {-1})
    searched = tables.impostor.sum()
    assert found.impostors <= searched <= 2 * found.impostors
    assert (np.diff(tables.ends) < 0).all()
    # Where accepted pairs end with a genuine one, the bins end too, and both know the same rates.
    accepted = np.concatenate(([0], np.cumsum(tables.impostor_total)))
    assert set(found.reached.tolist()) <= set(accepted.tolist())
    full = tables.impostor_total + tables.genuine.sum(axis=0) > 0
    assert (tables.means[full] <= tables.ends[:-1][full] + 1e-5).all()
    assert (tables.means[full][:-1] >= tables.ends[1:][full][:-1] - 1e-5).all()


def test_camera_pairs_are_counted_apart() -> None:
    query = embeddings([[1, 0], [0, 1], [1, 1]], [1, 2, 3], [0, 1, -1])
    gallery = embeddings([[1, 0], [0, 1], [1, 1], [1, 0]], [1, 2, 3, 2], [1, 0, 2, 1])
    tables = collect_pairs(query, gallery).tables
    assert tables.camera_pairs.tolist() == [[0, 1], [1, 0]]
    assert tables.camera_genuine.sum(axis=1).tolist() == [1, 1]
    # Camera 0 with camera 1: query 1 with the second image of id 2. Camera 1 with 0: no other id.
    assert tables.camera_impostor.sum(axis=1).tolist() == [1, 0]
    # Query 1 with image 3 of camera 2 and image 2 of camera 1; query 2 with image 3; query 3 with images 1, 2 and 4.
    assert tables.impostor_total.sum() == 6


def test_few_of_many_are_exact(monkeypatch) -> None:
    """More pairs than are kept: rates are exact as far as the kept ones reach, and right to a bin beyond."""
    query, gallery = crowd(queries=40, images=1500, width=24)
    reference = collect_pairs(query, gallery)
    genuine, impostor = brute(query, gallery)
    assert reference.reached.tolist() == [int((impostor >= value - 1e-12).sum()) for value in genuine]
    monkeypatch.setattr(pairs, "NEAREST", 1000)
    monkeypatch.setattr(distances, "GALLERY_BYTES", 256 * 4 * 24)
    few = collect_pairs(query, gallery)
    exact = reference.reached < 990
    assert 100 < exact.sum() < len(exact)
    assert few.reached[exact].tolist() == reference.reached[exact].tolist()
    assert few.above[exact].tolist() == reference.above[exact].tolist()
    bin_width = 2 / pair_tables.FINE
    loose = (impostor[None] >= genuine[:, None] - 2 * bin_width).sum(axis=1)
    tight = (impostor[None] > genuine[:, None] + 2 * bin_width).sum(axis=1)
    assert (few.reached <= loose).all()
    assert (few.reached >= tight).all()
    assert (np.diff(few.reached) >= 0).all()
    assert few.closest == reference.closest
    for far in (1e-4, 1e-3, 1e-2):
        assert operating_point(few, far) == operating_point(reference, far)


def test_a_network_that_maps_all_to_one_point_tells_nothing(monkeypatch) -> None:
    monkeypatch.setattr(pairs, "NEAREST", 50)
    query, gallery = (
        embeddings(np.ones((5, 4)), range(5), [0] * 5),
        embeddings(np.ones((500, 4)), [*range(5)] * 100, [1] * 500),
    )
    result = verify_pairs(collect_pairs(query, gallery))
    assert (result.auc, result.eer) == (0.5, 0.5)
    assert [point.tpr for point in result.operating] == [0, 0, 0, 0]
    assert all(point.threshold > 1 for point in result.operating)
    assert math.isnan(result.d_prime)


def test_many_people_and_cameras_share_rows(monkeypatch) -> None:
    query, gallery = crowd()
    whole = collect_pairs(query, gallery).tables
    monkeypatch.setattr(pair_tables, "GROUPS", 7)
    monkeypatch.setattr(pair_tables, "CAMERA_PAIRS", 3)
    small = collect_pairs(query, gallery).tables
    assert len(small.genuine) == 7
    assert small.genuine[2].tolist() == whole.genuine[2::7].sum(axis=0).tolist()
    assert small.impostor[2].tolist() == whole.impostor[2::7].sum(axis=0).tolist()
    assert small.impostor_total.tolist() == whole.impostor_total.tolist()
    sizes = whole.camera_genuine.sum(axis=1)
    kept = np.sort(np.argsort(-sizes, kind="stable")[:3])
    assert small.camera_pairs.tolist() == whole.camera_pairs[kept].tolist()
    assert small.camera_impostor.tolist() == whole.camera_impostor[kept].tolist()


def test_the_curve_in_short_is_part_of_the_curve() -> None:
    found = collect_pairs(*crowd())
    whole, short = roc(found), roc(found, 40)
    assert len(short.far) <= 40 < len(whole.far)
    points = set(zip(whole.threshold, whole.far, whole.tpr, strict=True))
    assert set(zip(short.threshold, short.far, short.tpr, strict=True)) <= points
    assert (short.tpr[-1], short.fnr[-1]) == (1, 0)
    for far in FARS:
        point = operating_point(found, far)
        below = whole.far <= far
        assert point.tpr == (whole.tpr[below].max() if below.any() else 0)


@pytest.mark.parametrize("far", [0, 1, -1, math.nan])
def test_a_rate_that_is_none_is_refused(far: float) -> None:
    with pytest.raises(UsageError, match="give one between 0 and 1"):
        operating_point(collect_pairs(*crowd()), far)


def test_an_allowed_error_is_not_lost_to_rounding() -> None:
    query, gallery = line([0], [1], 0), line([5, *range(10, 110)], [1, *range(2, 102)], 1)
    gallery.vectors[1:30] = 1
    found = collect_pairs(query, gallery, metric="euclidean")
    assert operating_point(found, 0.29).tpr == 1
    assert operating_point(found, 0.28).tpr == 0


@pytest.mark.parametrize(
    ("pids", "camids", "cameras", "sentence"),
    [
        ([1, 1], [0, 1], "cross", "all images show one id"),
        ([1, 1, 2], [0, 1, 0], "cross", "no two ids are seen by two cameras, .* cameras='any'"),
        ([1, 1, 2], [0, 0, 0], "cross", "pass cameras='any'"),
        ([2, 3], [1, 1], "cross", "share no id"),
    ],
)
def test_what_cannot_be_measured_is_said(pids, camids, cameras, sentence) -> None:
    gallery = embeddings([[1.0, 0.0]] * len(pids), pids, camids)
    with pytest.raises(DataError, match=sentence):
        collect_pairs(embeddings([[1.0, 0.0]], [1], [0]), gallery, cameras=cameras)


def test_the_rule_for_genuine_pairs_is_that_of_the_scores() -> None:
    query, gallery = crowd()
    matches = find_matches(make_rule(query, gallery, "cross"))
    assert len(collect_pairs(query, gallery).genuine) == len(matches.columns)


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
    for part, repeats in ((0.0, 1), (1.0, 1), (0.5, 0)):
        with pytest.raises(UsageError, match="makes no open-set trial"):
            Splits(part, repeats)
    with pytest.raises(UsageError, match="give one between 0 and 1"):
        open_set(*crowd(), [0.0])
