"""Whatever is scanned in eight bits, what is found is what comparing with everything in double precision finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reidkit.gallery import vector_index as module
from reidkit.gallery.filters import UNKNOWN, Filter
from reidkit.gallery.kernels import Coded, cosines, largest, possible
from reidkit.gallery.vector_index import Index, NewRows, members
from reidkit.metrics.quantisation import Rotation, quantise


def brute(vectors, weights):
    """Return w.x / |x|, with sums that are rounded once."""
    found = []
    for row in vectors.astype(np.float64).tolist():
        length = math.sqrt(math.fsum(value * value for value in row))
        product = math.fsum(a * b for a, b in zip(row, weights.tolist(), strict=True))
        found.append(product / length if length else 0.0)
    return np.array(found)


def rows_of(vectors, first=1):
    count = len(vectors)
    unknown = np.full(count, UNKNOWN)
    return NewRows(np.arange(first, first + count), np.full(count, -1, np.int32), unknown, unknown, vectors)


HOSTILE = {
    "all equal": lambda rng, n, d: np.tile(rng.normal(size=d), (n, 1)),
    "near duplicates": lambda rng, n, d: rng.normal(size=d) + 1e-6 * rng.normal(size=(n, d)),
    "one huge coordinate": lambda rng, n, d: np.where(np.arange(d) == 0, 1e30, rng.normal(size=(n, d))),
    "zeros": lambda rng, n, d: np.where(rng.random((n, 1)) < 0.5, 0, rng.normal(size=(n, d))),
    "subnormal": lambda rng, n, d: 1e-41 * rng.normal(size=(n, d)),
    "the largest": lambda rng, n, d: 3e38 * rng.uniform(-1, 1, size=(n, d)),
    "whole numbers": lambda rng, n, d: rng.integers(-1, 2, size=(n, d)),
    "of any length": lambda rng, n, d: rng.normal(size=(n, d)) * 10.0 ** rng.integers(-30, 30, size=(n, 1)),
    "constant": lambda rng, n, d: np.ones((n, d)) * rng.integers(-2, 3, size=(n, 1)),
    "people": lambda rng, n, d: rng.normal(size=(5, d))[rng.integers(5, size=n)] + 0.3 * rng.normal(size=(n, d)),
}


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(HOSTILE)),
    seed=st.integers(0, 10_000),
    count=st.integers(1, 120),
    dim=st.sampled_from([1, 2, 3, 8, 31, 64, 96]),
    queries=st.sampled_from([1, 3, 12]),
    top=st.integers(1, 20),
    dead=st.sampled_from([0.0, 0.1, 0.6]),
    share=st.sampled_from([1.0, 0.5, 0.05]),
)
@example("all equal", 0, 100, 64, 12, 5, 0.1, 1.0)
@example("all equal", 0, 6, 1, 12, 1, 0.0, 0.5)
@example("one huge coordinate", 1, 100, 64, 12, 5, 0.1, 1.0)
@example("zeros", 2, 100, 64, 1, 20, 0.6, 0.5)
def test_exact(kind, seed, count, dim, queries, top, dead, share):  # noqa: PLR0917
    rng = np.random.default_rng(seed)
    vectors = HOSTILE[kind](rng, count, dim).astype(np.float32)
    asked = HOSTILE[kind](rng, queries, dim).astype(np.float32).astype(np.float64)
    asked[~asked.any(axis=1)] = 1
    asked /= np.linalg.norm(asked / np.abs(asked).max(axis=1, keepdims=True), axis=1, keepdims=True)
    asked /= np.abs(asked).max(axis=1, keepdims=True)
    index = Index(dim)
    half = count // 2
    index.add(rows_of(vectors[:half]))
    before = index.snapshot()
    index.add(rows_of(vectors[half:], half + 1))
    gone = np.flatnonzero(rng.random(count) < dead) + 1
    index.remove(gone)
    snapshot = index.snapshot()
    assert (before.size, snapshot.size) == (half, count - len(gone))
    passed = snapshot.alive & (rng.random(len(snapshot.ids)) < share)
    for one, found in zip(
        asked, snapshot.nearest(asked, passed, (top, -math.inf), lambda ids: vectors[ids - 1]), strict=True
    ):
        truth = brute(vectors, one)
        alive = snapshot.ids[passed]
        assert found.passed == len(alive)
        expected = np.sort(truth[alive - 1])[::-1][:top]
        scale = float(np.linalg.norm(one))
        # The similarities of the nearest, in their order; and each is that of its row.
        np.testing.assert_allclose(found.similarities, expected, atol=1e-12 * scale)
        np.testing.assert_allclose(found.similarities, truth[found.ids - 1], atol=1e-12 * scale)
        assert set(found.ids.tolist()) <= set(alive.tolist())
        assert len(set(found.ids.tolist())) == len(found.ids) == min(top, len(alive))
        # Of equal similarities the earlier rows are taken, and come first.
        exact = cosines(vectors[alive - 1], one)
        order = np.lexsort((alive, -exact))[:top]
        np.testing.assert_array_equal(found.ids, alive[order])


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(sorted(HOSTILE)), seed=st.integers(0, 10_000), dim=st.sampled_from([1, 3, 16, 60, 64, 1024])
)
def test_the_bound_holds(kind, seed, dim):
    """No product of whole numbers is farther off than what is said; and what is said is little."""
    rng = np.random.default_rng(seed)
    vectors = HOSTILE[kind](rng, 20, dim).astype(np.float32)
    one = rng.normal(size=dim)
    rotation, codes = Rotation(dim), np.empty((20, dim), np.int8)
    scale, left = np.empty(20, np.float32), np.empty(20, np.float32)
    quantise(vectors, (rotation.signs, rotation.strides), codes, scale, left)
    truth = brute(vectors, one)
    for most in (127, 32_767):
        query = Coded.of(rotation.turn(one), most)
        assert query.length == pytest.approx(np.linalg.norm(one))
        products = codes.astype(np.int64) @ query.code.astype(np.int64)
        assert np.abs(products).max() < 2**31
        assert (np.abs(products * query.scale * scale - truth) <= query.bound(left)).all()
    assert left.max() < 0.03 * dim**0.5


def test_products_fit_into_32_bits_for_the_worst_rows():
    worst = np.full((1, 2048), 127, np.int8)
    query = Coded.of(np.ones(2048), 32_767)
    assert abs(int((worst.astype(np.int64) @ query.code.astype(np.int64))[0])) < 2**31
    assert query.left < 1e-3 * query.length
    np.testing.assert_allclose(query.scale * query.code, np.ones(2048), rtol=1e-3)  # in 8 bits they would wrap around


def test_a_rotation_spreads_what_stands_out_and_keeps_products():
    rotation, rng = Rotation(2048), np.random.default_rng(0)
    spike, other = np.eye(2048)[5], rng.normal(size=2048)
    assert np.abs(rotation.turn(spike)).max() == pytest.approx(128**-0.5)
    assert rotation.turn(spike) @ rotation.turn(other) == pytest.approx(other[5])
    assert np.abs(rotation.turn(np.ones(2048))).max() < 5  # and not a spike of its own
    assert len(Rotation(3).strides) == 0
    assert Rotation(96).strides.tolist() == [16, 8, 4, 2, 1]


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=40), st.integers(1, 12))
def test_the_largest(values, count):
    where, least = largest(np.array(values, np.float32), min(count, len(values)))
    assert sorted((values[at] for at in where.tolist()), reverse=True) == sorted(values, reverse=True)[:count]
    assert least == sorted(values, reverse=True)[:count][-1]
    assert len(set(where.tolist())) == len(where)


def test_what_is_possible_by_hand():
    """0.5 may be off by 2 x 0.1 + 0.05."""
    left = np.array([0.1, 0.0, 0.1], np.float32)
    assert possible(np.array([0.5, 0.5, 0.9], np.float32), left, (2.0, 0.05), 0.7).tolist() == [0, 2]
    assert possible(np.array([0.5, -np.inf], np.float32), left[:2], (2.0, 0.05), 0.0).tolist() == [0]


def test_a_radius():
    vectors = np.array([[1, 0], [4, 3], [3, 4], [0, 1]], np.float32)
    index = Index(2)
    index.add(rows_of(vectors))
    snapshot = index.snapshot()
    found = snapshot.nearest(np.array([[1.0, 0]]), snapshot.alive, (10, 0.7), lambda ids: vectors[ids - 1])[0]
    assert found.ids.tolist() == [1, 2]
    assert (
        snapshot.nearest(np.array([[1.0, 0]]), snapshot.alive, (10, 1.1), lambda ids: vectors[ids - 1])[0].ids.size == 0
    )


def test_chunks_grow_and_shrink(monkeypatch):
    """A search that began keeps its rows, whatever is added and removed meanwhile."""
    monkeypatch.setattr(module, "ROWS", 16)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(100, 8)).astype(np.float32)
    index, weights = Index(8), rng.normal(size=(1, 8))
    for first in range(0, 100, 7):
        index.add(rows_of(vectors[first : first + 7], first + 1))
    fetch = lambda ids: vectors[ids - 1]  # noqa: E731
    old = index.snapshot()
    everything = old.nearest(weights, old.alive, (5, -math.inf), fetch)[0]
    index.remove(everything.ids)
    index.remove(np.arange(1, 60))
    new = index.snapshot()
    assert (len(old.codes), len(new.ids), new.size) == (
        7,
        new.size,
        100 - len({*range(1, 60), *everything.ids.tolist()}),
    )
    np.testing.assert_array_equal(old.nearest(weights, old.alive, (5, -math.inf), fetch)[0].ids, everything.ids)
    rest = new.nearest(weights, new.alive, (100, -math.inf), fetch)[0]
    assert set(rest.ids.tolist()) == set(range(1, 101)) - set(range(1, 60)) - set(everything.ids.tolist())
    np.testing.assert_array_equal(rest.similarities, np.sort(cosines(vectors[rest.ids - 1], weights[0]))[::-1])
    index.remove(np.arange(1, 101))
    assert (index.snapshot().size, index.nbytes) == (0, 0)


def test_of_many_queries_few_rows_are_computed_exactly():
    rng = np.random.default_rng(0)
    people = rng.normal(size=(200, 64))
    vectors = (people[np.arange(4000) % 200] + 0.5 * rng.normal(size=(4000, 64))).astype(np.float32)
    index = Index(64)
    index.add(rows_of(vectors))
    snapshot, asked = index.snapshot(), people[:12] + 0.5 * rng.normal(size=(12, 64))
    together = snapshot.nearest(asked, snapshot.alive, (10, -math.inf), lambda ids: vectors[ids - 1])
    for one, found in zip(asked, together, strict=True):
        alone = snapshot.nearest(one[None], snapshot.alive, (10, -math.inf), lambda ids: vectors[ids - 1])[0]
        np.testing.assert_array_equal(found.ids, alone.ids)
        np.testing.assert_array_equal(found.similarities, alone.similarities)
        assert max(found.candidates, alone.candidates) < 60


def test_masks_by_hand():
    """A filter by camera, id and time; members of rising numbers."""
    assert members(np.array([2, 5, 9]), np.array([9, 3, 2, 100])).tolist() == [True, False, True]
    assert members(np.array([], np.int64), np.array([1])).tolist() == []
    index = Index(1)
    index.names = {"door": 1, "hall": 2}
    index.add(
        NewRows(
            np.array([1, 2, 3]),
            np.array([1, 2, -1], np.int32),
            np.array([7, UNKNOWN, 7]),
            np.array([0, 10, UNKNOWN]),
            np.ones((3, 1), np.float32),
        )
    )
    snapshot = index.snapshot()
    assert snapshot.passed(Filter(cameras=["hall", "nowhere"])).tolist() == [False, True, False]
    assert snapshot.passed(Filter(not_cameras=["hall"], pids=[7])).tolist() == [True, False, True]
    assert snapshot.passed(Filter(tracks=["t"])) is None
