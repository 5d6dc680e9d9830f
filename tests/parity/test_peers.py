"""The cases by which other toolkits test their hard mining, CMC, mAP and smoothing, through reidkit.

Inputs and expected values are those of the named test files, written down as arrays; random inputs are drawn as they
draw them. Where reidkit counts otherwise, the test says so and computes the peer's number from reidkit's.

- open-reid: `test/evaluation_metrics/test_cmc.py`
- open-metric-learning: `test_functional/test_metrics/` (`test_retrieval_metrics.py`, `test_cmc_metric_old.py`,
  `test_label_smoothing.py`), `test_metrics/test_embedding_metrics.py`, `test_miners/test_inbatch_hard_tri.py`
- torchreid and fast-reid: `rank_cylib/test_cython.py`
"""

import numpy as np
import pytest
import torch
from benchmarks.reference import market_scores

from reidkit.losses.identity import IdentityLoss
from reidkit.losses.triplet import batch_hard_triplet
from reidkit.metrics.matching import Labels
from reidkit.metrics.retrieval import score_distances, score_features
from reidkit.metrics.verification import verify
from reidkit.types import Embeddings


def labels(pids, camids=0):
    pids = np.array(pids, np.int64)
    return Labels(pids, np.broadcast_to(np.array(camids, np.int64), pids.shape))


def embeddings(vectors, pids, camids):
    pids = np.array(pids, np.int64)
    return Embeddings(np.array(vectors, np.float32), pids, np.broadcast_to(np.int64(camids), pids.shape).copy())


def cmc(distances, query, gallery):
    return score_distances(np.array(distances, np.float64), query, gallery).cmc


# open-reid


