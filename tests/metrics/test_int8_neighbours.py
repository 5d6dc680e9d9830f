"""Codes of eight bits decide what is looked at, and never what is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reidkit.metrics import int8_neighbours as module
from reidkit.metrics.int8_neighbours import (
    bounds,
    encode_points,
    has_int8,
    multiply_codes,
    promises_int8,
    worth_codes,
)
from reidkit.metrics.neighbours import make_points, nearest_neighbours
from reidkit.metrics.products import Host

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[Any]


def people(rng: Any, count: int, width: int, noise: float = 0.4) -> Matrix:
    centres = rng.normal(size=(max(2, count // 8), width))
    return np.asarray(centres[rng.integers(len(centres), size=count)] + noise * rng.normal(size=(count, width)))


KINDS = {
    "people": people,
    "all equal": lambda rng, n, d: np.tile(rng.normal(size=d), (n, 1)),
    "near copies": lambda rng, n, d: rng.normal(size=d) + 1e-6 * rng.normal(size=(n, d)),
    "one large number": lambda rng, n, d: np.where(np.arange(d) == 0, 1e6, rng.normal(size=(n, d))),
    "of any length": lambda rng, n, d: rng.normal(size=(n, d)) * 10.0 ** rng.integers(-6, 6, size=(n, 1)),
    "zeros": lambda rng, n, d: np.where(rng.random((n, 1)) < 0.5, 0, rng.normal(size=(n, d))),
    "whole numbers": lambda rng, n, d: rng.integers(-1, 2, size=(n, d)),
}


def exact(ours: Matrix, theirs: Matrix) -> Matrix:
    return np.asarray(ours.astype(np.int32) @ theirs.astype(np.int32).T)


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the right products of codes on every processor: torch's wrap at 16 bits on those without VNNI."""
    if not has_int8():
        monkeypatch.setattr(module, "multiply_codes", exact)
        monkeypatch.setattr(module, "has_int8", lambda: True)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch, products: None) -> None:
    """Have codes used whatever the size, the features and the processor."""
    monkeypatch.setattr(module, "WORTH_CODES", 0)
    monkeypatch.setattr(module, "MOST", np.inf)
    monkeypatch.setattr(module, "RUN_OVER", 1)
    monkeypatch.setattr(module, "promises_int8", lambda: True)


def test_bounds_by_hand() -> None:
    """(3, 4) in codes of 127 / 4: the squared distance to (0, 0), 25, lies between them; that to itself is 0."""
    vectors = np.zeros((2, 16), np.float32)
    vectors[0, :2] = 3, 4
    points = make_points("euclidean", all=vectors)._replace(vectors=vectors, squares=np.array([25, 0], np.float32))
    lows, highs = bounds(encode_points(points), np.arange(2))
    assert lows[0, 0] == 0
    assert 0 < highs[0, 0] < 1
    assert 24.5 < lows[0, 1] <= 25 <= highs[0, 1] < 25.5


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), width=st.sampled_from([16, 31, 96, 512]), seed=st.integers(0, 999))
def test_every_distance_lies_between_its_bounds(kind: str, width: int, seed: int) -> None:
    points = make_points("euclidean", all=KINDS[kind](np.random.default_rng(seed), 60, width).astype(np.float32))
    lows, highs = bounds(encode_points(points), np.arange(60))
    exact = ((points.vectors.astype(np.float64)[:, None] - points.vectors) ** 2).sum(axis=2)
    assert (lows <= exact).all()
    assert (exact <= highs).all()


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("room", [8, 40, 256])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_neighbours_are_those_of_single_precision(kind: str, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over more than one block, also where most shortlists run over and where all do."""
    vectors = KINDS[kind](np.random.default_rng(0), 1025, 32).astype(np.float32)
    points = make_points("cosine", all=vectors)
    into = np.empty((2, 300, 725), np.float32)
    monkeypatch.setattr(module, "ROOM", room)
    ours = nearest_neighbours(points, 21, Host(), into[0])
    monkeypatch.setattr(module, "WORTH_CODES", np.inf)
    theirs = nearest_neighbours(points, 21, Host(), into[1])
    np.testing.assert_array_equal(ours.indices, theirs.indices)
    np.testing.assert_allclose(ours.distances, theirs.distances, atol=2e-6)
    np.testing.assert_allclose(ours.farthest, theirs.farthest, atol=2e-6)
    np.testing.assert_allclose(into[0], into[1], atol=2e-6)


@pytest.mark.usefixtures("products")
def test_only_where_a_sample_says_that_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """People apart from each other are; strangers who are all equally far are not, nor is little work."""
    monkeypatch.setattr(module, "promises_int8", lambda: True)
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(2000, 256)) * 0.8 ** np.arange(256)
    points = make_points("cosine", all=spread.astype(np.float32))
    assert worth_codes(points, 27) is None
    monkeypatch.setattr(module, "WORTH_CODES", 2000 * 2000 * 256)
    assert worth_codes(points, 27) is not None
    equally_far = make_points("cosine", all=rng.normal(size=(2000, 1024)).astype(np.float32))
    assert worth_codes(equally_far, 27) is None
    narrow = make_points("cosine", all=spread[:, :15].astype(np.float32))
    monkeypatch.setattr(module, "WORTH_CODES", 0)
    assert worth_codes(narrow, 27) is None


@pytest.mark.parametrize("features", [{}, {"avx512f": True}])
def test_a_processor_without_products_of_eight_bits(features: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: features)
    assert not promises_int8()
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: features | {"avxvnni": True})
    assert promises_int8()


def test_torch_multiplies_rightly_or_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products that wrap at 16 bits, as some processors' do, and a torch that has none."""
    codes = np.full((2, 2048), 127, np.int8)
    if has_int8.__wrapped__():
        np.testing.assert_array_equal(multiply_codes(codes, codes), 2048 * 127**2)
    monkeypatch.setattr(module, "multiply_codes", exact)
    assert has_int8.__wrapped__()

    def saturated(ours: Matrix, theirs: Matrix) -> Matrix:
        return np.clip(exact(ours, theirs), -(2**15), 2**15 - 1)

    monkeypatch.setattr(module, "multiply_codes", saturated)
    assert not has_int8.__wrapped__()

    def missing(*_: Matrix) -> Matrix:
        raise RuntimeError("not implemented for Char")

    monkeypatch.setattr(module, "multiply_codes", missing)
    assert not has_int8.__wrapped__()
