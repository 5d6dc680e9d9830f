"""The definition of every score, written as slowly and plainly as it is defined, to test the fast one against."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import strategies as st

from reidkit.types import Embeddings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from reidkit.metrics.retrieval import Scores
    from reidkit.types import Metric

    Features = NDArray[np.float32]


def embeddings(
    vectors: Sequence[Sequence[float]] | NDArray[np.floating],
    pids: Sequence[int],
    camids: Sequence[int],
    paths: tuple[str, ...] = (),
    model: str = "",
) -> Embeddings:
    return Embeddings(np.array(vectors, np.float32), np.array(pids), np.array(camids), model, paths)


def ranks(distances: Sequence[float], right: Sequence[bool]) -> list[int]:
    """The ranks of the matches in one list, after a full sort: of two at one distance the wrong one comes first."""
    order = sorted(range(len(right)), key=lambda image: (distances[image], right[image]))
    return [rank for rank, image in enumerate(order, start=1) if right[image]]


def average_precision(hits: Sequence[int]) -> float:
    return sum(number / rank for number, rank in enumerate(hits, start=1)) / len(hits)


def average_precision_trapezoid(hits: Sequence[int]) -> float:
    """Walks the list image by image, and adds a trapezoid whenever the recall rises."""
    area, old_recall, old_precision, found = 0.0, 0.0, 1.0, 0
    for rank in range(1, hits[-1] + 1):
        found += rank in hits
        recall, precision = found / len(hits), found / rank
        area += (recall - old_recall) * (old_precision + precision) / 2
        old_recall, old_precision = recall, precision
    return area


def lists(dist_qg: ArrayLike, query: Embeddings, gallery: Embeddings, cameras: str = "cross") -> list[list[int]]:
    """The ranks of the matches of every query; an empty list for a query without any."""
    found = []
    for i, row in enumerate(np.asarray(dist_qg).tolist()):
        kept = []
        for j, distance in enumerate(row):
            same = query.pids[i] == gallery.pids[j]
            own = bool(query.paths and gallery.paths) and query.paths[i] == gallery.paths[j]
            if cameras == "cross":
                own = own or query.camids[i] == gallery.camids[j]
            if gallery.pids[j] != -1 and not (same and own):
                kept.append((distance, bool(same)))
        found.append(ranks([d for d, _ in kept], [r for _, r in kept]))
    return found


def on_a_line() -> tuple[Embeddings, Embeddings]:
    """A query at 0; ranks 2 and 4 are right, and the first image is by its own camera: AP = INP = 1/2."""
    gallery = embeddings([[0.0], [0.1], [-0.2], [0.3], [0.4]], [7, 9, 7, 9, 7], [0, 1, 1, 1, 2])
    return embeddings([[0.0]], [7], [0]), gallery


def line(values: list[float], pids: list[int], camera: int) -> Embeddings:
    """Features on a line, for the Euclidean metric: the similarity of two is 1 - (a - b)^2 / 2."""
    return embeddings([[value] for value in values], pids, [camera] * len(pids))


def crowd(queries: int = 40, images: int = 900, width: int = 67, seed: int = 0) -> tuple[Embeddings, Embeddings]:
    """Features that a network might make, and among them many that are exactly equal."""
    rng = np.random.default_rng(seed)
    people = rng.standard_normal((30, width), dtype=np.float32)

    def some(count: int) -> Embeddings:
        pids = rng.integers(0, 30, count)
        vectors = people[pids] + 1.5 * rng.standard_normal((count, width), dtype=np.float32)
        return embeddings(vectors, pids.tolist(), rng.integers(0, 4, count).tolist())

    query, gallery = some(queries), some(images)
    gallery.vectors[rng.integers(0, images, images // 3)] = gallery.vectors[rng.integers(0, images, images // 3)]
    gallery.vectors[: queries // 2] = query.vectors[: queries // 2]
    return query, gallery


def multiply_badly(_: object, one: Features, other: Features, out: Features) -> None:
    """A product with the errors of single precision, in each entry its own; to put in the place of `Host.multiply`."""
    np.matmul(one, other.T, out=out)
    scale = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(other, axis=1)
    out += (1e-6 * scale * np.random.default_rng(5).uniform(-1, 1, out.shape)).astype(np.float32)


@st.composite
def retrievals(draw: st.DrawFn) -> tuple[Embeddings, Embeddings]:
    """Few points of a small grid, so that ties and equal features are the rule; junk; one camera or more."""
    width = draw(st.integers(1, 3))
    cameras = draw(st.integers(1, 3))
    point = st.lists(st.integers(-2, 2), min_size=width, max_size=width)

    def some(most: int, least_pid: int) -> Embeddings:
        count = draw(st.integers(1, most))

        def column(values: st.SearchStrategy[int]) -> list[int]:
            return draw(st.lists(values, min_size=count, max_size=count))

        numbers = draw(st.lists(st.integers(0, 60), min_size=count, max_size=count, unique=True))
        paths = tuple(f"{number}.jpg" for number in numbers)
        vectors = draw(st.lists(point, min_size=count, max_size=count))
        return embeddings(vectors, column(st.integers(least_pid, 3)), column(st.integers(0, cameras - 1)), paths)

    return some(5, 0), some(40, -1)


@st.composite
def trials(draw: st.DrawFn) -> tuple[Embeddings, Embeddings, Metric]:
    """Few points, so that ties and equal features are the rule; junk, unknown cameras, one or more; a metric.

    For the cosine all points lie on an axis: then directions and distances are not rounded, and a tie is a tie.
    """
    width, cameras = draw(st.integers(1, 3)), draw(st.integers(0, 2))
    metric: Metric = draw(st.sampled_from(["cosine", "euclidean"]))
    point = st.lists(st.integers(-2, 2), min_size=width, max_size=width)
    if metric == "cosine":
        axes = np.vstack((np.eye(width), -2 * np.eye(width), np.zeros((1, width)))).tolist()
        point = st.sampled_from(axes)

    def some(most: int) -> Embeddings:
        count = draw(st.integers(1, most))

        def column(values: st.SearchStrategy[Any]) -> list[Any]:
            return draw(st.lists(values, min_size=count, max_size=count))

        numbers = draw(st.lists(st.integers(0, 60), min_size=count, max_size=count, unique=True))
        paths = tuple(f"{number}.jpg" for number in numbers)
        vectors, pids = column(point), column(st.integers(-1, 3))
        return embeddings(vectors, pids, column(st.integers(-1, cameras)), paths)

    return some(6), some(30), metric


def check(scores: Scores, hits: list[list[int]]) -> None:
    """Hold scores against the ranks of the matches of every query."""
    scored = [ranks for ranks in hits if ranks]
    assert (scores.queries, scores.queries_skipped) == (len(scored), len(hits) - len(scored))
    for depth in (1, 5, 10, 20):
        found = np.mean([ranks[0] <= depth for ranks in scored])
        assert getattr(scores, f"rank{depth}") == pytest.approx(found)
    assert scores.map == pytest.approx(np.mean([average_precision(ranks) for ranks in scored]))
    trapezoids = [average_precision_trapezoid(ranks) for ranks in scored]
    assert scores.map_trapezoid == pytest.approx(np.mean(trapezoids))
    assert scores.minp == pytest.approx(np.mean([len(ranks) / ranks[-1] for ranks in scored]))
    for ranks, first, inp, ap in zip(hits, scores.first_match, scores.inp, scores.average_precision, strict=True):
        assert first == ranks[0] if ranks else math.isnan(first)
        assert inp == len(ranks) / ranks[-1] if ranks else math.isnan(inp)
        assert ap == pytest.approx(average_precision(ranks)) if ranks else math.isnan(ap)


def same(one: Scores, other: Scores) -> bool:
    """Whether all scores are equal to the bit."""
    return one.as_json() == other.as_json() and np.array_equal(one.inp, other.inp, equal_nan=True)
