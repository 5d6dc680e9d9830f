"""The public functions of `reidkit.metrics`, on features that a reader can do by hand."""

import subprocess
import sys

import numpy as np
import pytest

from reidkit import metrics
from reidkit.errors import DataError, UsageError
from reidkit.metrics import bootstrap, calibrate, compare_paired, open_set, rank, rerank, score, verify
from reidkit.metrics.reranking.k_reciprocal import k_reciprocal
from reidkit.metrics.scoring import score_reranked

from .definition import crowd, embeddings, same


def two_ids():
    """On a line: queries of ids 1 and 2 at 0 and 10; gallery 1 at 1, 2 at 2, 1 at 8, 2 at 9."""
    query = embeddings([[0, 1], [10, 1]], [1, 2], [0, 0])
    return query, embeddings([[1, 1], [2, 1], [8, 1], [9, 1]], [1, 2, 1, 2], [1, 1, 1, 1])


def test_scores_by_hand():
    """Both lists are true, false, true, false, with a precision of 1 and of 2/3 at the true matches."""
    scores = score(*two_ids(), metric="euclidean")
    assert scores.rank1 == 1
    assert scores.map == pytest.approx((1 + 2 / 3) / 2)
    assert [head.is_match.tolist() for head in rank(*two_ids(), [0, 1], metric="euclidean")] == [
        [True, False, True, False],
        [True, False, True, False],
    ]


@pytest.mark.parametrize("method", ["k-reciprocal", "ecn", "ecn-original", "expansion"])
def test_scores_after_re_ranking_are_those_of_the_re_ranked_distances(method):
    query, gallery = crowd()
    same(score(query, gallery, rerank=method), score_reranked(query, gallery, method))
    dist_qg = rerank(query, gallery, method)
    assert dist_qg.shape == (len(query.pids), len(gallery.pids))
    keep = gallery.pids >= 0
    if keep.all() and (query.pids >= 0).all() and method != "expansion":
        from reidkit.metrics.retrieval import score_distances

        same(score_distances(dist_qg, query, gallery), score(query, gallery, rerank=method))


def test_numbers_of_re_ranking_are_plain_arguments():
    query, gallery = crowd()
    found = rerank(query, gallery, k1=5, k2=2, lambda_=0.5, metric="euclidean")
    np.testing.assert_array_equal(found, k_reciprocal(query.vectors, gallery.vectors, 5, 2, 0.5, "euclidean"))
    np.testing.assert_array_equal(rerank(query.vectors.tolist(), gallery.vectors), rerank(query, gallery))
    with pytest.raises(UsageError, match="numbers of k-reciprocal") as caught:
        score(query, gallery, rerank="ecn", k1=5)
    assert caught.value.argument == "k1"
    with pytest.raises(UsageError, match="no re-ranking by magic") as caught:
        rerank(query, gallery, "magic")
    assert caught.value.argument == "rerank"
    with pytest.raises(UsageError, match="compares by the cosine") as caught:
        score(query, gallery, rerank="ecn", metric="euclidean")
    assert caught.value.argument == "metric"
    with pytest.raises(DataError, match="shape"):
        rerank([1.0, 2.0], gallery)


def test_a_device_may_be_named():
    query, gallery = crowd()
    same(score(query, gallery, device="cpu"), score(query, gallery))


def test_verification_by_hand():
    """Genuine pairs are 1, 8, 8 and 1 apart, impostor pairs 2, 9, 9 and 2: at 8, half of these are accepted."""
    query, gallery = two_ids()
    result = verify(query, gallery, metric="euclidean", fars=[0.5])
    assert (result.genuine, result.impostors) == (4, 4)
    assert result.operating[0].tpr == 1  # two impostor pairs at 2 are nearer than 8, which is half of them
    assert result.operating[0].threshold == pytest.approx(1 - 64 / 2)


def test_intervals_of_one_value_hold_it():
    query, gallery = crowd()
    scores = score(query, gallery)
    found = bootstrap(scores, query.pids.tolist(), draws=50, level=0.9, seed=1)
    assert found["map"].low <= scores.map <= found["map"].high
    again = compare_paired(scores, scores, query.pids)
    assert (again.differences["map"].difference, again.differences["map"].p) == (0, 1)


def test_calibration_and_open_set_take_plain_arguments():
    query, gallery = crowd()
    stored = calibrate(query, gallery, far=0.1, method="logistic", seed=3, data="made-up", flip=True)
    assert (stored.settings.far, stored.settings.method, stored.settings.seed) == (0.1, "logistic", 3)
    assert (stored.data, stored.flip, stored.chosen.far) == ("made-up", True, 0.1)
    assert stored.open_set == open_set(query, gallery, seed=3)
    with pytest.raises(UsageError, match="false accept rate of 2"):
        calibrate(query, gallery, far=2)
    for wrong in ({"far": "0.01"}, {"prior": "0.5"}):
        with pytest.raises(UsageError, match=r"must be a number, not the text '0\.") as told:
            calibrate(query, gallery, **wrong)
        assert told.value.argument in wrong


def test_names_are_loaded_when_they_are_asked_for():
    program = (
        "import sys, reidkit.metrics as m; assert 'numpy' not in sys.modules; m.score; "
        "assert 'torch' not in sys.modules; assert set(m.__all__) == set(dir(m)); "
        "print(*(getattr(m, name).__name__ for name in m.__all__))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == metrics.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = metrics.nothing
