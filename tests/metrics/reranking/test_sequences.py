from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reidkit.errors import DataError, UsageError
from reidkit.metrics import score
from reidkit.metrics.reranking.sequences import (
    attention_distances,
    path_distances,
    score_rescored,
    shortest_paths,
)
from tests.metrics.definition import check, embeddings, lists

if TYPE_CHECKING:
    from reidkit.types import Embeddings

Matrix = NDArray[Any]


def test_paths_by_hand() -> None:
    """((1, 9), (2, 3)): down and right, 1 + 2 + 3. |i - j| in tanh of three rows: one step beside the diagonal each."""
    cells = np.array([[[1, 9], [2, 3]]], np.float32)
    assert shortest_paths(cells).tolist() == [6]
    steps = np.tanh(np.abs(np.arange(3)[:, None] - np.arange(3)) / 2).astype(np.float32)
    assert shortest_paths(steps[None])[0] == pytest.approx(2 * math.tanh(0.5), abs=1e-6)


def test_an_image_is_not_at_distance_0_from_itself() -> None:
    """Two orthonormal rows: the path meets one cell beside the diagonal, tanh(sqrt(2) / 2) = 0.608859, of three."""
    found = path_distances(np.eye(2), np.eye(2)[None])
    assert found[0] == pytest.approx(0.608859 / 3, abs=1e-6)


def test_attention_by_hand() -> None:
    """A = axes, B = (1, 0) twice, t = 1: distances 0 and sqrt(2) from A; B finds (0.731059, 0.268941)."""
    found = attention_distances(np.eye(2), np.array([[[1.0, 0], [1, 0]]]), temperature=1.0)
    assert found[0] == pytest.approx((math.sqrt(2) / 2 + 0.380341) / 2, abs=1e-5)
    assert found[0] == pytest.approx(0.543724, abs=1e-5)


def all_paths(rows: int, columns: int) -> list[list[tuple[int, int]]]:
    """Every monotone path from the first to the last corner, as its cells."""
    steps = rows + columns - 2
    found = []
    for downs in itertools.combinations(range(steps), rows - 1):
        place, path = (0, 0), [(0, 0)]
        for step in range(steps):
            place = (place[0] + 1, place[1]) if step in downs else (place[0], place[1] + 1)
            path.append(place)
        found.append(path)
    return found


@pytest.mark.parametrize(("rows", "columns"), list(itertools.product(range(1, 5), range(1, 5))))
def test_the_best_of_all_paths(rows: int, columns: int) -> None:
    rng = np.random.default_rng(10 * rows + columns)
    query, images = rng.normal(size=(rows, 3)), rng.normal(size=(20, columns, 3))
    found = path_distances(query, images)
    paths = all_paths(rows, columns)
    assert len(paths) == math.comb(rows + columns - 2, rows - 1)
    for image, distance in zip(images, found, strict=True):
        a, b = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (query, image))
        cells = np.array([[math.tanh(np.linalg.norm(x - y) / 2) for y in b] for x in a])
        best = min(sum(cells[cell] for cell in path) for path in paths)
        assert distance == pytest.approx(best / (rows + columns - 1), abs=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_attention_is_its_definition(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    query, image = rng.normal(size=(rows, 4)), rng.normal(size=(columns, 4))
    a, b = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (query, image))

    def far(ours: Matrix, theirs: Matrix) -> float:
        total = 0.0
        for x in ours:
            weights = np.exp([x @ y / 0.1 for y in theirs])
            total += float(np.linalg.norm(x - (weights / weights.sum()) @ theirs))
        return total / len(ours)

    found = attention_distances(query, image[None])
    assert found[0] == pytest.approx((far(a, b) + far(b, a)) / 2, abs=1e-4)


def made(count: int, seed: int) -> tuple[Embeddings, Matrix]:
    rng = np.random.default_rng(seed)
    vectors, pids = rng.normal(size=(count, 4)), rng.integers(-1, 4, size=count)
    if seed == 0:
        pids = np.abs(pids)
    return embeddings(vectors, pids.tolist(), rng.integers(2, size=count).tolist()), rng.normal(
        size=(count, 3, 5)
    ).astype(np.float16)


@pytest.mark.parametrize("method", ["path", "attention"])
@pytest.mark.parametrize("top", [1, 7, 500])
def test_only_the_top_is_put_in_another_order(method: Any, top: int) -> None:
    (query, ours), (gallery, theirs) = made(12, 0), made(40, 1)
    found = score_rescored(query, gallery, (ours, theirs), method, top=top, weight=0.3)
    kept = np.flatnonzero(gallery.pids != -1)
    others = embeddings(gallery.vectors[kept], gallery.pids[kept].tolist(), gallery.camids[kept].tolist())
    compare = {"path": path_distances, "attention": attention_distances}[method]
    units = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (query.vectors, others.vectors)]
    distances = (1 - units[0] @ units[1].T).astype(np.float64)
    for q, row in enumerate(distances):
        near = np.argsort(row, kind="stable")[:top]
        rest = np.setdiff1d(np.arange(len(row)), near)
        both = 0.7 * row[near] + 0.3 * compare(ours[q], theirs[kept][near])
        row[near] = both
        row[rest] += both.max() + 1
    check(found, lists(distances, query, others))


def test_weight_0_and_a_top_of_all_is_the_score_itself() -> None:
    (query, ours), (gallery, theirs) = made(12, 0), made(40, 1)
    found = score_rescored(query, gallery, (ours, theirs), top=999, weight=0.0)
    assert found.map == pytest.approx(score(query, gallery).map, abs=1e-9)


def test_refuses() -> None:
    (query, ours), (gallery, theirs) = made(12, 0), made(40, 1)
    refused: dict[str, dict[str, Any]] = {
        "path or attention": {"method": "walk"},
        "top 0": {"top": 0},
        "weight=2": {"weight": 2.0},
    }
    for words, wrong in refused.items():
        arguments: dict[str, Any] = {"method": "path", **wrong}
        with pytest.raises(UsageError, match=words):
            score_rescored(query, gallery, (ours, theirs), **arguments)
    for sequences, words in (
        ((ours[:3], theirs), r"query's sequences are \[3, 3, 5\]: give \[12, S, D\]"),
        ((ours, theirs[:, :, :2]), "5 and 2 numbers"),
        ((ours, np.full_like(theirs, np.nan)), "gallery's sequences hold a NaN"),
    ):
        with pytest.raises(DataError, match=words):
            score_rescored(query, gallery, sequences)