def test_open_reid_distances_alone():
    """Five queries, five gallery images, one of each id; a camera for each side."""
    distances = [[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [1, 2, 3, 4, 0]]
    found = cmc(distances, labels(range(5), 0), labels(range(5), 1))
    assert found[:5].tolist() == [0.6, 0.6, 0.8, 1.0, 1.0]


def test_open_reid_several_images_of_an_id():
    found = cmc(np.tile(np.arange(4), (4, 1)), labels([0, 0, 1, 1], 0), labels([0, 0, 1, 1], 1))
    assert found[:4].tolist() == [0.5, 0.5, 1, 1]


def test_open_reid_matches_by_the_query_s_camera():
    """The first gallery image is left out for the queries of its id, and for them alone."""
    query, gallery = labels([0, 0, 0, 1, 1], 0), labels([0, 0, 0, 1, 1], [0, 1, 1, 1, 1])
    assert cmc(np.tile(np.arange(5), (5, 1)), query, gallery)[:5].tolist() == [0.6, 0.6, 0.6, 1, 1]


# open-metric-learning: scores


def test_oml_exact_case():
    """Each of six images is the query once; where its id stands among the other five is given."""
    pids, positions = [0, 0, 0, 0, 1, 1], [[0, 1, 3], [0, 3, 4], [1, 2, 4], [2, 3, 4], [0], [3]]
    distances = np.zeros((6, 6))
    for query, places in enumerate(positions):
        others = [image for image in range(6) if image != query]
        same = [image for image in others if pids[image] == pids[query]]
        rest = [image for image in others if pids[image] != pids[query]]
        distances[query, same] = np.array(places) + 1
        distances[query, rest] = np.setdiff1d(range(5), places) + 1
    own_cameras = labels(pids, range(6))  # an image's own camera leaves out the image itself, and no other
    found = score_distances(distances, own_cameras, own_cameras)
    np.testing.assert_allclose(found.average_precision, [0.9166, 0.7, 0.5888, 0.4777, 1, 0.25], atol=1e-4)
    hits = [[1, 1, 0, 0, 1, 0], [1, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 0], [1] * 6, [1] * 6]
    for k, expected in enumerate(hits, start=1):
        assert (found.first_match <= k).tolist() == [bool(hit) for hit in expected], k
        assert found.cmc[k - 1] == pytest.approx(np.mean(expected)), k


@pytest.mark.parametrize(
    ("distances", "gallery", "k", "expected"),
    [
        ([[1, 2], [2, 1]], [1, 0], 1, 0),
        ([[0, 0.5], [0, 0.5]], [1, 0], 1, 0.5),
        ([[0, 0.5], [0, 0.5]], [1, 0], 2, 1),
        ([[1, 0.5, 0.2], [2, 3, 4], [0.4, 3, 4]], [0, 1, 2], 2, 1 / 3),
    ],
)
def test_oml_cmc_of_given_distances(distances, gallery, k, expected):
    query = labels(range(len(distances)), 0)
    assert cmc(distances, query, labels(gallery, 1))[k - 1] == pytest.approx(expected)


def test_oml_cmc_where_all_images_match():
    distances = np.random.default_rng(0).standard_normal((10, 10))
    assert cmc(distances, labels([0] * 10, 0), labels([0] * 10, 1))[0] == 1


@pytest.mark.parametrize(("size", "step"), [(10, 1), (100, 10)])
def test_oml_bounds_of_cmc(size, step):
    """One added to the lower triangle: at most k of the queries can have their match among the first k; and back."""
    noise = np.random.default_rng(size).random((size, size))
    query, gallery = labels(range(size), 0), labels(range(size), 1)
    late = cmc(noise + np.tril(np.ones((size, size))), query, gallery)
    early = cmc(noise + np.triu(np.ones((size, size)), 1), query, gallery)
    for k in range(1, min(size, 50), step):
        assert late[k - 1] <= k / size + 1e-9
        assert early[k - 1] >= k / size - 1e-9


@pytest.mark.parametrize("error", [0.05, 0.1, 0.15, 0.2, 0.25])
def test_oml_clusters_with_wrong_labels(error):
    """Clusters 2 apart and 0.2 wide on a line, a part of the gallery's labels wrong: that part of rank-1 is lost."""
    rng = np.random.default_rng(int(100 * error))
    ids, per_query, per_gallery = 3, 500, 400
    query_pids, gallery_pids = np.repeat(range(ids), per_query), np.repeat(range(ids), per_gallery)
    query, gallery = (2 * pids + 0.2 * rng.random(len(pids)) for pids in (query_pids, gallery_pids))
    wrong = rng.random(len(gallery_pids)) < error
    gallery_pids = np.where(wrong, (gallery_pids + rng.integers(1, ids, len(gallery_pids))) % ids, gallery_pids)
    sides = embeddings(query[:, None], query_pids, 0), embeddings(gallery[:, None], gallery_pids, 1)
    assert score_features(*sides, metric="euclidean").rank1 == pytest.approx(1 - error, abs=0.05)


@pytest.mark.parametrize(
    ("query", "gallery", "pids", "camids", "expected"),
    [
        (
            [[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 1], [0, 0, 1, 1]],
            [[1, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 0]],
            ([0, 0, 1, 1], [0, 1, 1]),
            ([10, 20, 11, 20], [10, 11, 12]),
            0.75,
        ),
        (
            [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]],
            [[0, 1, 0], [0, 0, 1], [1, 0, 1]],
            ([2, 0, 1, 2], [0, 1, 2]),
            ([20, 10, 11, 12], [10, 11, 12]),
            0.25,
        ),
    ],
)
def test_oml_matches_left_out(query, gallery, pids, camids, expected):
    """The masks as cameras. A query without a match is skipped here and a miss there: one of four, three of four."""
    sides = [embeddings(vectors, pid, 0) for vectors, pid in ((query, pids[0]), (gallery, pids[1]))]
    sides = [Embeddings(side.vectors, side.pids, np.array(camid)) for side, camid in zip(sides, camids, strict=True)]
    found = score_features(*sides, metric="euclidean")
    assert found.queries + found.queries_skipped == 4
    assert found.queries == 4 * expected
    assert found.rank1 * found.queries / 4 == expected


@pytest.mark.parametrize(
    ("query", "by_query"),
    [([0, 1, 1], [1, 1, 1]), ([0, 1, 3], [1, 1, 0]), ([1, 0, 0], [0, 0, 0])],
    ids=["perfect", "imperfect", "worst"],
)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_oml_one_hot_features(query, by_query, metric):
    """Ids 0, 1, 1 on both sides, the gallery's features right; 3 stands for a feature like no other."""
    sides = embeddings(np.eye(8)[query], [0, 1, 1], 0), embeddings(np.eye(8)[[0, 1, 1]], [0, 1, 1], 1)
    found = score_features(*sides, metric=metric)
    assert (found.first_match == 1).tolist() == [bool(hit) for hit in by_query]
    assert found.rank1 == pytest.approx(np.mean(by_query))


def test_oml_false_non_matches():
    """At 10 and 50 % of false matches, 4 and 2 of 10 pairs of one id are rejected; distances on a line from 0."""
    genuine, impostor = [0, 0, 1, 1, 2, 2, 5, 5, 9, 9], [3, 3, 4, 4, 6, 6, 7, 7, 8, 8]
    gallery = embeddings(np.array([*genuine, *impostor])[:, None], [0] * 10 + [1] * 10, 1)
    points = verify(embeddings([[0]], [0], 0), gallery, metric="euclidean", fars=(0.1, 0.5)).operating
    assert [1 - point.tpr for point in points] == pytest.approx([0.4, 0.2])


# open-metric-learning: losses


