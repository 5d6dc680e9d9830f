from __future__ import annotations

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
from reidkit.metrics.verification import FARS, operating_point, roc, verify, verify_pairs

from .definition import crowd, embeddings, line, trials

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


def test_one_rate_is_no_list() -> None:
    with pytest.raises(UsageError, match=r"fars is 0\.1: pass a list"):
        verify(*crowd(), fars=0.1)  # type: ignore[arg-type]
