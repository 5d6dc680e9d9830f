"""k-reciprocal re-ranking against its definition, written with dense float64 matrices and sets."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.errors import DataError, UsageError
from reidkit.metrics import neighbours
from reidkit.metrics.products import Device, Host
from reidkit.metrics.reranking import k_reciprocal as rerank
from reidkit.metrics.reranking.k_reciprocal import k_reciprocal, k_reciprocal_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[Any]


def squared(points: Matrix) -> Matrix:
    return np.asarray(((points[:, None] - points[None]) ** 2).sum(axis=2))


def units(points: Matrix) -> Matrix:
    lengths = np.linalg.norm(points.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(points / np.where(lengths > 0, lengths, 1))


def reciprocal(rank: Matrix, i: int, k: int) -> set[int]:
    return {int(j) for j in rank[i, : k + 1] if i in rank[j, : k + 1]}


def encoding(original: Matrix, rank: Matrix, k1: int) -> Matrix:
    rows = np.zeros_like(original)
    for i in range(len(rows)):
        core = reciprocal(rank, i, k1)
        halves = [reciprocal(rank, j, round(k1 / 2)) for j in core]
        members = sorted(core.union(*(half for half in halves if 3 * len(half & core) > 2 * len(half))))
        weights = np.exp(-original[i, members])
        rows[i, members] = weights / weights.sum() if members else 0
    return rows


def definition(query: Matrix, gallery: Matrix, k1: int, k2: int, lam: float) -> Matrix:
    """The final distance of Zhong et al. 2017 with full matrices, neighbours by distance and then by index."""
    dist = squared(np.concatenate([query, gallery]).astype(np.float64))
    farthest = dist.max(axis=0)
    original = (dist / np.where(farthest > 0, farthest, 1)).T
    rank = np.argsort(dist, axis=1, kind="stable")
    rows = encoding(original, rank, k1)
    if k2 != 1:
        rows = np.stack([rows[near].mean(axis=0) for near in rank[:, :k2]])
    ours = slice(0, len(query)), slice(len(query), None)
    common = np.minimum(rows[ours[0], None], rows[None, ours[1]]).sum(axis=2)
    return np.asarray((1 - lam) * (1 - common / (2 - common)) + lam * original[ours])


def test_by_hand() -> None:
    """Points 0 | 1, 10 on a line, k1 = k2 = 1: 0 and 1 are each other's nearest, 10 has nobody.

    The farthest from 0 is 10, so d = 1/100 and 1. V(0) = (1, e^-0.01, 0) / (1 + e^-0.01); the farthest from 1 is 10,
    too, so V(1) = (e^(-1/81), 1, 0) / (1 + e^(-1/81)). V(10) = (0, 0, 1).
    """
    query, gallery = np.array([[0.0]], np.float32), np.array([[1.0], [10.0]], np.float32)
    at_0 = np.array([1, np.exp(-1 / 100)]) / (1 + np.exp(-1 / 100))
    at_1 = np.array([np.exp(-1 / 81), 1]) / (1 + np.exp(-1 / 81))
    common = np.minimum(at_0, at_1).sum()
    expected = [[0.7 * (1 - common / (2 - common)) + 0.3 / 100, 0.7 + 0.3]]
    np.testing.assert_allclose(k_reciprocal(query, gallery, k1=1, k2=1, metric="euclidean"), expected, atol=1e-6)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Matrix, Matrix, int, int, float]:
    """Few short whole numbers in few dimensions: full of ties and copies."""
    width = draw(st.integers(1, 4))
    rows = st.lists(st.lists(st.integers(-2, 2), min_size=width, max_size=width), min_size=1, max_size=30)
    query, gallery = (np.array(draw(rows), np.float32) for _ in range(2))
    return query, gallery, draw(st.integers(1, 25)), draw(st.integers(1, 8)), draw(st.floats(0, 1))


@given(cases(), st.sampled_from([5, 16, 1024]), st.sampled_from([1, 40, 1 << 24]))
@settings(max_examples=80, deadline=None)
def test_definition_with_ties(case: tuple[Matrix, Matrix, int, int, float], square: int, block: int) -> None:
    query, gallery, k1, k2, lam = case
    expected = definition(query, gallery, k1, k2, lam)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", square)
        patch.setattr(rerank, "BLOCK", block)
        patch.setattr(rerank, "HELD", 0)
        whole = k_reciprocal(query, gallery, k1, k2, lam, "euclidean")
        blocks = list(k_reciprocal_blocks(query, gallery, k1, k2, lam, "euclidean"))
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([part for _, part in blocks]), expected, atol=1e-5)
    assert [first for first, _ in blocks] == np.cumsum([0, *(len(part) for _, part in blocks)])[:-1].tolist()


@pytest.mark.parametrize("copies", [0, 4, 60])
def test_definition_with_the_cosine(copies: int) -> None:
    """Also with more copies of one feature than any list of neighbours holds."""
    rng = np.random.default_rng(copies)
    people = rng.normal(size=(25, 96))
    points = (people[rng.integers(25, size=250)] + 0.6 * rng.normal(size=(250, 96))).astype(np.float32)
    points[rng.permutation(250)[:copies]] = points[0]
    expected = definition(units(points[:60]), units(points[60:]), 20, 6, 0.3)
    np.testing.assert_allclose(k_reciprocal(points[:60], points[60:]), expected, atol=1e-5)
    assert len(np.unique(expected.round(6))) > 1000


def test_copies_are_ordered_by_index() -> None:
    """Far from the origin a float32 product cannot tell these apart; the order is right all the same."""
    rng = np.random.default_rng(0)
    points = (1000 + rng.integers(0, 3, size=(120, 8))).astype(np.float32)
    found = neighbours.nearest_neighbours(neighbours.make_points("euclidean", all=points), 21, Host())
    expected = np.argsort(squared(points.astype(np.float64)), axis=1, kind="stable")[:, :21]
    np.testing.assert_array_equal(found.indices, expected)


def test_one_query_one_image() -> None:
    result = k_reciprocal(np.ones((1, 3), np.float32), np.eye(1, 3, dtype=np.float32))
    np.testing.assert_allclose(result, definition(units(np.ones((1, 3))), np.eye(1, 3), 20, 6, 0.3), atol=1e-6)


def test_a_feature_of_length_zero() -> None:
    """It has no direction: at the cosine it is as far from everybody, and nothing is divided by zero."""
    points = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    points[[3, 40]] = 0
    result = k_reciprocal(points[:20], points[20:])
    assert np.isfinite(result).all()
    assert result[3].argmin() == 20


@pytest.mark.parametrize("seed", range(4))
def test_everything_equal(seed: int) -> None:
    """No distance is above 0, so none can be divided by the largest: they stay 0, whatever is left by rounding."""
    same = np.tile(np.random.default_rng(seed).normal(size=50).astype(np.float32), (40, 1))
    np.testing.assert_allclose(k_reciprocal(same[:10], same), definition(same[:10], same, 20, 6, 0.3), atol=1e-6)


def test_nearly_collapsed() -> None:
    """Features that differ in the fifth digit, as of a network that has learnt nothing, still are told apart."""
    rng = np.random.default_rng(0)
    points = (rng.normal(size=64) + 1e-5 * rng.normal(size=(150, 64))).astype(np.float32)
    expected = definition(points[:30], points[30:], 20, 6, 0.3)
    np.testing.assert_allclose(k_reciprocal(points[:30], points[30:], metric="euclidean"), expected, atol=1e-4)


@pytest.mark.parametrize("block", [1, 4000, 1 << 27])
@pytest.mark.parametrize("copies", [0, 5, 60])
def test_an_accelerator_gives_the_same(block: int, copies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with more copies of a point than its list holds. On this machine the device is its own cores."""
    monkeypatch.setattr(neighbours, "BLOCK", block)
    rng = np.random.default_rng(copies)
    vectors = rng.normal(size=(400, 32)).astype(np.float32)
    vectors[rng.permutation(400)[:copies]] = vectors[0]
    points = neighbours.make_points("cosine", all=vectors)
    into = np.empty((2, 70, 330), np.float32)
    ours = neighbours.nearest_neighbours(points, 21, Host(), into[0])
    theirs = neighbours.nearest_neighbours(points, 21, Device("cpu"), into[1])
    np.testing.assert_array_equal(ours.indices, theirs.indices)
    np.testing.assert_allclose(ours.distances, theirs.distances, atol=1e-6)
    np.testing.assert_allclose(ours.farthest, theirs.farthest, rtol=1e-6)
    np.testing.assert_allclose(into[0], into[1], atol=1e-5)


