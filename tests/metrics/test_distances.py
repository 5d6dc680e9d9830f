from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from reidkit.errors import DataError
from reidkit.metrics import distances
from reidkit.metrics.distances import distance_blocks, doubt, pair_squares, prepare, to_squares
from reidkit.metrics.products import Device, Host, full_precision, multiplier_for

if TYPE_CHECKING:
    from pathlib import Path

    from reidkit.metrics.distances import Array
    from reidkit.types import Metric


def whole(query: Array, gallery: Array, metric: Metric = "cosine", block: int | None = None) -> np.ndarray:
    parts = list(distance_blocks(query, gallery, metric, block))
    assert [first for first, _ in parts] == np.cumsum([0, *(len(part) for _, part in parts)])[:-1].tolist()
    return np.concatenate([part for _, part in parts])


def test_by_hand() -> None:
    query, gallery = np.array([[3.0, 4.0]]), np.array([[6.0, 8.0], [-3.0, -4.0], [0.0, 0.0], [4.0, -3.0]])
    assert whole(query, gallery) == pytest.approx(np.array([[0, 2, 0.5, 1]]), abs=1e-6)
    assert whole(query, gallery, "euclidean") == pytest.approx(np.array([[5, 10, 5, 50**0.5]]), rel=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int32", "tensor", "bfloat16", "strided", "mapped"])
def test_every_kind_of_array(metric: Metric, kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    query, gallery = rng.integers(-9, 10, (7, 33)).astype(np.float32), rng.integers(-9, 10, (50, 33)).astype(np.float32)
    one, other = (x.astype(np.float64) for x in (query, gallery))
    expected = np.sqrt(np.square(one[:, None] - other).sum(2))
    if metric == "cosine":
        expected = 1 - one @ other.T / np.linalg.norm(one, axis=1)[:, None] / np.linalg.norm(other, axis=1)
    given: Array = gallery
    if kind in ("tensor", "bfloat16"):
        given = torch.from_numpy(gallery).to(torch.bfloat16 if kind == "bfloat16" else torch.float32)
    elif kind == "mapped":
        gallery.tofile(tmp_path / "gallery")
        given = np.memmap(tmp_path / "gallery", np.float32, "r", shape=gallery.shape)
    elif kind == "strided":
        given = np.asfortranarray(gallery)
    else:
        given = gallery.astype(kind)
    assert whole(query, given, metric, block=3) == pytest.approx(expected, abs=2e-5)
    assert whole(given, given, metric).diagonal() == pytest.approx(np.zeros(50), abs=2e-2)


def test_many_blocks_of_the_gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    query, gallery = rng.standard_normal((11, 5)), rng.standard_normal((23, 5))
    expected = whole(query, gallery)
    monkeypatch.setattr(distances, "gallery_rows", lambda _: 4)
    monkeypatch.setattr(distances, "QUERY_ROWS", 3)
    assert whole(query, gallery, block=7) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_bad_row_is_named(value: float, metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "gallery_rows", lambda _: 4)
    good, bad = np.ones((9, 5)), np.ones((9, 5))
    bad[6, 2] = value
    with pytest.raises(DataError, match=r"row 6 of the gallery features holds"):
        whole(good, bad, metric)
    with pytest.raises(DataError, match=r"row 6 of the query features holds"):
        whole(bad, good, metric, block=5)


@pytest.mark.parametrize(
    ("query", "gallery", "sentence"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "3 dimensions and gallery features 4"),
        (np.ones(3), np.ones((2, 3)), r"the query features have the shape \[3\]"),
        (np.ones((2, 3)), np.ones((0, 3)), r"the gallery features have the shape \[0, 3\]"),
        (np.ones((2, 3), complex), np.ones((2, 3)), "the query features are of type complex128"),
        (np.array([["a"]]), np.ones((2, 1)), "the query features are of type <U1"),
        (
            np.ones((2, 3)),
            torch.ones((2, 3), dtype=torch.complex64),
            "the gallery features are of type torch.complex64",
        ),
    ],
)
def test_shapes_and_types_are_checked(query: Array, gallery: Array, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        whole(query, gallery)


def test_the_way_to_an_accelerator_and_back() -> None:
    """On this machine the device is its own cores."""
    rng = np.random.default_rng(0)
    query, gallery = (rng.standard_normal((rows, 64), dtype=np.float32) for rows in (5, 9))
    query.flags.writeable = False
    out, expected = np.empty((5, 9), np.float32), np.empty((5, 9), np.float32)
    device = Device(torch.device("cpu"))
    device.multiply(device.place(query), device.place(gallery), out)
    Host().multiply(query, gallery, expected)
    assert out == pytest.approx(expected, abs=1e-5)


def test_the_first_accelerator_multiplies() -> None:
    assert isinstance(multiplier_for(np.ones((2, 2)), torch.ones(2, 2)), Host)
    assert isinstance(multiplier_for(np.ones((2, 2)), torch.ones(2, 2, device="meta")), Device)


def test_an_accelerators_product_is_in_full_precision() -> None:
    """Whatever the program has set, and the program finds it as it was."""
    switch = torch.backends.cuda.matmul
    new = hasattr(switch, "fp32_precision")
    name, loose, exact = ("fp32_precision", "tf32", "ieee") if new else ("allow_tf32", True, False)
    before = getattr(switch, name)
    setattr(switch, name, loose)
    try:
        with full_precision(switch):
            assert getattr(switch, name) == exact
        assert getattr(switch, name) == loose
    finally:
        setattr(switch, name, before)


def test_doubt_by_hand():
    """With 1,008 dimensions the error is up to 2^-14 of both squared lengths; a query of length 1."""
    query = prepare(np.eye(1, 1008, dtype=np.float32), "euclidean", "query")
    assert query.slack == 2.0**-14
    assert doubt(query, 0.0) == 2 * 2.0**-14 * 2
    assert doubt(query, np.array([0.0, 1.0])).tolist() == [2 * 2.0**-14 * 2, 2 * 2.0**-14 * 5]
    two = prepare(np.eye(2, 1008, dtype=np.float32), "euclidean", "query")
    assert doubt(two, np.array([[0.0], [1.0]])).tolist() == [[2 * 2.0**-14 * 2], [2 * 2.0**-14 * 5]]


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6, 0.0])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_what_is_among_the_nearest_in_truth_is_within_doubt(spread, metric):
    """Features around one constant, where all rounding goes one way."""
    rng = np.random.default_rng(0)
    vectors = (1 + spread * rng.standard_normal((400, 512))).astype(np.float32)
    query = prepare(vectors[:1], metric, "query")
    (_, dist_bg), *_ = distance_blocks(vectors[:1], vectors, metric)
    seen = to_squares(dist_bg[0].astype(np.float64), metric)
    exact = pair_squares(query, vectors, np.zeros(400, np.int64), np.arange(400), metric)
    for count in (1, 5, 100):
        limit = np.sort(seen)[count - 1]
        assert (seen[exact <= np.sort(exact)[count - 1]] <= limit + doubt(query, limit)).all()
