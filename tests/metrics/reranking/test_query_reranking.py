"""Re-ranking one query against kept neighbours is re-ranking it against the gallery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reidkit.errors import DataError
from reidkit.metrics.reranking.k_reciprocal import k_reciprocal
from reidkit.metrics.reranking.query_reranking import GalleryNeighbours

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def people(seed: int, count: int, width: int = 24) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(12, width))
    return (centres[rng.integers(12, size=count)] + 0.7 * rng.normal(size=(count, width))).astype(np.float32)


@given(st.integers(0, 10_000), st.integers(1, 150), st.integers(1, 25), st.integers(1, 9), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_same_as_with_one_query(seed: int, images: int, k1: int, k2: int, lam: float) -> None:
    """Also where the query is an image of the gallery, as it is for every fourth seed."""
    points = people(seed, images + 1)
    if seed % 4 == 0:
        points[0] = points[-1]
    expected = k_reciprocal(points[:1], points[1:], k1, k2, lam)[0]
    order, distances = GalleryNeighbours.build(points[1:], k1, k2, lam).rerank(points[0], images)
    assert sorted(order) == list(range(images))
    np.testing.assert_allclose(distances, expected[order], atol=1e-5)
    assert (np.diff(distances) >= 0).all()


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 25), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
@example(60, 60, 13, 1)
@example(102, 38, 4, 5)
def test_same_with_ties(seed: int, images: int, k1: int, k2: int) -> None:
    points = np.random.default_rng(seed).integers(-2, 3, size=(images + 1, 3)).astype(np.float32)
    expected = k_reciprocal(points[:1], points[1:], k1, k2, metric="euclidean")[0]
    order, distances = GalleryNeighbours.build(points[1:], k1, k2, metric="euclidean").rerank(points[0], images)
    np.testing.assert_allclose(distances, expected[order], atol=1e-5)


def test_the_head_of_the_list() -> None:
    points = people(0, 100)
    kept = GalleryNeighbours.build(points[1:])
    whole, head = kept.rerank(points[0], 99), kept.rerank(points[0], 5)
    np.testing.assert_array_equal(head[0], whole[0][:5])
    np.testing.assert_array_equal(head[1], whole[1][:5])
    assert len(kept.rerank(points[0], 1000)[0]) == 99


def test_a_file_keeps_it(tmp_path: Path) -> None:
    points, path = people(1, 80), tmp_path / "people.npz"
    kept = GalleryNeighbours.build(points[1:], k1=7, k2=3, lam=0.4)
    kept.save(path)
    again = GalleryNeighbours.load(path, points[1:])
    assert (again.settings, again.metric) == (kept.settings, kept.metric)
    np.testing.assert_array_equal(again.rerank(points[0], 9)[0], kept.rerank(points[0], 9)[0])
    assert [file.name for file in tmp_path.iterdir()] == ["people.npz"]


def test_refuses_another_gallery_and_what_is_no_file(tmp_path: Path) -> None:
    points, path = people(2, 30), tmp_path / "people.npz"
    GalleryNeighbours.build(points).save(path)
    with pytest.raises(DataError, match="another gallery"):
        GalleryNeighbours.load(path, points[::-1])
    whole = path.read_bytes()
    for content in (b"", whole[:200], whole[:-30], b"no archive"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="build them again"):
            GalleryNeighbours.load(path, points)
    np.savez(path, indices=np.zeros(3))
    with pytest.raises(DataError, match="build them again"):
        GalleryNeighbours.load(path, points)
    with pytest.raises(DataError):
        GalleryNeighbours.load(tmp_path / "missing.npz", points)


@pytest.mark.parametrize("damage", ["index", "shape", "type"])
def test_refuses_damaged_lists(tmp_path: Path, damage: str) -> None:
    """A list with an index outside of the gallery would be read from outside of it."""
    points, path = people(2, 30), tmp_path / "people.npz"
    GalleryNeighbours.build(points).save(path)
    with np.load(path) as archive:
        parts = dict(archive)
    if damage == "index":
        parts["indices"][3, 2] = 30
    elif damage == "shape":
        parts["farthest"] = parts["farthest"][1:]
    else:
        parts["indices"] = parts["indices"].astype(np.int64)
    np.savez(path, **parts)
    with pytest.raises(DataError, match="damaged"):
        GalleryNeighbours.load(path, points)


def test_refuses_queries() -> None:
    kept = GalleryNeighbours.build(people(3, 30))
    with pytest.raises(DataError, match="query"):
        kept.rerank(np.full(24, np.nan, np.float32), 5)
    with pytest.raises(DataError):
        kept.rerank(np.ones(23, np.float32), 5)
    with pytest.raises(DataError):
        GalleryNeighbours.build(np.empty((0, 24), np.float32))