@pytest.mark.parametrize(
    ("ids", "eps", "expected"),
    [
        (2, 0, [[0, 1], [1, 0]]),
        (2, 0.1, [[0.05, 0.95], [0.95, 0.05]]),
        (3, 0.3, [[0.1, 0.8, 0.1], [0.8, 0.1, 0.1]]),
    ],
)
def test_oml_smoothed_labels(ids, eps, expected):
    """With the identity as classifier, the gradient for the features is (p - q) / 2."""
    loss = IdentityLoss(ids, ids, smoothing=eps).double()
    loss.classifier.weight.data = torch.eye(ids, dtype=torch.float64)
    logits = torch.randn(2, ids, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss(logits, torch.tensor([1, 0])).backward()
    q = torch.softmax(logits, 1) - 2 * logits.grad
    np.testing.assert_allclose(q.detach().numpy(), expected, atol=1e-12)


def gradient_of(features, pids, triplets=None, margin=5.0):
    """Of the loss with its own triplets, or with those given; the margin is so wide that all of them count."""
    features = features.clone().requires_grad_()
    if triplets is None:
        loss = batch_hard_triplet(features, torch.tensor(pids), margin)
    else:
        a, p, n = features[torch.tensor(triplets)].unbind(1)
        loss = ((a - p).norm(dim=1) - (a - n).norm(dim=1) + margin).clamp(min=0).mean()
    (gradient,) = torch.autograd.grad(loss, features)
    return loss.item(), gradient.numpy()


def placed(distances):
    """Points in this order of distance: d^2 + c has the hardest images of d, and with c large enough points exist."""
    squares = distances.double() ** 2 + 1.0
    squares.fill_diagonal_(0)
    centring = torch.eye(len(squares), dtype=torch.float64) - 1 / len(squares)
    values, vectors = torch.linalg.eigh(-centring @ squares @ centring / 2)
    assert values.min() > -1e-12
    return vectors * values.clamp(min=0).sqrt()


def test_oml_hard_triplets_by_hand():
    """Which triplets are the hardest is given; no points have just these distances, as 0.8 > 0.3 + 0.4 shows."""
    distances = torch.tensor([[0.0, 0.3, 0.2, 0.4], [0.3, 0.0, 0.4, 0.8], [0.2, 0.4, 0.0, 0.5], [0.4, 0.8, 0.5, 0.0]])
    points = placed(distances)
    ours, expected = (
        gradient_of(points, [0, 0, 1, 1]),
        gradient_of(points, [0, 0, 1, 1], [(0, 1, 2), (1, 0, 2), (2, 3, 0), (3, 2, 0)]),
    )
    assert ours[0] == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(ours[1], expected[1], atol=1e-12)
    other = gradient_of(points, [0, 0, 1, 1], [(0, 1, 3), (1, 0, 2), (2, 3, 0), (3, 2, 0)])
    assert abs(ours[0] - other[0]) > 1e-3


@pytest.mark.parametrize("seed", range(20))
def test_oml_hard_triplets_of_random_features(seed):
    """2 to 10 ids with 2 to 7 images each, shuffled; the hardest are found by looking at all."""
    rng = np.random.default_rng(seed)
    pids = rng.permutation(np.repeat(range(k := rng.integers(2, 11)), rng.integers(2, 8, k)))
    features = torch.from_numpy(rng.standard_normal((len(pids), 10)))
    distances = torch.cdist(features, features).numpy()
    triplets = [
        (
            anchor,
            max((i for i in range(len(pids)) if pids[i] == pids[anchor] and i != anchor), key=distances[anchor].item),
            min((i for i in range(len(pids)) if pids[i] != pids[anchor]), key=distances[anchor].item),
        )
        for anchor in range(len(pids))
    ]
    ours, expected = gradient_of(features, pids, margin=50), gradient_of(features, pids, triplets, margin=50)
    assert ours[0] == pytest.approx(expected[0], rel=1e-9)
    np.testing.assert_allclose(ours[1], expected[1], atol=1e-8)


# torchreid and fast-reid


@pytest.mark.parametrize("seed", range(5))
def test_random_distances_of_torchreid_and_fast_reid(seed):
    """30 queries, 300 gallery images of 300 ids, 5 cameras: CMC, mAP and mINP of two programs are compared there."""
    rng = np.random.default_rng(seed)
    distances = 20 * rng.random((30, 300))
    query, gallery = (labels(rng.integers(0, n, n), rng.integers(0, 5, n)) for n in (30, 300))
    right = market_scores(distances, (query.pids, query.camids), (gallery.pids, gallery.camids))
    found = score_distances(distances, query, gallery)
    assert found.queries == right["queries"]
    np.testing.assert_array_equal(found.cmc[:5], right["cmc"][:5])
    assert found.map == pytest.approx(right["map"], rel=1e-12)
    assert found.minp == pytest.approx(right["minp"], rel=1e-12)