def test_an_accelerator_re_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held and in blocks."""
    points = np.random.default_rng(0).normal(size=(120, 16)).astype(np.float32)
    expected = k_reciprocal(points[:30], points[30:])
    monkeypatch.setattr(rerank, "multiplier_for", lambda *_, **__: Device("cpu"))
    monkeypatch.setattr(rerank, "BLOCK", 200)
    np.testing.assert_allclose(k_reciprocal(points[:30], points[30:]), expected, atol=1e-6)
    for held in (0, 1 << 26):
        monkeypatch.setattr(rerank, "HELD", held)
        blocks = [block for _, block in k_reciprocal_blocks(points[:30], points[30:])]
        assert len(blocks) == 15
        np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-6)


def test_takes_tensors() -> None:
    points = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    tensors = torch.from_numpy(points[:10]), torch.from_numpy(points[10:]).double()
    np.testing.assert_allclose(k_reciprocal(*tensors), k_reciprocal(points[:10], points[10:]), atol=1e-7)


def test_memory_grows_with_lists_and_not_with_squares() -> None:
    """8,000 points: one matrix of all distances is 256 MB, and the usual code holds four; a fifth of one is enough."""
    program = """
import numpy as np, resource, sys
from reidkit.metrics.reranking.k_reciprocal import k_reciprocal
points = np.random.default_rng(0).normal(size=(8000, 16)).astype(np.float32)
k_reciprocal(points[:10], points[10:40])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
k_reciprocal(points[:100], points[100:])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 51


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_no_number_by_its_row(value: float) -> None:
    good, bad = np.ones((4, 2), np.float32), np.ones((4, 2), np.float32)
    bad[3, 1] = value
    with pytest.raises(DataError, match="row 3 of the gallery"):
        k_reciprocal(good, bad)
    with pytest.raises(DataError, match="row 3 of the query"):
        k_reciprocal_blocks(bad, good)


@pytest.mark.parametrize(("query", "gallery"), [((0, 2), (3, 2)), ((3, 2), (0, 2)), ((3, 2), (3, 4)), ((3,), (3, 2))])
def test_refuses_shapes(query: tuple[int, ...], gallery: tuple[int, ...]) -> None:
    with pytest.raises(DataError):
        k_reciprocal(np.ones(query, np.float32), np.ones(gallery, np.float32))


@pytest.mark.parametrize(("k1", "k2", "lam"), [(0, 6, 0.3), (20, 0, 0.3), (20, 6, 1.5), (20, 6, float("nan"))])
def test_refuses_settings(k1: int, k2: int, lam: float) -> None:
    with pytest.raises(UsageError):
        k_reciprocal(np.ones((2, 2), np.float32), np.ones((2, 2), np.float32), k1, k2, lam)
