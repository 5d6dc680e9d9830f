"""Counting as on an accelerator. On this machine the device is its own cores."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from reidkit.errors import DataError, UsageError
from reidkit.metrics import gpu
from reidkit.metrics.gpu import pair_squares_on_device
from reidkit.metrics.matching import find_matches, make_rule
from reidkit.metrics.retrieval import score_features
from reidkit.types import Embeddings

from . import definition
from .definition import check, crowd, embeddings, on_a_line, retrievals, same

if TYPE_CHECKING:
    from reidkit.types import Cameras, Metric

CPU = torch.device("cpu")


def tensors(one: Embeddings) -> Embeddings:
    vectors: Any = torch.from_numpy(one.vectors)
    return Embeddings(vectors, one.pids, one.camids, one.model, one.paths)


def test_by_hand() -> None:
    """Ranks 2 and 4 are right, as in `test_metrics`; the tie of 0.2 and -0.2 counts against the match."""
    query, gallery = on_a_line()
    scores = score_features(query, gallery, metric="euclidean", device=CPU)
    assert (scores.rank1, scores.rank5, scores.map, scores.minp) == (0.0, 1.0, 0.5, 0.5)
    tied = embeddings([[0.2], [-0.2], [0.3]], [9, 7, 9], [1, 1, 1])
    assert score_features(query, tied, metric="euclidean", device=CPU).average_precision.tolist() == [1 / 2]


@given(retrievals(), st.sampled_from(["cross", "any"]))
@settings(max_examples=150, deadline=None)
def test_definition(retrieval: tuple[Embeddings, Embeddings], cameras: Cameras) -> None:
    query, gallery = retrieval
    dist_qg = np.square(query.vectors[:, None].astype(np.float64) - gallery.vectors[None]).sum(2)
    hits = definition.lists(dist_qg, query, gallery, cameras)
    if not any(hits):
        with pytest.raises(DataError, match=r"share no id|has an id|cameras='any'|second image"):
            score_features(query, gallery, metric="euclidean", cameras=cameras, device=CPU)
        return
    check(score_features(query, gallery, metric="euclidean", cameras=cameras, device=CPU), hits)


POOL = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
"""Directions that are well apart: ties come of equal features alone, and rounding decides nothing."""


@given(retrievals(), st.data())
@settings(max_examples=100, deadline=None)
def test_definition_of_the_cosine(retrieval: tuple[Embeddings, Embeddings], data: st.DataObject) -> None:
    def placed(one: Embeddings) -> Embeddings:
        some = data.draw(st.lists(st.integers(0, len(POOL) - 1), min_size=len(one.pids), max_size=len(one.pids)))
        scale = np.float32(2.0) ** np.arange(len(some))[:, None]
        return embeddings(POOL[some] * scale, one.pids.tolist(), one.camids.tolist(), one.paths)

    query, gallery = (placed(one) for one in retrieval)
    one, other = (x.vectors / np.linalg.norm(x.vectors.astype(np.float64), axis=1)[:, None] for x in (query, gallery))
    hits = definition.lists((1 - one @ other.T).round(9), query, gallery)
    if any(hits):
        check(score_features(query, gallery, device=CPU), hits)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("given_as", [lambda one: one, tensors], ids=["arrays", "tensors"])
def test_as_on_the_host_in_blocks_of_any_size(metric: Metric, given_as: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many equal features; blocks whose last one is smaller, and blocks of one."""
    query, gallery = crowd(queries=14, images=220)
    gallery.vectors[17] = 0
    gallery.pids[5:20] = -1
    query.pids[3] = 99
    expected = score_features(query, gallery, metric=metric)
    assert expected.queries_skipped >= 1
    query, gallery = given_as(query), given_as(gallery)
    assert same(score_features(query, gallery, metric=metric, device=CPU), expected)
    for rows, entries, numbers in ((33, 100, 1), (100, 1, 67 * 9), (7, 50, 67)):
        monkeypatch.setattr(gpu, "GALLERY_BYTES", rows * 4 * 67)
        monkeypatch.setattr(gpu, "BLOCK", entries)
        monkeypatch.setattr(gpu, "DOUBLES", numbers)
        assert same(score_features(query, gallery, metric=metric, device=CPU), expected)


