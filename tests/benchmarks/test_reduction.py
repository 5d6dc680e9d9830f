"""The pieces of `benchmarks/reduction.py` by hand, and its tables on a few made-up features."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import reduction
from reidkit.metrics import score
from reidkit.types import Embeddings


def made(count: int, seed: int) -> Embeddings:
    rng = np.random.default_rng(seed)
    pids = np.arange(count) % 6
    vectors = np.eye(6, 20)[pids] * 3 + rng.normal(size=(count, 20))
    return Embeddings(vectors.astype(np.float32), pids, np.full(count, seed))


def test_8_bits_by_hand() -> None:
    whole, scale = reduction.to_int8(np.array([[1.0, -0.5, 0.0], [0.0, 0.0, 254.0]], np.float32))
    assert whole.tolist() == [[127, -64, 0], [0, 0, 127]]
    np.testing.assert_allclose(scale, [[1 / 127], [2.0]], rtol=1e-6)


def test_bits_by_hand() -> None:
    """Signs of (1, -1, ...) less 0: every second bit; its distance from all ones is half of them."""
    vectors = np.tile(np.array([1.0, -1.0], np.float32), 32)[None]
    code = reduction.to_bits(vectors, np.zeros(64, np.float32), np.eye(64, dtype=np.float32))
    assert code.tolist() == [[0b10101010] * 8]
    assert reduction.hamming(code[0], np.full((2, 8), 255, np.uint8)).tolist() == [32, 32]


def test_rotation_keeps_right_angles() -> None:
    rows = reduction.random_rotation(20, 64)
    assert rows.shape == (64, 20)
    np.testing.assert_allclose(rows[:20] @ rows[:20].T, np.eye(20), atol=1e-5)


def test_tables() -> None:
    sides = reduction.Sides(made(60, 3).vectors, made(12, 1), made(40, 2))
    table, coarse = reduction.measure(sides)
    exact = score(sides.query, sides.gallery)
    first = table[0]
    assert (first["features"], first["bytes"]) == ("fp32", 80)
    assert first["map"] == pytest.approx(100 * exact.map, abs=0.01)
    assert {line["features"] for line in table} >= {"int8, a scale each", "PCA, power 0.25", "bits", "fp32 query, bits"}
    assert [line["bytes"] for line in table if line["features"] == "bits"] == [64, 32]
    assert all(line["found"] == 100 and line["map"] == first["map"] for line in coarse)  # all are candidates
    far = np.random.default_rng(0).integers(0, 99, (12, 40))
    found = reduction.refined(sides, far, 5)
    best = np.argsort(-reduction.units(sides.query.vectors) @ reduction.units(sides.gallery.vectors).T, axis=1)[:, :10]
    share = np.mean([len(set(b) & set(np.argsort(f, kind="stable")[:5])) / 10 for b, f in zip(best, far, strict=True)])
    assert found["found"] == pytest.approx(100 * share, abs=0.01)
