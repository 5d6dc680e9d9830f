from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from reidkit.data.detect import open_benchmark
from reidkit.judge import Protocol, Reading, judge, require_judgeable
from reidkit.model.network import build
from reidkit.model.weights import Model
from reidkit.types import Benchmark, DataError, Names, Sample
from tests.noise import draw_noise, file_of
from tests.train.tiny import RECIPE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from reidkit.evaluate.metrics import Scores

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(3)
    network = build(RECIPE.network).train()
    with torch.no_grad():
        network(torch.randn(16, 3, 32, 32))  # moves the neck, which starts as the identity
    return Model(network.eval(), RECIPE, "0123456789abcdef")


@pytest.fixture(scope="module")
def benchmark(noise: Path) -> Benchmark:
    return open_benchmark(noise)


def features(model: Model, samples: Sequence[Sample]) -> NDArray[np.float64]:
    """f_i of each image by itself, of length 1."""
    rows = []
    for sample in samples:
        pixels = (np.asarray(Image.open(file_of(sample)).convert("RGB")) / 255 - MEAN) / STD
        with torch.inference_mode():
            rows.append(model.network(torch.from_numpy(pixels).float().permute(2, 0, 1)[None]).search[0].numpy())
    found = np.array(rows, dtype=np.float64)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def recompute(model: Model, benchmark: Benchmark) -> tuple[float, float, float]:
    """Rank-1, mAP and mINP, query by query as the protocol says, by sorting the gallery."""
    query, gallery = features(model, benchmark.query), features(model, benchmark.gallery)
    firsts, precisions, penalties = [], [], []
    for sample, feature in zip(benchmark.query, query, strict=True):
        kept = [
            i
            for i, other in enumerate(benchmark.gallery)
            if not (other.pid == sample.pid and other.camid == sample.camid)
        ]
        order = sorted(kept, key=lambda i: -float(gallery[i] @ feature))
        ranks = [rank for rank, i in enumerate(order, 1) if benchmark.gallery[i].pid == sample.pid]
        firsts.append(ranks[0] == 1)
        precisions.append(np.mean([found / rank for found, rank in enumerate(ranks, 1)]))
        penalties.append(len(ranks) / ranks[-1])
    return float(np.mean(firsts)), float(np.mean(precisions)), float(np.mean(penalties))


def test_scores_are_those_of_a_plain_recomputation(model: Model, benchmark: Benchmark) -> None:
    judgement = judge(model, benchmark, Protocol(), Reading())
    scores = judgement.scores
    assert (scores.rank1, scores.map, scores.minp) == pytest.approx(recompute(model, benchmark), abs=1e-6)
    assert (scores.queries, scores.gallery) == (4, 16)
    assert set(judgement.seconds) == {"embed", "score"}


def test_features_know_where_they_come_from(model: Model, benchmark: Benchmark) -> None:
    judgement = judge(model, benchmark, Protocol(), Reading(batch=3))
    assert judgement.gallery.paths == tuple(str(sample.path) for sample in benchmark.gallery)
    assert judgement.gallery.pids.tolist() == [sample.pid for sample in benchmark.gallery]
    assert judgement.query.camids.tolist() == [sample.camid for sample in benchmark.query]
    assert judgement.query.model == "0123456789abcdef"
    ours = judgement.query.vectors / np.linalg.norm(judgement.query.vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(ours, features(model, benchmark.query), atol=1e-4)


def test_features_know_what_ids_and_cameras_are_called(model: Model, benchmark: Benchmark) -> None:
    names = Names({benchmark.query[0].pid: "anna"}, {1: "door"})
    judgement = judge(model, replace(benchmark, names=names), Protocol(), Reading())
    assert judgement.query.names == judgement.gallery.names == names


def test_reading_changes_no_score(model: Model, benchmark: Benchmark, tmp_path: Path) -> None:
    plain = judge(model, benchmark, Protocol(), Reading()).scores.as_json()
    assert judge(model, benchmark, Protocol(), Reading(cache_dir=tmp_path)).scores.as_json() == plain
    assert judge(model, benchmark, Protocol(), Reading(batch=1)).scores.as_json() == pytest.approx(plain)


def test_the_protocol_is_heard(model: Model, benchmark: Benchmark) -> None:
    after = judge(model, benchmark, Protocol(), Reading())
    before = judge(model, benchmark, Protocol(feature="before"), Reading())
    mirrored = judge(model, benchmark, Protocol(flip=True), Reading())
    assert not np.allclose(after.query.vectors, before.query.vectors)
    assert not np.allclose(after.query.vectors, mirrored.query.vectors)
    everywhere = judge(model, benchmark, Protocol(cameras="any"), Reading())
    assert everywhere.scores.as_json() != after.scores.as_json()


def test_progress_names_what_is_read(model: Model, benchmark: Benchmark) -> None:
    told: list[tuple[str, int, int]] = []
    judge(model, benchmark, Protocol(), Reading(batch=10, tell=lambda *call: told.append(call)))
    assert told == [("query", 4, 4), ("gallery", 10, 16), ("gallery", 16, 16)]


def test_what_cannot_be_judged_is_refused(model: Model, benchmark: Benchmark) -> None:
    for wrong, sentence in (
        (replace(benchmark, query=()), "market1501 has no query images to judge with"),
        (replace(benchmark, gallery=()), "market1501 has no gallery images to judge with"),
        (replace(benchmark, gallery=tuple(replace(s, pid=99) for s in benchmark.gallery)), "share no id"),
        (replace(benchmark, gallery=tuple(replace(s, camid=1) for s in benchmark.gallery)), "own camera"),
    ):
        with pytest.raises(DataError, match=sentence):
            require_judgeable(wrong, Protocol())
        with pytest.raises(DataError, match=sentence):
            judge(model, wrong, Protocol(), Reading())
    require_judgeable(
        replace(benchmark, gallery=tuple(replace(s, camid=1) for s in benchmark.gallery)), Protocol(cameras="any")
    )


def test_a_broken_image_is_refused_or_left_out(model: Model, tmp_path: Path) -> None:
    benchmark = open_benchmark(draw_noise(tmp_path / "own"))
    file_of(benchmark.gallery[0]).write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 16 images cannot be read"):
        judge(model, benchmark, Protocol(), Reading())
    judgement = judge(model, benchmark, Protocol(), Reading(skip_broken=True))
    assert judgement.scores.gallery == 15
    assert str(benchmark.gallery[0].path) not in judgement.gallery.paths
    assert len(judgement.gallery.vectors) == len(judgement.gallery.pids) == 15


@pytest.mark.parametrize(("name", "expected"), [("cuda", torch.device("cuda")), ("cpu", None)])
def test_scores_are_counted_where_the_network_runs(
    name: str, expected: torch.device | None, model: Model, benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU; a processor has quicker loops of its own."""
    asked: list[object] = []

    def score(*_: object, device: torch.device | None, **more: object) -> Scores:
        asked.append(device)
        return judged.scores

    judged = judge(model, benchmark, Protocol(), Reading())
    features = judged.query, judged.gallery
    monkeypatch.setattr("reidkit.judge.embed_samples", lambda *words: features[words[2] == "gallery"])
    monkeypatch.setattr("reidkit.judge.score", score)
    judge(model, benchmark, Protocol(), Reading(device=torch.device(name)))
    assert asked == [expected]