@pytest.mark.parametrize("kind", ["float16", "float64", "int32", "bfloat16", "read-only"])
def test_every_kind_of_features(kind: str) -> None:
    rng = np.random.default_rng(1)
    grid = rng.integers(-9, 10, (50, 33))
    vectors: Any = grid.astype("float32" if kind in ("bfloat16", "read-only") else kind)
    if kind == "bfloat16":
        vectors = torch.from_numpy(vectors).to(torch.bfloat16)
    elif kind == "read-only":
        vectors.flags.writeable = False
    made = Embeddings(vectors, rng.integers(0, 9, 50), rng.integers(0, 3, 50))
    assert same(score_features(made, made, device=CPU), score_features(made, made))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_an_inexact_product_changes_nothing(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = crowd()
    expected = score_features(query, gallery, metric=metric)
    exact, noise = torch.addmm, np.random.default_rng(5)

    def addmm(squares: torch.Tensor, one: torch.Tensor, other: torch.Tensor, alpha: int) -> torch.Tensor:
        scale = one.norm(dim=1)[:, None] * other.norm(dim=0)
        errors = torch.from_numpy(noise.uniform(-1e-6, 1e-6, tuple(scale.shape)).astype(np.float32))
        return exact(squares, one, other, alpha=alpha).add_(scale.mul_(errors))

    monkeypatch.setattr(torch, "addmm", addmm)
    assert same(score_features(query, gallery, metric=metric, device=CPU), expected)


def test_a_collapsed_network_scores_as_badly_as_it_can() -> None:
    vectors = np.tile(np.random.default_rng(0).standard_normal(37), (50, 1))
    gallery = embeddings(vectors, [1, 1] + [2] * 48, [1] * 50)
    scores = score_features(embeddings(vectors[:1], [1], [0]), gallery, device=CPU)
    assert scores.average_precision[0] == (1 / 49 + 2 / 50) / 2


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_bad_row_is_named(value: float, metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the gallery by its number, whether it is met as a match or only later, and of the queries."""
    monkeypatch.setattr(gpu, "GALLERY_BYTES", 4 * 67 * 100)
    query, gallery = crowd()
    matched = find_matches(make_rule(query, gallery, "cross")).columns
    for row in (int(matched.max()), int(np.setdiff1d(np.arange(900), matched)[-1])):
        broken = gallery.vectors.copy()
        broken[row, 3] = value
        shown = Embeddings(broken, gallery.pids, gallery.camids)
        for side in (shown, tensors(shown)):
            with pytest.raises(DataError, match=f"row {row} of the gallery features holds"):
                score_features(query, side, metric=metric, device=CPU)
    query.vectors[31, 0] = value
    with pytest.raises(DataError, match="row 31 of the query features holds"):
        score_features(query, gallery, metric=metric, device=CPU)


def test_an_unknown_metric_is_refused() -> None:
    manhattan: Any = "manhattan"
    with pytest.raises(UsageError, match="there is no metric manhattan"):
        score_features(*crowd(), metric=manhattan, device=CPU)


@given(st.integers(1, 40), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_equal_pairs_have_equal_bits_wherever_they_stand(width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (torch.from_numpy(rng.standard_normal((1, width)).astype(np.float32)) for _ in range(2))
    found = pair_squares_on_device(one.expand(37, width), other.expand(37, width))
    assert torch.equal(found, found[:1].expand(37))
    assert found[0].item() == pytest.approx(float(np.square(one.numpy() - other.numpy().astype(np.float64)).sum()))


def test_features_that_are_on_the_device_are_left_as_they_are() -> None:
    query, gallery = crowd()
    before = query.vectors.copy(), gallery.vectors.copy()
    score_features(tensors(query), tensors(gallery), metric="cosine", device=CPU)
    score_features(tensors(query), tensors(gallery), metric="euclidean", device=CPU)
    assert np.array_equal(query.vectors, before[0])
    assert np.array_equal(gallery.vectors, before[1])


class Leaving(TorchFunctionMode):
    """Adds up what leaves the device, were it one, and counts what makes the host wait for it."""

    HOST = ("cpu", "numpy", "item", "tolist", "__bool__", "__int__", "__float__", "__array__")

    def __init__(self) -> None:
        self.bytes = 0
        self.calls: Counter[str] = Counter()
        self.largest = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        tensor = next((x for x in args if isinstance(x, torch.Tensor)), None)
        if name in self.HOST and name != "numpy" and tensor is not None:  # what is taken to NumPy went by `cpu` before
            self.bytes += tensor.nbytes
            self.calls["copies"] += 1
        by_mask = name == "__getitem__" and isinstance(args[1], torch.Tensor) and args[1].dtype == torch.bool
        self.calls["blocks"] += name == "addmm"
        self.calls["waits"] += name in ("nonzero", "masked_select", "unique") or by_mask
        made = function(*args, **(kwargs or {}))
        self.largest = max(self.largest, made.nbytes if isinstance(made, torch.Tensor) else 0)
        return made


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_no_block_of_distances_leaves_the_device(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes back: a number for each match, for each block whether all can be compared, and the longest query."""
    query, gallery = (tensors(one) for one in crowd(queries=40, images=900, width=64))
    matches = len(find_matches(make_rule(query, gallery, "cross")).columns)
    monkeypatch.setattr(gpu, "GALLERY_BYTES", 4 * 64 * 300)
    monkeypatch.setattr(gpu, "BLOCK", 300 * 20)
    monkeypatch.setattr(gpu, "DOUBLES", 300 * 64)
    with Leaving() as leaving:
        score_features(query, gallery, metric=metric, device=CPU)
    assert leaving.calls["blocks"] == 6
    placed = 1 + 3 + -(-len(np.unique(find_matches(make_rule(query, gallery, "cross")).columns)) // 300)
    assert leaving.bytes == 8 * (matches + 1) + placed
    assert leaving.calls["copies"] == 2 + placed
    assert leaving.calls["waits"] == 2 * 6
    assert leaving.largest == 300 * 64 * 8, "a block of features in double precision; nothing grows with the gallery"
